"""How soon a camera's faults are noticed, and how soon frames come again.

    python benchmarks/recovery.py [--rounds 5]       prints the table of docs/camera.md
    python benchmarks/recovery.py --cycles 200       loses and recovers the camera so often

Each fault is provoked in the simulated camera, which runs behind the real
Harvesters, while frames of 32 lines come 200 times a second. `noticed` runs from
the fault to the event that tells it, `back` from the end of the cause to the next
whole frame (for a process killed or hung: from the fault).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kenpin.camera.acquisition.events import (
    CameraChanged,
    CameraEvent,
    CameraState,
    FrameArrived,
    FramesLost,
)
from kenpin.camera.acquisition.handle import Acquisition
from kenpin.camera.acquisition.ring import FrameRing
from kenpin.camera.opening import opener_of
from kenpin.camera.simulator import Simulator, build
from kenpin.config.camera import GenicamSpec

WIDTH, HEIGHT, RATE = 256, 32, 6_400


class Camera:
    """A simulated camera and the acquisition that grabs from it."""

    def __init__(self, simulator: Simulator, producer: Path) -> None:
        self.simulator = simulator
        self.producer = producer
        self.ring = FrameRing(16, WIDTH * HEIGHT)
        spec = GenicamSpec(
            kind="genicam",
            producers=(producer,),
            serial="A",
            width_px=WIDTH,
            lines_per_frame=HEIGHT,
            pixel_format="Mono8",
            line_rate_hz=RATE,
            update_timeout_ms=100,
        )
        self.acquisition = Acquisition(opener_of(spec), self.ring)
        self._came: deque[CameraEvent] = deque()
        self.acquisition.start()

    def until(self, wanted: Callable[[CameraEvent], bool], patience_s: float = 60.0) -> CameraEvent:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            for event in self.acquisition.events():
                if isinstance(event, FrameArrived):
                    self.ring.release(event.ticket)
                self._came.append(event)
            while self._came:
                event = self._came.popleft()
                if wanted(event):
                    return event
            time.sleep(0.0005)
        raise TimeoutError(f"nothing of the kind within {patience_s:g} s")

    def watch(self, until: float) -> None:
        """Let frames come and go until that second of the monotonic clock."""
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                self.until(lambda _: False, until - time.monotonic())

    def frames(self, count: int = 1) -> None:
        for _ in range(count):
            self.until(lambda event: isinstance(event, FrameArrived))

    def close(self) -> None:
        self.acquisition.stop()
        self.ring.close()


def _is_fault(event: CameraEvent) -> bool:
    bad = (CameraState.LOST, CameraState.FAILED, CameraState.STALLED)
    return isinstance(event, FramesLost) or (
        isinstance(event, CameraChanged) and event.state in bad
    )


def _lost(event: CameraEvent) -> bool:
    return isinstance(event, CameraChanged) and event.state is CameraState.LOST


def _name(event: CameraEvent) -> str:
    if isinstance(event, CameraChanged):
        return event.state
    return f"frame lost: {event.loss}" if isinstance(event, FramesLost) else "a frame"


@dataclass(frozen=True)
class Fault:
    """begin and end are commands to the camera; `held_s` lies between them.

    again   the acquisition is started anew after `begin`: the fault is met when connecting
    """

    name: str
    begin: tuple[str, ...]
    end: tuple[str, ...] = ()
    held_s: float = 0.5
    signal: int | None = None
    again: bool = False


FAULTS = (
    Fault("cable pulled for 0.5 s", ("lost",), ("back",)),
    Fault("cable pulled for 10 s", ("lost",), ("back",), held_s=10.0),
    Fault("stall: frames made, not sent", ("stall",), ("resume",), held_s=1.0),
    Fault("stall that ends by connecting anew", ("freeze",), ("resume",), held_s=4.0),
    Fault("an incomplete frame", ("incomplete 1",), held_s=0.0),
    Fault("a gap of 2 frame ids", ("drop 2",), held_s=0.0),
    Fault("wrong size", ("width 128",), ("width truth",)),
    Fault("camera in use by another", ("open busy",), ("open ok",), again=True),
    Fault("no device", ("devices 0",), ("devices 1",), again=True),
    Fault("two devices, one serial", ("devices 2", "@1 serial A"), ("@1 serial B",), again=True),
    Fault("XML broken", ("xml broken",), ("xml ok",), again=True),
    Fault("acquisition process killed -9", (), signal=signal.SIGKILL, held_s=0.0),
    Fault("acquisition process stopped", (), signal=signal.SIGSTOP, held_s=0.0),
)


def measure(fault: Fault, cti: Path) -> tuple[float, float, str]:
    """Seconds until noticed, seconds until back, and what was said first."""
    with tempfile.TemporaryDirectory() as folder, Simulator(["serial A"], cti=cti) as simulator:
        producer = Path(folder) / "camera.cti"
        producer.symlink_to(simulator.cti)
        camera = Camera(simulator, producer)
        try:
            camera.frames(10)
            if fault.again:
                camera.close()
            for command in fault.begin:
                simulator.tell(command)
            begun = time.monotonic()
            if fault.again:
                camera = Camera(simulator, producer)
            if fault.signal is not None:
                assert camera.acquisition.pid is not None
                os.kill(camera.acquisition.pid, fault.signal)
            event = camera.until(_is_fault)
            noticed = time.monotonic() - begun
            camera.watch(begun + fault.held_s)
            for command in fault.end:
                simulator.tell(command)
            ended = time.monotonic() if fault.end else begun
            camera.frames()
            return noticed, time.monotonic() - ended, _name(event)
        finally:
            camera.close()


def missing_producer(cti: Path) -> tuple[float, float, str]:
    """The producer's file is not there at first."""
    with tempfile.TemporaryDirectory() as folder, Simulator(["serial A"], cti=cti) as simulator:
        producer = Path(folder) / "camera.cti"
        begun = time.monotonic()
        camera = Camera(simulator, producer)
        try:
            event = camera.until(_is_fault)
            noticed = time.monotonic() - begun
            time.sleep(0.5)
            producer.symlink_to(simulator.cti)
            ended = time.monotonic()
            camera.frames()
            return noticed, time.monotonic() - ended, _name(event)
        finally:
            camera.close()


def table(rounds: int, cti: Path) -> None:
    sys.stdout.write("| fault | first said | noticed, s | back, s |\n| --- | --- | --- | --- |\n")
    trials: list[tuple[str, Callable[[], tuple[float, float, str]]]] = [
        (fault.name, partial(measure, fault, cti)) for fault in FAULTS
    ]
    trials.append(("producer missing", partial(missing_producer, cti)))
    for name, trial in trials:
        found = [trial() for _ in range(rounds)]
        noticed = _spread([each[0] for each in found])
        back = _spread([each[1] for each in found])
        sys.stdout.write(f"| {name} | {found[0][2]} | {noticed} | {back} |\n")
        sys.stdout.flush()


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def cycles(count: int, cti: Path) -> None:
    """Loses the camera by cable and by kill in turn; what is held at the start and at the end."""
    with Simulator(["serial A"], cti=cti) as simulator:
        camera = Camera(simulator, simulator.cti)

        def held() -> dict[str, int]:
            own = Path("/proc/self")
            child = Path(f"/proc/{camera.acquisition.pid}")
            return {
                "own files": len(list((own / "fd").iterdir())),
                "own threads": len(list((own / "task").iterdir())),
                "own KiB": _anonymous_kib(own),
                "child files": len(list((child / "fd").iterdir())),
                "child threads": len(list((child / "task").iterdir())),
                "child KiB": _anonymous_kib(child),
                "slots free": camera.ring.free,
            }

        def lose(killed: bool) -> None:
            if killed:
                assert camera.acquisition.pid is not None
                os.kill(camera.acquisition.pid, signal.SIGKILL)
            else:
                simulator.tell("lost")
            camera.until(_lost)
            if not killed:
                simulator.tell("back")
            camera.frames(3)

        try:
            camera.frames(10)
            for kind, killed in (("cable", False), ("kill -9", True)):
                for _ in range(10):
                    lose(killed)
                before = held()
                begun = time.monotonic()
                for _ in range(count):
                    lose(killed)
                after = held()
                grown = {key: after[key] - before[key] for key in before}
                took = (time.monotonic() - begun) / count
                sys.stdout.write(f"{kind}: {count} cycles, {took:.2f} s each; grown: {grown}\n")
                sys.stdout.flush()
        finally:
            camera.close()


def _anonymous_kib(process: Path) -> int:
    lines = (process / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cycles", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cti = build(Path(folder))
        if options.cycles:
            cycles(options.cycles, cti)
        else:
            table(options.rounds, cti)


if __name__ == "__main__":
    main()
