"""The roll book of a web line, in a process of its own: it writes files, and may take its time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from kenpin.config.line import RollsSpec
from kenpin.config.web import WebSpec
from kenpin.processes.channel import Channel, Message
from kenpin.processes.side import SideProcess
from kenpin.runtime.judging.verdict import Verdict, WebFindings
from kenpin.runtime.service.inspection.messages import BundleFacts
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS

if TYPE_CHECKING:  # it loads numpy, which the gateway must not
    from kenpin.runtime.web.roll import RollBook
from kenpin.runtime.service.sides.side import Side, Surroundings

__all__ = ["Rolls"]

# So long after a roll's end its last lines may be waited for: the web may stand still.
PATIENCE_S = 5.0


class OpenBook(Message, frozen=True):
    """Keep rolls of such a web from now on; `start`: the first one begins at once."""

    web: WebSpec
    width_px: int
    start: bool


class AddFindings(Message, frozen=True):
    """What a verdict said of the web, and which bundle gave it."""

    findings: WebFindings
    bundle: str


class StartRoll(Message, frozen=True):
    """A roll begins."""

    name: str


class StopRoll(Message, frozen=True):
    """The roll ends."""


ToRolls = OpenBook | AddFindings | StartRoll | StopRoll


class PageWritten(Message, frozen=True):
    """A roll's page is on the disk."""

    page: str


class RollsFailed(Message, frozen=True):
    """The disk refuses."""

    detail: str


FromRolls = PageWritten | RollsFailed
_Channel = Channel[FromRolls, ToRolls]


class Rolls(Side):
    """The gateway's handle: tells the process what verdicts said, and hears what is written.

    running  whether a roll runs; None before a bundle for webs is in force
    """

    part = "rolls"

    def __init__(self, settings: RollsSpec, around: Surroundings) -> None:
        """See `MakeSide`."""
        self._settings = settings
        self._tell_roll = around.tell_roll
        self._log = structlog.get_logger()
        self._book: OpenBook | None = None
        self.process: SideProcess[ToRolls, FromRolls] = SideProcess(
            "kenpin-rolls",
            keep,
            settings.folder,
            around.line.name,
            told=ToRolls,
            tells=FromRolls,
            greet=self._greet,
            clock_ns=around.clock_ns,
        )
        self.running: bool | None = None
        self.fault = ""

    def in_force(self, facts: BundleFacts) -> None:
        """A bundle judges from now on."""
        if facts.web is None:
            return
        book = OpenBook(facts.web, facts.frame[1], self._settings.start)
        if book != self._book:
            self._book, self.running = book, self._settings.start
            self.process.send(book)

    def found(self, verdict: Verdict) -> None:
        """What was found on the web, in time or not."""
        if verdict.web is not None:
            self.process.send(AddFindings(verdict.web, verdict.bundle))

    def start(self, name: str) -> bool:
        """A roll begins; False if it cannot."""
        if self.running is None or not self.process.send(StartRoll(name)):
            return False
        self.running = True
        return True

    def stop(self) -> bool:
        """The roll ends; False if none runs."""
        if not self.running or not self.process.send(StopRoll()):
            return False
        self.running = False
        return True

    def poll(self) -> None:
        """Tell of the pages that were written. `fault` says what is wrong, if anything."""
        for message in self.process.poll():
            if isinstance(message, PageWritten):
                self.fault = ""
                self._log.info("roll", page=message.page)
                self._tell_roll(message.page)
            else:
                self.fault = message.detail

    @property
    def alarm(self) -> str:
        """What a person must look at; empty if nothing."""
        lost = f"{self.process.refused} findings found no room: the rolls have holes"
        return self.process.ended or self.fault or (lost if self.process.refused else "")

    def _greet(self) -> list[ToRolls]:
        return [] if self._book is None else [self._book]


def keep(folder: Path, line: str, channel: _Channel) -> None:
    """Write down what verdicts on a web said, until the channel ends."""
    keeper = _Keeper(folder, line, channel)
    while not channel.ended:
        channel.wait(1.0)
        for message in channel.receive():
            keeper.do(message)
        keeper.look(time.monotonic())
    keeper.close()


class _Keeper:
    """Obeys; tells of each page, and when the disk refuses. Then it goes on."""

    def __init__(self, folder: Path, line: str, channel: _Channel) -> None:
        self._folder = folder
        self._channel = channel
        self._facts = {"line": line, "box": os.uname().nodename, "bundle": ""}
        self._book: RollBook | None = None
        self._waits_since: float | None = None

    def do(self, message: ToRolls) -> None:
        """Obey; a disk that refuses is told of."""
        with self._told():
            self._obey(message)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            detail = f"the roll book cannot be written: {error}"
            self._channel.send(RollsFailed(detail[:MAX_DETAIL_CHARS]))

    def _obey(self, message: ToRolls) -> None:
        if isinstance(message, OpenBook):
            self._open(message)
        elif isinstance(message, AddFindings):
            self._facts["bundle"] = message.bundle
            self._tell(self._the_book.add(message.findings))
        elif isinstance(message, StartRoll):
            self._the_book.start(message.name)
        else:
            self._the_book.stop()

    def look(self, now_s: float) -> None:
        """A roll that was ended while the web stands is not waited for."""
        if self._book is None or not self._book.waits:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now_s
        elif now_s - self._waits_since > PATIENCE_S:
            with self._told():
                self._tell(self._book.settle())

    def close(self) -> None:
        """The web ends, or another bundle begins another book."""
        if self._book is not None:
            self._tell(self._book.close())

    @property
    def _the_book(self) -> RollBook:
        assert self._book is not None, "told of rolls before it was told of their web"
        return self._book

    def _open(self, told: OpenBook) -> None:
        # Here, so that the gateway, which hands `keep` out, need not load numpy.
        from kenpin.runtime.web.roll import RollBook

        self.close()
        self._book = RollBook(self._folder, told.web, told.width_px, self._facts, _stamp)
        if told.start and told.web.roll.start_count is None:
            self._book.start()

    def _tell(self, pages: list[Path]) -> None:
        for page in pages:
            self._channel.send(PageWritten(str(page)))


def _stamp() -> str:
    return datetime.now().astimezone().isoformat(" ", "seconds")
