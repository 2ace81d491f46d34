"""An alarm of the line is open until its cause is gone, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from kenpin.config.line import load_line
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.service.assembly import assemble
from kenpin.runtime.service.audit_entry import Who
from kenpin.runtime.service.gateway import Gateway
from kenpin.runtime.service.inspection.messages import SelftestEnded, TookOver
from kenpin.runtime.service.line_parts import LineParts
from running_line import line_toml


@pytest.fixture
def parts(patchcore: Bundle, tmp_path: Path) -> Iterator[LineParts]:
    """Of a line whose processes are not started."""
    line = load_line(line_toml(tmp_path, patchcore.folder))
    parts = assemble(line, log=SimpleNamespace(alarm="", dropped=0))
    yield parts
    parts.audit.close()
    parts.sockets.close()
    parts.ring.close()


def test_what_a_process_could_not_do_ends_once_a_bundle_has_proven_itself(parts: LineParts) -> None:
    gateway = Gateway(parts)
    gateway._line_event(SelftestEnded(False, "golden/good-0.png differs", {}))
    gateway._line_event(TookOver(10))
    assert set(parts.alarms.open) == {"selftest", "niceness"}
    gateway._in_force(Who("service"))
    assert not parts.alarms


@pytest.mark.parametrize("part", ["log", "store"])
def test_what_was_lost_or_not_remembered_ends_with_its_cause(parts: LineParts, part: str) -> None:
    gateway = Gateway(parts)
    for still in (True, True, False, True, False):
        parts.log.alarm = "9 lines were dropped" if still and part == "log" else ""
        parts.changeover._clerk.failed = still and part == "store"
        gateway._on_status(0)
        assert set(parts.alarms.open) == ({part} if still else set())
