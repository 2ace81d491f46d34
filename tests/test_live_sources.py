"""Real GenTL producers keep the contract that every frame source keeps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import genicam
import pytest

from kenpin.camera.acquisition.source import AcquisitionSource
from kenpin.camera.frame import LostFrame
from kenpin.camera.opening import opener_of
from kenpin.camera.source import CameraError
from kenpin.config.camera import GenicamSpec, SyntheticSpec
from source_contract import SourceContract, drain

pytestmark = pytest.mark.clock

VIKY = Path(genicam.__file__).with_name("viky.cti")


class LiveContract(SourceContract):
    """Sources that never end, on the real clock."""

    @pytest.fixture
    def clock(self):
        return time.monotonic_ns

    @pytest.fixture
    def open_live(self):
        opened = []

        def open_live(spec: GenicamSpec, frame_bytes: int) -> AcquisitionSource:
            opened.append(AcquisitionSource(opener_of(spec), frame_bytes, slots=16))
            return opened[-1]

        yield open_live
        for source in opened:
            source.close()

    def first(self, source):
        frames: list[Any] = []
        while len(frames) < self.count:
            frame = source.grab(10.0)
            assert frame is not None, f"no more than {len(frames)} frames came"
            frames.append(frame)
        return frames


class TestTheSimulatedCameraKeepsTheContract(LiveContract):
    count = 8

    @pytest.fixture
    def make(self, simulator, open_live):
        self.simulator = simulator
        settings = {
            "kind": "genicam",
            "producers": [simulator.cti],
            "width_px": 256,
            "lines_per_frame": 32,
            "pixel_format": "Mono8",
            "line_rate_hz": 6400,
        }
        return lambda clock, rate_hz=None: open_live(GenicamSpec.model_validate(settings), 256 * 32)

    def first(self, source):
        frames = [source.grab(10.0), source.grab(10.0)]
        self.simulator.tell("drop 1")
        while not isinstance(frames[-1], LostFrame):
            frames.append(source.grab(10.0))
            assert len(frames) < 200, "the dropped frame was never told of"
        while len(frames) < self.count or isinstance(frames[-1], LostFrame):
            frames.append(source.grab(10.0))
        return frames


class TestSomebodyElsesProducerKeepsTheContract(LiveContract):
    losses = 0

    @pytest.fixture
    def make(self, open_live):
        settings = {
            "kind": "genicam",
            "producers": [VIKY],
            "serial": "0",
            "width_px": 320,
            "lines_per_frame": 200,
            "pixel_format": "Mono8",
        }
        return lambda clock, rate_hz=None: open_live(
            GenicamSpec.model_validate(settings), 320 * 200
        )


class TestASyntheticWebBehindTheAcquisitionKeepsTheContract(LiveContract):
    losses = 0

    @pytest.fixture
    def make(self, open_live):
        spec = SyntheticSpec(kind="synthetic", height_px=64, width_px=64, rate_hz=100.0)
        return lambda clock, rate_hz=None: open_live(spec, 64 * 64)


def test_a_recording_behind_the_acquisition_comes_to_its_end():
    spec = SyntheticSpec(kind="synthetic", height_px=64, width_px=64, count=5)
    with AcquisitionSource(opener_of(spec), 64 * 64) as source:
        assert [frame.index for frame in drain(source)] == list(range(5))


def test_a_camera_that_is_never_there_raises_with_the_reason():
    spec = GenicamSpec(kind="genicam", producers=(VIKY,), serial="no such")
    later_ns = [0]
    source = AcquisitionSource(
        opener_of(spec), 320 * 200, clock_ns=lambda: time.monotonic_ns() + later_ns[0]
    )
    with source:
        while "no such" not in source.detail:
            assert source.grab(0.05) is None
        later_ns[0] = 60 * 10**9
        with pytest.raises(CameraError, match="no camera with serial no such"):
            source.grab(10.0)
