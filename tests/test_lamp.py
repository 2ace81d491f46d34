"""Light that changes as a whole is no defect; light that left the good images' range is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bundles import HEIGHT, SEED, WIDTH, with_patch
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Outcome, Reason
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import some_web


def lit(pixels: Any, share: float) -> Any:
    return np.rint(pixels.astype(float) * share).clip(0, 255).astype(np.uint8)


def good() -> Any:
    return SyntheticWeb(HEIGHT, WIDTH, SEED).frame(60).pixels.copy()


@pytest.mark.parametrize("share", [0.8, 0.9, 1.1, 1.2])
def test_an_image_is_brought_to_the_lamps_level(share):
    usual = good()
    lamp = Lamp(float(usual.mean()))
    found = lamp.even(lit(usual, share))
    assert found.mean() == pytest.approx(usual.mean(), rel=2e-3)
    # Two roundings apart.
    assert np.abs(found.astype(int) - usual).max() <= 2


def test_colour_is_evened_out_by_one_factor():
    colour = np.dstack([good() // 2, good() // 3, good() // 4])
    found = Lamp(1.2 * float(colour.mean())).even(colour)
    ratios = found.mean(axis=(0, 1)) / colour.mean(axis=(0, 1))
    np.testing.assert_allclose(ratios, 1.2, rtol=0.02)


def test_what_is_far_too_dark_or_black_is_not_made_of_noise():
    dark = np.full((40, 40), 10, np.uint8)
    assert Lamp(120.0).even(dark).max() == 15
    assert not Lamp(120.0).even(np.zeros((40, 40), np.uint8)).any()


@pytest.mark.parametrize("share", [0.8, 1.2])
def test_a_lamp_that_fades_changes_no_verdict_and_hides_no_defect(
    padim: Bundle, web_bundle: Bundle, share: float
) -> None:
    pipeline = Pipeline(padim)
    usual = pipeline.judge(Frame(good(), 0, 0)).verdict.score
    faded = pipeline.judge(Frame(lit(good(), share), 0, 1)).verdict
    assert usual is not None
    assert faded.score == pytest.approx(usual, rel=0.1)
    spoiled = pipeline.judge(Frame(lit(with_patch(good()), share), 0, 2)).verdict
    assert spoiled.reason is Reason.DEFECT
    web = WebPipeline(web_bundle)
    scores = [web.judge(Frame(p, 0, 0), last=True).verdict.score for p in webs(share)]
    assert scores[1] == pytest.approx(scores[0], rel=0.1)


def webs(share: float) -> list[Any]:
    return [some_web(400), lit(some_web(400), share)]


def test_a_frame_far_too_bright_is_refused_before_it_is_evened_out(padim: Bundle) -> None:
    bright = lit(good(), 1.6)
    verdict = Pipeline(padim).judge(Frame(bright, 0, 0)).verdict
    assert (verdict.outcome, verdict.reason) == (Outcome.NG, Reason.IMAGE_QUALITY)
