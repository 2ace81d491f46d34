"""The OPC UA bridge before a second implementation, npm's node-opcua."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lying_line import LyingLine
from test_opcua_bridge import opcua

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
    with LyingLine(tmp_path) as line, opcua(line) as (settings, _):
        script = Path(__file__).with_name("opcua_client.js")
        done = subprocess.run(
            [NODE, str(script), f"opc.tcp://127.0.0.1:{settings.port}"],
            env=os.environ | {"NODE_PATH": MODULES},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["outer"], found["inner"]) == ("Operational", "Ready")
    assert (found["status"], found["error"]) == ("Good", 0)
    result = found["result"]
    assert result["job"] == found["job"]
    assert (result["meas"], result["part"]) == ("4711", "left")
    assert (result["verdict"], result["reason"], result["state"]) == (1, "ok", 1)
    assert result["recipe"] == "b@000000000001"
