"""What a build gives beside the bundle: how it went, on what host, in what time."""

from __future__ import annotations

import platform
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kenpin
from kenpin.compile.good_images.clusters import Cluster
from kenpin.compile.networks.lowest import Rerun
from kenpin.compile.operating_point.good_scores import GoodScores
from kenpin.compile.reporting.advice import Advice
from kenpin.runtime.bundles.bundle import Bundle

__all__ = ["BuildResult", "report_of", "versions"]


@dataclass(frozen=True)
class BuildResult:
    """A sealed bundle and what is worth telling about its making.

    report_file  beside the bundle: times, host, memory; outside the content hash
    page         the same as a page for people
    advice       what to do next
    good         how the good images score, each without its own part
    rerun        the golden frames under the lowest instruction set; None: not for this bundle
    clusters     places where the highest scores of good images crowd together
    """

    bundle: Bundle
    report_file: Path
    page: Path
    advice: list[Advice]
    good: GoodScores
    rerun: Rerun | None
    clusters: list[Cluster]


def versions() -> dict[str, str]:
    """Of everything that had a part in a bundle."""
    packages = ("openvino", "nncf", "torch", "numpy", "opencv-python-headless")
    return {"kenpin": kenpin.__version__, **{name: version(name) for name in packages}}


def report_of(
    bundle: Bundle,
    support: Mapping[str, int],
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
        "fit": dict(support),
        "files_mib": {
            name: round((bundle.folder / name).stat().st_size / 2**20, 3)
            for name in bundle.manifest.files
        },
        "threshold": bundle.manifest.threshold.model_dump(mode="json"),
        "quantization": bundle.manifest.quantization.model_dump(mode="json"),
        "lowest_instruction_set": lowest and lowest.record(),
        "odd": [
            {"file": one.name, "times_median_score": times and round(times, 2)}
            for one, times in good.odd
        ],
    }
