"""What needs a person, until it no longer does."""

from __future__ import annotations

from collections.abc import Callable

import structlog

__all__ = ["Alarms"]


class Alarms:
    """One alarm for each part; a new one, or the end of one, is told and logged once.

    tell   says it: the part and the sentence, empty at the end
    """

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._log = structlog.get_logger()
        self._open: dict[str, str] = {}

    def note(self, part: str, detail: str, still: bool) -> None:
        """Note what is wrong with a part, or that nothing is."""
        if still:
            if self._open.get(part) != detail:
                self._open[part] = detail
                self._log.error("alarm", source=part, detail=detail)
                self._tell(part, detail)
        elif (was := self._open.pop(part, None)) is not None:
            self._log.info("alarm_over", source=part, was=was)
            self._tell(part, "")

    @property
    def open(self) -> dict[str, str]:
        """What needs a person now, by part."""
        return dict(self._open)

    def __bool__(self) -> bool:
        return bool(self._open)
