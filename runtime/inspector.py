"""A bundle in a Python program: numpy arrays in, verdicts out. No camera, no service, no torch.

Examples
--------
>>> import cv2
>>> import kenpin
>>> inspector = kenpin.load("bundles/current")
>>> verdict = inspector.judge(cv2.imread("part.png", cv2.IMREAD_GRAYSCALE))
>>> verdict.ok, verdict.reason
(False, <Reason.DEFECT: 'defect'>)
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.bundles.manifest import BundleError, Manifest
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.pipeline import Judgement, Pipeline
from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.selftest import open_tested
from kenpin.runtime.web.pipeline import WebPipeline

__all__ = ["Inspector", "VerdictWithMap", "WebInspector", "load"]

# Far longer than a frame takes; a judgement that hangs must not keep a program from its end.
_LAST_TURN_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class VerdictWithMap(Verdict):
    """A `Verdict`, and the map that it rests on.

    score_map  None where the frame got no map; its `values` are read-only
    """

    score_map: ScoreMap | None = None

    @classmethod
    def of(cls, judged: Judgement) -> VerdictWithMap:
        """A pipeline's answer as one value."""
        if judged.score_map is not None:
            judged.score_map.values.flags.writeable = False
        known = {field.name: getattr(judged.verdict, field.name) for field in fields(Verdict)}
        return cls(**known, score_map=judged.score_map)

    @property
    def ok(self) -> bool:
        """Whether the frame is proven good; whatever else there may be is NG."""
        return self.outcome is Outcome.OK


class _Turn:
    """One judgement at a time, in the process that has the threads for it, while Python lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        _TURNS.add(self)

    def __enter__(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                f"the bundle was loaded in process {self._process}, of which {os.getpid()} is a "
                "fork without its threads, and would wait for them for ever; load it after the "
                'fork, or start processes by multiprocessing.get_context("spawn")'
            )
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def take_the_last(self, patience_s: float) -> None:
        """Wait for whoever has it, and let nobody have it again."""
        self._lock.acquire(timeout=max(0.0, patience_s))


_TURNS: WeakSet[_Turn] = WeakSet()


@atexit.register
def _no_more_turns() -> None:
    """Python ends daemon threads where they come back to it, and out of OpenVINO that aborts all.

    Nine of ten programs that ended while such a thread judged died of SIGABRT (OpenVINO 2026.4).
    """
    end = time.monotonic() + _LAST_TURN_S
    for turn in list(_TURNS):
        turn.take_the_last(end - time.monotonic())


class Inspector:
    """A loaded bundle. Threads take turns: one frame is judged at a time."""

    def __init__(self, pipeline: Pipeline | WebPipeline) -> None:
        """Take over a pipeline whose golden frames were found right; see `load`."""
        self._pipeline = pipeline
        self._turn = _Turn()
        self._judged = 0

    @property
    def label(self) -> str:
        """The bundle's name and the start of its content hash."""
        return self._pipeline.bundle.label

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself: frame size, method, thresholds, …"""
        return self._pipeline.bundle.manifest

    def judge(self, image: NDArray[Any], *, name: str = "") -> VerdictWithMap:
        """The verdict about one image: a part, or a piece of web that is a whole web.

        An image that cannot be judged, of another size or depth than the bundle's
        frames, say, gets NG and a reason, as it would on the line.

        Parameters
        ----------
        image : (H, W) or (H, W, 3) uint8; uint16 where the recipe sets `frame.bits`
            Colour as red, green, blue. It is copied: it stays the caller's.
        name
            Comes back as `frame_name`.

        Raises
        ------
        TypeError
            If it is no array.
        ValueError
            If it has no two or three axes, or no pixels.
        RuntimeError
            In a process that was forked off the one that loaded the bundle.
        """
        with self._turn:
            frame = _frame(image, self._judged, name)
            self._judged += 1
            return VerdictWithMap.of(self._pipeline.judge_single(frame))

    def web(self) -> WebInspector:
        """A new web, to be judged block by block.

        Raises
        ------
        BundleError
            If the bundle's frames show parts.
        """
        if not isinstance(self._pipeline, WebPipeline):
            raise BundleError(
                f"{self.label}: its frames show parts; give each to `judge`, or compile a recipe "
                'with frame.geometry = "continuous"'
            )
        return WebInspector(self._pipeline.another(), self._turn)


class WebInspector:
    """One endless web, block by block: every line is judged exactly once.

    A verdict is about the lines that could be judged once a block had come: its own,
    less the last few, which need lines of the next block beside them, and the last few
    of the block before. `verdict.web` says which.
    """

    def __init__(self, pipeline: WebPipeline, turn: _Turn) -> None:
        """See `Inspector.web`."""
        self._pipeline = pipeline
        self._turn = turn
        self._blocks = 0

    def judge(self, block: NDArray[Any], *, last: bool = False, name: str = "") -> VerdictWithMap:
        """The verdict about the next block of the web; see `Inspector.judge`.

        Parameters
        ----------
        block : (any number of lines, W) or (lines, W, 3) uint8
        last
            The web ends with this block: its last lines are judged, too, and the next
            block is the first of another web.
        """
        with self._turn:
            frame = _frame(block, self._blocks, name)
            self._blocks = 0 if last else self._blocks + 1
            return VerdictWithMap.of(self._pipeline.judge(frame, last=last))

    def finish(self) -> VerdictWithMap | None:
        """The verdict about the web's last lines, where no block was said to be the last.

        The next block is the first of another web. None if no block has come.
        """
        with self._turn:
            self._blocks = 0
            judged = self._pipeline.finish()
            return None if judged is None else VerdictWithMap.of(judged)


def load(
    path: Path | str,
    *,
    trust: Path | str | None = None,
    threads: int | None = None,
) -> Inspector:
    """The bundle in a folder, ready to judge.

    Every byte is verified, and the golden frames are judged first: they must score
    here what they scored where the bundle was compiled.

    Parameters
    ----------
    path
        The bundle's folder, a store whose link `current` leads to one, or that link.
    trust
        A folder of public keys, one of which must have signed the bundle.
    threads
        Cores for network and distances; None: all that this process may use.

    Raises
    ------
    BundleError
        If the bundle is damaged, unsigned where it must be signed, or does not reproduce
        its golden scores on this machine.
    """
    bundle = read_bundle(Path(path), None if trust is None else Path(trust))
    with _Turn():
        pipeline = open_tested(bundle, execution=Execution(threads=threads))
    return Inspector(pipeline)


def _frame(image: NDArray[Any], index: int, name: str) -> Frame:
    if not isinstance(image, np.ndarray):
        raise TypeError(f"a {type(image).__name__}, expected a numpy array (H, W) or (H, W, 3)")
    if image.ndim not in (2, 3) or not image.size:
        raise ValueError(f"an array of shape {image.shape}, expected (H, W) or (H, W, 3) uint8")
    # Whoever makes a frame hands over an array of its own, which is read-only from then on.
    return Frame(np.array(image), time.monotonic_ns(), index, name)
