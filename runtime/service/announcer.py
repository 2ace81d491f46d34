"""What the line says: verdicts, states, heartbeats and alarms, as messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import msgpack

from kenpin.config.line import Line
from kenpin.runtime.door import Door
from kenpin.runtime.endpoints import EndpointError
from kenpin.runtime.messages import Counts, Identity, State, StateMessage, topic, verdict_message
from kenpin.runtime.service.changeover import Change
from kenpin.runtime.service.ctl import Command, ControlSocket
from kenpin.runtime.service.inspector import BundleFacts, Judged
from kenpin.runtime.service.ledger import Entry, Ledger
from kenpin.runtime.sockets import VerdictPublisher
from kenpin.runtime.verdict import Outcome, Reason, Verdict
from kenpin.runtime.web_message import WebPart
from kenpin.runtime.wire import Encoding, encode

__all__ = ["Announcer"]


class Announcer:
    """Speaks for the line. Sending never waits for a reader."""

    def __init__(
        self,
        line: Line,
        boot: str,
        ledger: Ledger,
        *,
        mono_ns: Callable[[], int],
        wall_ns: Callable[[], int],
    ) -> None:
        self._line = line
        self._ledger = ledger
        self._mono_ns = mono_ns
        self._wall_ns = wall_ns
        self._identity = Identity(
            box=line.box,
            line=line.name,
            cam=line.cam,
            boot=boot,
            bundle="",
            recipe_id="",
            sim=line.simulated,
        )
        self._encoding = Encoding(line.wire.encoding)
        self._door = Door(line.wire.keys, ipc_group=line.wire.ipc_group, clock_ns=mono_ns)
        self._publisher = VerdictPublisher(line.wire.pub, door=self._door)
        try:
            self._control = (
                ControlSocket(self._door, line.wire.ctl, self._encoding, mono_ns)
                if line.wire.ctl
                else None
            )
        except EndpointError:
            self._publisher.close()
            raise
        self._beats = 0
        self._publisher.greet_with(lambda: (topic("state", line.name), self._encoded_state()))
        self._verdict_topic = topic("verdict", line.name)
        self._standing: tuple[State, str, bool, bool] = (State.PREOPERATIONAL, "", False, False)

    @property
    def state(self) -> State:
        """The state last told."""
        return self._standing[0]

    @property
    def sockets(self) -> tuple[Any, ...]:
        """What to poll."""
        control = () if self._control is None else (self._control.socket,)
        return (self._publisher.socket, *control, *self._door.sockets)

    @property
    def door(self) -> Door:
        """Who may come in."""
        return self._door

    def serve(self, handle: Callable[[bytes, Command], None]) -> None:
        """Greet newcomers, and hand over what clients command."""
        self._publisher.serve_subscriptions()
        if self._control is not None:
            self._control.receive(handle)

    def tell(self, client: Hashable, kind: str, **fields: Any) -> None:
        """Say something to one client."""
        if self._control is not None and isinstance(client, bytes):
            self._control.send(client, self._head(kind) | fields)

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "v": 1,
            "type": kind,
            "box": self._line.box,
            "line": self._line.name,
            "boot": self._identity.boot,
            "t_mono_ns": self._mono_ns(),
        }

    def _publish(self, kind: str, fields: Mapping[str, Any]) -> None:
        message = self._head(kind) | dict(fields)
        if self._encoding is Encoding.JSON:
            payload = json.dumps(message).encode()
        else:
            payload = msgpack.packb(message)
        self._publisher.publish(f"v1/{kind}/{self._line.name}", payload)

    def accepted(self, entry: Entry, fresh: bool) -> None:
        """The trigger is in the books: it will get its verdict."""
        self.tell(
            entry.owner,
            "trigger_ack",
            trig=entry.trig,
            fresh=fresh,
            deadline_ns=entry.deadline_ns,
            overrun=self._ledger.overrun(entry.owner),
        )

    def acquired(self, entry: Entry) -> None:
        """The trigger's frame is there: the part may move."""
        self.tell(entry.owner, "acquired", trig=entry.trig, frame=entry.frame)

    def verdict(self, entry: Entry, verdict: Verdict) -> None:
        """The one final verdict on an entry."""
        message = verdict_message(
            verdict,
            self._identity,
            entry.seq,
            mono_ns=self._mono_ns(),
            wall_ns=self._wall_ns(),
            deadline_us=(entry.deadline_ns - entry.opened_ns) // 1000,
        ).model_copy(
            update={
                "trig": entry.trig,
                "enc": entry.capture.encoder,
                "web": None if entry.web is None else WebPart.model_validate(entry.web),
            }
        )
        entry.told = encode(message, self._encoding)
        # The one who triggered first: the part is under way.
        self.again(entry)
        self._publisher.publish(self._verdict_topic, entry.told)

    def again(self, entry: Entry) -> None:
        """Send a verdict to whoever triggered, for the first time or once more."""
        if self._control is not None and isinstance(entry.owner, bytes):
            self._control.send(entry.owner, entry.told)

    def late(self, judged: Judged) -> None:
        """A result that came after its verdict, for statistics only."""
        self._publish(
            "late",
            {
                "score": judged.score,
                "verdict": int(judged.outcome),
                "reason": judged.reason.value if judged.reason else None,
                "bundle": judged.bundle,
                "web": judged.web,
            },
        )

    def heartbeat(self, *, in_flight: int, cam_ok: bool) -> None:
        """A sign of life, of the inspection's own."""
        self._beats += 1
        self._publish(
            "hb",
            {
                "hb_seq": self._beats,
                "state": self.state.value,
                "last_seq": self._ledger.last_seq,
                "in_flight": in_flight,
                "bundle": self._identity.bundle,
                "cam_ok": cam_ok,
                "late_count": self._ledger.reasons[Reason.LATE],
            },
        )

    def alarm(self, what: str, detail: str) -> None:
        """Something needs a person; an empty detail says that it no longer does."""
        self._publish("alarm", {"source": what, "active": bool(detail), "detail": detail[:500]})

    def roll(self, page: str) -> None:
        """The report on a roll is written."""
        self._publish("roll", {"page": page})

    def changed(self, change: Change) -> None:
        """Tell the client that asked for another bundle how far that has come."""
        self.tell(change.owner, change.step.value, bundle=change.bundle, detail=change.detail)

    def greet(self, client: bytes) -> None:
        """What a client must know that has just come, or come back."""
        self.say_state(client)
        for entry in self._ledger.unacknowledged(client):
            self.again(entry)

    def say_state(self, client: bytes) -> None:
        """Where the line stands."""
        if self._control is not None:
            self._control.send(client, self._encoded_state())

    def stand(
        self, state: State, facts: BundleFacts | None, selftest: bool, degraded: bool
    ) -> None:
        """Say where the line stands, if that has changed."""
        label = facts.label if facts else ""
        if self._standing == (state, label, selftest, degraded):
            return
        self._standing = state, label, selftest, degraded
        if facts:
            self._identity = self._identity.model_copy(
                update={"bundle": label, "recipe_id": facts.recipe}
            )
        self._publisher.publish(topic("state", self._line.name), self._encoded_state())

    def _encoded_state(self) -> bytes:
        state, label, selftest, degraded = self._standing
        outcomes, reasons = self._ledger.outcomes, self._ledger.reasons
        message = StateMessage(
            v=1,
            type="state",
            box=self._line.box,
            line=self._line.name,
            boot=self._identity.boot,
            state=state,
            selftest=selftest,
            degraded=degraded,
            bundle=label,
            last_seq=self._ledger.last_seq,
            counts=Counts(
                frames=outcomes.total(),
                ok=outcomes[Outcome.OK],
                ng=outcomes[Outcome.NG],
                reasons={reason.value: count for reason, count in reasons.items()},
            ),
            sim=self._line.simulated,
            t_mono_ns=self._mono_ns(),
            t_wall_ns=self._wall_ns(),
        )
        return encode(message, self._encoding)

    def close(self) -> None:
        """Send what is queued, for a moment at most, and let go."""
        if self._control is not None:
            self._control.socket.close()
        self._publisher.close()
