"""How much the simulated PLC forgives."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BEAT_NS", "PlcLimits"]

# From heartbeat to heartbeat.
BEAT_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class PlcLimits:
    """Times in ns, by our clock.

    budget_ns        we ask for it in every TRIGGER, or the longest a line may take
    slack_ns         for the way there and back, and for a computer that is no PLC
    stale_ns         what is published may be so old
    grace_ns         after it a trigger that is overdue counts as never answered
    resend_slack_ns  a verdict that waits longer for its ACK must have come again;
                     the line's own pause is 20 ms by default
    history_ns       a verdict that was held up on its way may come so much later, as history: it
                     is lost only then
    beats_a_look     heartbeats that may come between two looks at a counter of them; 1 where
                     each is a message of its own
    """

    budget_ns: int = 60_000_000_000
    slack_ns: int = 10_000_000
    stale_ns: int = 100_000_000
    grace_ns: int = 1_000_000_000
    resend_slack_ns: int = 150_000_000
    history_ns: int = 0
    beats_a_look: int = 1
