"""The simulated camera for tests: compiled once a session, met through the real Harvesters."""

import atexit
import ctypes
import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genicam import gentl
from harvesters.core import Harvester
from numpy.typing import NDArray

from kenpin.camera.simulator import Simulator, build

__all__ = ["Grabber", "Shot", "built", "grabbing", "producer", "simulator"]


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kenpinsim-"))
    atexit.register(shutil.rmtree, folder)
    return folder


@functools.cache
def built(*, sanitize: bool = False) -> Path:
    """The compiled producer, once for the whole session (gcc takes two seconds).

    KENPIN_SIMULATOR_CTI names one that is already there: the sanitizer's run uses it.
    """
    already = os.environ.get("KENPIN_SIMULATOR_CTI")
    if already:
        return Path(already)
    return build(_folder() / ("sanitized" if sanitize else "plain"), sanitize=sanitize)


@pytest.fixture(scope="session")
def producer() -> Path:
    return built()


@pytest.fixture
def simulator(producer: Path) -> Iterator[Simulator]:
    """A camera as it comes out of its box, under control; the environment points at it."""
    with Simulator(cti=producer) as running:
        yield running


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """All that one buffer says, copied before it was queued again."""

    data: NDArray[np.uint8]  # the whole buffer, chunks and what was never filled included
    frame_id: int
    timestamp_ns: int
    width: int
    height: int
    delivered_height: int
    padding: int
    pixel_format: int
    filled_bytes: int
    incomplete: bool

    @property
    def lines(self) -> NDArray[np.uint8]:
        """(delivered_height, width) of an 8-bit image."""
        stride = self.width + self.padding
        count = self.delivered_height
        return self.data[: count * stride].reshape(count, stride)[:, : self.width]


class Grabber:
    """One camera held by Harvesters; frames are read off the binding's own event manager, because
    Harvesters' fetch throws incomplete buffers away and stops at unknown pixel formats."""

    def __init__(self, simulator: Simulator, camera: int = 0, buffers: int = 16) -> None:
        # Harvesters takes Ctrl-C for itself when an acquirer is made in the main thread.
        handler = signal.getsignal(signal.SIGINT)
        self.harvester = Harvester()
        try:
            self.harvester.add_file(str(simulator.cti))
            self.harvester.update()
            self.acquirer = self.harvester.create(camera)
        except BaseException:
            # A producer that stays open shows the next Harvester no devices at all.
            self.harvester.reset()
            raise
        finally:
            signal.signal(signal.SIGINT, handler)
        self.acquirer.num_buffers = buffers

    @property
    def nodes(self) -> Any:
        return self.acquirer.remote_device.node_map

    @property
    def stream(self) -> Any:
        return self.acquirer.data_streams[0]

    def set(self, **features: Any) -> None:
        for name, value in features.items():
            getattr(self.nodes, name).value = value

    def trigger(self, selector: str, **features: Any) -> None:
        """e.g. trigger("FrameStart", Source="Line0"): switched on, the rest as given."""
        self.nodes.TriggerSelector.value = selector
        self.nodes.TriggerMode.value = "On"
        self.set(**{f"Trigger{name}": value for name, value in features.items()})

    def start(self) -> None:
        self.acquirer.start()

    def shot(self, timeout_s: float = 3.0) -> Shot:
        """The next frame, whatever became of it; TimeoutException if none comes."""
        (monitor,) = self.acquirer._new_buffer_event_monitor_dict.values()
        monitor.update_event_data(int(timeout_s * 1000))
        buffer = monitor.buffer
        view = (ctypes.c_ubyte * buffer.size).from_address(buffer._base)
        shot = Shot(
            data=np.frombuffer(view, np.uint8).copy(),
            frame_id=buffer.frame_id,
            timestamp_ns=buffer.timestamp_ns,
            width=buffer.width,
            height=buffer.height,
            delivered_height=buffer.delivered_image_height,
            padding=buffer.padding_x,
            pixel_format=buffer.pixel_format,
            filled_bytes=buffer.size_filled,
            incomplete=not buffer.is_complete(),
        )
        self.stream.queue_buffer(buffer)
        return shot

    def shots(self, count: int) -> list[Shot]:
        return [self.shot() for _ in range(count)]

    def shots_past(self, simulator: Simulator, count: int) -> list[Shot]:
        """What waits already and `count` ids more: what was told before is within."""
        last = int(simulator.status()["next_frame_id"]) + count
        shots = [self.shot()]
        while shots[-1].frame_id < last:
            shots.append(self.shot())
        return shots

    def none_within(self, seconds: float) -> bool:
        """True if no frame comes for so long."""
        try:
            self.shot(seconds)
        except gentl.TimeoutException:
            return True
        return False

    def close(self) -> None:
        """Gives the camera back; a lost one does not answer, and its stream is stopped by hand."""
        try:
            self.acquirer.stop()
        except gentl.GenericException:
            for stream in self.acquirer.data_streams:
                stream.stop_acquisition(gentl.ACQ_STOP_FLAGS_LIST.ACQ_STOP_FLAGS_KILL)
        self.acquirer.destroy()
        self.harvester.reset()


@contextmanager
def grabbing(
    simulator: Simulator,
    *,
    camera: int = 0,
    buffers: int = 128,
    start: bool = True,
    **features: Any,
) -> Iterator[Grabber]:
    """A camera with these features written, running, given back at the end.

    Buffers for every frame of nearly every test: whoever reads them may be kept waiting.
    """
    grabber = Grabber(simulator, camera, buffers)
    try:
        grabber.set(**features)
        if start:
            grabber.start()
        yield grabber
    finally:
        grabber.close()
