"""The exit codes of every command, and how an error is shown to a person."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from enum import IntEnum

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
    NG = 10
    PROMISE = 11
    SILENT = 12
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
  10   edge-replay, edge-plc --fail-on-ng: a frame was NG
  11   edge-plc: the line broke a promise
  12   edge-plc: the line cannot be reached, or is not ready in time
  130  interrupted
"""


def run(action: Callable[[], int], expected: Mapping[type[Exception], Exit], *, debug: bool) -> int:
    """Run a command; errors become one or two lines on stderr and an exit code.

    Parameters
    ----------
    expected
        The errors that have a text for people, and their codes. Any other is a
        defect of the program, and says so.
    debug
        Show the traceback too.
    """
    try:
        return action()
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
        code = next((code for kind, code in expected.items() if isinstance(error, kind)), None)
        if code is None:
            sys.stderr.write(
                f"unexpected error: {type(error).__name__}: {error}\n"
                "this is a defect of kenpin; run again with --debug and report it\n"
            )
            return Exit.UNEXPECTED
        sys.stderr.write(f"error: {error}\n")
        return code
