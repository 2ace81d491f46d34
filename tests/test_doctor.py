"""edge-doctor and the recording command, tried on a simulated camera as a person would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kenpin.camera.files.images import write_png
from kenpin.camera.files.recording_source import RecordingSource
from kenpin.camera.flat_field import read_flat_field
from kenpin.camera.frame import Frame
from kenpin.camera.genicam.discovery import _apart
from kenpin.camera.genicam.discovery_messages import Probe
from kenpin.camera.genicam.host import examine
from kenpin.camera.simulator import row_numbers
from kenpin.camera.source import CameraError
from kenpin.config.camera import GenicamSpec
from source_contract import drain

LINE = """
[camera]
kind = "genicam"
producers = ["{cti}"]
width_px = 256
lines_per_frame = 32
line_rate_hz = 1600.0
pixel_format = "Mono8"
"""


@pytest.fixture
def line(simulator, tmp_path):
    file = tmp_path / "line.toml"
    file.write_text(LINE.format(cti=simulator.cti))
    return file


def run(module, *words):
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_doctor_lists_cameras_and_shows_what_one_does(line):
    done = run("kenpin.runtime.doctor", "camera", line, "--seconds", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIM0001" in done.stdout
    assert "32 x 256, Mono8, 8192 bytes" in done.stdout
    assert "memory locks" in done.stdout
    for name in ("MTU", "packet size", "receive buffers", "USB memory"):
        assert name in done.stdout


@pytest.mark.thorough
def test_the_doctor_counts_what_is_lost_and_says_so_in_its_exit_code(simulator, line):
    simulator.tell("incomplete always")
    simulator.tell("clear")
    simulator.tell("drop always")
    done = run("kenpin.runtime.doctor", "camera", line, "--seconds", "0.5")
    assert done.returncode == 7
    assert "none came" in done.stdout


@pytest.mark.thorough
def test_the_doctor_names_a_setting_that_the_camera_refuses(simulator, line):
    simulator.tell("keep Width")
    line.write_text(LINE.format(cti=simulator.cti).replace("256", "128"))
    done = run("kenpin.runtime.doctor", "camera", line)
    assert done.returncode == 7
    assert "Width: asked for 128" in done.stderr


@pytest.mark.parametrize(
    ("more", "blamed"),
    [
        (
            '[[camera.triggers]]\nselector = "FrameStart"\nsource = "Line0"',
            "the camera waits for FrameStart from Line0",
        ),
        pytest.param(
            '[[camera.triggers]]\nselector = "LineStart"\nsource = "Software"',
            "the camera gave no frame within",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            '[[camera.triggers]]\nselector = "AcquisitionStart"\nsource = "Line0"',
            "it offers FrameStart, LineStart, FrameBurstStart",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            '[[camera.features]]\nname = "AnalogControl"\nvalue = 1',
            "AnalogControl = 1: refused, it is a category in this camera and has no value",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            '[[camera.features]]\nname = "ExposureTimeAbs"\nvalue = 9.0',
            "the nearest that it has: ExposureTime",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            '[[camera.features]]\nname = "AcquisitionMode"\nvalue = "SingleFrame"',
            "one came, and no more",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_the_doctor_blames_what_is_to_blame(line, more, blamed):
    line.write_text(line.read_text() + more + "\n")
    done = run("kenpin.runtime.doctor", "camera", line, "--seconds", "0.4")
    assert done.returncode == 7
    assert blamed in " ".join((done.stdout + done.stderr).replace("│", " ").split())


@pytest.mark.thorough
def test_the_doctor_blames_the_cameras_own_fault_before_the_network(simulator, line):
    simulator.tell("freeze")
    done = run("kenpin.runtime.doctor", "camera", line, "--seconds", "0.4")
    assert done.returncode == 7
    told = " ".join(done.stdout.replace("│", " ").split())
    assert "no frame for" in told
    assert "packet size and the MTU" not in told


def test_the_doctor_takes_a_fault_of_its_own_for_no_crash_of_the_producer():
    spec = GenicamSpec(kind="genicam")
    with pytest.raises(CameraError, match=r"a fault of kenpin's own.*ZeroDivisionError"):
        _apart(divided_by_nothing, spec, 30.0, Probe)


def divided_by_nothing(_spec):
    return {"frames": 1 // 0}


def test_without_a_producer_the_doctor_says_what_to_install():
    done = run("kenpin.runtime.doctor", "camera")
    assert done.returncode == 7
    assert "install the camera vendor's" in done.stderr


def a_box(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_a_box_is_judged_by_its_network_usb_and_memory(tmp_path):
    box = a_box(
        tmp_path,
        sys__class__net__eth0__mtu=1500,
        sys__class__net__eth0__operstate="up",
        proc__sys__net__core__rmem_max=212992,
        sys__module__usbcore__parameters__usbfs_memory_mb=16,
    )
    ethernet = {f.name: f for f in examine("GEV", packet_bytes=8192, root=box)}
    assert ethernet["MTU of eth0"].remedy.endswith("ip link set eth0 mtu 9000")
    assert "packet_bytes to 1500" in ethernet["packet size"].remedy
    assert "net.core.rmem_max=" in ethernet["receive buffers"].remedy
    assert ethernet["USB memory"].grade == "unused"
    usb = {f.name: f for f in examine("U3V", root=box)}
    assert "usbfs_memory_mb" in usb["USB memory"].remedy
    assert usb["MTU of eth0"].grade == "unused"
    locked = {f.name: f for f in examine("U3V", locked_bytes=2**50, root=box)}["memory locks"]
    assert locked.grade == "warning" or locked.found == "no limit"


def test_a_good_box_gets_no_complaint(tmp_path):
    box = a_box(
        tmp_path,
        sys__class__net__eth0__mtu=9000,
        sys__class__net__eth0__operstate="up",
        proc__sys__net__core__rmem_max=2**26,
    )
    assert {f.grade for f in examine("GEV", packet_bytes=9000, root=box)} <= {"ok", "unused"}


def test_a_flat_field_is_calibrated_from_folders_and_used_by_the_camera(simulator, line, tmp_path):
    for name, level in (("dark", 2), ("white", 180)):
        (tmp_path / name).mkdir()
        columns = np.full(256, level) + (np.arange(256) % 7 if name == "white" else 0)
        write_png(tmp_path / name / "0.png", np.tile(columns, (16, 1)).astype(np.uint8))
    output = tmp_path / "flat.json"
    done = run(
        "kenpin.runtime.doctor", "flat-field", "--dark", tmp_path / "dark",
        "--white", tmp_path / "white", "-o", output, "--line", line,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_flat_field(output).conditions == {"line_rate_hz": 1600.0}
    raw = run("kenpin.camera.record_cli", line, "-o", tmp_path / "raw", "--frames", 2)
    assert raw.returncode == 0, raw.stderr
    corrected = tmp_path / "corrected.toml"
    corrected.write_text(line.read_text() + 'flat_field = "flat.json"\n')
    done = run("kenpin.camera.record_cli", corrected, "-o", tmp_path / "flat", "--frames", 2)
    assert done.returncode == 0, done.stderr
    flat = read_flat_field(output)
    first_raw = drain(RecordingSource(tmp_path / "raw"))[0]
    first = drain(RecordingSource(tmp_path / "flat"))[0]
    # Both are the pattern from line 0 on, because the camera was started anew.
    np.testing.assert_array_equal(first.pixels, flat.apply(first_raw.pixels))
    assert (first.pixels != first_raw.pixels).any()


@pytest.mark.thorough
def test_a_flat_field_for_another_camera_is_refused(line, tmp_path):
    for name, level in (("dark", 2), ("white", 180)):
        (tmp_path / name).mkdir()
        write_png(tmp_path / name / "0.png", np.full((16, 100), level, np.uint8))
    output = tmp_path / "flat.json"
    words = ["--dark", tmp_path / "dark", "--white", tmp_path / "white", "-o", output]
    assert run("kenpin.runtime.doctor", "flat-field", *words).returncode == 0
    line.write_text(line.read_text() + 'flat_field = "flat.json"\n')
    done = run("kenpin.runtime.doctor", "camera", line)
    assert done.returncode == 7
    assert "calibrated for lines of (100,)" in done.stderr


def test_a_recording_holds_every_line_and_replays_bit_for_bit(line, tmp_path):
    done = run("kenpin.runtime.service.cli", "record", line, "-o", tmp_path / "r", "--frames", 12)
    assert done.returncode == 0, done.stderr
    assert "12 frames, 0 missed" in done.stdout
    frames = drain(RecordingSource(tmp_path / "r"))
    assert len(frames) == 12
    rows = np.concatenate([row_numbers(frame.pixels) for frame in frames])
    np.testing.assert_array_equal(rows, np.arange(rows[0], rows[0] + len(rows)))
    assert [frame.capture.first_line for frame in frames] == list(range(0, 12 * 32, 32))
    assert all(frame.capture.device_ns for frame in frames)


def test_a_recording_without_room_says_that_its_limit_is_reached(line, tmp_path):
    done = run("kenpin.camera.record_cli", line, "-o", tmp_path / "r", "--max-gb", "0.0001")
    assert done.returncode == 0, done.stderr
    assert "the limit is reached" in done.stdout
    assert all(isinstance(frame, Frame) for frame in drain(RecordingSource(tmp_path / "r")))
    assert Path(tmp_path / "r" / "recording.json").is_file()
