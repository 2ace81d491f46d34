"""The simulated camera as a good one: no line lost, triggers, encoder, chunks, clocks."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genicam import genapi, gentl

from gentl_producer import Grabber, Shot, grabbing
from kenpin.camera.simulator import Simulator, SimulatorError, pattern_lines, row_numbers

pytestmark = pytest.mark.clock

SMALL = ("sensor_width 256", "default Height 32", "default AcquisitionLineRate 20000")


def small(cti: Path, *commands: str) -> Simulator:
    return Simulator([*SMALL, *commands], cti=cti)


def rows_of(shots: list[Shot]) -> Any:
    return np.concatenate([row_numbers(shot.lines) for shot in shots])


def encoder_driven(grabber: Grabber, **features: Any) -> None:
    grabber.trigger("LineStart", Source="Encoder0")
    grabber.set(**features)


def write_pgm(path: Path, pixels: Any) -> None:
    kind = b"P5" if pixels.ndim == 2 else b"P6"
    most = 255 if pixels.dtype == np.uint8 else 4095
    header = b"%s\n# a comment\n%d %d\n%d\n" % (kind, pixels.shape[1], pixels.shape[0], most)
    path.write_bytes(header + pixels.astype(">u2" if most > 255 else np.uint8).tobytes())


def test_consecutive_frames_are_the_endless_web_bit_for_bit(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator) as grabber:
        shots = grabber.shots(100)
    web = np.concatenate([shot.lines for shot in shots])
    np.testing.assert_array_equal(web, pattern_lines(0, 3200, 256))
    assert [shot.frame_id for shot in shots] == list(range(100))


def test_an_offset_shows_the_same_web_further_right(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, Width=100, OffsetX=36) as grabber:
        shots = grabber.shots(3)
    web = np.concatenate([shot.lines for shot in shots])
    np.testing.assert_array_equal(web, pattern_lines(0, 96, 100, offset_x=36))


def test_a_strip_file_comes_round_again_and_again(producer: Path, tmp_path: Path) -> None:
    strip = np.random.default_rng(1).integers(0, 256, (50, 300), dtype=np.uint8)
    write_pgm(tmp_path / "strip.pgm", strip)
    with (
        small(producer, f"strip {tmp_path / 'strip.pgm'}") as simulator,
        grabbing(simulator, Width=200, OffsetX=64) as grabber,
    ):
        assert grabber.nodes.SensorWidth.value == 300
        web = np.concatenate([shot.lines for shot in grabber.shots(10)])
    np.testing.assert_array_equal(web, strip[np.arange(320) % 50, 64:264])


def period_ns(shots: list[Shot]) -> np.ndarray:
    """From frame to frame, also where a busy machine left one out."""
    stamps, ids = ([getattr(s, key) for s in shots] for key in ("timestamp_ns", "frame_id"))
    return np.diff(stamps) / np.diff(ids)


def test_a_free_running_camera_keeps_its_line_rate(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator) as grabber:
        shots = grabber.shots(20)
    np.testing.assert_allclose(period_ns(shots), 32 / 20000 * 1e9, atol=2)


def test_the_device_clock_has_its_own_zero_and_drifts_as_told(producer: Path) -> None:
    with (
        small(producer, "clock 123000000000 50000") as simulator,
        grabbing(simulator) as grabber,
    ):
        shots = grabber.shots(20)
    assert 123e9 < shots[0].timestamp_ns < 223e9
    np.testing.assert_allclose(period_ns(shots), 32 / 20000 * 1e9 * 1.05, atol=3)


def test_when_nobody_gives_buffers_the_gap_in_ids_is_the_gap_in_rows(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, buffers=3) as grabber:
        grabber.shots(2)
        while simulator.status()["frames_underrun"] < 5:
            time.sleep(0.01)
        shots = grabber.shots(8)
        assert grabber.stream.num_underrun >= 5
    ids = np.array([shot.frame_id for shot in shots])
    assert ids.max() - ids.min() > 7
    np.testing.assert_array_equal([row_numbers(shot.lines)[0] for shot in shots], ids * 32)


def test_one_software_trigger_gives_one_frame(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        grabber.trigger("FrameStart", Source="Software")
        grabber.start()
        assert grabber.none_within(0.05)
        for expected in range(5):
            grabber.nodes.TriggerSoftware.execute()
            assert grabber.shot().frame_id == expected
        assert grabber.none_within(0.05)
        simulator.tell("trigger")
        assert grabber.shot().frame_id == 5


def test_a_trigger_during_a_frame_is_missed_and_counted(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        grabber.set(Height=2000)
        grabber.trigger("FrameStart", Source="Software")
        grabber.start()
        for _ in range(3):
            grabber.nodes.TriggerSoftware.execute()
        grabber.shot()
        assert grabber.nodes.FrameTriggerMissed.value == 2
        assert grabber.none_within(0.05)


def test_a_burst_trigger_gives_its_number_of_frames(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        grabber.set(AcquisitionBurstFrameCount=4)
        grabber.trigger("FrameBurstStart", Source="Line0")
        grabber.start()
        simulator.tell("part")
        rows = rows_of(grabber.shots(4))
        assert grabber.none_within(0.05)
    np.testing.assert_array_equal(np.diff(rows), 1)


@pytest.mark.parametrize(("mode", "frames"), [("SingleFrame", 1), ("MultiFrame", 3)])
def test_acquisition_modes_end_by_themselves(producer: Path, mode: str, frames: int) -> None:
    with (
        small(producer) as simulator,
        grabbing(simulator, AcquisitionMode=mode, AcquisitionFrameCount=3) as grabber,
    ):
        grabber.shots(frames)
        assert grabber.none_within(0.05)


def test_a_frame_begins_where_its_part_begins(producer: Path) -> None:
    with small(producer, "parts 200 40") as simulator, grabbing(simulator, start=False) as grabber:
        grabber.set(Height=64)
        grabber.trigger("FrameStart", Source="Line0")
        grabber.start()
        shots = grabber.shots(5)
    for shot in shots:
        rows = row_numbers(shot.lines)
        assert rows[0] % 200 == 0
        np.testing.assert_array_equal(shot.lines[:40], pattern_lines(int(rows[0]), 40, 256))
        assert (shot.lines[40:, 8:64] == 8).all()  # dark between the parts


def test_a_trigger_delay_moves_the_frame_along_the_web(producer: Path) -> None:
    with small(producer, "parts 400 40") as simulator, grabbing(simulator, start=False) as grabber:
        grabber.trigger("FrameStart", Source="Line0", Delay=5000.0)
        grabber.start()
        rows = [int(row_numbers(shot.lines)[0]) % 400 for shot in grabber.shots(5)]
    assert set(rows) <= {100, 101}  # 5 ms at 20 kHz


def test_falling_edge_starts_behind_the_part(producer: Path) -> None:
    with small(producer, "parts 400 40") as simulator, grabbing(simulator, start=False) as grabber:
        grabber.trigger("FrameStart", Source="Line0", Activation="FallingEdge")
        grabber.start()
        assert {int(row_numbers(s.lines)[0]) % 400 for s in grabber.shots(3)} == {40}


def test_encoder_lines_follow_the_web_through_every_speed(producer: Path) -> None:
    profile = "speed 50:0..9000 50:9000..500 30:500 20:0 60:0..15000 1000:15000"
    with small(producer, profile) as simulator, grabbing(simulator, start=False) as grabber:
        encoder_driven(grabber)
        grabber.start()
        simulator.tell(profile)  # anew, from now on
        shots = grabber.shots(40)
        assert grabber.nodes.LineTriggerMissed.value == 0
    rows = rows_of(shots)
    np.testing.assert_array_equal(np.diff(rows), 1)
    paces = np.diff([shot.timestamp_ns for shot in shots])
    assert paces.max() > 3 * paces.min()


def test_a_divider_takes_every_second_row(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        encoder_driven(grabber, EncoderDivider=8)
        grabber.start()
        rows = rows_of(grabber.shots(5))
    np.testing.assert_array_equal(np.diff(rows), 2)


def test_high_resolution_counts_every_phase(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        encoder_driven(grabber, EncoderMode="HighResolution", EncoderDivider=16)
        grabber.start()
        rows = rows_of(grabber.shots(5))
        value = grabber.nodes.EncoderValue.value
    np.testing.assert_array_equal(np.diff(rows), 1)
    assert value >= rows[-1] * 16


def test_an_encoder_that_is_not_connected_gives_no_lines(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        encoder_driven(grabber, EncoderSourceB="Off")
        grabber.start()
        assert grabber.none_within(0.05)


def test_a_web_too_fast_is_compressed_and_the_missed_lines_are_counted(producer: Path) -> None:
    with (
        small(producer, "max_line_rate 5000", "speed 20000") as simulator,
        grabbing(simulator, start=False, AcquisitionLineRateEnable=False) as grabber,
    ):
        encoder_driven(grabber)
        grabber.start()
        shots = grabber.shots(10)
        missed = grabber.nodes.LineTriggerMissed.value
    rows = rows_of(shots)
    assert set(np.diff(rows)) <= {4, 5}
    assert missed >= (rows[-1] - rows[0]) - len(rows)
    rate = 32 / (np.diff([shot.timestamp_ns for shot in shots]).mean() / 1e9)
    assert 3900 < rate <= 5000.1


REVERSAL = "speed 40:8000 20:-8000 1000:8000"


def test_in_position_mode_a_reversal_repeats_no_row(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        encoder_driven(grabber)
        simulator.tell("speed 0")
        grabber.start()
        simulator.tell(REVERSAL)
        shots = grabber.shots(25)
        assert grabber.nodes.EncoderStatus.value == "EncoderUp"
    np.testing.assert_array_equal(np.diff(rows_of(shots)), 1)
    assert np.diff([shot.timestamp_ns for shot in shots]).max() > 35e6


@pytest.mark.parametrize(("output", "downs"), [("DirectionUp", 1), ("Motion", 100)])
def test_other_output_modes_see_rows_again_after_a_reversal(
    producer: Path, output: str, downs: int
) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        encoder_driven(grabber, EncoderOutputMode=output)
        simulator.tell("speed 0")
        grabber.start()
        simulator.tell(REVERSAL)
        rows = rows_of(grabber.shots(25))
    assert downs <= (np.diff(rows) < 0).sum() <= downs * 2
    assert len(set(rows)) < len(rows)


def test_the_encoder_counter_wraps_and_resets(producer: Path) -> None:
    with small(producer, "encoder 4 10") as simulator, grabbing(simulator, start=False) as grabber:
        grabber.set(ChunkModeActive=True)
        encoder_driven(grabber)
        grabber.start()
        values = []
        for _ in range(40):
            with grabber.acquirer.fetch(timeout=3):
                values.append(grabber.nodes.ChunkEncoderValue.value)
        assert max(values) < 1024
        assert set(np.diff(values) % 1024) == {128}  # 32 lines of 4 counts
        simulator.tell("speed 0")
        grabber.nodes.EncoderReset.execute()
        assert grabber.nodes.EncoderValue.value == 0


def test_a_stopped_web_gives_its_partial_frame_after_the_line_timeout(producer: Path) -> None:
    with small(producer, "speed 0") as simulator, grabbing(simulator, start=False) as grabber:
        grabber.set(Height=100, LineTimeoutEnable=True, LineTimeout=20000.0)
        encoder_driven(grabber)
        grabber.start()
        assert grabber.none_within(0.05)  # a stopped web is no fault and gives no frame
        simulator.tell("speed 125:2000 1:0")
        shots = grabber.shots(3)
        assert grabber.none_within(0.1)
        simulator.tell("speed 2000")
        after = grabber.shot()
    assert [shot.height for shot in shots] == [100, 100, 100]
    assert [shot.delivered_height for shot in shots[:2]] == [100, 100]
    last = shots[2]
    assert 40 <= last.delivered_height <= 60
    assert last.filled_bytes == last.delivered_height * 256
    assert not last.incomplete
    np.testing.assert_array_equal(np.diff(rows_of([*shots, after])), 1)


def test_the_harvesters_read_every_chunk(producer: Path) -> None:
    with (
        small(producer) as simulator,
        grabbing(simulator, ChunkModeActive=True, ExposureTime=25.0) as grabber,
    ):
        for expected in range(5):
            with grabber.acquirer.fetch(timeout=3) as buffer:
                nodes = grabber.nodes
                assert nodes.ChunkFrameID.value == buffer.frame_id == expected
                assert nodes.ChunkTimestamp.value == buffer.timestamp_ns
                assert nodes.ChunkEncoderValue.value == 4 * 32 * expected
                assert nodes.ChunkLineTriggerMissed.value == 0
                assert nodes.ChunkExposureTime.value == 25.0
                image = buffer.payload.components[0]
                assert image.data.reshape(32, 256)[0, 8] == pattern_lines(32 * expected, 1, 9)[0, 8]


def test_a_chunk_that_is_not_enabled_is_not_sent(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        whole = grabber.nodes.PayloadSize.value
        grabber.set(ChunkModeActive=True)
        for name in ("EncoderValue", "LineTriggerMissed", "ExposureTime"):
            grabber.set(ChunkSelector=name, ChunkEnable=False)
        assert grabber.nodes.PayloadSize.value == whole + 8 + 2 * 16
        grabber.start()
        assert grabber.shot().filled_bytes == whole + 40


def test_sixteen_bit_frame_ids_wrap_from_65535_to_1(producer: Path) -> None:
    with small(producer, "frame_id 65533 16") as simulator, grabbing(simulator) as grabber:
        ids = [shot.frame_id for shot in grabber.shots(6)]
    assert ids == [65533, 65534, 65535, 1, 2, 3]


def test_line_rate_and_exposure_limit_one_another(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        nodes = grabber.nodes
        assert nodes.ExposureTime.max == pytest.approx(49.0)  # 1/20 kHz less 1 us
        nodes.ExposureTime.value = 40.0
        assert nodes.AcquisitionLineRate.max == pytest.approx(1e6 / 41)
        with pytest.raises(genapi.GenericException):
            nodes.AcquisitionLineRate.value = 50000.0
        nodes.ExposureTime.value = 10.0
        nodes.AcquisitionLineRate.value = 50000.0
        assert nodes.ResultingAcquisitionLineRate.value == 50000.0
        nodes.AcquisitionLineRateEnable.value = False
        assert nodes.ResultingAcquisitionLineRate.value == pytest.approx(1e6 / 11)


def test_geometry_is_locked_while_grabbing(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator) as grabber:
        assert grabber.nodes.TLParamsLocked.value == 1
        with pytest.raises(genapi.AccessException):
            grabber.nodes.Width.value = 128
        grabber.nodes.Gain.value = 2.0
        grabber.acquirer.stop()
        grabber.nodes.Width.value = 128
        assert grabber.nodes.PayloadSize.value == 128 * 32


def test_width_and_offset_share_the_sensor(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        assert grabber.nodes.OffsetX.max == 0
        grabber.nodes.Width.value = 200
        assert grabber.nodes.OffsetX.max == 56
        with pytest.raises(genapi.GenericException):
            grabber.nodes.Width.value = 202  # steps of 4


def test_each_trigger_keeps_its_own_settings(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        grabber.trigger("LineStart", Source="Encoder0")
        grabber.nodes.TriggerSelector.value = "FrameStart"
        assert grabber.nodes.TriggerMode.value == "Off"
        grabber.nodes.TriggerSelector.value = "LineStart"
        assert grabber.nodes.TriggerMode.value == "On"
        assert grabber.nodes.TriggerSource.value == "Encoder0"


def test_a_timestamp_can_be_latched(producer: Path) -> None:
    with small(producer, "clock 5000000000") as simulator, grabbing(simulator) as grabber:
        shot = grabber.shot()
        grabber.nodes.TimestampLatch.execute()
        latched = grabber.nodes.TimestampLatchValue.value
    assert shot.timestamp_ns < latched < shot.timestamp_ns + 10e9


def test_one_camera_is_open_only_once(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        device = grabber.harvester.device_info_list[0]
        assert (
            device.access_status
            == gentl.DEVICE_ACCESS_STATUS_LIST.DEVICE_ACCESS_STATUS_OPEN_READWRITE
        )
        with pytest.raises(SimulatorError, match="close the camera"):
            simulator.tell("sensor_width 512")
