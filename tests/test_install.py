"""edge-run install: all in place below a root, twice the same, nothing of anybody lost."""

from __future__ import annotations

import tomllib
from pathlib import Path, PurePosixPath

import pytest

from kenpin.config.line import load_line
from kenpin.runtime.service.check import problems_of
from kenpin.runtime.service.cli import main
from kenpin.runtime.service.install import Installation, wanted

COMMAND = PurePosixPath("/opt/kenpin/bin/edge-run")


def install(root: Path, *words: str) -> int:
    return main(["install", "--root", str(root), "--command", str(COMMAND), *words])


def listing(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file: content, mode, and when it was written."""
    return {
        str(path.relative_to(root)): (
            path.read_bytes(),
            path.stat().st_mode,
            path.stat().st_mtime_ns,
        )
        for path in root.rglob("*")
        if path.is_file()
    }


def test_everything_is_put_in_place_and_a_second_time_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "image"
    assert install(root, "--prefix", "/usr") == 0
    told = capsys.readouterr().out
    found = listing(root)
    assert set(found) == {
        "etc/kenpin/demo.toml",
        "usr/lib/kenpin/installed.json",
        "usr/lib/systemd/system/kenpin.slice",
        "usr/lib/systemd/system/kenpin.target",
        "usr/lib/systemd/system/kenpin@.service",
        "usr/lib/sysusers.d/kenpin.conf",
        "usr/lib/tmpfiles.d/kenpin.conf",
        "usr/lib/udev/rules.d/60-kenpin.rules",
    }
    assert all(mode & 0o777 == 0o644 for _, mode, _ in found.values())
    unit = found["usr/lib/systemd/system/kenpin@.service"][0].decode()
    assert f"\nExecStart={COMMAND} /etc/kenpin/%i.toml\n" in unit
    assert not any(b"@COMMAND@" in data for data, _, _ in found.values())
    assert "/etc/kenpin/demo.toml: installed" in told
    assert "systemctl daemon-reload" in told
    assert install(root, "--prefix", "/usr") == 0
    assert listing(root) == found
    assert "/etc/kenpin/demo.toml: unchanged" in capsys.readouterr().out


def test_an_edited_file_is_kept_and_the_new_one_lies_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(tmp_path) == 0
    toml = tmp_path / "etc/kenpin/demo.toml"
    ours = toml.read_bytes()
    toml.write_text(toml.read_text().replace('box = "desk"', 'box = "cell-9"'))
    capsys.readouterr()
    for _ in range(2):
        assert install(tmp_path) == 0
        assert "kept, for it was edited; the new one is /etc/kenpin/demo.toml.new" in (
            capsys.readouterr().out
        )
        assert tomllib.loads(toml.read_text())["box"] == "cell-9"
        assert toml.with_name("demo.toml.new").read_bytes() == ours
    toml.write_bytes(ours)
    assert install(tmp_path) == 0
    assert not toml.with_name("demo.toml.new").exists()


def test_a_newer_version_replaces_what_nobody_edited(tmp_path: Path) -> None:
    installation = Installation(tmp_path, PurePosixPath("/usr"))
    unit = PurePosixPath("/usr/lib/systemd/system/kenpin@.service")
    gone = PurePosixPath("/usr/lib/systemd/system/gone.service")
    files = wanted(PurePosixPath("/usr"), COMMAND)
    older = files | {unit: b"# older\n", gone: b"# of an older version\n"}
    installation.install(older)
    steps = {step.path: step.done for step in installation.install(files)}
    assert steps[unit] == "updated"
    assert steps[gone] == "removed"
    assert installation.at(unit).read_bytes() == files[unit]
    assert not installation.at(gone).exists()
    assert set(steps.values()) == {"updated", "removed", "unchanged"}


def test_uninstall_removes_its_own_files_and_says_what_remains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(tmp_path) == 0
    (tmp_path / "etc/kenpin/web-1.toml").write_text("mine")
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nkenpin:x:990:990::/:/x\n")
    (tmp_path / "var/lib/kenpin/web-1").mkdir(parents=True)
    unit = tmp_path / "usr/local/lib/systemd/system/kenpin@.service"
    with unit.open("a") as stream:
        stream.write("# edited\n")
    capsys.readouterr()
    assert main(["uninstall", "--root", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert set(listing(tmp_path)) == {
        "etc/kenpin/web-1.toml",
        "etc/passwd",
        str(unit.relative_to(tmp_path)),
    }
    assert "kenpin@.service: kept, for it was edited" in told
    assert "remains: /etc/kenpin: web-1.toml\n" in told
    assert "remains: /var/lib/kenpin: web-1\n" in told
    assert "userdel kenpin" in told
    assert main(["uninstall", "--root", str(tmp_path)]) == 3
    assert "nothing was installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--command", "/home/me/.venv/bin/edge-run"], "may not look into home"),
        (["--command", "/root/.venv/bin/edge-run"], "may not look into root"),
    ],
)
def test_a_command_that_the_sandbox_hides_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    assert main(["install", "--root", str(tmp_path), *words]) == 3
    assert why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["edge-run", "/a b", "/x%i", "/$HOME/x"])
def test_a_command_that_a_unit_would_read_otherwise_is_refused(
    tmp_path: Path, command: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["install", "--root", str(tmp_path), "--command", command])
    assert ended.value.code == 2


def test_a_damaged_record_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install(tmp_path) == 0
    (tmp_path / "usr/local/lib/kenpin/installed.json").write_text("[1")
    assert install(tmp_path) == 3
    assert "damaged" in capsys.readouterr().err


def test_the_example_is_a_line_whose_only_problem_is_its_missing_bundle(tmp_path: Path) -> None:
    assert install(tmp_path) == 0
    line = load_line(tmp_path / "etc/kenpin/demo.toml")
    assert line.name == "demo"
    problems = problems_of(line)
    assert all("/run/kenpin" in text or "bundles" in text for text in problems), problems
