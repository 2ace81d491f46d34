"""Strips that lie on a table: where the material begins and ends along them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kenpin.camera.capture import Capture
from kenpin.camera.frame import Frame
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.verdict import Cause, Outcome, Reason, WebResume
from kenpin.runtime.service.web_lines import WebLines
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import cut, some_web, spoiled

LINES, BEFORE, AFTER = 900, 150, 120
TABLE = 252
# A tile that is inspected sees so many lines of the table beside it.
FOUND = {"within_lines": 200, "margin_lines": 48, "web_is_brighter": False, "level": 225}
DRAWN = [{"first_lines": 200}, {"last_lines": 168}]


def strip(before: int = BEFORE, after: int = AFTER) -> Any:
    pixels = spoiled(some_web(LINES), (500, 60, 20, 20))
    pixels[:before] = pixels[len(pixels) - after :] = TABLE
    return pixels


def judged(bundle: Bundle, pixels: Any, heights: Any = (LINES,), **web: Any) -> list[Any]:
    pipeline = WebPipeline(bundle, web=WebSpec.model_validate(web))
    blocks = cut(pixels, itertools.cycle(heights))
    return [
        pipeline.judge(Frame(block.copy(), 0, i), last=i == len(blocks) - 1).verdict
        for i, block in enumerate(blocks)
    ]


def places(found: list[Any]) -> list[tuple[int, int]]:
    return [(d.first_line, d.end_line) for verdict in found for d in verdict.web.defects]


@pytest.mark.parametrize(
    "spec", [{"ends": FOUND}, pytest.param({"ignore": DRAWN}, marks=pytest.mark.thorough)]
)
def test_a_table_before_and_after_a_strip_is_left_out_however_it_is_cut(
    web_bundle: Bundle, spec: dict[str, Any]
) -> None:
    (whole,) = judged(web_bundle, strip(), **spec)
    # The spot alone; and no line is missing.
    ((first, end),) = places([whole])
    assert first <= 500 < 520 <= end
    assert (whole.web.first_line, whole.web.end_line, whole.web.gaps) == (0, LINES, ())
    assert judged(web_bundle, strip())[0].reason is Reason.IMAGE_QUALITY
    parts = judged(web_bundle, strip(), (70, 33, 150), **spec)
    assert places(parts) == [(first, end)]
    ends = [verdict.web.end_line for verdict in parts]
    assert [verdict.web.first_line for verdict in parts] == [0, *ends[:-1]]
    assert ends[-1] == LINES
    # Of the table alone nothing is said, and nothing is wrong.
    table = [v for v in parts if v.web.end_line <= BEFORE]
    assert any(v.web.lines for v in table)
    assert all(v.outcome is Outcome.OK and v.score == 0 for v in table)
    assert max(v.score for v in parts) == whole.score


def test_material_that_begins_or_ends_later_than_it_may_is_inspected(web_bundle: Bundle) -> None:
    for before, after, first, end in ((260, 0, 200, 260), (0, 260, 640, 700)):
        (whole,) = judged(web_bundle, strip(before, after), ends=FOUND)
        assert whole.reason is not None
        seen = [(gap.first_line, gap.end_line) for gap in whole.web.gaps] + places([whole])
        assert any(a < end and b > first for a, b in seen)


def test_a_zone_at_the_ends_may_take_a_part_of_the_width(web_bundle: Bundle) -> None:
    pixels = some_web(LINES)
    pixels[:24, :64] = TABLE
    zone = {"left_px": 0, "right_px": 112, "first_lines": 72}
    assert judged(web_bundle, pixels, ignore=[zone])[0].outcome is Outcome.OK
    pixels[:24, 136:] = TABLE
    ((_, end),) = places(judged(web_bundle, pixels, ignore=[zone]))
    assert end < 120


def test_a_broken_web_is_told_of_all_its_lines(web_bundle: Bundle) -> None:
    pipeline = WebPipeline(web_bundle, web=WebSpec.model_validate({"ends": FOUND}))
    blocks = cut(strip(), itertools.repeat(100))
    found = []
    for i, block in enumerate(blocks):
        if i != 4:
            frame = Frame(block.copy(), 0, i)
            found.append(pipeline.judge(frame, last=i == len(blocks) - 1).verdict.web)
    ends = [web.end_line for web in found]
    assert [web.first_line for web in found] == [0, *ends[:-1]]
    assert ends[-1] == LINES
    lost = [gap for web in found for gap in web.gaps if gap.cause.word == "lost"]
    assert [(gap.first_line, gap.end_line) for gap in lost] == [(400, 500)]


def test_a_zone_that_would_be_the_whole_web_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs right_px, or first_lines or last_lines"):
        WebSpec.model_validate({"ignore": [{}]})
    assert np.isclose(WebSpec.model_validate({"ignore": DRAWN}).ignore[0].left_px, 0)


# Wider than what a blur needs beside it, which after a break is a gap.
WIDE = {"ends": {**FOUND, "within_lines": 400, "margin_lines": 136}}


def silently_left_out(found: list[Any]) -> list[tuple[int, int]]:
    """Stretches that are no gap and of which the map says nothing anywhere."""
    gaps = {n for j in found for g in j.verdict.web.gaps for n in range(g.first_line, g.end_line)}
    out = []
    for judged in found:
        if judged.score_map is None:
            continue
        values, first = judged.score_map.values, judged.verdict.web.map_line
        for row in np.flatnonzero(~values.any(axis=1)):
            line = first + 8 * int(row)
            if line not in gaps:
                out.append((line, line + 8))
    return out


def broken(bundle: Bundle, pixels: Any, missing: int, *, counted: bool, **web: Any) -> list[Any]:
    """Judged in frames of 60 lines, of which so many after the first never came."""
    pipeline = WebPipeline(bundle, web=WebSpec.model_validate(web))
    found = []
    for first in range(0, len(pixels), 60):
        frame = first // 60
        if not 0 < frame <= missing:
            capture = Capture(first_line=first) if counted else Capture()
            found.append(
                pipeline.judge(
                    Frame(pixels[first : first + 60].copy(), 0, frame, capture=capture),
                    last=first + 60 >= len(pixels),
                )
            )
    return found


@pytest.mark.parametrize("counted", [True, False])
def test_after_lost_lines_no_margin_of_material_is_left_out(
    web_bundle: Bundle, *, counted: bool
) -> None:
    """Its first frame shows the table alone; where the material began, nobody has seen."""
    pixels = some_web(LINES)
    pixels[:60] = TABLE
    whole = broken(web_bundle, pixels, 0, counted=counted, **WIDE)
    assert max(end for _, end in silently_left_out(whole) if end < LINES // 2) == 192
    found = broken(web_bundle, pixels, 2, counted=counted, **WIDE)
    assert [(a, b) for a, b in silently_left_out(found) if b > 60 and a < LINES // 2] == []


@pytest.mark.parametrize("spec", [WIDE, {"ignore": [{"first_lines": 400}]}])
def test_an_heir_leaves_out_no_material_but_what_a_zone_has_it_leave_out(
    web_bundle: Bundle, spec: dict[str, Any]
) -> None:
    pipeline = WebPipeline(web_bundle, web=WebSpec.model_validate(spec))
    pipeline.resume(WebResume(0, 0, None, None, 0.0))
    pixels = some_web(LINES)
    found = [
        pipeline.judge(
            Frame(
                pixels[first : first + 60].copy(), 0, first // 60, capture=Capture(first_line=first)
            )
        )
        for first in range(60, LINES, 60)
    ]
    left_out = silently_left_out(found)
    if "ignore" in spec:
        # Counted from the web's first line, wherever the heir begins.
        assert max(end for _, end in left_out) == 400
    else:
        assert left_out == []


def test_a_zone_at_the_first_lines_is_over_where_nobody_knows_how_many_were_lost(
    web_bundle: Bundle,
) -> None:
    """Were the guess too small, the zone would take in material."""
    zone = {"ignore": [{"first_lines": 400}]}
    pixels = some_web(LINES)
    counted = silently_left_out(broken(web_bundle, pixels, 1, counted=True, **zone))
    assert max(end for _, end in counted) == 400
    guessed = broken(web_bundle, pixels, 1, counted=False, **zone)
    assert [
        gap.known for j in guessed for gap in j.verdict.web.gaps if gap.cause is Cause.LOST
    ] == [False]
    assert [line for line, _ in silently_left_out(guessed) if line >= 120] == []


@pytest.mark.parametrize("spec", [{"ignore": DRAWN}, {"ends": FOUND}])
def test_a_web_begins_where_it_began_though_the_first_inspection_died(
    web_bundle: Bundle, spec: dict[str, Any]
) -> None:
    """Counted from where its heir begins, the zone would take in the stain and say OK to it."""
    pixels = spoiled(some_web(LINES), (500, 60, 20, 20))
    pixels[360:460] = TABLE
    lines, pipeline = WebLines(), WebPipeline(web_bundle, web=WebSpec.model_validate(spec))
    found, missing = [], []
    for first in range(0, LINES, 60):
        lines.came(first, first + 60)
        if first < 360:
            # They are with one that dies before its first word.
            continue
        resume = lines.resume(2, first)
        if resume is not None:
            pipeline.resume(resume)
        frame = Frame(
            pixels[first : first + 60].copy(), 0, first // 60, capture=Capture(first_line=first)
        )
        verdict = pipeline.judge(frame, last=first + 60 == LINES).verdict
        web, unseen = lines.follow(verdict.web, 2)
        found.append(web)
        missing += [unseen] if unseen else []
    assert [web.first_line for web in found] == [0, *(web.end_line for web in found[:-1])]
    (unseen,) = missing
    assert unseen.startswith("lines 0 to 359 were not inspected")
    seen = [(g.first_line, g.end_line) for web in found for g in web.gaps]
    seen += [(d.first_line, d.end_line) for web in found for d in web.defects]
    for first, end in ((400, 440), (500, 520)):
        assert any(a < end and b > first for a, b in seen), seen
    if "ignore" in spec:
        last = [(d.first_line, d.end_line) for web in found for d in web.defects]
        assert any(a <= 500 < 520 <= b for a, b in last)
