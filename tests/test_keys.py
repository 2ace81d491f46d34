"""Key files: made once, never overwritten, refused when others could read or change them."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.auth import load_certificate
from zmq.utils import z85

from kenpin.config.exits import Exit
from kenpin.runtime.service.cli import main as edge_run
from kenpin.runtime.wire.allow_list import AllowList
from kenpin.runtime.wire.keys import (
    KeysError,
    admit,
    new_client,
    new_line,
    parse_keys,
    read_admitted,
    read_client,
    read_line,
    revoke,
)

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
SERVICE = 12345


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys of a line, and of its PLC in plc.key_secret above them."""
    folder = tmp_path / "keys"
    new_line(folder)
    new_client(folder, "plc", tmp_path / "plc.key_secret")
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_client_gets_all_that_it_needs_and_is_admitted(folder: Path) -> None:
    line, client = read_line(folder), read_client(folder.parent / "plc.key_secret")
    assert client.line == line.public
    assert zmq.curve_public(client.secret) == client.public
    assert read_admitted(folder).names == {client.public: "plc"}


def test_the_files_are_those_of_other_zeromq_tools(folder: Path) -> None:
    line = read_line(folder)
    assert load_certificate(folder / "line.key_secret") == (line.public, line.secret)
    assert load_certificate(folder / "line.key") == (line.public, None)


def test_only_public_keys_can_be_read_by_others_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        folder = tmp_path / "keys"
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        (folder / "clients").mkdir()
        (folder / "clients").chmod(0o755)
        new_line(folder)
        new_client(folder, "plc", tmp_path / "plc.key_secret")
    finally:
        os.umask(before)
    secrets = [folder / "line.key_secret", tmp_path / "plc.key_secret"]
    assert [mode(path) for path in secrets] == [0o600, 0o600]
    assert mode(folder / "line.key") == mode(folder / "clients" / "plc.key") == 0o644


def test_no_secret_appears_in_a_traceback(folder: Path) -> None:
    line, client = read_line(folder), read_client(folder.parent / "plc.key_secret")
    assert line.secret.decode() not in repr(line)
    assert client.secret.decode() not in repr(client)


def test_keys_are_never_overwritten(folder: Path) -> None:
    secret = folder.parent / "plc.key_secret"
    before = {path: path.read_bytes() for path in [*folder.rglob("*.key*"), secret]}
    with pytest.raises(KeysError, match="never overwritten"):
        new_line(folder)
    with pytest.raises(KeysError, match="never overwritten"):
        new_client(folder, "hmi", secret)
    with pytest.raises(KeysError, match="admitted already"):
        new_client(folder, "plc", folder.parent / "other")
    assert not (folder.parent / "other").exists()
    assert before == {path: path.read_bytes() for path in before}
    assert [path.name for path in (folder / "clients").iterdir()] == ["plc.key"]


def test_one_key_has_one_name(folder: Path) -> None:
    key = read_client(folder.parent / "plc.key_secret").public
    with pytest.raises(KeysError, match="admitted already, as plc"):
        admit(folder, "twin", key)


@pytest.mark.parametrize("name", ["", "../line", "a/b", ".hidden", "a b", "x" * 65, "a\n"])
def test_a_name_that_is_no_file_name_is_refused(folder: Path, name: str) -> None:
    for act in (lambda: admit(folder, name, b""), lambda: revoke(folder, name)):
        with pytest.raises(KeysError, match="expected 1 to 64"):
            act()


def test_a_revoked_key_is_kept_aside_and_its_name_is_free(folder: Path) -> None:
    first = revoke(folder, "plc")
    new_client(folder, "plc", folder.parent / "second")
    second = revoke(folder, "plc")
    assert first.exists()
    assert second.exists()
    assert first != second
    assert not read_admitted(folder).names
    with pytest.raises(KeysError, match="admitted are: nobody"):
        revoke(folder, "plc")


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_others_could_read_is_refused(folder: Path, wide: int) -> None:
    secret = folder.parent / "plc.key_secret"
    for path, read in (
        (folder / "line.key_secret", lambda: read_line(folder)),
        (secret, lambda: read_client(secret)),
    ):
        path.chmod(wide)
        with pytest.raises(KeysError, match=f"mode {wide:o}, others could read"):
            read()


@pytest.mark.parametrize("part", [".", "clients"])
def test_a_folder_in_which_others_could_admit_a_client_is_refused(folder: Path, part: str) -> None:
    (folder / part).chmod(0o775)
    with pytest.raises(KeysError, match="others could admit"):
        read_line(folder)


@AS_ROOT
def test_a_secret_of_another_user_is_refused(folder: Path) -> None:
    os.chown(folder / "line.key_secret", SERVICE, SERVICE)
    with pytest.raises(KeysError, match=f"belongs to user {SERVICE}.*expected root"):
        read_line(folder)
    # Root who looks at it on behalf of whoever owns the folder: this is a third one's.
    with pytest.raises(KeysError, match=f"belongs to user {SERVICE}"):
        read_line(folder, for_owner=True)


@AS_ROOT
def test_root_looks_after_the_keys_of_a_service_that_is_another_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root every command called good keys of the service a fault."""
    home = tmp_path / "web-1"
    home.mkdir()
    os.chown(home, SERVICE, SERVICE)
    keys = home / "conf" / "keys"
    assert edge_run(["keys", "new", str(keys)]) == Exit.DONE
    assert edge_run(["keys", "client", "plc", str(keys), "-o", str(home / "plc")]) == Exit.DONE
    (tmp_path / "hmi.key").write_bytes(b'public-key = "' + zmq.curve_keypair()[0] + b'"\n')
    assert edge_run(["keys", "admit", "hmi", str(keys), str(tmp_path / "hmi.key")]) == Exit.DONE
    assert edge_run(["keys", "revoke", "hmi", str(keys)]) == Exit.DONE
    assert edge_run(["keys", "list", str(keys)]) == Exit.DONE
    assert "plc" in capsys.readouterr().out
    # All that root made is the service's, the log of it, too.
    assert {path.stat().st_uid for path in home.rglob("*")} == {SERVICE}
    assert read_client(home / "plc", for_owner=True).line == read_line(keys, for_owner=True).public
    # A service takes nothing that somebody else may have put there.
    for read in (lambda: read_line(keys), lambda: read_client(home / "plc")):
        with pytest.raises(KeysError, match="belongs to user"):
            read()


def _other_key(text: bytes) -> bytes:
    return text.replace(parse_keys(text)["public-key"], zmq.curve_keypair()[0])


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda _: b"", "expected a public-key and a secret-key"),
        (lambda text: text.replace(b"secret-key", b"secret"), "expected a public-key"),
        (_other_key, "does not belong to the secret one"),
        (lambda text: text[:-20], "expected a public-key and a secret-key"),
        (lambda text: text.replace(b'key = "', b'key = "!'), "is no key"),
        (lambda text: text + b"#" * 4096, "more than 4096 bytes"),
    ],
)
def test_a_damaged_secret_is_refused(
    folder: Path, spoil: Callable[[bytes], bytes], found: str
) -> None:
    path = folder / "line.key_secret"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(KeysError, match=found):
        read_line(folder)


def test_a_pipe_in_place_of_a_secret_is_refused_and_not_waited_for(folder: Path) -> None:
    (folder / "line.key_secret").unlink()
    os.mkfifo(folder / "line.key_secret", 0o600)
    with pytest.raises(KeysError, match="no plain file"):
        read_line(folder)


def test_a_file_that_is_no_key_admits_nobody_and_keeps_nobody_out(folder: Path) -> None:
    (folder / "clients" / "bad.key").write_text('public-key = "short"\n')
    (folder / "clients" / "none.key").write_text("hello")
    (folder / "clients" / "README").write_text('public-key = "not looked at"')
    found = read_admitted(folder)
    assert list(found.names.values()) == ["plc"]
    assert len(found.problems) == 2
    assert "bad.key" in found.problems[0]
    assert "none.key" in found.problems[1]


@given(st.binary(min_size=32, max_size=32))
def test_every_key_of_32_bytes_is_read_as_it_was_written(raw: bytes) -> None:
    key = z85.encode(raw)
    assert parse_keys(b'curve\n    public-key = "' + key + b'"\n') == {"public-key": key}


@given(st.binary(max_size=200))
def test_any_bytes_are_keys_or_a_value_error(text: bytes) -> None:
    for line in (text, b'public-key = "' + text + b'"'):
        try:
            found = parse_keys(line)
        except ValueError:
            continue
        # Whatever passed is what libzmq takes for a key.
        for key in found.values():
            assert len(z85.decode(key)) == 32


def test_the_list_follows_its_folder_and_survives_its_absence(folder: Path) -> None:
    allowed = AllowList(folder, period_s=0.01)
    try:
        revoke(folder, "plc")
        _until(lambda: not allowed.now.names)
        admit(folder, "hmi", zmq.curve_keypair()[0])
        _until(lambda: list(allowed.now.names.values()) == ["hmi"])
        (folder / "clients").rename(folder / "aside")
        _until(lambda: bool(allowed.now.problems))
        assert list(allowed.now.names.values()) == ["hmi"]
        (folder / "aside").rename(folder / "clients")
        _until(lambda: not allowed.now.problems)
    finally:
        allowed.close()


def _until(wanted: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if wanted():
            return
        pause.wait(0.01)
    raise AssertionError("waited 20 s")


def test_the_command_makes_lists_and_revokes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert edge_run(["keys", "new", "keys"]) == Exit.DONE
    assert edge_run(["keys", "client", "plc-1", "keys"]) == Exit.DONE
    public, secret = zmq.curve_keypair()
    Path("hmi.key").write_bytes(b'public-key = "' + public + b'"\n')
    assert edge_run(["keys", "admit", "hmi", "keys", "hmi.key"]) == Exit.DONE
    capsys.readouterr()
    assert edge_run(["keys", "list", "keys"]) == Exit.DONE
    listed = capsys.readouterr().out
    assert [line.split()[-1] for line in listed.splitlines()[1:]] == ["hmi", "plc-1"]
    assert secret.decode() not in listed
    assert edge_run(["keys", "admit", "me", "keys", "keys/line.key"]) == Exit.CONFIG
    assert "the line's own key" in capsys.readouterr().err
    assert edge_run(["keys", "revoke", "hmi", "keys"]) == Exit.DONE
    assert edge_run(["keys", "list", "keys"]) == Exit.DONE
    assert "hmi" not in capsys.readouterr().out.splitlines()[-1]
    assert read_client(Path("plc-1.key_secret")).line == read_line(Path("keys")).public


def test_the_command_explains_what_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge_run(["keys", "client", "plc", str(tmp_path / "none")]) == Exit.CONFIG
    assert "edge-run keys new" in capsys.readouterr().err
    assert edge_run(["keys", "new", str(tmp_path / "keys")]) == Exit.DONE
    assert edge_run(["keys", "new", str(tmp_path / "keys")]) == Exit.CONFIG
    assert "never overwritten" in capsys.readouterr().err
