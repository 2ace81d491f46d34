"""Two lines with everything on, parts and a web, and whoever looks at them meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from edge_run import EDGE_RUN, RunningLine, Workshop, line_toml

from bridge_process import free_port
from bundles import HEIGHT, SEED, WIDTH
from kenpin.camera.files.images import write_png
from kenpin.camera.synthetic import DefectKind, SyntheticWeb
from web_lines import WIDTH as WEB_WIDTH
from web_lines import compile_web, cut, some_web, spoiled

__all__ = ["Lines", "Visitor", "everything_on"]

# Small enough that the archive is full, and forgets, within minutes.
_ARCHIVE_FILES = 600
_WEB_SPOTS = ((150, 40, 12, 8), (1330, 100, 6, 30), (2260, 20, 40, 4), (3475, 60, 10, 10))
_WEB = (
    "along = { line_pitch_mm = 0.5 }, mm_per_px = 0.5, offset_to_gate_mm = 500, "
    'roll = { length_mm = 20_000 }, lanes = [ { name = "left", left_px = 0, right_px = 72 }, '
    '{ name = "right", left_px = 88, right_px = 160 } ]'
)


@dataclass(frozen=True)
class Spoken:
    """A program at work, and the file that holds what it says."""

    process: subprocess.Popen[bytes]
    file: Path


@dataclass
class Lines:
    """What runs, by the names under which its memory is told.

    running   the lines
    beside    further programs of kenpin that work at them: the recorder
    plcs      simulated PLCs, which check every promise; their own memory is nobody's concern
    visitors  of the pages
    """

    running: dict[str, RunningLine]
    beside: dict[str, Spoken]
    plcs: dict[str, Spoken]
    visitors: list[Visitor] = field(default_factory=list)

    def pids(self) -> Iterator[tuple[str, int]]:
        """Every process that may not grow."""
        for name, line in self.running.items():
            yield f"{name}: gateway", line.process.pid
            for pid in line.children():
                # Not multiprocessing's own, which tidies up, nor one that has no name yet.
                if (comm := _comm(pid)).startswith("kenpin-"):
                    yield f"{name}: {comm.removeprefix('kenpin-')}", pid
        for name, spoken in self.beside.items():
            yield name, spoken.process.pid


@contextlib.contextmanager
def everything_on(folder: Path, rate_hz: float, seconds: float) -> Iterator[Lines]:
    """Lines at work, until the end: parts by trigger through both doors, and a free web."""
    with contextlib.ExitStack() as stack:
        tomls = {
            "parts": parts_line(folder / "parts", rate_hz),
            "web": web_line(folder / "web", rate_hz),
        }
        running = {
            name: stack.enter_context(RunningLine(toml, command=EDGE_RUN))
            for name, toml in tomls.items()
        }
        running["parts"].state("operational.ready")
        running["web"].state("operational.continuous")
        rate = ("--rate-hz", str(rate_hz / 2), "--seconds", str(seconds))
        patience = ("--slack-ms", "4000", "--stale-ms", "6000")
        plc = (sys.executable, "-m", "kenpin.runtime.plc.cli", "--line-toml", str(tomls["parts"]))
        plcs = {
            "direct": _kept(stack, folder / "direct.txt", [*plc, *rate, *patience]),
            "modbus": _kept(
                stack, folder / "modbus.txt", [*plc, *rate, *patience, "--via", "modbus"]
            ),
        }
        camera = f'camera={{kind="synthetic",height_px=256,width_px=512,rate_hz={rate_hz}}}'
        record = [*EDGE_RUN, "record", str(tomls["web"]), "--set", camera]
        record += ["-o", str(folder / "recording"), "--max-gb", "0.02", "--drop-oldest"]
        lines = Lines(running, {"recorder": _kept(stack, folder / "recorder.txt", record)}, plcs)
        lines.visitors += [stack.enter_context(Visitor(line)) for line in running.values()]
        yield lines


def parts_line(folder: Path, rate_hz: float) -> Path:
    """A line's settings: parts, by trigger, one of ten NG."""
    folder.mkdir(parents=True)
    bundle = Workshop.open(folder / "workshop").build(folder / "bundles").bundle
    web, shown = SyntheticWeb(HEIGHT, WIDTH, SEED), folder / "shown"
    shown.mkdir()
    for number in range(40):
        defect = None if number % 10 else DefectKind.SPOT
        write_png(shown / f"{number:03d}.png", web.frame(100 + number, defect).pixels)
    toml = line_toml(
        folder,
        bundle.folder,
        camera=f'kind = "recorded", folder = "{shown}", rate_hz = {4 * rate_hz}, loop = true',
        trigger='mode = "software", budget_ms = 2000, max_in_flight = 8',
        **_sides(folder, slots=20),
    )
    text = f'\n[[bridges]]\nkind = "modbus"\nport = {free_port()}\nhold_ms = 2000\n'
    toml.write_text(toml.read_text() + text)
    return toml


def web_line(folder: Path, rate_hz: float) -> Path:
    """A line's settings: an endless web with two lanes, rolls of 20 m and some defects."""
    folder.mkdir(parents=True)
    bundle, shown = compile_web(folder), folder / "shown"
    shown.mkdir()
    for number, block in enumerate(
        cut(spoiled(some_web(4000), *_WEB_SPOTS), itertools.repeat(100))
    ):
        write_png(shown / f"{number:03d}.png", block)
    rolls = folder / "rolls"
    rolls.mkdir()
    return line_toml(
        folder,
        bundle.folder,
        camera=f'kind = "recorded", folder = "{shown}", rate_hz = {rate_hz}, loop = true',
        trigger='mode = "free", budget_ms = 5000, max_in_flight = 8',
        web=_WEB,
        rolls=f'folder = "{rolls}"',
        **_sides(folder, slots=24, more=f", pixel_bytes = {100 * WEB_WIDTH}"),
    )


def _sides(folder: Path, slots: int, more: str = "") -> dict[str, str]:
    (folder / "archive").mkdir()
    return {
        "wire": f'ctl = "ipc://{folder}/ctl", pub = "ipc://{folder}/pub", img = "ipc://{folder}/img"',
        "ring": f"slots = {slots}{more}",
        "archive": f'folder = "{folder}/archive", ok_every = 5, max_files = {_ARCHIVE_FILES}, '
        "min_free_bytes = 0",
        "status": f"port = {free_port()}",
        "page": f"port = {free_port()}",
        "selftest": "every_s = 300",
        # What is measured is memory: hogs may make it slow.
        "watchdog": "hung_ms = 5000, kill_ms = 10000",
    }


def _kept(stack: contextlib.ExitStack, file: Path, words: Sequence[str]) -> Spoken:
    """Started now, asked to end when the stack does."""
    said = stack.enter_context(file.open("wb"))
    process = subprocess.Popen(words, stdout=said, stderr=said)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return Spoken(process, file)


def _comm(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Visitor:
    """Somebody who looks at a line's page, metrics and pictures, and reviews now and then."""

    def __init__(self, line: RunningLine) -> None:
        self._line = line
        settings = tomllib.loads((line.folder / "line.toml").read_text())
        self._page, self._status = (
            f"127.0.0.1:{settings[side]['port']}" for side in ("page", "status")
        )
        self._cookie = self._csrf = ""
        self._pictures: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._pictures.setsockopt(zmq.SUBSCRIBE, b"")
        self._pictures.connect(f"ipc://{line.folder}/img")
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read_events, daemon=True)
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Visitor:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._reader.join(30)
        self._pictures.close(0)

    def look(self) -> None:
        """All that a browser with the page open would ask for in some seconds."""
        while self._pictures.poll(0):
            self._pictures.recv_multipart()
            self.counts["pictures"] += 1
        try:
            if not self._csrf:
                self._come_in()
            self._ask_for_all()
        except (OSError, http.client.HTTPException, ValueError):
            # The page is being started anew, and knows nobody any more.
            self.counts["refused"] += 1
            self._csrf = ""

    def _come_in(self) -> None:
        _, headers = self._ask(self._page, "/")
        self._cookie = (headers["Set-Cookie"] or "").partition(";")[0]
        self._csrf = json.loads(self._ask(self._page, "/api/me")[0])["csrf"]

    def _ask_for_all(self) -> None:
        self._ask(self._status, "/metrics")
        self._ask(self._page, "/api/rolls")
        self._ask(self._page, "/api/threshold")
        state = json.loads(self._ask(self._page, "/api/state")[0])
        for shown in state["strip"][-2:]:
            self._ask(self._page, f"/api/picture/{shown['seq']}/heat")
        frames = json.loads(self._ask(self._page, "/api/archive?kind=ng")[0])["frames"]
        if frames:
            number = frames[0]["number"]
            self._ask(self._page, f"/api/archived/{number}/heat")
            if self.counts["visits"] % 5 == 0:
                said = {"number": number, "says": "defect", "word": "spot", "region": None}
                self._ask(self._page, "/api/review", said)
                self.counts["reviews"] += 1
        self.counts["visits"] += 1

    def _ask(self, host: str, path: str, body: Any = None) -> tuple[bytes, Any]:
        connection = http.client.HTTPConnection(host, timeout=30)
        sent = {"Cookie": self._cookie, "X-Kenpin": self._csrf, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request("GET" if data is None else "POST", path, data, sent)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status == 401:
            raise http.client.HTTPException("the page knows this visitor no more")
        if answer.status >= 400:
            # A line of parts has no rolls; a picture may no longer be kept when it is asked for.
            self.counts[f"{answer.status} of {path.split('/')[2]}"] += 1
        return text, answer.headers

    def _read_events(self) -> None:
        """The page's stream, and now and then a new one, as browsers do."""
        while not self._over.is_set():
            connection = http.client.HTTPConnection(self._page, timeout=30)
            try:
                connection.request("GET", "/api/events", headers={"Cookie": self._cookie})
                answer = connection.getresponse()
                end = time.monotonic() + 60
                while time.monotonic() < end and not self._over.is_set() and answer.readline():
                    self.counts["events"] += 1
            except (OSError, http.client.HTTPException):
                self._over.wait(1.0)
            finally:
                connection.close()
