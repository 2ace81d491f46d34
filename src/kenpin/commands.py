"""The commands, as they begin: Ctrl-C ends one that is still importing without a traceback."""

from __future__ import annotations

import signal
from collections.abc import Callable
from importlib import import_module

__all__ = ["HOMES", "edge_compile", "edge_doctor", "edge_plc", "edge_replay", "edge_run"]


# Of each command, the module whose `main` it is.
HOMES = {
    "edge_compile": "kenpin.compile.cli",
    "edge_doctor": "kenpin.runtime.doctor",
    "edge_plc": "kenpin.runtime.plc.cli",
    "edge_replay": "kenpin.runtime.replay",
    "edge_run": "kenpin.runtime.service.cli",
}


def _command(name: str) -> Callable[[], int]:
    def begin() -> int:
        # Nothing is open before `exits.run`, nor after it: the signal itself ends the program.
        # Importing takes seconds on a small box, and an interrupt within shows where it was.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        code: int = import_module(HOMES[name]).main()
        return code

    return begin


edge_compile = _command("edge_compile")
edge_doctor = _command("edge_doctor")
edge_plc = _command("edge_plc")
edge_replay = _command("edge_replay")
edge_run = _command("edge_run")
