"""How an imported network sees a frame: as a whole where it can, else in tiles, if these agree."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset
from rich.console import Console

from kenpin.camera.files.images import write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.evaluation.prove import prove
from kenpin.compile.prepare import Prepared, look_through, prepare
from kenpin.compile.progress import Steps
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe, load_recipe
from kenpin.config.tiles import TileSpec
from test_imported import (
    SEED,
    SIZE,
    WIDTH,
    compiled,
    deviation,
    grey,
    not_square,
    recipe_of,
    saved,
)

SQUARE = {"height_px": SIZE, "width_px": SIZE}
WEB = {"geometry": "continuous", "width_px": WIDTH}


def untiled(folder: Path, file: Path, /, *, tiles: Any = None, **tables: Any) -> Recipe:
    """A recipe that says nothing else of tiles."""
    recipe = recipe_of(folder, file, **tables)
    return recipe.model_copy(update={"tiles": TileSpec.model_validate(tiles or {})})


def good(folder: Path, height: int, width: int) -> None:
    """Good images of a size."""
    (folder / "good").mkdir()
    web = SyntheticWeb(height, width, SEED)
    for number in range(8):
        write_png(folder / "good" / f"{number}.png", web.frame(number).pixels)


def off_grey(image: Any) -> Any:
    return opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))


def any_size(folder: Path, inside: int | None = None) -> Path:
    """A network that takes images of any size, and may make them its own within."""
    image = opset.parameter([-1, 3, -1, -1], ov.Type.f32, name="image")
    shown = image
    if inside is not None:
        shown = opset.interpolate(
            image, np.array([inside, inside]), "linear_onnx", "sizes", axes=np.array([2, 3])
        )  # fmt: skip
    return saved(folder, image, map=off_grey(shown))


def looked_through(recipe: Recipe) -> tuple[Prepared, str]:
    told = io.StringIO()
    with Steps(Console(file=told, width=400)) as steps:
        prepared = prepare(recipe)
        look_through(prepared, steps)
    return prepared, told.getvalue()


def test_a_network_of_the_frames_own_size_sees_the_frame_as_a_whole(tmp_path: Path) -> None:
    good(tmp_path, SIZE, SIZE)
    file = deviation(tmp_path, "map")
    prepared, told = looked_through(untiled(tmp_path, file, frame=SQUARE))
    assert (prepared.recipe.tiles.size_px, prepared.recipe.tiles.halo_px) == (SIZE, 0)
    assert len(prepared.grid) == 1
    assert "sees the frame as a whole" in told
    # Whoever says otherwise is heard.
    tiles = {"size_px": SIZE, "halo_px": 16}
    prepared, told = looked_through(recipe_of(tmp_path, file, frame=SQUARE, tiles=tiles))
    assert len(prepared.grid) == 4
    assert "sees tiles of 64 px, halo 16 px" in told


def test_a_recipes_file_need_not_name_tiles(tmp_path: Path) -> None:
    good(tmp_path, SIZE, SIZE)
    toml = tmp_path / "theirs.toml"
    deviation(tmp_path, "map")
    text = (
        f'name = "theirs"\nimages = {{ good = "good" }}\n'
        f"frame = {{ height_px = {SIZE}, width_px = {SIZE} }}\n"
        'model = { file = "model.xml", values = "0..1", mean = [0], std = [1] }\n'
    )
    toml.write_text(text)
    found = prepare(load_recipe(toml)).recipe
    assert (found.tiles.size_px, found.tiles.halo_px) == (SIZE, 0)
    toml.write_text(f"{text}tiles = {{ halo_px = 16 }}\n")
    found = prepare(load_recipe(toml)).recipe
    assert (found.tiles.size_px, found.tiles.halo_px) == (SIZE, 16)
    # What is said counts where it is as usual, too.
    toml.write_text(f"{text}tiles = {{ halo_px = {TileSpec().halo_px} }}\n")
    with pytest.raises(ConfigError, match=r"halo_px 32 leaves a core of 0 px"):
        prepare(load_recipe(toml))


def test_one_that_is_not_square_needs_no_tiles_either(tmp_path: Path) -> None:
    prepared = prepare(untiled(tmp_path, not_square(tmp_path, "map")))
    assert (prepared.recipe.tiles.size_px, prepared.recipe.tiles.halo_px) == (160, 0)


def test_tiles_are_of_the_networks_own_size_and_the_bundle_says_which(tmp_path: Path) -> None:
    recipe = untiled(tmp_path, deviation(tmp_path, "map"), tiles={"halo_px": 16})
    assert recipe.tiles.size_px != SIZE
    assert compiled(tmp_path, recipe).manifest.tiles.size_px == SIZE
    # A halo of 32 px on each side would leave nothing of 64.
    with pytest.raises(ConfigError, match=r"model\.xml: tiles: .*shrink halo_px"):
        prepare(untiled(tmp_path, deviation(tmp_path, "map")))
    with pytest.raises(ConfigError, match=r"tiles\.size_px is 96; set tiles\.size_px to 64"):
        prepare(recipe_of(tmp_path, deviation(tmp_path, "map"), tiles={"size_px": 96}))


def test_features_of_a_fixed_size_come_in_tiles_of_it_on_large_frames_too(tmp_path: Path) -> None:
    image = opset.parameter([1, 3, 128, 128], ov.Type.f32, name="image")
    found = opset.avg_pool(image, [8, 8], [0, 0], [0, 0], [8, 8], False)
    settings: dict[str, Any] = {
        "frame": {"height_px": 1344, "width_px": 1344}, "method": {"name": "patchcore"},
        "model": {"features": ("features",)}, "quantize": {"precision": "fp32"},
    }  # fmt: skip
    recipe = untiled(tmp_path, saved(tmp_path, image, features=found), **settings)
    assert prepare(recipe).recipe.tiles.size_px == 128
    image = opset.parameter([1, 3, -1, -1], ov.Type.f32, name="image")
    found = opset.avg_pool(image, [8, 8], [0, 0], [0, 0], [8, 8], False)
    recipe = untiled(tmp_path, saved(tmp_path, image, features=found), **settings)
    assert prepare(recipe).recipe.tiles.size_px == 512


def test_one_that_makes_images_its_own_size_sees_the_frame_as_a_whole(tmp_path: Path) -> None:
    frame = {"height_px": 128, "width_px": 128}
    prepared = prepare(untiled(tmp_path, any_size(tmp_path, 64), frame=frame))
    assert (prepared.recipe.tiles.size_px, prepared.recipe.tiles.halo_px) == (128, 0)
    # Of Anomalib's exports 256 px is the usual size.
    made = any_size(tmp_path, 256)
    prepared = prepare(untiled(tmp_path, made, frame={"height_px": 512, "width_px": 512}))
    assert (prepared.recipe.tiles.size_px, prepared.recipe.tiles.halo_px) == (512, 0)
    with pytest.raises(ConfigError, match=r"set frame\.height_px to 256.*fit to \"resize\""):
        prepare(untiled(tmp_path, made, frame={"height_px": 320, "width_px": 320}))
    # One that shows them as they are is of tiles, as ours are.
    prepared = prepare(untiled(tmp_path, any_size(tmp_path), frame=frame))
    assert (prepared.recipe.tiles.size_px, prepared.recipe.tiles.halo_px) == (256, 32)
    with pytest.raises(ConfigError, match=r"makes 64 x 64 px of every image.*height_px to 64"):
        prepare(untiled(tmp_path, any_size(tmp_path, 64)))
    tiles = {"size_px": 64, "halo_px": 16}
    assert prepare(recipe_of(tmp_path, any_size(tmp_path, 64), tiles=tiles)).recipe.tiles.halo_px


def by_place(folder: Path) -> Path:
    """A network that looks more closely at the lower right of its image."""
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    closer = np.linspace(1, 2, SIZE, dtype=np.float32)
    weight = (closer[:, None] * closer).reshape(1, 1, SIZE, SIZE)
    return saved(folder, image, map=opset.multiply(off_grey(image), weight))


def by_the_whole(folder: Path) -> Path:
    """A network that measures each place by the whole of its image."""
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    mean = opset.reduce_mean(image, np.array([1, 2, 3]), True)
    return saved(folder, image, map=opset.abs(opset.subtract(grey(image, False), mean)))


def blurred(folder: Path, side: int) -> Path:
    """A network that sees `side` px about a place, and black beyond its image."""
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    around = [side // 2, side // 2]
    mean = np.full((1, 1, side, side), 1 / side**2, np.float32)
    shown = opset.subtract(grey(image, False), np.float32(0.2))
    found = opset.convolution(shown, mean, [1, 1], around, around, [1, 1])
    return saved(folder, image, map=opset.abs(found))


@pytest.mark.parametrize("frame", [None, WEB])
@pytest.mark.parametrize("make", [by_place, by_the_whole])
def test_of_a_network_that_judges_by_the_place_in_its_tile_a_build_warns(
    tmp_path: Path, make: Any, frame: dict[str, Any] | None
) -> None:
    _, told = looked_through(
        recipe_of(
            tmp_path, make(tmp_path), tiles={"halo_px": 4}, **({"frame": frame} if frame else {})
        )
    )
    found = re.search(
        r"up to (\d+)% of the largest value apart with a halo of 4 px, and no wider", told
    )
    assert found
    assert int(found[1]) > 10
    assert ("see the frame as a whole" in told) == (frame is None)


@pytest.mark.parametrize("offset", [-100, 100])
@pytest.mark.parametrize("whole", [False, True])
def test_a_feature_of_one_channel_is_no_map(tmp_path: Path, whole: bool, offset: int) -> None:
    """Which counts from nothing."""
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    shown = opset.avg_pool(grey(image, False), [4, 4], [0, 0], [0, 0], [4, 4], False)
    if whole:
        shown = opset.subtract(shown, opset.reduce_mean(shown, np.array([2, 3]), True))
    file = saved(tmp_path, image, features=opset.add(shown, np.float32(offset)))
    recipe = recipe_of(
        tmp_path, file, model={"features": ["features"]}, frame=WEB, method={"name": "padim"},
        quantize={"precision": "fp32"},
    )  # fmt: skip
    _, told = looked_through(recipe)
    assert ("of the largest value apart with a halo of 16 px" in told) == whole


def test_a_tile_without_room_for_a_wider_halo_is_told_to_grow(tmp_path: Path) -> None:
    # Two tiles of 64 px with cores of 16 px see half of their shift in common.
    _, told = looked_through(
        recipe_of(tmp_path, by_the_whole(tmp_path), frame=WEB, tiles={"halo_px": 24})
    )
    assert "leave no room to try a wider one: raise tiles.size_px" in told


@pytest.mark.parametrize("whole", [False, True])
def test_features_are_tried_as_maps_are(tmp_path: Path, whole: bool) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    shown = opset.avg_pool(image, [4, 4], [0, 0], [0, 0], [4, 4], False)
    if whole:
        # What a squeeze and excitation does, too: each channel by the whole of its image.
        mean = opset.reduce_mean(shown, np.array([2, 3]), True)
        shown = opset.multiply(shown, opset.exp(opset.multiply(mean, np.float32(2))))
    file = saved(tmp_path, image, features=shown)
    recipe = recipe_of(
        tmp_path, file, frame=WEB, method={"name": "padim"}, quantize={"precision": "fp32"}
    )
    _, told = looked_through(recipe)
    assert ("of the largest value apart with a halo of 16 px" in told) == whole


def test_a_tile_without_a_halo_is_an_image_of_its_own(tmp_path: Path) -> None:
    _, told = looked_through(recipe_of(tmp_path, by_place(tmp_path), tiles={"halo_px": 0}))
    assert "apart" not in told


@pytest.mark.parametrize("frame", [None, WEB])
def test_a_halo_that_holds_what_a_place_sees_is_enough_and_is_named(
    tmp_path: Path, frame: dict[str, Any] | None
) -> None:
    tables = {"frame": frame} if frame else {}
    _, told = looked_through(recipe_of(tmp_path, blurred(tmp_path, 15), **tables))
    assert "apart" not in told
    seen = blurred(tmp_path, 23)
    _, told = looked_through(recipe_of(tmp_path, seen, tiles={"halo_px": 4}, **tables))
    assert re.search(r"halo of 4 px, and at 12 px it is 0%: set tiles\.halo_px", told)
    _, told = looked_through(recipe_of(tmp_path, seen, tiles={"halo_px": 12}, **tables))
    assert "apart" not in told


def test_a_network_of_one_tile_may_know_its_places(tmp_path: Path) -> None:
    for number in range(15):
        place = tmp_path / "networks" / f"tile{number // 5}_{number % 5}"
        place.mkdir(parents=True)
        by_place(place)
    _, told = looked_through(recipe_of(tmp_path, tmp_path / "networks"))
    assert "apart" not in told


def test_what_hardly_counts_beside_a_defect_is_no_difference(tmp_path: Path) -> None:
    image = opset.parameter([-1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    loud = opset.relu(opset.subtract(off_grey(image), np.float32(0.3)))
    # A trace of its place is all that it says of good ones.
    closer = np.linspace(1e-4, 2e-4, SIZE, dtype=np.float32)
    weight = (closer[:, None] + closer).reshape(1, 1, SIZE, SIZE)
    file = saved(tmp_path, image, map=opset.add(loud, weight))
    _, told = looked_through(recipe_of(tmp_path, file))
    assert "apart" not in told


def test_whole_frames_are_compared_as_an_inferencer_sees_them(tmp_path: Path) -> None:
    good(tmp_path, SIZE, SIZE)
    frame = {"frame": SQUARE}
    # What a recipe makes of its map is not the network's.
    recipe = untiled(tmp_path, by_place(tmp_path), **frame, score={"smooth_sigma_px": 2.0})
    bundle = compiled(tmp_path, recipe)
    proof = prove(recipe, bundle)
    assert proof.frames
    assert proof.holds, str(proof)
    assert "8 whole frames, half of them with a drawn defect: as the network alone" in str(proof)
    tiles = {"size_px": SIZE, "halo_px": 16}
    recipe = recipe_of(tmp_path, deviation(tmp_path, "map"), **frame, tiles=tiles)
    proof = prove(recipe, compiled(tmp_path, recipe))
    assert not proof.frames
    assert "tiles, each an image of its own" in str(proof)


def test_a_frame_that_is_not_square_is_proved_as_a_whole(tmp_path: Path) -> None:
    recipe = untiled(tmp_path, not_square(tmp_path, "map"))
    proof = prove(recipe, compiled(tmp_path, recipe))
    assert proof.frames
    assert proof.holds, str(proof)
