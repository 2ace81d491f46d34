"""Numbers every verdict, counts it, and tells whoever listens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.wire.map_encoding import (
    ClockSync,
    Counts,
    Encoding,
    Identity,
    State,
    StateMessage,
    VerdictMessage,
    encode,
    topic,
    verdict_message,
)
from kenpin.runtime.wire.sockets import VerdictPublisher

__all__ = ["VerdictFeed"]


class VerdictFeed:
    """The verdicts and states of one boot. Use it from one thread.

    A newcomer gets the current state at once and never a past verdict.

    monotonic_ns, wall_ns  clocks, in nanoseconds
    clock_sync             what keeps the wall clock right
    """

    def __init__(
        self,
        identity: Identity,
        publisher: VerdictPublisher,
        encoding: Encoding = Encoding.MSGPACK,
        *,
        monotonic_ns: Callable[[], int],
        wall_ns: Callable[[], int],
        clock_sync: ClockSync = "none",
    ) -> None:
        self._identity = identity
        self._publisher = publisher
        self._encoding = encoding
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._clock_sync: ClockSync = clock_sync
        self._last_seq = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._reasons: Counter[str] = Counter()
        self._state = State.PREOPERATIONAL
        self._selftest = False
        self._degraded = False
        self._verdict_topic = topic("verdict", identity.line)
        self._state_topic = topic("state", identity.line)
        # Made when somebody joins, not kept: a kept one would show an old last_seq
        # and let the newcomer believe that it had lost verdicts.
        publisher.greet_with(lambda: (self._state_topic, self._encoded_state()[1]))

    @property
    def last_seq(self) -> int:
        """Number of the newest verdict; 0 before the first."""
        return self._last_seq

    @property
    def counts(self) -> Counts:
        """Verdicts given so far."""
        return Counts(
            frames=self._outcomes.total(),
            ok=self._outcomes[Outcome.OK],
            ng=self._outcomes[Outcome.NG],
            reasons=dict(self._reasons),
        )

    def verdict(self, verdict: Verdict, deadline_us: int | None = None) -> VerdictMessage:
        """Publish the one final verdict on a frame, then greet whoever has joined.

        `deadline_us` is what the frame was allowed, from its last scan line.

        Raises
        ------
        WireError
            If the verdict contradicts itself. Nothing is sent or counted then.
        """
        message = verdict_message(
            verdict,
            self._identity,
            self._last_seq + 1,
            mono_ns=self._monotonic_ns(),
            wall_ns=self._wall_ns(),
            deadline_us=deadline_us,
            clock_sync=self._clock_sync,
        )
        payload = encode(message, self._encoding)
        # Counted only now, so that a verdict that cannot be sent leaves no gap.
        self._last_seq += 1
        self._outcomes[verdict.outcome] += 1
        if message.reason is not None:
            self._reasons[message.reason] += 1
        self._publisher.publish(self._verdict_topic, payload)
        self._publisher.serve_subscriptions()
        return message

    def state(
        self, state: State, *, selftest: bool = False, degraded: bool = False
    ) -> StateMessage:
        """Publish where the line stands from now on."""
        self._state = state
        self._selftest = selftest
        self._degraded = degraded
        message, payload = self._encoded_state()
        self._publisher.publish(self._state_topic, payload)
        return message

    def serve_subscriptions(self, timeout_s: float = 0.0) -> int:
        """As the publisher's; call it while no verdicts are due."""
        return self._publisher.serve_subscriptions(timeout_s)

    def wait_for_subscriber(self, timeout_s: float) -> bool:
        """Whether somebody listens to this line's verdicts within `timeout_s` seconds."""
        return self._publisher.wait_for_subscriber(timeout_s, self._verdict_topic)

    def _encoded_state(self) -> tuple[StateMessage, bytes]:
        message = StateMessage(
            v=1,
            type="state",
            box=self._identity.box,
            line=self._identity.line,
            boot=self._identity.boot,
            state=self._state,
            selftest=self._selftest,
            degraded=self._degraded,
            bundle=self._identity.bundle,
            last_seq=self._last_seq,
            counts=self.counts,
            sim=self._identity.sim,
            t_mono_ns=self._monotonic_ns(),
            t_wall_ns=self._wall_ns(),
        )
        return message, encode(message, self._encoding)
