"""Telling a person how far it is: bars on a terminal, one line a step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["OnProgress", "Steps"]

# Called with how many of how many are done.
OnProgress = Callable[[int, int], None]


class Steps:
    """The steps of a long job, each with a count where one is known."""

    def __init__(self, console: Console, watch: Callable[[], None] = lambda: None) -> None:
        """`watch` is called wherever a step gets on, and may end the job by an exception."""
        self._console, self._watch = console, watch
        self._bars: Progress | None = None
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:<34}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
            )

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._bars:
            self._bars.stop()

    @property
    def live(self) -> bool:
        """Whether bars are drawn, which tell more than lines."""
        return self._bars is not None

    def say(self, text: str) -> None:
        """A line that stays; give a `plain_console` if it may hold brackets."""
        self._console.print(text, soft_wrap=True)

    @contextmanager
    def step(self, name: str) -> Iterator[OnProgress]:
        """One step; yields a function to call with (done, total)."""
        begun = time.monotonic()
        if self._bars:
            task = self._bars.add_task(name, total=None)
            bars = self._bars

            def show(done: int, total: int) -> None:
                self._watch()
                bars.update(task, completed=done, total=total)

            yield show
            end = bars.tasks[task].total or 1
            bars.update(task, completed=end, total=end)
            return
        counted = 0

        def count(_done: int, total: int) -> None:
            nonlocal counted
            self._watch()
            counted = total

        yield count
        size = f" ({counted})" if counted else ""
        self.say(f"{name}{size}: {time.monotonic() - begun:.1f} s")
