"""What a verdict on a web says beyond OK or NG."""

from __future__ import annotations

from dataclasses import dataclass

from kenpin.runtime.judging.verdict import Outcome, Reason, Thresholds
from kenpin.runtime.web.pieces import Gap

__all__ = ["Defect", "Findings", "GateAction", "LaneVerdict"]


@dataclass(frozen=True, slots=True)
class Defect:
    """A connected region of the map over threshold, however many frames it crosses.

    number      1, 2, 3, … along the web, in the order in which defects begin
    first_line, end_line, left_px, right_px
                its box: lines and pixels, the ends not included
    area_px     of the squares of pixels that are over threshold
    peak, mean  score, dimensionless
    peak_line, peak_px
                where the highest score lies
    lane        of the peak; `lanes`: all that it touches
    open        it goes on: this is what is known so far, the rest will follow
                under the same number
    cut         it may go on, but lines after it were not inspected, or it grew
                longer than a defect may
    continues   number of the defect that was cut for its length just before
    absorbed    numbers, reported open before, that turned out to be this one
    web_mm      where it begins along the web; None if nobody said how long a line is
    """

    number: int
    first_line: int
    end_line: int
    left_px: int
    right_px: int
    area_px: int
    peak: float
    mean: float
    peak_line: int
    peak_px: int
    lane: str
    lanes: tuple[str, ...]
    open: bool = False
    cut: bool = False
    continues: int | None = None
    absorbed: tuple[int, ...] = ()
    web_mm: float | None = None
    length_mm: float | None = None
    left_mm: float | None = None
    width_mm: float | None = None
    area_mm2: float | None = None

    @property
    def lines(self) -> int:
        """Length along the web."""
        return self.end_line - self.first_line

    @property
    def width_px(self) -> int:
        """Width across the web."""
        return self.right_px - self.left_px

    @property
    def size_mm(self) -> float | None:
        """The longer side of its box."""
        if self.length_mm is None or self.width_mm is None:
            return None
        return max(self.length_mm, self.width_mm)


@dataclass(frozen=True, slots=True)
class GateAction:
    """When a reject gate must act: from the first to the last of these positions.

    from_mm, to_mm        of the web's travel, as `Defect.web_mm` counts it
    from_count, to_count  encoder, unwrapped; None without an encoder
    from_raw, to_raw      the same as the counter shows it, wrapped
    late                  the web is past the first of them already
    """

    lane: str
    from_mm: float
    to_mm: float
    from_count: int | None = None
    to_count: int | None = None
    from_raw: int | None = None
    to_raw: int | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class LaneVerdict:
    """The answer about one lane, on the lines that the verdict covers.

    score     its highest, dimensionless; None if nothing of it was inspected
    ng_runs   lines that have anything over threshold: (first, end) of each stretch
    """

    name: str
    outcome: Outcome
    reason: Reason | None
    score: float | None
    thresholds: Thresholds
    ng_runs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a verdict covers, and what was found there.

    first_line, end_line  of the web, the end not included: the lines that this
                 verdict is about. Every line is covered by exactly one verdict,
                 some lines after it came; a short frame may cover none
    first_mm, end_mm      the same along the web; None if nobody said how
    lanes        left to right
    defects      that ended here, or go on and are due for a report: at most as
                 many as are told of one frame, the highest first
    n_defects    how many there were
    gaps         lines that were not inspected
    gates        when which gate must act
    map_line     line of the score map's first row
    open_since   first line of the oldest defect that goes on; None if none does
    first_count, end_count
                 encoder, unwrapped, at the first and the end line; None without one
    rescanned    the web had backed up: these lines were seen before
    """

    first_line: int
    end_line: int
    first_mm: float | None
    end_mm: float | None
    lanes: tuple[LaneVerdict, ...]
    defects: tuple[Defect, ...]
    n_defects: int
    gaps: tuple[Gap, ...]
    gates: tuple[GateAction, ...]
    map_line: int | None
    open_since: int | None = None
    first_count: float | None = None
    end_count: float | None = None
    rescanned: bool = False

    @property
    def lines(self) -> int:
        """How many lines it covers."""
        return self.end_line - self.first_line
