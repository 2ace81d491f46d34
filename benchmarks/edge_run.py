"""What the service's benchmarks share: a small bundle, the real edge-run, percentiles."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bundles import RECIPE, Workshop
from kenpin.runtime.judging.processor import CPUINFO, processor_name
from running_line import RunningLine, line_toml

__all__ = [
    "EDGE_RUN",
    "RECIPE",
    "RunningLine",
    "Workshop",
    "line_toml",
    "machine",
    "percentiles",
    "table",
]

# Whoever is told to end leaves no line running: as after Ctrl-C, what was opened is closed.
signal.signal(signal.SIGTERM, signal.default_int_handler)

EDGE_RUN = (sys.executable, "-m", "kenpin.runtime.service.cli")


def machine() -> str:
    """The processor, what OpenVINO is told to keep to, and how many cores there are."""
    lines = CPUINFO.read_text().splitlines()
    return f"{processor_name()}, {sum(line.startswith('processor') for line in lines)} cores"


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99, p99.9 and max."""
    p50, p99, p999 = np.percentile(values, [50, 99, 99.9])
    found = {"p50": p50, "p99": p99, "p99.9": p999, "max": max(values)}
    return {name: round(float(value), 3) for name, value in found.items()}


def table(rows: dict[str, dict[str, float]], unit: str) -> str:
    """Aligned lines, one for each row."""
    wide = max(12, *map(len, rows))
    head = f"{'':{wide}}" + "".join(f"{name:>10}" for name in next(iter(rows.values())))
    lines = [
        f"{name:{wide}}" + "".join(f"{value:10.2f}" for value in row.values())
        for name, row in rows.items()
    ]
    return "\n".join([f"{head}   {unit}", *lines])
