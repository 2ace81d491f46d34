"""edge-compile tune: the recipe that finds most within a time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kenpin.compile.good_images.images import learned_from
from kenpin.compile.good_images.parts import parts_of_files
from kenpin.compile.recipe_search.attempt import Attempt
from kenpin.compile.recipe_search.results import (
    SearchResult,
    front_table,
    reasons,
    write_page,
    write_picture,
)
from kenpin.compile.recipe_search.space import Space, usable_backbones
from kenpin.compile.recipe_search.study import RecipeSearch, Tried, budget_of, chosen, front
from kenpin.config.console import plain_console
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.output import folder_to_write
from kenpin.config.recipe import Recipe
from kenpin.config.settings import problems
from kenpin.config.threshold import Rate
from kenpin.processes.cluster import maybe_cluster
from kenpin.runtime.box.yardstick import measure_box, read_yardstick

__all__ = ["tune"]

ROOM_BYTES = 1 << 30
# Of a search's time one recipe may take so much: a slow one must not be all that was tried.
MOST_SHARE = 0.25


def tune(options: argparse.Namespace, recipe: Recipe) -> int:
    """Search, and write what was found.

    Raises
    ------
    ConfigError
        If the options or the recipe cannot be used, or no recipe holds the budget.
    """
    _not_a_test_set(recipe)
    lines = recipe.frame.height_px or options.lines
    budget = budget_of(options.line_rate, options.budget_ms, lines)
    folder: Path = options.output
    folder_to_write(folder, ROOM_BYTES)
    store = folder / "bundles"
    store.mkdir(exist_ok=True)
    slower, boxed = (1.0, 1.0), ""
    if options.measured is not None:
        yardstick = read_yardstick(options.measured)
        # Here as attempts are timed, on all cores; there as the box's line will run.
        slower = yardstick.slower(measure_box())
        boxed = yardstick.model_dump_json()
        sys.stderr.write(
            f"{yardstick.host} takes {slower[0]:.2f} times as long as this machine for the "
            f"network, {slower[1]:.2f} times for the rest\n"
        )
    most_s = 60 * options.minutes * MOST_SHARE
    space = Space(recipe, usable_backbones(_backbones(options.backbone)))
    with maybe_cluster(options.dask) as cluster:
        attempt = Attempt(store, _rate(options, recipe), lines, slower, boxed, most_s, cluster)
        search = RecipeSearch(folder, recipe, space, attempt)
        split = _split(recipe, attempt.rate)
        sys.stderr.write(f"{budget.words}; {split}\n")
        search.run(budget, 60 * options.minutes, options.trials, _say)
    result = SearchResult(search.tried, chosen(search.tried, budget), budget, split)
    kept = {one.found.bundle for one in front(result.tried) if one.found}
    for one in result.tried:
        if one.found and one.found.bundle not in kept:
            attempt.forget(one.found.bundle)
    picture = folder / "tuned.png"
    write_picture(result, picture)
    write_page(result, picture, folder / "tuned.html")
    _write_recipe(folder / "tuned.toml", result, space)
    plain_console().print(front_table(result))
    sys.stdout.write(
        f"{folder / 'tuned.toml'}: number {result.best.number}, with the reason of each choice; "
        f"the others are in {folder / 'trials'}\n{folder / 'tuned.html'}: open it in a browser\n"
        "streams are the machine's own: they are beside each bundle for this one, and `edge-doctor "
        "tune` finds the box's, where `edge-doctor rate` proves it\n"
    )
    return Exit.DONE


def _not_a_test_set(recipe: Recipe) -> None:
    """See that nothing is chosen by images that later say how good the choice was."""
    ng = recipe.images.ng
    for folder in (recipe.images.good, *(() if ng is None else (ng,))):
        if "test" in (folder.name.lower(), folder.parent.name.lower()):
            raise ConfigError(
                f"{folder}: lies in a folder test/; whatever is chosen by a test set is no longer "
                "measured by it: give reviewed images of their own"
            )


def _rate(options: argparse.Namespace, recipe: Recipe) -> float:
    if options.false_rejects is None:
        return recipe.threshold.false_rejects
    try:
        rate: float = TypeAdapter(Rate).validate_python(options.false_rejects)
    except ValidationError as error:
        raise ConfigError(f"--false-rejects: {problems(error)}") from None
    return rate


def _backbones(asked: Sequence[str]) -> dict[str, Path | None]:
    """NAME or NAME=WEIGHTS, as they are given."""
    pairs = [one.partition("=") for one in asked]
    return {name: Path(file).resolve() if file else None for name, _, file in pairs}


def _split(recipe: Recipe, rate: float) -> str:
    """What was judged by what, by files."""
    spec = recipe.images
    files = learned_from(spec)
    head = f"{len(files)} good images of {spec.good}"
    if recipe.web is None:
        head += f" in {len(parts_of_files(files, spec.group))} parts"
    ng = f", and images of {spec.ng}" if spec.ng else ""
    return (
        f"{head}, each judged by statistics without its own part; found are defects drawn into "
        f"them{ng}, where {rate:.3g} of good ones are rejected; no test set was read"
    )


def _say(one: Tried) -> None:
    settings = " ".join(str(v) for v in one.settings.values() if v is not None)
    if one.found is None:
        text = one.why
    else:
        streams = f" by {one.found.streams} streams" if one.found.streams > 1 else ""
        text = f"{one.found.share:.1%} found, {one.found.ms:.2f} ms{streams}, "
        text += f"{one.found.seconds:.0f} s"
    sys.stderr.write(f"{one.number:3d}  {settings}: {text}\n")


def _write_recipe(file: Path, result: SearchResult, space: Space) -> None:
    head = [
        f"Number {result.best.number} of {len(result.tried)} recipes, for {result.budget.words}:"
    ]
    head += [result.split, *reasons(result)]
    text = "".join(f"# {line}\n" for line in head) + "\n" + space.text(result.best.settings)
    file.write_text(text, encoding="utf-8")
