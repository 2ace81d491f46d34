"""What is done with recipes: written, checked, compiled, searched for."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from kenpin.compile.progress import Steps
from kenpin.config.console import plain_console
from kenpin.config.errors import ConfigError, OutputError
from kenpin.config.exits import Exit
from kenpin.config.output import file_to_write, folder_to_write
from kenpin.config.recipe import Recipe, load_recipe
from kenpin.processes.cluster import maybe_cluster
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.store import Store

__all__ = ["bench", "build_bundle", "check", "import_model", "init", "lay_out", "tune_recipe"]

# More than any bundle seen; a disk that has less is as good as full.
ROOM_BYTES = 64 << 20
# How good images were told to show the same part.
HOW = {
    "group": "named by images.group",
    "blocks": "neighbours by name, for images.group is not given",
    "lines": "pieces along the web",
}


def init(options: argparse.Namespace) -> int:
    """Write a first recipe for a folder of images.

    Raises
    ------
    OutputError
        If the recipe is there already.
    """
    file = options.output or _first_name(options.folder)
    if file.exists():
        raise OutputError(f"{file}: is there already; name another with -o, or remove it")
    _write_first(options.folder, file)
    return Exit.DONE


def build_bundle(options: argparse.Namespace) -> int:
    """Compile a recipe, or a folder of good images; the store's `current` names the bundle."""
    recipe = load_recipe(_recipe_file(options.recipe), options.set)
    _build(options, recipe, current=True)
    return Exit.DONE


def _build(options: argparse.Namespace, recipe: Recipe, *, current: bool) -> Bundle:
    from kenpin.compile.build import build
    from kenpin.compile.reporting.report import summary
    from kenpin.compile.reporting.trade_report import limits_table, trade_of, trade_table

    # Minutes later is too late to learn that the bundle has no place.
    folder_to_write(options.output, ROOM_BYTES)
    with Steps(plain_console()) as steps, maybe_cluster(options.dask) as cluster:
        if cluster is not None:
            steps.say(str(cluster))
        result = build(
            recipe,
            options.output,
            steps,
            weights=options.weights,
            cluster=cluster,
            current=current,
        )
        steps.say(summary(result))
    console, manifest = plain_console(), result.bundle.manifest
    console.print(trade_table(trade_of(manifest)))
    if manifest.twin_scores:
        console.print(limits_table(manifest, manifest.threshold.ok))
    return result.bundle


def import_model(options: argparse.Namespace) -> int:
    """Compile a recipe around a network of the user's own."""
    from kenpin.compile.evaluation.prove import expect_provable, prove

    if options.anomalib and not options.prove:
        raise ConfigError(
            "--anomalib says what proves a bundle; give --prove, too, or leave it out"
        )
    # As TOML's basic strings are JSON's.
    said = [*options.set, f"model.file={json.dumps(str(options.model.resolve()))}"]
    recipe = load_recipe(_recipe_file(options.recipe, imports=True), said)
    if options.prove:
        expect_provable(recipe, options.anomalib)
    bundle = _build(options, recipe, current=not options.prove)
    if not options.prove:
        return Exit.DONE
    proof = prove(recipe, bundle, options.anomalib)
    plain_console().print(str(proof), soft_wrap=True)
    if not proof.holds:
        sys.stderr.write(f"{bundle.folder}: is there, and `current` stays as it was\n")
        return Exit.BUNDLE
    Store(options.output).switch(bundle.folder.name)
    return Exit.DONE


def check(options: argparse.Namespace) -> int:
    """Say whether settings and images fit together, and draw what is inspected."""
    from kenpin.compile.good_images.inspected import draw_inspected, share_in_words
    from kenpin.compile.prepare import look_through, prepare

    recipe = load_recipe(_recipe_file(options.recipe), options.set)
    if options.picture:
        file_to_write(options.picture)
    with Steps(plain_console()) as steps:
        prepared = prepare(recipe, options.weights)
        images, inspected = look_through(prepared, steps)
        grid, tap = prepared.grid, prepared.network
        steps.say(
            f"{grid.rows} x {grid.cols} tiles of {grid.size} px a frame, cores of {grid.core} px "
            f"every {grid.stride} px; {tap.dimensions} features every {tap.patch_stride_px} px\n"
            f"{len(images.files)} good images, {len(images.parts)} parts: {HOW[images.parts.how]}"
        )
        hint = "" if options.picture else "; --picture draws it"
        steps.say(f"{share_in_words(inspected, recipe.web)}{hint}")
        if options.picture:
            stride = tap.patch_stride_px
            draw_inspected(images.files[0], prepared.recipe, inspected, stride, options.picture)
        steps.say("the recipe can be compiled")
    return Exit.DONE


def lay_out(options: argparse.Namespace) -> int:
    """Lay a data set of any kind out as `eval` reads it."""
    from kenpin.compile.layouts import ANY, counts_in, laid_out

    folder_to_write(options.output)
    layout = options.layout or ANY
    folder = laid_out(options.source, layout, options.category, options.output)
    for place, count in counts_in(folder).items():
        sys.stderr.write(f"  {place}: {count} images\n")
    sys.stdout.write(f"{folder}\n")
    return Exit.DONE


def bench(options: argparse.Namespace) -> int:
    """Fill the table of a grid of recipes."""
    from kenpin.compile.bench.command import run_bench

    return run_bench(options)


def tune_recipe(options: argparse.Namespace) -> int:
    """Search for the recipe that finds most in the time that a line leaves.

    Raises
    ------
    ConfigError
        If Optuna is not installed, or the recipe cannot be used.
    """
    if find_spec("optuna") is None:
        raise ConfigError(
            "a search needs Optuna, which is not installed; pip install kenpin[compile,tune]"
        )
    from kenpin.compile.layouts import recipe_with_images
    from kenpin.compile.recipe_search.command import tune

    return tune(options, recipe_with_images(load_recipe(options.recipe, options.set)))


def _recipe_file(given: Path, *, imports: bool = False) -> Path:
    """The recipe's file; of a folder of images the one that `init` wrote, now or before.

    `imports`: whether somebody else's network is to judge, whose tiles and method are its own.
    """
    if not given.is_dir():
        return given
    from kenpin.compile.good_images.first_look import find_good

    file = _first_name(given)
    if not file.exists():
        _write_first(given, file, imports=imports)
        return file
    said, meant = load_recipe(file).images.good, find_good(given)[0]
    if said.resolve() != meant.resolve():
        raise ConfigError(
            f"{file}: is the recipe for {said}, not for {meant}; name that file, move it away, or "
            "run this in another folder"
        )
    sys.stderr.write(f"{file}: the recipe for {given}, as it is\n")
    return file


def _first_name(folder: Path) -> Path:
    from kenpin.compile.first_recipe import bundle_name

    return Path(f"{bundle_name(folder)}.toml")


def _write_first(folder: Path, file: Path, *, imports: bool = False) -> None:
    """Look at a folder, write a recipe and a contact sheet, and say what was assumed."""
    from kenpin.camera.files.images import write_png
    from kenpin.compile.first_recipe import bundle_name, contact_sheet, first_recipe
    from kenpin.compile.good_images.first_look import look_at

    sheet = file.with_suffix(".contact-sheet.png")
    for made in (file, sheet):
        file_to_write(made)
    with Steps(plain_console()) as steps:
        with steps.step("look at the images") as progress:
            look = look_at(folder, progress)
        first = first_recipe(look, bundle_name(folder), imports=imports)
        _write_recipe(file, first.text)
        try:
            write_png(sheet, contact_sheet(look))
        except OSError:
            # A cut one, and a recipe that nobody was shown the images of.
            for made in (file, sheet):
                made.unlink(missing_ok=True)
            raise
        steps.say(f"{file}: a recipe, which assumes that")
        for line in first.assumed:
            steps.say(f"  * {line}")
        if look.labelled is not None:
            steps.say(f"{look.labelled} holds a test set: edge-compile eval BUNDLE {look.labelled}")
        steps.say(f"{sheet}: look at it; is everything on it good?")


def _write_recipe(file: Path, text: str) -> None:
    """Write a recipe that can be read again; what cannot would be taken for the user's own."""
    file.write_text(text, encoding="utf-8")
    try:
        load_recipe(file)
    except ConfigError:
        file.unlink()
        raise
