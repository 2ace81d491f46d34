"""A bridge's process without the service around it: in front of a `LyingLine`, for tests."""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import Any

from kenpin.config.bridges import BridgeSettings
from kenpin.processes.channel import Stop
from kenpin.processes.child import Body
from kenpin.processes.side import SideProcess
from kenpin.runtime.bridges.process import NICENESS, BridgedLine, BridgeReport, attend
from lying_line import BUDGET_MS, LyingLine

__all__ = ["BridgeProcess", "free_port", "lying_facts"]


def free_port() -> int:
    """A TCP port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def lying_facts(line: LyingLine, *, triggered: bool = True) -> BridgedLine:
    """Of a line that a test plays."""
    return BridgedLine(
        box="box-7",
        line="web-1",
        triggered=triggered,
        budget_ms=BUDGET_MS,
        ctl=line.ctl,
        pub=line.pub,
        encoding="msgpack",
        pub_encoding="msgpack",
    )


class BridgeProcess(threading.Thread):
    """Started again when it ends, as the gateway does it. Use it in a `with`."""

    def __init__(self, settings: BridgeSettings, facts: BridgedLine) -> None:
        super().__init__(daemon=True)
        self.reports: list[BridgeReport] = []
        self._ending = threading.Event()
        self.process: SideProcess[Stop, BridgeReport] = SideProcess(
            Body("kenpin-bridge", attend, (settings, facts), niceness=NICENESS),
            Stop,
            BridgeReport,
        )

    def run(self) -> None:
        while not self._ending.is_set():
            handle = self.process.fileno()
            select.select([] if handle is None else [handle], [], [], 0.05)
            self.reports += self.process.poll()

    @property
    def pid(self) -> int:
        """Its number, while it lives."""
        pid = self.process.pid
        assert pid is not None
        return pid

    @property
    def fault(self) -> str:
        """What it last complained of."""
        return self.reports[-1].fault if self.reports else ""

    def __enter__(self) -> BridgeProcess:
        self.process.start()
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ending.set()
        self.join(10)
        if self.process.pid is not None:
            os.kill(self.process.pid, 18)  # one that stands still could not end
        self.process.stop(1.0)
