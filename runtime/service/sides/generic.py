"""Any further process beside the line, as the gateway sees it: told of verdicts, lent frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.config.registry import load_object
from kenpin.config.sides import SIDES, SideSettings
from kenpin.processes.channel import Channel
from kenpin.processes.child import Body, name_in_ps
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.service.ledger import LedgerEntry
from kenpin.runtime.service.sides.loans import Loans, lent
from kenpin.runtime.service.sides.messages import GenericReport, ToGeneric, VerdictGiven
from kenpin.runtime.service.sides.side import Side, Surroundings

if TYPE_CHECKING:  # it loads numpy, which the gateway must not
    from kenpin.runtime.service.sides.generic_body import LineView

__all__ = ["GenericSide", "Work"]

# A process that keeps a frame longer hangs.
_HUNG_NS = 10_000_000_000
# So long after the last verdict was not told, a person still wants to know.
_RECENT_NS = 10_000_000_000


class Work(Protocol):
    """What `SideKind.work` names: a whole process beside the line."""

    def __call__(self, settings: Any, line: LineView) -> None:
        """Live until `line.verdicts()` ends.

        Whatever is raised ends the process; it is started again, at growing pauses, and an
        alarm says so.

        Parameters
        ----------
        settings
            The line's table, of the kind's own class.
        """
        ...


class GenericSide(Side):
    """Tells each verdict; what the process cannot take in time is counted and raises an alarm."""

    def __init__(self, settings: SideSettings, around: Surroundings) -> None:
        """See `MakeSide`."""
        self.part = settings.called
        self._frames = settings.frames
        self._clock_ns = around.clock_ns
        self._behind_ns: int | None = None
        self.process: SideProcess[ToGeneric, GenericReport] = SideProcess(
            Body(
                name_in_ps(settings.called),
                live,
                (SIDES.find(settings.kind).work, settings, around.about(), around.ring),
            ),
            ToGeneric,
            GenericReport,
            clock_ns=around.clock_ns,
        )
        self._loans = Loans(self.process, 1, _HUNG_NS, around.give_back, around.clock_ns)
        self._shown: int | None = None

    def offer(self, entry: LedgerEntry, verdict: Verdict, ticket: Ticket) -> bool:
        """Whether the frame goes with the verdict; see `Side`."""
        wanted = self._frames == "all" or verdict.outcome is Outcome.NG
        if self._frames == "none" or not wanted or not self._loans.can_lend(ticket):
            return False
        if not self._send(lent(entry, verdict, ticket)):
            return False
        self._loans.lend(ticket)
        self._shown = entry.seq
        return True

    def verdict(self, entry: LedgerEntry, verdict: Verdict) -> None:
        """Tell it, unless it went with its frame."""
        if entry.seq != self._shown:
            self._send(
                VerdictGiven(entry.seq, entry.trig, entry.opened_ns, entry.deadline_ns, verdict)
            )

    def poll(self) -> None:
        """Take slots back from whoever is done with them, or dead, or hangs."""
        for message in self.process.poll():
            self.fault = message.fault
            if message.ticket is not None:
                self._loans.returned(message.ticket)
        self._loans.look()

    def _send(self, message: ToGeneric) -> bool:
        sent = self.process.send(message)
        # Of one that is away it is known already.
        if not sent and not self.process.ended:
            self._behind_ns = self._clock_ns()
        return sent

    @property
    def alarm(self) -> str:
        """See `Side`."""
        if alarm := super().alarm:
            return alarm
        behind = self._behind_ns
        if behind is None or self._clock_ns() - behind > _RECENT_NS:
            return ""
        return f"verdicts are not told to {self.part}: it cannot take them as fast as they come"


def live(
    work: str,
    settings: SideSettings,
    about: Mapping[str, Any],
    ring: FrameRing,
    channel: Channel[GenericReport, ToGeneric],
) -> None:
    """Be the process, until the channel ends."""
    # Here, so that the gateway, which hands `live` out, need not load numpy.
    from kenpin.runtime.service.sides.generic_body import LineView

    body: Work = load_object(work)
    body(settings, LineView(about, ring, channel))
