"""Lanes with verdicts of their own, zones that are ignored, edges that wander."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.camera.files.images import write_png
from kenpin.camera.frame import Frame
from kenpin.compile.evaluation.dataset import Dataset, Labelled
from kenpin.compile.evaluation.evaluate import evaluate
from kenpin.config.web import EdgeSpec, WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.verdict import Cause, Outcome, Reason
from kenpin.runtime.learning.challenge import Known, answers
from kenpin.runtime.selftest import golden_pixels, selftest
from kenpin.runtime.web.lanes import EdgeTracker, LaneMap
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import WIDTH, cut, some_web, spoiled

TWO = {
    "lanes": [
        {"name": "left", "left_px": 0, "right_px": 72},
        {"name": "right", "left_px": 88, "right_px": 160},
    ]
}


def judged(bundle: Bundle, pixels: Any, **web: Any) -> Any:
    pipeline = WebPipeline(bundle, web=WebSpec.model_validate(web))
    return pipeline.judge(Frame(pixels.copy(), 0, 0), last=True)


def outcomes(found: Any) -> dict[str, Outcome]:
    return {lane.name: lane.outcome for lane in found.verdict.web.lanes}


def test_each_lane_has_its_own_verdict_and_lines(web_bundle: Bundle) -> None:
    found = judged(web_bundle, spoiled(some_web(500), (200, 110, 20, 12)), **TWO)
    assert outcomes(found) == {"left": Outcome.OK, "right": Outcome.NG}
    assert found.verdict.outcome is Outcome.NG
    assert [d.lane for d in found.verdict.web.defects] == ["right"]
    assert found.verdict.score == found.verdict.web.lanes[1].score
    ((first, end),) = found.verdict.web.lanes[1].ng_runs
    assert first <= 200 < 220 <= end <= 300


def test_a_defect_between_the_lanes_or_in_an_ignored_zone_counts_nowhere(
    web_bundle: Bundle,
) -> None:
    narrow = {"lanes": [{"name": "a", "left_px": 0, "right_px": 40}]}
    pixels = spoiled(some_web(500), (200, 80, 20, 12))
    assert judged(web_bundle, pixels).verdict.reason is Reason.DEFECT
    assert judged(web_bundle, pixels, **narrow).verdict.outcome is Outcome.OK
    ignored = judged(web_bundle, pixels, ignore=[{"left_px": 48, "right_px": 128}])
    assert ignored.verdict.outcome is Outcome.OK
    assert not ignored.score_map.values[:, 6:16].any()


def test_a_lanes_own_threshold_decides_for_it(web_bundle: Bundle) -> None:
    pixels = spoiled(some_web(500), (200, 110, 20, 12))
    lanes = [dict(lane) for lane in TWO["lanes"]]
    lanes[1]["threshold_times"] = 50.0
    found = judged(web_bundle, pixels, lanes=lanes)
    assert found.verdict.outcome is Outcome.OK
    assert found.verdict.web.lanes[1].thresholds.ok == pytest.approx(
        50 * web_bundle.manifest.threshold.ok
    )
    assert found.verdict.web.defects == ()


def test_scores_for_the_threshold_are_in_the_measure_of_their_lane(web_bundle: Bundle) -> None:
    lanes = [dict(lane) for lane in TWO["lanes"]]
    lanes[1]["threshold_times"] = 2.0
    pixels = spoiled(some_web(300), (150, 110, 20, 12))
    found = []
    for spec in (TWO["lanes"], lanes):
        web = WebSpec.model_validate({"lanes": spec})
        found.append(max(WebPipeline(web_bundle, web=web).stages.scores([pixels])))
    assert found[1] == pytest.approx(found[0] / 2)


def with_times(bundle: Bundle, *times: float) -> Bundle:
    """With factors of the lanes' own, and golden frames scored as a build does."""
    lanes = [lane | {"threshold_times": t} for lane, t in zip(TWO["lanes"], times, strict=True)]
    web = WebSpec.model_validate({"lanes": lanes})
    manifest = bundle.manifest.model_copy(update={"web": web})
    stages = WebPipeline(replace(bundle, manifest=manifest)).recipe_stages
    golden = [
        one.model_copy(update={"score": max(stages.scores([golden_pixels(bundle, one.file)]))})
        for one in manifest.golden
    ]
    return replace(bundle, manifest=manifest.model_copy(update={"golden": golden}))


def test_golden_frames_hold_where_lanes_have_thresholds_of_their_own(web_bundle: Bundle) -> None:
    for times in ((1.5, 3.0), (1.0, 0.5)):
        bundle = with_times(web_bundle, *times)
        found = selftest(WebPipeline(bundle))
        assert list(found) == [one.file for one in bundle.manifest.golden]


def test_labelled_webs_are_held_against_one_threshold_whichever_lane_decides(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    pixels = spoiled(some_web(300), (150, 110, 20, 12))
    write_png(tmp_path / "0.png", pixels)
    bundle = with_times(web_bundle, 1.0, 2.0)
    pipeline = WebPipeline(bundle)
    expected = max(pipeline.recipe_stages.scores([pixels]))
    raw = pipeline.judge_single(Frame(pixels.copy(), 0, 0)).verdict.score
    assert raw == pytest.approx(2 * expected)
    dataset = Dataset([Labelled(tmp_path / "0.png", "0.png", "spot", None)], [])
    assert evaluate(pipeline, dataset, lambda *_: None).ng == [pytest.approx(expected)]
    (answer,) = answers(pipeline, [Known("0.png", "", True, lambda: pixels.copy())])
    assert answer is not None
    assert answer.times == pytest.approx(expected / bundle.manifest.threshold.ok)
    # Dark lines are NG, and no defect that an updated bundle would have to find again.
    dark, both = some_web(600), spoiled(some_web(600), (150, 110, 20, 12))
    dark[400:500] = both[400:500] = 0
    found = list(answers(pipeline, [Known("1.png", "", True, one.copy) for one in (dark, both)]))
    assert [one and one.ng for one in found] == [False, True]
    # What the box says stays as it is.
    assert pipeline.judge_single(Frame(pixels.copy(), 0, 0)).verdict.score == raw


def test_a_lane_with_nothing_to_inspect_is_refused(web_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"lane right .* nothing left to inspect"):
        judged(web_bundle, some_web(100), **TWO, ignore=[{"left_px": 80, "right_px": 160}])


# Edges.

EDGES = {"left_px": 20, "right_px": 140, "tolerance_px": 12, "margin_px": 4, "level": 40}


def on_a_dark_table(pixels: Any, left: Any, right: Any) -> Any:
    out = pixels.copy()
    x = np.arange(out.shape[1])
    outside = (x < np.reshape(left, (-1, 1))) | (x >= np.reshape(right, (-1, 1)))
    out[np.broadcast_to(outside, out.shape)] = 3
    return out


@given(st.integers(9, 31), st.integers(129, 151))
def test_edges_within_tolerance_are_found(left: int, right: int) -> None:
    tracker = EdgeTracker(EdgeSpec.model_validate(EDGES), WIDTH, 8)
    core = on_a_dark_table(some_web(64), left, right)
    inside = tracker.inside(core)
    assert inside is not None
    assert tracker.found is not None
    assert abs(tracker.found[0] - left) <= 4
    assert abs(tracker.found[1] - right) <= 4
    columns = np.flatnonzero(inside)
    assert columns[0] * 8 >= left
    assert (columns[-1] + 1) * 8 <= right


@pytest.mark.parametrize(("left", "right"), [(2, 140), (45, 140), (20, 110), (20, 158)])
def test_edges_out_of_tolerance_are_not_guessed(left: int, right: int) -> None:
    tracker = EdgeTracker(EdgeSpec.model_validate(EDGES), WIDTH, 8)
    assert tracker.inside(on_a_dark_table(some_web(64), left, right)) is None


def test_a_tear_does_not_move_the_edge() -> None:
    tracker = EdgeTracker(EdgeSpec.model_validate(EDGES), WIDTH, 8)
    left = np.full(64, 20)
    left[20:36] = 60
    tracker.inside(on_a_dark_table(some_web(64), left, 140))
    assert tracker.found is not None
    assert abs(tracker.found[0] - 20) <= 4


def test_a_brighter_table_works_too() -> None:
    spec = EdgeSpec.model_validate({**EDGES, "web_is_brighter": False, "level": 225})
    core = some_web(64)
    core[:, :24] = core[:, 136:] = 252
    tracker = EdgeTracker(spec, WIDTH, 8)
    tracker.inside(core)
    assert tracker.found is not None
    assert abs(tracker.found[0] - 24) <= 4


def test_a_wandering_web_is_inspected_between_its_edges(web_bundle: Bundle) -> None:
    lines = 900
    wander = np.rint(8 * np.sin(np.arange(lines) / 140)).astype(int)
    pixels = on_a_dark_table(some_web(lines), 20 + wander, 140 + wander)
    web = WebSpec.model_validate({"edges": {**EDGES, "margin_px": 16}})
    pipeline = WebPipeline(web_bundle, web=web)
    maps = []
    for heights in ([900], [77]):
        pipeline.reset()
        blocks = cut(pixels, itertools.cycle(heights))
        found = [
            pipeline.judge(Frame(b.copy(), 0, i), last=i == len(blocks) - 1)
            for i, b in enumerate(blocks)
        ]
        assert not [g for j in found if j.verdict.web for g in j.verdict.web.gaps]
        maps.append(np.concatenate([j.score_map.values for j in found if j.score_map]))
    assert maps[0].tobytes() == maps[1].tobytes()
    # What is inspected moves with the web.
    seen = maps[0] > 0
    firsts = seen.argmax(axis=1)
    assert firsts.min() < firsts.max()
    assert 30 < seen[:8].sum(axis=1).mean() * 8 < 120


def test_an_edge_out_of_tolerance_leaves_its_lines_uninspected(web_bundle: Bundle) -> None:
    left = np.full(600, 20)
    left[256:320] = 60
    found = judged(
        web_bundle, on_a_dark_table(some_web(600), left, 140), edges={**EDGES, "margin_px": 16}
    )
    assert {g.cause for g in found.verdict.web.gaps} == {Cause.EDGE}
    assert [(g.first_line, g.end_line) for g in found.verdict.web.gaps] == [(256, 320)]
    assert found.verdict.reason is Reason.IMAGE_QUALITY
    assert "web guide" in found.verdict.detail


def test_columns_belong_where_the_middle_of_their_square_lies() -> None:
    web = WebSpec.model_validate({"lanes": [{"name": "a", "left_px": 5, "right_px": 29}]})
    lanes = LaneMap.of(web, 43, 8)
    assert lanes.lane_of.tolist() == [-1, 0, 0, 0, -1, -1]
