"""What a line is made of, whoever put it together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kenpin.camera.acquisition.handle import Acquisition
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.config.line import Line
from kenpin.runtime.service.alarms import Alarms
from kenpin.runtime.service.announcer import Announcer
from kenpin.runtime.service.coordinator import Coordinator
from kenpin.runtime.service.inspection.changeover import Changeover
from kenpin.runtime.service.inspection.supervisor import Supervisor
from kenpin.runtime.service.ledger import Ledger
from kenpin.runtime.service.line_audit import AuditQueue
from kenpin.runtime.service.line_sockets import LineSockets
from kenpin.runtime.service.logs import LogQueue

__all__ = ["LineParts"]


@dataclass(frozen=True, slots=True)
class LineParts:
    """The parts of one line, for the loop that runs them.

    log  whose dropped lines are told; None if nobody drops any
    """

    line: Line
    log: LogQueue | None
    clock_ns: Callable[[], int]
    ring: FrameRing
    ledger: Ledger
    acquisition: Acquisition
    supervisor: Supervisor
    sockets: LineSockets
    announcer: Announcer
    coordinator: Coordinator
    changeover: Changeover
    alarms: Alarms
    audit: AuditQueue
