"""The exit codes of every command, and how an error is shown to a person."""

from __future__ import annotations

import errno
import io
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any

from kenpin.config.errors import OutputError
from kenpin.config.journal import prefix_of, under_journald

__all__ = ["EPILOG", "Exit", "asked_to_end", "ending_signals", "run"]


class Exit(IntEnum):
    """What the calling script can rely on."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    CONFIG = 3
    IMAGES = 4
    BUNDLE = 5
    QUANTIZATION = 6
    CAMERA = 7
    FILES = 8
    NG = 10
    PROMISE = 11
    SILENT = 12
    REFUSED = 13
    AUDIT = 14
    INTERRUPTED = 130


# What a command's --help ends with.
EPILOG = """exit codes:
  0    done
  1    an unexpected error: please report it, with the output of --debug
  2    the command line is wrong
  3    a recipe, a setting or weights cannot be used
  4    an image or a folder of images cannot be used
  5    the bundle is damaged, altered or does not fit this box
  6    INT8 would see defects worse than the recipe allows
  7    the camera cannot be had, or edge-doctor found what will hurt
  8    a file or a folder cannot be read or written: rights, a full disk
  10   edge-replay, edge-plc --fail-on-ng: a frame was NG
  11   edge-plc: the line broke a promise
  12   edge-plc: the line cannot be reached, or is not ready in time
  13   edge-compile eval: images were refused, and count in no figure; update: it would be worse
  14   an audit log was altered or cut, or a change could not be logged
  130  interrupted
"""


# What the system says of a disk, not of a socket, when it names no file.
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
# Who presses Ctrl-C twice, or ends a group of processes of which each tells the other, means one
# end; later, whoever signals again thinks that it hangs.
_SAME_END_S = 3.0


class _Terminated(BaseException):
    """SIGTERM or SIGHUP came: whatever is open is left in order, then the signal has its way."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def ending_signals() -> tuple[signal.Signals, ...]:
    """Signals that ask a program to end: Ctrl-C, a manager's, and a terminal's that is closed.

    Without the last where `nohup` has taken it away.
    """
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heeded = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return asked if heeded else asked[:2]


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Whether a signal has asked the program to end: what it is at ends in order, by itself.

    Who asks again, later than one and the same end takes to arrive, interrupts it.
    """
    asked_s = math.inf

    def ask(_number: int, _frame: Any) -> None:
        nonlocal asked_s
        now_s = time.monotonic()
        if asked_s == math.inf:
            asked_s = now_s
        elif now_s - asked_s >= _SAME_END_S:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in ending_signals()}
    try:
        yield lambda: asked_s < math.inf
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(action: Callable[[], int], expected: Mapping[type[Exception], Exit], *, debug: bool) -> int:
    """Run a command; errors become one or two lines on stderr and an exit code.

    Parameters
    ----------
    expected
        The errors that have a text for people, and their codes. Files that cannot
        be read or written need not be named. Any other error is a defect of the
        program, and says so.
    debug
        Show the traceback too.
    """
    _never_without_streams()
    _print_any_name()
    with _ended_in_order():
        return _run(action, expected, debug=debug)


def _run(
    action: Callable[[], int], expected: Mapping[type[Exception], Exit], *, debug: bool
) -> int:
    try:
        code = action()
        sys.stdout.flush()
        return code
    except _Terminated as ended:
        # The default action, so that whoever waits sees the signal and not a code.
        signal.signal(ended.number, signal.SIG_DFL)
        with suppress(OSError):
            sys.stdout.flush()
        os.kill(os.getpid(), ended.number)
        return Exit.UNEXPECTED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, `head` for one: nothing left to say.
        sys.stderr.close()
        return Exit.DONE
    except Exception as error:  # noqa: BLE001 the last stop before a person
        if debug:
            traceback.print_exc()
        known = {**expected, OutputError: Exit.FILES}
        for kind, exit_code in known.items():
            if isinstance(error, kind):
                _complain(f"error: {error}")
                return exit_code
        if isinstance(error, OSError) and (error.filename or error.errno in _DISK_FAULTS):
            # A copy names both files; what a disk refuses is the second.
            names = [error.filename2 if error.errno in _DISK_FAULTS else None, error.filename]
            where = next((f"{name}: " for name in names if name), "")
            _complain(f"error: {where}{error.strerror}; check the path, rights and disk")
            return Exit.FILES
        _complain(
            f"unexpected error: {type(error).__name__}: {error}\n"
            "this is a defect of kenpin; run again with --debug and report it"
        )
        return Exit.UNEXPECTED


def _complain(text: str) -> None:
    before = prefix_of("error") if under_journald() else ""
    sys.stderr.write("".join(f"{before}{line}\n" for line in text.splitlines()))


def _never_without_streams() -> None:
    """Where `>&-` has closed a descriptor, the next file to be opened would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 kept


def _print_any_name() -> None:
    """A terminal that knows no Japanese shows `\\u691c`; without this, it would be an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let a signal unwind the stack once, which removes what was half made.

    A service that handles the signals itself sets its own handlers meanwhile.
    """
    mine = (signal.SIG_DFL, signal.default_int_handler)
    here = threading.current_thread() is threading.main_thread()
    before = {
        number: handler
        for number in ending_signals()
        if here and (handler := signal.getsignal(number)) in mine
    }
    ended_s = -math.inf

    def end(number: int, _frame: Any) -> None:
        nonlocal ended_s
        if time.monotonic() - ended_s < _SAME_END_S:
            return
        ended_s = time.monotonic()
        raise KeyboardInterrupt if number == signal.SIGINT else _Terminated(number)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
