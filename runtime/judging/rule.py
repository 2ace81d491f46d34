"""OK only if proven: the rule that turns what was measured into an outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kenpin.camera.frame import Frame, LostFrame
from kenpin.runtime.judging.verdict import Outcome, Reason, Thresholds, Verdict

__all__ = ["Evidence", "judge", "verdict_on"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that must be known of a frame before it may be called OK.

    fault         what already went wrong with the frame, None if nothing did
    detail        a sentence about the fault
    tiles_scored  how many tiles were scored, of `tiles_expected`
    finite        every distance of every tile was finite
    score         image score, dimensionless; None if none could be computed
    elapsed_ns    from the last line's arrival to now; `budget_ns` None: no deadline
    """

    fault: Reason | None = None
    detail: str = ""
    tiles_scored: int = 0
    tiles_expected: int = 0
    finite: bool = False
    score: float | None = None
    elapsed_ns: int = 0
    budget_ns: int | None = None


def judge(evidence: Evidence, thresholds: Thresholds) -> tuple[Outcome, Reason | None, str]:
    """Outcome, reason and one sentence of detail.

    The conditions are asked in the order in which they void the next one: a
    score means nothing if a tile is missing, and a late score changes nothing.
    """
    e = evidence
    if e.fault is not None:
        return Outcome.NG, e.fault, e.detail
    if e.tiles_expected < 1 or e.tiles_scored != e.tiles_expected:
        found = f"{e.tiles_scored} of {e.tiles_expected} tiles were scored"
        return Outcome.NG, Reason.MODEL_ERROR, found
    if not e.finite or e.score is None or not math.isfinite(e.score):
        return Outcome.NG, Reason.NONFINITE, "a distance or the score is not a finite number"
    if e.budget_ns is not None and e.elapsed_ns > e.budget_ns:
        spent, allowed = e.elapsed_ns / 1e6, e.budget_ns / 1e6
        return Outcome.NG, Reason.LATE, f"took {spent:.1f} ms, the budget is {allowed:.1f} ms"
    # Asked as "proven good?": any comparison with NaN is false and ends in NG.
    if e.score <= thresholds.ok:
        return Outcome.OK, None, ""
    if e.score <= thresholds.ng:
        return Outcome.NG, Reason.UNSURE, "the score lies between the two thresholds"
    return Outcome.NG, Reason.DEFECT, ""


def verdict_on(
    frame: Frame | LostFrame,
    evidence: Evidence,
    thresholds: Thresholds,
    *,
    judged_ns: int,
    bundle: str,
    stages_us: Mapping[str, int],
) -> Verdict:
    """The verdict on a frame by the rule; where its defects are is for the caller to add."""
    outcome, reason, detail = judge(evidence, thresholds)
    return Verdict(
        outcome=outcome,
        reason=reason,
        detail=detail,
        score=evidence.score,
        thresholds=thresholds,
        frame_index=frame.index,
        frame_name=frame.name,
        captured_ns=frame.captured_ns,
        judged_ns=judged_ns,
        bundle=bundle,
        stages_us={**stages_us, "total": evidence.elapsed_ns // 1000},
    )
