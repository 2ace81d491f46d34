"""edge-compile: good images to a bundle, and everything one asks of a bundle offline."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kenpin.camera.files.listing import ImageError
from kenpin.compile.progress import Steps
from kenpin.config.console import plain_console
from kenpin.config.errors import ConfigError, OutputError
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.config.output import MAP_FORMATS, file_to_write, folder_to_write
from kenpin.config.recipe import load_recipe
from kenpin.processes.cluster import add_dask, maybe_cluster
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.bundles.manifest import BundleError, canonical

if TYPE_CHECKING:  # what they load is loaded by the command that needs it
    from kenpin.compile.evaluate import Evaluation
    from kenpin.compile.trade import Row

__all__ = ["main"]

# torch and nncf take seconds to import and are not on the box, so the commands
# that need them import them themselves.

# More than any bundle seen; a disk that has less is as good as full.
ROOM_BYTES = 64 << 20

# Of a key's number, for people.
_KEY_DIGITS = 16
# How good images were told to show the same part.
HOW = {
    "group": "named by images.group",
    "blocks": "neighbours by name, for images.group is not given",
    "lines": "pieces along the web",
}

EXAMPLES = """examples:
  edge-compile init photographs/            look at images, write a commented recipe
  edge-compile build photographs/ -o bundles  the same, and compile it
  edge-compile check recipe.toml            do settings and images fit together?
  edge-compile build recipe.toml -o bundles
  edge-compile build recipe.toml -o /shared/bundles --dask tcp://scheduler:8786
  edge-compile import model.onnx recipe.toml -o bundles --prove
  edge-compile eval bundles/current DATASET AUROC, AUPRO, escapes, false rejects
  edge-compile eval bundles/current DATASET --report eval.html
  edge-compile eval bundles/current VisA.tar --category candle --maps maps/
  edge-compile data annotations.json        any data set, laid out and counted
  edge-compile inspect bundles/current      what is in a bundle
  edge-compile threshold bundles/current --false-rejects 2%
  edge-compile tune recipe.toml --line-rate 20khz   the recipe that finds most in that time
  edge-compile bench grid.toml -o bench     methods x backbones x seeds x data sets
  edge-compile verify bundles/current       is every byte as it was compiled?
  edge-compile key plant.pem                make a key pair: plant.pem and plant.pub
  edge-compile sign bundles/current --key plant.pem
  edge-compile publish bundles/current s3://plant-bundles --line web-1 --key plant.pem

A recipe is a TOML file; config/ holds commented examples. A DATASET has
test/good/, test/<defect>/ and ground_truth/<defect>/<name>_mask.png, white where
the defect is. Images that are refused count in no figure: eval then exits with 13.

"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(argv)
    expected: dict[type[Exception], Exit] = {
        ConfigError: Exit.CONFIG,
        ImageError: Exit.IMAGES,
        BundleError: Exit.BUNDLE,
    }
    if options.command == "publish":
        from kenpin.runtime.bundles.depot import DepotError

        expected[DepotError] = Exit.BUNDLE
    if options.command in ("build", "check", "import", "tune"):
        from kenpin.compile.guard import QuantizationError
        from kenpin.compile.lowest import ProcessorError

        expected[QuantizationError] = expected[ProcessorError] = Exit.QUANTIZATION
    actions = {
        "bench": _bench,
        "build": _build,
        "data": _data,
        "check": _check,
        "eval": _eval,
        "import": _import,
        "init": _init,
        "inspect": _inspect,
        "key": _key,
        "publish": _publish,
        "sign": _sign,
        "threshold": _threshold,
        "tune": _tune,
        "update": _update,
        "verify": _verify,
    }
    return run(lambda: actions[options.command](options), expected, debug=options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-compile",
        description="Turn good images into a bundle that finds what does not look like them.",
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common])

    sub = command("init", "Look at a folder of images, and write a recipe that works for them.")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="of good images, or above them")
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="RECIPE",
        help="the recipe to write; default: the folder's name with .toml, here",
    )
    _recipe_commands(command)
    sub = command("bench", "Try methods on backbones on data sets with seeds: one table.")
    sub.add_argument("grid", type=Path, metavar="GRID.toml")
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("bench"), metavar="DIR", help="goes on from there"
    )
    sub.add_argument(
        "--track",
        action="append",
        default=[],
        metavar="KIND=DIR",
        help="results also for tensorboard, mlflow or wandb, in files: kenpin[track]",
    )
    _tune_arguments(command("tune", "Search for the recipe that finds most within a frame's time."))
    sub = command("data", "Lay a data set out as kenpin reads it, and say what is in it.")
    sub.add_argument("source", type=Path, metavar="SOURCE", help="a folder, an archive, or a list")
    _layout_arguments(sub)
    sub.add_argument("-o", "--output", type=Path, default=Path("data"), metavar="DIR")
    _bundle_commands(command)
    _threshold_arguments(
        command(
            "threshold",
            "Make a bundle with other thresholds, without recompiling; `current` names it.",
        )
    )
    sub = command("update", "Make a bundle that has learnt from frames that it falsely rejected.")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument(
        "--reviews",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="a line's archive, or what `edge-run reviews export` wrote",
    )
    sub.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: beside the old one")
    return parser


def _recipe_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    build = command("build", "Compile a recipe, or a folder of good images, into a bundle.")
    imported = command("import", "Compile a recipe into a bundle around somebody else's network.")
    imported.add_argument(
        "model", type=Path, metavar="MODEL", help=".onnx, .xml, or a folder with one"
    )
    imported.add_argument(
        "--prove",
        action="store_true",
        help="compare the bundle with the network alone, Anomalib's by its own inferencer",
    )
    imported.add_argument(
        "--anomalib",
        type=Path,
        metavar="PYTHON",
        help="for --prove: the python of an environment that has Anomalib; default: this one",
    )
    check = command("check", "Check a recipe, its weights and every image, without compiling.")
    for sub in (build, check, imported):
        sub.add_argument(
            "recipe",
            type=Path,
            metavar="RECIPE",
            help="the recipe, a TOML file; or a folder, for which `init` writes one first",
        )
        sub.add_argument("--weights", type=Path, help="torchvision's weights file")
        sub.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="change one setting of the recipe: --set backbone.name=resnet18",
        )
    for sub in (build, imported):
        add_dask(sub)
        sub.add_argument("-o", "--output", type=Path, default=Path("bundles"), metavar="DIR")
    check.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw there what is not inspected"
    )


def _bundle_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    sub = command("eval", "Measure a bundle on a labelled dataset.")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument(
        "dataset", type=Path, metavar="DATASET", help="a folder, an archive, or a list"
    )
    _layout_arguments(sub)
    sub.add_argument(
        "--maps",
        type=Path,
        metavar="DIR",
        help="write maps there as numbers, scores.csv, boxes.csv",
    )
    sub.add_argument(
        "--maps-as", choices=MAP_FORMATS, default="tiff", help="float32; default: tiff"
    )
    sub.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    sub.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="a page with curves and pictures, one file, and its figures as .json beside it",
    )
    add_dask(sub)
    sub.add_argument(
        "--tile-px", type=int, help="also judge squares of this side (default: strips only)"
    )
    sub = command("inspect", "Show what a bundle holds.")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub = command("verify", "Check every byte of a bundle, and its golden frames.")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument("--files-only", action="store_true", help="do not run the golden frames")
    sub.add_argument(
        "--trust", type=Path, metavar="DIR", help="keys, one of which must have signed"
    )
    sub = command("key", "Make a key pair for signing bundles.")
    sub.add_argument("private", type=Path, metavar="FILE", help="the private key; .pub beside it")
    sub = command("sign", "Sign a bundle: whoever holds the key vouches for its content.")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key")
    sub = command("publish", "Bring a bundle to a depot, and order it for lines, which pull it.")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument("depot", metavar="DEPOT", help="a folder, or a URL such as s3://bucket/depot")
    sub.add_argument(
        "--line", action="append", default=[], metavar="NAME", help="that is to run it; repeatable"
    )
    sub.add_argument("--key", type=Path, metavar="FILE", help="signs bundle and orders")


def _layout_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--layout", metavar="NAME", help="mvtec, visa, coco, csv …; default: see")
    sub.add_argument("--category", metavar="NAME", help="one of several products in it")


def _tune_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("recipe", type=Path, metavar="RECIPE", help="where the search begins")
    budget = sub.add_mutually_exclusive_group(required=True)
    budget.add_argument("--line-rate", metavar="HZ", help="of the camera: 20khz, 20000")
    budget.add_argument("--budget-ms", type=float, metavar="MS", help="of a frame, to its verdict")
    sub.add_argument("--false-rejects", metavar="RATE", help="0.5%%; default: the recipe's")
    sub.add_argument("--minutes", type=float, default=30.0, help="of search; default: 30")
    sub.add_argument("--trials", type=int, default=1000, help="recipes to try at most")
    sub.add_argument(
        "--backbone",
        action="append",
        default=[],
        metavar="NAME[=FILE]",
        help="to try, with its weights; default: those that need no file",
    )
    sub.add_argument(
        "--measured",
        type=Path,
        metavar="FILE.json",
        help="what `edge-doctor measure` wrote on the box; default: this machine",
    )
    add_dask(sub)
    sub.add_argument("--lines", type=int, default=1024, help="of a web's frame; default: 1024")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for build")
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("tuned"), metavar="DIR", help="goes on from there"
    )


def _threshold_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("bundle", type=Path, metavar="BUNDLE")
    sub.add_argument(
        "--false-rejects",
        metavar="RATE",
        help="reject so many of all good parts, 2%% or 0.02, as the bundle's stored scores tell",
    )
    sub.add_argument("--f1", action="store_true", help="the best F1 over the stored NG scores")
    sub.add_argument(
        "--escape-cost",
        type=float,
        metavar="TIMES",
        help="the cheapest: an escape costs so many rejected good parts",
    )
    sub.add_argument("--ok", type=float, help="the largest score that is good, set by hand")
    sub.add_argument("--ng", type=float, help="with --ok: scores up to here are NG as unsure")
    sub.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: beside the old one")


def _init(options: argparse.Namespace) -> int:
    file = options.output or _first_name(options.folder)
    if file.exists():
        raise OutputError(f"{file}: is there already; name another with -o, or remove it")
    _write_first(options.folder, file)
    return Exit.DONE


def _recipe_file(given: Path) -> Path:
    """The recipe's file; of a folder of images the one that `init` wrote, now or before."""
    if not given.is_dir():
        return given
    file = _first_name(given)
    if file.exists():
        sys.stderr.write(f"{file}: the recipe for {given}, as it is\n")
    else:
        _write_first(given, file)
    return file


def _first_name(folder: Path) -> Path:
    from kenpin.compile.first_recipe import bundle_name

    return Path(f"{bundle_name(folder)}.toml")


def _write_first(folder: Path, file: Path) -> None:
    """Look at a folder, write a recipe and a contact sheet, and say what was assumed."""
    from kenpin.camera.files.images import write_png
    from kenpin.compile.first_look import look_at
    from kenpin.compile.first_recipe import bundle_name, contact_sheet, first_recipe

    sheet = file.with_suffix(".contact-sheet.png")
    for made in (file, sheet):
        file_to_write(made)
    with Steps(plain_console()) as steps:
        with steps.step("look at the images") as progress:
            look = look_at(folder, progress)
        first = first_recipe(look, bundle_name(folder))
        file.write_text(first.text, encoding="utf-8")
        load_recipe(file)
        write_png(sheet, contact_sheet(look))
        steps.say(f"{file}: a recipe, which assumes that")
        for line in first.assumed:
            steps.say(f"  * {line}")
        if look.labelled is not None:
            steps.say(f"{look.labelled} holds a test set: edge-compile eval BUNDLE {look.labelled}")
        steps.say(f"{sheet}: look at it; is everything on it good?")


def _import(options: argparse.Namespace) -> int:
    from kenpin.compile.prove import prove

    # As TOML's basic strings are JSON's.
    options.set = [*options.set, f"model.file={json.dumps(str(options.model.resolve()))}"]
    _build(options)
    if not options.prove:
        return Exit.DONE
    recipe = load_recipe(_recipe_file(options.recipe), options.set)
    proof = prove(recipe, read_bundle(options.output / "current"), options.anomalib)
    plain_console().print(str(proof), soft_wrap=True)
    return Exit.DONE if proof.holds else Exit.BUNDLE


def _build(options: argparse.Namespace) -> int:
    from kenpin.compile.build import build
    from kenpin.compile.report import summary
    from kenpin.compile.trade_report import limits_table, trade_of, trade_table

    recipe = load_recipe(_recipe_file(options.recipe), options.set)
    # Minutes later is too late to learn that the bundle has no place.
    folder_to_write(options.output, ROOM_BYTES)
    with Steps(plain_console()) as steps, maybe_cluster(options.dask) as cluster:
        if cluster is not None:
            steps.say(str(cluster))
        result = build(recipe, options.output, steps, weights=options.weights, cluster=cluster)
        steps.say(summary(result))
    console, manifest = plain_console(), result.bundle.manifest
    console.print(trade_table(trade_of(manifest)))
    if manifest.twin_scores:
        console.print(limits_table(manifest, manifest.threshold.ok))
    return Exit.DONE


def _check(options: argparse.Namespace) -> int:
    from kenpin.compile.inspected import draw_inspected, share_in_words
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
        steps.say(share_in_words(inspected))
        if options.picture:
            stride = tap.patch_stride_px
            draw_inspected(images.files[0], recipe, inspected, stride, options.picture)
        steps.say("the recipe can be compiled")
    return Exit.DONE


def _eval(options: argparse.Namespace) -> int:
    from kenpin.compile.dataset import dataset_folder, read_dataset
    from kenpin.compile.evaluate import evaluate, wide_side
    from kenpin.compile.report import accuracy
    from kenpin.compile.reporting.eval_report import evaluation_pictures, evaluation_tree
    from kenpin.compile.reporting.page import Galleries, write_report
    from kenpin.compile.trade import operating_table
    from kenpin.compile.trade_report import trade_table, write_trade
    from kenpin.runtime.maps import MapFolder
    from kenpin.runtime.selftest import open_tested

    console = plain_console()
    if options.maps:
        folder_to_write(options.maps)
    if options.json:
        file_to_write(options.json)
    if options.report:
        _page_to_write(options.report)
    dataset = read_dataset(dataset_folder(options.dataset, options.layout, options.category))
    bundle = read_bundle(options.bundle)
    frame = bundle.manifest.frame
    tile_px = options.tile_px or wide_side(frame.height_px, frame.width_px)
    with Steps(console) as steps, maybe_cluster(options.dask) as cluster:
        with steps.step("golden frames"):
            pipeline = open_tested(bundle)
        with steps.step("judge") as progress, ExitStack() as stack:
            maps = None
            if options.maps:
                maps = stack.enter_context(MapFolder(options.maps, options.maps_as))
            found = evaluate(
                pipeline, dataset, progress, tile_px=tile_px, maps=maps, cluster=cluster
            )
        for note in found.notes:
            steps.say(f"warning: {note}")
        pictures: Galleries = {}
        if options.report:
            with steps.step("draw the report's pictures"):
                pictures = evaluation_pictures(pipeline, dataset, found)
    for table in accuracy(found):
        console.print(table)
    rows = operating_table(
        bundle.manifest.good_scores, bundle.manifest.twin_scores, found.ng, found.good
    )
    console.print(trade_table(rows))
    if options.report:
        name = options.dataset.resolve().name
        write_report(options.report, evaluation_tree(bundle, name, dataset, found, rows), pictures)
        sys.stderr.write(f"{options.report}: open it in a browser\n")
    if options.json:
        write_trade(bundle.manifest, rows, options.json.with_suffix(""))
        tree = _figures(found, rows)
        options.json.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    return Exit.REFUSED if found.refused else Exit.DONE


def _data(options: argparse.Namespace) -> int:
    from kenpin.compile.layouts import ANY, counts_in, laid_out

    folder_to_write(options.output)
    layout = options.layout or ANY
    folder = laid_out(options.source, layout, options.category, options.output)
    for place, count in counts_in(folder).items():
        sys.stderr.write(f"  {place}: {count} images\n")
    sys.stdout.write(f"{folder}\n")
    return Exit.DONE


def _figures(found: Evaluation, rows: list[Row]) -> dict[str, Any]:
    """All of an evaluation, for a script."""
    return {
        "bundle": found.bundle,
        "images": found.images,
        "pixels": found.pixels,
        "tiles": found.tiles,
        "scores": found.scores,
        "refused": [asdict(item) for item in found.refused],
        "notes": found.notes,
        "trade": [row.tree() for row in rows],
    }


def _page_to_write(page: Path) -> None:
    """See that a page and its figures can be written."""
    if page.suffix != ".html":
        raise OutputError(f"{page}: a report is a page; give a name that ends in .html")
    file_to_write(page)
    file_to_write(page.with_suffix(".json"))


def _inspect(options: argparse.Namespace) -> int:
    from kenpin.compile.report import contents

    plain_console().print(contents(read_bundle(options.bundle)))
    return Exit.DONE


def _key(options: argparse.Namespace) -> int:
    from kenpin.runtime.bundles.signature import make_key

    public = make_key(options.private)
    sys.stdout.write(
        f"{options.private}: keep it secret, and off the box\n"
        f"{public}: put it into the folder that `trust` names in the line's settings\n"
    )
    return Exit.DONE


def _sign(options: argparse.Namespace) -> int:
    from kenpin.runtime.bundles.signature import sign

    bundle = read_bundle(options.bundle)
    identity = sign(bundle.folder, canonical(bundle.manifest), options.key)
    sys.stdout.write(f"{bundle.label}: signed by key {identity[:_KEY_DIGITS]}\n")
    return Exit.DONE


def _publish(options: argparse.Namespace) -> int:
    from kenpin.runtime.bundles.depot import Depot
    from kenpin.runtime.bundles.signature import sign

    bundle = read_bundle(options.bundle)
    depot = Depot.at(options.depot)
    if options.key is not None:
        sign(bundle.folder, canonical(bundle.manifest), options.key)
    name = depot.put(bundle)
    sys.stdout.write(f"{name}: published\n")
    for line in options.line:
        order = depot.order(line, name, options.key)
        sys.stdout.write(f"{line}: order {order.serial}\n")
    return Exit.DONE


def _verify(options: argparse.Namespace) -> int:
    bundle = read_bundle(options.bundle, options.trust)
    lines = [f"{bundle.label}: all {len(bundle.manifest.files)} files are as they were compiled"]
    if not options.files_only:
        from kenpin.runtime.selftest import selftest
        from kenpin.runtime.web.pipeline import open_pipeline

        for name, score in selftest(open_pipeline(bundle)).items():
            lines.append(f"  {name} scores {score:.6g}, as recorded")
    sys.stdout.write("\n".join(lines) + "\n")
    return Exit.DONE


def _threshold_changes(options: argparse.Namespace) -> dict[str, Any]:
    """What is asked of the method, as the recipe's table would say it; empty: set by hand."""
    changes: dict[str, Any] = {}
    if options.false_rejects is not None:
        changes = {"method": "false_rejects", "false_rejects": options.false_rejects}
    if options.f1:
        changes |= {"method": "f1"}
    if options.escape_cost is not None:
        changes |= {"method": "cost", "escape_cost": options.escape_cost}
    return changes


def _bench(options: argparse.Namespace) -> int:
    from kenpin.compile.bench.command import run_bench

    return run_bench(options)


def _tune(options: argparse.Namespace) -> int:
    if find_spec("optuna") is None:
        raise ConfigError(
            "a search needs Optuna, which is not installed; pip install kenpin[compile,tune]"
        )
    from kenpin.compile.layouts import recipe_with_images
    from kenpin.compile.recipe_search.command import tune

    return tune(options, recipe_with_images(load_recipe(options.recipe, options.set)))


def _threshold(options: argparse.Namespace) -> int:
    from pydantic import ValidationError

    from kenpin.compile.calibrate import calibrate
    from kenpin.compile.trade_report import trade_of, trade_table, write_trade
    from kenpin.config.recipe import ThresholdSpec
    from kenpin.config.settings import problems
    from kenpin.runtime.bundles.pack import by_hand, rethreshold
    from kenpin.runtime.selftest import open_tested

    bundle = read_bundle(options.bundle)
    manifest = bundle.manifest
    changes = _threshold_changes(options)
    if (options.ok is not None) + bool(changes) != 1 or (options.ng and options.ok is None):
        plain_console().print(trade_table(trade_of(manifest)))
        raise ConfigError(
            "choose one threshold: --false-rejects RATE (a row of the table above, or any other), "
            "--f1, --escape-cost TIMES, or --ok SCORE [--ng SCORE]"
        )
    # Whoever sets a threshold does so from scores: they must be those that the box will see.
    open_tested(bundle)
    try:
        if options.ok is not None:
            record = by_hand(manifest.threshold, options.ok, options.ng)
        else:
            band = manifest.threshold.settings.unsure_band
            spec = ThresholdSpec.model_validate({"unsure_band": band, **changes})
            record = calibrate(
                spec,
                manifest.good_scores,
                list(manifest.ng_scores.values()),
                strips=manifest.frame.geometry == "continuous",
            )
    except ValidationError as error:
        raise ConfigError(f"thresholds: {problems(error)}") from None
    store = options.output or bundle.folder.parent
    fresh = rethreshold(bundle, record, store)
    write_trade(fresh.manifest, trade_of(fresh.manifest), store / fresh.folder.name)
    sys.stderr.write(
        f"OK up to {record.ok:.6g}: {record.source}\n{fresh.folder.parent / 'current'} names it: a "
        "line that starts from now on judges by it; one that runs goes on as it is until PREPARE "
        "and ACTIVATE\n"
    )
    sys.stdout.write(f"{fresh.folder}\n")
    return Exit.DONE


def _update(options: argparse.Namespace) -> int:
    from kenpin.runtime.learning.update import update
    from kenpin.runtime.service.lessons import lessons_in
    from kenpin.runtime.service.relearn import told_of

    bundle = read_bundle(options.bundle)
    lessons = lessons_in(options.reviews)
    store = options.output or bundle.folder.parent
    with Steps(plain_console()) as steps:
        found = update(bundle, lessons.wrong, lessons.known, store, say=steps.say)
    told = told_of(found)
    sys.stderr.write(told["text"] + "\n")
    if found.bundle is None:
        return Exit.REFUSED
    sys.stdout.write(f"{found.bundle.folder}\n")
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
