"""The golden frames: proof that this box computes what the workstation computed.

    python -m kenpin.runtime.selftest BUNDLE

prints their scores as JSON, whatever the bundle says they should be: how the compiler
asks what another instruction set makes of them. Where there are none, it says why in one line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

from numpy.typing import NDArray

from kenpin.camera.files.images import decode_pixels
from kenpin.camera.files.listing import ImageError
from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.manifest import BundleError, GoldenFrame
from kenpin.runtime.judging.engine import CannotCompileError
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.processor import processor_name
from kenpin.runtime.web.pipeline import Opening, WebPipeline, open_pipeline

__all__ = [
    "CANNOT_COMPILE",
    "agrees",
    "golden_pixels",
    "golden_scores",
    "main",
    "open_tested",
    "scored",
    "selftest",
]

# How `main` ends where OpenVINO cannot compile the network; what it says then is its reason.
CANNOT_COMPILE = 3


def open_tested(bundle: Bundle, **settings: Unpack[Opening]) -> Pipeline | WebPipeline:
    """A bundle's pipeline, once its golden frames have scored here what they should.

    `settings` are those of `open_pipeline`.

    Raises
    ------
    BundleError
        As `open_pipeline` and `selftest`.
    """
    pipeline = open_pipeline(bundle, **settings)
    selftest(pipeline)
    return pipeline


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
    """As `selftest`, one golden frame for each step, so that others fit in between.

    Raises
    ------
    BundleError
        As `selftest`, when it comes to that frame.
    """
    for golden, score in scored(pipeline):
        if not agrees(golden, score):
            raise BundleError(
                f"{pipeline.bundle.folder}: golden frame {golden.file} scores {score:.6g} here, "
                f"{golden.score:.6g} when compiled; allowed is {golden.tolerance:.1%}: "
                f"{_remedy(pipeline)}"
            )
        yield golden.file, score


def agrees(golden: GoldenFrame, score: float) -> bool:
    """Whether a golden frame scores what it should, within its tolerance; what is no number
    does not."""
    return abs(score - golden.score) <= golden.tolerance * golden.score


def scored(pipeline: Pipeline | WebPipeline) -> Iterator[tuple[GoldenFrame, float]]:
    """Each golden frame and its score here, one for each step.

    Raises
    ------
    BundleError
        If a frame gets no score.
    """
    for number, golden in enumerate(pipeline.bundle.manifest.golden):
        pixels = golden_pixels(pipeline.bundle, golden.file)
        frame = Frame(pixels, 0, number, golden.file)
        # As the build has scored it: which of two lanes decides may hang on a last digit.
        verdict = pipeline.in_one_measure(pipeline.judge_single(frame, ready=True)).verdict
        if verdict.score is None:
            raise BundleError(
                f"{pipeline.bundle.folder}: golden frame {golden.file} got no score "
                f"({verdict.reason}: {verdict.detail}); this box cannot run the bundle"
            )
        yield golden, verdict.score


def _remedy(pipeline: Pipeline | WebPipeline) -> str:
    device = pipeline.engine.device
    if device != "CPU":
        return (
            f"{device}, which the tuning beside the bundle names, computes differently; run "
            "`edge-doctor tune` for the CPU"
        )
    quantization = pipeline.bundle.manifest.quantization
    if quantization.processors is None and quantization.settings.precision == "int8":
        return (
            f"this processor, {processor_name()}, computes differently, and the bundle was "
            "compiled before INT8 held on all of them: compile it again with this version"
        )
    return (
        f"this box, {processor_name()}, computes differently; check its memory, or tell the "
        "makers of kenpin"
    )


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


def main() -> None:
    """Print the scores of the bundle in the first argument, found without proposals."""
    try:
        bundle = read_bundle(Path(sys.argv[1]))
        pipeline = open_pipeline(bundle, execution=Execution(exhaustive=True))
        found = {golden.file: score for golden, score in scored(pipeline)}
    except BundleError as error:
        if isinstance(error.__cause__, CannotCompileError):
            sys.stderr.write(f"{error.__cause__.why}\n")
            sys.exit(CANNOT_COMPILE)
        sys.exit(str(error))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
