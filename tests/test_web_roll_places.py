"""A roll says where its defects lie, and by how much they may lie elsewhere: as they truly do."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kenpin.config.web import AlongSpec, WebEncoderSpec, WebSpec
from kenpin.runtime.judging.verdict import WebDefect, WebFindings
from kenpin.runtime.web.position import Along
from kenpin.runtime.web.roll import RollBook
from web_motion import (
    BITS,
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
from wire_samples import a_defect

WIDTH = 160
# A verdict leaves out so many of the newest lines.
WAITING = 303
EACH = 5


def told_of(along: Along, first: int, end: int, came: int, defects: Any) -> WebFindings:
    """What a verdict says of these lines."""
    return WebFindings(
        first_line=first, end_line=end, first_mm=along.mm(first), end_mm=along.mm(end), lanes=(),
        defects=defects, n_defects=len(defects), gaps=(), gates=(), map_line=None,
        first_count=along.count(first), end_count=along.count(end), came_line=came,
        knots=along.knots(first, end), within_mm=along.within(first, end),
    )  # fmt: skip


def located(along: Along, number: int, first: int, end: int) -> WebDefect:
    start, stop = along.mm(first), along.mm(end)
    assert start is not None
    assert stop is not None
    return replace(
        a_defect(number), first_line=first, end_line=end, lane="web", lanes=("web",),
        web_mm=min(start, stop), length_mm=abs(stop - start), within_mm=along.within(first, end),
    )  # fmt: skip


def rolled(
    true_mm: NDArray[np.float64], usual: int, seed: int, sign: int, how: str
) -> Iterator[dict[str, Any]]:
    """The defects on the roll of a web that moved so, of random lines."""
    rng = np.random.default_rng(seed)
    web = WebSpec(
        along=AlongSpec(
            line_pitch_mm=PITCH, encoder=WebEncoderSpec(counts_per_mm=sign * PER_MM, bits=BITS)
        )
    )
    along, counter = encoder(sign * PER_MM, BITS), Counter(true_mm, sign, rng)
    with tempfile.TemporaryDirectory() as folder:
        book, settled, number = RollBook(Path(folder), web, WIDTH, {}, str), 0, 0
        book.start("r")
        frames = frames_of(rng, usual, len(true_mm) - 1)
        for first, end in frames:
            counter.tell(along, (first, end), how, rng)
            covers = end if end == frames[-1][1] else max(settled, end - WAITING)
            places = np.sort(rng.integers(max(0, settled - 500), max(1, covers), (EACH, 2)), axis=1)
            defects = [
                located(along, number + k, int(a), int(b) + 1) for k, (a, b) in enumerate(places)
            ]
            number += EACH
            book.add(told_of(along, settled, covers, end, tuple(defects)))
            settled = covers
        (page,) = book.close()
        for text in page.with_suffix(".jsonl").read_text().splitlines():
            said = json.loads(text)
            if said["type"] == "defect":
                yield said


# At full speed for half a frame, then it stood: in the middle it lies furthest from the mean.
HALF_AND_HALF = np.concatenate([[0.0], np.cumsum(np.tile(np.repeat([PITCH, 0.0], 500), 6))])
# There and back between two counts: of twice the mean's length, nobody sees any.
THERE_AND_BACK = np.concatenate([[0.0], np.cumsum(np.tile(np.repeat([PITCH, -PITCH], 500), 6))])


@pytest.mark.thorough
@given(motions(), st.integers(200, 4000), st.integers(0, 99), SIGN, HOW)
@example(HALF_AND_HALF, 1000, 0, 1, "first lines")
@example(THERE_AND_BACK, 1000, 0, 1, "first lines")
@example(HALF_AND_HALF, 1000, 0, -1, "all lines")
@settings(max_examples=25)
def test_a_roll_says_by_how_much_its_defects_may_lie_elsewhere(
    true_mm: NDArray[np.float64], usual: int, seed: int, sign: int, how: str
) -> None:
    for defect in rolled(true_mm, usual, seed, sign, how):
        passed = true_mm[defect["first_line"] : defect["end_line"] + 1]
        within = defect["within_mm"] + ROUND
        first, end = defect["web_mm"], defect["web_mm"] + defect["length_mm"]
        assert first - within <= passed.min()
        assert passed.max() <= end + within


def test_counts_of_all_lines_leave_a_roll_no_more_than_two_counts_of_doubt() -> None:
    for defect in rolled(HALF_AND_HALF, 1000, 0, 1, "all lines"):
        assert defect["within_mm"] <= 2 / PER_MM + ROUND
