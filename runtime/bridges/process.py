"""A bridge's process: what it knows of its line, and how it tells the gateway that it lives."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import zmq
import zmq.asyncio

from kenpin.config.bridges import BRIDGES, BridgeSettings
from kenpin.config.line import Line
from kenpin.config.registry import load_object
from kenpin.config.text import shorten
from kenpin.processes.channel import Channel, Message, Stop
from kenpin.processes.memory import keep_what_is_loaded, tidy_up
from kenpin.runtime.bridges.link import LineLink, Unsaid
from kenpin.runtime.wire.client import Heard, LineClient, WireOptions
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS
from kenpin.runtime.wire.keys import read_client
from kenpin.runtime.wire.link import connecting

__all__ = [
    "ALIVE_S",
    "HISTORY",
    "NICENESS",
    "STARTING",
    "BridgeReport",
    "BridgeWork",
    "Bridged",
    "BridgedLine",
    "attend",
    "facts_of",
]

# Between two signs of life of a bridge; the gateway replaces one that hangs.
ALIVE_S = 1.0
# Between two looks for garbage.
_TIDY_S = 60.0
# Why a bridge is not reached whose libraries are still being read.
STARTING = "starting"
# What a simulated PLC calls a verdict that was held up on its way: for books, never for a gate.
HISTORY = "history"
# A gate waits for it, so less than the archive's; the line still comes first.
NICENESS = 5


class BridgeReport(Message, frozen=True):
    """A sign of life: where the bridge is reached, or why it is not."""

    address: str
    fault: str


@dataclass(frozen=True, slots=True)
class BridgedLine:
    """What a bridge must know of its line.

    triggered  verdicts answer TRIGGER messages; else every frame gets one
    ctl, pub   endpoints to connect to
    settings   the first 12 digits of the SHA-256 of all that is set of it
    img        endpoint of pictures; empty: it shows none
    """

    box: str
    line: str
    triggered: bool
    budget_ms: float
    ctl: str
    pub: str
    encoding: str
    pub_encoding: str
    settings: str = ""
    img: str = ""


def facts_of(line: Line) -> BridgedLine:
    """From the line's settings, which have passed their own checks."""
    wire = line.wire
    assert wire.ctl
    return BridgedLine(
        box=line.box,
        line=line.name,
        triggered=line.trigger.mode == "software",
        budget_ms=line.trigger.budget_ms,
        ctl=_connectable(wire.ctl),
        pub=_connectable(wire.pub),
        encoding=wire.encoding,
        pub_encoding=wire.pub_encoding or wire.encoding,
        settings=hashlib.sha256(line.model_dump_json().encode()).hexdigest()[:12],
        img=_connectable(wire.img) if wire.img else "",
    )


def _connectable(endpoint: str) -> str:
    """An endpoint that a client on the box connects to, from one that is bound."""
    for everywhere, here in (("*", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]")):
        if endpoint.startswith(f"tcp://{everywhere}:"):
            return endpoint.replace(everywhere, here, 1)
    return endpoint


class Bridged:
    """The line and the gateway, to the function that is a bridge. Use it in the event loop.

    facts  of the line
    """

    def __init__(
        self, facts: BridgedLine, keys: Path | None, name: str, channel: Channel[BridgeReport, Stop]
    ) -> None:
        self.facts = facts
        self._keys = keys
        self._name = name
        self._channel = channel
        self._report = BridgeReport("", STARTING)
        self._tidy_s: float | None = None
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None

    def client(self, suffix: str = "", *, listen: bool = True) -> LineClient:
        """A client of the line, under the bridge's name: so the line knows it again.

        suffix  tells several clients of one bridge apart
        listen  hears what is published, too
        """
        facts = self.facts
        return LineClient(
            facts.ctl,
            facts.pub if listen else None,
            name=f"bridge-{self._name}{suffix}",
            line=facts.line,
            options=WireOptions(
                facts.encoding,
                facts.pub_encoding,
                read_client(self._keys) if self._keys else None,
            ),
        )

    def link(self, hear: Callable[[Heard | Unsaid], None], **how: Any) -> LineLink:
        """The line, as a part of the running event loop; see `LineLink`.

        What `hear` raises ends the process: one that goes on after a mistake of its own
        would show a PLC what is not so.
        """

        def failed(error: Exception) -> None:
            self._failure = error
            self._ended.set()

        def heard(message: Heard | Unsaid) -> None:
            try:
                hear(message)
            except Exception as error:
                failed(error)
                raise

        return LineLink(self.client(**how), heard, failed, asyncio.get_running_loop())

    @contextlib.contextmanager
    def pictures(self, topic: bytes) -> Iterator[zmq.asyncio.Socket]:
        """What the line shows: at most two pictures wait to be read."""
        with zmq.asyncio.Context() as context:
            keys = read_client(self._keys) if self._keys else None
            socket = connecting(context, zmq.SUB, keys)
            # Pictures are longer than messages; they come from our own line.
            socket.setsockopt(zmq.MAXMSGSIZE, -1)
            socket.setsockopt(zmq.RCVHWM, 2)
            socket.subscribe(topic)
            socket.connect(self.facts.img)
            try:
                yield socket
            finally:
                socket.close(linger=0)

    def tell(self, *, address: str = "", fault: str = "") -> None:
        """Where the bridge is reached, or why it is not: an alarm says so, until the next."""
        if address and self._tidy_s is None:
            self._tidy_s = time.monotonic() + _TIDY_S
            keep_what_is_loaded()
        report = BridgeReport(address, shorten(fault, MAX_DETAIL_CHARS))
        if report != self._report:
            self._report = report
            self._channel.send(report)

    async def until_end(self) -> None:
        """Wait for the end of the line, giving signs of life."""
        loop = asyncio.get_running_loop()

        def heard() -> None:
            self._channel.receive()
            if self._channel.ended:
                self._ended.set()

        loop.add_reader(self._channel.fileno(), heard)
        try:
            while not self._ended.is_set():
                self._channel.send(self._report)
                if self._tidy_s is not None and time.monotonic() > self._tidy_s:
                    self._tidy_s = time.monotonic() + _TIDY_S
                    tidy_up()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), ALIVE_S)
        finally:
            loop.remove_reader(self._channel.fileno())
        if self._failure is not None:
            raise self._failure


class BridgeWork(Protocol):
    """What `BridgeKind.work` names: a whole bridge."""

    def __call__(self, settings: Any, bridged: Bridged) -> Awaitable[None]:
        """Live until `bridged.until_end()` returns.

        Whatever is raised ends the process; it is started again, at growing pauses, and an
        alarm says so. What may mend itself, such as a port that is taken, is told by
        `bridged.tell` and tried again.

        Parameters
        ----------
        settings
            The line's table, of the kind's own class.
        """
        ...


def attend(
    settings: BridgeSettings, facts: BridgedLine, channel: Channel[BridgeReport, Stop]
) -> None:
    """Be the process, until the channel ends."""
    work: BridgeWork = load_object(BRIDGES.find(settings.kind).work)
    bridged = Bridged(facts, settings.keys, f"{facts.line}-{settings.called}", channel)

    async def live() -> None:
        await work(settings, bridged)

    asyncio.run(live())
