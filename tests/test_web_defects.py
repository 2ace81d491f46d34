"""Defects as objects: strips stitched together agree with the whole web labelled at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.config.web import DefectSpec
from kenpin.runtime.judging.verdict import WebDefect
from kenpin.runtime.web.defects import DefectTracker
from kenpin.runtime.web.pieces import MapStrip

COLS, PX, WIDTH = 12, 8, 93
NO_BANDS = np.empty((0, 0, COLS), np.float32)
LANE_OF = np.array([0] * 6 + [1] * 6, np.int8)
SHORT = DefectSpec(report_open_lines=64, longest_lines=10_000)


def tracker(spec: DefectSpec = SHORT, origin: int = 0) -> DefectTracker:
    return DefectTracker(spec, PX, WIDTH, LANE_OF, ("left", "right"), origin)


def strip(values: Any, row: int, origin: int = 0) -> MapStrip:
    first = origin + row * PX
    return MapStrip(
        first, first + len(values) * PX, row, values, np.ones(values.shape, bool), NO_BANDS
    )


def track(values: Any, heights: list[int], spec: DefectSpec = SHORT) -> list[WebDefect]:
    """The map in strips of these heights, in turn; all that is told."""
    tracked, told, row, turn = tracker(spec), [], 0, 0
    while row < len(values):
        part = values[row : row + heights[turn % len(heights)]]
        told += tracked.add(strip(part, row), part > 1)
        row, turn = row + len(part), turn + 1
    return told + tracked.finish()


def flooded(values: Any) -> list[dict[str, Any]]:
    """Every region of the whole map, by walking from cell to cell."""
    over, seen, found = values > 1, np.zeros(values.shape, bool), []
    for start in zip(*np.nonzero(over), strict=True):
        if seen[start]:
            continue
        cells, waiting = [], [start]
        seen[start] = True
        while waiting:
            r, c = waiting.pop()
            cells.append((r, c))
            for near in ((r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if (
                    0 <= near[0] < len(values)
                    and 0 <= near[1] < COLS
                    and over[near]
                    and not seen[near]
                ):
                    seen[near] = True
                    waiting.append(near)
        rows, cols = zip(*cells, strict=True)
        scores = [float(values[cell]) for cell in cells]
        peak = min(cells, key=lambda cell: (-values[cell], cell))
        found.append(
            {
                "box": (min(rows) * PX, (max(rows) + 1) * PX, min(cols) * PX,
                        min(WIDTH, (max(cols) + 1) * PX)),
                "area": len(cells) * PX * PX,
                "peak": max(scores),
                "at": (int(peak[0]) * PX + 4, min(int(peak[1]) * PX + 4, WIDTH - 1)),
                "mean": sum(scores) / len(scores),
                "lane": ("left", "right")[LANE_OF[peak[1]]],
                "lanes": tuple(n for k, n in enumerate(("left", "right"))
                               if any(LANE_OF[c] == k for c in cols)),
            }
        )  # fmt: skip
    return found


maps = st.builds(
    lambda seed, rows, density: _map(seed, rows, density),
    st.integers(0, 10_000),
    st.integers(1, 40),
    st.floats(0.02, 0.75),
)


def _map(seed: int, rows: int, density: float) -> Any:
    rng = np.random.default_rng(seed)
    # Few levels, so that equal peaks happen.
    values = rng.integers(2, 9, (rows, COLS)).astype(np.float32)
    return np.where(rng.random((rows, COLS)) < density, values, np.float32(0.5))


@given(maps, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_strips_agree_with_labelling_the_whole_web(values: Any, heights: list[int]) -> None:
    told = [d for d in track(values, heights) if not d.open]
    expected = flooded(values)
    key = lambda box: box  # noqa: E731
    assert sorted(
        ((d.first_line, d.end_line, d.left_px, d.right_px), d.area_px, d.peak,
         (d.peak_line, d.peak_px), d.lane, d.lanes, round(d.mean, 9))
        for d in told
    ) == sorted(
        (key(e["box"]), e["area"], e["peak"], e["at"], e["lane"], e["lanes"], round(e["mean"], 9))
        for e in expected
    )  # fmt: skip
    numbers = [d.number for d in told]
    assert len(set(numbers)) == len(numbers)


@given(maps, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_an_open_defect_is_told_again_under_a_number_that_is_accounted_for(
    values: Any, heights: list[int]
) -> None:
    told = track(values, heights, DefectSpec(report_open_lines=8))
    final = {d.number: d for d in told if not d.open}
    absorbed = {n for d in final.values() for n in d.absorbed}
    for defect in told:
        if defect.open:
            assert defect.number in final or defect.number in absorbed


def test_a_long_scratch_is_one_defect_with_reports_on_the_way() -> None:
    values = np.full((1000, COLS), 0.5, np.float32)
    values[100:900, 3] = 5
    told = track(values, [8], DefectSpec(report_open_lines=1600, longest_lines=100_000))
    assert [d.open for d in told] == [True, True, True, False]
    assert {d.number for d in told} == {1}
    assert [d.lines for d in told] == [1632, 3232, 4832, 6400]
    assert told[-1].first_line == 800


def test_a_defect_that_is_too_long_is_cut_and_what_goes_on_says_so() -> None:
    values = np.full((300, COLS), 0.5, np.float32)
    values[10:250, 3:5] = 5
    told = track(values, [8], DefectSpec(report_open_lines=10_000, longest_lines=800))
    assert [(d.number, d.cut, d.continues) for d in told] == [
        (1, True, None), (2, True, 1), (3, False, 2)
    ]  # fmt: skip
    assert [(d.first_line, d.end_line) for d in told] == [(80, 896), (896, 1728), (1728, 2000)]
    assert {(d.left_px, d.right_px) for d in told} == {(24, 40)}
    assert sum(d.area_px for d in told) == 240 * 2 * 64


def test_a_gap_cuts_what_is_open_and_starts_anew() -> None:
    tracked = tracker()
    values = np.full((4, COLS), 5, np.float32)
    assert tracked.add(strip(values, 0), values > 1) == []
    assert tracked.open_since == 0
    (cut,) = tracked.interrupt()
    assert (cut.cut, cut.lines, tracked.open) == (True, 32, 0)
    tracked.add(strip(values, 6), values > 1)
    (rest,) = tracked.finish()
    assert (rest.number, rest.first_line, rest.cut) == (2, 48, False)


@pytest.mark.parametrize("order", [1, -1])
def test_two_branches_that_meet_keep_the_older_number(order: int) -> None:
    values = np.full((30, COLS), 0.5, np.float32)
    values[2:20, 2] = 5
    values[4:20, 9] = 6
    values[20, 2:10] = 4
    told = track(values[:, ::order], [1], DefectSpec(report_open_lines=80))
    final = [d for d in told if not d.open]
    assert [(d.number, d.absorbed) for d in final] == [(1, (2,))]
    assert final[0].peak == 6
