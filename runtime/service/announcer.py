"""What the line says: verdicts, states, heartbeats and alarms, as messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kenpin.config.line import Line
from kenpin.runtime.messages import Counts, Identity, State, StateMessage, topic, verdict_message
from kenpin.runtime.service.inspector import BundleFacts, Judged
from kenpin.runtime.service.ledger import Entry, Ledger
from kenpin.runtime.sockets import VerdictPublisher
from kenpin.runtime.verdict import Outcome, Verdict
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
        self._publisher = VerdictPublisher(line.wire.pub)
        self._publisher.greet_with(lambda: (topic("state", line.name), self._encoded_state()))
        self._standing: tuple[State, str, bool, bool] = (State.PREOPERATIONAL, "", False, False)

    @property
    def state(self) -> State:
        """The state last told."""
        return self._standing[0]

    @property
    def sockets(self) -> tuple[Any, ...]:
        """What to poll."""
        return (self._publisher._socket,)

    def serve(self) -> None:
        """Greet newcomers."""
        self._publisher.serve_subscriptions()

    def acquired(self, entry: Entry) -> None:
        """The trigger's frame is there: the part may move."""

    def verdict(self, entry: Entry, verdict: Verdict) -> None:
        """The one final verdict on an entry."""
        message = verdict_message(
            verdict,
            self._identity,
            entry.seq,
            mono_ns=self._mono_ns(),
            wall_ns=self._wall_ns(),
            deadline_us=(entry.deadline_ns - entry.opened_ns) // 1000,
        )
        payload = encode(message, self._encoding)
        self._publisher.publish(topic("verdict", self._line.name), payload)

    def again(self, entry: Entry) -> None:
        """Send a verdict again."""

    def late(self, judged: Judged) -> None:
        """A result that came after its verdict, for statistics only."""

    def heartbeat(self) -> None:
        """A sign of life."""

    def alarm(self, what: str, detail: str) -> None:
        """Something needs a person, or no longer does."""

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
        self._publisher.close()
