"""How long a client that talks nonsense is listened to."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["ErrorLimit"]

# A client whose programmer tries things out gets each mistake explained. A broken
# one gets no more of our time than it takes to throw its messages away.
MISTAKES = 20
PAUSE_NS = 1_000_000_000
_REMEMBERED = 1000


class ErrorLimit:
    """A client may make MISTAKES in PAUSE_NS; then it is not listened to until they are over.

    The next mistake after that reaches the limit at once, until a pause has
    passed without any.
    """

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        # client: mistakes in its period, when that began, deaf until
        self._mistakes: dict[bytes, tuple[int, int, int]] = {}

    def left_ns(self, client: bytes) -> int:
        """For how long this client is not listened to yet; 0 if it is."""
        found = self._mistakes.get(client)
        return 0 if found is None else max(0, found[2] - self._clock_ns())

    def count(self, client: bytes) -> bool:
        """This client has just made a mistake; whether it was one too many."""
        now = self._clock_ns()
        count, began, deaf_until = self._mistakes.pop(client, (0, now, 0))
        if now - max(began, deaf_until) > PAUSE_NS:
            count, began = 0, now
        count += 1
        lost = count >= MISTAKES
        if lost:
            deaf_until = now + PAUSE_NS
        if len(self._mistakes) >= _REMEMBERED:
            # The one who erred longest ago: whoever errs moves to the end.
            del self._mistakes[next(iter(self._mistakes))]
        self._mistakes[client] = count, began, deaf_until
        return lost
