"""Bands of plain brightness alone: the method that every network is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundles import HEIGHT, SEED, WIDTH, Workshop, with_patch
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.reporting.report import summary
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import load_recipe
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Outcome, Reason
from kenpin.runtime.selftest import selftest
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import compile_web, some_web, spoiled

BASELINE = 'method={name="baseline"}'


def test_the_baseline_finds_a_stain_and_holds_its_golden_scores(
    workshop: Workshop, tmp_path: Path
) -> None:
    result = workshop.build(tmp_path, BASELINE)
    manifest = result.bundle.manifest
    assert manifest.blend is not None
    assert (manifest.blend.join, manifest.features.backbone) == ("band", "grey")
    assert manifest.quantization.settings.precision == "fp32"
    assert "adds nothing" not in summary(result)
    pipeline = Pipeline(result.bundle)
    assert selftest(pipeline) == pytest.approx({g.file: g.score for g in manifest.golden}, rel=0.02)
    good = SyntheticWeb(HEIGHT, WIDTH, SEED).frame(60).pixels.copy()
    assert pipeline.judge(Frame(good, 0, 0)).verdict.outcome is Outcome.OK
    stained = good.copy()
    stained[30:90, 90:150] = np.rint(stained[30:90, 90:150] * 0.75)
    for bad in (stained, with_patch(good)):
        assert pipeline.judge(Frame(bad, 0, 1)).verdict.reason is Reason.DEFECT


def test_the_baseline_judges_webs_too(tmp_path: Path) -> None:
    pipeline = WebPipeline(compile_web(tmp_path, BASELINE))
    found = pipeline.judge(Frame(spoiled(some_web(500), (200, 60, 30, 30)), 0, 0), last=True)
    assert found.verdict.reason is Reason.DEFECT


@pytest.mark.parametrize(
    "setting",
    [
        'backbone.name="gabor"',
        'quantize.precision="int8"',
        'score.join="mean"',
        "score.bands_px=[]",
    ],
)
def test_a_baseline_with_a_network_is_refused(workshop: Workshop, setting: str) -> None:
    with pytest.raises(ConfigError, match="baseline"):
        load_recipe(workshop.recipe, [BASELINE, setting])


def test_maps_that_cannot_be_joined_are_refused(workshop: Workshop) -> None:
    weighed = 'method={name="patchcore",reweight_neighbours=3}'
    assert load_recipe(workshop.recipe, [weighed]).method.scores_images
    with pytest.raises(ConfigError, match="reweight_neighbours"):
        load_recipe(workshop.recipe, [weighed, 'score.join="mean"'])
    with pytest.raises(ConfigError, match="look at nothing"):
        load_recipe(workshop.recipe, ['score.join="band"', "score.bands_px=[]"])
