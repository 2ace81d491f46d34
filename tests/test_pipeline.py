"""OK iff proven: every way in which a frame can fail ends in one verdict with its reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import HEIGHT, WIDTH, stages_of
from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.frame import Frame, LostFrame
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.overlay import BANNER_PX, BOX_MARGIN_PX, overlay
from kenpin.runtime.judging.patchcore import PatchCoreScorer
from kenpin.runtime.judging.pipeline import Judgement, Pipeline
from kenpin.runtime.judging.rule import Evidence, judge
from kenpin.runtime.judging.scoring import TileDistances
from kenpin.runtime.judging.verdict import (
    REASON_CODES,
    Outcome,
    Reason,
    Thresholds,
)
from kenpin.runtime.selftest import selftest


@pytest.fixture(scope="module")
def pipeline(patchcore: Bundle) -> Pipeline:
    return Pipeline(patchcore)


@pytest.fixture
def good(patchcore: Bundle) -> np.ndarray[Any, np.dtype[Any]]:
    return read_pixels(patchcore.folder / "golden" / "good-0.png")


def frame(pixels: Any, captured_ns: int = 0) -> Frame:
    return Frame(np.ascontiguousarray(pixels).copy(), captured_ns, 7, "frame.png")


def expect_ng(judged: Judgement, reason: Reason, text: str) -> None:
    verdict = judged.verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.NG, reason)
    assert text in verdict.detail
    assert verdict.frame_index == 7


def with_array(bundle: Bundle, name: str, array: Any) -> Bundle:
    return dataclasses.replace(bundle, arrays={**bundle.arrays, name: array})


def test_defects_of_a_part_are_told_with_their_boxes_and_a_good_one_has_none(
    pipeline: Pipeline, good: Any
) -> None:
    spoilt = good.copy()
    spoilt[10:30, 20:50] = 255
    spoilt[90:110, 250:290] = 0
    verdict = pipeline.judge(frame(spoilt)).verdict
    assert verdict.n_defects == len(verdict.defects) == 2
    assert verdict.defects[0].peak == verdict.score
    for x, y in ((35, 20), (270, 100)):
        inside = [d for d in verdict.defects if d.left_px < x < d.right_px]
        assert len(inside) == 1
        assert inside[0].top_px < y < inside[0].bottom_px
        assert inside[0].mean > pipeline.thresholds.ok
    clean = pipeline.judge(frame(good)).verdict
    assert (clean.defects, clean.n_defects) == ((), 0)


def test_a_picture_shows_each_defect_in_its_box(pipeline: Pipeline, good: Any) -> None:
    spoilt = good.copy()
    spoilt[40:60, 150:180] = 255
    judged = pipeline.judge(frame(spoilt))
    # Bands of brightness may see its surroundings apart; the highest is drawn alone.
    defect = max(judged.verdict.defects, key=lambda one: one.peak)
    alone = dataclasses.replace(judged.verdict, defects=(defect,))
    with_boxes = overlay(spoilt, judged.score_map, alone)
    bare = dataclasses.replace(judged.verdict, defects=(), peak_xy=None)
    without = overlay(spoilt, judged.score_map, bare)
    changed = np.argwhere((with_boxes != without).any(axis=2))
    # The banner lies above the picture; the peak's figure below the box.
    assert changed[:, 0].min() == BANNER_PX + defect.top_px - BOX_MARGIN_PX
    assert changed[:, 1].min() == defect.left_px - BOX_MARGIN_PX
    inside = with_boxes[BANNER_PX + defect.top_px : BANNER_PX + defect.bottom_px]
    columns = slice(defect.left_px, defect.right_px)
    same = without[BANNER_PX + defect.top_px : BANNER_PX + defect.bottom_px, columns]
    np.testing.assert_array_equal(inside[:, columns], same)


def test_a_good_frame_is_ok_with_its_score_and_stages(pipeline: Pipeline, good: Any) -> None:
    verdict = pipeline.judge(frame(good)).verdict
    assert (verdict.outcome, verdict.reason, verdict.detail) == (Outcome.OK, None, "")
    assert verdict.score is not None
    assert verdict.score <= pipeline.thresholds.ok
    assert {"check", "infer", "dist", "join", "total"} <= set(verdict.stages_us)
    assert verdict.bundle == pipeline.bundle.label


def test_a_pasted_defect_is_ng_and_the_peak_lies_on_it(pipeline: Pipeline, good: Any) -> None:
    pixels = np.array(good)
    pixels[40:60, 200:230] = 255
    verdict = pipeline.judge(frame(pixels)).verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.NG, Reason.DEFECT)
    assert verdict.peak_xy is not None
    x, y = verdict.peak_xy
    assert 190 <= x <= 240
    assert 30 <= y <= 70


def test_the_same_frame_scores_the_same_to_the_last_bit(pipeline: Pipeline, good: Any) -> None:
    judged = [pipeline.judge(frame(good)) for _ in range(3)]
    assert len({j.verdict.score for j in judged}) == 1
    maps = [j.score_map.values for j in judged if j.score_map is not None]
    assert len(maps) == 3
    assert all(np.array_equal(maps[0], other) for other in maps)


def test_a_network_that_searches_too_scores_as_the_compiler_did(
    pipeline: Pipeline, patchcore: Bundle, good: Any
) -> None:
    def values(*, exhaustive: bool) -> Any:
        return stages_of(patchcore, exhaustive=exhaustive).measure(good).score_map.values

    judged = pipeline.judge(frame(good))
    assert judged.score_map is not None
    np.testing.assert_array_equal(judged.score_map.values, values(exhaustive=False))
    # A bank row that the search proposes is never nearer than the nearest. Its distance is exact,
    # so a value may only be higher, and by little beside what decides; most are the same.
    more = judged.score_map.values - values(exhaustive=True)
    assert more.min() >= 0
    assert more.max() < 0.01 * pipeline.thresholds.ok
    assert (more > 0.001 * pipeline.thresholds.ok).mean() < 0.02


def test_an_all_black_frame_is_refused_for_its_brightness(pipeline: Pipeline) -> None:
    black = np.zeros((HEIGHT, WIDTH), np.uint8)
    expect_ng(pipeline.judge(frame(black)), Reason.IMAGE_QUALITY, "grey mean 0.0")


def test_a_flat_grey_frame_is_refused_for_its_contrast(pipeline: Pipeline, good: Any) -> None:
    flat = np.full((HEIGHT, WIDTH), int(good.mean()), np.uint8)
    expect_ng(pipeline.judge(frame(flat)), Reason.IMAGE_QUALITY, "contrast 0.00")


def test_a_wrong_size_is_refused_with_both_sizes(pipeline: Pipeline, good: Any) -> None:
    found = pipeline.judge(frame(good[:-1]))
    expect_ng(found, Reason.RECIPE_MISMATCH, "127 x 320 px, expected 128 x 320")


def test_a_wrong_depth_is_refused(pipeline: Pipeline, good: Any) -> None:
    expect_ng(pipeline.judge(frame(good.astype(np.uint16))), Reason.RECIPE_MISMATCH, "16 bits")


def test_a_wrong_channel_count_is_refused(pipeline: Pipeline, good: Any) -> None:
    colour = np.repeat(good[..., None], 3, axis=2)
    expect_ng(pipeline.judge(frame(colour)), Reason.RECIPE_MISMATCH, "3 channels, expected 1")


def test_a_truncated_file_gets_its_verdict(pipeline: Pipeline, good: Any, tmp_path: Path) -> None:
    write_png(tmp_path / "cut.png", good)
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    taken = ImageSource(tmp_path).grab(0)
    assert isinstance(taken, LostFrame)
    verdict = pipeline.judge(taken).verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.NG, Reason.INCOMPLETE_FRAME)
    assert "cut.png" in verdict.detail


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["bank", "bank_sq", "centre"])
def test_a_nonfinite_number_in_a_bank_is_refused(patchcore: Bundle, name: str, bad: float) -> None:
    array = np.array(patchcore.arrays[name])
    array.reshape(-1)[0] = bad
    # INT8 has no level for it, so that a search might just never come upon it.
    with pytest.raises(BundleError, match=f"{name}.npy hold numbers that are not finite"):
        Pipeline(with_array(patchcore, name, array))


def test_a_nan_in_the_mean_of_padim_is_nonfinite(padim: Bundle, good: Any) -> None:
    mean = np.array(padim.arrays["mean"])
    mean[0, 3, 0] = np.nan
    pipeline = Pipeline(with_array(padim, "mean", mean))
    expect_ng(pipeline.judge(frame(good)), Reason.NONFINITE, "not a finite number")


def test_a_single_nan_distance_is_seen_before_smoothing_can_hide_it(
    pipeline: Pipeline, good: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PatchCoreScorer.distances

    def one_nan(scorer: PatchCoreScorer, *args: Any) -> TileDistances:
        found = real(scorer, *args)
        found.values[-1, -1, -1] = np.nan
        return found

    monkeypatch.setattr(PatchCoreScorer, "distances", one_nan)
    expect_ng(pipeline.judge(frame(good)), Reason.NONFINITE, "not a finite number")


def test_an_exception_in_the_engine_is_answered_and_the_next_frame_judged(
    patchcore: Bundle, good: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(patchcore)
    with monkeypatch.context() as patch:

        def fail(*_: Any) -> Any:
            raise RuntimeError("the device is gone")

        patch.setattr(pipeline._stages.engine, "features", fail)
        expect_ng(pipeline.judge(frame(good)), Reason.MODEL_ERROR, "the device is gone")
    assert pipeline.judge(frame(good)).verdict.outcome is Outcome.OK


def test_a_failure_while_tiles_are_copied_leaves_the_engine_usable(
    patchcore: Bundle, good: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(patchcore)
    other = np.ascontiguousarray(good[:, ::-1])
    before = pipeline.judge(frame(other)).verdict.score
    # What is left of this one must not be taken for the next.
    assert pipeline.judge(frame(good)).verdict.score != before
    real = type(pipeline.grid).fill
    calls = []

    def second_fails(self: Any, pixels: Any, numbers: Any, batch: Any) -> int:
        calls.append(numbers)
        if len(calls) == 2:
            raise MemoryError("no room")
        return real(self, pixels, numbers, batch)

    with monkeypatch.context() as patch:
        patch.setattr(type(pipeline.grid), "fill", second_fails)
        expect_ng(pipeline.judge(frame(good)), Reason.MODEL_ERROR, "no room")
    assert len(calls) == 2
    assert pipeline.judge(frame(other)).verdict.score == before


def test_a_tile_that_was_not_filled_is_missed(
    patchcore: Bundle, good: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(patchcore)
    real = type(pipeline.grid).fill
    monkeypatch.setattr(type(pipeline.grid), "fill", lambda *args: max(0, real(*args) - 1))
    expect_ng(pipeline.judge(frame(good)), Reason.MODEL_ERROR, "tiles were scored")


def test_a_verdict_past_the_budget_is_late_whatever_the_score(patchcore: Bundle, good: Any) -> None:
    now = [10_000_000]
    pipeline = Pipeline(patchcore, clock_ns=lambda: now[0], budget_ns=5_000_000)
    assert pipeline.judge(frame(good, captured_ns=5_000_000)).verdict.outcome is Outcome.OK
    expect_ng(pipeline.judge(frame(good, captured_ns=4_999_999)), Reason.LATE, "budget is 5.0 ms")


def test_the_band_between_two_thresholds_is_unsure(patchcore: Bundle, good: Any) -> None:
    score = Pipeline(patchcore).judge(frame(good)).verdict.score
    assert score is not None
    old = patchcore.manifest.threshold
    record = old.model_copy(update={"ok": 0.9 * score, "ng": 1.1 * score})
    manifest = patchcore.manifest.model_copy(update={"threshold": record})
    pipeline = Pipeline(dataclasses.replace(patchcore, manifest=manifest))
    expect_ng(pipeline.judge(frame(good)), Reason.UNSURE, "between the two thresholds")


def test_golden_frames_reproduce_their_scores(pipeline: Pipeline, patchcore: Bundle) -> None:
    scores = selftest(pipeline)
    assert scores == {g.file: g.score for g in patchcore.manifest.golden}
    assert {g.kind for g in patchcore.manifest.golden} == {"good", "twin"}


def test_a_golden_frame_that_scores_differently_is_named(patchcore: Bundle) -> None:
    bank = np.array(patchcore.arrays["bank"]) * np.float32(1.1)
    square = np.einsum("kmd,kmd->km", bank, bank)
    altered = with_array(with_array(patchcore, "bank", bank), "bank_sq", square)
    with pytest.raises(BundleError, match=r"golden frame golden/good-\d\.png scores"):
        selftest(Pipeline(altered))


def test_a_golden_frame_without_a_score_is_named(patchcore: Bundle) -> None:
    grey = patchcore.manifest.grey.model_copy(update={"mean_min": 254.0, "mean_max": 255.0})
    manifest = patchcore.manifest.model_copy(update={"grey": grey})
    with pytest.raises(BundleError, match="got no score"):
        selftest(Pipeline(dataclasses.replace(patchcore, manifest=manifest)))


# The rule itself.

evidence = st.builds(
    Evidence,
    fault=st.none() | st.sampled_from(Reason),
    tiles_scored=st.integers(0, 3),
    tiles_expected=st.integers(0, 3),
    finite=st.booleans(),
    score=st.none() | st.floats(),
    elapsed_ns=st.integers(-10, 10),
    budget_ns=st.none() | st.integers(0, 10),
)
thresholds = st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)).map(
    lambda pair: Thresholds(min(pair), max(pair))
)


@given(evidence, thresholds)
def test_ok_needs_every_condition_and_ng_a_reason(e: Evidence, t: Thresholds) -> None:
    outcome, reason, _ = judge(e, t)
    proven = (
        e.fault is None
        and e.tiles_scored == e.tiles_expected > 0
        and e.finite
        and e.score is not None
        and np.isfinite(e.score)
        and e.score <= t.ok
        and (e.budget_ns is None or e.elapsed_ns <= e.budget_ns)
    )
    assert (outcome is Outcome.OK) == proven
    assert (reason is None) == proven


@given(evidence, thresholds, st.integers(0, 10))
def test_a_wider_budget_never_changes_a_verdict_that_was_in_time(
    e: Evidence, t: Thresholds, more: int
) -> None:
    before = judge(e, t)
    wider = dataclasses.replace(e, budget_ns=None if e.budget_ns is None else e.budget_ns + more)
    if before[1] is not Reason.LATE:
        assert judge(wider, t) == before


def test_reason_codes_are_for_ever() -> None:
    assert {str(reason): code for reason, code in REASON_CODES.items()} == {
        "defect": 1, "unsure": 2, "late": 3, "overrun": 4, "no_frame": 5,
        "incomplete_frame": 6, "image_quality": 7, "camera_lost": 8, "nonfinite": 9,
        "model_error": 10, "not_ready": 11, "recipe_mismatch": 12, "selftest_failed": 13,
        "shutdown": 14,
    }  # fmt: skip
    assert (Outcome.OK, Outcome.NG) == (1, 2)


@pytest.mark.parametrize("pair", [(np.nan, 1.0), (2.0, 1.0), (-1.0, 1.0), (1.0, np.inf)])
def test_impossible_thresholds_are_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected finite"):
        Thresholds(*pair)
