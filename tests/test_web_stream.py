"""No seam: however a web is cut into frames, the same lines give the same bits."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blends import alone, blended, uneven
from kenpin.camera.frame import Capture, Frame, LostFrame
from kenpin.compile.prepare import prepare
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.blend import load_blend
from kenpin.runtime.judging.engine import Engine, FeatureBuffers
from kenpin.runtime.judging.network import load_engine
from kenpin.runtime.judging.pipeline import Judgement, Pipeline, Stages
from kenpin.runtime.judging.scoring import load_scorer
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.judging.verdict import Cause, Outcome, Reason, WebDefect
from kenpin.runtime.selftest import selftest
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.web.stages import slots_agree
from web_lines import compile_web, cut, some_web, spoiled, web_recipe

LINES = 700
PLACES = ((60, 40, 9, 30), (180, 20, 150, 6), (400, 100, 20, 20), (560, 60, 12, 12))
OVERLAP = (
    "tiles={size_px=96,halo_px=16,stride_px=48}",
    'method={name="patchcore",coreset_rows=100,candidates=2000,share="column"}',
)


SEARCHING = 'method={name="patchcore",coreset_rows=300,candidates=3000}'


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose network searches the bank itself."""
    return compile_web(tmp_path_factory.mktemp("searching"), SEARCHING)


@pytest.fixture(scope="module")
def pipeline(web_bundle: Bundle) -> WebPipeline:
    return WebPipeline(web_bundle)


@pytest.fixture(
    scope="module", params=["network", pytest.param("bands", marks=pytest.mark.thorough)]
)
def either(request: pytest.FixtureRequest, web_bundle: Bundle) -> WebPipeline:
    """A web's pipeline, as it is and joined with bands that reach farther than its blur."""
    return WebPipeline(blended(web_bundle) if request.param == "bands" else web_bundle)


@pytest.fixture(scope="module")
def web() -> Any:
    return spoiled(some_web(LINES), *PLACES)


def run(pipeline: WebPipeline, frames: list[Any]) -> list[Judgement]:
    pipeline.reset()
    last = len(frames) - 1
    return [
        pipeline.judge(
            frame if isinstance(frame, Frame | LostFrame) else Frame(frame.copy(), 0, i),
            last=i == last,
        )
        for i, frame in enumerate(frames)
    ]


def map_of(judged: list[Judgement]) -> Any:
    return np.concatenate([j.score_map.values for j in judged if j.score_map is not None])


def closed(judged: list[Judgement]) -> list[WebDefect]:
    found = [d for j in judged if j.verdict.web for d in j.verdict.web.defects if not d.open]
    return sorted(found, key=lambda d: d.number)


def covered_once(judged: list[Judgement], first: int, end: int) -> None:
    at = first
    for j in judged:
        assert j.verdict.web is not None
        assert j.verdict.web.first_line == at <= j.verdict.web.end_line
        at = j.verdict.web.end_line
    assert at == end


def test_a_tile_has_the_same_features_in_every_slot_of_the_batch(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    assert slots_agree(load_engine(web_bundle, None))
    in_float = prepare(web_recipe(tmp_path))
    assert slots_agree(Engine(in_float.network.model(in_float.batch)))


def test_a_processor_where_slots_matter_is_refused(
    web_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Engine.features

    def leaky(self: Engine, fill: Any, count: int, buffers: FeatureBuffers) -> Any:
        features, filled = real(self, fill, count, buffers)
        features[-1] += np.float32(1e-6)
        return features, filled

    monkeypatch.setattr(Engine, "features", leaky)
    with pytest.raises(BundleError, match=r"this processor.*slot.*recompile"):
        WebPipeline(web_bundle)

    def elsewhere(self: Engine, fill: Any, count: int, buffers: FeatureBuffers) -> Any:
        self.device = "GPU"
        return leaky(self, fill, count, buffers)

    monkeypatch.setattr(Engine, "features", elsewhere)
    with pytest.raises(BundleError, match=r"on GPU.*slot.*`edge-doctor tune` for the CPU"):
        WebPipeline(web_bundle)


@pytest.mark.thorough
def test_a_processor_where_slots_matter_to_the_search_is_refused(
    searching: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Engine.features

    def leaky(self: Engine, fill: Any, count: int, buffers: FeatureBuffers) -> Any:
        found = real(self, fill, count, buffers)
        assert buffers.rows is not None
        buffers.rows[-1, 0, 0] = 0
        return found

    WebPipeline(searching)
    monkeypatch.setattr(Engine, "features", leaky)
    with pytest.raises(BundleError, match="slot"):
        WebPipeline(searching)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 260), min_size=1, max_size=12))
@example([1])
@example([64])
@example([63, 65])
@example([699])
def test_any_cut_gives_the_same_map_and_defects_to_the_last_bit(
    either: WebPipeline, web: Any, heights: list[int]
) -> None:
    whole = run(either, [web])
    judged = run(either, cut(web, itertools.cycle(heights)))
    assert map_of(judged).tobytes() == map_of(whole).tobytes()
    assert closed(judged) == closed(whole)
    assert len(closed(whole)) >= len(PLACES)
    covered_once(judged, 0, LINES)
    # The empty verdicts apart, NG is told exactly where something is wrong.
    assert any(j.verdict.reason is Reason.DEFECT for j in judged)
    assert {j.verdict.reason for j in judged} <= {None, Reason.DEFECT}


@pytest.mark.thorough
def test_overlapping_tiles_and_patchcore_have_no_seam_either(tmp_path: Path, web: Any) -> None:
    pipeline = WebPipeline(compile_web(tmp_path, *OVERLAP))
    whole = run(pipeline, [web])
    for heights in ([1], [37, 5, 290]):
        judged = run(pipeline, cut(web, itertools.cycle(heights)))
        assert map_of(judged).tobytes() == map_of(whole).tobytes()
        assert closed(judged) == closed(whole)


# Rows of the map that see past an end of the web, by the halo and by the blur.
ENDS = 12


@pytest.mark.thorough
def test_a_web_whose_network_searches_has_no_seam_and_the_rows_of_its_own_patches(
    searching: Bundle, web: Any
) -> None:
    m = searching.manifest
    pipeline = WebPipeline(uneven(alone(searching)))
    grid = replace(TileGrid.of(m.frame, m.tiles), height=LINES)
    scorer = load_scorer(searching.arrays, m.method, m.features, grid)
    assert scorer.search is not None
    apart = Stages(
        TileNetwork(grid, load_engine(searching, None), scorer, 8, m.score.smooth_sigma_px)
    )
    expected = apart.measure(web).score_map.values
    whole = map_of(run(pipeline, [web]))
    # A frame is mirrored at its border, a web goes on.
    np.testing.assert_allclose(whole[ENDS:-ENDS], expected[ENDS:-ENDS], rtol=2e-5)
    for heights in ([33], [290, 5, 64]):
        judged = run(pipeline, cut(web, itertools.cycle(heights)))
        assert map_of(judged).tobytes() == whole.tobytes()


@pytest.mark.parametrize("lines", [1, 7, 250, 700])
def test_a_web_is_mapped_as_one_frame_of_its_height_would_be(
    web_bundle: Bundle, web: Any, lines: int
) -> None:
    bundle = blended(uneven(web_bundle))
    pipeline = WebPipeline(bundle)
    manifest = bundle.manifest
    grid = replace(TileGrid.of(manifest.frame, manifest.tiles), height=lines)
    scorer = load_scorer(bundle.arrays, manifest.method, manifest.features, grid)
    look = load_blend(bundle.arrays, manifest.blend, (1, -(-grid.width // 8)), 8)
    sigma_px = manifest.score.smooth_sigma_px
    stages = Stages(TileNetwork(grid, load_engine(bundle, None), scorer, 8, sigma_px, look))
    expected = stages.measure(web[:lines]).score_map.values
    found = map_of(run(pipeline, cut(web[:lines], itertools.repeat(33))))
    # Too short to tell how it would go on, it is mirrored like a frame.
    inner = slice(ENDS, -ENDS) if lines > 100 else slice(None)
    np.testing.assert_allclose(found[inner], expected[inner], rtol=2e-5, atol=2e-5)


def test_no_line_waits_longer_than_stated_and_short_frames_are_not_ng(
    either: WebPipeline,
) -> None:
    judged = run(either, cut(some_web(400), itertools.repeat(1)))
    for number, j in enumerate(judged[:-1]):
        assert j.verdict.web is not None
        assert number + 1 - j.verdict.web.end_line <= either.stages.fresh().latency_lines
    assert all(j.verdict.outcome is Outcome.OK for j in judged)
    # Six tile rows have their context by the last line; it ends the web, too. Bands
    # wait for another.
    assert sum(j.verdict.web.lines > 0 for j in judged if j.verdict.web) in (5, 6)


# Lines that never came.


def frames_of(web: Any, height: int, lost: set[int], *, counted: bool) -> list[Any]:
    out: list[Any] = []
    for i, block in enumerate(cut(web, itertools.repeat(height))):
        capture = Capture(first_line=i * height) if counted else Capture()
        if i in lost:
            out.append(LostFrame(0, i, "lost on purpose", lines=None if counted else len(block)))
        else:
            out.append(Frame(block.copy(), 0, i, capture=capture))
    return out


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("height", [100, 88, 64])
def test_a_lost_frame_changes_nothing_but_the_lines_that_needed_it(
    pipeline: WebPipeline, web: Any, counted: bool, height: int
) -> None:
    whole = map_of(run(pipeline, [web]))
    judged = run(pipeline, frames_of(web, height, {4}, counted=counted))
    covered_once(judged, 0, LINES)
    gaps = [g for j in judged if j.verdict.web for g in j.verdict.web.gaps]
    missed = np.zeros(LINES, bool)
    for gap in gaps:
        missed[gap.first_line : gap.end_line] = True
    # Tile row r sees lines 64 r - 16 to 64 r + 80; the widest band takes 10 map rows more.
    lost = range(4 * height, 5 * height)
    reach = [r for r in range(12) if 64 * r - 16 < lost.stop and lost.start < 64 * r + 80]
    assert np.flatnonzero(missed).tolist() == list(range(64 * reach[0] - 80, 64 * reach[-1] + 144))
    assert {g.cause for g in gaps} == {Cause.LOST, Cause.CONTEXT}
    for j in judged:
        if j.score_map is None or j.verdict.web is None or j.verdict.web.map_line is None:
            continue
        first = j.verdict.web.map_line // 8
        rows = slice(first, first + len(j.score_map.values))
        own = ~missed[first * 8 : rows.stop * 8 : 8][: len(j.score_map.values)]
        assert np.array_equal(j.score_map.values[own], whole[rows][own])
        assert not j.score_map.values[~own].any()


def test_what_was_not_inspected_is_never_ok(pipeline: WebPipeline) -> None:
    judged = run(pipeline, frames_of(some_web(900), 50, {5, 11}, counted=True))
    for j in judged:
        assert j.verdict.web is not None
        touched = bool(j.verdict.web.gaps)
        assert (j.verdict.outcome is Outcome.NG) == touched
        if touched:
            assert j.verdict.reason is Reason.INCOMPLETE_FRAME
            assert all(lane.outcome is Outcome.NG for lane in j.verdict.web.lanes)


def test_a_gap_in_the_index_is_a_lost_frame_of_guessed_height(pipeline: WebPipeline) -> None:
    blocks = cut(some_web(800), itertools.repeat(100))
    frames = [Frame(b.copy(), 0, i if i < 4 else i + 2) for i, b in enumerate(blocks)]
    judged = run(pipeline, frames)
    gaps = judged[4].verdict.web.gaps if judged[4].verdict.web else ()
    lost = [g for g in gaps if g.cause is Cause.LOST]
    assert [(g.first_line, g.end_line, g.known) for g in lost] == [(400, 600, False)]
    assert "guess" in judged[4].verdict.detail


def test_frames_that_were_lost_while_nothing_was_counted_break_the_web(
    pipeline: WebPipeline,
) -> None:
    # A camera that the web's encoder clocks, back after its cable was pulled: no line was counted.
    blocks = cut(some_web(800), itertools.repeat(100))
    frames = [
        Frame(b.copy(), 0, i if i < 4 else i + 1, capture=Capture(first_line=100 * i))
        for i, b in enumerate(blocks)
    ]
    judged = run(pipeline, frames)
    assert "guess" in judged[4].verdict.detail
    assert judged[4].verdict.outcome is Outcome.NG
    assert [j.verdict.outcome for j in judged[:4]] == [Outcome.OK] * 4


def test_a_web_that_ends_without_a_frame_is_judged_to_its_last_line(
    pipeline: WebPipeline, web: Any
) -> None:
    blocks = cut(web, itertools.repeat(90))
    whole = run(pipeline, blocks)
    found = [pipeline.judge(Frame(b.copy(), 0, i)) for i, b in enumerate(blocks)]
    ended = pipeline.finish()
    assert ended is not None
    assert ended.verdict.frame_index == len(blocks) - 1
    assert map_of([*found, ended]).tobytes() == map_of(whole).tobytes()
    covered_once([*found, ended], 0, LINES)
    assert pipeline.finish() is None


def test_a_defect_that_goes_on_is_known_as_far_as_it_was_seen(pipeline: WebPipeline) -> None:
    scratch = spoiled(some_web(900), (150, 60, 600, 6))
    judged = run(pipeline, cut(scratch, itertools.repeat(100)))
    (whole,) = closed(judged)
    ends = []
    for j in judged[4:7]:
        assert j.verdict.web is not None
        (seen,) = j.verdict.web.going_on
        assert seen.cut
        assert (seen.number, seen.first_line) == (whole.number, whole.first_line)
        assert seen.end_line == j.verdict.web.end_line
        ends.append(seen.end_line)
    assert ends == sorted(set(ends))
    assert judged[-1].verdict.web is not None
    assert judged[-1].verdict.web.going_on == ()


def test_lines_that_a_short_frame_should_have_had_are_lost_unless_the_web_ends(
    pipeline: WebPipeline,
) -> None:
    whole = some_web(800)
    blocks = [whole[:200], whole[200:230], whole[400:600], whole[600:640]]
    frames = [
        Frame(b.copy(), 0, i, capture=Capture(lines_expected=200)) for i, b in enumerate(blocks)
    ]
    judged = run(pipeline, frames)
    gaps = [g for j in judged if j.verdict.web for g in j.verdict.web.gaps if g.cause is Cause.LOST]
    assert [(g.first_line, g.end_line, g.known) for g in gaps] == [(230, 400, False)]
    covered_once(judged, 0, 640)
    assert judged[2].verdict.reason is Reason.INCOMPLETE_FRAME


def test_a_short_frame_of_a_camera_that_counts_lines_is_a_web_that_stopped(
    pipeline: WebPipeline,
) -> None:
    blocks = cut(some_web(430), [200, 30, 200])
    starts = [0, 200, 230]
    frames = [
        Frame(b.copy(), 0, i, capture=Capture(first_line=starts[i], lines_expected=200))
        for i, b in enumerate(blocks)
    ]
    assert not any(j.verdict.web.gaps for j in run(pipeline, frames) if j.verdict.web)


def test_a_camera_that_counts_anew_breaks_the_carry(pipeline: WebPipeline) -> None:
    blocks = cut(some_web(600), itertools.repeat(100))
    frames = [
        Frame(b.copy(), 0, i, capture=Capture(first_line=100 * (i % 3)))
        for i, b in enumerate(blocks)
    ]
    judged = run(pipeline, frames)
    assert [j.verdict.reason for j in judged[:3]] == [None] * 3
    assert judged[3].verdict.reason is Reason.INCOMPLETE_FRAME
    covered_once(judged, 0, 600)


def test_a_partial_frame_of_a_stopped_web_leaves_no_gap(pipeline: WebPipeline, web: Any) -> None:
    cuts = [(0, 200), (200, 260), (260, 460), (460, 700)]
    frames = [
        Frame(web[a:b].copy(), 0, i, capture=Capture(first_line=a, lines_expected=200))
        for i, (a, b) in enumerate(cuts)
    ]
    judged = run(pipeline, frames)
    assert not [g for j in judged if j.verdict.web for g in j.verdict.web.gaps]
    assert map_of(judged).tobytes() == map_of(run(pipeline, [web])).tobytes()


def test_the_first_line_may_have_any_number(pipeline: WebPipeline, web: Any) -> None:
    frames = [
        Frame(b.copy(), 0, i, capture=Capture(first_line=1000 + 90 * i))
        for i, b in enumerate(cut(web, itertools.repeat(90)))
    ]
    judged = run(pipeline, frames)
    covered_once(judged, 1000, 1000 + LINES)
    assert map_of(judged).tobytes() == map_of(run(pipeline, [web])).tobytes()


# Faults.


def test_an_error_in_the_network_is_answered_and_the_web_goes_on(
    web_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = WebPipeline(web_bundle)
    blocks = cut(some_web(1000), itertools.repeat(100))
    judged = []
    for i, block in enumerate(blocks):
        with monkeypatch.context() as patch:
            if i == 4:

                def fail(*_: Any) -> Any:
                    raise RuntimeError("the device is gone")

                patch.setattr(Engine, "features", fail)
            judged.append(pipeline.judge(Frame(block.copy(), 0, i), last=i == 9))
    assert judged[4].verdict.reason is Reason.MODEL_ERROR
    assert "the device is gone" in judged[4].verdict.detail
    covered_once(judged, 0, 1000)
    assert judged[-1].verdict.outcome is Outcome.OK


def test_a_tile_that_was_not_filled_is_missed(
    web_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = WebPipeline(web_bundle)
    real = Engine.features
    monkeypatch.setattr(Engine, "features", lambda *args: (lambda f, n: (f, n - 1))(*real(*args)))
    judged = pipeline.judge(Frame(some_web(300), 0, 0))
    assert judged.verdict.reason is Reason.MODEL_ERROR
    assert "tiles were scored" in judged.verdict.detail


def test_dark_lines_are_refused_wherever_frames_end(pipeline: WebPipeline) -> None:
    pixels = some_web(640)
    pixels[256:384] = 0
    for heights in ([640], [50]):
        judged = run(pipeline, cut(pixels, itertools.cycle(heights)))
        gaps = [g for j in judged if j.verdict.web for g in j.verdict.web.gaps]
        assert min(g.first_line for g in gaps) == 256
        assert max(g.end_line for g in gaps) == 384
        assert {g.cause for g in gaps} == {Cause.IMAGE_QUALITY}
        reasons = {j.verdict.reason for j in judged if j.verdict.web and j.verdict.web.gaps}
        assert reasons == {Reason.IMAGE_QUALITY}


def test_a_nan_in_the_statistics_is_never_ok(web_bundle: Bundle) -> None:
    mean = np.array(web_bundle.arrays["mean"])
    mean[0, 3, 0] = np.nan
    bundle = replace(web_bundle, arrays={**web_bundle.arrays, "mean": mean})
    judged = WebPipeline(bundle).judge(Frame(some_web(300), 0, 0))
    assert judged.verdict.reason is Reason.NONFINITE


def test_a_frame_of_another_width_is_refused_and_its_lines_counted(pipeline: WebPipeline) -> None:
    blocks: list[Any] = cut(some_web(600), itertools.repeat(100))
    blocks[2] = blocks[2][:, :-1]
    judged = run(pipeline, blocks)
    assert judged[2].verdict.reason is Reason.RECIPE_MISMATCH
    assert "of 160 px" in judged[2].verdict.detail
    covered_once(judged, 0, 600)


def test_a_verdict_past_the_budget_is_late_in_every_lane(web_bundle: Bundle) -> None:
    now = [0]
    pipeline = WebPipeline(web_bundle, clock_ns=lambda: now[0], budget_ns=1000)
    now[0] = 5000
    judged = pipeline.judge(Frame(some_web(300), 0, 0))
    assert judged.verdict.reason is Reason.LATE
    assert judged.verdict.web is not None
    assert [lane.reason for lane in judged.verdict.web.lanes] == [Reason.LATE]


def test_the_golden_webs_reproduce_their_scores_and_leave_the_web_alone(
    web_bundle: Bundle, web: Any
) -> None:
    pipeline = WebPipeline(web_bundle)
    first = pipeline.judge(Frame(web[:333].copy(), 0, 0))
    assert selftest(pipeline) == {g.file: g.score for g in web_bundle.manifest.golden}
    rest = pipeline.judge(Frame(web[333:].copy(), 0, 1), last=True)
    assert map_of([first, rest]).tobytes() == map_of(run(pipeline, [web])).tobytes()


def test_each_pipeline_refuses_the_other_geometry(web_bundle: Bundle, padim: Bundle) -> None:
    with pytest.raises(BundleError, match="continuous"):
        Pipeline(web_bundle)
    with pytest.raises(BundleError, match="show parts"):
        WebPipeline(padim)


@pytest.mark.thorough
def test_lines_that_have_been_judged_leave_nothing_behind(pipeline: WebPipeline) -> None:
    pixels = spoiled(some_web(8192), (900, 30, 40, 8), (5000, 90, 2000, 6))
    blocks = cut(pixels, itertools.repeat(2048))
    pipeline.reset()
    index, defects, end = itertools.count(), 0, 0

    def go(blocks_more: int) -> int:
        """Judge so many more; the bytes that are in use then."""
        nonlocal defects, end
        for _ in range(blocks_more):
            i = next(index)
            web = pipeline.judge(Frame(blocks[i % 4].copy(), 0, i)).verdict.web
            assert web is not None
            assert web.first_line == end
            end = web.end_line
            defects += sum(not d.open for d in web.defects)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        in_use = [go(4), *(go(8) for _ in range(3))]
    finally:
        tracemalloc.stop()
    assert end > 57_000 - 512
    assert defects >= 2 * (end // 8192 - 1)
    # What is cached once shows in one span; a byte for each line would add 16,384 to every one.
    assert min(later - before for before, later in itertools.pairwise(in_use)) < 8 * 1024
