"""Bridges at work for long, all on one line: verdicts through each, and every process's memory.

    python benchmarks/bridge_soak.py --minutes 30 --rate-hz 50 --out soak

The real edge-run with a small network; one simulated PLC for each bridge takes its share of the
parts and checks every promise. With `--free` the line runs by itself, so that no PLC that is held
up slows it down, and each bridge tells every verdict. Memory (`RssAnon`) of each process of the
line is read every 10 s and written as it comes to OUT/memory.csv, what each PLC says to
OUT/plc-KIND.txt. Exit code 1 if a promise was broken, a process came or went, or one grows by more
than `--limit-kib-min`, by Theil and Sen.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml, machine
from slopes import theil_sen
from soak import EVERY_S, resident_kib

from bridge_process import free_port
from kenpin.config.line import load_line
from kenpin.runtime.plc.via import bridge_of
from mosquitto import MOSQUITTO, Mosquitto

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'
# OPC UA builds some hundred nodes first.
STARTED_S = 120
# Of fewer samples no slope is told.
FEWEST = 5
BROKERED = {"mqtt", "sparkplug"}
Points = dict[tuple[int, str], list[tuple[float, float]]]


def main() -> int:
    """Print what was promised and kept, and how the memory of each process went."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = ["modbus", "mqtt", "opcua", "sparkplug"]
    parser.add_argument("--via", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate-hz", type=float, default=50.0, help="of all together (50)")
    parser.add_argument("--free", action="store_true", help="a line that runs by itself")
    parser.add_argument("--slack-ms", type=float, default=100.0)
    parser.add_argument("--warm-up-s", type=float, default=120.0)
    parser.add_argument("--limit-kib-min", type=float, default=50.0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if MOSQUITTO is None and BROKERED & set(options.via):
        parser.error("mqtt and sparkplug need mosquitto: apt-get install mosquitto")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
        trigger = 'mode = "software", budget_ms = 500, max_in_flight = 8'
        camera = STILL
        if options.free:
            trigger = trigger.replace("software", "free")
            camera += f", rate_hz = {options.rate_hz:g}"
        sockets = ", ".join(f'{name} = "ipc://{folder}/{name}"' for name in ("ctl", "pub"))
        # A machine that is busy is not made busier by verdicts that come again and again.
        sockets += ", resend_ms = 100"
        toml = line_toml(folder, bundle.folder, trigger=trigger, camera=camera, wire=sockets)
        broker = free_port()
        text = ""
        for via in options.via:
            port = broker if via in BROKERED else free_port()
            text += f'\n[[bridges]]\nkind = "{via}"\nport = {port}\n'
        toml.write_text(toml.read_text() + text)
        if BROKERED & set(options.via):
            stack.enter_context(Mosquitto(folder, broker))
        line = stack.enter_context(RunningLine(toml, command=EDGE_RUN))
        line.state("operational.continuous" if options.free else "operational.ready")
        codes, points = soaked(line, toml, options)
    return report(codes, points, options)


def soaked(
    line: RunningLine, toml: Path, options: argparse.Namespace
) -> tuple[dict[str, int], Points]:
    """Each edge-plc's exit code, and (seconds, KiB) of each process of the line."""
    settings = load_line(toml)
    for via in options.via:
        bridge, end_s = bridge_of(settings, toml, via, 0.01), time.monotonic() + STARTED_S
        while not bridge.answers():
            if time.monotonic() > end_s:
                raise RuntimeError(f"the bridge {via} is not reached: {line.log[-3:]}")
            line.listen(0.2)
        bridge.close()
    plcs = {via: plc(via, toml, options) for via in options.via}
    points: Points = defaultdict(list)
    begun_s = time.monotonic()
    with (options.out / "memory.csv").open("w") as file:
        file.write("seconds,pid,process,kib\n")
        while any(one.poll() is None for one in plcs.values()):
            line.listen(EVERY_S)
            line.topics.clear()
            for pid, name in processes(line.process.pid):
                kib, now_s = resident_kib(pid), time.monotonic() - begun_s
                if kib is not None:
                    points[pid, name].append((now_s, kib))
                    file.write(f"{now_s:.0f},{pid},{name},{kib:.0f}\n")
            file.flush()
    return {via: one.returncode for via, one in plcs.items()}, points


def plc(via: str, toml: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """A simulated PLC behind one bridge, with its share of the parts."""
    words = ["--line-toml", str(toml), "--via", via]
    if options.free:
        words += ["--listen"]
    else:
        words += ["--rate-hz", f"{options.rate_hz / len(options.via):g}"]
    words += ["--seconds", f"{options.minutes * 60:g}", "--slack-ms", f"{options.slack_ms:g}"]
    words += ["--stale-ms", "1000", "--json", str(options.out / f"plc-{via}.json")]
    with (options.out / f"plc-{via}.txt").open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "kenpin.runtime.plc.cli", *words], stdout=file, stderr=file
        )


def processes(parent: int) -> list[tuple[int, str]]:
    """Numbers and names of a process and its children."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = []
    for pid in (parent, *map(int, children)):
        with contextlib.suppress(OSError):
            found.append((pid, Path(f"/proc/{pid}/comm").read_text().strip()))
    return found


def report(codes: dict[str, int], points: Points, options: argparse.Namespace) -> int:
    """Print it all; the exit code."""
    bad = sum(code != 0 for code in codes.values())
    for via, code in codes.items():
        text = (options.out / f"plc-{via}.txt").read_text().splitlines()
        print(f"{via}: edge-plc ended with {code}; {text[-1] if text else 'it said nothing'}")
    last_s = max(found[-1][0] for found in points.values())
    for (pid, name), found in sorted(points.items(), key=lambda one: one[0][1]):
        settled = [point for point in found if point[0] > options.warm_up_s]
        if len(settled) < FEWEST:
            print(f"{name:16} {pid}: only {len(settled)} samples")
            continue
        slope = theil_sen(settled) * 60
        gone = found[-1][0] < last_s - 3 * EVERY_S or found[0][0] > 3 * EVERY_S
        bad += slope > options.limit_kib_min or gone
        kib = f"{settled[0][1]:8.0f} to {settled[-1][1]:8.0f} KiB"
        print(f"{name:16} {slope:8.2f} KiB/min {kib}{'  came or went' if gone else ''}")
    print(f"{options.minutes:g} min, {options.rate_hz:g} parts a second, {machine()}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
