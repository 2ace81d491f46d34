"""Recorded frames: all of them, in order, on time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.files.images import write_png
from kenpin.camera.files.listing import ImageError
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.paced_source import PacedSource
from source_contract import PERIOD_NS, RATE_HZ, FakeClock, PlayedContract, drain


def record(folder, *names):
    """A recording whose frame k is plain of level k; folders are made as needed."""
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / name, np.full((8, 16), level, np.uint8))
    return folder


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-20])


def names_of(source):
    return [frame.name for frame in drain(source)]


class TestImageSourceKeepsTheContract(PlayedContract):
    @pytest.fixture
    def make(self, tmp_path):
        record(tmp_path, *(f"{k}.png" for k in range(self.count)))
        cut_short(tmp_path / f"{self.lost}.png")

        def make(clock, rate_hz=None):
            return ImageSource(tmp_path, rate_hz=rate_hz, clock_ns=clock, sleep=clock.sleep)

        return make


def test_a_flat_folder_is_played_by_name_with_numbers_by_value(tmp_path):
    record(tmp_path, "f10.png", "f9.png", "f1.png")
    frames = drain(ImageSource(tmp_path))
    assert [frame.name for frame in frames] == ["f1.png", "f9.png", "f10.png"]
    assert [frame.pixels[0, 0] for frame in frames] == [2, 1, 0]


def test_of_a_tree_in_the_layout_of_mvtec_only_the_test_images_are_played(tmp_path):
    record(
        tmp_path,
        "train/good/0.png",
        "test/scratch/0.png",
        "test/good/1.png",
        "test/good/0.png",
        "ground_truth/scratch/0_mask.png",
    )
    assert names_of(ImageSource(tmp_path)) == [
        "test/good/0.png",
        "test/good/1.png",
        "test/scratch/0.png",
    ]


def test_training_images_are_played_when_their_own_folder_is_named(tmp_path):
    record(tmp_path, "train/good/0.png", "test/good/0.png")
    assert names_of(ImageSource(tmp_path / "train")) == ["good/0.png"]


def test_a_recording_that_happens_to_be_called_train_is_played(tmp_path):
    assert names_of(ImageSource(record(tmp_path, "train/0.png"))) == ["train/0.png"]


def test_frames_beside_folders_of_frames_are_not_skipped(tmp_path):
    record(tmp_path, "0.png", "later/0.png", "test/0.png")
    assert names_of(ImageSource(tmp_path)) == ["0.png", "later/0.png", "test/0.png"]


def test_linked_folders_are_followed_but_not_in_a_circle(tmp_path):
    record(tmp_path, "day/0.png")
    (tmp_path / "night").symlink_to(tmp_path / "day")
    (tmp_path / "day" / "up").symlink_to(tmp_path)
    assert names_of(ImageSource(tmp_path)) == ["day/0.png", "night/0.png"]


def test_what_is_no_image_is_kept_for_a_warning(tmp_path):
    record(tmp_path, "good/0.png")
    (tmp_path / "good" / "notes.txt").touch()
    source = ImageSource(tmp_path)
    assert names_of(source) == ["good/0.png"]
    assert source.ignored == (tmp_path / "good" / "notes.txt",)


def test_listed_paths_are_played_in_the_order_given(tmp_path):
    record(tmp_path, "a.png", "b.png")
    paths = [tmp_path / "b.png", tmp_path / "a.png"]
    assert names_of(ImageSource(paths)) == [path.as_posix() for path in paths]


def test_an_unreadable_file_is_lost_with_the_reason_and_its_name(tmp_path):
    record(tmp_path, "a.png", "b.png")
    cut_short(tmp_path / "a.png")
    lost, good = drain(ImageSource(tmp_path))
    assert isinstance(lost, LostFrame)
    assert lost.name == "a.png"
    assert "ends inside a chunk" in lost.detail
    assert isinstance(good, Frame)


def test_a_file_that_vanishes_after_it_was_listed_is_lost_and_not_skipped(tmp_path):
    record(tmp_path, "a.png", "b.png")
    source = ImageSource(tmp_path)
    (tmp_path / "a.png").unlink()
    lost, _ = drain(source)
    assert isinstance(lost, LostFrame)
    assert "no such file" in lost.detail


def test_a_folder_without_images_is_refused_at_once(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match="no image in it or below, 1 other files"):
        ImageSource(tmp_path)


def test_a_missing_folder_is_refused_at_once(tmp_path):
    with pytest.raises(ImageError, match="no such folder"):
        ImageSource(tmp_path / "gone")


def test_no_paths_at_all_are_refused():
    with pytest.raises(ValueError, match="no paths given"):
        ImageSource([])


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(tmp_path, rate_hz):
    with pytest.raises(ValueError, match="rate_hz is"):
        ImageSource(record(tmp_path, "a.png"), rate_hz=rate_hz)


def test_in_a_loop_files_come_again_and_indices_go_on(tmp_path):
    source = ImageSource(record(tmp_path, "a.png", "b.png"), loop=True)
    frames = [source.grab(0.0) for _ in range(5)]
    assert [frame.name for frame in frames] == ["a.png", "b.png", "a.png", "b.png", "a.png"]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert not source.exhausted


def test_flat_out_a_frame_is_captured_when_it_is_handed_out(tmp_path):
    clock = FakeClock()
    source = ImageSource(record(tmp_path, "a.png", "b.png"), clock_ns=clock, sleep=clock.sleep)
    assert source.grab(0.0).captured_ns == clock()
    clock.advance(7.0)
    assert source.grab(0.0).captured_ns == clock()


class SlowlyMade(PacedSource):
    """Frames that take `making_s` of the clock each to make."""

    def __init__(self, clock, making_s, rate_hz=RATE_HZ):
        super().__init__(None, rate_hz, clock, clock.sleep)
        self.clock, self.making_s = clock, making_s

    def _make(self, position):
        self.clock.advance(self.making_s)
        return Frame(np.zeros((2, 2), np.uint8), 0, position)


def test_a_frame_is_made_before_it_is_due():
    clock = FakeClock()
    source = SlowlyMade(clock, making_s=0.03)
    first, second = source.grab(1.0), source.grab(1.0)
    assert second.captured_ns == clock() == first.captured_ns + PERIOD_NS


def test_a_frame_is_made_once_however_often_its_reader_asks():
    clock = FakeClock()
    source = SlowlyMade(clock, making_s=0.01)
    source.grab(1.0)
    source.grab(0.0)
    before_ns = clock()
    assert source.grab(0.0) is None
    assert clock() == before_ns


def test_the_timeout_includes_the_time_it_takes_to_make_the_frame():
    clock = FakeClock()
    source = SlowlyMade(clock, making_s=0.03)
    source.grab(1.0)
    before_ns = clock()
    assert source.grab(0.04) is None
    assert clock() == before_ns + 40_000_000


def test_a_frame_that_fell_due_while_it_was_made_is_handed_out_whatever_the_timeout():
    clock = FakeClock()
    source = SlowlyMade(clock, making_s=0.2)
    assert source.grab(0.0) is not None
    assert source.grab(0.0) is not None


@settings(deadline=None)
@given(
    rate_hz=st.floats(0.5, 5000),
    readers=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=30),
)
def test_no_reader_can_bend_the_beat(rate_hz, readers):
    clock = FakeClock()
    source = SlowlyMade(clock, making_s=0.001, rate_hz=rate_hz)
    first = source.grab(0.0)
    for busy_s, timeout_s in readers:
        clock.advance(busy_s)
        frame = source.grab(timeout_s)
        if frame is not None:
            assert frame.captured_ns <= clock()
            due_ns = first.captured_ns + frame.index * 1e9 / rate_hz
            assert abs(frame.captured_ns - due_ns) <= 1
