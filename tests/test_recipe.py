"""A recipe either makes sense as a whole, or everything wrong with it is named at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kenpin.config.errors import ConfigError
from kenpin.config.methods import PadimSpec, PatchCoreSpec
from kenpin.config.recipe import Recipe, ThresholdSpec, load_recipe
from kenpin.config.tiles import TileSpec

CONFIG = Path(__file__).resolve().parents[1] / "config"
EXAMPLES = sorted(set(CONFIG.glob("*.toml")) - set(CONFIG.glob("line-*.toml")))

TABLES = {
    "images": 'good = "good"',
    "frame": "height_px = 256\nwidth_px = 512",
    "method": 'name = "padim"',
}


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe, the smallest there is but for the tables given; None drops one."""

    def write(text='name = "cloth"', **tables):
        parts = [text]
        for name, content in (TABLES | tables).items():
            if content is not None:
                parts.append(f"[{name}]\n{content}")
        path = tmp_path / "recipe.toml"
        path.write_text("\n".join(parts), encoding="utf-8")
        return path

    return write


def refusal(path, *changes):
    """What is said about a recipe that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, changes)
    return str(caught.value)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads(path):
    assert load_recipe(path).images.good.is_absolute()


def test_there_are_examples():
    assert EXAMPLES


def test_the_smallest_recipe_gets_the_documented_defaults(recipe):
    loaded = load_recipe(recipe())
    assert loaded.backbone.name == "gabor"
    assert loaded.quantize.precision == "int8"
    assert loaded.threshold.method == "false_rejects"
    assert loaded.method == PadimSpec(name="padim", granularity="dense", share="frame")
    assert (loaded.tiles.core_px, loaded.tiles.step_px) == (192, 192)


def test_a_recipe_cannot_be_changed_once_loaded(recipe):
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe(recipe()).tiles.size_px = 64


# What is refused


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"tiles": "sizepx = 256"}, "tiles.sizepx"),
        ({"method": 'name = "padim"\ncoreset_rows = 9'}, "method.coreset_rows"),
        ({"method": 'name = "patchcore"\ngranularity = "dense"'}, "method.granularity"),
        ({"speed": "fast = true"}, "speed"),
    ],
)
def test_an_unknown_key_is_named(recipe, tables, key):
    said = refusal(recipe(**tables))
    assert f"recipe.toml: {key}: unknown key; docs/reference/recipe.md" in said


def test_every_problem_is_named_at_once(recipe):
    path = recipe(
        "",
        images=None,
        frame="height_px = 4\nwidth_px = 512\nchannels = 2",
        tiles="size_px = 64\nhalo_px = 32",
        method='name = "patchcore"\ncoreset_rows = 9\ncoreset_ratio = 0.1',
        score="smooth_sigma_px = nan",
        threshold='method = "fixed"',
        engin="batch = 4",
    )
    lines = refusal(path).removeprefix(f"{path}: ").splitlines()
    assert sorted(line.split(":")[0] for line in lines) == [
        "engin",
        "frame.channels",
        "frame.height_px",
        "images",
        "method",
        "name",
        "score.smooth_sigma_px",
        "threshold",
        "tiles",
    ]


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_table_is_named(recipe, table):
    assert f"{table}: is missing" in refusal(recipe(**{table: None}))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"tiles": "size_px = 64\nhalo_px = 25"}, "leaves a core of 14 px; expected at least 16"),
        ({"tiles": "size_px = 64\nhalo_px = 40"}, "leaves a core of -16 px"),
        (
            {"tiles": "size_px = 128\nhalo_px = 32\nstride_px = 65"},
            "stride_px 65 is larger than the core of 64 px",
        ),
        ({"tiles": "size_px = 128\nstride_px = 0"}, "tiles.stride_px: "),
        (
            {"method": 'name = "patchcore"\ncoreset_rows = 9\ncoreset_ratio = 0.1'},
            "method: coreset_rows and coreset_ratio are both given",
        ),
        (
            {"method": 'name = "padim"\ndimensions = 9\nfeature_ratio = 0.1'},
            "method: dimensions and feature_ratio are both given",
        ),
        ({"method": 'name = "padim"\ngranularity = "1/2"'}, "method.granularity: "),
        ({"method": 'name = "padim"\nshare = "row"'}, "method.share: "),
        ({"method": 'name = "padim"\nshrinkage = 0.0'}, "method.shrinkage: "),
        ({"method": 'name = "patchcore"\ncoreset_ratio = 1.5'}, "method.coreset_ratio: "),
        (
            {"method": 'name = "patchcore"\nreweight_neighbours = 1'},
            "reweight_neighbours 1 weighs a score by itself",
        ),
        ({"method": 'name = "svdd"'}, "method: "),
        ({"threshold": 'method = "f1"'}, 'threshold method "f1" needs `images.ng`'),
        ({"threshold": 'method = "fixed"'}, 'method "fixed" needs `ok`'),
        ({"threshold": "ok = 3.0"}, '`ok` and `ng` belong to method "fixed"'),
        ({"threshold": 'method = "fixed"\nok = 3.0\nng = 2.0'}, "ng 2.0 is below ok 3.0"),
        ({"threshold": "false_rejects = 0.0"}, "threshold.false_rejects: "),
        ({"threshold": 'false_rejects = "x%"'}, "expected a share such as 0.02"),
        ({"threshold": "margin = 0.1"}, "margin is no more: a threshold keeps its promise"),
        ({"threshold": "false_reject_rate = 0.1"}, "is called false_rejects now"),
        ({"threshold": 'method = "held_out"'}, 'is called "false_rejects" now'),
        ({"threshold": "escape_cost = 3"}, 'method "cost" and `escape_cost` belong together'),
        ({"threshold": 'method = "cost"'}, 'method "cost" and `escape_cost` belong together'),
        ({"images": 'good = "good"\nheld_out = 0.2'}, "held_out is no more"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(recipe, tables, message):
    assert message in refusal(recipe(**tables))


@pytest.mark.parametrize("name", ["", "Cloth", "a b", "../cloth", "-cloth", "x" * 65])
def test_a_name_that_could_not_be_a_folders_is_refused(recipe, name):
    assert "name: " in refusal(recipe(f'name = "{name}"'))


def test_f1_with_a_folder_of_ng_images_is_accepted(recipe):
    path = recipe(images='good = "good"\nng = "ng"', threshold='method = "f1"')
    assert load_recipe(path).threshold == ThresholdSpec(method="f1")


@pytest.mark.parametrize(("text", "rate"), [('"2%"', 0.02), ('"0.1 %"', 0.001), ("0.05", 0.05)])
def test_a_rate_is_a_share_or_a_percentage(recipe, text, rate):
    assert load_recipe(recipe(threshold=f"false_rejects = {text}")).threshold.false_rejects == rate


@given(st.integers(32, 2048), st.integers(0, 1024), st.integers(1, 2048))
def test_tiles_are_accepted_exactly_where_their_cores_leave_no_gap(size, halo, stride):
    try:
        tiles = TileSpec(size_px=size, halo_px=halo, stride_px=stride)
    except ValidationError:
        assert size - 2 * halo < 16 or stride > size - 2 * halo
    else:
        assert 16 <= tiles.core_px == size - 2 * halo
        assert 1 <= tiles.step_px == stride <= tiles.core_px


# Files


def test_a_missing_file_is_named(tmp_path):
    assert refusal(tmp_path / "gone.toml").startswith(f"{tmp_path / 'gone.toml'}: cannot be read")


@pytest.mark.parametrize("content", [b"name: cloth\n", b"\x89PNG\r\n", b"name = 'a'\nname = 'b'"])
def test_a_file_that_is_not_toml_is_refused(tmp_path, content):
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: not TOML: ")


def test_paths_start_at_the_recipes_folder(recipe, tmp_path, monkeypatch):
    path = recipe(
        images='good = "../photos/good"\nng = "ng"', backbone='name = "resnet18"\nweights = "w.pth"'
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    loaded = load_recipe(Path("../recipe.toml"))
    folder = tmp_path.resolve()
    assert loaded == load_recipe(path)
    assert loaded.images.good == folder / "../photos/good"
    assert loaded.images.ng == folder / "ng"
    assert loaded.backbone.weights == folder / "w.pth"


def test_absolute_paths_stay_and_absent_ones_stay_absent(recipe):
    loaded = load_recipe(recipe(images='good = "/data/good"'))
    assert loaded.images.good == Path("/data/good")
    assert loaded.images.ng is None
    assert loaded.backbone.weights is None


# Changes


def test_changes_replace_what_the_file_says(recipe):
    path = recipe(tiles="size_px = 128")
    changes = [
        "tiles.size_px=320",
        "quantize.precision=fp32",
        "frame.fit=resize",
        'method={name="patchcore", coreset_rows=5}',
        "method.share=column",
        'name="other"',
    ]
    loaded = load_recipe(path, changes)
    assert loaded.tiles == TileSpec(size_px=320)
    assert loaded.quantize.precision == "fp32"
    assert loaded.frame.fit == "resize"
    assert loaded.method == PatchCoreSpec(name="patchcore", coreset_rows=5, share="column")
    assert loaded.name == "other"


def test_a_value_that_is_not_toml_is_taken_as_text(recipe):
    path = recipe()
    assert load_recipe(path, ["images.good=my photos"]).images.good == path.parent / "my photos"
    assert load_recipe(path, ["method.granularity=1/4"]).method.model_dump()["granularity"] == "1/4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tiles.size_px", "'tiles.size_px': expected KEY=VALUE"),
        ("=3", "'=3': expected KEY=VALUE"),
        ("name.first=3", "'name.first=3': name is a value, not a table"),
        ("tiles.sizepx=3", "tiles.sizepx: unknown key"),
        ("tiles.size_px=wide", "tiles.size_px: "),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(recipe, change, message):
    assert message in refusal(recipe(), change)


TALL = {"height_px": 1344, "width_px": 4032}


@pytest.mark.parametrize(
    ("frame", "tiles", "method", "size_px"),
    [
        (TALL, {}, {"name": "patchcore"}, 512),
        # Too low; and a second row of 448 lines would be mirrored beyond the frame's end.
        ({"height_px": 256, "width_px": 4096}, {}, {"name": "patchcore"}, 256),
        ({"height_px": 460, "width_px": 460}, {}, {"name": "patchcore"}, 256),
        (TALL, {"size_px": 256}, {"name": "patchcore"}, 256),
        (TALL, {"stride_px": 96}, {"name": "patchcore"}, 256),
        ({"height_px": 960, "width_px": 3840}, {"halo_px": 16}, {"name": "patchcore"}, 512),
        # What tells places in a tile apart would have fewer images for each.
        (TALL, {}, {"name": "patchcore", "position_weight": 1.0}, 256),
        (TALL, {}, {"name": "patchcore", "share": "tile"}, 256),
        (TALL, {}, {"name": "padim"}, 256),
        ({"geometry": "continuous", "width_px": 4096}, {}, {"name": "patchcore"}, 256),
    ],
)
def test_tiles_are_large_where_that_is_fewer_pixels_and_places_are_alike(
    frame, tiles, method, size_px
):
    tree = {"name": "n", "images": {"good": "."}, "frame": frame, "method": method}
    assert Recipe.model_validate(tree | {"tiles": tiles}).tiles.size_px == size_px
    if not tiles:
        assert Recipe.model_validate(tree).tiles.size_px == size_px
