"""The OPC UA bridge before a second implementation, npm's node-opcua."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from lying_line import LyingLine
from test_opcua_bridge import opcua
from test_opcua_methods import NEXT, NOT_OFFERED

NODE = shutil.which("node")
PLACES = (
    os.environ.get("KENPIN_NODE_MODULES", ""),
    "/usr/local/lib/node_modules",
    "/usr/lib/node_modules",
)
MODULES = next((place for place in PLACES if Path(place, "node-opcua-client").exists()), None)

pytestmark = [
    pytest.mark.clock,
    pytest.mark.real,
    pytest.mark.skipif(
        NODE is None or MODULES is None, reason="npm install --global node-opcua-client"
    ),
]


def test_node_opcua_triggers_a_part_and_reads_its_result(tmp_path: Path) -> None:
    assert NODE is not None
    assert MODULES is not None
    with LyingLine(tmp_path) as line, opcua(line, recipes=(NEXT,)) as (settings, _):
        alarm = {"source": "camera", "detail": "the cable is out", "active": True}
        node = subprocess.Popen(
            [NODE, str(Path(__file__).with_name("opcua_client.js")),
             f"opc.tcp://127.0.0.1:{settings.port}"],
            env=os.environ | {"NODE_PATH": MODULES},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        end_s = time.monotonic() + 120
        while node.poll() is None and time.monotonic() < end_s:
            line.to_publish.append(("alarm", alarm))  # again, until it listens
            time.sleep(0.2)
        node.kill()
        said, complained = node.communicate()
    assert node.returncode == 0, complained
    found = json.loads(said.splitlines()[-1])
    assert (found["outer"], found["inner"]) == ("Operational", "Ready")
    assert (found["status"], found["error"]) == ("Good", 0)
    result = found["result"]
    assert result["job"] == found["job"]
    assert (result["meas"], result["part"]) == ("4711", "left")
    assert (result["verdict"], result["reason"], result["state"]) == (1, "ok", 1)
    assert result["recipe"] == "b@000000000001"
    errors = found["errors"]
    assert errors.pop("halt") == NOT_OFFERED
    assert set(errors) == {"stop", "abort", "reset", "select", "prepare", "activate"}
    assert set(errors.values()) == {0}, errors
    assert found["recipes"] == ["b@000000000001", NEXT]
    assert found["results"] == 0
    assert found["condition"] == {"retain": True, "message": "the cable is out"}
    assert found["refreshed"] == ["camera true"], "ConditionRefresh tells what is open"
    told = [command["type"] for command in line.commands]
    assert told == ["reset", "prepare", "activate"]
