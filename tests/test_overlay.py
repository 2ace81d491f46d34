"""Pictures for people: what was found, where it is worst, and what nobody looked at."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.overlay import BANNER_PX, CONTOUR_COLOUR, PEAK_COLOUR, heated, overlay
from kenpin.runtime.judging.verdict import Outcome, Reason, Thresholds
from wire_samples import OK_VERDICT

FRAME = np.full((64, 96), 100, np.uint8)


def drawn(values: np.ndarray, outcome: Outcome = Outcome.OK) -> np.ndarray:
    """The picture below its banner; the threshold is 2."""
    score_map = ScoreMap(values.astype(np.float32), 8, (64, 96))
    verdict = replace(
        OK_VERDICT,
        outcome=outcome,
        reason=None if outcome is Outcome.OK else Reason.DEFECT,
        score=float(values.max()),
        thresholds=Thresholds(2.0, 2.0),
        peak_xy=score_map.peak_xy(64, 96),
    )
    return overlay(FRAME, score_map, verdict)[BANNER_PX:]


def good() -> np.ndarray:
    values = np.full((8, 12), 0.5)
    values[1:4, 2:5] = 1.1
    values[2, 3] = 1.2
    return values


def coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2) > 10


def test_an_ok_frame_shows_its_peak_and_the_map_around_it() -> None:
    picture = drawn(good())
    assert (picture[20, 28] == PEAK_COLOUR).all()
    found = np.argwhere(coloured(picture))
    # Heat lies around the peak, beside the cross, and nowhere else.
    assert coloured(picture)[17, 24]
    assert np.abs(found - [20, 28]).max() <= 16
    assert not (picture == CONTOUR_COLOUR).all(axis=2).any()


def test_an_ng_frame_shows_more_heat_and_a_line_around_it() -> None:
    bad = good()
    bad[1:4, 2:5] = 4
    picture = drawn(bad, Outcome.NG)
    assert (picture == CONTOUR_COLOUR).all(axis=2).any()
    assert coloured(picture).sum() > coloured(drawn(good())).sum()


def test_what_lies_under_the_heat_keeps_its_lightness() -> None:
    canvas = np.full((64, 96, 3), 120, np.uint8)
    canvas[28:36, 40:56] = 60
    before = cv2.cvtColor(canvas, cv2.COLOR_RGB2LAB)[..., 0].astype(int)
    values = np.full((8, 12), 1.0, np.float32)
    values[2:6, 4:8] = 9
    heated(canvas, ScoreMap(values, 8, (64, 96)), 2.0)
    after = cv2.cvtColor(canvas, cv2.COLOR_RGB2LAB)[..., 0].astype(int)
    inside = slice(20, 44), slice(40, 56)
    assert coloured(canvas)[inside].all()
    # Colours that 8 bits cannot show as dark or light come a little nearer.
    assert np.abs(after - before)[inside].max() < 20
    assert after[20:26, 40:56].min() - after[28:36, 40:56].max() > 30


def test_what_is_not_inspected_is_striped_and_the_rest_is_as_it_was() -> None:
    values = good()
    values[:, 8:] = 0
    picture = drawn(values)
    hidden = picture[:, 66:]
    assert not (hidden == 100).all(axis=2).any()
    assert len(np.unique(hidden)) >= 2
    assert (picture[40:, :60] == 100).all()
    assert (drawn(good())[:, 66:] == 100).all()


def test_the_stripes_follow_the_map_where_the_image_was_resized() -> None:
    values = good()
    values[4:] = 0
    score_map = ScoreMap(values.astype(np.float32), 8, (64, 96))
    large = np.full((128, 288), 100, np.uint8)
    verdict = replace(OK_VERDICT, thresholds=Thresholds(2.0, 2.0), peak_xy=(0, 0))
    picture = overlay(large, score_map, verdict)[BANNER_PX:]
    assert not (picture[66:] == 100).all(axis=2).any()
    assert (picture[50:62, 180:] == 100).all()
