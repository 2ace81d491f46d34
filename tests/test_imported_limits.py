"""Where an imported network's numbers end, and what is no number within it."""

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
from kenpin.compile.importing.imported_network import ImportedNetwork
from kenpin.compile.networks.quantize import quantize, quantized_operations
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.runtime.judging.engine import Engine
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
    with pytest.raises(
        ConfigError, match=r"nothing would be NG: OK ends at 0\.45.*; choose a lower threshold\.ok;"
    ):
        compiled(tmp_path, recipe_of(tmp_path, ending_at(tmp_path, 0.45), threshold=above))


def test_a_network_whose_numbers_fall_is_told_to_say_so(tmp_path: Path) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    # As likely as it is near middle grey.
    file = saved(tmp_path, image, map=opset.subtract(np.float32(1), off))
    with pytest.raises(ConfigError, match=r'lower where it is worse, set method\.worse to "lower"'):
        compiled(tmp_path, recipe_of(tmp_path, file))
    method = {"name": "imported", "worse": "lower", "zero": 1.0}
    compiled(tmp_path, recipe_of(tmp_path, file, method=method))


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


def no_number_at_white(image: Any) -> Any:
    """0 / 0 where a pixel is white, else 1."""
    rest = opset.subtract(np.float32(1), grey(image, False))
    return opset.divide(rest, rest)


LOSSES = {
    "clamp": lambda x: opset.clamp(opset.subtract(x, np.float32(1)), 0.0, 1.0),
    "relu": lambda x: opset.relu(opset.subtract(x, np.float32(1))),
    "maximum": lambda x: opset.maximum(opset.subtract(x, np.float32(1)), np.float32(0)),
    "pool": lambda x: opset.max_pool(x, [1, 1], [1, 1], [1, 1], [1, 1], [3, 3]).output(0),
    "comparison": lambda x: opset.convert(opset.greater(x, np.float32(1)), "f32"),
    "root": lambda x: opset.relu(opset.sqrt(opset.subtract(x, np.float32(1)))),
}


def losing(folder: Path, loss: str, batch: int = -1) -> Path:
    image = opset.parameter([batch, 3, SIZE, SIZE], ov.Type.f32, name="image")
    return saved(folder, image, map=LOSSES[loss](no_number_at_white(image)))


def of_tiles(recipe: Recipe, tiles: np.ndarray, model: Any = None) -> np.ndarray:
    engine = Engine(model or ImportedNetwork(recipe).model(len(tiles)))

    def fill(first: int, batch: np.ndarray) -> int:
        batch[...] = tiles[first : first + len(batch)]
        return len(batch)

    return engine.features(fill, len(tiles))[0].copy()


def one_white() -> np.ndarray:
    """Three tiles of middle grey; the second has a white pixel."""
    tiles = np.full((3, 1, SIZE, SIZE), 118, np.uint8)
    tiles[1, 0, 30, 33] = 255
    return tiles


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_no_number_on_the_way_is_none_in_the_end_either(tmp_path: Path, loss: str) -> None:
    found = of_tiles(recipe_of(tmp_path, losing(tmp_path, loss)), one_white())
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()


def test_what_is_no_number_is_not_rounded_to_one_in_int8(tmp_path: Path) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    shade = grey(image, False)
    # Black is 0 in any range of eight bits.
    shown = opset.subtract(opset.divide(shade, shade), np.float32(0.5))
    kernel = np.full((1, 1, 3, 3), 1 / 9, np.float32)
    blurred = opset.abs(opset.convolution(shown, kernel, [1, 1], [1, 1], [1, 1], [1, 1]))
    int8 = {"precision": "int8", "guard_tiles": 8}
    recipe = recipe_of(tmp_path, saved(tmp_path, image, map=blurred), quantize=int8)
    usual = np.random.default_rng(0).integers(90, 140, (9, 1, SIZE, SIZE), np.uint8)
    model = quantize(ImportedNetwork(recipe).model(3), usual)
    assert quantized_operations(model) == 1
    tiles = one_white()
    tiles[tiles == 255] = 0
    found = of_tiles(recipe, tiles, model)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()


def test_a_build_tells_that_drawn_defects_give_no_number_which_a_clamp_hides(
    tmp_path: Path,
) -> None:
    recipe = recipe_of(tmp_path, losing(tmp_path, "clamp"))
    with pytest.raises(ConfigError, match=r"no numbers \(NaN or infinite\) for \d of \d good"):
        compiled(tmp_path, recipe)


def test_a_network_that_cannot_lose_a_number_stays_as_it_is(tmp_path: Path) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    off = opset.divide(opset.relu(off), np.float32(0.5))
    clean = recipe_of(tmp_path, saved(tmp_path, image, map=opset.clamp(off, 0.0, 1.0)))
    kinds = {op.get_type_name() for op in ImportedNetwork(clean).model(1).get_ops()}
    assert "IsNaN" not in kinds
    # Nor where what may be none comes out as it is.
    out = recipe_of(tmp_path, saved(tmp_path, image, map=no_number_at_white(image)))
    kinds = {op.get_type_name() for op in ImportedNetwork(out).model(1).get_ops()}
    assert "IsNaN" not in kinds
    found = of_tiles(out, one_white())
    assert np.isnan(found[1]).any()
    assert np.isfinite(found[[0, 2]]).all()


def times(folder: Path, factor: float, *, features: bool = False) -> Path:
    """How far a pixel is from middle grey, so many times: a map, or two features."""
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    found = opset.multiply(off, np.float32(factor))
    if features:
        found = opset.avg_pool(found, [8, 8], [0, 0], [0, 0], [8, 8], False)
        # The second one never stirs beside the first.
        found = opset.concat([found, found], 1)
    return saved(folder, image, map=found)


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (1e38, r"go to 5\.4e\+37 .*at most 1e\+30, so that sums of them.*multiply.*by 1e-37"),
        (1e31, r"go to 5\.4e\+30 .*at most 1e\+30"),
        (1e-31, r"are 5\.4e-32 at most .*some of 1e-30 or more, below which they may"),
        (1e-38, r"are 5\.\de-39 at most"),
    ],
)
def test_numbers_near_the_ends_of_float32_are_refused_with_how_large_they_are(
    tmp_path: Path, factor: float, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        compiled(tmp_path, recipe_of(tmp_path, times(tmp_path, factor)))


@pytest.mark.parametrize("factor", [1e30, 1e-29])
def test_numbers_within_float32_are_judged_as_others_are(tmp_path: Path, factor: float) -> None:
    manifest = compiled(tmp_path, recipe_of(tmp_path, times(tmp_path, factor))).manifest
    plain = compiled(tmp_path / "1", recipe_of(tmp_path / "1", times(tmp_path, 1))).manifest
    expected = factor * np.array([one.score for one in plain.good_scores])
    np.testing.assert_allclose([one.score for one in manifest.good_scores], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "factor", "told"),
    [
        ("patchcore", 1e17, r"go to 9\.\de\+15 .*at most 1e\+15, so that sums of their squares"),
        ("patchcore", 1e-17, r"some of 1e-15 or more, below which their squares may count as 0"),
        ("padim", 1e12, r"deviate by up to .*method\.shrinkage 0\.01 is lost"),
    ],
)
def test_features_whose_squares_leave_what_is_computed_with_are_refused(
    tmp_path: Path, method: str, factor: float, told: str
) -> None:
    file = times(tmp_path, factor, features=True)
    recipe = recipe_of(
        tmp_path, file, method={"name": method}, model={"features": ("map",)},
        quantize={"precision": "fp32"},
    )  # fmt: skip
    with pytest.raises(ConfigError, match=told):
        compiled(tmp_path, recipe)
