"""Good images to a bundle: the only file that knows the order of the offline steps."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kenpin.compile.build_task import BuildTask
from kenpin.compile.drift import drift_record
from kenpin.compile.golden import golden_frames
from kenpin.compile.good_images.clusters import Cluster, crowded_tiles
from kenpin.compile.methods.fitting import FitTask, arrays_in, fitting_of
from kenpin.compile.methods.leave_out import Unseen
from kenpin.compile.networks.lowest import ProcessorError, Rerun, rerun
from kenpin.compile.networks.quantize import save
from kenpin.compile.networks.tiles_apart import tiles_apart
from kenpin.compile.operating_point.blending import Ways
from kenpin.compile.operating_point.calibrate import calibrate
from kenpin.compile.operating_point.good_scores import GoodScores, likeness, score_good
from kenpin.compile.operating_point.joined import Joined
from kenpin.compile.operating_point.ng_scores import ng_scores
from kenpin.compile.operating_point.odd_pictures import draw_odd
from kenpin.compile.operating_point.out_of_reach import expect_within_reach
from kenpin.compile.operating_point.twin_scores import twin_scores
from kenpin.compile.operating_point.unseen_maps import UnseenMaps, join_maps, look_at
from kenpin.compile.operating_point.unseen_ways import unseen_ways
from kenpin.compile.precision import choose_precision, in_int8
from kenpin.compile.prepare import Prepared, look_through, prepare
from kenpin.compile.progress import Steps
from kenpin.compile.reporting.advice import advise
from kenpin.compile.reporting.build_pictures import Pictured, picture_build, picture_inspected
from kenpin.compile.reporting.build_report import BuildResult, report_of, versions
from kenpin.compile.reporting.figures import bundle_tree, images_tree, seen_tree
from kenpin.compile.reporting.member_times import MemberTimes, measure_members
from kenpin.compile.reporting.page import write_report
from kenpin.compile.reporting.speed import measure_speed
from kenpin.compile.reporting.trade_report import trade_of, write_trade
from kenpin.compile.spread_build import SpreadReader, spread_unseen
from kenpin.compile.training.network import TrainedNetwork
from kenpin.compile.workbench import NETWORK
from kenpin.config.ensemble import EnsembleSpec
from kenpin.config.errors import ConfigError
from kenpin.config.imported import ImportedSpec
from kenpin.config.recipe import Recipe
from kenpin.processes.cluster import Workers
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BlendRecord, Manifest, QuantizationRecord, TwinScores
from kenpin.runtime.bundles.pack import file_hashes, seal
from kenpin.runtime.bundles.staging import staging_folder
from kenpin.runtime.judging.blend import Look, load_blend
from kenpin.runtime.judging.crew import one_blas_thread
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.pipeline import Stages
from kenpin.runtime.judging.verdict import Thresholds
from kenpin.runtime.web.stages import WebStages

__all__ = ["build"]


# numpy's products and inverses are thousands of small ones, over which OpenBLAS's threads wait
# for each other, by spinning: see docs/decisions/0067.
@one_blas_thread()
def build(
    recipe: Recipe,
    store: Path,
    steps: Steps,
    *,
    weights: Path | None = None,
    lowest: bool = True,
    cluster: Workers | None = None,
    current: bool = True,
) -> BuildResult:
    """Compile a recipe into `store/<name>-<hash>`.

    `lowest` runs the golden frames again under the lowest instruction set: some seconds.
    `cluster` takes a part of the long steps, and changes no bit of what comes out.
    Without `current` the store's link stays as it is.

    Raises
    ------
    ConfigError, ImageError
        If the recipe, its images or its weights cannot be used.
    QuantizationError
        If INT8 would see defects worse than the recipe allows.
    ProcessorError
        If other processors would compute other scores.
    """
    begun = time.monotonic()
    prepared = prepare(recipe, weights)
    # With what only the network could tell.
    recipe = prepared.recipe
    images, inspected = look_through(prepared, steps)
    grey = images.grey_range(recipe.image_quality)
    lamp = Lamp(grey.even_to)
    network = prepared.network
    trained = network if isinstance(network, TrainedNetwork) else None
    if trained is not None:
        trained.learn(images, prepared.walk(inspected), lamp, steps, store)
        if warning := tiles_apart(recipe.method.name, trained, recipe, images.files):
            steps.say(f"warning: {warning}")
    with steps.step("network to OpenVINO"):
        fp32_model = network.model(prepared.batch)
    model, quantization = choose_precision(prepared, fp32_model, images.files, lamp, steps)
    members = _members(recipe, model, steps)
    with staging_folder(store) as folder, staging_folder(store) as scratch:
        save(model, folder / NETWORK)
        engine = Engine(folder / NETWORK)
        apart = None
        if trained is not None:
            apart = _apart(trained, prepared, images.files, lamp, quantization.in_float, steps)
        task = BuildTask(prepared, images, grey, engine, folder, scratch, steps, apart, cluster)
        if recipe.images.mask is not None and inspected is not None:
            np.save(folder / "mask.npy", inspected)
        ways = Ways.of(recipe.score, web=task.strips, network=recipe.method.backbone is None)
        fitted = _fit(task, ways)
        judged = _judge(task, ways, fitted)
        manifest = _manifest(task, judged, quantization)
        pictures = _draw_odd(task, judged, manifest)
        shown = _picture(task, judged, manifest)
        bundle, again = _seal(task, manifest, store, lowest=lowest, current=current)
        if trained is not None:
            trained.forget()
        stem = store / bundle.folder.name
        if pictures.is_dir():
            shutil.copytree(pictures, f"{stem}.odd", dirs_exist_ok=True)
    write_trade(manifest, trade_of(manifest), stem)
    good = judged.good
    clusters = _crowds(task, good)
    places = picture_inspected(task, inspected, clusters, Path(f"{stem}.inspected.png"))
    with steps.step("measure the speed"):
        speed = measure_speed(bundle, images.files, task.bench.load, recipe.report.speed_s)
    advice = advise(manifest, good, clusters)
    page = Path(f"{stem}.report.html")
    report = {
        **report_of(bundle, fitted.support, good, again, time.monotonic() - begun),
        **bundle_tree(bundle),
        "images": images_tree(images, recipe),
        **seen_tree(shown.good, advice, speed, bundle),
        "members": members and members.tree(),
    }
    write_report(page, report, {**shown.galleries, "inspected": [places]})
    return BuildResult(bundle, page.with_suffix(".json"), page, advice, good, again, clusters)


def _apart(
    network: TrainedNetwork,
    prepared: Prepared,
    files: list[Path],
    lamp: Lamp,
    in_float: Sequence[str],
    steps: Steps,
) -> Engine:
    """What judges good images: networks that have not seen them, as INT8 where the bundle's is."""
    with steps.step("networks of the folds to OpenVINO"):
        model = network.apart(prepared.batch)
        if prepared.recipe.quantize.precision == "int8":
            model = in_int8(prepared, model, files, lamp, in_float)
        return Engine(model)


def _members(recipe: Recipe, model: Any, steps: Steps) -> MemberTimes | None:
    """What each member of an ensemble takes; a saved model tells no longer which is which."""
    if not isinstance(recipe.method, EnsembleSpec):
        return None
    with steps.step("measure each member's speed"):
        found = measure_members(model, recipe.method, recipe.report.speed_s)
    steps.say(f"  {found}")
    return found


def _crowds(task: BuildTask, good: GoodScores) -> list[Cluster]:
    """Where the highest scores of good images crowd together."""
    grid, scores = task.grid, [one.score for one in good.records]
    return crowded_tiles(scores, good.peaks, (grid.height, grid.width), web=task.strips)


@dataclass(frozen=True)
class _Fitted:
    """The method's statistics are in the folder; what judges good images as if never seen.

    support   how much the statistics rest on
    unseen    by parts, as far as they are known
    by_image  each image a part of its own, where nobody said what shows what; else None
    """

    support: dict[str, int]
    unseen: Unseen
    by_image: Unseen | None


def _fit(task: BuildTask, ways: Ways) -> _Fitted:
    method, images = task.recipe.method, task.images
    # Only where nobody said what shows what is there something to find out.
    parts = images.parts
    divided = [parts, parts.by_image()] if parts.how == "blocks" else [parts]
    bench, cluster = task.bench, task.cluster
    reader = bench.reader() if cluster is None else SpreadReader(bench, cluster)
    work = FitTask(
        reader, images.files, task.grid, task.folder, task.steps, divided, task.scratch,
        task.recipe.threshold,
    )  # fmt: skip
    support = fitting_of(method).fit(method, work)
    look = Look(() if method.joins_nothing else ways.sigmas_px, task.stride_px)
    if cluster is None or task.apart is not None:
        # Another network, which judges good images alone, lies nowhere for others to see.
        unseen, *by_image = unseen_ways(bench, work, images.webs, look, task.apart)
    else:
        unseen, *by_image = spread_unseen(cluster, bench, work, images.webs, look)
    return _Fitted(support, unseen, by_image[0] if by_image else None)


@dataclass(frozen=True)
class _Judged:
    """The good images and twins in them, each judged without its own part.

    looked  their maps
    joined  with their maps joined
    blend   how, for the bundle; None: the network's map alone
    stages  the box's own steps, with statistics of all parts
    """

    good: GoodScores
    twins: list[TwinScores]
    looked: UnseenMaps
    joined: Joined
    blend: BlendRecord | None
    stages: Stages | WebStages


def _judge(task: BuildTask, ways: Ways, fitted: _Fitted) -> _Judged:
    images, stride = task.images, task.stride_px
    looked = look_at(task, fitted.unseen)
    alike = None
    if fitted.by_image is not None:
        alike = likeness(images, looked.seen, fitted.by_image, task.steps)
    joined, blend = join_maps(task, ways, fitted.unseen, looked)
    good = score_good(images, task.recipe.images.keep, joined, alike, task.steps)
    twins = twin_scores(joined.scored(looked.twins))
    look = load_blend(arrays_in(task.folder), blend, task.shape, stride) or Look((), stride)
    stages = task.bench.stages(task.bench.scorer(arrays_in(task.folder)), look)
    return _Judged(good, twins, looked, joined, blend, stages)


def _manifest(task: BuildTask, judged: _Judged, quantization: QuantizationRecord) -> Manifest:
    recipe, good = task.recipe, judged.good.records
    ng = ng_scores(task, judged.stages)
    _expect_a_score(task, judged)
    threshold = calibrate(recipe.threshold, good, list(ng.values()), strips=task.strips)
    golden = golden_frames(task, judged.stages)
    expect_within_reach(recipe.method, threshold, quantization, golden, judged.twins, ng.values())
    drift = drift_record(task, judged.good)
    return Manifest(
        name=recipe.name,
        versions=versions(),
        frame=recipe.frame,
        tiles=recipe.tiles,
        features=task.features,
        method=recipe.method,
        score=recipe.score,
        threshold=threshold,
        grey=task.grey,
        quantization=quantization,
        golden=golden,
        data=task.images.record(recipe.images),
        good_scores=good,
        twin_scores=judged.twins,
        ng_scores=ng,
        files=file_hashes(task.folder),
        web=recipe.web,
        blend=judged.blend,
        drift=drift,
    )


def _expect_a_score(task: BuildTask, judged: _Judged) -> None:
    """Refuse a network of the user's own that says 0 of everything, drawn defects too."""
    method = task.recipe.method
    scores = [one.score for one in judged.good.records]
    scores += [score for kind in judged.twins for score in kind.scores]
    if isinstance(method, ImportedSpec) and not any(scores):
        raise ConfigError(
            f"the network's numbers come to 0 for all {len(scores)} good images and drawn defects: "
            f'method.worse is "{method.worse}" and method.zero {method.zero:g}; set worse to '
            '"lower" if a low number is a defect, and zero to that of a good image'
        )


def _draw_odd(task: BuildTask, judged: _Judged, manifest: Manifest) -> Path:
    """The folder with pictures of good images that may not be good; none if there are none."""
    pictures = task.scratch / "odd"
    if judged.good.odd:
        limits = Thresholds(manifest.threshold.ok, manifest.threshold.ng)
        with task.steps.step("draw odd images") as progress:
            draw_odd(judged.joined, judged.good, limits, task.stride_px, pictures, progress)
    return pictures


def _picture(task: BuildTask, judged: _Judged, manifest: Manifest) -> Pictured:
    with task.steps.step("draw the report's pictures") as progress:
        return picture_build(
            task,
            judged.joined,
            judged.good,
            judged.looked.twins,
            judged.stages,
            manifest,
            progress,
        )


def _seal(
    task: BuildTask, manifest: Manifest, store: Path, *, lowest: bool, current: bool
) -> tuple[Bundle, Rerun | None]:
    """The bundle under its own name, and its golden frames under the lowest instruction set."""
    reruns: list[Rerun | None] = [None]

    def prove(sealed: Bundle) -> None:
        if not lowest:
            return
        with task.steps.step("golden frames under the lowest instruction set"):
            try:
                reruns.append(rerun(sealed))
            except ProcessorError as error:
                # What others made need not run everywhere; a box tries before it judges.
                if task.recipe.model is None:
                    raise
                task.steps.say(f"warning: {error}")

    return seal(task.folder, manifest, store, prove, current=current), reruns[-1]
