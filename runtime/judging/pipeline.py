"""One frame to one verdict. The only file that knows the order of the steps."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Frame, LostFrame
from kenpin.config.errors import kind_and_words
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError, GreyRange
from kenpin.runtime.judging.blend import Look, load_blend
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.fitting import fitted, in_grey_levels, misfit, placed
from kenpin.runtime.judging.inferred import Inferred, infer
from kenpin.runtime.judging.join import Joiner, ScoreMap, smooth
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import AS_USUAL, Execution, load_mask, load_network
from kenpin.runtime.judging.processor import check_processor
from kenpin.runtime.judging.regions import defects_of
from kenpin.runtime.judging.rule import Evidence, verdict_on
from kenpin.runtime.judging.scoring import OnPixels
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.judging.verdict import Defect, Reason, Thresholds, Verdict

__all__ = [
    "Judgement",
    "Measurement",
    "Pipeline",
    "Stages",
    "Stopwatch",
    "grey_fault",
]

F32 = NDArray[np.float32]


@dataclass
class Stopwatch:
    """Microseconds since the last mark, by the name of the stage that just ended."""

    clock_ns: Callable[[], int]
    stages_us: dict[str, int] = field(default_factory=dict)
    _last: int = 0

    def start(self) -> None:
        """Begin the first stage."""
        self._last = self.clock_ns()

    def alive(self) -> None:
        """Look at the clock within a stage: whoever passed it in sees the work go on."""
        self.clock_ns()

    def mark(self, stage: str) -> None:
        """End a stage."""
        now = self.clock_ns()
        self.stages_us[stage] = (now - self._last) // 1000
        self._last = now


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """What the steps found in one frame.

    score_map     the joined, smoothed map
    bands         (bands, rows, cols) contrasts that the map was joined with, if any
    score         image score, dimensionless
    finite        every distance was finite, before joining could hide one
    tiles_scored  tiles that went through the network
    """

    score_map: ScoreMap
    bands: F32
    score: float
    finite: bool
    tiles_scored: int


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """A verdict with the map that it rests on, None where the frame got no map."""

    verdict: Verdict
    score_map: ScoreMap | None


class Stages:
    """Pixels to a map and a score: tiling, network, distances, joining, smoothing, bands."""

    def __init__(self, network: TileNetwork, mask: F32 | None = None) -> None:
        """What the steps need.

        Parameters
        ----------
        mask : (rows, cols) of the map
            1 where the part is inspected and 0 elsewhere.
        """
        grid, engine, patch_stride = network.grid, network.engine, network.patch_stride_px
        self._mask = mask
        self._look = network.look or Look((), patch_stride)
        self._lamp = network.lamp
        self.grid = grid
        self.engine = engine
        self._scorer = network.scorer
        self._joiner = Joiner(grid, patch_stride, network.seam_sigma_px)
        self._sigma_px = network.sigma_px
        self._listen = network.listen
        self._counts = None if mask is None else self._joiner.split(mask > 0)
        # What the network says of one frame, written over the last one's.
        self._buffers = engine.buffers(len(grid))

    @property
    def inspected(self) -> NDArray[np.bool_]:
        """(rows, cols) of the map: where anything counts."""
        return np.ones(self._joiner.shape, np.bool_) if self._mask is None else self._mask > 0

    def measure(self, pixels: NDArray[Any], watch: Stopwatch | None = None) -> Measurement:
        """Measure a frame of the grid's size.

        Parameters
        ----------
        pixels : (H, W) or (H, W, 3) uint8
        """
        watch = watch or Stopwatch(time.monotonic_ns)
        watch.start()
        seen = infer(self.engine, self.grid, self._lamp, pixels, self._buffers, watch.alive)
        watch.mark("infer")
        return self.conclude(seen, watch)

    def conclude(self, seen: Inferred, watch: Stopwatch | None = None) -> Measurement:
        """Measure a frame that has been through the network."""
        watch = watch or Stopwatch(time.monotonic_ns)
        if self._listen is not None:
            self._listen(seen.features.features, self._counts)
        found = self._scorer.distances(seen.features.features, seen.features.rows)
        finite = bool(np.isfinite(found.values).all())
        watch.mark("dist")
        score_map = smooth(self._joiner.join(found.values), self._sigma_px, self._mask)
        joined, bands = self._look.whole(score_map.values, seen.pixels, self._mask)
        finite = finite and bool(np.isfinite(joined).all())
        score_map = replace(score_map, values=joined)
        score = float(score_map.values.max()) if found.score is None else found.score
        watch.mark("join")
        return Measurement(score_map, bands, score, finite, seen.filled)


def _stages(bundle: Bundle, grid: TileGrid, execution: Execution) -> Stages:
    manifest = bundle.manifest
    px = manifest.features.patch_stride_px
    engine, scorer = load_network(bundle, grid, execution)
    network = TileNetwork(
        grid,
        engine,
        scorer,
        px,
        manifest.score.smooth_sigma_px,
        load_blend(bundle.arrays, manifest.blend, Joiner(grid, px).shape, px),
        Lamp(manifest.grey.even_to),
        manifest.score.seam_sigma_px,
        execution.overhear,
    )
    return Stages(network, load_mask(bundle.arrays, grid, px))


class Pipeline:
    """A bundle at work: every frame gets exactly one verdict, whatever happens."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        budget_ns: int | None = None,
        execution: Execution = AS_USUAL,
        oversee: OnPixels | None = None,
    ) -> None:
        """Load the network and the statistics.

        Parameters
        ----------
        clock_ns
            The monotonic clock that stamped the frames.
        budget_ns
            From a frame's last line to its verdict; None sets no deadline.
        execution
            How the network is run.
        oversee
            Told of the pixels of every whole frame, also of one that is too dark to be judged.

        Raises
        ------
        BundleError
            If the bundle is not for this processor, or the network or the statistics do
            not fit the manifest's geometry.
        """
        manifest = bundle.manifest
        if manifest.frame.geometry == "continuous":
            raise BundleError(
                f"{bundle.folder}: is for a continuous web; open it with `open_pipeline`"
            )
        check_processor(bundle)
        self.bundle = bundle.loaded()
        self.grid = TileGrid.of(manifest.frame, manifest.tiles)
        limits = manifest.threshold
        self.thresholds = Thresholds(limits.ok, limits.ng, limits.usual)
        self._frame = manifest.frame
        self._grey = manifest.grey
        self._clock_ns = clock_ns
        self._budget_ns = budget_ns
        self._oversee = oversee
        self._stages = _stages(bundle, self.grid, execution)

    @property
    def engine(self) -> Engine:
        """What runs the network, and where."""
        return self._stages.engine

    def judge_single(self, frame: Frame, *, ready: bool = False) -> Judgement:
        """The verdict about a frame that belongs to nothing before or after it.

        `ready`: it is of the frame's size, depth and colours already, as golden frames are.
        """
        if not ready:
            return self.judge(frame)
        twin = copy.copy(self)
        twin._frame = self._frame.plain
        return twin.judge(frame)

    def in_one_measure(self, judged: Judgement) -> Judgement:
        """What was judged, in the measure of the bundle's thresholds: a part has no other."""
        return judged

    def judge(self, frame: Frame | LostFrame) -> Judgement:
        """The one verdict about a frame; a lost one is NG. Raises nothing.

        Whatever goes wrong on the way is a reason for NG: silence or a crash
        here would leave a trigger unanswered.
        """
        watch = Stopwatch(self._clock_ns)
        watch.start()
        measured: Measurement | None = None
        fault: tuple[Reason, str] | None
        try:
            if isinstance(frame, LostFrame):
                fault = Reason.INCOMPLETE_FRAME, frame.detail
            else:
                fault, measured = self._looked_at(frame, watch)
        except Exception as error:  # noqa: BLE001 the frame is still owed its verdict
            fault = Reason.MODEL_ERROR, kind_and_words(error)
        return self._conclude(frame, fault, measured, watch)

    def _looked_at(
        self, frame: Frame, watch: Stopwatch
    ) -> tuple[tuple[Reason, str] | None, Measurement | None]:
        """What keeps a frame from being judged, or what was measured in it."""
        fault: tuple[Reason, str] | None = None
        if not frame.complete:
            found, wanted = len(frame.pixels), frame.capture.lines_expected
            fault = Reason.INCOMPLETE_FRAME, f"frame has {found} of {wanted} scan lines"
        elif unfit := misfit(frame.pixels, self._frame):
            fault = Reason.RECIPE_MISMATCH, unfit
        if fault is not None:
            watch.mark("check")
            return fault, None
        pixels = in_grey_levels(frame.pixels, self._frame)
        dark = grey_fault(pixels, self._grey)
        watch.mark("check")
        if dark and self._oversee is None:
            return (Reason.IMAGE_QUALITY, dark), None
        inner = fitted(pixels, self._frame)
        if self._oversee is not None:
            self._oversee(inner)
            watch.mark("drift")
        if dark:
            return (Reason.IMAGE_QUALITY, dark), None
        measured = self._stages.measure(inner, watch)
        laid = placed(measured.score_map, self._frame, *pixels.shape[:2])
        return None, replace(measured, score_map=laid)

    def _conclude(
        self,
        frame: Frame | LostFrame,
        fault: tuple[Reason, str] | None,
        measured: Measurement | None,
        watch: Stopwatch,
    ) -> Judgement:
        reason, detail = fault or (None, "")
        defects, n_defects = self._defects(frame, measured)
        now = self._clock_ns()
        evidence = Evidence(
            fault=reason,
            detail=detail,
            tiles_scored=measured.tiles_scored if measured else 0,
            tiles_expected=len(self.grid),
            finite=measured.finite if measured else False,
            score=measured.score if measured else None,
            elapsed_ns=now - frame.captured_ns,
            budget_ns=self._budget_ns,
        )
        verdict = verdict_on(
            frame,
            evidence,
            self.thresholds,
            judged_ns=now,
            bundle=self.bundle.label,
            stages_us=watch.stages_us,
        )
        peak = _peak(frame, measured)
        verdict = replace(verdict, peak_xy=peak, defects=defects, n_defects=n_defects)
        return Judgement(verdict, measured.score_map if measured else None)

    def _defects(
        self, frame: Frame | LostFrame, measured: Measurement | None
    ) -> tuple[tuple[Defect, ...], int]:
        if isinstance(frame, LostFrame) or measured is None or not measured.finite:
            return (), 0
        # A weighted image score may call a frame good whose map is above the threshold.
        if measured.score <= self.thresholds.ok:
            return (), 0
        height, width = frame.pixels.shape[:2]
        return defects_of(measured.score_map, self.thresholds.ok, height, width)


def _peak(frame: Frame | LostFrame, measured: Measurement | None) -> tuple[int, int] | None:
    if measured is None or isinstance(frame, LostFrame):
        return None
    height, width = frame.pixels.shape[:2]
    return measured.score_map.peak_xy(height, width)


def grey_fault(pixels: NDArray[Any], allowed: GreyRange) -> str:
    """Why a frame (H, W) or (H, W, C) is too dark, bright or flat to be judged; empty if it is not.

    Means and deviations are in grey levels of the frame's type.
    """
    means, deviations = cv2.meanStdDev(pixels)
    mean, contrast = float(means.mean()), float(deviations.mean())
    if not allowed.mean_min <= mean <= allowed.mean_max:
        return (
            f"grey mean {mean:.1f}, expected {allowed.mean_min:.1f} to {allowed.mean_max:.1f}; "
            "check lamp, exposure and lens cap"
        )
    if contrast < allowed.contrast_min:
        return (
            f"contrast {contrast:.2f} grey levels, expected at least {allowed.contrast_min:.2f}; "
            "check focus, exposure and whether material is in view"
        )
    return ""
