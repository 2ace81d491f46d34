"""The memory of a process that lives for months: what was loaded stays, what was needed goes."""

from __future__ import annotations

import ctypes
import gc

__all__ = ["keep_what_is_loaded", "tidy_up"]


def keep_what_is_loaded() -> None:
    """Say that all that lives now stays, once everything has been read and built.

    Python looks through everything only once a quarter as much has been added: of asyncua's half
    a million objects that is hours of garbage. What stays is no longer looked at, nor counted.
    """
    gc.collect()
    gc.freeze()


def tidy_up() -> None:
    """Collect all garbage, and give back what a peak has needed; milliseconds.

    A full collection empties the interpreter's lists of freed tuples, too, 2,000 of each length:
    an OPC UA bridge filled them by 115 KiB a minute. The C library keeps what is freed below
    something that lives.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
