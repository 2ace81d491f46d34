"""Lines to millimetres, counters that wrap, webs that back up, gates that act in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kenpin.camera.capture import MOST_KNOTS
from kenpin.camera.frame import Capture, Frame
from kenpin.camera.genicam.line_counts import straightened
from kenpin.config.web import AlongSpec, WebEncoderSpec, WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.service.web_lines import WebLines
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.web.position import Along, Unwrapper, gate_action
from web_lines import some_web, spoiled
from web_motion import (
    BITS,
    HEIGHTS,
    HOW,
    PER_MM,
    PITCH,
    ROUND,
    SIGN,
    Counter,
    encoder,
    frames_of,
    motions,
)


@given(st.integers(8, 64), st.integers(-1000, 1000), st.lists(st.integers(-99, 99), max_size=40))
def test_a_wrapped_counter_is_unwrapped_either_way(bits: int, start: int, moves: list[int]) -> None:
    unwrap, true = Unwrapper(bits), start % (1 << bits)
    assert unwrap(true) == true
    for move in moves:
        true += move
        assert unwrap(true % (1 << bits)) == true
        # A source that has unwrapped already is left as it is.
        assert unwrap(true) == true


def test_lines_are_a_pitch_apart_or_as_rate_and_speed_say() -> None:
    assert Along(AlongSpec(line_pitch_mm=0.1), 50).mm(150) == pytest.approx(10)
    assert Along(AlongSpec(line_rate_hz=10_000, speed_mm_s=500)).mm(100) == pytest.approx(5)
    assert Along(AlongSpec()).mm(100) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_an_encoder_says_where_lines_lie_across_the_wrap(sign: int) -> None:
    along = encoder(20 * sign)
    for line in range(0, 100_000, 1000):
        along.anchor(line, (65_000 + sign * 2 * line) % 65_536)
        assert along.mm(line) == pytest.approx(0.1 * line)
        assert along.mm(line + 600) == pytest.approx(0.1 * (line + 600))


def test_between_two_counts_lines_lie_in_proportion_and_lost_lines_move_nothing() -> None:
    along = encoder()
    along.anchor(0, 0)
    along.anchor(1000, 1000)  # an over-speeding camera: half the counts for each line
    assert along.mm(500) == pytest.approx(25)
    assert along.mm(1000) == pytest.approx(50)
    # Lines were lost and nobody knows how many: the count does.
    along.anchor(1500, 9000)
    assert along.mm(1500) == pytest.approx(450)


def test_a_web_that_backs_up_is_seen_at_the_same_millimetres_again() -> None:
    along = encoder()
    for line, count in ((0, 0), (1000, 2000), (2000, 1200), (3000, 3200)):
        along.anchor(line, count)
    assert along.mm(2000) == pytest.approx(60)
    assert along.furthest_mm == pytest.approx(160)
    assert not along.seen_before(0, 900)
    assert along.seen_before(2000, 2300)
    assert not along.seen_before(2600, 3000)


def test_the_gate_acts_on_the_defect_and_its_margin_in_wrapped_counts() -> None:
    along = encoder()
    for line in range(0, 40_000, 1000):
        along.anchor(line, (2 * line) % 65_536)
    spec = AlongSpec(line_pitch_mm=0.1, encoder=WebEncoderSpec(counts_per_mm=20, bits=16))
    action = gate_action(along, spec, "web", (30_000, 30_100), 500, 5, 31_000)
    # Counts are whole: one more on each side.
    assert (action.from_mm, action.to_mm) == pytest.approx((3494.95, 3515.05))
    assert (action.from_count, action.to_count) == (69_899, 70_301)
    assert (action.from_raw, action.to_raw) == (69_899 - 65_536, 70_301 - 65_536)
    assert not action.late
    assert gate_action(along, spec, "web", (30_000, 30_100), 50, 5, 31_000).late


@given(motions(), HEIGHTS, st.integers(0, 99), SIGN, HOW)
@settings(max_examples=60)
def test_lines_lie_where_the_web_was_within_what_is_stated(
    true_mm: NDArray[np.float64], usual: int, seed: int, sign: int, how: str
) -> None:
    rng = np.random.default_rng(seed)
    along, counter = encoder(sign * PER_MM, BITS), Counter(true_mm, sign, rng)
    frames = frames_of(rng, usual, len(true_mm) - 1)
    for first, end in frames:
        counter.tell(along, (first, end), how, rng)
        # Of what is known once this frame has come, also of those before.
        for line in (first, end, int(rng.integers(max(0, first - 4000), end))):
            reach, told = along.reach(line, line), along.mm(line)
            assert reach is not None
            assert told is not None
            assert reach[0] - ROUND <= true_mm[line] <= reach[1] + ROUND
            assert reach[0] <= told <= reach[1]
        a, b = sorted(rng.integers(max(0, first - 4000), end, 2).tolist())
        off, ends = along.within(a, b), (along.mm(a), along.mm(b))
        assert off is not None
        assert None not in ends
        passed = true_mm[a : b + 1]
        assert min(ends) - off - ROUND <= passed.min()  # type: ignore[type-var, operator]
        assert max(ends) + off + ROUND >= passed.max()  # type: ignore[type-var, operator]
    if how == "all lines" or usual == 1:
        last = frames[-1][1]
        lines = range(max(0, last - 3000), last)
        told_mm = np.array([along.mm(line) for line in lines], float)
        np.testing.assert_allclose(told_mm, true_mm[lines.start : last], rtol=0, atol=PITCH)


@given(motions(), HEIGHTS, st.integers(0, 99), SIGN, HOW)
@settings(max_examples=60)
def test_no_gate_misses_lines_however_the_web_moved_between_the_counts(
    true_mm: NDArray[np.float64], usual: int, seed: int, sign: int, how: str
) -> None:
    rng = np.random.default_rng(seed)
    along, counter = encoder(sign * PER_MM, BITS), Counter(true_mm, sign, rng)
    spec = AlongSpec(
        line_pitch_mm=PITCH, encoder=WebEncoderSpec(counts_per_mm=sign * PER_MM, bits=BITS)
    )
    start = None
    for first, end in frames_of(rng, usual, len(true_mm) - 1):
        counter.tell(along, (first, end), how, rng)
        start = int(counter.at(0)) if start is None else start
        a = int(rng.integers(max(0, first - 4000), end))
        b = int(rng.integers(a, end + 1))
        action = gate_action(along, spec, "web", (a, b), 500, 0, end)
        passed = true_mm[a : b + 1] + 500
        assert action.from_mm <= passed.min() + ROUND
        assert action.to_mm >= passed.max() - ROUND
        assert action.from_count is not None
        assert action.to_count is not None
        # The counter's floor is not its mirror image: one count on either side.
        low, high = sorted((action.from_count - start, action.to_count - start))
        lowest, highest = sorted(counter.passed(mm) for mm in (passed.min(), passed.max()))
        assert low <= lowest + (sign < 0)
        assert high >= highest


def test_a_slow_web_in_tall_frames_is_rejected_where_it_lies(web_bundle: Bundle) -> None:
    web = WebSpec.model_validate(
        {
            "along": {"line_pitch_mm": 0.1, "encoder": {"counts_per_mm": 20, "bits": 16}},
            "offset_to_gate_mm": 400,
        }
    )
    # At half its speed from line 1,500 on, and back for 300 lines.
    steps = np.full(6000, 0.1)
    steps[1500:] = 0.05
    steps[3300:3600] = -0.05
    true_mm = np.concatenate([[0.0], np.cumsum(steps)])
    counts = (65_000 + np.floor(20 * true_mm).astype(np.int64)) % (1 << 16)
    places = (700, 1900, 2700, 4500, 5300)
    pixels = spoiled(some_web(6000), *((line, 40, 16, 16) for line in places))
    for each_line in (False, True):
        pipeline = WebPipeline(web_bundle, web=web)
        defects: list[Any] = []
        gates: list[Any] = []
        for i in range(3):
            own = counts[2000 * i : 2000 * i + 2000]
            lines = straightened(own) if each_line else None
            capture = Capture(encoder=int(own[0]), encoder_lines=lines)
            frame = Frame(pixels[2000 * i : 2000 * i + 2000].copy(), 0, i, capture=capture)
            found = pipeline.judge(frame, last=i == 2).verdict.web
            assert found is not None
            defects += found.defects
            gates += [(g.from_mm - 400, g.to_mm - 400) for g in found.gates]
        assert len(defects) == len(places)
        for defect in defects:
            seen = true_mm[defect.first_line : defect.end_line + 1]
            # Told of in two parts where two verdicts share its lines.
            assert all(any(low <= mm <= high for low, high in gates) for mm in seen)
            assert defect.web_mm is not None
            assert defect.within_mm is not None
            assert abs(defect.web_mm - seen.min()) <= defect.within_mm + ROUND
            if each_line:
                assert abs(defect.web_mm - seen.min()) <= PITCH
                assert defect.within_mm <= PITCH + ROUND
        # Told of every line the gate need not act on more than the defects.
        if each_line:
            assert max(high - low for low, high in gates) < 10


@given(st.lists(st.integers(-3, 9), min_size=1, max_size=300), st.integers(-(2**40), 2**40))
def test_a_frames_counts_are_told_by_few_of_them_to_within_what_is_said(
    moves: list[int], start: int
) -> None:
    counts = start + np.cumsum(np.repeat(moves, 7))
    told = straightened(counts)
    assert len(told.lines) <= MOST_KNOTS
    assert (told.lines[0], told.lines[-1]) == (0, len(counts) - 1)
    assert [counts[line] for line in told.lines] == list(told.counts)
    between = np.interp(np.arange(len(counts)), told.lines, np.array(told.counts) - start) + start
    assert np.abs(between - counts).max() <= told.within + 1e-3
    assert told.within <= 1 or len(told.lines) == MOST_KNOTS


def test_a_gate_that_is_far_off_is_told_once_the_next_count_is_known(web_bundle: Bundle) -> None:
    def told(offset_mm: float) -> list[tuple[int, float, float]]:
        web = WebSpec.model_validate(
            {
                "along": {"line_pitch_mm": 0.1, "encoder": {"counts_per_mm": 20}},
                "offset_to_gate_mm": offset_mm,
            }
        )
        pipeline, at, found = WebPipeline(web_bundle, web=web), 0.0, []
        pixels = spoiled(some_web(4000), (1500, 40, 20, 20))
        for i in range(4):
            frame = pixels[i * 1000 : (i + 1) * 1000].copy()
            # Half as fast while the second frame is taken.
            judged = pipeline.judge(
                Frame(frame, 0, i, capture=Capture(encoder=round(20 * at))), last=i == 3
            )
            at += 50 if i == 1 else 100
            assert judged.verdict.web is not None
            found += [
                (i, g.from_mm - offset_mm, g.to_mm - offset_mm) for g in judged.verdict.web.gates
            ]
        return found

    true_mm = 100 + 0.05 * 500
    ((frame, low, high),) = told(10_000)
    assert frame == 2
    assert low < true_mm < high < low + 60
    # A near gate is told at once, of wherever the defect may lie.
    ((frame, low, high),) = told(20)
    assert frame == 1
    assert low < true_mm < high
    assert high > low + 80


def test_waiting_stretches_have_a_limit_and_none_of_their_lines_is_forgotten(
    web_bundle: Bundle,
) -> None:
    """Defect after defect in tall frames with one count each: a message would have no room."""
    web = WebSpec.model_validate(
        {
            "along": {"line_pitch_mm": 0.1, "encoder": {"counts_per_mm": 20}},
            "offset_to_gate_mm": 10_000,
            "lanes": [
                {"name": "left", "left_px": 0, "right_px": 80},
                {"name": "right", "left_px": 80, "right_px": 160},
            ],
        }
    )
    spots = [(300 + 100 * k, x, 16, 16) for k in range(30) for x in (40, 110)]
    pixels = spoiled(some_web(4000), *spots)
    pipeline = WebPipeline(web_bundle, web=web)
    found = pipeline.judge(Frame(pixels.copy(), 0, 0, capture=Capture(0, encoder=0))).verdict.web
    assert found is not None
    for lane in found.lanes:
        waiting = [(a, b) for name, a, b in found.pending if name == lane.name]
        assert 0 < len(waiting) <= 16 < len(lane.ng_runs)
        for first, end in lane.ng_runs:
            assert any(a <= first and end <= b for a, b in waiting)


def test_an_inspection_that_dies_takes_no_millimetre_along(web_bundle: Bundle) -> None:
    web = WebSpec.model_validate(
        {
            "along": {"line_pitch_mm": 0.1, "encoder": {"counts_per_mm": -20, "bits": 16}},
            "offset_to_gate_mm": 5000,
        }
    )
    pixels = spoiled(some_web(3000), (650, 40, 20, 20), (1500, 100, 16, 16), (2300, 30, 16, 16))

    # Half as fast from line 1,000 on; the counter wraps on the way.
    def count(line: int) -> int:
        return (1000 - round(2 * min(line, 1000) + max(0, line - 1000))) % (1 << 16)

    def frame(i: int) -> Frame:
        capture = Capture(first_line=70 + 100 * i, encoder=count(100 * i))
        return Frame(pixels[100 * i : 100 * i + 100].copy(), 0, i, capture=capture)

    whole = WebPipeline(web_bundle, web=web)
    told = [whole.judge(frame(i)).verdict.web for i in range(30)]
    lines = WebLines()
    found = []
    dying, heir = WebPipeline(web_bundle, web=web), WebPipeline(web_bundle, web=web)
    for i in range(30):
        # It dies before it has judged frame 8.
        inspection, pipeline = (1, dying) if i < 8 else (2, heir)
        resume = lines.resume(inspection, 70 + 100 * i)
        if resume is not None:
            pipeline.resume(resume)
        judged = pipeline.judge(frame(i)).verdict.web
        assert judged is not None
        found.append(lines.follow(judged, inspection)[0])
    for one, other in zip(told, found, strict=True):
        assert one is not None
        assert other.end_line >= one.end_line
        if other.end_line == one.end_line:
            assert other.end_mm == one.end_mm
            assert other.end_count == one.end_count
    assert found[-1].end_line == told[-1].end_line  # type: ignore[union-attr]
    # Of what both inspected, places and gates are the same, and nothing else is found.
    later = [d for w in told if w for d in w.defects if d.first_line > 1000]
    assert [(d.first_line, d.left_px, d.web_mm) for d in later] == [
        (d.first_line, d.left_px, d.web_mm) for w in found for d in w.defects if d.first_line > 1000
    ]
    assert len(later) == 2
    # But what the dying one was still following is told as far as it was seen.
    ((left,),) = (w.defects for w in found[8:15] if w.defects)
    assert left.cut
    # The spot that its camera counts as line 720.
    assert 690 < left.first_line <= 720
    assert left.end_line == found[7].end_line
    # The gate hears of the defect before as well: the count after it had not come in time.
    gates = [(g.from_mm, g.to_mm) for w in found for g in w.gates]
    assert any(low <= 5065 and high >= 5067 for low, high in gates)


def test_lines_beside_a_loss_of_unknown_length_lie_where_their_own_side_says() -> None:
    along = encoder()
    for line, count in ((0, 0), (1000, 2000), (2000, 4000)):
        along.anchor(line, count)
    along.interrupt()
    along.anchor(3000, 30_000)
    along.anchor(4000, 32_000)
    assert along.mm(2900) == pytest.approx(290)
    assert along.mm(3100) == pytest.approx(1510)


def test_a_defect_carries_its_place_and_the_gates_of_its_lane_are_told(
    web_bundle: Bundle,
) -> None:
    web = WebSpec.model_validate(
        {
            "mm_per_px": 0.25,
            "along": {"line_pitch_mm": 0.5, "encoder": {"counts_per_mm": 4, "bits": 10}},
            "offset_to_gate_mm": 900,
            "lanes": [
                {"name": "a", "left_px": 0, "right_px": 80},
                {"name": "b", "left_px": 80, "right_px": 160, "offset_to_gate_mm": 1000},
            ],
        }
    )
    pipeline = WebPipeline(web_bundle, web=web)
    pixels = spoiled(some_web(800), (400, 20, 20, 12), (200, 120, 20, 12))
    found = [
        pipeline.judge(
            Frame(
                pixels[a : a + 100].copy(),
                0,
                a // 100,
                capture=Capture(encoder=(50 + 2 * a) % 1024),
            ),
            last=a == 700,
        )
        for a in range(0, 800, 100)
    ]
    defects = [d for j in found if j.verdict.web for d in j.verdict.web.defects]
    assert [d.lane for d in defects] == ["b", "a"]
    for defect in defects:
        assert defect.web_mm == pytest.approx(0.5 * defect.first_line)
        assert defect.length_mm == pytest.approx(0.5 * defect.lines)
        assert defect.left_mm == pytest.approx(0.25 * defect.left_px)
        assert defect.area_mm2 == pytest.approx(0.125 * defect.area_px)
    # A defect whose lines are told by two verdicts is told to the gate in two parts.
    told = [g for j in found if j.verdict.web for g in j.verdict.web.gates]
    gates = {g.lane: g for g in sorted(told, key=lambda g: -g.from_mm)}
    # A count, a quarter of a millimetre, earlier.
    assert gates["a"].from_mm == pytest.approx(0.5 * defects[1].first_line + 900 - 0.25)
    assert gates["b"].from_mm == pytest.approx(0.5 * defects[0].first_line + 1000 - 0.25)
    assert gates["b"].from_count == round(50 + 4 * gates["b"].from_mm)
    assert not gates["a"].late
