"""Which parts of its own a client has not been answered about. No socket; times are passed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

__all__ = ["OwnParts"]

# More than a line takes at once; what was refused or lost is forgotten by and by.
_REMEMBERED = 64
# The line says a verdict again every 20 ms; who has heard none for so long has lost its connection.
_HELD_NS = 100_000_000


class OwnParts:
    """Tells what was published too early.

    A line says a verdict to whoever triggered, and then publishes it. These are two connections,
    and the second may be faster: a client that counted on the order would see its part judged
    before it was acquired. So what is published about a part of its own waits for what is said.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Any, Any], None] = OrderedDict()

    def asked(self, session: str, trig: str) -> None:
        """A trigger was sent."""
        self._open[session, trig] = None
        if len(self._open) > _REMEMBERED:
            self._open.popitem(last=False)

    def answered(self, kind: str, fields: Mapping[str, Any]) -> None:
        """The line said something to this client alone."""
        if kind == "verdict":
            self._open.pop((fields.get("session"), fields.get("trig")), None)

    def early(self, kind: str, fields: Mapping[str, Any], at_ns: int, now_ns: int) -> bool:
        """Whether what was published, and came at `at_ns`, must still wait."""
        ours = kind == "verdict" and (fields.get("session"), fields.get("trig")) in self._open
        return ours and now_ns - at_ns <= _HELD_NS
