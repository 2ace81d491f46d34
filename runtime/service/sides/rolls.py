"""The roll book of a web line, in a process of its own: it writes files, and may take its time."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kenpin.config.line import RollsSpec
from kenpin.config.web import WebSpec
from kenpin.processes.channel import Channel
from kenpin.processes.side import SideProcess
from kenpin.runtime.service.inspection.handle import BundleFacts, Judged

if TYPE_CHECKING:  # it loads numpy, which the gateway must not
    from kenpin.runtime.web.roll import RollBook

__all__ = ["Rolls"]


class Rolls:
    """The gateway's handle: tells the process what verdicts said, and hears what is written.

    running  whether a roll runs; None before a bundle for webs is in force
    """

    def __init__(self, spec: RollsSpec, line: str, clock_ns: Callable[[], int]) -> None:
        self._spec = spec
        self._bundle: dict[str, Any] | None = None
        self.side = SideProcess(
            "kenpin-rolls", keep, spec.folder, line, greet=self._greet, clock_ns=clock_ns
        )
        self.running: bool | None = None
        self.fault = ""

    def in_force(self, facts: BundleFacts) -> None:
        """A bundle judges from now on."""
        if facts.web is None:
            return
        told = {"web": facts.web, "width_px": facts.frame[1], "start": self._spec.start}
        if told != self._bundle:
            self._bundle, self.running = told, self._spec.start
            self.side.send({"do": "book", **told})

    def found(self, judged: Judged) -> None:
        """What was found on the web, in time or not."""
        self.side.send({"do": "findings", "web": judged.web, "bundle": judged.bundle})

    def start(self, name: str) -> bool:
        """A roll begins; False if it cannot."""
        if self.running is None or not self.side.send({"do": "start", "name": name}):
            return False
        self.running = True
        return True

    def stop(self) -> bool:
        """The roll ends; False if none runs."""
        if not self.running or not self.side.send({"do": "stop"}):
            return False
        self.running = False
        return True

    def poll(self) -> list[str]:
        """The pages that were written. `fault` says what is wrong, if anything."""
        pages = []
        for message in self.side.poll():
            if message["event"] == "written":
                pages.append(message["page"])
            self.fault = message.get("detail", "")
        return pages

    @property
    def complaint(self) -> str:
        """What a person must look at; empty if nothing."""
        lost = f"{self.side.refused} findings found no room: the rolls have holes"
        return self.side.ended or self.fault or (lost if self.side.refused else "")

    def _greet(self) -> list[dict[str, Any]]:
        return [] if self._bundle is None else [{"do": "book", **self._bundle}]


def keep(folder: Path, line: str, channel: Channel) -> None:
    """Write down what verdicts on a web said, until the channel ends."""
    keeper = _Keeper(folder, line, channel)
    while not channel.ended:
        channel.wait(1.0)
        for message in channel.receive():
            keeper.do(message)
    keeper.close()


class _Keeper:
    """Obeys `book` (web, width_px, start), `findings` (web, bundle), `start` (name) and `stop`.

    Tells `written` with each page, `failed` when the disk refuses; then it goes on.
    """

    def __init__(self, folder: Path, line: str, channel: Channel) -> None:
        self._folder = folder
        self._channel = channel
        self._facts = {"line": line, "box": os.uname().nodename, "bundle": ""}
        self._book: RollBook | None = None
        self._do: dict[str, Callable[[dict[str, Any]], None]] = {
            "book": self._open,
            "findings": self._add,
            "start": lambda message: self._the_book.start(message["name"]),
            "stop": lambda _: self._the_book.stop(),
        }

    def do(self, message: dict[str, Any]) -> None:
        """Obey; a disk that refuses is told of."""
        try:
            self._do[message["do"]](message)
        except OSError as error:
            detail = f"the roll book cannot be written: {error}"
            self._channel.send({"event": "failed", "detail": detail[:500]})

    def close(self) -> None:
        """The web ends, or another bundle begins another book."""
        if self._book is not None:
            self._tell(self._book.close())

    @property
    def _the_book(self) -> RollBook:
        assert self._book is not None, "told of rolls before it was told of their web"
        return self._book

    def _open(self, message: dict[str, Any]) -> None:
        # Here, so that the gateway, which hands `keep` out, need not load numpy.
        from kenpin.runtime.web.roll import RollBook

        self.close()
        web = WebSpec.model_validate(message["web"])
        self._book = RollBook(self._folder, web, message["width_px"], self._facts, _stamp)
        if message["start"] and web.roll.start_count is None:
            self._book.start()

    def _add(self, message: dict[str, Any]) -> None:
        from kenpin.runtime.web.plain import findings_of

        self._facts["bundle"] = message["bundle"]
        self._tell(self._the_book.add(findings_of(message["web"])))

    def _tell(self, pages: list[Path]) -> None:
        for page in pages:
            self._channel.send({"event": "written", "page": str(page)})


def _stamp() -> str:
    return datetime.now().astimezone().isoformat(" ", "seconds")
