"""The lowest instruction set: a bundle must score there what it scores here."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.selftest import CANNOT_COMPILE, scored
from kenpin.runtime.web.pipeline import open_pipeline

__all__ = ["LOWEST", "ProcessorError", "Rerun", "rerun"]

# What OpenVINO needs at least. INT8 sums there in 16 bits, as all processors without VNNI.
LOWEST = "SSE41"
# Of a golden frame's score.
ALLOWED = 0.005
# What it may take: so many times what it takes here (SSE4.1 took 12 times as long as AMX for 582
# photographs), and for a small bundle, most of whose time is Python's start, no less than this.
TIMES_HERE, ENOUGH_S = 60, 600


class ProcessorError(Exception):
    """Other processors would compute other scores."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """What the golden frames scored under the lowest instruction set, and here.

    Both without proposals of neighbours: those are sums of whole numbers that fit, and
    OpenVINO cannot compile them where it is told to keep to SSE4.1.

    scores              empty where they were not waited for
    largest_difference  a share of the score
    not_done            why there are no scores
    """

    instruction_set: str
    scores: dict[str, float]
    here: dict[str, float]
    largest_difference: float = 0.0
    not_done: str = ""

    def record(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def rerun(bundle: Bundle, instruction_set: str = LOWEST) -> Rerun | None:
    """Score a bundle's golden frames in a process that is kept to an instruction set.

    None where that says nothing: the bundle is for processors with VNNI alone, or this
    machine has no x86-64 processor. Where it takes too long, the result says so: a box that
    scores otherwise refuses the bundle by its golden frames all the same.

    Raises
    ------
    ProcessorError
        If a score is further from the one here than ALLOWED, or there is none.
    """
    if bundle.manifest.quantization.processors != "any" or platform.machine() != "x86_64":
        return None
    begun = time.monotonic()
    here = {
        g.file: score
        for g, score in scored(open_pipeline(bundle, execution=Execution(exhaustive=True)))
    }
    limit_s = max(ENOUGH_S, TIMES_HERE * (time.monotonic() - begun))
    scores = _scored_under(bundle, instruction_set, limit_s)
    if scores is None:
        why = f"the golden frames were not scored within {limit_s:.0f} s"
        return Rerun(instruction_set, {}, here, not_done=why)
    off = {file: _apart(scores[file], score) for file, score in here.items()}
    worst = max(off, key=lambda file: off[file])
    if not off[worst] <= ALLOWED:
        raise ProcessorError(
            f"golden frame {worst} scores {scores[worst]:.6g} under {instruction_set}, the lowest "
            f"instruction set, and {here[worst]:.6g} here: {off[worst]:.2%} apart, allowed are "
            f'{ALLOWED:.1%}; set quantize.precision = "fp32", or quantize.weight_bits = 8 for '
            "processors with VNNI alone"
        )
    return Rerun(instruction_set, scores, here, off[worst])


def _scored_under(bundle: Bundle, instruction_set: str, limit_s: float) -> dict[str, float] | None:
    """Golden frames and their scores in a process that is kept to it; None: not within the limit.

    Raises
    ------
    ProcessorError
        If there are none.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-m", "kenpin.runtime.selftest", str(bundle.folder)],
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": instruction_set},
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        # Some operations look at the processor itself, and compile on one that truly has no AVX:
        # see docs/decisions/0040.
        if child.returncode == CANNOT_COMPILE:
            raise ProcessorError(
                f"processors without AVX may not run this bundle: kept to {instruction_set}, as "
                f"they are imitated here, OpenVINO cannot compile its network ({last}); if it "
                "cannot there either, a box refuses the bundle at its start: take one with AVX"
            )
        raise ProcessorError(
            f"the golden frames cannot be scored under {instruction_set}, the lowest instruction "
            f"set: {last}; processors without AVX could not run this bundle"
        )
    scores: dict[str, float] = json.loads(child.stdout)
    return scores


def _apart(one: float, other: float) -> float:
    """How far two scores are apart, as a share of the larger; what counts as nothing is 0."""
    return 0.0 if one == other else abs(one - other) / max(abs(one), abs(other))
