"""A search for a recipe: its own beside it, given up early, resumed, chosen within a time."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reference_networks as reference
from bundles import Workshop
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.good_images.images import learned_from
from kenpin.compile.recipe_search.attempt import Attempt, Found, OutOfTimeError, few
from kenpin.compile.recipe_search.results import _axis
from kenpin.compile.recipe_search.space import Space
from kenpin.compile.recipe_search.study import (
    HEADROOM,
    Budget,
    RecipeSearch,
    Tried,
    budget_of,
    chosen,
    front,
)
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.recipe import Recipe, load_recipe
from kenpin.runtime.box.yardstick import Yardstick, read_yardstick
from kenpin.runtime.doctor import main as edge_doctor

BUDGET = Budget(100 * HEADROOM, "130 ms a frame")


def found(share: float, ms: float) -> Found:
    return Found(share, share - 0.03, share + 0.03, None, ms, 0.1, f"b-{share}-{ms}")


@dataclass(frozen=True)
class Formula(Attempt):
    """Instead of compiling: larger banks and more dimensions find more and take longer."""

    wholes: list[Recipe] = field(default_factory=list)

    def whole(self, recipe: Recipe) -> Found:
        self.wholes.append(recipe)
        return self.quick(recipe)

    def quick(self, recipe: Recipe) -> Found:
        method: Any = recipe.method
        if method.name == "patchcore":
            return found(0.5 + method.coreset_rows / 20_000, method.coreset_rows / 30)
        if method.granularity == "1/4":
            raise ConfigError("no such thing")
        return found(0.3 + (method.dimensions or 100) / 400, 20 + (method.dimensions or 100) / 10)


@pytest.fixture
def recipe(workshop: Workshop) -> Recipe:
    return load_recipe(workshop.recipe)


def search(folder: Path, recipe: Recipe, **changes: Any) -> RecipeSearch:
    folder.mkdir(exist_ok=True)
    attempt = Formula(**{"store": folder, "rate": 0.01, "lines": 128, **changes})
    return RecipeSearch(folder, recipe, Space(recipe, {"gabor": None}), attempt)


def run(one: RecipeSearch, most: int) -> list[Tried]:
    said: list[Tried] = []
    one.run(BUDGET, 1e6, most, said.append)
    return said


def test_the_users_own_recipe_is_tried_first_and_what_is_chosen_is_no_worse(
    tmp_path: Path, recipe: Recipe
) -> None:
    told = run(search(tmp_path, recipe), 30)
    assert len(told) == 30
    own = load_recipe(tmp_path / "trials" / "000.toml")
    assert own.method == recipe.method
    assert (own.tiles, own.backbone, own.images) == (recipe.tiles, recipe.backbone, recipe.images)
    best = chosen(told, BUDGET)
    assert best.found is not None
    assert best.found.ms <= BUDGET.ms / HEADROOM
    assert told[0].found is not None
    assert best.found.separation >= told[0].found.separation - 0.01
    # 2,000 rows take 67 ms, 4,000 too many.
    assert best.found.share == pytest.approx(0.6)
    fast = [one.found.ms for one in front(told) if one.found]
    assert fast == sorted(fast)
    assert any(one.why == "cannot be compiled: no such thing" for one in told) or not any(
        one.settings.get("method.granularity") == "1/4" for one in told
    )


def test_what_is_too_slow_or_clearly_worse_at_a_glance_is_not_compiled_whole(
    tmp_path: Path, recipe: Recipe
) -> None:
    attempt = Formula(tmp_path, 0.01, 128)
    told = run(RecipeSearch(tmp_path, recipe, Space(recipe, {"gabor": None}), attempt), 30)
    assert len(attempt.wholes) == sum(one.found is not None for one in told)
    assert any("with a small bank already" in one.why for one in told)
    assert any("is no slower" in one.why for one in told)
    for one in told:
        assert one.found or one.why


def test_a_recipe_that_takes_too_long_to_compile_is_given_up_but_not_the_users_own(
    tmp_path: Path, recipe: Recipe
) -> None:
    with pytest.raises(OutOfTimeError, match="not compiled within 0 s"):
        Attempt(tmp_path, 0.01, 128, most_s=0).quick(recipe)

    class Slow(Formula):
        def whole(self, recipe: Recipe) -> Found:
            if self.most_s < 99:
                raise OutOfTimeError("not compiled within 9 s")
            return super().whole(recipe)

    attempt = Slow(tmp_path, 0.01, 128, most_s=9)
    told = run(RecipeSearch(tmp_path, recipe, Space(recipe, {"gabor": None}), attempt), 6)
    assert told[0].found is not None
    assert any(one.why == "not compiled within 9 s" for one in told)
    assert all(one.found is None for one in told[1:])


def test_a_search_that_was_broken_off_goes_on_where_it_was(tmp_path: Path, recipe: Recipe) -> None:
    class TornError(Exception):
        """Pulls the plug."""

    before = run(search(tmp_path, recipe), 5)
    second = search(tmp_path, recipe)
    assert second.tried == before

    def torn(_: Recipe) -> Found:
        raise TornError

    object.__setattr__(second._attempt, "quick", torn)
    with pytest.raises(TornError):
        run(second, 9)
    third = search(tmp_path, recipe)
    assert third.tried == before
    after = run(third, 9)
    assert [one.number for one in third.tried[:5]] == [one.number for one in before]
    assert len(third.tried) == 9
    # What was in hand when it was torn is tried first.
    lost = tomllib.loads((tmp_path / "trials" / "005.toml").read_text())
    again = tomllib.loads((tmp_path / "trials" / f"{after[0].number:03d}.toml").read_text())
    assert again == lost


def test_another_recipe_or_rate_does_not_go_on_with_a_search(
    tmp_path: Path, recipe: Recipe
) -> None:
    run(search(tmp_path, recipe), 1)
    with pytest.raises(ConfigError, match="the search of another recipe"):
        search(tmp_path, recipe, rate=0.02)
    with pytest.raises(ConfigError, match="the search of another recipe"):
        search(tmp_path, recipe.model_copy(update={"name": "other"}))
    # Other pictures under the same names, of the same size.
    one = min(recipe.images.good.iterdir())
    # Whoever shares the images with an earlier run finds it changed by that already.
    before, later = one.read_bytes(), one.stat().st_mtime + 5
    one.write_bytes(before)
    os.utime(one, (later, later))
    with pytest.raises(ConfigError, match="other images"):
        search(tmp_path, recipe)


def test_of_equals_the_fastest_is_chosen_and_none_within_the_time_is_an_error() -> None:
    def tried(number: int, share: float, ms: float) -> Tried:
        return Tried(number, {}, found(share, ms), None, "")

    told = [tried(0, 0.6, 90), tried(1, 0.595, 30), tried(2, 0.5, 10), tried(3, 0.9, 400)]
    assert chosen(told, BUDGET).number == 1
    assert [one.number for one in front(told)] == [2, 1, 0, 3]
    with pytest.raises(ConfigError, match="the fastest takes 10 ms"):
        chosen(told, replace(BUDGET, ms=5))


@pytest.mark.parametrize(
    ("rate", "ms"), [("20khz", 12.8), ("20000", 12.8), ("20 kHz", 12.8), ("0.02MHz", 12.8)]
)
def test_a_line_rate_is_the_time_in_which_a_frame_comes(rate: str, ms: float) -> None:
    assert budget_of(rate, None, 256).ms == pytest.approx(ms)
    assert budget_of(None, 40.0, 256).ms == 40


@pytest.mark.parametrize("rate", ["fast", "0", "1.2.3khz", "-5"])
def test_what_is_no_line_rate_is_refused(rate: str) -> None:
    with pytest.raises(ConfigError, match="scan lines a second"):
        budget_of(rate, None, 256)


def test_a_first_glance_sees_fewer_images_and_rows(recipe: Recipe, tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02d}.png").write_bytes(b"")
    many = recipe.model_copy(
        update={
            "images": recipe.images.model_copy(
                update={"good": tmp_path, "keep": ("00.png", "01.png")}
            )
        }
    )
    glance = few(many)
    assert len(glance.images.exclude) == 30
    assert glance.images.keep == ("00.png",)
    assert glance.report.twins_each == 2
    assert few(recipe).images.exclude == ()


def glanced(recipe: Recipe, folder: Path, **images: Any) -> tuple[list[str], Recipe]:
    """The files that a first glance learns from."""
    spec = recipe.images.model_copy(update={"good": folder, **images})
    glance = few(recipe.model_copy(update={"images": spec}))
    return [file.name for file in learned_from(glance.images)], glance


def test_a_first_glance_keeps_what_a_bare_name_keeps(recipe: Recipe, tmp_path: Path) -> None:
    """Of a file that the glance leaves out its name is gone, too: no attempt was possible."""
    (tmp_path / "monday").mkdir()
    for number in range(60):
        (tmp_path / "monday" / f"{number:02d}.png").write_bytes(b"")
    names = {"keep": ("01.png", "04.png"), "exclude": ("02.png",)}
    files, glance = glanced(recipe, tmp_path, **names)
    assert files[:3] == ["00.png", "03.png", "05.png"]
    assert glance.images.keep == ()
    names["keep"] = ("03.png", "monday/05.png", "06.png")
    assert glanced(recipe, tmp_path, **names)[1].images.keep == ("03.png", "monday/05.png")


def test_a_first_glance_at_a_joined_web_sees_a_piece_of_it(recipe: Recipe, tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number:02d}.png").write_bytes(b"")
    files, _ = glanced(recipe, tmp_path, joined=True)
    assert files == [f"{number:02d}.png" for number in range(25)]


@pytest.mark.parametrize(
    ("own", "key", "value"),
    [
        ("name='patchcore',coreset_ratio=0.01", "method.coreset_rows", 1000),
        ("name='padim',feature_ratio=0.5", "method.dimensions", 40),
    ],
)
def test_a_number_that_is_tried_takes_the_place_of_the_users_share(
    workshop: Workshop, tmp_path: Path, own: str, key: str, value: int
) -> None:
    recipe = load_recipe(workshop.recipe, [f"method={{{own}}}"])
    space = Space(recipe, {"gabor": None})
    for tried in (value, None):
        file = tmp_path / f"{tried}.toml"
        file.write_text(space.text({**space.own(), key: tried}))
        method = load_recipe(file).method
        assert getattr(method, key.split(".")[1]) == tried
        assert (method == recipe.method) == (tried is None)


def test_a_map_whose_highest_place_is_the_score_is_not_blurred(workshop: Workshop) -> None:
    def offered(method: str) -> tuple[Any, ...]:
        asked: dict[str, tuple[Any, ...]] = {}

        def choose(key: str, options: tuple[Any, ...]) -> Any:
            return asked.setdefault(key, options)[0]

        Space(load_recipe(workshop.recipe, [f"method={{{method}}}"]), {"gabor": None}).suggest(
            choose
        )
        return asked["score.smooth_sigma_px"]

    assert offered('name="stfpm"') == (2.0, 4.0, 8.0, 12.0)
    assert offered('name="metric"') == (0.0,)
    assert offered('name="ensemble",members=[{name="stfpm"},{name="ganomaly"}]') == (0.0,)


def test_layers_that_a_weights_file_lacks_are_not_tried(tmp_path: Path, recipe: Recipe) -> None:
    weights = reference.Weights()
    reference.resnet("resnet18", weights, np.zeros((1, 1, 32, 32), np.uint8), 1)
    torch.save(weights.state, tmp_path / "to-layer1.pth")
    space = Space(recipe, {"resnet18": tmp_path / "to-layer1.pth"})

    def offered(backbone: str) -> tuple[Any, ...]:
        asked: dict[str, tuple[Any, ...]] = {}

        def choose(key: str, options: tuple[Any, ...]) -> Any:
            asked[key] = options
            return backbone if key == "backbone.name" else options[0]

        space.suggest(choose)
        return next(options for key, options in asked.items() if key.startswith("backbone.layers"))

    assert offered("resnet18") == ("layer1",)
    assert offered("gabor")[0] is None


def test_weights_that_give_no_layer_are_refused_before_the_search(
    tmp_path: Path, recipe: Recipe
) -> None:
    with pytest.raises(ConfigError, match=r"no\.pth: no such weights file"):
        Space(recipe, {"resnet34": tmp_path / "no.pth"})


@pytest.mark.parametrize(
    ("shares", "lines"),
    [
        ([0.24, 0.29], [0.24, 0.25, 0.26, 0.27, 0.28, 0.29]),
        ([0.07, 0.31], [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35]),
        ([0.0, 1.0], [0.0, 0.25, 0.5, 0.75, 1.0]),
        ([0.3], [0.3, 0.31]),
    ],
)
def test_the_picture_shows_the_shares_that_were_found_and_little_else(
    shares: list[float], lines: list[float]
) -> None:
    assert _axis(shares) == lines


def test_nothing_is_tuned_on_a_test_set(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    defects = next((workshop.data / "test").iterdir())
    recipe = tmp_path / "on-test.toml"
    recipe.write_text(
        workshop.recipe.read_text().replace("[images]", f'[images]\nng = "{defects}"')
    )
    command = ["tune", str(recipe), "--budget-ms", "1000", "-o", str(tmp_path / "out")]
    assert edge_compile(command) == Exit.CONFIG
    assert "chosen by a test set" in capsys.readouterr().err


@pytest.mark.thorough
def test_the_command_writes_a_recipe_that_compiles_and_says_why(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    out, box = tmp_path / "out", tmp_path / "box.json"
    assert edge_doctor(["measure", "-o", str(box), "--seconds", "0"]) == 0
    command = ["tune", str(workshop.recipe), "--budget-ms", "60000", "--trials", "1"]
    command += ["--measured", str(box), "--false-rejects", "5%", "-o", str(out)]
    assert edge_compile(command) == 0
    said = capsys.readouterr()
    assert "16 good images" in said.err
    assert "no test set was read" in said.err
    tuned = load_recipe(out / "tuned.toml")
    own = load_recipe(workshop.recipe)
    assert (tuned.method, tuned.tiles) == (own.method, own.tiles)
    assert "# method.coreset_rows 300: " in (out / "tuned.toml").read_text()
    assert (out / "tuned.png").read_bytes()[:4] == b"\x89PNG"
    page = (out / "tuned.html").read_text()
    assert "default-src 'none'" in page
    assert "Number 0 is chosen" in page
    (bundle,) = (
        p
        for p in (out / "bundles").iterdir()
        if p.is_dir() and not p.is_symlink() and (p / "manifest.json").is_file()
    )
    assert json.loads((bundle / "manifest.json").read_text())["twin_scores"]
    report = json.loads(bundle.with_name(f"{bundle.name}.report.json").read_text())
    assert report["lowest_instruction_set"]["largest_difference"] <= 0.005


def test_a_box_is_compared_by_the_same_work(tmp_path: Path) -> None:
    here = Yardstick(
        host="desk", processor="x", cores=8, openvino="1", network_ms=2, arithmetic_ms=4
    )
    box = here.model_copy(update={"network_ms": 6.0, "arithmetic_ms": 2.0})
    assert box.slower(here) == (3, 0.5)
    file = tmp_path / "box.json"
    file.write_text("{}")
    with pytest.raises(ConfigError, match="edge-doctor measure"):
        read_yardstick(file)
