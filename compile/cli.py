"""edge-compile: good images to a bundle, and everything one asks of a bundle offline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kenpin.camera.files.listing import ImageError
from kenpin.compile.commands import bundles, evaluation, recipes
from kenpin.config.arguments import add_version, positive, whole
from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.config.output import add_maps
from kenpin.processes.cluster import add_dask
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.bundles.store import StoreError

__all__ = ["main", "make_parser"]

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

A recipe is a TOML file; config/ holds commented examples, docs/reference/recipe.md
every setting. A DATASET has test/good/, test/<defect>/ and
ground_truth/<defect>/<name>_mask.png, white where the defect is. Images that are refused
count in no figure: eval then exits with 13.

"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = make_parser().parse_args(argv)
    expected: dict[type[Exception], Exit] = {
        ConfigError: Exit.CONFIG,
        ImageError: Exit.IMAGES,
        BundleError: Exit.BUNDLE,
        StoreError: Exit.BUNDLE,
    }
    actions = {
        "bench": recipes.bench,
        "build": recipes.build_bundle,
        "data": recipes.lay_out,
        "check": recipes.check,
        "eval": evaluation.evaluate_bundle,
        "import": recipes.import_model,
        "init": recipes.init,
        "inspect": bundles.inspect,
        "key": bundles.key,
        "publish": bundles.publish,
        "sign": bundles.sign_bundle,
        "threshold": bundles.threshold,
        "tune": recipes.tune_recipe,
        "update": bundles.update_bundle,
        "verify": bundles.verify,
    }

    def act() -> int:
        # Within `run`, because torch takes seconds, in which Ctrl-C may come.
        if options.command == "publish":
            from kenpin.runtime.bundles.depot import DepotError

            expected[DepotError] = Exit.BUNDLE
        if options.command in ("build", "check", "import", "tune"):
            from kenpin.compile.networks.guard import QuantizationError
            from kenpin.compile.networks.lowest import ProcessorError

            expected[QuantizationError] = expected[ProcessorError] = Exit.QUANTIZATION
        return actions[options.command](options)

    return run(act, expected, debug=options.debug)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="edge-compile",
        description="Turn good images into a bundle that finds what does not look like them.",
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
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
    sub.add_argument("grid", type=Path, metavar="GRID.toml", help="what is to be tried")
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("bench"), metavar="DIR", help="goes on from there"
    )
    add_dask(sub)
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
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="where it is laid out; default: data",
    )
    _bundle_commands(command)
    _threshold_arguments(
        command(
            "threshold",
            "Make a bundle with other thresholds, without recompiling; `current` names it.",
        )
    )
    sub = command("update", "Make a bundle that has learnt from frames that it falsely rejected.")
    _add_bundle(sub)
    sub.add_argument(
        "--reviews",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="a line's archive, or what `edge-run reviews export` wrote",
    )
    _add_new_bundle(sub)
    return parser


def _recipe_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    build = command("build", "Compile a recipe, or a folder of good images, into a bundle.")
    imported = command("import", "Compile a recipe into a bundle around somebody else's network.")
    imported.add_argument(
        "model", type=Path, metavar="MODEL", help=".onnx, .xml, .pt2, or a folder with one"
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
        sub.add_argument(
            "-o",
            "--output",
            type=Path,
            default=Path("bundles"),
            metavar="DIR",
            help="for the bundle and the link `current` to it; default: bundles",
        )
    check.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw there what is not inspected"
    )


def _bundle_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    sub = command("eval", "Measure a bundle on a labelled dataset.")
    _add_bundle(sub)
    sub.add_argument(
        "dataset", type=Path, metavar="DATASET", help="a folder, an archive, or a list"
    )
    _layout_arguments(sub)
    add_maps(sub)
    sub.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    sub.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="a page with curves and pictures, one file, and its figures as .json beside it",
    )
    add_dask(sub)
    sub.add_argument(
        "--turn",
        type=int,
        choices=(0, 90, 180, 270),
        metavar="DEG",
        help="turn images and masks clockwise first (default: as images.turn_deg of the recipe)",
    )
    sub.add_argument(
        "--tile-px", type=whole, help="also judge squares of this side (default: strips only)"
    )
    sub = command("inspect", "Show what a bundle holds.")
    _add_bundle(sub)
    sub = command("verify", "Check every byte of a bundle, and its golden frames.")
    _add_bundle(sub)
    sub.add_argument("--files-only", action="store_true", help="do not run the golden frames")
    sub.add_argument(
        "--trust", type=Path, metavar="DIR", help="keys, one of which must have signed"
    )
    sub = command("key", "Make a key pair for signing bundles.")
    sub.add_argument("private", type=Path, metavar="FILE", help="the private key; .pub beside it")
    sub = command("sign", "Sign a bundle: whoever holds the key vouches for its content.")
    _add_bundle(sub)
    sub.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key")
    sub = command("publish", "Bring a bundle to a depot, and order it for lines, which pull it.")
    _add_bundle(sub)
    sub.add_argument("depot", metavar="DEPOT", help="a folder, or a URL such as s3://bucket/depot")
    sub.add_argument(
        "--line", action="append", default=[], metavar="NAME", help="that is to run it; repeatable"
    )
    sub.add_argument("--key", type=Path, metavar="FILE", help="signs bundle and orders")


def _add_new_bundle(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="for the new bundle; default: beside the old one",
    )


def _add_bundle(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="its folder, or a store's `current`"
    )


def _layout_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--layout", metavar="NAME", help="mvtec, visa, coco, csv …; default: see")
    sub.add_argument("--category", metavar="NAME", help="one of several products in it")


def _tune_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("recipe", type=Path, metavar="RECIPE", help="where the search begins")
    budget = sub.add_mutually_exclusive_group(required=True)
    budget.add_argument("--line-rate", metavar="HZ", help="of the camera: 20khz, 20000")
    budget.add_argument(
        "--budget-ms", type=positive, metavar="MS", help="of a frame, to its verdict"
    )
    sub.add_argument("--false-rejects", metavar="RATE", help="0.5%%; default: the recipe's")
    sub.add_argument("--minutes", type=positive, default=30.0, help="of search; default: 30")
    sub.add_argument("--trials", type=whole, default=1000, help="recipes to try at most")
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
    sub.add_argument("--lines", type=whole, default=1024, help="of a web's frame; default: 1024")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for build")
    sub.add_argument(
        "-o", "--output", type=Path, default=Path("tuned"), metavar="DIR", help="goes on from there"
    )


def _threshold_arguments(sub: argparse.ArgumentParser) -> None:
    _add_bundle(sub)
    sub.add_argument(
        "--false-rejects",
        metavar="RATE",
        help="reject so many of all good parts, 2%% or 0.02, as the bundle's stored scores tell",
    )
    sub.add_argument("--f1", action="store_true", help="the best F1 over the stored NG scores")
    sub.add_argument(
        "--escape-cost",
        type=positive,
        metavar="TIMES",
        help="the cheapest: an escape costs so many rejected good parts",
    )
    sub.add_argument("--ok", type=float, help="the largest score that is good, set by hand")
    sub.add_argument("--ng", type=float, help="with --ok: scores up to here are NG as unsure")
    _add_new_bundle(sub)


if __name__ == "__main__":
    sys.exit(main())
