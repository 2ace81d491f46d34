"""A device on trial: golden frames must score there what they scored when compiled."""

from __future__ import annotations

from dataclasses import dataclass

from kenpin.config.tuning import Tuning
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError, GoldenFrame
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.selftest import agrees, scored
from kenpin.runtime.web.pipeline import open_pipeline

__all__ = ["DeviceTrial", "GoldenScore", "let_in", "try_device"]


@dataclass(frozen=True, slots=True)
class GoldenScore:
    """What a golden frame scored on a device."""

    golden: GoldenFrame
    score: float

    @property
    def agrees(self) -> bool:
        """Whether that is what it should score, within its tolerance."""
        return agrees(self.golden, self.score)

    def __str__(self) -> str:
        expected = self.golden.score
        return (
            f"golden frame {self.golden.file} scores {self.score:.6g}, compiled {expected:.6g}, "
            f"{abs(self.score / expected - 1):.3%} apart, allowed {self.golden.tolerance:.1%}"
        )


@dataclass(frozen=True, slots=True)
class DeviceTrial:
    """What a device makes of a bundle.

    refused  what its plug-in would not do, and what is done instead
    """

    answers: tuple[GoldenScore, ...]
    refused: tuple[str, ...]


def try_device(bundle: Bundle, tuning: Tuning, threads: int | None = None) -> DeviceTrial:
    """Every golden frame's score with a tuning, whatever it should be.

    Raises
    ------
    BundleError
        If the device cannot run the network, or a frame gets no score.
    """
    pipeline = open_pipeline(bundle, execution=Execution(threads=threads, tuning=tuning))
    answers = tuple(GoldenScore(golden, score) for golden, score in scored(pipeline))
    return DeviceTrial(answers, pipeline.engine.refused)


def let_in(bundle: Bundle, tuning: Tuning, threads: int | None = None) -> DeviceTrial:
    """As `try_device`, of a device that computes what it should.

    Raises
    ------
    BundleError
        If it does not: with every golden frame's figures.
    """
    trial = try_device(bundle, tuning, threads)
    if not all(answer.agrees for answer in trial.answers):
        figures = "; ".join(map(str, trial.answers))
        raise BundleError(
            f"{bundle.folder}: {tuning.device} computes differently and is refused: {figures}"
        )
    return trial
