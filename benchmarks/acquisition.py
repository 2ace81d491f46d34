"""A GenICam camera's whole path at full rate: what it carries, what it loses, what it keeps.

    python benchmarks/acquisition.py rate     8192 px x 1024 lines, 80 frames/s, 30 s
    python benchmarks/acquisition.py growth   memory of the acquisition over 25,000 frames

The simulated camera runs inside the acquisition process, as a vendor's producer
would, and makes every line anew; the real Harvesters takes its buffers, and each
frame is copied into the ring, where the parent reads its first and last line.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kenpin.camera.acquisition.events import FrameArrived, FramesLost
from kenpin.camera.acquisition.handle import Acquisition
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.camera.acquisition.ring_frames import frame_in
from kenpin.camera.opening import opener_of
from kenpin.camera.simulator import Simulator, build, row_numbers
from kenpin.config.camera import GenicamSpec

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Run:
    """Frames taken from an acquisition process, each checked and set free."""

    def __init__(self, spec: GenicamSpec, frame_bytes: int, slots: int) -> None:
        self.ring = FrameRing(slots, frame_bytes)
        self.acquisition = Acquisition(opener_of(spec), self.ring)
        self.acquisition.start()
        self.frames = self.lost = 0
        self.row: int | None = None
        self.ages_ms: list[float] = []

    def take(self, *, frames: int | None = None, seconds: float | None = None) -> float:
        """Take frames for so long, or so many; the seconds it took."""
        begun = time.monotonic()
        goal = None if frames is None else self.frames + frames
        while (goal is None or self.frames < goal) and (
            seconds is None or time.monotonic() - begun < seconds
        ):
            self._wait()
            for event in self.acquisition.events():
                if isinstance(event, FrameArrived):
                    self._frame(event)
                elif isinstance(event, FramesLost):
                    self.lost += event.count
        return time.monotonic() - begun

    def _wait(self) -> None:
        handle = self.acquisition.fileno()
        if handle is None:
            time.sleep(0.01)
        else:
            select.select([handle], [], [], 0.05)

    def _frame(self, event: FrameArrived) -> None:
        frame = frame_in(self.ring, event.ticket)
        first, last = map(int, row_numbers(frame.pixels[[0, -1]]))
        assert last == first + len(frame.pixels) - 1, "a frame's lines do not follow each other"
        assert self.row is None or first == self.row or self.lost, "lines are missing, untold"
        self.row = last + 1
        self.ring.release(event.ticket)
        self.ages_ms.append((time.monotonic_ns() - event.captured_ns) / 1e6)
        self.frames += 1

    def cpu_s(self) -> float:
        """What the acquisition process has used so far, the simulated camera in it included."""
        fields = Path(f"/proc/{self.acquisition.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def holdings(self) -> dict[str, int]:
        """The acquisition's own memory in bytes, its open files, its threads."""
        process = Path(f"/proc/{self.acquisition.pid}")
        status = (process / "status").read_text()
        anonymous = next(line for line in status.splitlines() if line.startswith("RssAnon"))
        return {
            "bytes": int(anonymous.split()[1]) * 1024,
            "files": len(list((process / "fd").iterdir())),
            "threads": len(list((process / "task").iterdir())),
        }

    def close(self) -> None:
        self.acquisition.stop()
        self.ring.close()


@contextmanager
def running(width: int, height: int, rate_hz: float, slots: int) -> Iterator[Run]:
    """A run against a simulated camera of that frame size and rate."""
    with tempfile.TemporaryDirectory() as folder:
        cti = build(Path(folder))
        line_rate = height * rate_hz
        with Simulator([f"sensor_width {width}", f"max_line_rate {2 * line_rate}"], cti=cti) as sim:
            spec = GenicamSpec(
                kind="genicam",
                producers=(sim.cti,),
                width_px=width,
                lines_per_frame=height,
                pixel_format="Mono8",
                exposure_us=1.0,
                line_rate_hz=line_rate,
            )
            run = Run(spec, width * height, slots)
            try:
                yield run
            finally:
                run.close()


def rate(options: argparse.Namespace) -> dict[str, object]:
    """Whether the whole path carries a fast line, copy included."""
    with running(options.width, options.height, options.rate, options.slots) as run:
        run.take(frames=20)
        run.frames, run.lost, run.ages_ms = 0, 0, []
        before = run.cpu_s()
        took = run.take(seconds=options.seconds)
        ages = np.array(run.ages_ms)
        return {
            "frames": run.frames,
            "lost": run.lost,
            "seconds": round(took, 2),
            "frames_per_s": round(run.frames / took, 2),
            "mb_per_s": round(run.frames / took * options.width * options.height / 1e6, 1),
            "cores_used_by_camera_and_acquisition": round((run.cpu_s() - before) / took, 2),
            "last_line_to_hand_ms": {
                f"p{q:g}": round(float(np.percentile(ages, q)), 2) for q in (50, 99, 100)
            },
        }


def growth(options: argparse.Namespace) -> dict[str, object]:
    """Whether the acquisition keeps anything of the frames it has passed on."""
    with running(1024, 64, options.rate, options.slots) as run:
        run.take(frames=2000)
        before = run.holdings()
        took = run.take(frames=options.frames)
        after = run.holdings()
        return {
            "frames": options.frames,
            "lost": run.lost,
            "seconds": round(took, 1),
            "grown": {name: after[name] - before[name] for name in before},
            "holds": after,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    fast = commands.add_parser("rate")
    fast.add_argument("--width", type=int, default=8192)
    fast.add_argument("--height", type=int, default=1024)
    fast.add_argument("--rate", type=float, default=80.0)
    fast.add_argument("--seconds", type=float, default=30.0)
    fast.add_argument("--slots", type=int, default=8)
    fast.set_defaults(action=rate)
    grown = commands.add_parser("growth")
    grown.add_argument("--frames", type=int, default=25_000)
    grown.add_argument("--rate", type=float, default=600.0)
    grown.add_argument("--slots", type=int, default=64)
    grown.set_defaults(action=growth)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(options.action(options), indent=1) + "\n")


if __name__ == "__main__":
    main()
