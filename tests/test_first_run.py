"""From a folder of images to a recipe that works, and what it says it assumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.first_recipe import bundle_name, core_for, first_recipe
from kenpin.compile.good_images.first_look import continues, find_good, group_of, look_at
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.recipe import Recipe, load_recipe

RNG = np.random.default_rng(5)


def nobody(_done: int, _total: int) -> None:
    pass


def folder_of(path: Path, images: list[np.ndarray], name: str = "{:03d}.png") -> Path:
    path.mkdir(parents=True)
    for number, pixels in enumerate(images):
        write_png(path / name.format(number), pixels)
    return path


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(60, 200, shape, np.uint8)


def parts(count: int, height: int = 120, width: int = 160) -> list[np.ndarray]:
    """Photographs of one thing that always lies alike."""
    thing = np.full((height, width), 60, np.int16)
    thing[20:90, 30:120] = 180
    thing[40:60, 50:70] = 90
    return [
        (thing + RNG.integers(-8, 8, thing.shape)).clip(0, 255).astype(np.uint8)
        for _ in range(count)
    ]


def recipe_for(folder: Path, tmp_path: Path) -> tuple[Recipe, list[str]]:
    first = first_recipe(look_at(folder, nobody), "first")
    file = tmp_path / "first.toml"
    file.write_text(first.text)
    return load_recipe(file), first.assumed


def test_parts_that_lie_alike_are_told_so(tmp_path: Path) -> None:
    recipe, assumed = recipe_for(folder_of(tmp_path / "bolts", parts(12)), tmp_path)
    assert (recipe.frame.geometry, recipe.frame.height_px, recipe.frame.width_px) == (
        "indexed", 120, 160,
    )  # fmt: skip
    assert recipe.method.name == "patchcore"
    assert recipe.method.position_weight == 4.0  # type: ignore[attr-defined]
    assert any("lie alike" in line for line in assumed)


def test_blocks_of_one_web_are_found_by_their_seams(tmp_path: Path) -> None:
    web = SyntheticWeb(64, 160, 3)
    folder = folder_of(tmp_path / "cloth", [web.frame(n).pixels for n in range(12)])
    recipe, assumed = recipe_for(folder, tmp_path)
    assert recipe.frame.geometry == "continuous"
    assert recipe.images.joined
    assert recipe.frame.width_px == 160
    assert any("begins where the one before it ended" in line for line in assumed)
    # What is no material is one mark away from being left out.
    toml = tmp_path / "first.toml"
    told, mark, zone = toml.read_text().partition("# [[web.ignore]]")
    toml.write_text(told + (mark + zone).replace("# ", ""))
    spec = load_recipe(toml).web
    assert spec is not None
    assert spec.ignore[0].right_px == 12


def test_the_same_blocks_shuffled_are_no_web(tmp_path: Path) -> None:
    images = [noise(64, 160) for _ in range(12)]
    assert not look_at(folder_of(tmp_path / "cloth", images), nobody).joined
    edges = [(image[0].astype(np.float32), image[-1].astype(np.float32)) for image in images]
    assert not continues(edges)


def test_long_recordings_of_one_width_are_a_web(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "rolls", [noise(400, 64) for _ in range(5)])
    recipe, _ = recipe_for(folder, tmp_path)
    assert recipe.frame.geometry == "continuous"
    assert not recipe.images.joined


def test_many_sizes_are_stretched_to_the_usual_one(tmp_path: Path) -> None:
    images = [noise(90 + 2 * n, 130 + n) for n in range(9)]
    recipe, assumed = recipe_for(folder_of(tmp_path / "tiles", images), tmp_path)
    assert recipe.frame.fit == "resize"
    assert (recipe.frame.height_px, recipe.frame.width_px) == (98, 134)
    assert any("9 were seen" in line for line in assumed)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (noise(96, 96, 3), {"to_grey": "luma", "bits": 8}),
        (np.repeat(noise(96, 96)[..., None], 3, axis=2), {"to_grey": "luma", "bits": 8}),
        (noise(96, 96).astype(np.uint16) * 16, {"to_grey": None, "bits": 12}),
    ],
    ids=["colour", "grey in three channels", "12 bits"],
)
def test_colour_and_depth_are_taken_as_they_are(pixels, expected, tmp_path: Path) -> None:
    images = [np.roll(pixels, 7 * n, axis=1) for n in range(6)]
    recipe, _ = recipe_for(folder_of(tmp_path / "in", images), tmp_path)
    assert {key: getattr(recipe.frame, key) for key in expected} == expected


def test_good_ones_are_found_where_datasets_keep_them(tmp_path: Path) -> None:
    for name in ("train/good", "test/good", "ng"):
        folder_of(tmp_path / name, parts(5))
    good, ng, labelled = find_good(tmp_path)
    assert (good, ng, labelled) == (tmp_path / "train" / "good", tmp_path / "ng", tmp_path)
    # A test set is for `eval`: nothing of it goes into the recipe.
    recipe, _ = recipe_for(tmp_path, tmp_path)
    assert recipe.images.ng == tmp_path / "ng"


def test_good_and_bad_in_one_folder_are_not_guessed_apart(tmp_path: Path) -> None:
    folder_of(tmp_path / "in" / "defects", parts(3))
    write_png(tmp_path / "in" / "0.png", parts(1)[0])
    with pytest.raises(ConfigError, match="put the good images into a folder good/"):
        find_good(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no image"):
        find_good(tmp_path / "empty")
    with pytest.raises(ConfigError, match="no such folder"):
        find_good(tmp_path / "none")


def test_names_that_begin_alike_are_parts_only_where_there_are_several() -> None:
    assert group_of([f"t{n // 4}_{n % 4}.png" for n in range(24)]) == "^[^_]*(?=_)"
    assert group_of([f"img_{n}.png" for n in range(24)]) is None
    assert group_of([f"t{n}_0.png" for n in range(24)]) is None
    assert group_of([f"{n}.png" for n in range(24)]) is None


def test_what_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", parts(6))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    recipe, assumed = recipe_for(folder, tmp_path)
    assert recipe.images.exclude == ("broken.png",)
    assert any("broken.png" in line for line in assumed)


def test_whatever_a_name_holds_the_recipe_can_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / 'two\nlines "and" \\ größe 検品\x7f', parts(6), "{:03d}.png")
    folder_of(folder / "monday", parts(3))
    broken = folder / "\N{WRENCH}\n.png"
    broken.write_bytes(b"nothing")
    # Of two files of one name the one that cannot be read is left out.
    (folder / "monday" / "001.png").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    assert edge_compile(["init", str(folder), "-o", "first.toml"]) == Exit.DONE
    recipe = load_recipe(tmp_path / "first.toml")
    assert Path(recipe.images.good) == folder
    assert set(recipe.images.exclude) == {broken.name, "monday/001.png"}
    assert len(look_at(folder, nobody).files) == 8


def test_a_folder_that_no_recipe_can_name_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "\udcff", parts(6))
    monkeypatch.chdir(tmp_path)
    assert edge_compile(["init", str(folder)]) == Exit.CONFIG
    assert "no UTF-8" in capsys.readouterr().err
    assert [one.suffix for one in tmp_path.iterdir()] == [""]


def test_cores_cover_the_frame() -> None:
    assert core_for((256, 4096)) == 256
    assert core_for((192, 192)) == 192
    assert core_for((100, 100)) == 128
    assert core_for((320, 320)) == 160


@pytest.mark.thorough
def test_a_folder_becomes_a_bundle_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "Bolts & Nuts", parts(8))
    monkeypatch.chdir(tmp_path)
    quick = ["--set", "report={twins_each=0,speed_s=0}", "--set", "method.coreset_rows=100"]
    quick += [
        "--set",
        "quantize={calibration_tiles=8,guard_tiles=8}",
        "--set",
        "backbone.name=gabor",
    ]
    assert edge_compile(["build", str(folder), *quick]) == Exit.DONE
    assert bundle_name(folder) == "bolts-nuts"
    assert (tmp_path / "bundles" / "current" / "manifest.json").exists()
    assert read_pixels(tmp_path / "bolts-nuts.contact-sheet.png").shape[2] == 3
    assert "which assumes that" in capsys.readouterr().out
    # What was written once is the user's: it is used, and never written over.
    assert edge_compile(["check", str(folder)]) == Exit.DONE
    assert "as it is" in capsys.readouterr().err
    assert edge_compile(["init", str(folder)]) == Exit.FILES
    assert "is there already" in capsys.readouterr().err
