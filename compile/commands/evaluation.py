"""A bundle against images that people have labelled."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from kenpin.compile.progress import Steps
from kenpin.config.console import plain_console
from kenpin.config.errors import OutputError
from kenpin.config.exits import Exit
from kenpin.config.output import file_to_write, folder_to_write, stays_there
from kenpin.processes.cluster import maybe_cluster
from kenpin.runtime.bundles.bundle import read_bundle

__all__ = ["evaluate_bundle"]


def evaluate_bundle(options: argparse.Namespace) -> int:
    """Judge a labelled data set by a bundle."""
    from kenpin.compile.evaluation.dataset import dataset_folder, read_dataset
    from kenpin.compile.evaluation.evaluate import evaluate, wide_side
    from kenpin.compile.evaluation.trade import operating_table
    from kenpin.compile.reporting.eval_report import (
        evaluation_figures,
        evaluation_pictures,
        evaluation_tree,
    )
    from kenpin.compile.reporting.page import Galleries, write_report
    from kenpin.compile.reporting.report import accuracy
    from kenpin.compile.reporting.trade_report import trade_table, write_trade
    from kenpin.runtime.maps import MapFolder
    from kenpin.runtime.selftest import open_tested

    console = plain_console()
    _places_to_write(options)
    bundle = read_bundle(options.bundle)
    folder = dataset_folder(options.dataset, options.layout, options.category)
    turn_deg = bundle.manifest.data.turn_deg if options.turn is None else options.turn
    dataset = read_dataset(folder, turn_deg)
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
        if turn_deg:
            steps.say(f"the images were turned by {turn_deg} degrees, as images.turn_deg says")
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
        if stays_there(options.json):
            write_trade(bundle.manifest, rows, options.json.with_suffix(""))
        tree = {"bundle": found.bundle, "scores": found.scores, **evaluation_figures(found, rows)}
        options.json.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    return Exit.REFUSED if found.refused else Exit.DONE


def _places_to_write(options: argparse.Namespace) -> None:
    """See that all that is asked for can be written, and that no file is asked for twice."""
    from kenpin.compile.reporting.trade_report import trade_files

    if options.maps:
        folder_to_write(options.maps)
    page: list[Path] = []
    if options.report:
        if options.report.suffix != ".html":
            raise OutputError(
                f"{options.report}: a report is a page; give a name that ends in .html"
            )
        page = [options.report, options.report.with_suffix(".json")]
    figures: list[Path] = []
    if options.json:
        figures = [options.json]
        if stays_there(options.json):
            figures += trade_files(options.json.with_suffix(""))
    own = {file.resolve() for file in page}
    twice = next((file for file in figures if file.resolve() in own), None)
    if twice is not None:
        raise OutputError(
            f"{twice}: would be written by --report and by --json, one over the other; give one "
            "of them another name"
        )
    for file in (*page, *figures):
        file_to_write(file)
