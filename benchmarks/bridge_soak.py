"""A bridge at work for long: verdicts a second through it, and the memory of its process.

    python benchmarks/bridge_soak.py --minutes 30 --rate-hz 50

The real edge-run; the simulated PLC checks every promise meanwhile. Exit code 1 if one was broken,
or if the bridge's process grows by more than `--limit-kib-min`.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml, machine
from slopes import theil_sen
from soak import EVERY_S, resident_kib

from bridge_process import free_port
from mosquitto import Mosquitto

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'


def main() -> int:
    """Print what was promised and kept, and how the memory went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--via", choices=["modbus", "mqtt", "opcua"], default="modbus")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate-hz", type=float, default=50.0)
    parser.add_argument("--slack-ms", type=float, default=100.0)
    parser.add_argument("--warm-up-s", type=float, default=20.0)
    parser.add_argument("--limit-kib-min", type=float, default=50.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
        trigger = 'mode = "software", budget_ms = 500'
        toml = line_toml(folder, bundle.folder, trigger=trigger, camera=STILL)
        port = free_port()
        text = f'\n[[bridges]]\nkind = "{options.via}"\nport = {port}\n'
        toml.write_text(toml.read_text() + text)
        broker = Mosquitto(folder, port) if options.via == "mqtt" else contextlib.nullcontext()
        with broker, RunningLine(toml, command=EDGE_RUN) as line:
            line.state("operational.ready")
            code, points = soaked(line, toml, options)
    slope = theil_sen(points) * 60
    values = [value for _, value in points]
    print(
        f"{options.via}: {options.minutes:g} min at {options.rate_hz:g} Hz, {slope:.2f} KiB/min, "
        f"{values[0]:.0f} to {values[-1]:.0f} KiB, {len(values)} samples, {machine()}"
    )
    return int(code != 0 or slope > options.limit_kib_min)


def soaked(
    line: RunningLine, toml: Path, options: argparse.Namespace
) -> tuple[int, list[tuple[float, float]]]:
    """edge-plc's exit code, and (seconds, KiB) of the bridge's process."""
    seconds = options.minutes * 60
    plc = subprocess.Popen(
        [sys.executable, "-m", "kenpin.runtime.plc.cli", "--line-toml", str(toml),
         "--via", options.via, "--rate-hz", str(options.rate_hz), "--seconds", str(seconds),
         "--slack-ms", str(options.slack_ms), "--stale-ms", "1000"]
    )  # fmt: skip
    pid, points = line.child(f"kenpin-{options.via}"), []
    begun_s = time.monotonic()
    while plc.poll() is None:
        line.listen(EVERY_S)
        line.topics.clear()
        if time.monotonic() - begun_s > options.warm_up_s:
            kib = resident_kib(pid)
            if kib is None:
                raise RuntimeError(f"the bridge's process {pid} has ended: {line.log[-3:]}")
            points.append((time.monotonic(), kib))
    return plc.returncode, points


if __name__ == "__main__":
    sys.exit(main())
