"""What a PLC may do wrong, on purpose and by a seed: the line must not mind."""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import StrEnum

__all__ = ["BETWEEN", "Fault", "Faults"]


class Fault(StrEnum):
    """double       the same TRIGGER twice
    no-ack       verdicts are not acknowledged for up to a dozen parts
    rubbish      so much that cannot be read that the line listens no more for a while
    slow-reader  one more subscriber that never reads
    vanish       the PLC disappears after a TRIGGER and comes back
    bridge-killed, bridge-stopped
                 the bridge between us and the line dies, or stands still for a second
    broker-away  so does the broker that the bridge needs
    """

    DOUBLE = "double"
    NO_ACK = "no-ack"
    RUBBISH = "rubbish"
    SLOW_READER = "slow-reader"
    VANISH = "vanish"
    BRIDGE_KILLED = "bridge-killed"
    BRIDGE_STOPPED = "bridge-stopped"
    BROKER_AWAY = "broker-away"


# What can be done wrong only where something lies between us and the line.
BETWEEN = frozenset({Fault.BRIDGE_KILLED, Fault.BRIDGE_STOPPED, Fault.BROKER_AWAY})


class Faults:
    """Which fault comes with which trigger.

    kinds  those to choose from
    share  how many triggers bring one, 0 to 1

    A bridge is struck once in a run: the line starts it again at growing pauses.
    """

    def __init__(self, kinds: Sequence[Fault], share: float, seed: int) -> None:
        self._kinds = sorted(set(kinds))
        self._share = share
        self._rng = random.Random(seed)
        self._due = list(self._kinds)

    def next(self) -> Fault | None:
        """The fault of the next trigger; each kind comes once before any comes again."""
        if not self._kinds or self._rng.random() >= self._share:
            return None
        if not self._due:
            self._due = list(self._kinds)
        found = self._due.pop(self._rng.randrange(len(self._due)))
        if found in BETWEEN:
            self._kinds.remove(found)
        return found

    def up_to(self, most: int) -> int:
        """How many: 1 to `most`."""
        return self._rng.randint(1, most)
