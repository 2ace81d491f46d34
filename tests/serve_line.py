"""edge-run with a pipeline that can be made to misbehave, and a wall clock that always does.

    serve_line.py LINE.toml

SIGUSR1 hangs its loop for good. Every test that uses it also shows that steps of
the wall clock change nothing.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path

from faulty_pipelines import FaultyPipeline
from kenpin.config.line import load_line
from kenpin.runtime.service.assembly import assemble
from kenpin.runtime.service.gateway import Gateway
from kenpin.runtime.service.logs import LogQueue, configure, to_stderr

DAY_NS = 86_400_000_000_000


def mad_wall_ns() -> int:
    """Another day at each look."""
    return time.time_ns() + random.randint(-365, 365) * DAY_NS


def hang(*_: object) -> None:
    """Loop in the main thread, the GIL held."""
    while True:
        pass


if __name__ == "__main__":
    line = load_line(Path(sys.argv[1]))
    log = LogQueue(to_stderr, line.log.capacity)
    configure(log, level="debug", burst=line.log.burst)
    parts = assemble(line, make_pipeline=FaultyPipeline, log=log, wall_ns=mad_wall_ns)
    gateway = Gateway(parts)
    signal.signal(signal.SIGUSR1, hang)
    code = gateway.run()
    log.close()
    sys.exit(code)
