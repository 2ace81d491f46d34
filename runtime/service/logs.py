"""The log: JSON lines that nobody has to wait for."""

from __future__ import annotations

import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from kenpin.config.journal import hear_python, prefix_of, under_journald

__all__ = ["LogQueue", "configure", "hear_everything", "to_stderr"]

_CAPACITY = 1000
# So long after a line was dropped somebody should still look why.
_RECENT_S = 300.0


class LogQueue:
    """A file for structlog that never blocks: full, it drops lines and counts them.

    A journal under pressure or a stopped pager blocks whoever writes to stderr;
    here that is one thread that does nothing else, and holds no lock while it
    waits. A number of dropped lines is written as soon as there is room again.

    write     takes the bytes of one line; may block
    capacity  lines that may wait
    clock     monotonic, in seconds
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        capacity: int = _CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._clock = clock
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._capacity = capacity
        self.dropped = 0
        self._dropped_s = -math.inf
        self._noted = 0
        self._thread = threading.Thread(target=self._drain, name="kenpin-log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Queue a text; called by structlog with each line."""
        # qsize is exact enough: one thread puts, one takes.
        if self._queue.qsize() >= self._capacity:
            self._drop()
            return
        self._queue.put(text.encode("utf-8", "backslashreplace"))

    @property
    def alarm(self) -> str:
        """What a person should know: that lines were dropped lately; empty if none were."""
        lately = self._clock() - self._dropped_s <= _RECENT_S
        return f"{self.dropped} lines were dropped" if lately else ""

    def flush(self) -> None:
        """Part of what a file is; the thread writes each line at once."""

    def close(self, timeout_s: float = 0.5) -> bool:
        """Wait for what is queued, so long at most; whether all of it was written."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _drain(self) -> None:
        while True:
            line = self._queue.get()
            if line is None:
                return
            dropped = self.dropped
            if dropped > self._noted:
                line += self._note(dropped - self._noted)
                self._noted = dropped
            try:
                self._write(line)
            except OSError:
                # Nobody reads the log any more. The line goes on without it.
                self._drop()

    def _drop(self) -> None:
        self.dropped += 1
        self._dropped_s = self._clock()

    @staticmethod
    def _note(count: int) -> bytes:
        note = {"event": "log_lines_dropped", "count": count, "level": "warning"}
        before = prefix_of("warning") if under_journald() else ""
        return f"{before}{json.dumps(note)}\n".encode()


class _Limiter:
    """Drops an event that repeats itself: at most `burst` of one name in a minute."""

    def __init__(self, burst: int, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        name, now = str(event.get("event")), self._clock()
        since, count = self._seen.get(name, (now, 0))
        if now - since >= 60:
            if count > self._burst:
                event["suppressed"] = count - self._burst
            since, count = now, 0
        self._seen[name] = since, count + 1
        if count >= self._burst:
            raise structlog.DropEvent
        return event


def configure(log: LogQueue, *, level: str = "info", burst: int = 60) -> None:
    """Send structlog's lines through a queue, a repeated event at most `burst` times a minute.

    Where journald reads them, each line begins with its priority.
    """
    render = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            _Limiter(burst, time.monotonic),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_priority(render) if under_journald() else render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(log),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


def _with_priority(render: structlog.processors.JSONRenderer) -> structlog.typing.Processor:
    def rendered(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        level = str(event.get("level", "info"))
        return f"{prefix_of(level)}{render(logger, method, event)!s}"

    return rendered


def hear_everything() -> None:
    """Let Python's warnings, and errors that nobody caught, go through the same log."""
    log = structlog.get_logger()
    hear_python(lambda level, event, **fields: getattr(log, level)(event, **fields))


def to_stderr(line: bytes) -> None:
    """Write a whole line to stderr; blocks as long as stderr does."""
    while line:
        line = line[os.write(2, line) :]
