"""A scheduler and workers of their own processes, as on other machines: one set for a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 60
START = "import sys; from distributed.cli.dask_{} import main; main(args=sys.argv[1:])"


@dataclass
class DaskCluster:
    """Where its scheduler's file lies, and the processes of its workers."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        file, end = self.folder / "scheduler.json", time.monotonic() + PATIENCE_S
        while not (file.exists() and file.stat().st_size) and time.monotonic() < end:
            time.sleep(0.02)
        return str(json.loads(file.read_text())["address"])

    def start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{kind}-{len(self.processes)}.log").open("wb")
        file = str(self.folder / "scheduler.json")
        command = [sys.executable, "-c", START.format(kind), "--scheduler-file", file]
        own = os.environ | {"DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
        with log:
            process = subprocess.Popen(
                [*command, "--dashboard-address", "127.0.0.1:0", *arguments],
                stdout=log,
                stderr=log,
                env=own,
            )
        self.processes.append(process)
        return process

    @property
    def workers(self) -> list[subprocess.Popen[bytes]]:
        """Those that live, the oldest first."""
        return [one for one in self.processes[1:] if one.poll() is None]

    def kill_workers(self) -> None:
        for one in self.workers:
            one.kill()
            one.wait()

    def worker(self) -> subprocess.Popen[bytes]:
        return self.start(
            "worker", "--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder)
        )  # fmt: skip


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[DaskCluster]:
    made = DaskCluster(folder)
    try:
        made.start("scheduler", "--host", "127.0.0.1", "--port", "0")
        for _ in range(workers):
            made.worker()
        yield made
    finally:
        for process in reversed(made.processes):
            process.kill()
            process.wait()
