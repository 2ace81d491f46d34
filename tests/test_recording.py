"""Recordings: bit for bit, readable by anyone, whole up to the last frame, bounded."""

from __future__ import annotations

import binascii
import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kenpin.camera.capture import Capture, LineCounts
from kenpin.camera.files.recording_format import (
    RecordingError,
    encode_frame,
    list_entries,
    read_entry,
)
from kenpin.camera.files.recording_source import RecordingSource
from kenpin.camera.files.recording_writer import RecordingWriter
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.loss import Loss
from source_contract import FakeClock, PlayedContract, drain

PLENTY = 10**9


def a_frame(index, shape=(8, 12), dtype=np.uint8, captured_ns=None, **known):
    rng = np.random.default_rng(index)
    pixels = rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    return Frame(
        pixels, 10**9 + index * 10**7 if captured_ns is None else captured_ns, index, **known
    )


def record(folder, frames, **options):
    with RecordingWriter(folder, **{"max_bytes": PLENTY} | options) as recorder:
        for frame in frames:
            recorder.write(frame)
    return recorder


optional = st.none() | st.integers(-(2**63), 2**63 - 1)
knots = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**63 - 1)),
    min_size=1,
    max_size=128,
)
line_counts = st.builds(
    lambda of, within: LineCounts(tuple(at for at, _ in of), tuple(n for _, n in of), within),
    knots,
    st.floats(0, 1e6),
)


@given(
    shape=st.sampled_from([(1, 1), (3, 5), (4, 4, 3)]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    name=st.text(max_size=30),
    capture=st.builds(
        Capture,
        first_line=optional,
        lines_expected=st.integers(0, 2**31),
        frame_id=optional,
        device_ns=optional,
        encoder=optional,
        encoder_lines=st.none() | line_counts,
    ),
    seed=st.integers(0, 100),
)
def test_a_frame_comes_back_bit_for_bit(tmp_path_factory, shape, dtype, name, capture, seed):
    folder = tmp_path_factory.mktemp("bits") / "r"
    frame = a_frame(seed, shape, dtype, name=name, capture=capture)
    record(folder, [frame])
    (entry,) = list_entries(folder)
    seen = read_entry(entry)
    np.testing.assert_array_equal(seen.pixels, frame.pixels)
    assert seen.pixels.dtype == frame.pixels.dtype
    assert seen.capture == frame.capture
    assert (seen.index, seen.captured_ns, seen.name) == (frame.index, frame.captured_ns, name)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(8, 12), (8, 12, 3)])
def test_any_image_tool_reads_a_frame(tmp_path, shape, dtype):
    frame = a_frame(3, shape, dtype)
    record(tmp_path / "r", [frame])
    (entry,) = list_entries(tmp_path / "r")
    seen = cv2.imread(str(entry.path), cv2.IMREAD_UNCHANGED)
    seen = seen[:, :, ::-1] if seen.ndim == 3 else seen  # OpenCV's own order is blue first
    np.testing.assert_array_equal(seen, frame.pixels)


def test_what_was_lost_is_recorded_in_its_place(tmp_path):
    lost = LostFrame(5, 1, "two gone", lines=64, count=2, loss=Loss.CAMERA)
    record(tmp_path / "r", [a_frame(0), lost, a_frame(3)])
    frames = drain(RecordingSource(tmp_path / "r"))
    assert [frame.index for frame in frames] == [0, 1, 3]
    assert (frames[1].count, frames[1].lines, frames[1].loss) == (2, 64, Loss.CAMERA)


class TestRecordingsKeepTheContract(PlayedContract):
    @pytest.fixture
    def make(self, tmp_path):
        frames = [a_frame(k) for k in range(self.count)]
        frames[self.lost] = LostFrame(frames[self.lost].captured_ns, self.lost, "lost")
        record(tmp_path / "r", frames)

        def make(clock, rate_hz=None):
            return RecordingSource(
                tmp_path / "r", rate_hz=rate_hz, clock_ns=clock, sleep=clock.sleep
            )

        return make


def test_it_is_played_in_the_time_in_which_it_was_captured(tmp_path):
    times_ms = [0, 10, 35, 36, 90]
    frames = [a_frame(k, captured_ns=7 * 10**9 + t * 10**6) for k, t in enumerate(times_ms)]
    record(tmp_path / "r", frames)
    clock = FakeClock()
    source = RecordingSource(tmp_path / "r", as_timed=True, clock_ns=clock, sleep=clock.sleep)
    started = clock()
    captured = [(frame.captured_ns - started) / 10**6 for frame in drain(source)]
    assert captured == times_ms


def test_over_and_over_indices_and_times_go_on(tmp_path):
    record(tmp_path / "r", [a_frame(k) for k in range(3)])
    clock = FakeClock()
    source = RecordingSource(
        tmp_path / "r", as_timed=True, loop=True, clock_ns=clock, sleep=clock.sleep
    )
    frames = [source.grab(10.0) for _ in range(7)]
    assert [frame.index for frame in frames] == list(range(7))
    assert set(np.diff([frame.captured_ns for frame in frames])) == {10**7}


def test_a_recording_cut_anywhere_is_readable_up_to_its_last_whole_frame(tmp_path):
    frames = [a_frame(k, (2, 3)) for k in range(3)]
    record(tmp_path / "r", frames)
    last = list_entries(tmp_path / "r")[-1].path
    whole = last.read_bytes()
    for length in range(len(whole)):
        last.write_bytes(whole[:length])
        seen = drain(RecordingSource(tmp_path / "r"))
        assert len(seen) == 2, f"cut after {length} of {len(whole)} bytes"
        np.testing.assert_array_equal(seen[1].pixels, frames[1].pixels)


def test_a_recording_says_what_it_no_longer_holds(tmp_path):
    def missing():
        return RecordingSource(tmp_path / "r").missing

    record(tmp_path / "r", map(a_frame, range(8)))
    assert missing() == []
    paths = [entry.path for entry in list_entries(tmp_path / "r")]
    whole = paths[7].read_bytes()
    paths[7].write_bytes(whole[:-3])
    assert "its last 1 entries are torn" in missing()[0]
    paths[7].unlink()
    assert "its last 1 entries are missing" in missing()[0]
    paths[7].write_bytes(whole)
    paths[3].unlink()
    assert "1 entries from 3 on are missing" in missing()[0]
    paths[0].unlink()
    paths[1].unlink()
    assert "its first 2 entries are missing" in missing()[0]
    label = tmp_path / "r" / "recording.json"
    label.write_text(label.read_text().replace('"entries"', '"enders"'))
    assert "never ended" in missing()[-1]


def _record_until_killed(folder):
    with RecordingWriter(folder, max_bytes=PLENTY) as recorder:
        for index in range(10**6):
            recorder.write(a_frame(index, (64, 256)))


@pytest.mark.parametrize("written", [2, 10, 100])
def test_a_writer_that_is_killed_leaves_whole_frames(tmp_path, written):
    folder = tmp_path / "r"
    writer = multiprocessing.get_context("spawn").Process(
        target=_record_until_killed, args=(folder,), daemon=True
    )
    writer.start()
    while len(list(folder.glob("*/*.pgm"))) < written:
        assert writer.is_alive()
        time.sleep(0.001)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    frames = drain(RecordingSource(folder))[:1000]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    for frame in frames[:: max(1, len(frames) // 20)]:
        np.testing.assert_array_equal(frame.pixels, a_frame(frame.index, (64, 256)).pixels)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.glob("*/*"))


def test_a_limit_stops_the_recording_and_the_rest_is_counted(tmp_path):
    one = sum(map(len, encode_frame(a_frame(0))[1:])) + len("000000000000.pgm 01234567\n")
    recorder = record(tmp_path / "r", map(a_frame, range(20)), max_bytes=10 * one + 9)
    assert recorder.full
    assert (recorder.written, recorder.missed) == (10, 10)
    assert size_of(tmp_path / "r") <= 10 * one + 9
    assert len(drain(RecordingSource(tmp_path / "r"))) == 10


def test_or_the_oldest_frames_make_room(tmp_path):
    limit = 40_000
    recorder = record(
        tmp_path / "r", map(a_frame, range(1000)), max_bytes=limit, when_full="drop_oldest"
    )
    assert recorder.missed == 0
    assert recorder.bytes == size_of(tmp_path / "r") <= limit
    frames = drain(RecordingSource(tmp_path / "r"))
    np.testing.assert_array_equal(frames[-1].pixels, a_frame(999).pixels)
    assert len(frames) * 350 > limit * 0.6


def test_a_full_disk_costs_frames_that_are_counted_and_noted(tmp_path, monkeypatch):
    real = os.writev

    def full(handle, parts):
        if 3 <= recorder.written + recorder.missed < 6:
            raise OSError(28, "No space left on device")
        return real(handle, parts)

    with RecordingWriter(tmp_path / "r", max_bytes=PLENTY) as recorder:
        monkeypatch.setattr(os, "writev", full)
        kept = [recorder.write(a_frame(index)) for index in range(10)]
    assert kept == [True] * 3 + [False] * 3 + [True] * 4
    assert "No space left" in recorder.fault
    frames = drain(RecordingSource(tmp_path / "r"))
    (gap,) = [frame for frame in frames if isinstance(frame, LostFrame)]
    assert (gap.index, gap.count, gap.lines) == (3, 3, 24)
    assert [f.index + k for f in frames for k in range(getattr(f, "count", 1))] == list(range(10))


def test_a_disk_that_cannot_be_waited_for_costs_no_frame_twice(tmp_path, monkeypatch):
    """A failed fdatasync left its handles open, and every frame after it written and missed."""
    now, calls = [0.0], []
    wait = os.fdatasync

    def fails_once(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return wait(handle)

    monkeypatch.setattr(os, "fdatasync", fails_once)
    before = len(list(Path("/proc/self/fd").iterdir()))
    writer = RecordingWriter(tmp_path / "rec", max_bytes=10**9, clock=lambda: now[0])
    for index in range(40):
        now[0] += 0.2
        assert writer.write(a_frame(index))
    assert (writer.written, writer.missed) == (40, 0)
    assert "No space left" in writer.fault
    writer.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert len(list_entries(tmp_path / "rec")) == 40


@settings(max_examples=40)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_a_frame_is_found(tmp_path_factory, at, bit):
    folder = tmp_path_factory.mktemp("flipped") / "r"
    record(folder, map(a_frame, range(3)))
    path = list_entries(folder)[1].path
    raw = bytearray(path.read_bytes())
    raw[int(at * len(raw))] ^= 1 << bit
    path.write_bytes(raw)
    frames = drain(RecordingSource(folder))
    assert [isinstance(frame, LostFrame) for frame in frames] == [False, True, False]
    assert "torn or altered (CRC-32" in frames[1].detail


def test_a_flipped_bit_in_the_note_of_a_loss_or_in_a_checksum_is_found_too(tmp_path):
    folder = tmp_path / "r"
    record(folder, [a_frame(0), LostFrame(5, 1, "gone", count=2), a_frame(3), a_frame(4)])
    lost = list_entries(folder)[1].path
    lost.write_text(lost.read_text().replace('"count": 2', '"count": 3'))
    sums = next(folder.glob("*/checksums.sfv"))
    lines = sums.read_text().splitlines()
    sums.write_text("\n".join([*lines[:2], lines[2].replace(".pgm", ".pgl"), lines[3]]) + "\n")
    details = [getattr(frame, "detail", "") for frame in drain(RecordingSource(folder))]
    assert "torn or altered" in details[1]
    assert "its checksum is missing" in details[2]
    assert (details[0], details[3]) == ("", "")


def test_checksums_are_those_that_common_tools_compute(tmp_path):
    record(tmp_path / "r", map(a_frame, range(3)))
    for line in next(tmp_path.glob("r/*/checksums.sfv")).read_text().splitlines():
        name, told = line.split()
        assert binascii.crc32(next(tmp_path.glob(f"r/*/{name}")).read_bytes()) == int(told, 16)


def test_a_recording_of_before_there_were_checksums_is_read_and_says_so(tmp_path):
    record(tmp_path / "r", map(a_frame, range(3)))
    next(tmp_path.glob("r/*/checksums.sfv")).unlink()
    label = tmp_path / "r" / "recording.json"
    known = json.loads(label.read_text())
    del known["checksums"]
    label.write_text(json.dumps(known))
    source = RecordingSource(tmp_path / "r")
    assert source.missing == ["it is older and has no checksums: pixels altered since go unnoticed"]
    assert len(drain(source)) == 3


def test_what_was_written_in_a_power_cut_may_lack_its_checksum_and_only_that(tmp_path):
    folder = tmp_path / "r"
    record(folder, map(a_frame, range(4)))
    sums = next(folder.glob("*/checksums.sfv"))
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:3])[:-4])
    source = RecordingSource(folder)
    assert source.missing == ["its last 2 entries are torn or altered: copy it again"]
    assert len(drain(source)) == 2
    label = folder / "recording.json"
    label.write_text(label.read_text().replace('"entries"', '"enders"'))
    source = RecordingSource(folder)
    assert "its last 2 entries were written without their checksums" in source.missing
    assert [frame.index for frame in drain(source)] == [0, 1, 2, 3]


def test_a_checksum_that_finds_the_disk_full_costs_its_frame_and_no_other(tmp_path, monkeypatch):
    real = os.write

    def full(handle, data):
        if recorder.written == 2 and not recorder.missed and b".pgm " in data:
            return real(handle, data[:5])
        return real(handle, data)

    with RecordingWriter(tmp_path / "r", max_bytes=PLENTY) as recorder:
        monkeypatch.setattr(os, "write", full)
        kept = [recorder.write(a_frame(index)) for index in range(5)]
    assert kept == [True, True, False, True, True]
    frames = drain(RecordingSource(tmp_path / "r"))
    assert [frame.index for frame in frames] == list(range(5))
    assert [isinstance(frame, LostFrame) for frame in frames] == [False, False, True, False, False]


def test_a_frame_damaged_later_is_lost_in_its_place(tmp_path):
    record(tmp_path / "r", map(a_frame, range(4)))
    list_entries(tmp_path / "r")[1].path.write_bytes(b"P5 nonsense")
    frames = drain(RecordingSource(tmp_path / "r"))
    assert [isinstance(frame, LostFrame) for frame in frames] == [False, True, False, False]
    assert "torn or altered" in frames[1].detail


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="is no recording"):
        RecordingSource(tmp_path)
    record(tmp_path / "empty", [])
    with pytest.raises(RecordingError, match="no whole frame"):
        RecordingSource(tmp_path / "empty")
    record(tmp_path / "r", [a_frame(0)])
    with pytest.raises(RecordingError, match="not empty"):
        RecordingWriter(tmp_path / "r", max_bytes=PLENTY)
    label = tmp_path / "r" / "recording.json"
    label.write_text(label.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(RecordingError, match="version 2"):
        RecordingSource(tmp_path / "r")
