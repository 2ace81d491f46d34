"""Networks that others made: seen, asked about, refused; and then judged by as they are."""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as opset
from rich.console import Console

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.files.listing import list_images
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile import precision
from kenpin.compile.build import build
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.evaluation.prove import prove
from kenpin.compile.importing.imported_network import ImportedNetwork
from kenpin.compile.importing.model_ensemble import model_files
from kenpin.compile.importing.model_file import model_file
from kenpin.compile.methods.feature_reader import FeatureReader
from kenpin.compile.networks.guard import QuantizationError
from kenpin.compile.networks.quantize import operations_in_float, quantized_operations
from kenpin.compile.precision import choose_precision
from kenpin.compile.prepare import prepare
from kenpin.compile.progress import Steps
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.frame import FrameSpec
from kenpin.config.images import ImagesSpec
from kenpin.config.imported import ImportedSpec
from kenpin.config.recipe import Recipe
from kenpin.config.tiles import TileSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.imported import ImportedScorer
from kenpin.runtime.judging.join import Joiner, ScoreMap
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.scoring import TileDistances
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.judging.verdict import Outcome
from kenpin.runtime.tune import alike, candidates
from kenpin.runtime.web.pipeline import WebPipeline

SIZE, HEIGHT, WIDTH, SEED = 64, 96, 160, 3
# Made by Anomalib; see make.py there.
ANOMALIB = Path(__file__).parent / "vectors" / "anomalib"
ONNX = Path(__file__).parent / "vectors" / "onnx"
Make = Callable[..., Path]


def grey(image: Any, channels_last: bool) -> Any:
    return opset.reduce_mean(image, np.array(3 if channels_last else 1), True)


def saved(folder: Path, image: Any, **outputs: Any) -> Path:
    """A network as IR, its outputs named."""
    results = []
    for name, output in outputs.items():
        result = opset.result(output)
        result.output(0).get_tensor().set_names({name})
        results.append(result)
    file = folder / "model.xml"
    ov.save_model(ov.Model(results, [image], "somebody's"), file, compress_to_fp16=False)
    return file


def deviation(
    folder: Path, *outputs: str, batch: int = -1, names: tuple[str, str] = ("map", "score")
) -> Path:
    """How far a pixel is from middle grey: a map, its maximum plus one as score, or both."""
    image = opset.parameter([batch, 3, SIZE, SIZE], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    score = opset.add(opset.reduce_max(off, np.array([1, 2, 3]), False), np.float32(1))
    known = {"map": off, "score": score}
    return saved(
        folder,
        image,
        **{
            n: known[what]
            for what, n in zip(("map", "score"), names, strict=True)
            if what in outputs
        },
    )


def recipe_of(folder: Path, file: Path, /, **tables: Any) -> Recipe:
    good = folder / "good"
    if not good.is_dir():
        good.mkdir(parents=True)
        web = SyntheticWeb(HEIGHT, WIDTH, SEED)
        for number in range(8):
            write_png(good / f"{number}.png", web.frame(number).pixels)
    tree: dict[str, Any] = {
        "name": "theirs",
        "images": {"good": good},
        "frame": {"height_px": HEIGHT, "width_px": WIDTH},
        "tiles": {"size_px": SIZE, "halo_px": 16},
        "model": {"file": file, "values": "0..1", "mean": (0,), "std": (1,)},
        "threshold": {"false_rejects": 0.05},
        "quantize": {"guard_tiles": 8},
        "report": {"twins_each": 0},
        "engine": {"batch": 3},
    }
    for name, table in tables.items():
        old = tree.get(name)
        tree[name] = {**old, **table} if isinstance(old, dict) and name != "frame" else table
    return Recipe.model_validate(tree)


def compiled(folder: Path, recipe: Recipe) -> Bundle:
    with Steps(Console(file=io.StringIO())) as steps:
        return build(recipe, folder / "store", steps, lowest=False).bundle


def with_spot(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = pixels.copy()
    out[40:48, 100:108] = 255
    return out


@pytest.mark.parametrize("onnx", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_map_is_tiled_joined_and_judged_as_it_is(tmp_path: Path, onnx: bool) -> None:
    file = ONNX / "deviation.onnx" if onnx else deviation(tmp_path, "map")
    recipe = recipe_of(tmp_path, file)
    bundle = compiled(tmp_path, recipe)
    pipeline = Pipeline(bundle)
    frame = SyntheticWeb(HEIGHT, WIDTH, SEED).frame(40).pixels
    for pixels in (frame, with_spot(frame)):
        judged = pipeline.judge(Frame(pixels.copy(), 0, 0))
        assert judged.score_map is not None
        cell = judged.score_map.stride_px
        off = np.abs(pixels / np.float32(255) - np.float32(0.46))
        worst = off.reshape(HEIGHT // cell, cell, WIDTH // cell, cell).max(axis=(1, 3))
        np.testing.assert_allclose(judged.score_map.values, worst, atol=2e-6)
        assert judged.verdict.score == pytest.approx(float(worst.max()), abs=2e-6)
    assert judged.verdict.outcome is Outcome.NG
    assert judged.verdict.peak_xy == (102, 42)
    assert prove(recipe, bundle).holds
    # Nothing of this machine's folders is in it, and the same comes out again.
    assert str(tmp_path) not in (bundle.folder / "manifest.json").read_text()
    assert compiled(tmp_path / "again", recipe).sha256 == bundle.sha256


def test_a_score_beside_a_map_is_the_images_score(tmp_path: Path) -> None:
    recipe = recipe_of(
        tmp_path, deviation(tmp_path, "map", "score"), model={"map": "map", "score": "score"}
    )
    bundle = compiled(tmp_path, recipe)
    judged = Pipeline(bundle).judge(
        Frame(SyntheticWeb(HEIGHT, WIDTH, SEED).frame(40).pixels.copy(), 0, 0)
    )
    assert judged.score_map is not None
    assert judged.verdict.score is not None
    # Of the tiles' haloes too, which the map leaves to their neighbours.
    assert judged.verdict.score > 1
    assert judged.verdict.score >= 1 + judged.score_map.values.max() - 1e-5
    # What cannot be read and is excluded is not asked about either.
    (tmp_path / "good" / "3a.png").write_bytes(b"cut off")
    images = recipe.images.model_copy(update={"exclude": ("3a.png",)})
    proof = prove(recipe.model_copy(update={"images": images}), bundle)
    assert proof.score is not None
    assert proof.holds


def test_a_score_alone_is_that_of_all_of_a_tiles_core(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, deviation(tmp_path, "score"))
    pixels = with_spot(SyntheticWeb(HEIGHT, WIDTH, SEED).frame(40).pixels)
    judged = Pipeline(compiled(tmp_path, recipe)).judge(Frame(pixels, 0, 0))
    assert judged.score_map is not None
    values = judged.score_map.values
    cells = 32 // judged.score_map.stride_px
    for row in range(0, len(values), cells):
        for col in range(0, values.shape[1], cells):
            assert len(np.unique(values[row : row + cells, col : col + cells])) == 1
    # Its tile sees the spot, and so does the halo of a neighbour; the web's far end does not.
    stride = judged.score_map.stride_px
    assert values[44 // stride, 104 // stride] == values.max() > values[0, 0]


def test_numbers_that_fall_where_it_is_worse_are_turned_and_counted_from_zero(
    tmp_path: Path,
) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    likely = opset.subtract(
        np.float32(-2), opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    )
    recipe = recipe_of(
        tmp_path, saved(tmp_path, image, likely=likely),
        method={"name": "imported", "worse": "lower", "zero": -2.1},
    )  # fmt: skip
    bundle = compiled(tmp_path, recipe)
    pixels = SyntheticWeb(HEIGHT, WIDTH, SEED).frame(40).pixels
    judged = Pipeline(bundle).judge(Frame(pixels.copy(), 0, 0))
    expected = np.abs(pixels / np.float32(255) - np.float32(0.46)).max() - 0.1
    assert judged.verdict.score == pytest.approx(float(expected), abs=1e-5)
    assert prove(recipe, bundle).holds


@pytest.mark.parametrize("method", [pytest.param("padim", marks=pytest.mark.thorough), "patchcore"])
def test_features_are_what_a_method_of_ours_works_on(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(0)
    image = opset.parameter([-1, SIZE, SIZE, 3], ov.Type.u8, name="image")
    planes = opset.transpose(opset.convert(image, "f32"), np.array([0, 3, 1, 2]))
    kernel = rng.normal(size=(12, 3, 8, 8)).astype(np.float32) / 255
    fine = opset.convolution(planes, kernel, [8, 8], [0, 0], [0, 0], [1, 1])
    coarse = opset.avg_pool(opset.abs(fine), [2, 2], [0, 0], [0, 0], [2, 2], False)
    file = saved(tmp_path, image, fine=opset.relu(fine), coarse=coarse)
    recipe = recipe_of(
        tmp_path, file, model={"features": ("fine", "coarse"), "values": None},
        method={"name": method}, quantize={"precision": "fp32", "guard_tiles": 8},
    )  # fmt: skip
    bundle = compiled(tmp_path, recipe)
    assert bundle.manifest.features.layers == ("fine", "coarse")
    assert bundle.manifest.features.patch_stride_px == 8
    frame = SyntheticWeb(HEIGHT, WIDTH, SEED).frame(40).pixels
    pipeline = Pipeline(bundle)
    scores = [
        pipeline.judge(Frame(p.copy(), 0, 0)).verdict.score for p in (frame, with_spot(frame))
    ]
    assert scores[1] > 1.5 * scores[0]  # type: ignore[operator]


def test_a_score_alone_is_refused_on_webs(tmp_path: Path) -> None:
    """Of a whole tile, which a built-in method that judges so is refused for, too."""
    on_a_web = {"geometry": "continuous", "width_px": WIDTH}
    recipe = recipe_of(tmp_path, deviation(tmp_path, "score"), frame=on_a_web)
    with pytest.raises(ConfigError, match=r"one score for a whole tile.*name a model\.map"):
        prepare(recipe)


def test_a_map_is_judged_on_webs_too_without_its_score(tmp_path: Path) -> None:
    file = deviation(tmp_path, "map", "score")
    recipe = recipe_of(
        tmp_path, file, model={"map": "map", "score": "score"},
        frame={"geometry": "continuous", "width_px": WIDTH},
    )  # fmt: skip
    bundle = compiled(tmp_path, recipe)
    web = with_spot(SyntheticWeb(300, WIDTH, SEED).frame(30).pixels)
    judged = WebPipeline(bundle).judge(Frame(web, 0, 0), last=True)
    assert judged.verdict.web is not None
    assert [d.left_px <= 100 < d.right_px for d in judged.verdict.web.defects] == [True]


def test_what_anomalib_exports_scores_as_anomalibs_own_inferencer_does(tmp_path: Path) -> None:
    said = np.load(ANOMALIB / "said.npz")
    images, maps = said["images"], said["maps"]
    (tmp_path / "good").mkdir()
    for number in range(8):
        write_png(tmp_path / "good" / f"{number}.png", np.roll(images[number % 2], number, axis=1))
    recipe = recipe_of(
        tmp_path, ANOMALIB, model={"values": None}, tiles={"size_px": SIZE, "halo_px": 0},
        frame={"height_px": SIZE, "width_px": SIZE},
    )  # fmt: skip
    bundle = compiled(tmp_path, recipe)
    pipeline = Pipeline(bundle)
    for image, whole, score in zip(images, maps, said["scores"], strict=True):
        judged = pipeline.judge(Frame(image.copy(), 0, 0))
        assert judged.score_map is not None
        cell = judged.score_map.stride_px
        worst = whole.reshape(SIZE // cell, cell, SIZE // cell, cell).max(axis=(1, 3))
        np.testing.assert_allclose(judged.score_map.values, worst, atol=1e-4)
        assert judged.verdict.score == pytest.approx(float(score), abs=1e-4)
    proof = prove(recipe, bundle)
    assert proof.holds, str(proof)


def looked_at(recipe: Recipe, pixels: NDArray[np.uint8]) -> tuple[ScoreMap, TileDistances]:
    """The joined map of a frame and what it was joined of, without compiling a bundle."""
    network, grid = ImportedNetwork(recipe), TileGrid.of(recipe.frame, recipe.tiles)
    engine = Engine(network.model(network.fitting_batch(len(grid))))
    found, _ = engine.features(
        lambda first, batch: grid.fill(pixels, range(first, len(grid)), batch), len(grid)
    )
    assert isinstance(network.method, ImportedSpec)
    distances = ImportedScorer(network.method).distances(found)
    joiner = Joiner(grid, network.patch_stride_px, recipe.score.seam_sigma_px)
    return joiner.join(distances.values), distances


def worst_in(values: NDArray[Any], cell: int) -> NDArray[Any]:
    """The highest value of each cell of a frame's map."""
    return values.reshape(HEIGHT // cell, cell, WIDTH // cell, cell).max(axis=(1, 3))


def spotted() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A frame with a spot, and how far each pixel is from middle grey."""
    pixels = with_spot(SyntheticWeb(HEIGHT, WIDTH, SEED).frame(40).pixels)
    return pixels, np.abs(pixels / np.float32(255) - np.float32(0.46))


def not_square(folder: Path, said: str) -> Path:
    image = opset.parameter([1, 3, HEIGHT, WIDTH], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    known = {
        "map": off,
        "score": opset.reduce_max(off, np.array([1, 2, 3]), False),
        "features": opset.avg_pool(image, [8, 8], [0, 0], [0, 0], [8, 8], False),
    }
    return saved(folder, image, **{said: known[said]})


def test_a_network_that_is_not_square_sees_the_frame_as_a_whole(tmp_path: Path) -> None:
    whole = {"size_px": 160, "halo_px": 0}
    recipe = recipe_of(tmp_path, not_square(tmp_path, "map"), tiles=whole)
    pixels, expected = spotted()
    found, _ = looked_at(recipe, pixels)
    np.testing.assert_allclose(found.values, worst_in(expected, found.stride_px), atol=2e-6)
    bundle = compiled(tmp_path, recipe)
    judged = Pipeline(bundle).judge(Frame(pixels, 0, 0))
    assert judged.verdict.score == pytest.approx(float(expected.max()), abs=2e-6)
    assert prove(recipe, bundle).holds
    # Its score stands for all of the frame.
    recipe = recipe_of(tmp_path, not_square(tmp_path, "score"), tiles=whole)
    found, _ = looked_at(recipe, pixels)
    np.testing.assert_allclose(found.values, expected.max(), atol=2e-6)
    # Its features have a place for each eighth pixel of a tile.
    recipe = recipe_of(
        tmp_path, not_square(tmp_path, "features"), tiles=whole, model={"features": ("features",)},
        method={"name": "padim"}, quantize={"precision": "fp32"},
    )  # fmt: skip
    assert ImportedNetwork(recipe).model(1).outputs[0].shape[1:3] == [20, 20]


def test_a_network_that_is_not_square_is_refused_unless_the_frame_is_its_own(
    tmp_path: Path,
) -> None:
    image = opset.parameter([1, 3, HEIGHT, WIDTH], ov.Type.f32, name="image")
    file = saved(tmp_path, image, map=opset.abs(grey(image, False)))
    whole = {"size_px": 160, "halo_px": 0}
    for tables in (
        {"tiles": {"size_px": 128, "halo_px": 0}},
        {"tiles": {"size_px": 160, "halo_px": 16}},
        {"tiles": whole, "frame": {"height_px": WIDTH, "width_px": HEIGHT}},
        {"tiles": whole, "frame": {"geometry": "continuous", "width_px": WIDTH}},
    ):
        with pytest.raises(ConfigError, match=r"set frame\.height_px to 96.*size_px to 160"):
            ImportedNetwork(recipe_of(tmp_path, file, **tables))


@pytest.mark.parametrize("kind", ["map", pytest.param("score", marks=pytest.mark.thorough)])
def test_int8_keeps_in_float_what_would_lose_defects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    mean = np.full((1, 1, 3, 3), 1 / 9, np.float32)
    smooth = opset.convolution(off, mean, [1, 1], [1, 1], [1, 1], [1, 1])
    never = opset.relu(opset.negative(smooth))
    # A weight beside which the other is nothing in eight bits, for what never comes.
    unequal = np.array([1000, 1], np.float32).reshape(1, 2, 1, 1)
    both = opset.concat([never, smooth], 1)
    found = opset.convolution(both, unequal, [1, 1], [0, 0], [0, 0], [1, 1])
    known = {
        "map": opset.relu(found),
        "score": opset.reduce_max(found, np.array([1, 2, 3]), False),
    }
    file = saved(tmp_path, image, **{kind: known[kind]})
    recipe = recipe_of(
        tmp_path, file,
        quantize={"precision": "int8", "guard_tiles": 16, "calibration_tiles": 16},
    )  # fmt: skip
    prepared, files = prepare(recipe), list_images(recipe.images.good)
    fp32 = prepared.network.model(prepared.batch)
    told = io.StringIO()
    with Steps(Console(file=told)) as steps:
        model, record = choose_precision(prepared, fp32, files, Lamp(None), steps)
    assert min(record.score_ratios.values()) >= 0.9
    assert quantized_operations(model) == 1
    assert record.in_float == operations_in_float(model)
    assert len(record.in_float) == 1
    assert "1 of 2 convolutions and products stay in float" in told.getvalue()
    # Where nothing is left in INT8, it is refused.
    monkeypatch.setattr(precision, "_within", lambda model, _: model)
    with (
        Steps(Console(file=io.StringIO())) as steps,
        pytest.raises(QuantizationError, match="INT8 shrinks the scores"),
    ):
        choose_precision(prepared, fp32, files, Lamp(None), steps)


def ensemble(folder: Path, rows: int, cols: int) -> Path:
    """A network for each tile: the n-th, counted from 1, sees n times what the first would."""
    for number in range(rows * cols):
        image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
        off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
        found = opset.multiply(off, np.float32(number + 1))
        place = folder / f"tile{number // cols}_{number % cols}"
        place.mkdir(parents=True)
        score = opset.reduce_max(found, np.array([1, 2, 3]), False)
        saved(place, image, anomaly_map=found, pred_score=score)
    return folder


WHOLE: dict[str, Any] = {"size_px": SIZE, "halo_px": 0}


@pytest.mark.thorough
def test_each_tile_has_a_network_of_its_own(tmp_path: Path) -> None:
    folder = ensemble(tmp_path / "networks", 2, 3)
    recipe = recipe_of(tmp_path, folder, tiles=WHOLE, model={"values": None})
    assert ImportedNetwork(recipe).method.share == "tile"
    pixels, off = spotted()
    times = 1 + np.arange(6).reshape(2, 3).repeat(SIZE, 0).repeat(SIZE, 1)[:HEIGHT, :WIDTH]
    found, distances = looked_at(recipe, pixels)
    worst = worst_in(times * off, found.stride_px)
    np.testing.assert_allclose(found.values, worst, atol=2e-6)
    assert distances.score == pytest.approx(float((times * off).max()), abs=2e-5)
    bundle = compiled(tmp_path, recipe)
    judged = Pipeline(bundle).judge(Frame(pixels, 0, 0))
    assert judged.verdict.score == pytest.approx(distances.score, abs=2e-5)
    proof = prove(recipe, bundle)
    assert proof.count == 12
    assert proof.holds, str(proof)
    # Each place of the batch is a network's: no other batch is taken for a faster one.
    settings, left_out = alike(bundle, candidates(bundle, (2, 3, 6), "CPU", 1), 1)
    assert [one.batch for one in settings] == [6]
    assert set(left_out) == {2, 3}


def test_a_tile_that_is_read_alone_goes_through_its_own_network(tmp_path: Path) -> None:
    """Statistics that need several passes were those of the first tiles' networks, of all tiles."""
    tiles = opset.parameter([6, 1, SIZE, SIZE], ov.Type.u8, name="tiles")
    grey_levels = opset.convert(tiles, "f32")
    own = np.arange(1, 7, dtype=np.float32).reshape(6, 1, 1, 1)
    pooled = opset.avg_pool(grey_levels, [8, 8], [0, 0], [0, 0], [8, 8], False)
    found = opset.transpose(opset.multiply(pooled, own), np.array([0, 2, 3, 1]))
    engine = Engine(ov.Model([found], [tiles], "six"))
    frame = FrameSpec(height_px=HEIGHT, width_px=WIDTH)
    grid = TileGrid.of(frame, TileSpec(**WHOLE))
    file = tmp_path / "0.png"
    write_png(file, SyntheticWeb(HEIGHT, WIDTH, SEED).frame(0).pixels)
    reader = FeatureReader(engine, grid, frame, ImagesSpec(good=tmp_path), Lamp(None))
    (every,) = reader.read([file])
    for chosen in ([0, 1], [1, 4], [5]):
        (some,) = reader.read([file], np.array(chosen))
        np.testing.assert_array_equal(some, every[chosen])


@pytest.mark.thorough
def test_each_tile_may_have_a_threshold_of_its_own(tmp_path: Path) -> None:
    folder = ensemble(tmp_path / "networks", 2, 3)
    pixels, off = spotted()
    found = {}
    for each in ("frame", "tile"):
        threshold = {"each": each, "false_rejects": 0.05}
        recipe = recipe_of(
            tmp_path, folder, tiles=WHOLE, model={"values": None}, threshold=threshold
        )
        bundle = compiled(tmp_path, recipe)
        found[each] = bundle, Pipeline(bundle).judge(Frame(pixels.copy(), 0, 0)).verdict
    # The spot is loud for the quietest network, and nothing beside what the loudest says of good.
    assert found["frame"][1].outcome is Outcome.OK
    bundle, verdict = found["tile"]
    assert verdict.outcome is Outcome.NG
    gain = np.array(bundle.arrays["tile_gain"])
    evened = gain * (1 + np.arange(6))
    assert evened.max() < 1.5 * evened.min()
    tiles = np.pad(off, ((0, 2 * SIZE - HEIGHT), (0, 3 * SIZE - WIDTH)))
    peaks = tiles.reshape(2, SIZE, 3, SIZE).max(axis=(1, 3)).reshape(-1)
    assert verdict.score == pytest.approx(float((peaks * evened).max()), rel=1e-4)
    # Good images are measured by the levels of other parts.
    good = [Frame(read_pixels(tmp_path / "good" / f"{n}.png"), 0, 0) for n in range(8)]
    seen = [Pipeline(bundle).judge(one).verdict.score for one in good]
    assert [one.score for one in bundle.manifest.good_scores] != pytest.approx(seen, rel=1e-6)
    assert prove(recipe, bundle).holds


def test_a_map_alone_is_scaled_tile_by_tile_too() -> None:
    spec = ImportedSpec(name="imported")
    features = np.random.default_rng(0).random((3, 2, 2, 4), np.float32)
    gain = np.array([1, 2, 0.5], np.float32)
    plain = ImportedScorer(spec).distances(features)
    scaled = ImportedScorer(spec, gain).distances(features)
    np.testing.assert_array_equal(scaled.values, plain.values * gain[:, None, None])
    assert scaled.score is None


def test_thresholds_of_tiles_need_parts_that_are_seen_whole(tmp_path: Path) -> None:
    file = deviation(tmp_path, "map")
    for tables in (
        {"frame": {"geometry": "continuous", "width_px": WIDTH}},
        {"images": {"good": tmp_path / "good", "mask": tmp_path / "mask.png"}},
    ):
        with pytest.raises(ValueError, match="is for parts that are seen whole"):
            recipe_of(tmp_path, file, threshold={"each": "tile"}, **tables)
    with pytest.raises(ValueError, match="left as it is"):
        recipe_of(tmp_path, file, threshold={"each": "column"})


def test_seams_between_networks_of_tiles_are_blurred_and_nothing_else(tmp_path: Path) -> None:
    folder = ensemble(tmp_path / "networks", 2, 3)
    maps = []
    for seam_sigma_px in (0, 8):
        recipe = recipe_of(
            tmp_path, folder, tiles=WHOLE, model={"values": None},
            score={"seam_sigma_px": seam_sigma_px},
        )  # fmt: skip
        found, _ = looked_at(recipe, spotted()[0])
        maps.append(found.values)
    cell = found.stride_px
    changed = np.abs(maps[1] - maps[0]) > 1e-5
    middles = (np.arange(WIDTH // cell) + 0.5) * cell
    far = np.minimum(np.abs(middles - 64), np.abs(middles - 128)) > 0.1 * SIZE
    assert not changed[: 56 // cell, far].any()
    assert changed[:, ~far].all()
    with pytest.raises(ValueError, match="a web has no tile of its own"):
        recipe_of(
            tmp_path, folder, score={"seam_sigma_px": 2},
            frame={"geometry": "continuous", "width_px": WIDTH},
        )  # fmt: skip


def test_networks_of_tiles_must_fit_the_frame(tmp_path: Path) -> None:
    folder = ensemble(tmp_path / "networks", 2, 2)

    def refused(match: str, file: Path, **tables: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            ImportedNetwork(recipe_of(tmp_path, file, tiles=WHOLE, **tables))

    refused(r"networks for 2 x 2 tiles, and the frame is cut into 2 x 3", folder)
    refused(
        'is one network, and method.share is "tile"', folder / "tile0_0",
        method={"name": "imported", "share": "tile"},
    )  # fmt: skip
    (folder / "tile1_0" / "model.xml").unlink()
    refused("none for row 1, column 0", folder)


def one_of_tiles(side: int, *, kind: str = "f32", step: int = 1, more: bool = False) -> Any:
    """(image, outputs) of a network that is one of several, or unlike them."""
    image = opset.parameter([-1, 3, side, side], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0)))
    found = opset.avg_pool(off, [step] * 2, [0, 0], [0, 0], [step] * 2, False)
    outputs = {"map": opset.convert(found, kind)}
    return image, outputs | ({"score": opset.reduce_max(off, np.array([1, 2, 3]))} if more else {})


@pytest.mark.parametrize(
    ("unlike", "told", "usual"),
    [
        ({"step": 4}, "gives map [1,1,16,16] f32", "gives map [1,1,64,64] f32"),
        ({"kind": "f16"}, "gives map [1,1,64,64] f16", "gives map [1,1,64,64] f32"),
        ({"side": 96}, "takes [1,3,96,96] f32", "takes [1,3,64,64] f32"),
        ({"more": True}, "gives map [1,1,64,64] f32, score [1] f32", "gives map [1,1,64,64] f32"),
    ],
)
@pytest.mark.parametrize("odd", [0, 3])
def test_of_networks_of_tiles_the_one_that_is_unlike_the_others_is_named(
    tmp_path: Path, odd: int, unlike: dict[str, Any], told: str, usual: str
) -> None:
    for number in range(4):
        place = tmp_path / f"tile{number // 2}_{number % 2}"
        place.mkdir()
        image, outputs = one_of_tiles(**{"side": SIZE, **(unlike if number == odd else {})})
        saved(place, image, **outputs)
    other = "tile0_1" if odd == 0 else "tile0_0"
    name = "tile0_0" if odd == 0 else "tile1_1"
    with pytest.raises(ConfigError) as found:
        model_files(tmp_path).read()
    assert str(found.value) == (
        f"{name}/model.xml: {told}, and {other}/model.xml {usual}; export the networks of all "
        "tiles alike"
    )


def test_networks_of_tiles_of_which_one_normalises_are_refused(tmp_path: Path) -> None:
    for number, mean in enumerate((0, 0, 0.46, 0)):
        place = tmp_path / f"tile{number // 2}_{number % 2}"
        place.mkdir()
        image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
        shown = opset.subtract(image, np.float32(mean)) if mean else image
        saved(place, image, map=opset.abs(grey(shown, False)))
    with pytest.raises(
        ConfigError,
        match=r"^tile1_0/model\.xml: takes a mean off its pixels itself, and tile0_0/model\.xml "
        "takes no mean",
    ):
        model_files(tmp_path).read()


def test_tiles_that_a_batch_would_mix_are_shown_one_by_one(tmp_path: Path) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    mixed = opset.abs(
        opset.subtract(grey(image, False), opset.reduce_mean(image, np.array([0, 1, 2, 3]), True))
    )
    network = ImportedNetwork(recipe_of(tmp_path, saved(tmp_path, image, map=mixed)))
    assert network.fitting_batch(3) == 1
    network = ImportedNetwork(recipe_of(tmp_path, deviation(tmp_path, "map")))
    assert network.fitting_batch(3) == 3
    network = ImportedNetwork(recipe_of(tmp_path, deviation(tmp_path, "map", batch=2)))
    assert network.fitting_batch(3) == 2


@pytest.mark.parametrize("apart", [True, False])
def test_a_fixed_batch_that_mixes_its_images_is_refused(tmp_path: Path, apart: bool) -> None:
    image = opset.parameter([2, 3, SIZE, SIZE], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    loudest = opset.reduce_max(off, np.array([1, 2, 3] if apart else [0, 1, 2, 3]), True)
    recipe = recipe_of(tmp_path, saved(tmp_path, image, map=opset.divide(off, loudest)))
    if apart:
        assert prepare(recipe).batch == 2
        return
    with pytest.raises(ConfigError, match="takes 2 images at once and mixes them"):
        _ = prepare(recipe).batch


def test_a_network_that_draws_at_random_is_refused(tmp_path: Path) -> None:
    image = opset.parameter([1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    shape = np.array([1, 1, SIZE, SIZE])
    noise = opset.random_uniform(shape, np.float32(0), np.float32(1), "f32")
    recipe = recipe_of(tmp_path, saved(tmp_path, image, map=opset.add(grey(image, False), noise)))
    with pytest.raises(ConfigError, match=r"draws at random \(RandomUniform\).*evaluation mode"):
        prepare(recipe)


@pytest.mark.parametrize(
    ("output", "model", "complaint"),
    [
        ("classes", {"score": "classes"}, r"classes has the shape \[1, 2\] for 1 images"),
        ("map", {"score": "map"}, "a map is named by model.map"),
        ("map", {"mean": [0.1, 0.2], "std": [1.0, 1.0]}, "expected one or three numbers"),
        ("grey", {"mean": [0.1] * 3, "std": [1.0] * 3}, "looks at 1 channels.*has 3 numbers"),
    ],
)
def test_outputs_and_settings_that_do_not_fit_are_told_by_name(
    tmp_path: Path, output: str, model: dict[str, Any], complaint: str
) -> None:
    image = opset.parameter([-1, 1 if output == "grey" else 3, SIZE, SIZE], ov.Type.f32)
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    mean = opset.reduce_mean(off, np.array([1, 2, 3]), True)
    both = opset.reshape(opset.concat([mean, mean], 1), np.array([0, 2]), True)
    file = saved(tmp_path, image, **{output: both if output == "classes" else off})
    with pytest.raises((ConfigError, ValueError), match=complaint):
        prepare(recipe_of(tmp_path, file, model=model))


def test_a_network_that_gives_no_numbers_is_told_so(tmp_path: Path) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    # 0 / 0 where the image is white, as a loud defect may be.
    rest = opset.subtract(np.float32(1), grey(image, False))
    recipe = recipe_of(tmp_path, saved(tmp_path, image, map=opset.divide(rest, rest)))
    with pytest.raises(ConfigError, match=r"no numbers \(NaN or infinite\) for \d of \d good"):
        compiled(tmp_path, recipe)


def test_a_network_that_says_nothing_of_good_images_is_judged_by_all_the_same(
    tmp_path: Path,
) -> None:
    """Golden frames of 0 are alike under any instruction set; all of 0 is a mistake."""
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    off = opset.subtract(
        opset.abs(opset.subtract(grey(image, False), np.float32(0.46))), np.float32(0.42)
    )
    recipe = recipe_of(tmp_path, saved(tmp_path, image, map=opset.relu(off)))
    twins = {"twins_each": 2}
    loud = recipe.model_copy(update={"report": recipe.report.model_copy(update=twins)})
    with Steps(Console(file=io.StringIO())) as steps:
        made = build(loud, tmp_path / "store", steps)
    assert min(one.score for one in made.bundle.manifest.good_scores) == 0
    never = opset.relu(opset.subtract(off, np.float32(1)))
    recipe = recipe_of(tmp_path, saved(tmp_path, image, map=never))
    with pytest.raises(ConfigError, match=r'come to 0 for all .*method.worse is "higher"'):
        compiled(tmp_path, recipe)


def test_drawn_defects_are_scored_as_the_threshold_is_where_a_network_says_its_own(
    tmp_path: Path,
) -> None:
    """Its score is that of the map and one more: no map's value comes near."""
    recipe = recipe_of(
        tmp_path,
        deviation(tmp_path, "map", "score"),
        model={"map": "map", "score": "score"},
        report={"twins_each": 1},
    )
    manifest = compiled(tmp_path, recipe).manifest
    scores = [score for twin in manifest.twin_scores for score in twin.scores]
    assert 1 < min(scores) <= manifest.threshold.ok < max(scores)


def test_a_network_in_float16_is_proved_by_what_it_computes(tmp_path: Path) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f16, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float16(0.46)))
    recipe = recipe_of(tmp_path, saved(tmp_path, image, map=off))
    proof = prove(recipe, compiled(tmp_path, recipe))
    assert proof.holds, proof


def test_what_a_network_of_ones_own_leaves_unused_is_refused(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, deviation(tmp_path, "map"), backbone={"name": "resnet18"})
    with pytest.raises(
        ConfigError, match=r"backbone.name, --weights: the recipe's table \[model\]"
    ):
        prepare(recipe, tmp_path / "resnet18.pth")


def test_what_cannot_be_seen_is_asked_for(tmp_path: Path) -> None:
    def refused(match: str, file: Path, /, **tables: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            ImportedNetwork(recipe_of(tmp_path, file, **tables))

    both = deviation(tmp_path, "map", "score")
    refused("say which to use", both)
    refused("has no output heat; it has map", both, model={"map": "heat"})
    one = deviation(tmp_path, "map")
    refused(r"set model\.values", one, model={"values": None})
    asked = r"nothing tells whether its pixels are normalised.*set model\.mean and model\.std"
    refused(asked, one, model={"mean": (), "std": ()})
    refused(r"set tiles\.size_px to 64", one, tiles={"size_px": 96})
    refused(
        r"set model\.colours", one, frame={"height_px": HEIGHT, "width_px": WIDTH, "channels": 3}
    )
    refused(
        "cells of 8 px do not fit",
        one,
        tiles={"halo_px": 12},
        method={"name": "imported", "cell_px": 8},
    )
    refused("works on features", one, method={"name": "padim"}, quantize={"precision": "fp32"})
    image = opset.parameter([1, 3, SIZE, 3], ov.Type.f32, name="image")
    refused(r"set model\.layout", saved(tmp_path, image, map=opset.abs(image)))
    image = opset.parameter([1, 3, SIZE, SIZE], ov.Type.u8, name="image")
    whole = saved(tmp_path, image, map=grey(opset.convert(image, "f32"), False))
    # All would be 0, and white 1.
    refused(r"takes whole numbers \(u8\).*remove model\.values", whole)
    # And so nothing is asked of them.
    ImportedNetwork(recipe_of(tmp_path, whole, model={"values": None, "mean": (), "std": ()}))
    scaled = {"values": None, "mean": [0.5], "std": [0.2]}
    refused(r"takes whole numbers \(u8\).*remove.*model\.mean", whole, model=scaled)


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("half", [False, True])
def test_a_network_that_is_seen_to_normalise_is_not_asked_about_it(
    tmp_path: Path, colours: int, half: bool
) -> None:
    image = opset.parameter([1, SIZE, SIZE, 3], ov.Type.f32, name="image")
    planes = opset.transpose(opset.divide(image, np.float32(255)), np.array([0, 3, 1, 2]))
    values = np.linspace(0.4, 0.5, colours).reshape(1, colours, 1, 1)
    mean = opset.constant(values, np.float16 if half else np.float32)
    if half:
        mean = opset.convert(mean, "f32")
    file = saved(tmp_path, image, map=grey(opset.abs(opset.subtract(planes, mean)), False))
    recipe = recipe_of(tmp_path, file, model={"values": "0..255", "mean": (), "std": ()})
    assert "0..255, normalised inside" in str(ImportedNetwork(recipe))
    # Whoever takes one off before it, too, is warned.
    recipe = recipe_of(tmp_path, file, model={"mean": [0.5], "std": [0.2]})
    assert "is taken off before it, too" in ImportedNetwork(recipe).input.twice


def test_features_that_do_not_lie_on_one_grid_are_refused(tmp_path: Path) -> None:
    image = opset.parameter([-1, 3, 96, 96], ov.Type.f32, name="image")
    outputs = {
        f"every{step}": opset.avg_pool(image, [step] * 2, [0, 0], [0, 0], [step] * 2, False)
        for step in (4, 6)
    }
    recipe = recipe_of(
        tmp_path, saved(tmp_path, image, **outputs), model={"features": list(outputs)},
        tiles={"size_px": 96, "halo_px": 24}, method={"name": "padim"},
        quantize={"precision": "fp32"},
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"every 4 and 6 px; expected a whole number"):
        ImportedNetwork(recipe)


def own(value: float) -> Any:
    return opset.constant(np.float32(value))


@pytest.mark.parametrize(
    ("first", "seen"),
    [
        (lambda x: opset.subtract(x, opset.multiply(own(0.4), own(255))), True),
        (lambda x: opset.add(opset.multiply(x, own(4)), own(-2)), True),
        # What is taken off after all else has begun is something else.
        (lambda x: opset.subtract(opset.relu(x), own(0.4)), False),
        # An epsilon, what makes the image a negative of itself, and what is no constant.
        (lambda x: opset.log(opset.add(x, own(1e-6))), False),
        (lambda x: opset.subtract(x, own(0)), False),
        (lambda x: opset.subtract(own(1), x), False),
        (lambda x: opset.subtract(opset.multiply(x, opset.sigmoid(x)), own(0.4)), False),
        (lambda x: opset.subtract(opset.divide(own(1), x), own(0.4)), False),
        (lambda x: opset.subtract(opset.concat([x, opset.relu(x)], 1), own(0.4)), False),
    ],
)
def test_a_mean_is_what_goes_off_pixels_and_nothing_else(
    tmp_path: Path, first: Callable[[Any], Any], seen: bool
) -> None:
    image = opset.parameter([1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    file = saved(tmp_path, image, map=grey(opset.abs(first(image)), False))
    recipe = recipe_of(tmp_path, file, model={"mean": (), "std": ()})
    if seen:
        assert ImportedNetwork(recipe).input.normalises
        return
    with pytest.raises(ConfigError, match="nothing tells whether its pixels are normalised"):
        ImportedNetwork(recipe)


def test_outputs_without_a_name_are_numbered(tmp_path: Path) -> None:
    image = opset.parameter([1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    score = opset.reduce_max(off, np.array([1, 2, 3]), False)
    file = tmp_path / "model.xml"
    ov.save_model(ov.Model([off, score], [image], "unnamed"), file)
    # As older programs wrote it.
    file.write_text(re.sub(r' (output_)?names="Result_\d+"', "", file.read_text()))
    with pytest.raises(ConfigError, match=r"gives output0 \[1,1,64,64\], output1 \[1\]; say which"):
        ImportedNetwork(recipe_of(tmp_path, file))
    recipe = recipe_of(tmp_path, file, model={"score": "output1"})
    assert ImportedNetwork(recipe).said.score == "output1"


def test_what_would_run_code_or_is_no_network_is_refused(tmp_path: Path) -> None:
    for name in ("model.pt", "model.ckpt", "model.pkl", "model.joblib"):
        with pytest.raises(ConfigError, match="run code while they are loaded"):
            model_file(tmp_path / name)
    with pytest.raises(ConfigError, match=r"expected OpenVINO IR \(\.xml\), ONNX \(\.onnx\), or"):
        model_file(tmp_path / "model.tflite")
    with pytest.raises(ConfigError, match="found none"):
        model_file(tmp_path)
    # As some cameras' cards and old programs write names.
    shutil.copy(ONNX / "weights_apart.onnx", tmp_path / "APART.ONNX")
    with pytest.raises(ConfigError, match=r"its weights lie in .*weights_apart\.bin, and there is"):
        ImportedNetwork(recipe_of(tmp_path, tmp_path / "APART.ONNX"))
    shutil.copy(ONNX / "weights_apart.bin", tmp_path)
    first = ImportedNetwork(recipe_of(tmp_path, tmp_path / "APART.ONNX"))
    assert first.said.map == "heat"
    # Other weights are another network.
    (tmp_path / "weights_apart.bin").write_bytes(np.float32(0.5).tobytes() + b"\1" + bytes(7))
    again = ImportedNetwork(recipe_of(tmp_path, tmp_path / "APART.ONNX"))
    assert again.weights_sha256 != first.weights_sha256
    (tmp_path / "APART.ONNX").unlink()
    (tmp_path / "weights_apart.bin").unlink()
    (tmp_path / "PROGRAM.PT2").write_bytes(b"no archive")
    with pytest.raises(ConfigError, match=r"is no archive of torch\.export\.save"):
        ImportedNetwork(recipe_of(tmp_path, tmp_path / "PROGRAM.PT2"))
    (tmp_path / "PROGRAM.PT2").unlink()
    file = deviation(tmp_path, "map")
    with pytest.raises(ConfigError, match="cannot read it"):
        ImportedNetwork(recipe_of(tmp_path, ONNX / "own_operation.onnx"))
    # An operation of somebody's own.
    file.write_text(file.read_text().replace('type="Abs"', 'type="Mine"'))
    with pytest.raises(ConfigError, match="cannot read it"):
        ImportedNetwork(recipe_of(tmp_path, file))
    file.with_suffix(".bin").unlink()
    with pytest.raises(ConfigError, match=r"weights model\.bin are not beside it"):
        model_file(file)


def test_the_recipe_needs_no_more_than_images_and_what_cannot_be_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("anomaly_map", "pred_score")
    folder = tmp_path / "weights" / "openvino"
    folder.mkdir(parents=True)
    deviation(folder, "map", "score", batch=1, names=names)
    recipe_of(tmp_path, folder)
    toml = tmp_path / "theirs.toml"
    toml.write_text(
        f'name = "theirs"\nimages = {{ good = "good" }}\n'
        f"frame = {{ height_px = {HEIGHT}, width_px = {WIDTH} }}\n"
        f"tiles = {{ size_px = {SIZE}, halo_px = 16 }}\n"
        "report = { twins_each = 0 }\nthreshold = { false_rejects = 0.05 }\n"
    )
    store = tmp_path / "bundles"
    command = ["import", str(tmp_path / "weights"), str(toml), "-o", str(store), "--prove"]
    assert edge_compile(command) == 0
    said = capsys.readouterr()
    assert "map anomaly_map, score pred_score; input NCHW 64 x 64" in said.out + said.err
    assert "as the network alone" in said.out
    assert edge_compile(["verify", str(store / "current")]) == 0
    # What is not proved is there to be looked at, and no line takes it.
    proved = (store / "current").resolve()
    monkeypatch.setattr("kenpin.compile.evaluation.prove.ALLOWED", -1.0)
    assert edge_compile([*command, "--set", "threshold.false_rejects=0.1"]) == Exit.BUNDLE
    assert "NOT as the network alone" in capsys.readouterr().out
    assert (store / "current").resolve() == proved
    assert len([folder for folder in store.glob("theirs-*/") if not folder.is_symlink()]) == 2


def test_anomalibs_score_without_a_map_is_known_by_its_name(tmp_path: Path) -> None:
    """As Dfm exports it with score_type "nll", beside a label."""
    image = opset.parameter([1, 3, SIZE, SIZE], ov.Type.f32, name="input")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    score = opset.reduce_max(off, np.array([1, 2, 3]), False)
    label = opset.greater(score, np.float32(0.5))
    file = saved(tmp_path, image, pred_score=score, pred_label=label)
    recipe = recipe_of(tmp_path, file, model={"values": None})
    network = ImportedNetwork(recipe)
    assert (network.said.map, network.said.score) == (None, "pred_score")
    assert network.input.anomalib
    bundle = compiled(tmp_path, recipe)
    assert prove(recipe, bundle).holds
    # Its own inferencer is asked, and here there is none.
    with pytest.raises(ConfigError, match="cannot run Anomalib's OpenVINOInferencer"):
        prove(recipe, bundle, Path(sys.executable))
    other = recipe_of(tmp_path, deviation(tmp_path, "score"))
    with pytest.raises(ConfigError, match=r"has no output pred_score.*leave --anomalib out"):
        prove(other, bundle, Path(sys.executable))
