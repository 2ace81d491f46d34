"""The roll book as the gateway sees it: told what verdicts say of the web, never waited for."""

from __future__ import annotations

from pathlib import Path

import structlog

from kenpin.config.line import RollsSpec
from kenpin.processes.channel import Channel
from kenpin.processes.child import Body
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Verdict, WebDefect
from kenpin.runtime.service.inspection.messages import BundleFacts
from kenpin.runtime.service.sides.messages import (
    AddDefects,
    AddFindings,
    FromRolls,
    OpenBook,
    PageWritten,
    StartRoll,
    StopRoll,
    ToRolls,
)
from kenpin.runtime.service.sides.side import Side, Surroundings

__all__ = ["Rolls"]


class Rolls(Side):
    """The gateway's handle: tells the process what verdicts said, and hears what is written.

    running  whether a roll runs; None before a bundle for webs is in force
    """

    part = "rolls"

    def __init__(self, settings: RollsSpec, around: Surroundings) -> None:
        """See `MakeSide`."""
        self._settings = settings
        self._announce_roll = around.announce_roll
        self._log = structlog.get_logger()
        self._book: OpenBook | None = None
        self.process: SideProcess[ToRolls, FromRolls] = SideProcess(
            Body("kenpin-rolls", keep, (settings.folder, around.line.name)),
            ToRolls,
            FromRolls,
            greet=self._greet,
            clock_ns=around.clock_ns,
        )
        self.running: bool | None = None
        # What a successor of the process is told first.
        self._greeting: list[ToRolls] = []
        self._torn = False
        self._written_off = 0

    def in_force(self, facts: BundleFacts) -> None:
        """A bundle judges from now on."""
        if facts.web is None:
            return
        book = OpenBook(facts.web, facts.frame[1], self._settings.start)
        if book != self._book:
            self._book, self.running = book, self._settings.start
            self._greeting = [book]
            self.process.send(book)

    def found(self, verdict: Verdict) -> None:
        """What was found on the web, in time or not."""
        if verdict.web is not None:
            self.process.send(AddFindings(verdict.web, verdict.bundle))

    def also_found(self, defects: tuple[WebDefect, ...]) -> None:
        """See `Side`."""
        self.process.send(AddDefects(defects))

    def start(self, name: str, line: int) -> bool:
        """A roll begins with a line; False if it cannot.

        line  as many as have come: what they came to may be judged after the command
        """
        began = StartRoll(name, line)
        if self.running is None or not self.process.send(began):
            return False
        self._left(True, began)
        return True

    def stop(self, line: int) -> bool:
        """The roll ends before a line; see `start`. False if none runs."""
        if not self.running or not self.process.send(StopRoll(line)):
            return False
        self._left(False)
        return True

    def _left(self, running: bool, *said: ToRolls) -> None:
        """A successor goes on as a client left it, not as the line begins."""
        assert self._book is not None, "a roll was begun or ended without a book"
        self.running = running
        self._greeting = [OpenBook(self._book.web, self._book.width_px, start=False), *said]

    def poll(self) -> None:
        """Tell of the pages that were written. `fault` says what is wrong, if anything."""
        for message in self.process.poll():
            if isinstance(message, PageWritten):
                self.fault = ""
                # The roll with the holes has ended; the next one has none of them.
                self._written_off = self.process.refused
                self._torn = False
                self._log.info("roll", page=message.page)
                self._announce_roll(message.page)
            else:
                self.fault = message.detail

    @property
    def alarm(self) -> str:
        """What a person must look at; empty if nothing."""
        holes = self.process.refused - self._written_off
        lost = f"{holes} findings found no room: the roll has holes"
        torn = "its process was replaced: what the roll held before is in its .jsonl alone"
        whole = lost if holes else torn if self._torn else ""
        return super().alarm or whole

    def _greet(self) -> list[ToRolls]:
        self._torn = bool(self.running)
        return self._greeting


def keep(folder: Path, line: str, channel: Channel[FromRolls, ToRolls]) -> None:
    """Write down what verdicts on a web said, until the channel ends."""
    # Here, so that the gateway, which hands `keep` out, need not load numpy.
    from kenpin.runtime.service.sides.rolls_body import RollKeeper

    RollKeeper(folder, line, channel).run()
