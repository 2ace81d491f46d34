"""The golden frames: proof that this box computes what the workstation computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from kenpin.camera.files.images import decode_pixels
from kenpin.camera.files.listing import ImageError
from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import Bundle, BundleError
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.web.pipeline import WebPipeline

__all__ = ["golden_pixels", "golden_scores", "selftest"]


def selftest(pipeline: Pipeline | WebPipeline) -> dict[str, float]:
    """Score every golden frame of the pipeline's bundle; the scores by file.

    Also warms the network up, with images of the real shape.

    Raises
    ------
    BundleError
        If a score is missing or further from the recorded one than its
        tolerance. The message names the frame and the difference.
    """
    return dict(golden_scores(pipeline))


def golden_scores(pipeline: Pipeline | WebPipeline) -> Iterator[tuple[str, float]]:
    """As `selftest`, one golden frame for each step, so that others fit in between."""
    for number, golden in enumerate(pipeline.bundle.manifest.golden):
        pixels = golden_pixels(pipeline.bundle, golden.file)
        verdict = pipeline.alone(Frame(pixels, 0, number, golden.file)).verdict
        if verdict.score is None:
            raise BundleError(
                f"{pipeline.bundle.folder}: golden frame {golden.file} got no score "
                f"({verdict.reason}: {verdict.detail}); this box cannot run the bundle"
            )
        off = abs(verdict.score - golden.score)
        if not off <= golden.tolerance * golden.score:
            raise BundleError(
                f"{pipeline.bundle.folder}: golden frame {golden.file} scores "
                f"{verdict.score:.6g} here, {golden.score:.6g} when compiled; allowed is "
                f"{golden.tolerance:.1%}: this processor computes differently, recompile on one "
                "like it"
            )
        yield golden.file, verdict.score


def golden_pixels(bundle: Bundle, name: str) -> NDArray[Any]:
    """A golden frame as it was verified.

    Raises
    ------
    BundleError
        If it is no image.
    """
    try:
        return decode_pixels(bundle.folder / name, bundle.golden[name])
    except ImageError as error:
        raise BundleError(f"golden frame {error}; recompile the bundle") from error
