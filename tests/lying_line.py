"""A line that keeps every promise but one: a small ROUTER and XPUB, for tests of its checkers."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

import msgpack
import zmq

from kenpin.runtime.judging.verdict import Outcome, Thresholds, Verdict
from kenpin.runtime.wire.encodings import CODECS
from kenpin.runtime.wire.verdict_messages import (
    Counts,
    Envelope,
    Identity,
    State,
    StateMessage,
    verdict_message,
)
from wire_samples import BOOT

__all__ = ["BUDGET_MS", "LyingLine"]

BUDGET_MS = 300
_MS = 1_000_000
_RESEND_NS = 20 * _MS
# The part about which it lies, counted from 1: by then it has made itself trusted.
_VICTIM = 6
_MISTAKES, _PAUSE_MS = 20, 250
# Our own naps on a busy machine must not explain it.
_STALE_MS = 900


class LyingLine(threading.Thread):
    """Honest as long as `lie` is empty. Use it in a `with`.

    encoding  of what it says to a client; it publishes msgpack
    """

    def __init__(
        self,
        folder: Path,
        lie: str = "",
        *,
        free: bool = False,
        encoding: str = "msgpack",
    ) -> None:
        super().__init__(daemon=True)
        self._codec = CODECS[encoding]
        self.ctl, self.pub = f"ipc://{folder}/ctl", f"ipc://{folder}/pub"
        self._lie = lie
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._router.setsockopt(zmq.LINGER, 0)
        self._router.bind(self.ctl)
        self._xpub = self._context.socket(zmq.XPUB)
        self._xpub.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._xpub.setsockopt(zmq.LINGER, 0)
        self._xpub.bind(self.pub)
        self._ending = threading.Event()
        self._state = State.CONTINUOUS if free else State.READY
        self._free = free
        self._boot = BOOT
        self._bundle = "b@000000000001"
        self._seq = self._frame = self._parts = self._beats = 0
        self._beat_ns = self._free_ns = time.monotonic_ns()
        # Parts run by themselves once somebody listens: who came late would miss the lie.
        self._joined = False
        self._frames: dict[str, int] = {}
        self._known: dict[str, dict[str, Any] | None] = {}
        self._due: list[tuple[int, bytes, str, int]] = []
        self._later: list[tuple[int, str, dict[str, Any]]] = []
        self._unacked: OrderedDict[int, tuple[bytes, dict[str, Any], int, int]] = OrderedDict()
        self._overrun = False
        # Kinds and fields that a test wants published; taken by the loop.
        self.to_publish: deque[tuple[str, dict[str, Any]]] = deque()
        self.commands: list[dict[str, Any]] = []

    # -- the loop --

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._xpub, zmq.POLLIN)
        while not self._ending.is_set():
            ready = dict(poller.poll(2))
            if self._xpub in ready and self._xpub.recv()[:1] == b"\x01":
                self._joined = True
                self._publish("state", self._state_fields())
            if self._router in ready:
                self._hear(*self._router.recv_multipart())
            self._timers(time.monotonic_ns())
        self._context.destroy(linger=0)

    def __enter__(self) -> LyingLine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join(10)

    def _timers(self, now: int) -> None:
        silent = self._lie == "silent" and self._beats > 3
        if now >= self._beat_ns and not silent:
            self._beat_ns += 100 * _MS
            self._beats += 2 if self._lie == "lost heartbeat" and self._beats == 3 else 1
            state = self._state.value
            if self._lie == "heartbeat of another state" and self._beats == 3:
                state = State.ERROR.value
            last = self._seq + (self._lie == "newest lost" and self._beats > 3)
            fields = {"hb_seq": self._beats, "state": state, "last_seq": last, "cam_ok": True}
            fields |= {"in_flight": 0, "bundle": self._bundle, "late_count": 0}
            self._publish("hb", self._head("hb") | fields)
        if self._free and self._joined and now >= self._free_ns:
            self._free_ns = max(self._free_ns, now - 100 * _MS) + 20 * _MS
            self._parts += 1
            self._conclude(b"", None, now, victim=self._parts == _VICTIM)
        for item in [item for item in self._due if item[0] <= now]:
            self._due.remove(item)
            _, client, trig, opened = item
            self._conclude(client, trig, opened, victim=self._victim == trig)
        while self.to_publish:
            kind, fields = self.to_publish.popleft()
            self._publish(kind, self._head(kind) | fields)
        for late in [late for late in self._later if late[0] <= now]:
            self._later.remove(late)
            self._publish(late[1], late[2])
        for seq, (client, fields, next_ns, ends_ns) in list(self._unacked.items()):
            if next_ns <= now <= ends_ns and self._lie != "never again":
                self._unacked[seq] = client, fields, now + _RESEND_NS, ends_ns
                if self._lie == "another mind":
                    fields = fields | {"score": 0.125}
                self._say(client, fields)

    # -- what it says --

    def _head(self, kind: str) -> dict[str, Any]:
        head = {"v": 1, "type": kind, "box": "box-7", "line": "web-1", "boot": self._boot}
        return head | {"t_mono_ns": time.monotonic_ns()}

    def _state_fields(self) -> dict[str, Any]:
        now = time.monotonic_ns()
        counts = Counts(frames=self._seq, ok=self._seq, ng=0, reasons={})
        return StateMessage(
            v=1, type="state", box="box-7", line="web-1", boot=self._boot, state=self._state,
            selftest=False, degraded=False, bundle=self._bundle, last_seq=self._seq,
            counts=counts, sim=True, t_mono_ns=now, t_wall_ns=time.time_ns(),
        ).model_dump(mode="json")  # fmt: skip

    def _publish(self, kind: str, fields: dict[str, Any]) -> None:
        self._xpub.send_multipart([f"v1/{kind}/web-1".encode(), msgpack.packb(fields)])

    def _say(self, client: bytes, fields: dict[str, Any]) -> None:
        self._router.send_multipart([client, self._codec.pack(fields)])

    # -- what it does --

    _victim = ""
    _session = ""
    _mistakes = 0
    _deaf_until = 0

    def _hear(self, client: bytes, payload: bytes) -> None:
        left_ms = (self._deaf_until - time.monotonic_ns()) // _MS
        try:
            command = self._codec.unpack(payload)
        except ValueError:
            self._mistakes += 1
            if self._mistakes == _MISTAKES:
                self._deaf_until = time.monotonic_ns() + _PAUSE_MS * _MS
            return
        if left_ms <= 0:
            self._obey(client, command)
        elif command["type"] == "trigger" and self._lie != "ignores whoever errs":
            paused = {"reason": "paused", "pause_ms": left_ms, "detail": f"paused: {left_ms} ms"}
            named = {"about": "trigger", "trig": command["trig"]}
            self._say(client, self._head("error") | named | paused)

    def _obey(self, client: bytes, command: dict[str, Any]) -> None:
        if command["type"] == "ack":
            found = self._unacked.pop(command["seq"], None)
            if found and self._lie == "deaf to acks":
                self._unacked[command["seq"]] = found
            if not self._unacked:
                self._overrun = False
        elif command["type"] == "hello":
            self._session = command["session"]
            self._say(client, self._state_fields() | {"session": self._session})
            for _, fields, _, _ in self._unacked.values():
                self._say(client, fields)
        elif command["type"] == "trigger":
            self._session = command["session"]
            self._trigger(client, command["trig"])
        else:
            self._change(client, command)

    def _change(self, client: bytes, command: dict[str, Any]) -> None:
        """Commands that are about the line, not about a part."""
        self.commands.append(command)
        said = {"reset": ["resetting"], "prepare": ["preparing", "prepared"]}
        for kind in said.get(command["type"], ["active"]):
            fields = {} if kind == "resetting" else {"bundle": command["bundle"], "detail": ""}
            self._say(client, self._head(kind) | fields)
        if command["type"] == "activate":
            self._bundle = command["bundle"]
            self._publish("state", self._state_fields())

    def _trigger(self, client: bytes, trig: str) -> None:
        now = time.monotonic_ns()
        fresh = trig not in self._known
        if fresh:
            self._parts += 1
            self._known[trig] = None
            if self._parts == _VICTIM:
                self._victim = trig
        victim = self._victim == trig
        overrun = self._overrun
        if self._lie == "overrun for nothing" and victim:
            overrun = True
        if self._lie == "overrun untold":
            overrun = False
        head = self._head("trigger_ack")
        deadline = head["t_mono_ns"] + BUDGET_MS * _MS
        if victim and self._lie == "all the time in the world":
            deadline += 100_000 * _MS
        said = {"trig": trig, "session": self._session, "fresh": fresh, "deadline_ns": deadline}
        said["overrun"] = overrun
        if self._lie == "shoots twice":
            said["fresh"] = True
        if not (victim and self._lie in ("no ack", "not a word")):
            self._say(client, head | said)
        if not fresh:
            answer = self._known[trig]
            if answer is not None:
                self._say(client, answer)
            return
        if victim and self._lie in ("no verdict", "not a word"):
            return
        self._frames[trig] = self._frame
        self._frame += 1
        if not (victim and self._lie in ("acquired late", "never acquired")):
            self._acquired(client, trig)
        wait_ms = BUDGET_MS + 400 if victim and self._lie == "late" else 3
        self._due.append((now + wait_ms * _MS, client, trig, now))

    def _acquired(self, client: bytes, trig: str) -> None:
        frame = self._frames[trig] + (self._lie == "another frame" and trig == self._victim)
        said = {"trig": trig, "session": self._session, "frame": frame}
        self._say(client, self._head("acquired") | said)

    def _conclude(self, client: bytes, trig: str | None, opened: int, *, victim: bool) -> None:
        lie = self._lie if victim else ""
        if lie == "silent bundle":  # it is told, and the old one judges on
            old, self._bundle = self._bundle, "b@000000000002"
            self._publish("state", self._state_fields())
            self._bundle = old
            opened = time.monotonic_ns() + 1
        if lie == "late":  # by its own account it was not
            opened = time.monotonic_ns()
        self._seq += 2 if lie == "lost" else 1
        frame = self._seq if trig is None else self._frames[trig]
        if lie == "frame judged twice":
            frame -= 1
        fields = self._verdict(trig, frame, opened, lie)
        told = dict(fields)
        if lie == "two minds":
            told["score"] = 0.0625
        if client:
            assert trig is not None
            self._known[trig] = fields
            if lie == "another part":
                fields = fields | {"trig": "somebody-else"}
            self._say(client, fields)
            if lie == "acquired late":
                self._acquired(client, trig)
            if lie == "judged twice":
                self._seq += 1
                second = fields | {"seq": self._seq, "frame": frame + 100}
                self._say(client, second)
                self._publish("verdict", told)
                told = second
            self._remember(client, fields, opened)
        if lie == "stale":
            self._later.append((time.monotonic_ns() + _STALE_MS * _MS, "verdict", told))
            return
        self._publish("verdict", told)
        if lie == "published twice":
            self._publish("verdict", told)

    def _remember(self, client: bytes, fields: dict[str, Any], opened: int) -> None:
        now = time.monotonic_ns()
        ends = opened + BUDGET_MS * _MS
        if self._lie == "deaf to acks":
            ends += 2000 * _MS
        self._unacked[fields["seq"]] = client, fields, now + _RESEND_NS, ends
        if len(self._unacked) > 8:
            self._unacked.popitem(last=False)
            self._overrun = True

    def _verdict(self, trig: str | None, frame: int, opened: int, lie: str) -> dict[str, Any]:
        now = time.monotonic_ns()
        bundle = "nobody@000000000009" if lie == "a bundle from nowhere" else self._bundle
        judged = opened + 2 * BUDGET_MS * _MS if lie == "slow, and OK" else now
        verdict = Verdict(
            outcome=Outcome.OK, reason=None, detail="", score=0.25, thresholds=Thresholds(0.5, 0.6),
            frame_index=frame, frame_name="", captured_ns=opened, judged_ns=judged,
            bundle=bundle, peak_xy=(1, 2), stages_us={"infer": 900},
        )  # fmt: skip
        who = Identity(
            box="box-7", line="web-1", cam="c", boot=self._boot, bundle=bundle, recipe_id="r",
            sim=True,
        )  # fmt: skip
        message = verdict_message(
            verdict, who, Envelope(self._seq, now, time.time_ns(), deadline_us=BUDGET_MS * 1000)
        )
        fields: dict[str, Any] = message.model_dump(mode="json") | {"trig": trig}
        if trig is not None:
            fields["session"] = "7x" if lie == "another session" else self._session
        if lie == "OK above the threshold":
            fields["score"] = 0.75
        elif lie == "zero":
            fields["verdict"] = 0
        elif lie == "another box":
            fields["box"] = "box-8"
        elif lie == "late, and free":
            fields["t_acq_ns"] = now - 2 * BUDGET_MS * _MS
        return fields
