"""What is found for how many false rejects, and how faint it may be."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from kenpin.camera.files.images import read_pixels
from kenpin.compile.evaluation.trade import (
    FALSE_REJECTS,
    ShareFound,
    detection_limits,
    operating_table,
)
from kenpin.compile.operating_point.twin_scores import APART_PX, fields_of
from kenpin.compile.reporting.trade_pictures import draw_limits, draw_trade
from kenpin.compile.reporting.trade_report import limits_table, trade_of, trade_table, write_trade
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import GoodScore, TwinScores
from kenpin.runtime.judging.subtle_twins import CONTRASTS, KINDS, Subtle, draw, subtle_kinds

RNG = np.random.default_rng(0)
GOOD = [GoodScore(name=str(n), part=str(n), score=n / 10) for n in range(1, 201)]
WHOLE = (slice(0, 64), slice(0, 64))


def twins(scores_of):
    return [
        TwinScores(kind=k.kind, size_px=k.size_px, contrast=k.contrast, scores=scores_of(k))
        for k in subtle_kinds(256)
    ]


def test_each_row_of_the_table_counts_what_lies_above_its_threshold():
    made = twins(lambda kind: [float(kind.contrast)] * 4)
    rows = operating_table(GOOD, made, [19.85, 1.0], [19.75, 0.1, 19.95])
    assert [row.point.false_rejects for row in rows] == list(FALSE_REJECTS)
    for row in rows:
        loud = sum(contrast > row.point.threshold for contrast in CONTRASTS)
        assert row.twins["spot"].share == loud / len(CONTRASTS)
        assert row.strengths["spot 100"].share == 1
        assert row.strengths["spot 3"].share == 0
    one_percent = rows[2]
    assert one_percent.point.threshold == 19.9
    assert (one_percent.ng.found, one_percent.good.found) == (0, 1)
    assert (rows[-1].ng.found, rows[-1].good.found) == (1, 2)


def test_no_figure_of_the_trade_is_cut_off_in_a_terminal_of_80_letters():
    made = twins(lambda kind: [float(kind.contrast)] * 4)
    rows = operating_table(GOOD, made, [19.85] * 999, [0.1] * 999)
    shown = io.StringIO()
    Console(file=shown, width=80).print(trade_table(rows))
    assert "\u2026" not in shown.getvalue()
    assert "999 of 999" in shown.getvalue()


def test_odd_images_have_no_say_in_the_trade():
    odd = GoodScore(name="odd", part="odd", score=1e6, odd=True)
    assert operating_table([*GOOD, odd], [], []) == operating_table(GOOD, [], [])


def test_a_defect_is_found_from_the_contrast_on_where_nearly_all_stronger_ones_are():
    def scores(kind):
        # 12 grey levels are found of this size, 25 only half of the time, 50 always.
        return {12: [9.0] * 4, 25: [9.0, 9.0, 1.0, 1.0], 50: [9.0] * 4}.get(kind.contrast, [1.0])

    made = [twin for twin in twins(scores) if twin.contrast <= 50]
    assert set(detection_limits(made, 5.0).values()) == {50}
    assert set(detection_limits(made, 10.0).values()) == {None}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", [False, True])
def test_a_defect_is_as_strong_as_it_says_and_stays_in_its_field_and_box(kind, colour):
    grey = np.full((96, 128, 3) if colour else (96, 128), 120, np.uint8)
    field = (slice(16, 80), slice(32, 112))
    sizes = [one for one in subtle_kinds(64) if one.kind == kind and one.contrast == 25]
    assert sizes
    for what in sizes:
        pixels = grey.copy()
        box = draw(pixels, what, field, np.random.default_rng(what.size_px))
        change = pixels.astype(int) - grey
        assert 20 <= np.abs(change).max() <= 25
        away = np.abs(change) > 0.1 * what.contrast + 1
        away[box.top : box.bottom, box.left : box.right] = False
        assert not away.any()
        outside = change.copy()
        outside[field] = 0
        assert not outside.any()


def test_a_grain_is_as_bright_as_what_surrounds_it():
    pixels = np.full((64, 64), 120, np.uint8)
    draw(pixels, Subtle("grain", 32, 50), WHOLE, np.random.default_rng(4))
    change = pixels.astype(float) - 120
    assert change.min() < -45
    assert change.max() > 45
    # All of it, but for the soft border.
    assert abs(change.mean()) < 0.3


def test_a_defect_on_white_is_dark_and_on_black_is_bright():
    for level, sign in ((255, -1), (0, 1)):
        for seed in range(8):
            pixels = np.full((64, 64), level, np.uint8)
            draw(pixels, Subtle("spot", 12, 50), WHOLE, np.random.default_rng(seed))
            change = pixels.astype(int) - level
            assert sign * change[np.abs(change).argmax() // 64].sum() > 0


def test_small_fields_get_no_defect_that_would_fill_them():
    assert max(one.size_px for one in subtle_kinds(48)) <= 24


def test_the_interval_of_a_share_holds_it():
    found = ShareFound.of([1.0, 2.0, 3.0, 4.0], 2.5)
    assert (found.found, found.count) == (2, 4)
    assert found.low < found.share < found.high


def test_pictures_are_drawn_of_any_trade():
    made = twins(lambda kind: list(RNG.normal(kind.contrast, 3, 5)))
    rows = operating_table(GOOD, made, [3.0, 30.0])
    trade = draw_trade(rows, 0.01, "cloth")
    assert trade.shape[2] == 3
    assert not (trade == draw_trade(rows, None, "cloth")).all()
    limits = draw_limits(made, 19.9, "cloth")
    # Green where all are found, orange where none is.
    assert (limits == (0, 158, 115)).all(axis=2).any()
    assert (limits == (213, 94, 0)).all(axis=2).any()


def test_a_build_tells_and_keeps_the_trade(patchcore: Bundle, tmp_path) -> None:
    manifest = patchcore.manifest
    assert {twin.kind for twin in manifest.twin_scores} == set(KINDS)
    rows = trade_of(manifest)
    loud = [row.strengths["spot 100"].share for row in rows]
    assert loud[-1] > rows[-1].strengths["spot 3"].share
    beside = patchcore.folder.with_name(patchcore.folder.name + ".trade.json")
    tree = json.loads(beside.read_text())
    assert tree["threshold"]["ok"] == manifest.threshold.ok
    assert len(tree["rows"]) == len(FALSE_REJECTS)
    assert {one["kind"] for one in tree["limits"]} == set(KINDS)
    files = write_trade(manifest, rows, tmp_path / "again")
    assert [file.name for file in files] == [
        "again.trade.json",
        "again.trade.png",
        "again.limits.png",
    ]
    assert read_pixels(files[1]).shape[2] == read_pixels(files[2]).shape[2] == 3
    assert len(trade_table(rows).columns) == 1 + len(rows)
    assert limits_table(manifest, manifest.threshold.ok).row_count == len(tree["limits"])


def test_no_two_drawn_defects_touch_across_the_border_of_their_fields() -> None:
    pixels, rng = np.full((600, 1100), 100, np.uint8), np.random.default_rng(4)
    kinds = subtle_kinds(256)
    for _ in range(20):
        places = [
            draw(pixels, kinds[rng.integers(len(kinds))], field, rng)
            for field in fields_of(pixels.shape, 0)
        ]
        assert len(places) == 8
        for n, one in enumerate(places):
            for other in places[:n]:
                down = max(one.top - other.bottom, other.top - one.bottom)
                across = max(one.left - other.right, other.left - one.right)
                assert max(down, across) >= 2 * APART_PX


def test_one_field_alone_is_the_whole_area() -> None:
    assert fields_of((128, 320), 10) == [(slice(10, 138), slice(0, 320))]
