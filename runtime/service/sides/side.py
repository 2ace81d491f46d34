"""What every process beside the line is to the gateway: told of things, and never waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.config.line import Line
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Verdict, WebDefect
from kenpin.runtime.service.inspection.changeover import Change
from kenpin.runtime.service.inspection.messages import BundleFacts
from kenpin.runtime.service.ledger import LedgerEntry
from kenpin.runtime.service.sides.messages import ArchiveCounts, LineTotals

__all__ = ["MakeSide", "Side", "Surroundings"]


@dataclass(frozen=True)
class Surroundings:
    """The line as a side's handle may know it.

    line       its settings
    boot       names this run of the service
    ring       the frames' memory
    give_back  takes a slot that was lent and is no longer needed
    counts     all that is known of the line now
    announce_roll  tells clients that a roll's page is written
    clock_ns   monotonic
    """

    line: Line
    boot: str
    ring: FrameRing
    give_back: Callable[[Ticket], None]
    counts: Callable[[], LineTotals]
    announce_roll: Callable[[str], None]
    clock_ns: Callable[[], int]

    def about(self) -> dict[str, Any]:
        """What is the same for every frame and every verdict."""
        line = self.line
        return {
            "box": line.box,
            "line": line.name,
            "cam": line.cam,
            "boot": self.boot,
            "sim": line.simulated,
        }


class Side(Protocol):
    """The gateway's handle on one process beside the line. Nothing here may wait.

    What is not overridden is of no interest to it.

    part     what alarms about it are about
    process  the process; it is started, polled and stopped by whoever holds all sides
    fault    what it last complained of; empty if nothing
    """

    part: str
    process: SideProcess[Any, Any]
    fault: str = ""

    @property
    def alarm(self) -> str:
        """What a person must look at; empty if nothing."""
        return self.process.ended or self.fault

    @property
    def archived(self) -> ArchiveCounts | None:
        """Of an archive, what it has kept."""
        return None

    def poll(self) -> None:
        """Hear what the process told."""
        self.process.poll()

    def verdict(self, entry: LedgerEntry, verdict: Verdict) -> None:
        """A verdict was given, on a frame or on the lack of one."""

    def found(self, verdict: Verdict) -> None:
        """What was found on a web, in time or not."""

    def also_found(self, defects: tuple[WebDefect, ...]) -> None:
        """Defects on a web that the verdict found last had no room for."""

    def in_force(self, facts: BundleFacts) -> None:
        """A bundle judges from now on."""

    def changed(self, change: Change) -> None:
        """Somebody asked for another bundle, and it has come so far."""

    def wanted(self) -> list[tuple[str, str]]:
        """Bundles of the store that it wants to judge from now on, and instead of which, by their
        folders' names: where another one is in force by then, nothing changes."""
        return []

    def offer(self, entry: LedgerEntry, verdict: Verdict, ticket: Ticket) -> bool:  # noqa: ARG002
        """Whether it takes the frame of the verdict that was just given; then it gives the slot
        back later, by `Surroundings.give_back`."""
        return False


class MakeSide(Protocol):
    """What `SideKind.handle` names."""

    def __call__(self, settings: Any, around: Surroundings) -> Side:
        """The handle of a process with these settings, which is not started yet."""
        ...
