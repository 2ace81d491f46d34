"""A GenICam camera's frames through the real Harvesters, from a simulated camera."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.genicam.device import GenicamCamera
from kenpin.camera.genicam.features import FeatureError
from kenpin.camera.genicam.source import GenicamSource
from kenpin.camera.loss import Loss
from kenpin.camera.simulator import Simulator, pattern_lines, row_numbers
from kenpin.camera.source import CameraError
from kenpin.config.camera import GenicamSpec

pytestmark = pytest.mark.clock

WIDTH, HEIGHT = 256, 32


def spec(simulator: Simulator, **settings) -> GenicamSpec:
    wanted = {
        "kind": "genicam",
        "producers": [simulator.cti],
        "width_px": WIDTH,
        "lines_per_frame": HEIGHT,
        "pixel_format": "Mono8",
        "line_rate_hz": 10_000,
    }
    return GenicamSpec.model_validate(wanted | settings)


@contextmanager
def connected(simulator: Simulator, **settings) -> Iterator[GenicamSource]:
    source = GenicamSource(spec(simulator, **settings))
    try:
        source.connect()
        yield source
    finally:
        source.close()


def take(source, count: int = 1, patience_s: float = 10.0) -> list[Frame | LostFrame]:
    """So many frames, found or lost, each in memory of its own."""
    found: list[Frame | LostFrame] = []
    until = time.monotonic() + patience_s
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} frames came"
        found += source.grab_into(lambda shape, dtype: np.zeros(shape, dtype), 0.2)
    return found


def take_to(source, enough: Callable[[list[Frame | LostFrame]], object]) -> list[Frame | LostFrame]:
    """What comes until there is enough: what waits already says nothing of what was just told."""
    found = take(source)
    while not enough(found):
        assert len(found) < 1000, "it never came"
        found += take(source)
    return found


def losses(found: list[Frame | LostFrame]) -> list[LostFrame]:
    return [frame for frame in found if isinstance(frame, LostFrame)]


def incomplete(found: list[Frame | LostFrame]) -> int:
    return sum(frame.count for frame in losses(found) if "incomplete" in frame.detail)


def rows_of(frame: Frame) -> np.ndarray:
    return row_numbers(frame.pixels)


def test_frames_are_the_web_line_for_line_and_count_their_lines(simulator):
    with connected(simulator) as source:
        frames = take(source, 8)
    rows = np.concatenate([rows_of(frame) for frame in frames])
    np.testing.assert_array_equal(rows, np.arange(rows[0], rows[0] + 8 * HEIGHT))
    np.testing.assert_array_equal(
        np.concatenate([frame.pixels for frame in frames]),
        pattern_lines(int(rows[0]), 8 * HEIGHT, WIDTH),
    )
    assert [frame.capture.first_line for frame in frames] == [HEIGHT * k for k in range(8)]
    assert [frame.index for frame in frames] == list(range(8))
    assert all(frame.complete for frame in frames)
    ids = [frame.capture.frame_id for frame in frames]
    assert ids == list(range(ids[0], ids[0] + 8))
    device = np.diff([frame.capture.device_ns for frame in frames])
    np.testing.assert_allclose(device, HEIGHT / 10_000 * 1e9, rtol=0.2)


def test_frames_that_the_camera_counts_and_never_sends_are_lost_frames_with_their_lines(simulator):
    with connected(simulator) as source:
        first = take(source, 2)[-1]
        simulator.tell("drop 3")
        found = take_to(source, losses) + take(source, 6)
    lost = losses(found)
    assert [(frame.count, frame.lines, frame.loss) for frame in lost] == [
        (3, 3 * HEIGHT, Loss.CAMERA)
    ]
    indices = [f.index + k for f in [first, *found] for k in range(getattr(f, "count", 1))]
    assert indices == list(range(1, 1 + len(indices)))
    seen = [frame for frame in [first, *found] if isinstance(frame, Frame)]
    for frame in seen:
        assert rows_of(frame)[0] - rows_of(first)[0] == (
            frame.capture.first_line - first.capture.first_line
        ), "the line count does not say which lines these are"


def test_frames_that_found_no_buffer_are_not_blamed_on_the_cable(simulator, monkeypatch):
    counted = iter([7, 9, 9])  # at the start, and at each loss
    monkeypatch.setattr(GenicamCamera, "underruns", property(lambda _: next(counted)))
    with connected(simulator) as source:
        take(source, 2)
        simulator.tell("drop 3")
        (first,) = losses(take_to(source, losses))
        simulator.tell("drop 1")
        (second,) = losses(take_to(source, losses))
    assert "2 of them found no free buffer: raise camera.buffers" in first.detail
    assert "check cable and network" in second.detail


def test_an_incomplete_frame_is_lost_and_its_buffer_goes_back(simulator):
    # Slow: on a busy machine three buffers are soon full, which would be another loss.
    with connected(simulator, buffers=3, line_rate_hz=1_000) as source:
        take(source)
        simulator.tell("incomplete 8")
        take_to(source, lambda found: incomplete(found) == 8)
        assert isinstance(take(source, 4)[-1], Frame)


def test_an_endless_run_of_incomplete_frames_does_not_hold_the_caller(simulator):
    with connected(simulator) as source:
        simulator.tell("incomplete always")
        started = time.monotonic()
        with pytest.raises(CameraError, match="10 frames in a row"):
            take(source, 1000)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("pixel_format Mono12", "pixel format Mono12, expected Mono8"),
        ("pixel_format 0x0210003B", "pixel format 0x0210003B"),
        ("width 128", "128 px wide"),
        ("height 4000", "4000 lines, expected 32"),
    ],
)
def test_a_frame_that_is_not_what_was_asked_for_is_lost_by_name(simulator, fault, complaint):
    with connected(simulator, buffers=3) as source:
        take(source)
        simulator.tell(fault)
        lost = losses(take_to(source, losses))
        simulator.tell("clear")
        lost += losses(take_to(source, lambda found: isinstance(found[-1], Frame)))
    assert any(complaint in frame.detail for frame in lost), lost[0].detail


def test_a_frame_announced_without_a_height_is_taken_by_what_came(simulator):
    with connected(simulator) as source:
        take(source)
        simulator.tell("height 0")
        found = take(source, 6)
    assert found[-1].pixels.shape == (HEIGHT, WIDTH)


def test_padding_at_the_ends_of_lines_is_no_pixels(simulator):
    simulator.tell("padding 24")
    with connected(simulator) as source:
        frames = take(source, 3)
    for frame in frames:
        assert frame.pixels.shape == (HEIGHT, WIDTH)
        first = int(rows_of(frame)[0])
        np.testing.assert_array_equal(frame.pixels, pattern_lines(first, HEIGHT, WIDTH))


@pytest.mark.parametrize(
    "name", ["Mono10", "Mono12", "Mono14", "Mono16", "Mono10p", "Mono12p", "Mono12Packed"]
)
@pytest.mark.parametrize("bits", ["all", "high"])
def test_more_than_eight_bits_are_kept_or_cut(simulator, name, bits):
    with connected(simulator, pixel_format=name, bits=bits) as source:
        (frame,) = take(source)
    assert frame.pixels.dtype == (np.uint8 if bits == "high" else np.uint16)
    assert frame.pixels.shape == (HEIGHT, WIDTH)
    assert frame.pixels.max() < (256 if bits == "high" else 1 << int(name[4:6]))
    assert frame.pixels.std() > 1


@pytest.mark.parametrize("name", ["RGB8", "BGR8", "BayerRG8", "BayerRG10", "BayerRG12Packed"])
def test_colour_has_three_channels(simulator, name):
    with connected(simulator, pixel_format=name) as source:
        (frame,) = take(source)
    assert frame.pixels.shape == (HEIGHT, WIDTH, 3)


def test_a_software_trigger_gives_one_frame(simulator):
    trigger = {"selector": "FrameStart", "source": "Software"}
    with connected(simulator, triggers=[trigger]) as source:
        assert source.triggered
        assert source.grab_into(lambda shape, dtype: np.zeros(shape, dtype), 0.2) == []
        for _ in range(3):
            source.fire()
            take(source)
        assert source.grab_into(lambda shape, dtype: np.zeros(shape, dtype), 0.2) == []


def test_a_web_that_stops_ends_a_frame_early_and_is_no_fault(simulator):
    settings = {
        "triggers": [{"selector": "LineStart", "source": "Encoder0"}],
        "encoder": {"source_a": "Line1", "source_b": "Line2"},
        "features": [
            {"name": "LineTimeoutEnable", "value": True},
            {"name": "LineTimeout", "value": 50_000.0},
        ],
        "buffers": 64,
    }
    simulator.tell("speed 0")
    with connected(simulator, **settings) as source:
        assert not source.free_running
        assert source.continuous
        # 2,000 lines: 62 frames and a half.
        simulator.tell("speed 100:20000 5000:0")
        found: list[Frame | LostFrame] = []
        until = time.monotonic() + 10.0
        while time.monotonic() < until and not any(not frame.complete for frame in found):
            found += source.grab_into(lambda shape, dtype: np.zeros(shape, dtype), 0.1)
    assert len(found) > 1
    assert not any(isinstance(frame, LostFrame) for frame in found)
    # A frame says by itself that lines are missing: how many came, of how many.
    parts = [frame for frame in found if len(frame.pixels) < HEIGHT]
    assert parts == [frame for frame in found if not frame.complete]
    assert len(parts) == 1
    assert {frame.capture.lines_expected for frame in found} == {HEIGHT}
    assert [frame.capture.first_line for frame in found] == list(
        np.cumsum([0, *[len(frame.pixels) for frame in found[:-1]]])
    )


def test_the_encoder_travels_with_the_frame(simulator):
    settings = {
        "encoder": {"source_a": "Line1", "source_b": "Line2"},
        "chunks": ["EncoderValue", "FrameID"],
    }
    with connected(simulator, **settings) as source:
        frames = take(source, 4)
    steps = np.diff([frame.capture.encoder for frame in frames])
    assert (steps == steps[0]).all()
    assert steps[0] > 0


def test_counts_of_every_line_are_told_while_the_web_stops_and_backs_up(producer):
    settings = {
        "encoder": {"source_a": "Line1", "source_b": "Line2"},
        "chunks": ["EncoderValue", "FrameID"],
        "lines_per_frame": 500,
    }
    with Simulator(["encoder 8 16 lines"], cti=producer) as simulator:
        simulator.tell("speed 40:9000 60:9000..0 40:0 60:0..-5000 40:-5000 loop")
        with connected(simulator, **settings) as source:
            frames = take(source, 6)
    knots = 0
    for frame in frames:
        told = frame.capture.encoder_lines
        assert told is not None
        assert (told.lines[0], told.lines[-1]) == (0, len(frame.pixels) - 1)
        assert told.counts[0] == frame.capture.encoder
        assert told.within <= 1
        knots += len(told.lines)
        # Every line carries the number of its row, eight counts each.
        rows = (
            np.interp(
                np.arange(len(frame.pixels)), told.lines, np.unwrap(told.counts, period=1 << 16)
            )
            / 8
        )
        moved = rows_of(frame).astype(np.int64) - rows
        assert moved.max() - moved.min() <= 1.5
    assert knots < 6 * 100


def test_a_camera_with_one_count_a_frame_is_not_asked_for_more(simulator):
    settings = {
        "encoder": {"source_a": "Line1", "source_b": "Line2"},
        "chunks": ["EncoderValue"],
    }
    with connected(simulator, **settings) as source:
        (frame,) = take(source)
    assert frame.capture.encoder is not None
    assert frame.capture.encoder_lines is None


def test_a_lost_camera_is_noticed_at_once_and_can_be_had_again(simulator):
    with connected(simulator) as source:
        take(source)
        simulator.tell("lost")
        started = time.monotonic()
        with pytest.raises(CameraError, match="lost"):
            take(source, 1000)
        assert time.monotonic() - started < 2.0
        with pytest.raises(CameraError, match="no camera"):
            source.connect()
        simulator.tell("back")
        source.connect()
        take(source, 3)


def test_the_terminal_keeps_its_ctrl_c(simulator):
    before = signal.getsignal(signal.SIGINT)
    with connected(simulator):
        assert signal.getsignal(signal.SIGINT) is before


def test_the_camera_has_what_was_written_and_every_difference_is_named(simulator):
    simulator.tell("round AcquisitionLineRate 3000")
    simulator.tell("keep Gain")
    simulator.tell("refuse ExposureTime")
    with (
        pytest.raises(FeatureError) as caught,
        connected(simulator, gain=2.0, exposure_us=20.0, line_rate_hz=10_000),
    ):
        pass
    text = str(caught.value)
    assert "AcquisitionLineRate: asked for 10000" in text
    assert "the camera says 9000" in text
    assert "Gain: asked for 2.0" in text
    assert "ExposureTime = 20.0: refused" in text


def test_an_unknown_feature_and_an_unknown_entry_are_named(simulator):
    features = [{"name": "NoSuchThing", "value": 1}]
    with (
        pytest.raises(FeatureError) as caught,
        connected(simulator, features=features, pixel_format="YUV422_8"),
    ):
        pass
    assert "NoSuchThing = 1: refused, the camera has no feature" in str(caught.value)
    assert "PixelFormat = YUV422_8" in str(caught.value)


@pytest.mark.parametrize(
    ("before", "settings", "complaint"),
    [
        (["devices 2", "@0 serial A", "@1 serial A"], {"serial": "A"}, "2 cameras fit serial A"),
        ([], {"serial": "XYZ"}, "no camera with serial XYZ"),
        (["devices 0"], {}, "none at all"),
        (["open denied"], {}, "somebody else has it"),
        (["xml broken"], {}, "cannot be opened"),
        (["start_fails always"], {}, "does not start"),
        (["payload 0"], {}, "PayloadSize is 0"),
    ],
)
def test_a_camera_that_cannot_be_had_says_why(simulator, before, settings, complaint):
    for command in before:
        simulator.tell(command)
    with pytest.raises(CameraError, match=complaint), connected(simulator, **settings):
        pass


def test_a_producer_that_is_missing_is_named(simulator, tmp_path, monkeypatch):
    with pytest.raises(CameraError, match=r"gone\.cti: no such GenTL producer"):
        GenicamSource(spec(simulator, producers=[tmp_path / "gone.cti"]))
    broken = tmp_path / "broken.cti"
    broken.write_bytes(b"not a library")
    with pytest.raises(CameraError, match=r"broken\.cti: the GenTL producer cannot be loaded"):
        GenicamSource(spec(simulator, producers=[broken]))
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    with pytest.raises(CameraError, match="GENICAM_GENTL64_PATH"):
        GenicamSource(spec(simulator, producers=[]))
