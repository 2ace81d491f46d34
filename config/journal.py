"""What Python itself has to say on stderr, as JSON lines with the severity that journald knows."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

__all__ = ["Say", "hear_python", "prefix_of", "say", "under_journald"]

# sd-daemon(3): a line that begins with <N> has this priority, as syslog counts.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_MOST_CHARS = 8000


class Say(Protocol):
    """Writes one event: its level, its name, and whatever belongs to it."""

    def __call__(self, level: str, event: str, **fields: Any) -> None:
        """Never raises."""
        ...


def under_journald(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether stderr is read by systemd's journal; systemd.exec(5), JOURNAL_STREAM."""
    try:
        here = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{here.st_dev}:{here.st_ino}"


def prefix_of(level: str) -> str:
    """What comes before a line of this level, where journald reads it."""
    return f"<{_PRIORITIES.get(level, 6)}>"


def say(level: str, event: str, **fields: Any) -> None:
    """Write an event to stderr, in one piece; for a process that has no log of its own."""
    entry = {"event": event, "level": level, "pid": os.getpid(), **fields}
    text = json.dumps(entry, default=str)[:_MOST_CHARS]
    os.write(2, f"{prefix_of(level)}{text}\n".encode())


def hear_python(say: Say) -> None:
    """From now on, warnings and exceptions that nobody caught are events, too."""

    def warned(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        _file: Any = None,
        _line: str | None = None,
    ) -> None:
        say("warning", "python_warning", kind=category.__name__, detail=str(message),
            where=f"{filename}:{lineno}")  # fmt: skip

    def raised(
        kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
    ) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        # The end says what went wrong, and the innermost calls.
        say("error", "python_error", kind=kind.__name__, detail=str(error), traceback=text[-6000:])

    warnings.showwarning = warned  # type: ignore[assignment]
    sys.excepthook = raised
    sys.unraisablehook = lambda about: raised(about.exc_type, about.exc_value, about.exc_traceback)
    threading.excepthook = lambda about: raised(
        about.exc_type, about.exc_value, about.exc_traceback
    )
