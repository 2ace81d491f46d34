"""What every reader of a line is told: verdicts, and where the line stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import BaseModel

from kenpin.runtime.judging.verdict import Outcome, Reason, Verdict
from kenpin.runtime.wire.encodings import CODECS
from kenpin.runtime.wire.line_messages import Head, LineMessage
from kenpin.runtime.wire.map_encoding import Encoding
from kenpin.runtime.wire.sockets import VerdictPublisher
from kenpin.runtime.wire.verdict_messages import (
    Counts,
    Envelope,
    Identity,
    State,
    StateMessage,
    VerdictMessage,
    topic,
    verdict_message,
)

__all__ = ["LineFeed", "Standing", "VerdictFeed", "VerdictTally"]


class VerdictTally(Protocol):
    """Who counts the verdicts of a boot.

    outcomes, reasons  of all verdicts; only NG ones have a reason
    """

    outcomes: Counter[Outcome]
    reasons: Counter[Reason]

    @property
    def last_seq(self) -> int:
        """Number of the newest verdict; 0 before the first."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a line stands; `bundle` is the label of the one in force, empty if none is."""

    state: State = State.PREOPERATIONAL
    bundle: str = ""
    selftest: bool = False
    degraded: bool = False


class LineFeed:
    """Publishes for a line. Use it from one thread; nothing here waits.

    A newcomer gets the current state at once and never a past verdict.

    identity  who speaks
    write     a message's bytes
    tally     numbers and counts of the verdicts given so far
    mono_ns, wall_ns
              clocks, in nanoseconds
    """

    def __init__(
        self,
        identity: Identity,
        publisher: VerdictPublisher,
        write: Callable[[BaseModel], bytes],
        tally: VerdictTally,
        *,
        mono_ns: Callable[[], int],
        wall_ns: Callable[[], int],
    ) -> None:
        self.identity = identity
        self.standing = Standing()
        self._publisher = publisher
        self._write = write
        self._tally = tally
        self._mono_ns = mono_ns
        self._wall_ns = wall_ns
        # Made when somebody joins, not kept: a kept one would show an old last_seq
        # and let the newcomer believe that it had lost verdicts.
        publisher.greet_with(
            lambda: (topic("state", identity.line), self._write(self.state_message()))
        )

    def head(self) -> Head:
        """How every message but a verdict begins."""
        return {
            "v": 1,
            "box": self.identity.box,
            "line": self.identity.line,
            "boot": self.identity.boot,
            "t_mono_ns": self._mono_ns(),
        }

    def publish(
        self, message: LineMessage | StateMessage | VerdictMessage, payload: bytes | None = None
    ) -> None:
        """Tell everybody; `payload` if its bytes are known already."""
        wanted = topic(message.type, self.identity.line)
        self._publisher.publish(wanted, self._write(message) if payload is None else payload)

    def stand(self, standing: Standing) -> StateMessage:
        """Publish where the line stands from now on."""
        self.standing = standing
        message = self.state_message()
        self.publish(message)
        return message

    def state_message(self) -> StateMessage:
        """Where the line stands."""
        outcomes, reasons, standing = self._tally.outcomes, self._tally.reasons, self.standing
        return StateMessage(
            **self.head(),
            type="state",
            state=standing.state,
            selftest=standing.selftest,
            degraded=standing.degraded,
            bundle=standing.bundle,
            last_seq=self._tally.last_seq,
            counts=Counts(
                frames=outcomes.total(),
                ok=outcomes[Outcome.OK],
                ng=outcomes[Outcome.NG],
                reasons={reason.value: count for reason, count in reasons.items()},
            ),
            sim=self.identity.sim,
            t_wall_ns=self._wall_ns(),
        )

    def envelope(self, seq: int) -> Envelope:
        """For a verdict that is told now."""
        return Envelope(seq, self._mono_ns(), self._wall_ns())


@dataclass(slots=True)
class _Counted:
    """See `VerdictTally`."""

    outcomes: Counter[Outcome]
    reasons: Counter[Reason]
    last_seq: int = 0


class VerdictFeed:
    """A line that only publishes, as a replay does: numbers and counts its own verdicts.

    mono_ns, wall_ns
              clocks, in nanoseconds
    """

    def __init__(
        self,
        identity: Identity,
        publisher: VerdictPublisher,
        encoding: Encoding = Encoding.MSGPACK,
        *,
        mono_ns: Callable[[], int],
        wall_ns: Callable[[], int],
    ) -> None:
        self._publisher = publisher
        self._tally = _Counted(Counter(), Counter())
        self._write = CODECS[encoding].write
        self._feed = LineFeed(
            identity, publisher, self._write, self._tally, mono_ns=mono_ns, wall_ns=wall_ns
        )
        self._feed.standing = Standing(bundle=identity.bundle)

    @property
    def last_seq(self) -> int:
        """Number of the newest verdict; 0 before the first."""
        return self._tally.last_seq

    @property
    def counts(self) -> Counts:
        """Verdicts given so far."""
        return self._feed.state_message().counts

    def verdict(self, verdict: Verdict, deadline_us: int | None = None) -> VerdictMessage:
        """Publish the one final verdict on a frame, then greet whoever has joined.

        `deadline_us` is what the frame was allowed, from its last scan line.

        Raises
        ------
        WireError
            If the verdict contradicts itself. Nothing is sent or counted then.
        """
        envelope = replace(self._feed.envelope(self._tally.last_seq + 1), deadline_us=deadline_us)
        message = verdict_message(verdict, self._feed.identity, envelope)
        payload = self._write(message)
        # Counted only now, so that a verdict that cannot be sent leaves no gap.
        self._tally.last_seq += 1
        self._tally.outcomes[verdict.outcome] += 1
        if verdict.reason is not None:
            self._tally.reasons[verdict.reason] += 1
        self._feed.publish(message, payload)
        self._publisher.serve_subscriptions()
        return message

    def state(
        self, state: State, *, selftest: bool = False, degraded: bool = False
    ) -> StateMessage:
        """Publish where the line stands from now on."""
        bundle = self._feed.identity.bundle
        return self._feed.stand(Standing(state, bundle, selftest, degraded))

    def serve_subscriptions(self, timeout_s: float = 0.0) -> int:
        """As the publisher's; call it while no verdicts are due."""
        return self._publisher.serve_subscriptions(timeout_s)

    def wait_for_subscriber(self, timeout_s: float) -> bool:
        """Whether somebody listens to this line's verdicts within `timeout_s` seconds."""
        wanted = topic("verdict", self._feed.identity.line)
        return self._publisher.wait_for_subscriber(timeout_s, wanted)
