"""The exit codes of every command, and how an error is shown to a person."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from kenpin.config.errors import OutputError
from kenpin.config.journal import prefix_of, under_journald

__all__ = ["EPILOG", "Exit", "run"]


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


class _Terminated(BaseException):
    """SIGTERM came: whatever is open is left in order, then the signal has its way."""


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
    _print_any_name()
    try:
        with _ended_in_order():
            code = action()
            sys.stdout.flush()
            return code
    except _Terminated:
        # The default action, so that whoever waits sees the signal and not a code.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
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
            where = f"{error.filename}: " if error.filename else ""
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


def _print_any_name() -> None:
    """A terminal that knows no Japanese shows `\\u691c`; without this, it would be an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM unwind the stack, which removes what was half made.

    A service that handles the signal itself sets its own handler meanwhile.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(_number: int, _frame: Any) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
