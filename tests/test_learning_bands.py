"""Bands of brightness learn what is inspected, and nothing of a table, a hem or a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kenpin.camera.synthetic import SyntheticWeb
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.learning.brightness import BandLearner
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import SEED, WIDTH, some_web

TABLE = 250
EDGES = {"left_px": 20, "right_px": WIDTH, "tolerance_px": 20, "margin_px": 8, "level": 225}


def on_a_table(number: int, left: int) -> NDArray[np.uint8]:
    pixels = SyntheticWeb(300, WIDTH, SEED).frame(900 + number).pixels.copy()
    pixels[:, :left] = TABLE
    return pixels


def learnt(bundle: Bundle, spec: dict[str, Any], frames: list[Any]) -> dict[str, Any]:
    stages = WebPipeline(bundle, web=WebSpec.model_validate(spec)).stages
    learner = BandLearner(bundle, 0, stages)
    for number, pixels in enumerate(frames):
        learner.take(number, pixels)
    arrays: dict[str, Any] = learner.arrays()
    return arrays


def moved(bundle: Bundle, arrays: dict[str, Any]) -> tuple[Any, Any]:
    """(bands, cols): how far the means moved, in the bundle's measure, and gains by how much."""
    old = bundle.arrays
    shift = (arrays["band_mean"] - old["band_mean"]) * old["band_gain"]
    return shift[:, 0], (arrays["band_gain"] / old["band_gain"])[:, 0]


@pytest.mark.parametrize(
    "spec",
    [
        {"edges": {**EDGES, "web_is_brighter": False}},
        {"ignore": [{"left_px": 0, "right_px": 56}]},
    ],
    ids=["edges", "a hem"],
)
def test_a_table_beside_the_web_is_not_learnt(web_bundle: Bundle, spec: dict[str, Any]) -> None:
    lefts = (16, 24, 32, 40, 20, 28)
    frames = [on_a_table(n, left) for n, left in enumerate(lefts)]
    shift, gain = moved(web_bundle, learnt(web_bundle, spec, frames))
    # The web is as it was. Where it ends, its bands have nothing to lean on: not much.
    assert np.abs(shift).max() < 0.6
    assert (gain > 0.8).all()
    assert (gain < 1.25).all()
    # What no frame has shown stays.
    assert (shift[:, :2] == 0).all()


def test_golden_frames_of_which_nothing_is_inspected_are_no_measure(web_bundle: Bundle) -> None:
    # Their left edge lies where no table is, out of tolerance.
    spec = {"edges": {**EDGES, "left_px": 40, "web_is_brighter": False}}
    _, gain = moved(web_bundle, learnt(web_bundle, spec, [on_a_table(n, 40) for n in range(3)]))
    assert (gain > 0.8).all()
    assert (gain < 1.25).all()


def test_where_an_edge_has_hidden_most_frames_a_column_has_learnt_from_few(
    web_bundle: Bundle,
) -> None:
    spec = {"ignore": [{"left_px": 0, "right_px": 80, "first_lines": 296}]}
    paler = some_web(300)
    for left in (40, 120):
        paler[:, left : left + 8] = np.minimum(paler[:, left : left + 8].astype(int) + 30, 255)
    shift, _ = moved(web_bundle, learnt(web_bundle, spec, [paler] * 4))
    hidden, seen = shift[:, 5], shift[:, 15]
    assert (np.abs(hidden) < 0.1 * np.abs(seen)).all()
