"""`edge-compile import` before a build's minutes: what it asks for, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openvino as ov
import pytest
from openvino import opset13 as opset

from kenpin.compile.importing.imported_network import ImportedNetwork
from kenpin.config.errors import ConfigError
from test_imported import SIZE, deviation, grey, recipe_of, saved


def test_all_that_cannot_be_seen_is_asked_for_at_once(tmp_path: Path) -> None:
    nothing = {"values": None, "mean": (), "std": ()}
    colour = {"height_px": 96, "width_px": 160, "channels": 3}
    with pytest.raises(
        ConfigError, match=r"model\.values; nor .*model\.mean .*; nor .*model\.colours"
    ):
        ImportedNetwork(
            recipe_of(tmp_path, deviation(tmp_path, "map"), model=nothing, frame=colour)
        )


@pytest.mark.parametrize(
    ("values", "mean", "std", "remedy"),
    [
        ("0..255", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "set it to 0..1"),
        ("0..1", (123.7, 116.3, 103.5), (58.4, 57.1, 57.4), "set it to 0..255"),
        ("0..1", (0,), (255,), "set it to 0..255"),
        ("0..1", (0.5,), (0.5,), None),
        ("0..1", (0,), (1,), None),
        ("0..255", (127.5,), (1,), None),
        ("0..255", (0,), (255,), None),
    ],
)
def test_a_mean_is_in_the_measure_of_the_pixels(
    tmp_path: Path, values: str, mean: Any, std: Any, remedy: str | None
) -> None:
    model = {"values": values, "mean": mean, "std": std}
    recipe = recipe_of(tmp_path, deviation(tmp_path, "map"), model=model)
    if remedy is None:
        ImportedNetwork(recipe)
        return
    with pytest.raises(ConfigError, match=remedy):
        ImportedNetwork(recipe)


def test_two_channels_are_no_map_and_nobody_named_features(tmp_path: Path) -> None:
    image = opset.parameter([1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    two = opset.softmax(opset.concat([grey(image, False)] * 2, 1), 1)
    with pytest.raises(ConfigError, match=r"map has the shape \[1, 2, 64, 64\].* one channel"):
        ImportedNetwork(recipe_of(tmp_path, saved(tmp_path, image, map=two)))


def test_a_mask_leaves_nothing_out_of_a_score(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, deviation(tmp_path, "score"))
    masked = recipe.images.model_copy(update={"mask": tmp_path / "mask.png"})
    with pytest.raises(ConfigError, match=r"one score for a whole tile, of which images\.mask"):
        ImportedNetwork(recipe.model_copy(update={"images": masked}))
