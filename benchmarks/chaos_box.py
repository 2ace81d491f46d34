"""The box on which the chaos runs: bundles, a disk of its own, a camera, and the service."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

from chaos_faults import spoil
from edge_run import EDGE_RUN, Workshop

from bundles import HEIGHT, PADIM, SEED, WIDTH
from kenpin.camera.files.images import write_png
from kenpin.camera.synthetic import DefectKind, SyntheticWeb

__all__ = ["BUDGET_MS", "IN_FLIGHT", "Service", "prepared"]

HERE = Path(__file__).resolve().parent
BUDGET_MS, IN_FLIGHT = 400, 2
DIST_INFO = "Metadata-Version: 2.1\nName: chaos-camera\nVersion: 1.0\n"
LINE = """
name = "chaos"
box = "chaos"
bundles = "{folder}/disk/bundles"
trigger = {{ mode = "software", budget_ms = {budget}, max_in_flight = {in_flight} }}
camera = {{ kind = "chaos", folder = "{folder}" }}
inspection = {{ threads = 1 }}
ring = {{ slots = 12 }}
selftest = {{ every_s = 20 }}
watchdog = {{ hung_ms = 500, kill_ms = 1200 }}
archive = {{ folder = "{folder}/disk/archive", max_files = 300, ok_every = 2, min_free_bytes = 0 }}
status = {{ port = 0 }}

[wire]
ctl = "ipc://{folder}/ctl"
pub = "ipc://{folder}/pub"
img = "ipc://{folder}/img"
encoding = "json"
"""


class Service:
    """edge-run, started again whenever it ends, as systemd does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        clock = {"LD_PRELOAD": str(folder / "clock.so"), "CHAOS_CLOCK": str(folder / "clock")}
        self._environ = os.environ | clock | {"PYTHONPATH": str(folder / "site")}
        self._again_s = 0.0
        self.starts = 0
        self.codes: Counter[int] = Counter()
        self._start()

    def _start(self) -> None:
        with (self._folder / "line.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*EDGE_RUN, str(self._folder / "line.toml")], stderr=log, env=self._environ
            )
        self.starts += 1

    def tend(self) -> bool:
        """Whether it has ended since the last look."""
        if self.process.poll() is None:
            return False
        if not self._again_s:
            self.codes[self.process.returncode] += 1
            self._again_s = time.monotonic() + 0.5
            return True
        if time.monotonic() > self._again_s:
            self._again_s = 0.0
            self._start()
        return False

    def pid(self, name: str) -> int | None:
        """A process of it, by its name in ps; None if there is none."""
        if name == "gateway":
            return None if self.process.poll() is not None else self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            for pid in map(int, children.read_text().split()):
                if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    return pid
        except OSError:
            return None
        return None


def prepared(folder: Path) -> tuple[list[str], list[str]]:
    """Everything in place, once: the labels of two good bundles, and of broken ones."""
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    disk = folder / "disk"
    if not (folder / "bundles.json").exists():
        workshop = Workshop.open(folder / "workshop")
        built = [workshop.build(folder / "built"), workshop.build(folder / "built", PADIM)]
        _show(folder / "shown")
        _site(folder)
        (folder / "clock").write_bytes(bytes(8))
        shim = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(folder / "clock.so")]
        subprocess.run([*shim, str(HERE / "chaos_clock.c"), "-ldl"], check=True)
        names = [result.bundle.folder.name for result in built]
        (folder / "bundles.json").write_text(json.dumps(names))
    names = json.loads((folder / "bundles.json").read_text())
    if not os.path.ismount(disk):
        disk.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(disk)]
        subprocess.run(mount, check=True)
        (disk / "archive").mkdir()
        toml = LINE.format(folder=folder, budget=BUDGET_MS, in_flight=IN_FLIGHT)
        (folder / "line.toml").write_text(toml)
        environ = os.environ | {"PYTHONPATH": str(folder / "site")}
        for name in reversed(names):
            install = [
                "bundles",
                "install",
                str(folder / "line.toml"),
                str(folder / "built" / name),
            ]
            subprocess.run(
                [*EDGE_RUN, *install], check=True, env=environ, stdout=subprocess.DEVNULL
            )
        spoil(folder / "built" / names[1], disk / "bundles", random.Random(1))
    whole = set(names)
    stored = [f.name for f in (disk / "bundles").iterdir() if (f.is_dir() and not f.is_symlink())]
    labels = ["@".join(name.rsplit("-", 1)) for name in names]
    broken = ["@".join(name.rsplit("-", 1)) for name in stored if name not in whole and "-" in name]
    return labels, broken


def _show(folder: Path) -> None:
    web = SyntheticWeb(HEIGHT, WIDTH, SEED)
    folder.mkdir()
    for number in range(40):
        defect = DefectKind.SPOT if number % 8 == 7 else None
        write_png(folder / f"{number:03d}.png", web.frame(100 + number, defect).pixels)


def _site(folder: Path) -> None:
    """The camera, as pip would install it."""
    about = folder / "site" / "chaos_camera-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(DIST_INFO)
    (about / "entry_points.txt").write_text("[kenpin.sources]\nchaos = chaos_camera:CHAOS\n")
    (folder / "site" / "chaos_camera.py").write_text((HERE / "chaos_camera.py").read_text())
