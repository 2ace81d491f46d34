"""`edge-compile import` before a build's minutes: what it asks for, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import openvino as ov
import pytest
from openvino import opset13 as opset

from kenpin.camera.files.images import write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.evaluation.prove import expect_provable
from kenpin.compile.importing.imported_network import ImportedNetwork
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
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


def test_what_cannot_be_proved_is_told_before_a_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_provable(recipe_of(tmp_path, deviation(tmp_path, "map", "score"), model={"map": "map"}))
    image = opset.parameter([1, 3, SIZE, SIZE], ov.Type.f32, name="image")
    features = opset.relu(opset.concat([grey(image, False)] * 4, 1))
    by_features = recipe_of(
        tmp_path, saved(tmp_path, image, features=features), method={"name": "padim"}
    )
    with pytest.raises(ConfigError, match=r"model\.xml gives features, of which padim makes maps"):
        expect_provable(by_features)
    plain = deviation(tmp_path, "map")
    with pytest.raises(ConfigError, match="which INT8 does not keep"):
        expect_provable(recipe_of(tmp_path, plain, quantize={"precision": "int8"}))
    names = ("anomaly_map", "pred_score")
    theirs = recipe_of(tmp_path, deviation(tmp_path, "map", "score", batch=1, names=names))
    with pytest.raises(ConfigError, match=r"--anomalib .*nowhere: cannot be run \(No such file"):
        expect_provable(theirs, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot run Anomalib's OpenVINOInferencer"):
        expect_provable(theirs, Path(sys.executable))
    command = ["import", str(plain), "recipe.toml", "-o", str(tmp_path / "store")]
    assert edge_compile([*command, "--anomalib", "python"]) == Exit.CONFIG
    assert "give --prove, too" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_a_folder_of_images_is_recipe_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles and method are the network's own, so the first recipe leaves them to it."""
    images = tmp_path / "parts"
    images.mkdir()
    # Of a web each, for pieces of one would be taken for it.
    for number in range(8):
        write_png(images / f"{number}.png", SyntheticWeb(SIZE, SIZE, number).frame(0).pixels)
    monkeypatch.chdir(tmp_path)
    file = deviation(tmp_path, "map")
    said = 'model={values="0..1",mean=[0],std=[1]}'
    command = ["import", str(file), str(images), "-o", "bundles", "--prove", "--set", said]
    command += ["--set", "report.twins_each=0", "--set", 'threshold.false_rejects="20%"']
    assert edge_compile(command) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert "sees the frame as a whole" in told.out + told.err
    assert "edge-compile import MODEL THIS_FILE" in Path("parts.toml").read_text()
