"""The audit log: nothing in it can be altered, taken out or cut off unseen."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kenpin.config.exits import Exit
from kenpin.config.line import load_line
from kenpin.runtime.service.audit import AuditLog, audit_of, logs_of
from kenpin.runtime.service.audit_entry import AuditError, Who, parse
from kenpin.runtime.service.cli import main
from kenpin.runtime.service.line_audit import AuditQueue, settings_of, trusted_of
from running_line import line_toml

MIKA = Who("page", user="mika")


def filled(folder: Path, count: int = 5) -> AuditLog:
    log = AuditLog(folder / "audit.jsonl")
    for number in range(count):
        log.write(MIKA, "threshold", "web-1", before=number, after=number + 1, why="too many NG")
    return log


def test_an_entry_says_who_when_what_before_and_after(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", now=lambda: 1_700_000_000.25)
    log.write(Who("ctl", key="plc-1"), "bundle", "web-1", before="a@1", after="b@2", why="new yarn")
    (entry,) = log.entries()
    assert (entry.n, entry.at) == (1, "2023-11-14T22:13:20.250Z")
    assert entry.who == Who("ctl", key="plc-1")
    assert (entry.what, entry.item, entry.why) == ("bundle", "web-1", "new yarn")
    assert (entry.before, entry.after) == ("a@1", "b@2")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_no_byte_can_be_altered_unseen(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    log = filled(tmp_path_factory.mktemp("log"))
    whole = log.path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    log.path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
    with pytest.raises(AuditError):
        log.verify()


@pytest.mark.parametrize("gone", [[0], [2], [4], [3, 4], [0, 1, 2, 3, 4]])
def test_no_line_can_be_taken_out_or_cut_off_unseen(tmp_path: Path, gone: list[int]) -> None:
    log = filled(tmp_path)
    lines = log.path.read_text().splitlines(keepends=True)
    log.path.write_text("".join(text for n, text in enumerate(lines) if n not in gone))
    with pytest.raises(AuditError):
        log.verify()


def test_lines_cannot_change_places(tmp_path: Path) -> None:
    log = filled(tmp_path)
    first, second, *rest = log.path.read_text().splitlines(keepends=True)
    log.path.write_text("".join([second, first, *rest]))
    with pytest.raises(AuditError, match="line 1 does not follow"):
        log.verify()


def test_a_log_that_is_gone_is_missed(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.path.unlink()
    with pytest.raises(AuditError, match="knows of 5 lines, the log has 0"):
        log.verify()
    with pytest.raises(AuditError, match="knows of lines"):
        log.write(MIKA, "alarm", "camera")


def test_a_log_that_was_made_anew_is_found_by_a_head_that_was_noted(tmp_path: Path) -> None:
    log = filled(tmp_path)
    noted = log.verify().head
    log.write(MIKA, "alarm", "camera", after="acknowledged")
    assert log.verify(noted).count == 6
    for path in tmp_path.iterdir():
        path.unlink()
    filled(tmp_path, 6)
    assert log.verify().count == 6
    with pytest.raises(AuditError, match="written anew"):
        log.verify(noted)


@pytest.mark.parametrize("left", [1, 40, -1])
def test_what_a_power_cut_left_of_a_line_is_cut_off_and_told(tmp_path: Path, left: int) -> None:
    log = filled(tmp_path)
    whole = log.path.read_bytes()
    torn = whole.splitlines(keepends=True)[-1]
    log.path.write_bytes(whole + torn[:left])
    with pytest.raises(AuditError, match="cut off"):
        log.verify()
    log.write(MIKA, "alarm", "camera", after="acknowledged")
    assert [entry.what for entry in log.entries()[5:]] == ["log", "alarm"]
    assert log.verify().count == 7


def test_an_export_begins_at_an_instant_however_it_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An auditor who mistypes a date would read "no changes"."""
    log = AuditLog(tmp_path / "audit.jsonl", now=iter([0.0, 3600.0, 7200.0]).__next__)
    for number in range(3):
        log.write(MIKA, "alarm", "camera", after=number)

    def exported(since: str) -> int:
        assert main(["audit", "export", str(log.path), "--format", "json", "--since", since]) == 0
        return len(capsys.readouterr().out.splitlines())

    assert [exported(text) for text in (
        "1970-01-01", "1970-01-01T01:00", "1970-01-01T02:00+01:00", "1970-01-01T01:00:00.001Z",
    )] == [3, 2, 2, 1]  # fmt: skip
    for text in ("rubbish", "28.11.2026", "1.1.2026"):
        with pytest.raises(SystemExit):
            exported(text)


def test_what_the_service_logs_goes_on_after_a_power_cut(tmp_path: Path) -> None:
    """It writes only what has changed, and reads the log for that: torn or not."""
    log = filled(tmp_path)
    log.write_changes(Who("service"), "bundle", "web-1", {"bundle": "a"})
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"after":{"bun')
    entry = log.write_changes(Who("service"), "bundle", "web-1", {"bundle": "b"})
    assert entry is not None
    assert (entry.before, entry.after) == ({"bundle": "a"}, {"bundle": "b"})
    assert [one.what for one in log.entries()[-2:]] == ["log", "bundle"]
    log.verify()
    assert log.write_changes(Who("service"), "bundle", "web-1", {"bundle": "b"}) is None


def test_a_power_cut_between_a_line_and_its_head_is_no_complaint(tmp_path: Path) -> None:
    log = filled(tmp_path)
    before = (tmp_path / "audit.head").read_bytes()
    log.write(MIKA, "alarm", "camera", after="acknowledged")
    (tmp_path / "audit.head").write_bytes(before)
    assert log.verify().count == 6


def test_processes_write_one_chain(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from kenpin.runtime.service.audit import AuditLog\n"
        "from kenpin.runtime.service.audit_entry import Who\n"
        "log = AuditLog(Path(sys.argv[1]))\n"
        "for n in range(20): log.write(Who('page'), 'setting', sys.argv[2], after=n)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "audit.jsonl")]
    writers = [subprocess.Popen([*words, name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert AuditLog(tmp_path / "audit.jsonl").verify().count == 40


def test_only_what_changed_is_logged(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 60, "sim": True})
    assert log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 60, "sim": True}) is None
    entry = log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 80})
    assert entry is not None
    assert entry.before == {"budget_ms": 60, "sim": True}
    assert entry.after == {"budget_ms": 80, "sim": None}
    assert log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 80}) is None


def test_what_is_read_already_is_not_read_again(tmp_path: Path) -> None:
    """A log of months would be read at each change of a bundle, while the line judges."""
    log = AuditLog(tmp_path / "audit.jsonl")
    log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 60})
    # Whoever is not this process may write, too.
    AuditLog(log.path).write_changes(MIKA, "setting", "web-1", {"budget_ms": 70})
    assert log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 70}) is None
    with patch("kenpin.runtime.service.audit.parse", wraps=parse) as parsing:
        entry = log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 80})
        assert entry is not None
        assert entry.before == {"budget_ms": 70}
        log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 90})
    # The last line each time, for its hash; and the one line that was new.
    assert [call.args[2] for call in parsing.call_args_list] == ["the last line"] * 2 + ["line 3"]
    log.verify()


def test_a_log_that_was_put_in_the_place_of_another_is_read_whole(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 60})
    log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 70})
    other = AuditLog(tmp_path / "other.jsonl")
    other.write_changes(MIKA, "setting", "web-1", {"budget_ms": 40})
    for kind in (".jsonl", ".head"):
        (tmp_path / "other").with_suffix(kind).rename(log.path.with_suffix(kind))
    entry = log.write_changes(MIKA, "setting", "web-1", {"budget_ms": 70})
    assert entry is not None
    assert entry.before == {"budget_ms": 40}


def test_what_others_say_of_a_bundle_is_not_taken_for_what_came_into_force(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    service, tool = Who("service"), Who("edge-run bundles", user="jana")
    log.write_changes(service, "bundle", "current", {"bundle": "a@1", "ok": 1.0})
    # The link of that name, and what was learnt but refused: neither judges the line "current".
    log.write(tool, "bundle", "current", before="a-1", after="b-2")
    refused = {"ok": 1.5, "refused": ["a defect is lost"], "learnt": ["7"]}
    log.write(tool, "bundle", "current: learnt", before={"bundle": "a-1"}, after=refused)
    assert log.write_changes(service, "bundle", "current", {"bundle": "a@1", "ok": 1.0}) is None
    entry = log.write_changes(service, "bundle", "current", {"bundle": "b@2", "ok": 1.0})
    assert entry is not None
    assert (entry.before, entry.after) == ({"bundle": "a@1"}, {"bundle": "b@2"})


def test_no_link_of_the_folders_owner_is_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "audit.jsonl").symlink_to(precious)
    with pytest.raises(AuditError, match="not logged"):
        AuditLog(tmp_path / "audit.jsonl").write(MIKA, "alarm", "camera")
    assert precious.read_text() == "mine"


def test_a_queue_tells_why_it_could_not_write_and_goes_on(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "no-folder" / "audit.jsonl")
    told: list[str] = []
    queue = AuditQueue(log, lambda entry: told.append(entry.item))
    queue.note(MIKA, "bundle", "web-1", {"bundle": "a@1"})
    queue.close()
    assert "No such file" in queue.failed
    (tmp_path / "no-folder").mkdir()
    queue = AuditQueue(log, lambda entry: told.append(entry.item))
    queue.note(MIKA, "bundle", "web-1", {"bundle": "a@1"})
    queue.close()
    assert (queue.failed, told) == ("", ["web-1"])


def test_keys_and_their_changes_are_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "keys"
    for words in (["new"], ["client", "plc-1"], ["revoke", "plc-1"]):
        more = ["-o", str(tmp_path / "plc-1.key_secret")] if words[0] == "client" else []
        assert main(["keys", *words, str(folder), *more]) == Exit.DONE
    log = folder / "audit.jsonl"
    assert main(["audit", "verify", str(log)]) == Exit.DONE
    assert "whole, 3 lines" in capsys.readouterr().out
    assert main(["audit", "export", str(log)]) == Exit.DONE
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(r["what"], r["item"]) for r in rows] == [
        ("key", "line"), ("key", "plc-1"), ("key", "plc-1"),
    ]  # fmt: skip
    assert rows[2]["before"] == rows[1]["after"] != "null"
    assert rows[2]["after"] == "null"


def test_who_may_use_an_opc_ua_server_is_logged_and_what_nobody_logged_is_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "opcua"
    assert main(["keys", "certificate", "box-7", str(folder)]) == Exit.DONE
    for password in ("correct horse", "battery staple"):
        monkeypatch.setattr("sys.stdin", io.StringIO(password))
        assert main(["keys", "user", "plc-1", str(folder / "users")]) == Exit.DONE
    entries = AuditLog(folder / "audit.jsonl").entries()
    assert [(e.what, e.item, e.before, e.after) for e in entries[1:]] == [
        ("account", "plc-1", None, "a password"),
        ("account", "plc-1", "a password", "another password"),
    ]
    assert (entries[0].what, entries[0].item) == ("key", "box-7.pem")
    text = (folder / "audit.jsonl").read_text()
    assert "horse" not in text
    assert "staple" not in text
    toml = line_toml(tmp_path, tmp_path / "store")
    own = f'certificate = "{folder}/box-7.pem"\nprivate_key = "{folder}/box-7.key"\n'
    admitting = f'trusted = "{folder}/trusted"\nusers = "{folder}/users"\n'
    toml.write_text(f'{toml.read_text()}[[bridges]]\nkind = "opcua"\n{own}{admitting}')
    line, trusted = load_line(toml), folder / "trusted"
    before = trusted_of(line)
    trusted.mkdir()
    (trusted / "mes.pem").write_text("somebody's")
    (folder / "users").write_text("")
    now = trusted_of(line)
    assert [item for item in now if now[item] != before[item]] == [
        "web-1: opcua trusted", "web-1: opcua users",
    ]  # fmt: skip
    assert [log.path for log in logs_of(line)][1:] == [folder / "audit.jsonl"]


def test_an_altered_log_has_an_exit_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = filled(tmp_path)
    log.path.write_text(log.path.read_text().replace("too many", "too few"))
    assert main(["audit", "verify", str(log.path)]) == Exit.AUDIT
    assert "line 1 is not what was written" in capsys.readouterr().err
    assert main(["audit", "verify", str(tmp_path / "none.jsonl")]) == Exit.CONFIG


def test_an_export_holds_every_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = filled(tmp_path, 2)
    assert main(["audit", "export", str(log.path), "--format", "json"]) == Exit.DONE
    first, second = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert second["prev"] == first["hash"]
    assert first["who"] == {"via": "page", "user": "mika", "key": ""}


def test_settings_are_logged_by_their_keys_without_what_is_secret(tmp_path: Path) -> None:
    toml = tmp_path / "line.toml"
    toml.write_text(
        'name = "web-1"\nbox = "box-1"\nbundles = "bundles"\n'
        'trigger = { mode = "free", budget_ms = 60 }\n'
        'camera = { kind = "synthetic", height_px = 128, width_px = 320, seed = 3 }\n'
    )
    line = load_line(toml)
    told = settings_of(line)
    assert told["trigger.budget_ms"] == 60
    assert told["bundles"] == str(tmp_path / "bundles")
    assert None not in told.values()
    assert audit_of(line).path == tmp_path / "bundles" / "audit.jsonl"
    elsewhere = line.model_copy(update={"audit": tmp_path / "elsewhere.jsonl"})
    assert audit_of(elsewhere).path == tmp_path / "elsewhere.jsonl"


def test_what_may_be_secret_is_not_kept() -> None:
    class Bridged:
        def model_dump(self, **_how: object) -> dict[str, object]:
            return {"name": "web-1", "broker": {"user": "box", "password": "x"},
                    "sides": [{"kind": "mes", "api_token": "y"}]}  # fmt: skip

    told = settings_of(Bridged())
    assert told.pop("sides") == [{"kind": "mes", "api_token": "(hidden)"}]
    assert told == {"name": "web-1", "broker.user": "box", "broker.password": "(hidden)"}
