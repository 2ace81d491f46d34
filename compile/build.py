"""Good images to a bundle: the only file that knows the order of the offline steps."""

from __future__ import annotations

import json
import platform
import resource
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kenpin
from kenpin.camera.files.images import write_png
from kenpin.camera.files.listing import list_images, name_in
from kenpin.compile.backbones import Built, build_backbone
from kenpin.compile.blending import Blender, MapStore, Ways
from kenpin.compile.calibrate import calibrate
from kenpin.compile.clusters import Cluster, crowded_tiles
from kenpin.compile.doubts import doubts_about
from kenpin.compile.extractor import Extractor
from kenpin.compile.fitting import FitTask, arrays_in, fitting_of, leave_outs
from kenpin.compile.good_scores import GoodScores, likeness, plain_webs, score_good
from kenpin.compile.guard import compare, sample_tiles, with_twins
from kenpin.compile.images import FeatureReader, GoodImages, check_ng, load
from kenpin.compile.inspected import draw_inspected, inspected_columns
from kenpin.compile.joined import Joined, keep_images, keep_twins
from kenpin.compile.leave_out import LeftOut, Unseen
from kenpin.compile.lowest import Rerun, rerun
from kenpin.compile.odd_pictures import draw_odd
from kenpin.compile.operating_point import odd_ones, operating_point
from kenpin.compile.pack import file_hashes, seal, staging_folder
from kenpin.compile.progress import Steps
from kenpin.compile.quantize import LARGEST, convert, largest_weight, quantize, save
from kenpin.compile.trade_report import trade_of, write_trade
from kenpin.compile.twin_scores import Twin, TwinTask, draw_twins, twin_scores
from kenpin.compile.twins import TWIN_KINDS, twin
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import SAFE_WEIGHT_BITS, Recipe
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.bundle import (
    BlendRecord,
    Bundle,
    FeatureRecord,
    GoldenFrame,
    Manifest,
    QuantizationRecord,
)
from kenpin.runtime.judging.blend import Look, load_blend
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.pipeline import Stages, load_mask
from kenpin.runtime.judging.scoring import Scorer, load_scorer
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.judging.verdict import Thresholds
from kenpin.runtime.web.lanes import EdgeTracker, LaneMap
from kenpin.runtime.web.stages import WebStages

__all__ = ["BuildResult", "build", "prepare"]

# INT8 is exact on every processor, the float remainder differs in its last digits, and now
# and then PatchCore's search takes another row of two that are nearly as near.
GOLDEN_TOLERANCE = 0.005
GOLDEN_GOOD = 2
GOLDEN_TWINS = 2
# Everything drawn at random in a build comes from the recipe's seed and one of these.
CALIBRATION_STREAM, GUARD_STREAM, GOLDEN_STREAM, TWIN_STREAM = 1, 2, 3, 4


@dataclass(frozen=True)
class BuildResult:
    """A sealed bundle and what is worth telling about its making.

    report_file  beside the bundle: times, host, memory; outside the content hash
    good         how the good images score, each without its own part
    rerun        the golden frames under the lowest instruction set; None: not for this bundle
    clusters     places where the highest scores of good images crowd together
    """

    bundle: Bundle
    report_file: Path
    good: GoodScores
    rerun: Rerun | None
    clusters: list[Cluster]


@dataclass(frozen=True)
class Prepared:
    """A recipe whose settings were found to fit each other, before any image is read."""

    grid: TileGrid
    backbone: Built
    extractor: Extractor
    joiner: Joiner
    web: WebSpec | None

    @property
    def edges(self) -> EdgeTracker | None:
        """What finds the edges of the recipe's web; None if it names none."""
        edges = self.web.edges if self.web else None
        if edges is None:
            return None
        return EdgeTracker(edges, self.grid.width, self.joiner.patch_stride)


def prepare(recipe: Recipe, weights: Path | None = None) -> Prepared:
    """Build the network and check that tiles, layers and method fit.

    Raises
    ------
    ConfigError
        If they do not, or the weights cannot be had.
    """
    grid = TileGrid.of(recipe.frame, recipe.tiles)
    backbone = build_backbone(
        recipe.backbone, recipe.method.tap_strides, recipe.frame.channels, weights
    )
    coarsest = backbone.network.taps[-1]
    if grid.size % coarsest.stride_px:
        raise ConfigError(
            f"tiles.size_px {grid.size} is not a multiple of {coarsest.stride_px}, the stride of "
            f"{coarsest.layer}, whose map would be stretched; use a multiple of it"
        )
    extractor = Extractor(backbone.network, backbone.grid_px, recipe.method, recipe.tiles.halo_px)
    try:
        joiner = Joiner(grid, extractor.patch_stride_px)
    except ValueError as error:
        raise ConfigError(f"tiles: {error}") from None
    return Prepared(grid, backbone, extractor.eval(), joiner, recipe.web)


def look_through(
    recipe: Recipe, prepared: Prepared, steps: Steps
) -> tuple[GoodImages, NDArray[np.float32] | None]:
    """Read all that a build will read, and say what is odd about it.

    Returns
    -------
    The good images, and the map of what is inspected; None where all of the frame is.

    Raises
    ------
    ConfigError, ImageError
        If an image, the mask or a folder cannot be used.
    """
    inspected = inspected_columns(recipe, prepared.joiner)
    spec = recipe.images
    with steps.step("check images") as told:
        images = GoodImages.check(spec, recipe.frame, prepared.grid, told, prepared.edges)
    if spec.ng is not None:
        with steps.step("check NG images") as told:
            check_ng(spec.ng, recipe.frame, spec.turn_deg, told)
    for doubt in doubts_about(images, recipe):
        steps.say(f"warning: {doubt}")
    return images, inspected


def build(
    recipe: Recipe,
    store: Path,
    steps: Steps,
    *,
    weights: Path | None = None,
    lowest: bool = True,
) -> BuildResult:
    """Compile a recipe into `store/<name>-<hash>`.

    `lowest` runs the golden frames again under the lowest instruction set: some seconds.

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
    grid = prepared.grid
    images, inspected = look_through(recipe, prepared, steps)
    with steps.step("network to OpenVINO"):
        fp32_model = convert(
            prepared.extractor, _batch(recipe, grid), recipe.frame.channels, grid.size
        )
    grey = images.grey_range(recipe.image_quality)
    lamp = Lamp(grey.even_to)
    model, quantization = _precision(recipe, fp32_model, images.files, grid, lamp, steps)
    with staging_folder(store) as folder, staging_folder(store) as scratch:
        save(model, folder / "features.xml")
        engine = Engine(folder / "features.xml")
        reader = FeatureReader(
            engine,
            grid,
            recipe.frame,
            turn_deg=recipe.images.turn_deg,
            joined=recipe.images.joined,
            lamp=lamp,
            augment=recipe.images.augment,
            seed=recipe.images.seed,
        )
        features = _feature_record(recipe, prepared, engine)
        stride_px = features.patch_stride_px
        if recipe.images.mask is not None and inspected is not None:
            np.save(folder / "mask.npy", inspected)
        parts = images.parts
        # Only where nobody said what shows what is there something to find out.
        divided = [parts, parts.alone()] if parts.how == "blocks" else [parts]
        task = FitTask(reader, images.files, grid, folder, steps, divided, scratch)
        fitting = fitting_of(recipe.method)
        support = fitting.fit(recipe.method, task)

        def load_arrays(arrays: Mapping[str, NDArray[np.float32]]) -> Scorer:
            return load_scorer(arrays, recipe.method, features, grid)

        leaves = leave_outs(fitting, recipe.method, task, load_arrays)

        ways = Ways.of(
            recipe.score, web=recipe.web is not None, network=recipe.method.backbone is None
        )
        beside = Look(() if recipe.method.scores_images else ways.sigmas_px, stride_px)

        def stages_of(scorer: Scorer, look: Look = beside) -> Stages | WebStages:
            return _stages(recipe, features, grid, engine, folder, lamp, scorer, look)

        def read(file: Path) -> NDArray[Any]:
            return load(file, recipe.frame, recipe.images.turn_deg)

        unseen, *alone = [
            Unseen(stages_of, leave, way, images.webs, read)
            for leave, way in zip(leaves, divided, strict=True)
        ]
        looked = _look(recipe, unseen, prepared, folder, scratch, steps)
        alike = likeness(images, looked.seen, alone[0], steps) if alone else None
        joined, blend = _join(recipe, ways, unseen, looked, prepared, folder, steps)
        good = score_good(images, recipe.images.keep, joined, alike, steps)
        twins = twin_scores(joined.scored(looked.twins))
        shape = joined.blender.shape
        final = load_blend(arrays_in(folder), blend, shape, stride_px) or Look((), stride_px)
        stages = stages_of(load_arrays(arrays_in(folder)), final)
        ng = _ng_scores(recipe, stages, steps)
        strips = recipe.web is not None
        threshold = calibrate(recipe.threshold, good.records, list(ng.values()), strips=strips)
        golden = _golden(recipe, stages, images.files, folder)
        manifest = Manifest(
            name=recipe.name,
            versions=_versions(),
            frame=recipe.frame,
            tiles=recipe.tiles,
            features=features,
            method=recipe.method,
            score=recipe.score,
            threshold=threshold,
            grey=grey,
            quantization=quantization,
            golden=golden,
            data=images.record(recipe.images.seed),
            good_scores=good.records,
            twin_scores=twins,
            ng_scores=ng,
            files=file_hashes(folder),
            web=recipe.web,
            blend=blend,
        )
        reruns: list[Rerun | None] = []

        def prove(sealed: Bundle) -> None:
            if lowest:
                with steps.step("golden frames under the lowest instruction set"):
                    reruns.append(rerun(sealed))

        pictures = scratch / "odd"
        if good.odd:
            limits = Thresholds(threshold.ok, threshold.ng)
            with steps.step("draw odd images") as told:
                draw_odd(joined, good, limits, features.patch_stride_px, pictures, told)
        bundle = seal(folder, manifest, store, prove)
        stem = store / bundle.folder.name
        if pictures.is_dir():
            shutil.copytree(pictures, f"{stem}.odd", dirs_exist_ok=True)
    again = reruns[0] if reruns else None
    write_trade(manifest, trade_of(manifest), stem)
    scores = [one.score for one in good.records]
    strips = recipe.web is not None
    clusters = crowded_tiles(scores, good.peaks, (grid.height, grid.width), web=strips)
    picture = store / f"{bundle.folder.name}.inspected.png"
    stride = features.patch_stride_px
    draw_inspected(images.files[0], recipe, inspected, stride, picture, clusters)
    report_file = store / f"{bundle.folder.name}.report.json"
    report = _report(bundle, support, good, again, time.monotonic() - begun)
    report_file.write_text(json.dumps(report, indent=1) + "\n")
    return BuildResult(bundle, report_file, good, again, clusters)


def _batch(recipe: Recipe, grid: TileGrid) -> int:
    # A frame of a web holds any number of tile rows.
    web = recipe.frame.geometry == "continuous"
    return recipe.engine.batch if web else min(recipe.engine.batch, len(grid))


def _stages(
    recipe: Recipe,
    features: FeatureRecord,
    grid: TileGrid,
    engine: Engine,
    folder: Path,
    lamp: Lamp,
    scorer: Scorer,
    look: Look,
) -> Stages | WebStages:
    stride, sigma = features.patch_stride_px, recipe.score.smooth_sigma_px
    if recipe.web is not None:
        try:
            return WebStages(grid, engine, scorer, stride, sigma, recipe.web, look=look, lamp=lamp)
        except ValueError as error:
            raise ConfigError(f"web: {error}") from None
    mask = load_mask(arrays_in(folder), grid, stride)
    return Stages(grid, engine, scorer, stride, sigma, mask, look, lamp)


def _precision(
    recipe: Recipe, fp32_model: Any, files: list[Path], grid: TileGrid, lamp: Lamp, steps: Steps
) -> tuple[Any, QuantizationRecord]:
    """The model that goes into the bundle, and the proof that it may."""
    settings, seed, halo = recipe.quantize, recipe.images.seed, recipe.tiles.halo_px
    turn = recipe.images.turn_deg
    int8_model = None
    if settings.precision == "int8":
        with steps.step("quantise to INT8"):
            rng = np.random.default_rng([seed, CALIBRATION_STREAM])
            count = max(settings.calibration_tiles, 2 * _batch(recipe, grid))
            if settings.calibrate_on == "normals":
                tiles = sample_tiles(files, grid, recipe.frame, count, rng, turn, lamp)
            else:
                normals = sample_tiles(files, grid, recipe.frame, count // 2, rng, turn, lamp)
                tiles = np.concatenate([normals, with_twins(normals, halo, rng)])
            int8_model = quantize(fp32_model, tiles, settings.weight_bits)
    with steps.step("compare FP32 and INT8 on twins"):
        rng = np.random.default_rng([seed, GUARD_STREAM])
        record = compare(
            Engine(fp32_model),
            None if int8_model is None else Engine(int8_model),
            sample_tiles(files, grid, recipe.frame, 2 * settings.guard_tiles, rng, turn, lamp),
            halo,
            recipe.method,
            settings,
            seed,
        )
    if int8_model is None:
        return fp32_model, record.model_copy(update={"processors": "any"})
    processors = "any" if largest_weight(int8_model) <= LARGEST[SAFE_WEIGHT_BITS] else "vnni"
    return int8_model, record.model_copy(update={"processors": processors})


def _feature_record(recipe: Recipe, prepared: Prepared, engine: Engine) -> FeatureRecord:
    return FeatureRecord(
        backbone=recipe.backbone.name,
        layers=tuple(tap.layer for tap in prepared.backbone.network.taps),
        weights_sha256=prepared.backbone.weights_sha256,
        patch_stride_px=prepared.extractor.patch_stride_px,
        cells=prepared.joiner.cells,
        dimensions=prepared.extractor.dimensions,
        batch=engine.batch,
        inference_precision="f32",
    )


def _scores(
    stages: Stages | WebStages,
    files: list[Path],
    folder: Path,
    recipe: Recipe,
    told: Callable[[int, int], None],
) -> dict[str, float]:
    """Image scores by name in the folder; of webs, that of each strip, by name and number."""
    images, scores = recipe.images, {}
    if isinstance(stages, WebStages):
        webs = [files] if images.joined else [[file] for file in files]
        for number, web in enumerate(webs):
            blocks = (load(file, recipe.frame, images.turn_deg) for file in web)
            for strip, score in enumerate(stages.scores(blocks)):
                scores[f"{name_in(folder, web[0])}#{strip}"] = score
            told(number + 1, len(webs))
        return scores
    for number, file in enumerate(files):
        scores[name_in(folder, file)] = stages.measure(
            load(file, recipe.frame, images.turn_deg)
        ).score
        told(number + 1, len(files))
    return scores


def _ng_scores(recipe: Recipe, stages: Stages | WebStages, steps: Steps) -> dict[str, float]:
    """Scores of the NG images that the recipe names, by name; none if it names none."""
    folder = recipe.images.ng
    if folder is None:
        return {}
    with steps.step("score NG images") as told:
        return _scores(stages, list_images(folder), folder, recipe, told)


@dataclass(frozen=True)
class _Looked:
    """Maps of the good images and of faint defects drawn into them, not joined yet."""

    good: MapStore[LeftOut]
    twins: MapStore[Twin]

    @property
    def seen(self) -> list[LeftOut]:
        """The good images, with the network's own scores and without maps."""
        return [item.what for item in self.good.items]


def _look(
    recipe: Recipe,
    unseen: Unseen,
    prepared: Prepared,
    folder: Path,
    scratch: Path,
    steps: Steps,
) -> _Looked:
    looked = _Looked(MapStore(scratch / "good.maps"), MapStore(scratch / "twins.maps"))
    with steps.step("look at good images without their own part") as told:
        keep_images(unseen, looked.good, told)
    if not recipe.report.twins_each:
        return looked
    grid, stride = prepared.grid, prepared.extractor.patch_stride_px
    if recipe.web is not None:
        inspected = LaneMap.of(recipe.web, grid.width, stride).inspected[None]
    else:
        mask = load_mask(arrays_in(folder), grid, stride)
        inspected = np.ones(prepared.joiner.shape, bool) if mask is None else mask > 0
    # Odd images are left alone.
    plain = plain_webs(looked.seen, len(unseen.webs))
    task = TwinTask(unseen, plain, grid, stride, recipe.score.smooth_sigma_px + stride, inspected)
    rng = np.random.default_rng([recipe.images.seed, TWIN_STREAM])
    with steps.step("draw faint defects into good images") as told:
        keep_twins(draw_twins(task, recipe.report.twins_each, rng, told), looked.twins)
    return looked


def _join(
    recipe: Recipe,
    ways: Ways,
    unseen: Unseen,
    looked: _Looked,
    prepared: Prepared,
    folder: Path,
    steps: Steps,
) -> tuple[Joined, BlendRecord | None]:
    """The good images with their maps joined, and what goes into the bundle for it."""

    def threshold(scores: Sequence[float], parts: Sequence[str]) -> float:
        odd = set(odd_ones(scores))
        plain = [n for n in range(len(scores)) if n not in odd]
        own = [scores[n] for n in plain], [parts[n] for n in plain]
        return operating_point(*own, recipe.threshold.false_rejects).threshold

    rows, cols = prepared.joiner.shape
    shape = (1 if recipe.web is not None else rows), cols
    stride = prepared.extractor.patch_stride_px
    blender = Blender(looked.good, looked.twins, ways, shape, stride, threshold)
    given = unseen.stages, unseen.leave, unseen.parts, unseen.webs, unseen.load
    if recipe.method.scores_images:
        return Joined(*given, looked.good, blender, None), None
    with steps.step("join the network's map with bands of brightness"):
        choice = blender.choose()
    record, arrays = blender.fitted(choice)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return Joined(*given, looked.good, blender, choice.way), record


def _golden(
    recipe: Recipe, stages: Stages | WebStages, files: list[Path], folder: Path
) -> list[GoldenFrame]:
    """Good frames and twins of them, stored with their scores."""
    rng = np.random.default_rng([recipe.images.seed, GOLDEN_STREAM])
    sources = rng.permutation(len(files))[: max(GOLDEN_GOOD, GOLDEN_TWINS)]
    (folder / "golden").mkdir()
    golden = []
    for number, source in enumerate(sources):
        pixels = load(files[source], recipe.frame, recipe.images.turn_deg)
        if isinstance(stages, WebStages):
            # Two tile rows and a part: the first, a later one, and the end of a web.
            pixels = np.ascontiguousarray(pixels[: 5 * stages.grid.core // 2])
        kinds = {"good": pixels} if number < GOLDEN_GOOD else {}
        if number < GOLDEN_TWINS:
            kinds["twin"] = twin(pixels, TWIN_KINDS[number], rng)
        for kind, image in kinds.items():
            name = f"golden/{kind}-{number}.png"
            write_png(folder / name, image)
            if isinstance(stages, WebStages):
                score = max(stages.scores([image]))
            else:
                score = stages.measure(image).score
            golden.append(
                GoldenFrame.model_validate(
                    {"file": name, "kind": kind, "score": score, "tolerance": GOLDEN_TOLERANCE}
                )
            )
    return golden


def _versions() -> dict[str, str]:
    packages = ("openvino", "nncf", "torch", "numpy", "opencv-python-headless")
    return {"kenpin": kenpin.__version__, **{name: version(name) for name in packages}}


def _report(
    bundle: Bundle,
    support: dict[str, int],
    good: GoodScores,
    lowest: Rerun | None,
    seconds: float,
) -> dict[str, Any]:
    """What was only measured along the way, and so stays outside the content hash."""
    return {
        "bundle": bundle.folder.name,
        "sha256": bundle.sha256,
        "seconds": round(seconds, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "host": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "fit": support,
        "files_mib": {
            name: round((bundle.folder / name).stat().st_size / 2**20, 3)
            for name in bundle.manifest.files
        },
        "threshold": bundle.manifest.threshold.model_dump(mode="json"),
        "quantization": bundle.manifest.quantization.model_dump(mode="json"),
        "lowest_instruction_set": lowest and lowest.record(),
        "odd": [
            {"file": one.name, "times_median_score": round(times, 2)} for one, times in good.odd
        ],
    }
