"""Frames of a web to verdicts. The only file of this package that knows the order of the steps."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Frame, LostFrame
from kenpin.config.errors import kind_and_words
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.blend import load_blend
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.fitting import in_grey_levels, misfit
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import AS_USUAL, Execution, load_network
from kenpin.runtime.judging.pipeline import Judgement, Pipeline, Stopwatch
from kenpin.runtime.judging.processor import check_processor
from kenpin.runtime.judging.scoring import OnFeatures, OnPixels, Scorer
from kenpin.runtime.judging.tile_network import TileNetwork
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.judging.verdict import Cause, Gap, Reason, Thresholds, WebResume
from kenpin.runtime.web.conclusion import conclude
from kenpin.runtime.web.defects import DefectTracker
from kenpin.runtime.web.pieces import MapStrip
from kenpin.runtime.web.position import Along
from kenpin.runtime.web.stages import WebStages, slots_agree
from kenpin.runtime.web.web_state import WebState

__all__ = ["Opening", "WebPipeline", "open_pipeline"]

F32 = NDArray[np.float32]
Fault = tuple[Reason, str]


class Opening(TypedDict, total=False):
    """What `open_pipeline` may be told beside the bundle, for those who hand it on."""

    web: WebSpec | None
    clock_ns: Callable[[], int]
    budget_ns: int | None
    execution: Execution
    oversee: OnPixels | None


def open_pipeline(
    bundle: Bundle,
    *,
    web: WebSpec | None = None,
    clock_ns: Callable[[], int] = time.monotonic_ns,
    budget_ns: int | None = None,
    execution: Execution = AS_USUAL,
    oversee: OnPixels | None = None,
) -> Pipeline | WebPipeline:
    """The pipeline that a bundle's geometry asks for; both have `judge` and `judge_single`.

    `web` is the line's own table, instead of the bundle's; `execution` says how the network is
    run; `oversee` is told of the pixels of every whole frame.

    Raises
    ------
    BundleError
        As the pipelines; also if `web` is given and the frames show parts.
    """
    if bundle.manifest.frame.geometry == "continuous":
        return WebPipeline(
            bundle,
            web=web,
            clock_ns=clock_ns,
            budget_ns=budget_ns,
            execution=execution,
            oversee=oversee,
        )
    if web is not None:
        raise BundleError(
            f"{bundle.folder}: is for frames that show parts, and the line has a table [web]; "
            "remove the table or take a bundle for webs"
        )
    return Pipeline(
        bundle,
        clock_ns=clock_ns,
        budget_ns=budget_ns,
        execution=execution,
        oversee=oversee,
    )


def _stages(
    bundle: Bundle,
    grid: TileGrid,
    loaded: tuple[Engine, Scorer],
    web: WebSpec,
    listen: OnFeatures | None,
) -> WebStages:
    manifest = bundle.manifest
    px = manifest.features.patch_stride_px
    row = 1, -(-grid.width // px)
    network = TileNetwork(
        grid,
        *loaded,
        px,
        manifest.score.smooth_sigma_px,
        load_blend(bundle.arrays, manifest.blend, row, px),
        Lamp(manifest.grey.even_to),
        listen=listen,
    )
    return WebStages(network, web, manifest.grey)


def _both_stages(
    bundle: Bundle,
    grid: TileGrid,
    web: WebSpec | None,
    execution: Execution,
) -> tuple[WebStages, WebStages]:
    """For the line's lanes, and for the recipe's, with which golden frames were scored."""
    recipe = bundle.manifest.web
    assert recipe is not None
    loaded = load_network(bundle, grid, execution)
    try:
        stages = _stages(bundle, grid, loaded, web or recipe, execution.overhear)
        recipes = stages
        if web is not None:
            recipes = _stages(bundle, grid, loaded, recipe, execution.overhear)
    except ValueError as error:
        raise BundleError(f"{bundle.folder}: web: {error}") from None
    _check_slots(bundle, loaded[0])
    return stages, recipes


def _check_slots(bundle: Bundle, engine: Engine) -> None:
    if slots_agree(engine):
        return
    where, remedy = "this processor", "recompile with engine.batch = 1"
    if engine.device != "CPU":
        where, remedy = engine.device, "run `edge-doctor tune` for the CPU"
    raise BundleError(
        f"{bundle.folder}: on {where} a tile's features depend on its slot in the batch, so a "
        f"frame's height would change what is found; {remedy}"
    )


class WebPipeline:
    """A bundle at work on a web: every frame gets one verdict, every line is covered once.

    The verdict on a frame is about the lines that could be judged once it had
    come: mostly its own, less the last few, which need lines of the next frame
    beside them, and the last few of the frame before. `WebFindings` says which.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        web: WebSpec | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        budget_ns: int | None = None,
        execution: Execution = AS_USUAL,
        oversee: OnPixels | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Load the network and the statistics.

        Parameters
        ----------
        web
            Lanes, positions and gates of this line; None takes the bundle's.
        clock_ns
            The monotonic clock that stamped the frames.
        budget_ns
            From a frame's last line to its verdict; None sets no deadline.
        execution
            How the network is run.
        oversee
            Told of the pixels of every whole frame.
        beat
            Called at every tile row: the watchdog's proof of progress.

        Raises
        ------
        BundleError
            If the bundle is not for this processor, the network or the statistics do not
            fit the manifest's geometry, or this processor gives a tile other features in
            another slot.
        """
        manifest = bundle.manifest
        if manifest.frame.geometry != "continuous" or manifest.web is None:
            raise BundleError(f"{bundle.folder}: is for frames that show parts, not for a web")
        check_processor(bundle)
        self.bundle = bundle.loaded()
        self.grid = TileGrid.of(manifest.frame, manifest.tiles)
        limits = manifest.threshold
        self.thresholds = Thresholds(limits.ok, limits.ng, limits.usual)
        self.web = web or manifest.web
        self._frame = manifest.frame
        self._clock_ns = clock_ns
        self._budget_ns = budget_ns
        self._beat = beat
        self._oversee = oversee
        self.stages, self._recipes = _both_stages(bundle, self.grid, web, execution)
        self.reset()

    @property
    def engine(self) -> Engine:
        """What runs the network, and where."""
        return self.stages.engine

    @property
    def recipe_stages(self) -> WebStages:
        """The steps with the recipe's lanes, by which golden frames and single webs are judged."""
        return self._recipes

    def reset(self, origin: int | None = None) -> None:
        """A new web begins with the next frame.

        Parameters
        ----------
        origin
            Number of its first line; None takes the camera's count, or 0.
        """
        self._state: WebState | None = None
        self._resume: WebResume | None = None
        self._origin = origin
        self._next_index: int | None = None
        self._shift: int | None = None
        self._usual_lines = 0
        # Lines that the last frame should have had, where the camera counts none.
        self._short_lines = 0

    def resume(self, web: WebResume) -> None:
        """The next frame belongs to a web that another inspection began; once it is open, no more.

        Its first lines lack context and are told as not inspected. Everything else lies
        where it would have lain. The gates are told of every line between the last one that
        a verdict has covered and its first.
        """
        if self._state is None:
            self._resume = web

    def finish(self) -> Judgement | None:
        """The web ends, and no frame says so: the verdict on its last lines; None if there is none.

        It is nobody's: its frame is the last that came.
        """
        state, index = self._state, self._next_index
        if state is None or index is None:
            return None
        now_ns = self._clock_ns()
        return self._judged(LostFrame(now_ns, index - 1, "the web ends here"), last=True, ends=True)

    def judge_single(self, frame: Frame, *, ready: bool = False) -> Judgement:
        """The verdict about an image that is a whole web, with the recipe's lanes.

        The web in hand goes on untouched. `ready`: as in `Pipeline.judge_single`.
        """
        twin = self.another()
        if ready:
            twin._frame = self._frame.plain
        assert self.bundle.manifest.web is not None
        twin.web, twin.stages = self.bundle.manifest.web, self.recipe_stages
        return twin.judge(frame, last=True)

    def in_one_measure(self, judged: Judgement) -> Judgement:
        """What `judge_single` gave, in the measure of the bundle's thresholds, as a build scores.

        A verdict's score is that of the lane which decides, to be held against that lane's own
        threshold; here each lane's is divided by its `threshold_times`, and so is its map.
        """
        verdict, found = judged.verdict, judged.score_map
        if verdict.score is None or verdict.web is None:
            return judged
        lanes = self.recipe_stages.lanes
        scores = [
            told.score / lane.threshold_times
            for told, lane in zip(verdict.web.lanes, lanes.lanes, strict=True)
            if told.score is not None
        ]
        if found is not None:
            found = replace(found, values=found.values / lanes.times)
        return Judgement(replace(verdict, score=max(scores)), found)

    def another(self) -> WebPipeline:
        """The same for another web, which begins at line 0; this one's goes on untouched.

        Both run the same network: one thread at a time.
        """
        twin = copy.copy(self)
        twin.reset(0)
        return twin

    def judge(self, frame: Frame | LostFrame, *, last: bool = False) -> Judgement:
        """The one verdict about a frame; raises nothing.

        Parameters
        ----------
        last
            The web ends with this frame: its last lines are judged too.
        """
        return self._judged(frame, last=last, ends=False)

    def _judged(self, frame: Frame | LostFrame, *, last: bool, ends: bool) -> Judgement:
        """See `judge`; `ends`: there is no frame, only the web's end."""
        watch = Stopwatch(self._clock_ns)
        watch.start()
        state = self._state or self._opened(frame)
        state.begin_frame()
        fault: Fault | None = None
        try:
            if not ends:
                for piece in self._missing_before(frame, state):
                    state.add(piece)
            state.frame_line = state.stream.end
            if isinstance(frame, Frame):
                fault = self._take_in(frame, state, watch)
            elif not ends:
                fault = self._lost(frame, state)
            if last:
                for ending in state.stream.finish():
                    state.add(ending)
        except Exception as error:  # noqa: BLE001 the frame is still owed its verdict
            fault = Reason.MODEL_ERROR, kind_and_words(error)
            state.abandon(frame)
        usual_lines = self._usual_lines
        if last:
            state.close()
            self.reset()
        watch.mark("stream")
        return conclude(
            state,
            frame,
            fault,
            watch,
            self.bundle.label,
            self._clock_ns(),
            self._budget_ns,
            usual_lines,
        )

    def _opened(self, frame: Frame | LostFrame) -> WebState:
        first = frame.capture.first_line if isinstance(frame, Frame) else None
        resume, self._resume = self._resume, None
        # Nobody can say where a frame without a count lies on a web that others began.
        if resume is not None and (first is None or first < resume.line):
            resume = None
        origin = self._origin
        if origin is None:
            origin = first or 0
        if first is not None:
            self._shift = origin - first
        start = origin
        if resume is not None:
            origin = resume.origin
        lanes, px = self.stages.lanes, self.stages.patch_stride_px
        names = tuple(lane.name for lane in lanes.lanes)
        checks = self.stages.checks(origin)
        self._state = WebState(
            web=self.web,
            thresholds=self.thresholds,
            lanes=lanes,
            stream=self.stages.fresh(origin, checks, self._beat),
            checks=checks,
            tracker=DefectTracker(
                self.web.defects, px, self.grid.width, lanes.lane_of, names, origin
            ),
            along=Along(self.web.along, origin, resume),
            patch_stride_px=px,
        )
        if resume is not None:
            self._state.stream.resume(start)
            self._state.resume(resume, start)
        return self._state

    def _missing_before(
        self, frame: Frame | LostFrame, state: WebState
    ) -> Iterator[MapStrip | Gap]:
        """Lines that should have come before this frame and did not."""
        expected, self._next_index = self._next_index, frame.index + 1
        skipped = 0 if expected is None else frame.index - expected
        first = frame.capture.first_line if isinstance(frame, Frame) else None
        end = state.stream.end
        short, self._short_lines = self._short_lines, 0
        if first is not None:
            if self._shift is None:
                self._shift = end + skipped * self._usual_lines - first
            ahead = first + self._shift - end
            if ahead > 0:
                yield from state.stream.lose(ahead)
            elif ahead < 0 or skipped:
                # The camera counts anew, more was guessed lost than was, or what it counts stood
                # still while frames were lost: where the web went on, nobody knows how far.
                self._shift = end - first
                yield from state.stream.lose(0, known=False)
        elif skipped or short:
            lines = short + max(0, skipped) * self._usual_lines
            yield from state.stream.lose(lines, known=False)

    def _take_in(self, frame: Frame, state: WebState, watch: Stopwatch) -> Fault | None:
        pixels: NDArray[Any] = frame.pixels
        self._usual_lines = max(len(pixels), frame.capture.lines_expected)
        unfit = misfit(pixels, self._frame)
        watch.mark("check")
        if unfit:
            for gap in state.stream.lose(len(pixels), cause=Cause.FAILED):
                state.add(gap)
            return Reason.RECIPE_MISMATCH, unfit
        if frame.capture.first_line is None and not frame.complete:
            self._short_lines = frame.capture.lines_expected - len(pixels)
        first = state.stream.end
        if frame.capture.encoder_lines is not None:
            state.along.lines(first, frame.capture.encoder_lines)
        elif frame.capture.encoder is not None:
            state.along.anchor(first, frame.capture.encoder)
        pixels = in_grey_levels(pixels, self._frame)
        if self._oversee is not None:
            self._oversee(pixels)
            watch.mark("drift")
        for piece in state.stream.feed(pixels):
            state.add(piece)
        return None

    def _lost(self, frame: LostFrame, state: WebState) -> Fault:
        # A camera that counts lines will say with its next frame how many were lost.
        guess = 0 if self._shift is not None else self._usual_lines
        lines = guess if frame.lines is None else frame.lines
        for gap in state.stream.lose(lines, known=frame.lines is not None):
            state.add(gap)
        return Reason.INCOMPLETE_FRAME, frame.detail
