"""OK only if proven: the rule that turns a score into a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

__all__ = ["REASON_CODES", "Evidence", "Outcome", "Reason", "Thresholds", "Verdict", "judge"]


class Outcome(IntEnum):
    """What the machine is told. Zeroed memory must never read as OK."""

    OK = 1
    NG = 2


class Reason(StrEnum):
    """Why a frame is NG."""

    DEFECT = "defect"
    UNSURE = "unsure"
    LATE = "late"
    OVERRUN = "overrun"
    NO_FRAME = "no_frame"
    INCOMPLETE_FRAME = "incomplete_frame"
    IMAGE_QUALITY = "image_quality"
    CAMERA_LOST = "camera_lost"
    NONFINITE = "nonfinite"
    MODEL_ERROR = "model_error"
    NOT_READY = "not_ready"
    RECIPE_MISMATCH = "recipe_mismatch"
    SELFTEST_FAILED = "selftest_failed"
    SHUTDOWN = "shutdown"


# These numbers are compiled into PLC programs: append, never change or reuse.
REASON_CODES: Mapping[Reason, int] = {
    Reason.DEFECT: 1,
    Reason.UNSURE: 2,
    Reason.LATE: 3,
    Reason.OVERRUN: 4,
    Reason.NO_FRAME: 5,
    Reason.INCOMPLETE_FRAME: 6,
    Reason.IMAGE_QUALITY: 7,
    Reason.CAMERA_LOST: 8,
    Reason.NONFINITE: 9,
    Reason.MODEL_ERROR: 10,
    Reason.NOT_READY: 11,
    Reason.RECIPE_MISMATCH: 12,
    Reason.SELFTEST_FAILED: 13,
    Reason.SHUTDOWN: 14,
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores up to `ok` are good, above `ng` a defect, between them unsure.

    With one threshold the two are equal and the band is empty.
    """

    ok: float
    ng: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ok) and math.isfinite(self.ng) and 0 <= self.ok <= self.ng):
            raise ValueError(
                f"thresholds ok={self.ok}, ng={self.ng}: expected finite 0 <= ok <= ng"
            )


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one final answer about one frame.

    score       image score, dimensionless; None if none could be computed
    peak_xy     pixel (x, y) of the highest point of the map, None without a map
    stages_us   microseconds spent in each stage, and `total` since the last line
    bundle      name and content hash of the bundle that judged
    """

    outcome: Outcome
    reason: Reason | None
    detail: str
    score: float | None
    thresholds: Thresholds | None
    frame_index: int
    frame_name: str
    captured_ns: int
    judged_ns: int
    bundle: str
    peak_xy: tuple[int, int] | None = None
    stages_us: Mapping[str, int] = field(default_factory=dict)


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
