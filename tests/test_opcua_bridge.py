"""The OPC UA bridge as a process, and asyncua's client before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge_process import BridgeProcess, free_port, lying_facts
from kenpin.config.bridge_opcua import OpcuaSettings
from kenpin.runtime.plc.book import Promise
from kenpin.runtime.plc.faults import Fault
from lying_line import LyingLine
from test_bridges import Each, inspect, until
from test_plc import told

pytestmark = pytest.mark.clock


@contextlib.contextmanager
def opcua(line: LyingLine, **settings: object) -> Iterator[tuple[OpcuaSettings, BridgeProcess]]:
    """A bridge that listens."""
    found = OpcuaSettings.model_validate({"kind": "opcua", "port": free_port()} | settings)
    with BridgeProcess(found, lying_facts(line)) as process:
        until(lambda: any(t.address for t in process.told), f"the bridge: {process.fault}")
        yield found, process


def test_every_promise_holds_through_opcua_whatever_goes_wrong(tmp_path: Path) -> None:
    with LyingLine(tmp_path) as line, opcua(line) as (settings, process):
        watch = inspect(line, settings, process, Each(Fault.BROKER_AWAY), parts=50)
        assert process.process.restarts == 1
    assert told(watch) == [], told(watch)
    assert {promise for promise in Promise if watch.book.checks[promise]} == set(Promise)
    assert watch.parts.sent == watch.reasons["ok"] == 50
