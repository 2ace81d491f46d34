"""Every fault of the simulated camera, told from outside, seen through Harvesters."""

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genicam import genapi, gentl
from harvesters.core import Callback, ImageAcquirer

from gentl_producer import Grabber, grabbing
from kenpin.camera.simulator import (
    Simulator,
    SimulatorError,
    SimulatorGoneError,
    pattern_lines,
    row_numbers,
)

pytestmark = pytest.mark.clock

SMALL = ("sensor_width 256", "default Height 32", "default AcquisitionLineRate 20000")


def small(cti: Path, *commands: str) -> Simulator:
    return Simulator([*SMALL, *commands], cti=cti)


def open_files_and_threads() -> tuple[int, int]:
    files, threads = (list(Path("/proc/self", kind).iterdir()) for kind in ("fd", "task"))
    return len(files), len(threads)


def test_dropped_frames_leave_a_gap_in_ids_and_rows(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator) as grabber:
        before = grabber.shot()
        simulator.tell("drop 3")
        shots = grabber.shots_past(simulator, 20)
        assert simulator.status()["frames_dropped"] == 3
    ids = np.array([before.frame_id, *(shot.frame_id for shot in shots)])
    assert sorted(set(np.diff(ids))) == [1, 4]
    for shot in shots:
        assert row_numbers(shot.lines)[0] == shot.frame_id * 32


def test_a_fault_counted_in_frames_is_not_kept_for_a_camera_yet_to_come(producer: Path) -> None:
    with small(producer) as simulator, pytest.raises(SimulatorGoneError):
        simulator.tell("incomplete 2 25")


def test_incomplete_frames_say_so_and_lack_lines(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator) as grabber:
        simulator.tell("incomplete 2 25")
        shots = grabber.shots_past(simulator, 20)
    bad = [shot for shot in shots if shot.incomplete]
    assert len(bad) == 2
    for shot in bad:
        assert shot.filled_bytes == 24 * 256
        assert (shot.lines[12:20] == 0).all()
        np.testing.assert_array_equal(shot.lines[:12], pattern_lines(shot.frame_id * 32, 12, 256))
    ids = np.diff([shot.frame_id for shot in shots])
    assert (ids == 1).all()


def test_harvesters_throw_incomplete_buffers_away_and_count_them(producer: Path) -> None:
    with small(producer, "incomplete always") as simulator, grabbing(simulator) as grabber:
        seen: list[int] = []

        class Count(Callback):
            def emit(self, context: Any) -> None:
                seen.append(1)

        count = Count()
        grabber.acquirer.add_callback(ImageAcquirer.Events.INCOMPLETE_BUFFER, count)
        end = time.monotonic() + 5
        while len(seen) < 3 and time.monotonic() < end:
            assert grabber.acquirer.try_fetch(timeout=0.05) is None
        assert len(seen) >= 3
        simulator.tell("incomplete never")
        end = time.monotonic() + 5
        while (buffer := grabber.acquirer.try_fetch(timeout=0.5)) is None:
            assert time.monotonic() < end
        buffer.queue()


def test_a_stall_loses_frames_and_the_ids_go_on(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator) as grabber:
        grabber.shot()
        simulator.tell("stall")
        while not grabber.none_within(0.05):
            pass
        assert simulator.status()["state"] == "stalled"
        simulator.tell("resume")
        after = grabber.shot()
        assert simulator.status()["frames_stalled"] > 20
    assert after.frame_id > 20
    assert row_numbers(after.lines)[0] == after.frame_id * 32


def test_a_stall_with_an_end_ends_by_itself(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator) as grabber:
        first = grabber.shot()
        simulator.tell("stall 60")
        shots = grabber.shots_past(simulator, 20)
        stamps = [shot.timestamp_ns for shot in [first, *shots]]
    assert np.diff(stamps).max() > 50e6


def test_a_frozen_sensor_loses_rows_without_a_gap_in_ids(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator) as grabber:
        first = grabber.shot()
        simulator.tell("freeze 60")
        shots = [first, *grabber.shots_past(simulator, 20)]
    assert set(np.diff([shot.frame_id for shot in shots])) == {1}
    assert np.diff(np.concatenate([row_numbers(shot.lines) for shot in shots])).max() > 1000


def test_jitter_delays_frames_and_keeps_their_order(producer: Path) -> None:
    with small(producer, "jitter 20") as simulator, grabbing(simulator) as grabber:
        arrivals, ids = [], []
        for _ in range(40):
            shot = grabber.shot()
            arrivals.append(time.monotonic_ns() - shot.timestamp_ns)
            ids.append(shot.frame_id)
    assert ids == list(range(40))
    assert max(arrivals) - min(arrivals) > 5e6


def test_a_delay_holds_every_frame_back(producer: Path) -> None:
    with (
        small(producer, "clock 0", "delay 150") as simulator,
        grabbing(simulator, buffers=200) as g,
    ):
        late = [time.monotonic_ns() - shot.timestamp_ns for shot in g.shots(5)]
        simulator.tell("delay 0")
    assert min(late) - 150e6 > 0


def test_a_lost_camera_answers_nothing_says_so_and_comes_back(producer: Path) -> None:
    with small(producer) as simulator:
        with grabbing(simulator, Gain=4.0) as grabber:
            errors = gentl.EventManagerError(
                grabber.acquirer.device.register_event(gentl.EVENT_TYPE_LIST.EVENT_ERROR)
            )
            grabber.shot()
            simulator.tell("lost")
            errors.update_event_data(1000)
            assert errors.gc_error == int(gentl.GC_ERROR_LIST.GC_ERR_IO)
            with pytest.raises(gentl.IoException):
                _ = grabber.nodes.Width.value
            with pytest.raises(gentl.IoException):
                grabber.acquirer.stop()
            while not grabber.none_within(0.05):
                pass
            assert grabber.acquirer.device.access_status == status("NOACCESS")
            simulator.tell("back")
            with pytest.raises(gentl.IoException):  # this handle stays dead
                _ = grabber.nodes.Width.value
        with grabbing(simulator) as grabber:
            assert grabber.nodes.Gain.value == 1.0  # its power was off
            assert grabber.shot().frame_id == 0


def test_a_lost_camera_is_not_found_until_it_is_back(producer: Path) -> None:
    with small(producer, "lost") as simulator:
        with pytest.raises(IndexError):
            Grabber(simulator)
        simulator.tell("back")
        with grabbing(simulator) as grabber:
            grabber.shot()


def test_a_lost_camera_may_time_out_instead(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        simulator.tell("lost 60")
        begun = time.monotonic()
        with pytest.raises(gentl.TimeoutException):
            _ = grabber.nodes.Width.value
        assert time.monotonic() - begun >= 0.06
        simulator.tell("lost")


def test_two_hundred_losses_leave_nothing_behind(producer: Path) -> None:
    """Straight at the binding: Harvesters keeps every acquirer it ever made."""
    with small(producer) as simulator:
        library = gentl.GenTLProducer.create_producer()
        library.open(str(producer))
        system = library.create_system()
        system.open()
        system.update_interface_info_list(100)
        interface = system.interface_info_list[0].create_interface()
        interface.open()
        kept = []
        for cycle in range(200):
            interface.update_device_info_list(100)
            device = interface.device_info_list[0].create_device()
            device.open(gentl.DEVICE_ACCESS_FLAGS_LIST.DEVICE_ACCESS_EXCLUSIVE)
            simulator.tell("lost")
            device.close()
            simulator.tell("back")
            if cycle in (50, 199):
                kept.append(open_files_and_threads())
        assert kept[0] == kept[1]
        assert simulator.status()["opens"] == 200
        interface.close()
        system.close()
        library.close()


def test_padding_follows_every_line(producer: Path) -> None:
    with small(producer, "padding 16") as simulator, grabbing(simulator) as grabber:
        assert grabber.nodes.PayloadSize.value == (256 + 16) * 32
        shot = grabber.shot()
    assert shot.padding == 16
    np.testing.assert_array_equal(shot.lines, pattern_lines(0, 32, 256))
    assert (shot.data.reshape(32, 272)[:, 256:] == 0xA5).all()


@pytest.mark.parametrize(
    ("told", "seen"), [("0x01080005", 0x01080005), ("RGB8", 0x02180014), ("0", 0)]
)
def test_a_wrong_pixel_format_is_claimed(producer: Path, told: str, seen: int) -> None:
    with small(producer, f"pixel_format {told}") as simulator, grabbing(simulator) as grabber:
        assert grabber.shot().pixel_format == seen
        simulator.tell("pixel_format truth")
        assert grabber.shots_past(simulator, 1)[-1].pixel_format == 0x01080001


@pytest.mark.parametrize("height", [0, 31, 4000])
def test_the_height_is_a_lie(producer: Path, height: int) -> None:
    with small(producer, f"height {height}") as simulator, grabbing(simulator) as grabber:
        shot = grabber.shot()
    assert (shot.height, shot.delivered_height, shot.filled_bytes) == (height, height, 256 * 32)


def test_the_width_is_a_lie(producer: Path) -> None:
    with small(producer, "width 260") as simulator, grabbing(simulator) as grabber:
        assert grabber.shot().width == 260


def test_a_payload_size_of_nothing(producer: Path) -> None:
    with small(producer, "payload 0") as simulator, grabbing(simulator, start=False) as grabber:
        assert grabber.nodes.PayloadSize.value == 0


def test_too_small_a_payload_size_delivers_nothing_and_writes_nowhere(producer: Path) -> None:
    with small(producer, "payload 4096") as simulator, grabbing(simulator) as grabber:
        assert grabber.none_within(0.05)
        assert simulator.status()["frames_underrun"] > 0


def test_buffers_are_busy_when_revoked(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, buffers=4) as grabber:
        grabber.shot()
        simulator.tell("busy_revoke 1")
        with pytest.raises(gentl.BusyException):
            grabber.acquirer.stop()


def test_registers_can_be_slow_and_are_quick_again_at_once(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        simulator.tell("slow_registers 40")
        begun = time.monotonic()
        _ = grabber.nodes.Gain.value
        assert time.monotonic() - begun >= 0.04
        simulator.tell("slow_registers 0")


@pytest.mark.parametrize("name", ["Gain", "Width", "TriggerMode"])
def test_a_feature_refuses_its_value(producer: Path, name: str) -> None:
    value: Any = {"Gain": 3.0, "Width": 128, "TriggerMode": "On"}[name]
    with small(producer, f"refuse {name}") as simulator, grabbing(simulator, start=False) as g:
        with pytest.raises(gentl.InvalidValueException):
            getattr(g.nodes, name).value = value
        simulator.tell(f"obey {name}")
        getattr(g.nodes, name).value = value
        assert getattr(g.nodes, name).value == value


def test_a_feature_keeps_or_rounds_its_value_in_silence(producer: Path) -> None:
    commands = ("keep Gain", "round ExposureTime 5", "round Width 64")
    with small(producer, *commands) as simulator, grabbing(simulator, start=False) as grabber:
        grabber.set(Gain=3.0, ExposureTime=18.0, Width=200)
        nodes = grabber.nodes
        assert (nodes.Gain.value, nodes.ExposureTime.value, nodes.Width.value) == (1.0, 15.0, 192)


@pytest.mark.parametrize(
    ("told", "error"),
    [("denied", gentl.AccessDeniedException), ("busy", gentl.ResourceInUseException)],
)
def test_opening_is_refused(producer: Path, told: str, error: Any) -> None:
    with small(producer, f"open {told}") as simulator:
        with pytest.raises(error):
            Grabber(simulator)
        assert simulator.status()["opens"] == 0
        simulator.tell("open ok")
        with grabbing(simulator) as grabber:
            grabber.shot()


@pytest.mark.parametrize("told", ["broken", "truncated", "missing", "unreadable"])
def test_a_broken_description_does_not_open(producer: Path, told: str) -> None:
    broken = (genapi.GenericException, gentl.GenericException, IndexError, OSError)
    with small(producer, f"xml {told}") as simulator, pytest.raises(broken):
        _ = Grabber(simulator).nodes.Width.value


def test_starting_fails_as_often_as_told(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        simulator.tell("start_fails 1")
        with pytest.raises(gentl.IoException):
            grabber.start()
        grabber.acquirer.stop()
        grabber.start()
        grabber.shot()


def test_stopping_can_take_its_time(producer: Path) -> None:
    with small(producer, "slow_stop 80") as simulator, grabbing(simulator) as grabber:
        grabber.shot()
        begun = time.monotonic()
        grabber.acquirer.stop()
        assert time.monotonic() - begun >= 0.08


def test_two_cameras_may_bear_one_serial_number(producer: Path) -> None:
    with small(producer, "devices 2", "serial TWIN", "@1 serial TWIN") as simulator:
        grabber = Grabber(simulator)
        assert [d.serial_number for d in grabber.harvester.device_info_list] == ["TWIN", "TWIN"]
        grabber.acquirer.destroy()
        with pytest.raises(ValueError, match=r"[mM]ultiple|ambig"):
            grabber.harvester.create({"serial_number": "TWIN"})
        grabber.close()


def test_two_cameras_are_told_apart_and_fail_apart(producer: Path) -> None:
    two = small(producer, "devices 2", "@1 sensor_width 512")
    with two as simulator, grabbing(simulator) as first:
        # Harvesters takes Ctrl-C for itself.
        handler = signal.getsignal(signal.SIGINT)
        second = first.harvester.create(1)
        signal.signal(signal.SIGINT, handler)
        assert second.remote_device.node_map.Width.value == 512
        simulator.tell("@1 lost")
        assert simulator.status(0)["present"]
        assert not simulator.status(1)["present"]
        first.shots(3)
        second.destroy()


def test_no_camera_at_all(producer: Path) -> None:
    with small(producer, "devices 0") as simulator, pytest.raises(IndexError):
        Grabber(simulator)


def test_clear_ends_every_fault(producer: Path) -> None:
    with small(producer, "drop always", "keep Gain", "slow_registers 5") as simulator:
        with grabbing(simulator) as grabber:
            assert grabber.none_within(0.05)
            simulator.tell("clear")
            assert grabber.shot()
            grabber.nodes.Gain.value = 2.0
            assert grabber.nodes.Gain.value == 2.0
        assert "drop" not in simulator._script.path.read_text()
        assert "sensor_width 256" in simulator._script.path.read_text()


def test_an_error_event_can_be_asked_for(producer: Path) -> None:
    with small(producer) as simulator, grabbing(simulator, start=False) as grabber:
        errors = gentl.EventManagerError(
            grabber.acquirer.device.register_event(gentl.EVENT_TYPE_LIST.EVENT_ERROR)
        )
        simulator.tell("error the fan stands still")
        errors.update_event_data(1000)
        assert "the fan stands still" in errors.description


@pytest.mark.parametrize(
    "command",
    [
        "",
        "nonsense",
        "drop many",
        "drop -1",
        "jitter -5",
        "jitter",
        "keep Nothing",
        "open perhaps",
        "speed 10:fast",
        "speed",
        "@9 status",
        "xml torn",
        "set Width 3",
        "parts 10 10",
        "strip /nowhere.pgm",
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(producer: Path, command: str) -> None:
    with (
        small(producer) as simulator,
        grabbing(simulator, start=False),
        pytest.raises(SimulatorError),
    ):
        simulator.tell(command)


def status(name: str) -> int:
    return int(getattr(gentl.DEVICE_ACCESS_STATUS_LIST, f"DEVICE_ACCESS_STATUS_{name}"))
