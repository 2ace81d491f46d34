"""Where an imported network's numbers end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from kenpin.camera.files.images import write_png
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.config.errors import ConfigError
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Outcome
from test_imported import HEIGHT, SEED, SIZE, WIDTH, compiled, grey, recipe_of, saved, with_spot


def ending_at(folder: Path, most: float) -> Path:
    """A network whose numbers end, however far from middle grey a pixel is."""
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    return saved(folder, image, map=opset.minimum(off, np.float32(most)))


def test_a_threshold_that_nothing_can_pass_is_refused_with_what_to_do(tmp_path: Path) -> None:
    few = {"false_rejects": 0.001}
    free = compiled(tmp_path, recipe_of(tmp_path, ending_at(tmp_path, 9), threshold=few)).manifest
    # Above all good images, and below what is extrapolated from so few of them.
    good = max(one.score for one in free.good_scores)
    assert good < free.threshold.ok
    file = ending_at(tmp_path, (good + free.threshold.ok) / 2)
    with pytest.raises(
        ConfigError,
        match=r"nothing would be NG: OK ends at 0\.\d+ .*extrapolated.* the highest 0\.\d+, "
        r"which may be where its numbers end.*larger threshold\.false_rejects",
    ):
        compiled(tmp_path, recipe_of(tmp_path, file, threshold=few))


def test_a_threshold_below_where_its_numbers_end_is_taken(tmp_path: Path) -> None:
    fixed = {"method": "fixed", "ok": 0.44, "false_rejects": 0.001}
    recipe = recipe_of(tmp_path, ending_at(tmp_path, 0.45), threshold=fixed)
    pixels = with_spot(SyntheticWeb(HEIGHT, WIDTH, SEED).frame(40).pixels)
    judged = Pipeline(compiled(tmp_path, recipe)).judge(Frame(pixels, 0, 0))
    assert judged.verdict.outcome is Outcome.NG
    above = {**fixed, "ok": 0.45}
    with pytest.raises(ConfigError, match=r"nothing would be NG: OK ends at 0\.45"):
        compiled(tmp_path, recipe_of(tmp_path, ending_at(tmp_path, 0.45), threshold=above))


def test_ng_images_show_what_nobody_draws(tmp_path: Path) -> None:
    """A network that sees one thing alone: a pixel that is brighter than any that is drawn in."""
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    found = opset.reduce_mean(grey(image, False), np.array([1, 2, 3]), True)
    shown = opset.broadcast(found, np.array([1, 1, SIZE, SIZE]), "BIDIRECTIONAL")
    file = saved(tmp_path, image, map=shown)
    fixed = {"method": "fixed", "ok": 0.9, "false_rejects": 0.001}
    tables: dict[str, Any] = {"threshold": fixed, "tiles": {"halo_px": 0}}
    with pytest.raises(ConfigError, match=r"nothing would be NG.*images\.ng"):
        compiled(tmp_path, recipe_of(tmp_path, file, **tables))
    (tmp_path / "ng").mkdir()
    write_png(tmp_path / "ng" / "white.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    images = {"good": tmp_path / "good", "ng": tmp_path / "ng"}
    compiled(tmp_path, recipe_of(tmp_path, file, images=images, **tables))
