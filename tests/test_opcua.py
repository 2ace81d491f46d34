"""OPC UA without a process: the specification's table, results in its words, who is let in."""

from __future__ import annotations

import datetime
import io
import math
from pathlib import Path

import pytest

from kenpin.config.bridge_opcua import OpcuaSettings
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.runtime.bridges.opcua.access import (
    application_uri,
    certificates_in,
    knows,
    make_certificate,
    read_certificate,
    set_user,
)
from kenpin.runtime.bridges.opcua.result_fields import result_fields
from kenpin.runtime.bridges.opcua.table import companion
from kenpin.runtime.service.keys_cli import main as edge_run_keys
from wire_samples import verdict_message

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)


def test_the_table_knows_every_type_that_it_names() -> None:
    table = companion()
    numbers = [data.number for data in table.data.values()]
    numbers += [found.number for found in table.types.values()]
    for found in table.types.values():
        numbers += [member.number for member in found.members]
        states = {member.number for member in found.members if member.what == "state"}
        for member in found.members:
            if member.between is not None and found.name == "VisionAutomaticModeStateMachineType":
                assert set(member.between) <= states
    assert len(numbers) == len(set(numbers)), "a number stands for one node"
    names = [field.name for field in table.whole(table.data["RecipeIdInternalDataType"])]
    assert names == ["Id", "Version", "Hash", "HashAlgorithm", "Description"]


def test_a_verdict_in_the_specifications_words() -> None:
    verdict = verdict_message(17).model_dump(mode="json") | {"trig": "4711/left", "session": "77"}
    found = result_fields(verdict)
    assert (found.meas, found.part) == ("4711", "left")
    assert found.result == f"{verdict['boot']}:17"
    assert found.job == f"{verdict['boot'][:8]}.77.4711"
    assert found.content[0] == verdict["verdict"]
    assert found.created - found.begun == datetime.timedelta(
        microseconds=verdict["lat_us"]["total"]
    )
    late = result_fields(verdict | {"score": None, "verdict": 2, "code": 3, "reason": "late"})
    assert late.state == 3
    assert math.isnan(late.content[3])
    lost = verdict | {"score": None, "verdict": 2, "code": 8, "reason": "camera_lost"}
    assert result_fields(lost).state == 4


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"address": "0.0.0.0"}, "certificate, private_key, trusted, users not set"),
        ({"address": "plc.local"}, "expected an address in numbers"),
        ({"certificate": "a.pem"}, "go together"),
        ({"users": "users"}, "in the clear"),
    ],
)
def test_a_server_that_strangers_reach_needs_certificates_and_users(
    settings: dict[str, str], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        OpcuaSettings.model_validate({"kind": "opcua"} | settings)


def test_certificates_name_the_application_and_are_never_overwritten(tmp_path: Path) -> None:
    made, secret = make_certificate(tmp_path, "box-7", ["192.168.0.7", "box"], today=NOW)
    assert application_uri(read_certificate(made)) == "urn:kenpin:box-7"
    assert secret.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="is there already"):
        make_certificate(tmp_path, "box-7", [], today=NOW)
    with pytest.raises(ConfigError, match="expected 1 to 64"):
        make_certificate(tmp_path, "../box", [], today=NOW)
    assert len(certificates_in(tmp_path, NOW)) == 1
    assert certificates_in(tmp_path, NOW + datetime.timedelta(days=4000)) == set()
    (tmp_path / "odd.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="expected a certificate"):
        certificates_in(tmp_path, NOW)


def test_a_user_is_known_by_his_password_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users"
    set_user(users, "plc", "long enough")
    set_user(users, "hmi", "another one")
    assert knows(users, "plc", "long enough")
    assert not knows(users, "plc", "another one")
    assert not knows(users, "nobody", "long enough")
    assert "long enough" not in users.read_text()
    with pytest.raises(ConfigError, match="10 or more"):
        set_user(users, "plc", "nine char")
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert edge_run_keys(["user", "plc", str(users)]) == Exit.CONFIG
    assert "10 or more" in capsys.readouterr().err
    assert edge_run_keys(["certificate", "box", str(tmp_path), "--address", "10.0.0.7"]) == 0
