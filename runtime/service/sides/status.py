"""The status page as the gateway sees it: somebody who is told things, and may be deaf."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from kenpin.config.line import Line, StatusSpec
from kenpin.processes.channel import Channel
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Verdict
from kenpin.runtime.service.ledger import Entry

__all__ = ["SNAPSHOT_NS", "Status"]

# /healthz calls a gateway dead that was silent three times as long.
SNAPSHOT_NS = 1_000_000_000


class Status:
    """Tells the page each verdict's times and, every second, all counts as they stand.

    Counts are told as totals, so that a lost message, or a page that was killed,
    never makes one wrong; only a histogram may miss an observation.

    snapshot  all that is known of the line now
    """

    def __init__(
        self,
        line: Line,
        spec: StatusSpec,
        snapshot: Callable[[], Mapping[str, Any]],
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._snapshot = snapshot
        self._clock_ns = clock_ns
        self._next_ns = 0
        self._fault = ""
        self.address = ""
        self.side = SideProcess(
            "kenpin-status",
            show,
            spec,
            line.name,
            line.trigger.budget_ms / 1000,
            greet=lambda: [self._told()],
            clock_ns=clock_ns,
        )

    def verdict(self, _entry: Entry, verdict: Verdict) -> None:
        """A verdict was given."""
        self.side.send({"stages_us": dict(verdict.stages_us), "score": verdict.score})

    def poll(self) -> str:
        """Tell what is due; where the page is, if that is news."""
        before = self.address
        for message in self.side.poll():
            self._fault, self.address = message["fault"], message["address"]
        now = self._clock_ns()
        if now >= self._next_ns and self.side.fileno() is not None:
            self._next_ns = now + SNAPSHOT_NS
            self.side.send(self._told())
        return self.address if self.address != before else ""

    def _told(self) -> dict[str, Any]:
        return {"snapshot": {**self._snapshot(), "untold": self.side.refused}}

    @property
    def complaint(self) -> str:
        """What a person must look at; empty if nothing."""
        return self.side.ended or self._fault

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self.side.pid


def show(spec: StatusSpec, line: str, budget_s: float, channel: Channel) -> None:
    """Serve the page until the channel ends."""
    # Here: the gateway, which hands `show` out, needs neither HTTP nor Prometheus.
    from kenpin.runtime.service.sides.status_body import StatusPage

    StatusPage(spec, line, budget_s, channel).run()
