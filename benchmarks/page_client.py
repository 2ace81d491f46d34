"""A client of a line, written from docs/protocol.md alone, with pyzmq and json."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import zmq

__all__ = ["Heard", "PageClient", "opens_gate"]

RUNNING = ("operational.ready", "operational.single", "operational.continuous")
# Three heartbeats.
STALE_NS = 300_000_000


@dataclass(frozen=True)
class Heard:
    """A message: over which socket, its bytes, what it says, and when it came (monotonic)."""

    where: str
    raw: bytes
    fields: dict[str, Any]
    at_ns: int


class PageClient:
    """One DEALER that triggers, one SUB that listens; see "Writing a client".

    boot, state  as published last; empty before
    beat_ns      when the last heartbeat was heard
    """

    def __init__(self, ctl: str, pub: str, name: str, line: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._endpoint, self._name = ctl, name.encode()
        self._topics = {f"v1/{kind}/{line}" for kind in ("hb", "state", "verdict", "late")}
        self._sub = self._context.socket(zmq.SUB)
        self._sub.setsockopt(zmq.RCVHWM, 100_000)
        for topic in self._topics:
            self._sub.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self._sub.connect(pub)
        self._ctl = self._dealer()
        self.boot = self.state = ""
        self.beat_ns = 0

    def _dealer(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, self._name)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.connect(self._endpoint)
        return socket

    def say(self, kind: str, **fields: Any) -> bool:
        """Send a command; False if nobody is connected."""
        return self.say_raw(json.dumps({"v": 1, "type": kind, **fields}).encode())

    def say_raw(self, payload: bytes) -> bool:
        """Send any bytes."""
        try:
            self._ctl.send(payload, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def vanish(self) -> None:
        """Close the DEALER without a word, and open another of the same name."""
        self._ctl.close(0)
        self._ctl = self._dealer()

    def hear(self, ms: int) -> list[Heard]:
        """All that has come, or comes within so many milliseconds."""
        poller = zmq.Poller()
        poller.register(self._ctl, zmq.POLLIN)
        poller.register(self._sub, zmq.POLLIN)
        found = []
        for socket, _ in poller.poll(ms):
            while True:
                try:
                    frames = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                if socket is self._sub and frames[0].decode() not in self._topics:
                    continue
                raw = frames[0] if socket is self._ctl else frames[1]
                fields = json.loads(raw)
                heard = Heard(
                    "ctl" if socket is self._ctl else "pub", raw, fields, time.monotonic_ns()
                )
                self._note(heard)
                found.append(heard)
        return found

    def _note(self, heard: Heard) -> None:
        self.boot = heard.fields["boot"]
        if heard.fields["type"] == "hb":
            self.beat_ns = heard.at_ns
        if heard.fields["type"] in ("hb", "state"):
            self.state = heard.fields["state"]

    def healthy(self, now_ns: int) -> bool:
        """Rule 6: heartbeats come, and the state may trigger."""
        return now_ns - self.beat_ns < STALE_NS and self.state in RUNNING

    def close(self) -> None:
        """Vanish."""
        self._context.destroy(linger=0)


def opens_gate(fields: dict[str, Any], trig: str, session: str, boot: str) -> bool:
    """Rules 1 and 2, and the page's "refuse one that contradicts itself"."""
    named = (
        fields.get("trig") == trig and fields.get("session") == session and fields["boot"] == boot
    )
    says_ok = type(fields.get("verdict")) is int and fields["verdict"] == 1 and not fields["sim"]
    if not (named and says_ok):
        return False
    doubtful = (
        fields["unsure"] or fields["partial"] or fields["late"] or fields["reason"] is not None
    )
    if fields["code"] != 0 or doubtful or not fields["score"] <= fields["thr"]:
        raise ValueError(f"an OK that contradicts itself: {fields}")
    return True
