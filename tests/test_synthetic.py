"""The synthetic web: repeatable, seamless, and truthful about its defects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import list_images
from kenpin.camera.synthetic import DefectKind, SyntheticSource, SyntheticWeb, write_dataset
from kenpin.compile import demo
from kenpin.config.exits import Exit
from source_contract import FakeClock, PlayedContract, drain

SMALL = SyntheticWeb(64, 64, seed=3)

# No deadline: a shared machine may take its time, and nothing here is about speed.
unhurried = settings(deadline=None, max_examples=30)
kinds = st.sampled_from(DefectKind)
seeds = st.integers(0, 2**32)


class TestSyntheticFramesKeepTheContract(PlayedContract):
    @pytest.fixture
    def make(self):
        def make(clock, rate_hz=None):
            return SyntheticSource(
                SMALL,
                count=self.count,
                lost={self.lost},
                rate_hz=rate_hz,
                clock_ns=clock,
                sleep=clock.sleep,
            )

        return make


@unhurried
@given(seed=seeds, index=st.integers(0, 10**9), kind=st.none() | kinds)
def test_seed_and_index_decide_every_pixel(seed, index, kind):
    first = SyntheticWeb(64, 80, seed)
    first.frame(index + 1)
    made, again = first.frame(index, kind), SyntheticWeb(64, 80, seed).frame(index, kind)
    np.testing.assert_array_equal(made.pixels, again.pixels)
    np.testing.assert_array_equal(made.mask, again.mask)


def test_no_two_frames_are_alike():
    frames = {SMALL.frame(index).pixels.tobytes() for index in range(50)}
    assert len(frames) == 50


def test_another_seed_is_another_web():
    other = SyntheticWeb(64, 64, seed=4)
    assert (SMALL.frame(0).pixels != other.frame(0).pixels).mean() > 0.5


@unhurried
@given(seed=seeds, index=st.integers(0, 1000), kind=kinds)
def test_a_defect_changes_the_frame_where_its_mask_says_and_nowhere_far_from_it(seed, index, kind):
    web = SyntheticWeb(96, 128, seed)
    good, bad = web.frame(index), web.frame(index, kind)
    assert bad.defect is kind
    change = np.abs(bad.pixels.astype(int) - good.pixels.astype(int))
    assert change[bad.mask].mean() > 4
    assert kind is DefectKind.SUBTLE or change[bad.mask].min() > 0
    # Soft edges reach beyond what a person would mark, by a third of a stain at most.
    near = cv2.dilate(bad.mask.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    assert not change[~near].any()
    assert change[~bad.mask].mean() < change[bad.mask].mean() / 2


def test_a_good_frame_has_an_empty_mask():
    good = SMALL.frame(0)
    assert good.defect is None
    assert not good.mask.any()


@unhurried
@given(seed=seeds, index=st.integers(0, 1000))
def test_a_spot_is_6_to_12_pixels_across(seed, index):
    rows, columns = np.nonzero(SyntheticWeb(64, 64, seed).frame(index, DefectKind.SPOT).mask)
    for extent in (np.ptp(rows) + 1, np.ptp(columns) + 1):
        assert 5 <= extent <= 13


@unhurried
@given(seed=seeds)
def test_a_dark_band_crosses_the_full_width_and_is_darker(seed):
    web = SyntheticWeb(256, 128, seed)
    good, bad = web.frame(0), web.frame(0, DefectKind.DARK_BAND)
    banded = bad.mask.any(axis=1)
    np.testing.assert_array_equal(bad.mask, np.repeat(banded[:, None], 128, axis=1))
    assert 24 <= banded.sum() <= 49
    assert bad.pixels[bad.mask].mean() < 0.9 * good.pixels[bad.mask].mean()


@unhurried
@given(seed=seeds)
def test_a_stain_fades_out(seed):
    web = SyntheticWeb(256, 256, seed)
    good, bad = web.frame(0), web.frame(0, DefectKind.STAIN)
    change = np.abs(bad.pixels.astype(int) - good.pixels.astype(int))
    rim = (cv2.dilate(bad.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~bad.mask
    assert 0.1 < change[rim].mean() / change[bad.mask].mean() < 0.6


@unhurried
@given(seed=seeds)
def test_a_scratch_is_long_and_thin(seed):
    mask = SyntheticWeb(256, 256, seed).frame(0, DefectKind.SCRATCH).mask
    rows, _ = np.nonzero(mask)
    assert np.ptp(rows) > 50
    assert mask.sum(axis=1).max() <= 5


@unhurried
@given(seed=seeds)
def test_the_subtle_defect_is_less_than_the_weave_itself(seed):
    web = SyntheticWeb(256, 256, seed)
    good, bad = web.frame(0), web.frame(0, DefectKind.SUBTLE)
    change = np.abs(bad.pixels.astype(int) - good.pixels.astype(int))
    assert change.max() < 2 * good.pixels.std()
    lines_of_a_thread = bad.mask.sum(axis=0).max()
    assert 5 <= lines_of_a_thread <= 9


def test_frames_meet_without_a_seam():
    web = SyntheticWeb(64, 2048, seed=11)
    stretch = np.vstack([web.frame(index).pixels for index in range(12)]).astype(float)
    step = np.abs(np.diff(stretch, axis=0)).mean(axis=1)
    cuts = np.arange(63, 12 * 64 - 1, 64)
    elsewhere = np.delete(step, cuts)
    # The weave makes some steps larger than others; a seam would exceed them all.
    assert step[cuts].mean() < elsewhere.mean() + elsewhere.std()
    # Grain of neighbouring lines is alike, across a cut as within a frame.
    grain = stretch - cv2.blur(stretch, (1, 15))
    alike = np.array([np.corrcoef(grain[k], grain[k + 1])[0, 1] for k in range(len(step))])
    assert abs(alike[cuts].mean() - np.delete(alike, cuts).mean()) < 0.1


def share_of_the_weft(pixels):
    """Of the power of the grey levels along the web, the share near the threads' own period."""
    power = np.abs(np.fft.rfft(pixels[:, :8].mean(axis=1))) ** 2
    thread = round(len(pixels) / 7.2)
    return power[thread - 3 : thread + 5].sum() / power[8:].sum()


@pytest.mark.parametrize("index", [0, 10**9])
def test_threads_keep_their_spacing_however_long_the_web(index):
    assert share_of_the_weft(SyntheticWeb(256, 64, seed=1).frame(index).pixels) > 0.4


def test_grain_does_not_repeat_from_frame_to_frame():
    first, second = (
        np.diff(SMALL.frame(index).pixels.astype(float), 4, axis=1).ravel() for index in (0, 1)
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


@unhurried
@given(seed=seeds, index=st.integers(0, 10**6))
def test_good_web_uses_the_middle_of_the_camera_range(seed, index):
    pixels = SyntheticWeb(64, 512, seed).frame(index).pixels
    assert 80 < pixels.mean() < 140
    assert ((pixels == 0) | (pixels == 255)).mean() < 1e-3


@pytest.mark.parametrize("kind", DefectKind)
def test_every_defect_fits_the_smallest_frame(kind):
    for index in range(40):
        assert SMALL.frame(index, kind).mask.any()


def test_frames_and_masks_are_read_only():
    made = SMALL.frame(0, DefectKind.SPOT)
    for array in (made.pixels, made.mask):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0


@pytest.mark.parametrize(("height", "width"), [(63, 64), (64, 63)])
def test_a_frame_too_small_for_the_defects_is_refused(height, width):
    with pytest.raises(ValueError, match="expected 64 x 64 or more"):
        SyntheticWeb(height, width, seed=0)


def test_the_web_has_a_beginning():
    with pytest.raises(ValueError, match="index is -1"):
        SMALL.frame(-1)


def test_the_simulated_camera_shows_the_scheduled_defects():
    frames = drain(SyntheticSource(SMALL, count=3, schedule={1: DefectKind.STAIN}.get))
    expected = [SMALL.frame(0), SMALL.frame(1, DefectKind.STAIN), SMALL.frame(2)]
    for frame, truth in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.pixels, truth.pixels)


def test_without_a_count_the_simulated_camera_goes_on():
    clock = FakeClock()
    source = SyntheticSource(SMALL, rate_hz=1000.0, clock_ns=clock, sleep=clock.sleep)
    assert [source.grab(1.0).index for _ in range(20)] == list(range(20))
    assert not source.exhausted


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="count is -1"):
        SyntheticSource(SMALL, count=-1)


def test_a_data_set_is_laid_out_like_mvtec(tmp_path):
    write_dataset(tmp_path / "web", SMALL, train=3, good=2, each=1)
    files = {
        path.relative_to(tmp_path / "web").as_posix()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert files == {
        *(f"train/good/{k:03d}.png" for k in range(3)),
        *(f"test/good/{k:03d}.png" for k in range(2)),
        *(f"test/{kind}/000.png" for kind in DefectKind),
        *(f"ground_truth/{kind}/000_mask.png" for kind in DefectKind),
    }


def test_written_masks_are_white_on_the_defect(tmp_path):
    write_dataset(tmp_path, SMALL, train=1, good=1, each=1, kinds=[DefectKind.STAIN])
    truth = SMALL.frame(2, DefectKind.STAIN)
    np.testing.assert_array_equal(
        read_pixels(tmp_path / "ground_truth" / "stain" / "000_mask.png"), truth.mask * 255
    )
    np.testing.assert_array_equal(
        read_pixels(tmp_path / "test" / "stain" / "000.png"), truth.pixels
    )


def test_a_data_set_repeats_no_block_of_the_web(tmp_path):
    write_dataset(tmp_path, SMALL, train=3, good=3, each=0)
    images = list_images(tmp_path / "train" / "good") + list_images(tmp_path / "test" / "good")
    assert len({read_pixels(path).tobytes() for path in images}) == 6


def test_a_written_data_set_plays_back_as_recorded_frames(tmp_path):
    write_dataset(tmp_path, SMALL, train=1, good=1, each=1)
    names = [frame.name for frame in drain(ImageSource(tmp_path))]
    assert names == sorted(["test/good/000.png", *(f"test/{kind}/000.png" for kind in DefectKind)])


def test_a_folder_in_use_is_not_written_into(tmp_path):
    (tmp_path / "old.png").touch()
    with pytest.raises(FileExistsError, match="expected a new folder"):
        write_dataset(tmp_path, SMALL, train=1, good=1, each=1)


def test_the_demo_draws_the_web_of_its_seed(tmp_path, monkeypatch):
    for count in ("TRAIN", "GOOD", "EACH"):
        monkeypatch.setattr(demo, count, 1)
    # It ends where the frames are drawn.
    monkeypatch.setattr(demo, "edge_compile", lambda _: Exit.CONFIG)
    for words, seed in (([], demo.SEED), (["--seed", "0"], 0), (["--seed", "3"], 3)):
        folder = tmp_path / str(seed)
        asked = demo._options([str(folder), *words])
        assert demo.main(asked.folder, asked.seed) == Exit.CONFIG
        drawn = read_pixels(folder / "data" / "train" / "good" / "000.png")
        expected = SyntheticWeb(demo.HEIGHT_PX, demo.WIDTH_PX, seed).frame(0).pixels
        np.testing.assert_array_equal(drawn, expected)
