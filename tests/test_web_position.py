"""Lines to millimetres, counters that wrap, webs that back up, gates that act in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.camera.frame import Capture, Frame
from kenpin.config.web import AlongSpec, EncoderSpec, WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.web.position import Along, Unwrapper, gate_action
from web_lines import some_web, spoiled


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


def encoder(counts_per_mm: float = 20, bits: int = 16) -> Along:
    return Along(
        AlongSpec(line_pitch_mm=0.1, encoder=EncoderSpec(counts_per_mm=counts_per_mm, bits=bits))
    )


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
    assert along.backed_mm == pytest.approx(40)
    assert along.furthest_mm == pytest.approx(160)
    assert not along.seen_before(0, 900)
    assert along.seen_before(2000, 2300)
    assert not along.seen_before(2600, 3000)


def test_the_gate_acts_on_the_defect_and_its_margin_in_wrapped_counts() -> None:
    along = encoder()
    for line in range(0, 40_000, 1000):
        along.anchor(line, (2 * line) % 65_536)
    spec = AlongSpec(line_pitch_mm=0.1, encoder=EncoderSpec(counts_per_mm=20, bits=16))
    action = gate_action(along, spec, "web", (30_000, 30_100), 500, 5, 31_000)
    assert (action.from_mm, action.to_mm) == pytest.approx((3495, 3515))
    assert (action.from_count, action.to_count) == (69_900, 70_300)
    assert (action.from_raw, action.to_raw) == (69_900 - 65_536, 70_300 - 65_536)
    assert not action.late
    assert gate_action(along, spec, "web", (30_000, 30_100), 50, 5, 31_000).late


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
    defects = [d for j in found if j.web for d in j.web.defects]
    assert [d.lane for d in defects] == ["b", "a"]
    for defect in defects:
        assert defect.web_mm == pytest.approx(0.5 * defect.first_line)
        assert defect.length_mm == pytest.approx(0.5 * defect.lines)
        assert defect.left_mm == pytest.approx(0.25 * defect.left_px)
        assert defect.area_mm2 == pytest.approx(0.125 * defect.area_px)
    # A defect whose lines are told by two verdicts is told to the gate in two parts.
    told = [g for j in found if j.web for g in j.web.gates]
    gates = {g.lane: g for g in sorted(told, key=lambda g: -g.from_mm)}
    assert gates["a"].from_mm == pytest.approx(0.5 * defects[1].first_line + 900)
    assert gates["b"].from_mm == pytest.approx(0.5 * defects[0].first_line + 1000)
    assert gates["b"].from_count == round(50 + 4 * gates["b"].from_mm)
    assert not gates["a"].late
