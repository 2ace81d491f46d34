"""One thing computed while the one before it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["one_ahead"]

T = TypeVar("T")
R = TypeVar("R")


def one_ahead(items: Iterable[T], work: Callable[[T], R]) -> Iterator[tuple[T, R]]:
    """Each item with what `work` makes of it, in order; the next is at work meanwhile.

    `items` is asked by the calling thread, `work` is called by another one, for one item at a time.

    Raises
    ------
    Exception
        Whatever `work` raised, at the item that it was about.
    """
    with ThreadPoolExecutor(1, "ahead") as pool:
        before: tuple[T, Future[R]] | None = None
        for item in items:
            coming = item, pool.submit(work, item)
            if before is not None:
                yield before[0], before[1].result()
            before = coming
        if before is not None:
            yield before[0], before[1].result()
