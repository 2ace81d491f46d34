"""The commands, as they begin: Ctrl-C ends one that is still importing without a traceback."""

from __future__ import annotations

import signal
from collections.abc import Callable
from importlib import import_module

__all__ = ["edge_compile", "edge_doctor", "edge_plc", "edge_replay", "edge_run"]


def _command(home: str) -> Callable[[], int]:
    def begin() -> int:
        # Nothing is open before `exits.run`, nor after it: the signal itself ends the program.
        # Importing takes seconds on a small box, and an interrupt within shows where it was.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        code: int = import_module(home).main()
        return code

    return begin


edge_compile = _command("kenpin.compile.cli")
edge_doctor = _command("kenpin.runtime.doctor")
edge_plc = _command("kenpin.runtime.plc.cli")
edge_replay = _command("kenpin.runtime.replay")
edge_run = _command("kenpin.runtime.service.cli")
