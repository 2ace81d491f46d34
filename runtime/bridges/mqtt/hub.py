"""Between the line and a broker: what is published where, and what clients say. No socket."""

from __future__ import annotations

import contextlib
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from kenpin.runtime.bridges.commands import parsed
from kenpin.runtime.bridges.link import Unsaid
from kenpin.runtime.bridges.mqtt.backlog import Backlog
from kenpin.runtime.bridges.mqtt.pictures import Pictures, asked_for
from kenpin.runtime.wire.client import Heard
from kenpin.runtime.wire.line_messages import Alarm
from kenpin.runtime.wire.map_encoding import MAX_MESSAGE_BYTES

__all__ = ["FRESH_NS", "ClientLink", "Hub", "Outgoing", "base_topic"]

# Three heartbeats: what is older says nothing of the present.
FRESH_NS = 300_000_000
# A client that has said nothing for so long makes room for another, if there is none.
_IDLE_NS = 60_000_000_000
# Kept by a broker; a line has a dozen sources.
_MOST_ALARMS = 64
_NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")


def base_topic(prefix: str, line: str) -> str:
    """What every topic of a line begins with."""
    return f"{prefix}/{line}/"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message for the broker.

    topic    below the line's own
    made_ns  when the line made it, by the box's monotonic clock; None: it does not age
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    made_ns: int | None = None


class ClientLink(Protocol):
    """As `LineLink`: the line, to one client of the broker."""

    def say(self, kind: str, **fields: Any) -> None:
        """Send a command."""
        ...

    def begin(self, session: str) -> None:
        """Open a session."""
        ...

    def close(self) -> None:
        """Let go of the line."""
        ...


class Hub:
    """What goes to the broker, and what comes from it.

    send   takes a message for the broker; False if it cannot be sent now
    open   makes a link for a client, given its name and who hears what it is told
    store  verdicts that wait for the broker
    most   clients that may talk with the line at a time
    pictures
           of NG parts, for whoever asks
    """

    def __init__(
        self,
        send: Callable[[Outgoing], bool],
        open_link: Callable[[str, Callable[[Heard | Unsaid], None]], ClientLink],
        store: Backlog,
        most: int,
        pictures: Pictures,
    ) -> None:
        self._send = send
        self._pictures = pictures
        self._open = open_link
        self.store = store
        self._most = most
        # Whoever spoke last is the last, with the time of it.
        self._links: OrderedDict[str, tuple[ClientLink, int]] = OrderedDict()
        self._retained: dict[str, Outgoing] = {}
        # Alarms that are open as far as the broker knows, by topic.
        self._alarms: dict[str, Mapping[str, Any]] = {}
        self._boot = ""

    # -- from the line ---------------------------------------------------------------------

    def published(self, message: Heard | Unsaid, now_ns: int) -> None:
        """What the line tells everybody."""
        if isinstance(message, Unsaid) or not message.topic:
            return
        kind, payload = message.kind, _json(message.fields)
        made_ns: int = message.fields["t_mono_ns"]
        self._boot = message.fields["boot"]
        self._end_former_alarms()
        if kind == "verdict":
            late = now_ns - made_ns > FRESH_NS
            if late or not self._send(Outgoing(kind, payload, 1, made_ns=made_ns)):
                self.store.add(payload)
        elif kind == "hb":
            self._send(Outgoing(kind, payload, made_ns=made_ns))
        elif kind in ("state", "alarm"):
            topic = kind if kind == "state" else f"alarm/{_level(message.fields['source'])}"
            if kind == "alarm":
                self._note_alarm(topic, message.fields)
            self._retained[topic] = Outgoing(topic, payload, 1, retain=True)
            self._send(self._retained[topic])
        else:
            self._send(Outgoing(kind, payload, 1))

    def connected(self) -> None:
        """The broker is there: it may know nothing, or only what was true once."""
        for outgoing in self._retained.values():
            self._send(outgoing)

    def kept(self, topic: str, payload: bytes) -> None:
        """What the broker has kept of an alarm, of this start of the line or a former one."""
        if len(payload) > MAX_MESSAGE_BYTES or len(self._alarms) >= _MOST_ALARMS:
            return
        # Anybody may publish there: what is no alarm of a line is somebody else's.
        with contextlib.suppress(ValidationError):
            alarm = Alarm.model_validate_json(payload)
            if topic not in self._retained:
                self._note_alarm(topic, alarm.model_dump(mode="json"))
                self._end_former_alarms()

    def _note_alarm(self, topic: str, fields: Mapping[str, Any]) -> None:
        self._alarms.pop(topic, None)
        if fields["active"]:
            self._alarms[topic] = fields

    def _end_former_alarms(self) -> None:
        """A line that starts anew tells what is open, and nothing of what was before."""
        for topic, fields in list(self._alarms.items()):
            if fields["boot"] == self._boot or not self._boot:
                continue
            del self._alarms[topic]
            payload = _json({**fields, "active": False, "detail": ""})
            over = Outgoing(topic, payload, 1, retain=True)
            # One that the broker alone knew comes again from there, should it not be sent now.
            if topic in self._retained:
                self._retained[topic] = over
            self._send(over)

    # -- from the broker -------------------------------------------------------------------

    def said(self, topic: str, payload: bytes, now_ns: int, *, retained: bool) -> None:
        """A client of the broker says something, on `in/CLIENT/KIND` below the line's topic."""
        name, _, kind = topic.removeprefix("in/").partition("/")
        if not topic.startswith("in/") or not _NAME.fullmatch(name):
            return  # nobody to answer
        if kind == "picture" and not retained:
            self._show(name, payload)
            return
        why = "a retained command: the part has long gone; publish it without retain"
        fields: dict[str, Any] | None = None
        if not retained:
            fields, why = parsed(kind, payload)
        if fields is None:
            self._error(name, kind, None, why)
            return
        link = self._link(name, now_ns)
        if link is None:
            self._error(name, kind, fields.get("trig"), f"{self._most} clients are there already")
        elif kind == "hello":
            link.begin(fields["session"])
        else:
            link.say(kind, **fields)

    def _show(self, name: str, payload: bytes) -> None:
        """Give a client the picture that it asks for."""
        seq, why = asked_for(payload)
        found = None if why else self._pictures.find(seq)
        if found is None:
            self._error(name, "picture", None, why or self._pictures.why_not(seq))
        elif not self._send(Outgoing(f"to/{name}/picture/{found[0]}", found[1])):
            self._error(name, "picture", None, "too much is waiting for the broker; ask again")

    def _link(self, name: str, now_ns: int) -> ClientLink | None:
        link = self._links[name][0] if name in self._links else None
        if link is None and self._room(now_ns):
            link = self._open(name, lambda message: self._heard(name, message))
        if link is not None:
            self._links[name] = link, now_ns
            self._links.move_to_end(name)
        return link

    def _room(self, now_ns: int) -> bool:
        """Whether one more may come; a broker tells nobody that a client has gone for good."""
        if len(self._links) >= self._most:
            oldest, (link, spoke_ns) = next(iter(self._links.items()))
            if now_ns - spoke_ns <= _IDLE_NS:
                return False
            del self._links[oldest]
            link.close()
        return True

    def _heard(self, name: str, message: Heard | Unsaid) -> None:
        if isinstance(message, Unsaid):
            self._error(name, message.kind, message.fields.get("trig"), message.why)
        else:
            # Of any age: who asks again for a part must be told. The client's timer decides.
            self._send(Outgoing(f"to/{name}/{message.kind}", _json(message.fields)))

    def _error(self, name: str, about: str, trig: str | None, detail: str) -> None:
        said = {"v": 1, "type": "error", "about": about, "trig": trig, "detail": detail}
        self._send(Outgoing(f"to/{name}/error", _json(said)))

    def close(self) -> None:
        """Let go of the line for every client."""
        for link, _ in self._links.values():
            link.close()
        self._links.clear()


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def _level(text: str) -> str:
    return _UNFIT.sub("_", text) or "_"
