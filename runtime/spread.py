"""A bundle at work in the workers of a cluster: recorded frames through the pipeline of a box."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import msgpack
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.archive_source import ArchiveCut, Then
from kenpin.camera.files.images import encode_png
from kenpin.camera.frame import Frame, LostFrame
from kenpin.config.errors import ConfigError
from kenpin.config.frame import FrameSpec
from kenpin.processes.cluster import Workers, threads_here
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.layout import MANIFEST
from kenpin.runtime.judging.fitting import in_grey_levels, misfit
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.overlay import overlay
from kenpin.runtime.judging.pipeline import Judgement, Pipeline
from kenpin.runtime.judging.verdict import Verdict
from kenpin.runtime.selftest import open_tested
from kenpin.runtime.web.pipeline import WebPipeline

__all__ = [
    "AT_ONCE",
    "Cut",
    "OverlayFile",
    "Replayed",
    "judged_by",
    "opened",
    "packed",
    "picture_of",
    "replayed",
    "size_of",
]

# Frames of one piece of work: enough that asking for it costs nothing beside it, few enough that
# a worker that dies loses seconds.
AT_ONCE = 32


class Cut(Protocol):
    """Frames of a recording that a worker reads itself, from the path that all see."""

    def frames(self) -> Iterator[Frame | LostFrame]:
        """The frames in order, each with its number."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class OverlayFile:
    """An overlay as a file: its name, and what is in it."""

    name: str
    png: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """A verdict, and what else is told of it.

    judged   without its map where none was asked for
    size     (height, width) that a part's map belongs to; None of a web, and of a lost frame
    picture  if pictures were asked for and there is one
    then     what the line said of the frame, where an archive tells
    """

    judged: Judgement
    size: tuple[int, int] | None
    picture: OverlayFile | None
    then: Then | None = None

    @property
    def verdict(self) -> Verdict:
        """The answer about the frame."""
        return self.judged.verdict


def packed(bundle: Bundle) -> bytes:
    """A bundle as one piece, for workers that do not see its folder."""
    names = [MANIFEST, *bundle.manifest.files]
    files = {name: (bundle.folder / name).read_bytes() for name in names}
    data: bytes = msgpack.packb({"name": bundle.folder.name, "files": files})
    return data


def opened(pack: bytes) -> Pipeline | WebPipeline:
    """In a worker: the bundle's pipeline, verified there and its golden frames scored there.

    The one that was opened last is kept.

    Raises
    ------
    BundleError
        If what came is not whole, or this machine computes other scores.
    """
    return _opened(pack, threads_here())


@lru_cache(maxsize=1)
def _opened(pack: bytes, threads: int) -> Pipeline | WebPipeline:
    content: Mapping[str, Any] = msgpack.unpackb(pack)
    above = Path(tempfile.mkdtemp(prefix="kenpin-bundle-"))
    try:
        folder = above / content["name"]
        for name, data in content["files"].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return open_tested(read_bundle(folder), execution=Execution(threads=threads))
    finally:
        with suppress(OSError):
            shutil.rmtree(above)


def replayed(
    cluster: Workers,
    bundle: Bundle,
    cuts: Iterable[Cut],
    *,
    pictures: bool = False,
    maps: bool = False,
) -> Iterator[Replayed]:
    """The verdict about every frame, in their order, as one machine would give them.

    Overlays and maps come with them if they are asked for.

    Raises
    ------
    ConfigError
        If the bundle is for webs, whose frames cannot be judged each by itself.
    """
    if bundle.manifest.frame.geometry == "continuous":
        raise ConfigError(
            f"{bundle.label}: is for webs, whose frames follow each other, so that no other worker "
            "can take the next; leave --dask away, or replay several recordings side by side"
        )
    sent = cluster.send(packed(bundle))
    pieces = ((cut, pictures, maps) for cut in cuts)
    for piece in cluster.in_order(_replay, sent, pieces):
        yield from piece


def _replay(pack: bytes, piece: tuple[Cut, bool, bool]) -> list[Replayed]:
    cut, pictures, maps = piece
    pipeline = opened(pack)
    expected = pipeline.bundle.manifest.frame
    found = []
    for frame in cut.frames():
        judged = judged_by(pipeline, frame)
        picture = picture_of(frame, judged, expected) if pictures else None
        then = cut.then(frame.name) if isinstance(cut, ArchiveCut) else None
        size = size_of(frame, judged)
        found.append(
            Replayed(judged if maps else replace(judged, score_map=None), size, picture, then)
        )
    return found


def judged_by(pipeline: Pipeline | WebPipeline, frame: Frame | LostFrame) -> Judgement:
    """The verdict about a frame that came just now."""
    return pipeline.judge(replace(frame, captured_ns=time.monotonic_ns()))


def size_of(frame: Frame | LostFrame, judged: Judgement) -> tuple[int, int] | None:
    """See `Replayed`."""
    if isinstance(frame, LostFrame) or judged.verdict.web is not None:
        return None
    height, width = frame.pixels.shape[:2]
    return height, width


def picture_of(
    frame: Frame | LostFrame, judged: Judgement, expected: FrameSpec
) -> OverlayFile | None:
    """The overlay of a frame; None where there is nothing to see."""
    if isinstance(frame, LostFrame):
        return None
    pixels: NDArray[Any] = frame.pixels
    if not misfit(pixels, expected):
        pixels = in_grey_levels(pixels, expected)
    elif pixels.dtype != np.uint8:
        return None
    stem = Path(frame.name).with_suffix("").as_posix().replace("/", "-")
    name = f"{frame.index:06d}-{judged.verdict.outcome.name}-{stem}.png"
    return OverlayFile(name, encode_png(overlay(pixels, judged.score_map, judged.verdict)))
