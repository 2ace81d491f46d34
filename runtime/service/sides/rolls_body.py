"""The roll book's process: what verdicts say of a web, into files, however slow the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from kenpin.config.text import shorten
from kenpin.processes.channel import Channel
from kenpin.runtime.judging.verdict import WebFindings
from kenpin.runtime.service.sides.messages import (
    AddDefects,
    AddFindings,
    FromRolls,
    OpenBook,
    PageWritten,
    RollsFailed,
    StartRoll,
    ToRolls,
)
from kenpin.runtime.web.roll import RollBook
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS

__all__ = ["RollKeeper"]

# So long after a roll's end its last lines are waited for: the web may stand still.
LAST_LINES_S = 5.0


class RollKeeper:
    """Obeys; reports each page, and when the disk refuses. Then it goes on."""

    def __init__(self, folder: Path, line: str, channel: Channel[FromRolls, ToRolls]) -> None:
        self._folder = folder
        self._channel = channel
        self._facts = {"line": line, "box": os.uname().nodename, "bundle": ""}
        self._book: RollBook | None = None
        # What a verdict said, until all of its defects have come.
        self._partial: WebFindings | None = None
        self._waits_since: float | None = None

    def run(self) -> None:
        """Until nobody tells anything any more."""
        while not self._channel.ended:
            self._channel.wait(1.0)
            for message in self._channel.receive():
                self.obey(message)
            self.settle_in_time(time.monotonic())
        self.close()

    def obey(self, message: ToRolls) -> None:
        """Do as told; a disk that refuses is reported."""
        with self._faults_reported():
            self._obey(message)

    @contextmanager
    def _faults_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            detail = f"the roll book cannot be written: {error}"
            self._channel.send(RollsFailed(shorten(detail, MAX_DETAIL_CHARS)))

    def _obey(self, message: ToRolls) -> None:
        if isinstance(message, OpenBook):
            self._open(message)
        elif isinstance(message, AddFindings):
            self._facts["bundle"] = message.bundle
            self._add(message.findings)
        elif isinstance(message, AddDefects):
            if self._partial is not None:
                held, self._partial = self._partial, None
                self._add(replace(held, defects=(*held.defects, *message.defects)))
        elif isinstance(message, StartRoll):
            self._the_book.start(message.name, message.line)
        else:
            self._the_book.stop(message.line)

    def _add(self, findings: WebFindings) -> None:
        """Into the book, once all of its defects have come, or none can come any more."""
        self._flush()
        if findings.n_defects > len(findings.defects):
            self._partial = findings
        else:
            self._report(self._the_book.add(findings))

    def _flush(self) -> None:
        held, self._partial = self._partial, None
        if held is not None:
            self._report(self._the_book.add(held))

    def settle_in_time(self, now_s: float) -> None:
        """A roll that was ended while the web stands is not waited for."""
        waits = self._partial is not None or (self._book is not None and self._book.waits)
        if self._book is None or not waits:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now_s
        elif now_s - self._waits_since > LAST_LINES_S:
            with self._faults_reported():
                self._flush()
                self._report(self._book.settle())

    def close(self) -> None:
        """The web ends, or another bundle begins another book."""
        if self._book is not None:
            self._flush()
            self._report(self._book.close())

    @property
    def _the_book(self) -> RollBook:
        assert self._book is not None, "told of rolls before it was told of their web"
        return self._book

    def _open(self, opened: OpenBook) -> None:
        self.close()
        self._book = RollBook(self._folder, opened.web, opened.width_px, self._facts, _stamp)
        if opened.start and opened.web.roll.start_count is None:
            self._book.start()

    def _report(self, pages: list[Path]) -> None:
        for page in pages:
            self._channel.send(PageWritten(str(page)))


def _stamp() -> str:
    return datetime.now().astimezone().isoformat(" ", "seconds")
