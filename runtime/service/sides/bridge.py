"""A bridge to another protocol as the gateway sees it: a process that must show that it lives."""

from __future__ import annotations

import structlog

from kenpin.config.bridges import BRIDGES, BridgeSettings
from kenpin.processes.channel import Stop
from kenpin.processes.child import Body, name_in_ps
from kenpin.processes.side import SideProcess
from kenpin.runtime.bridges.process import (
    ALIVE_S,
    NICENESS,
    STARTING,
    BridgeReport,
    attend,
    facts_of,
)
from kenpin.runtime.service.sides.side import Side, Surroundings
from kenpin.runtime.service.sides.start_allowance import StartAllowance

__all__ = ["BridgeSide"]

_HUNG_NS = round(10 * ALIVE_S * 1e9)


class BridgeSide(Side):
    """Hears the signs of life; a bridge that gives none is replaced. It costs no verdict."""

    def __init__(self, settings: BridgeSettings, around: Surroundings) -> None:
        """See `MakeSide`."""
        BRIDGES.find(settings.kind).check_installed()
        self.part = settings.called
        self._clock_ns = around.clock_ns
        self._log = structlog.get_logger()
        self._address = ""
        self._pid: int | None = None
        self._heard_ns = 0
        self._start = StartAllowance()
        self._starts = False
        self.process: SideProcess[Stop, BridgeReport] = SideProcess(
            Body(
                name_in_ps(settings.called),
                attend,
                (settings, facts_of(around.line)),
                niceness=NICENESS,
            ),
            Stop,
            BridgeReport,
            clock_ns=around.clock_ns,
        )

    def poll(self) -> None:
        """Hear it, and kill one that hangs."""
        found, now_ns = self.process.poll(), self._clock_ns()
        if self.process.pid != self._pid:
            self._pid, self._heard_ns = self.process.pid, now_ns + self._start.ns
            self._starts = True
        for message in found:
            # The first sign comes before its libraries are read: it keeps a start's patience.
            if message.fault != STARTING:
                self._start.started()
                self._starts, self._heard_ns = False, now_ns
            self._heard_ns, self.fault = max(now_ns, self._heard_ns), message.fault
            if message.address and message.address != self._address:
                self._address = message.address
                self._log.info("bridge", name=self.part, address=message.address)
        if self._pid is not None and now_ns - self._heard_ns > _HUNG_NS:
            self.fault = f"{self.part} hung for {_HUNG_NS // 10**9} s and is replaced"
            if self._starts:
                self._start.cut_short()
            # It is ended, and another takes its place: until then nobody is late.
            self._heard_ns, self._starts = now_ns + self._start.ns, False
            self.process.kill()
