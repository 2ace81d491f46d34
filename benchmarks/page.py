"""What the live page costs a line's verdicts: killed, stopped, flooded; and read by many.

    python benchmarks/page.py --kills 1000
    python benchmarks/page.py --frames 600

--kills: a line at 2 frames a second, its page read by 16 streams and asked by a client that never
pauses, and killed as often as asked: every other time while it starts, else once it has answered
again. Then it is stopped by SIGSTOP and let go, flooded by 300 connections that say half a request,
and asked for 40 streams. Every frame must have one verdict, none of them for want of time; the
budget of 4 s is half of the stop, and forgives a machine that is busy with other work. The pause
before a killed page comes back is 20 ms here, so that it dies more often; it is up to a minute on
a line.

--frames: the same line alone, with the page and its readers, and without the page but with as much
work beside it at the same niceness, in turn and twice over, so many frames each.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml, machine, percentiles, table

PAGE = "kenpin-page"
# As the command line does, with pages that come back at once.
IMPATIENT = (
    sys.executable,
    "-c",
    "import sys; import kenpin.processes.side as side; side._PAUSES_NS = (20_000_000,); "
    "from kenpin.runtime.service.cli import main; sys.exit(main(sys.argv[1:]))",
)
CAMERA = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 25'
# Eight frames wait, and four seconds of other work beside it cost no verdict.
PATIENT = {
    "camera": CAMERA.replace("25", "2"),
    "trigger": 'mode = "free", budget_ms = 4000, max_in_flight = 8',
    "ring": "slots = 14",
    "watchdog": "hung_ms = 8000, kill_ms = 12000",
}
STREAMS, HALVES, ASKED_STREAMS = 16, 300, 40
READERS = 8
TICKS = os.sysconf("SC_CLK_TCK")
# Uses so much of a core, in slices of 10 ms, as a page does: argv is the share and the niceness.
BURN = """
import os, sys, time
share = float(sys.argv[1]); os.nice(int(sys.argv[2]))
while os.getppid() != 1:
    end = time.monotonic() + 0.01
    while time.monotonic() < end - 0.01 * (1 - share): pass
    time.sleep(max(0, end - time.monotonic()))
"""
# Somebody with the page open: argv is the address, and how many there are of them.
READ = """
import http.client, sys, threading, time, urllib.request
def listen():
    while True:
        try:
            front = urllib.request.urlopen(sys.argv[1], timeout=10)
            cookie = front.headers["Set-Cookie"].partition(";")[0]
            ask = urllib.request.Request(sys.argv[1] + "/api/events", headers={"Cookie": cookie})
            with urllib.request.urlopen(ask, timeout=10) as stream:
                for _ in stream: pass
        # A page that is killed ends in the middle of what it says; browsers wait, then ask anew.
        except (OSError, http.client.HTTPException): time.sleep(0.2)
for _ in range(int(sys.argv[2])): threading.Thread(target=listen, daemon=True).start()
threading.Event().wait()
"""


def main() -> int:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--frames", type=int, default=0, help="of each kind and round")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle.folder
        if asked.kills:
            misfortunes(folder, bundle, asked.kills)
        if asked.frames:
            latency(folder, bundle, asked.frames)
    return 0


# -- misfortunes -------------------------------------------------------------------------------


def misfortunes(folder: Path, bundle: Path, kills: int) -> None:
    """Kill, stop and flood, and count what it cost."""
    toml = line_toml(folder, bundle, page=f"port = {free_port()}", **PATIENT)
    done: Counter[str] = Counter()
    with RunningLine(toml, command=IMPATIENT) as line:
        line.verdict()
        url = address(line)
        with asked_without_pause(url, done), reading(url, STREAMS):
            while done["kills"] < kills:
                kill(line, done)
            pid = line.child(PAGE)
            again(line, done)
            os.kill(pid, signal.SIGSTOP)
            line.listen(8.0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            again(line, done)
            flood(url, line)
            again(line, done)
            done["pages"] = sum('"event": "page"' in text for text in line.log)
        readers(url, line)
        assert line.stop() == 0
        tell_verdicts(line, done)


def kill(line: RunningLine, done: Counter[str]) -> None:
    """Once while it starts, once while it answers, in turn."""
    pid = line.child(PAGE)
    if done["kills"] % 2:
        again(line, done)
    line.listen(random.uniform(0, 0.3))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        done["kills"] += 1
        line.replaced(PAGE, pid)


def again(line: RunningLine, done: Counter[str]) -> None:
    """Wait until the page answers."""
    before = done["answers"]
    try:
        line.listen_until(lambda: done["answers"] > before, "an answer of the page")
    except AssertionError:
        print("".join(line.log[-12:]), done, flush=True)
        raise


def readers(url: str, line: RunningLine) -> None:
    """How many of those who ask for the stream of events are told to come again later."""
    answers: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        with urllib.request.urlopen(url, timeout=20) as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
        for _ in range(ASKED_STREAMS):
            ask = urllib.request.Request(f"{url}/api/events", headers={"Cookie": cookie})
            try:
                stack.enter_context(urllib.request.urlopen(ask, timeout=20))
                answers["listen"] += 1
            except urllib.error.HTTPError as refused:
                answers[str(refused.code)] += 1
        line.listen(2.0)
    print(f"{ASKED_STREAMS} ask for the stream of events: {dict(answers)}")


def tell_verdicts(line: RunningLine, done: Counter[str]) -> None:
    """One for each frame, and why any were not the inspection's own."""
    verdicts = line.verdicts
    frames = [m["frame"] for m in verdicts]
    missing = len(set(range(min(frames), max(frames) + 1)) - set(frames))
    twice = len(frames) - len(set(frames))
    reasons = Counter(str(m["reason"]) for m in verdicts)
    print(f"{dict(done)}: {len(verdicts)} verdicts, {missing} missing, {twice} twice")
    print(f"reasons {dict(reasons)}")
    print(table({"verdicts": percentiles([m["lat_us"]["total"] / 1e3 for m in verdicts])}, "ms"))


@contextlib.contextmanager
def asked_without_pause(url: str, done: Counter[str]) -> Iterator[None]:
    """One client that asks for all again and again."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    cookie = answer.headers["Set-Cookie"].partition(";")[0]
                request = urllib.request.Request(f"{url}/api/state", headers={"Cookie": cookie})
                with urllib.request.urlopen(request, timeout=5) as answer:
                    answer.read()
                done["answers"] += 1
            except (OSError, http.client.HTTPException):
                over.wait(0.02)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


def flood(url: str, line: RunningLine) -> None:
    """Connections that begin a request and never end it, for some seconds."""
    host, port = url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(HALVES):
            with contextlib.suppress(OSError):
                one = stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
                one.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        line.listen(8.0)


# -- latency -----------------------------------------------------------------------------------


def latency(folder: Path, bundle: Path, frames: int) -> None:
    """Print a table."""
    spent: dict[str, list[float]] = defaultdict(list)
    share = readers = 0.0
    for _ in range(2):
        spent["alone"] += times_ms(folder, bundle, frames)
        found, share, readers = with_page(folder, bundle, frames)
        spent["page, 8 readers"] += found
        with burning(share, 10), burning(readers, 0):
            spent["same work"] += times_ms(folder, bundle, frames)
    print(f"last scan line to verdict, {2 * frames} frames each; the page used {share:.1%} of a")
    print(f"core at niceness 10, its readers {readers:.1%}")
    print(table({kind: percentiles(values) for kind, values in spent.items()}, "ms"))


def times_ms(folder: Path, bundle: Path, frames: int) -> list[float]:
    """The line's own times without a page."""
    with RunningLine(settings(folder, bundle), command=EDGE_RUN) as line:
        return timed(line, frames)


def with_page(folder: Path, bundle: Path, frames: int) -> tuple[list[float], float, float]:
    """The same with the page and its readers; and what share of a core each used."""
    toml = settings(folder, bundle, page="port = 0")
    with RunningLine(toml, command=EDGE_RUN) as line, reading(address(line), READERS) as reader:
        pids = line.child(PAGE), reader.pid
        # Whoever starts uses more.
        line.listen(5.0)
        before, begun = [cpu_s(pid) for pid in pids], time.monotonic()
        found = timed(line, frames)
        elapsed = time.monotonic() - begun
        shares = [(cpu_s(pid) - b) / elapsed for pid, b in zip(pids, before, strict=True)]
        return found, shares[0], shares[1]


def settings(folder: Path, bundle: Path, **tables: str) -> Path:
    """A line at 25 frames a second."""
    return line_toml(
        folder, bundle, trigger='mode = "free", budget_ms = 500', camera=CAMERA, **tables
    )


def timed(line: RunningLine, frames: int) -> list[float]:
    """From last scan line to verdict, of so many frames."""
    line.verdict()
    line.listen(1.0)
    first = len(line.verdicts)
    while len(line.verdicts) < first + frames:
        line.verdict()
    return [m["lat_us"]["total"] / 1e3 for m in line.verdicts[first:]]


@contextlib.contextmanager
def burning(share: float, niceness: int) -> Iterator[None]:
    """Somebody who uses a share of a core."""
    with running([sys.executable, "-c", BURN, str(share), str(niceness)]):
        yield


@contextlib.contextmanager
def reading(url: str, streams: int) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody who has the page open, several times."""
    with running([sys.executable, "-c", READ, url, str(streams)]) as process:
        yield process


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def cpu_s(pid: int) -> float:
    """Seconds of processor that it has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def address(line: RunningLine) -> str:
    """Where the page is."""

    def logged() -> str:
        found = re.findall(r'"address": "(http[^"]+)", "event": "page"', "".join(line.log))
        return str(found[-1]) if found else ""

    return line.listen_until(logged, "the page's address")


def free_port() -> int:
    """So that a page that comes back is where its readers look."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
