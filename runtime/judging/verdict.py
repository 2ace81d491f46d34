"""The verdict: one frozen shape from the pipeline to the wire, for parts and for webs.

What it says on the wire, and under which names, is in `wire/verdict_messages.py`.
Processes hand it to each other whole, so that a field added here reaches all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

__all__ = [
    "MOST_DEFECTS",
    "REASON_CODES",
    "Cause",
    "Defect",
    "Gap",
    "LaneName",
    "LaneVerdict",
    "LineNumber",
    "Outcome",
    "Reason",
    "Thresholds",
    "Verdict",
    "WebDefect",
    "WebFindings",
    "WebGate",
    "WebResume",
]


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

    usual  the median score of good material, for `scaled`; 0 where nobody measured it
    """

    ok: float
    ng: float
    usual: float = 0.0

    def scaled(self, score: float) -> float:
        """The score as other tools show it: 0 to 1, the threshold at 0.5, good ones near 0.

        For people and for importers. It rises with the score, straight from the usual score
        to the threshold, and ever slower above, where 0.75 is twice the threshold's distance.
        """
        span = self.ok - self.usual
        above = score - self.usual
        if span <= 0:
            return 0.5 if score <= self.ok else 1.0
        if above <= span:
            return 0.5 * max(0.0, above / span)
        return 1.0 - 0.5 * span / above

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ok) and math.isfinite(self.ng) and 0 <= self.ok <= self.ng):
            raise ValueError(
                f"thresholds ok={self.ok}, ng={self.ng}: expected finite 0 <= ok <= ng"
            )


# What a message has room for beside all else; whoever has more on a part is told how many.
MOST_DEFECTS = 64
# Of a web's, beside those: for rolls. A frame with more is noise, and is counted.
MOST_FURTHER = 2048

# Defects and gates are told as they are, so their units and limits on the wire stand
# here too.
LineNumber = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
PixelNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
LaneName = Annotated[str, Field(max_length=64)]
_FINITE = ConfigDict(allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Defect:
    """A connected region of a part's map over threshold, in pixels of the frame."""

    __pydantic_config__ = _FINITE

    left_px: PixelNumber
    top_px: PixelNumber
    right_px: Annotated[PixelNumber, Field(description="not included")]
    bottom_px: Annotated[PixelNumber, Field(description="not included")]
    area_px: Annotated[int, Field(ge=0, description="pixels over threshold")]
    peak: Annotated[float, Field(description="highest score")]
    mean: Annotated[float, Field(description="mean score of the map over it")]
    peak_xy: Annotated[
        tuple[PixelNumber, PixelNumber], Field(description="[x, y] of the highest score")
    ]


@dataclass(frozen=True, slots=True)
class WebDefect:
    """A connected region over threshold, however many frames it crosses."""

    __pydantic_config__ = _FINITE

    number: Annotated[int, Field(ge=1, description="1, 2, 3, … along the web")]
    first_line: LineNumber
    end_line: Annotated[LineNumber, Field(description="not included")]
    left_px: PixelNumber
    right_px: Annotated[PixelNumber, Field(description="not included")]
    area_px: Annotated[int, Field(ge=0, description="pixels over threshold")]
    peak: Annotated[float, Field(description="highest score")]
    mean: Annotated[float, Field(description="mean score over its area")]
    peak_line: LineNumber
    peak_px: PixelNumber
    lane: Annotated[LaneName, Field(description="of the peak")]
    lanes: Annotated[tuple[LaneName, ...], Field(max_length=16, description="all that it touches")]
    open: Annotated[bool, Field(description="it goes on; the rest follows under the same number")]
    # Lines after it were not inspected, or it grew longer than a defect may.
    cut: Annotated[bool, Field(description="it may go on, but was ended here")]
    continues: Annotated[int | None, Field(description="the defect that was cut just before")]
    # They were reported open before.
    absorbed: Annotated[
        tuple[int, ...], Field(max_length=16, description="numbers that turned out as this")
    ]
    # Millimetres are None where nobody said how long a line or how wide a pixel is.
    web_mm: Annotated[float | None, Field(description="where it begins along the web")]
    length_mm: float | None
    left_mm: float | None
    width_mm: float | None
    area_mm2: float | None
    within_mm: Annotated[
        float | None,
        Field(
            exclude_if=lambda mm: mm is None,
            description="may lie outside of web_mm and length_mm by so much; left out without "
            "encoder counts, which alone say how the web moved",
        ),
    ] = None

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
class WebGate:
    """From where to where a reject gate must act."""

    __pydantic_config__ = _FINITE

    lane: LaneName
    # Of the web's travel, as `WebDefect.web_mm` counts it.
    from_mm: float
    to_mm: float
    # None without an encoder.
    from_count: Annotated[Count | None, Field(description="encoder, unwrapped")]
    to_count: Count | None
    from_raw: Annotated[Count | None, Field(description="the same as the counter shows it")]
    to_raw: Count | None
    late: Annotated[bool, Field(description="the web is past it already")]


class Cause(IntEnum):
    """Why lines were not inspected. 0 stands for lines that were."""

    LOST = 1  # they never came
    CONTEXT = 2  # they came, but lines that they need beside them did not
    IMAGE_QUALITY = 3  # too dark, too bright or too flat
    EDGE = 4  # the web's edge was not found where it may be
    NONFINITE = 5  # the network or the distances gave no number
    FAILED = 6  # an error while judging them

    @property
    def word(self) -> str:
        """As it is written in reports."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines `first_line` to just before `end_line` that were not inspected.

    known  False where the number of lost lines is a guess: from here on, lines
           and millimetres may be off by what was guessed wrong
    """

    first_line: int
    end_line: int
    cause: Cause
    known: bool = True

    @property
    def lines(self) -> int:
        """How many."""
        return self.end_line - self.first_line


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
class WebFindings:
    """What a verdict covers of a web, and what was found there.

    first_line, end_line  of the web, the end not included: the lines that this
                 verdict is about. Every line is covered by exactly one verdict,
                 some lines after it came; a short frame may cover none
    first_mm, end_mm      the same along the web; None if nobody said how
    lanes        left to right
    defects      that ended here, or go on and are due for a report: at most as
                 many as are told of one frame, the highest first
    n_defects    how many there were
    further      the others, for rolls; no message tells of them. MOST_FURTHER at most, the
                 highest of them
    going_on     defects that may go on, as they stand: whoever can no longer follow them
                 tells them as cut. MOST_DEFECTS at most, the highest
    gaps         lines that were not inspected
    gates        when which gate must act
    map_line     line of the score map's first row
    open_since   first line of the oldest defect that goes on; None if none does
    first_count, end_count
                 encoder, unwrapped, at the first and the end line; None without one
    rescanned    the web had backed up: these lines were seen before
    came_line    the line that comes next: lines from end_line up to it wait for others
    knots        (line, mm) of lines in between whose own counts are known, thinned out
                 to a few: between all these, lines lie evenly
    pending      (lane, first, end) of lines that gates will be told of with a later verdict
    within_mm    by which its lines may lie outside of first_mm to end_mm; None without counts
    """

    first_line: int
    end_line: int
    first_mm: float | None
    end_mm: float | None
    lanes: tuple[LaneVerdict, ...]
    defects: tuple[WebDefect, ...]
    n_defects: int
    gaps: tuple[Gap, ...]
    gates: tuple[WebGate, ...]
    map_line: int | None
    open_since: int | None = None
    first_count: float | None = None
    end_count: float | None = None
    rescanned: bool = False
    came_line: int = 0
    knots: tuple[tuple[int, float], ...] = ()
    pending: tuple[tuple[str, int, int], ...] = ()
    within_mm: float | None = None
    further: tuple[WebDefect, ...] = ()
    going_on: tuple[WebDefect, ...] = ()

    @property
    def lines(self) -> int:
        """How many lines it covers."""
        return self.end_line - self.first_line

    def doubted(self, reason: Reason) -> WebFindings:
        """The same, with NG in every lane that was OK: something speaks against all its lines."""
        lanes = tuple(
            replace(lane, outcome=Outcome.NG, reason=reason) if lane.outcome is Outcome.OK else lane
            for lane in self.lanes
        )
        return replace(self, lanes=lanes)


@dataclass(frozen=True, slots=True)
class WebResume:
    """What must outlive an inspection, so that the next goes on with the same web.

    origin       line from which the web's tile rows are counted
    line         up to it verdicts have covered the web: the gates know nothing of what
                 follows, whatever somebody else may still find there
    mm, count    where that line lies and its unwrapped count; None if nobody said
    furthest_mm  as far as the web had come
    pending      see `WebFindings`
    """

    origin: int
    line: int
    mm: float | None
    count: float | None
    furthest_mm: float
    pending: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one final answer about one frame.

    score       image score, dimensionless; None if none could be computed
    thresholds  that the score was held against; None before there is a bundle
    captured_ns, judged_ns
                when the last scan line arrived and when it was judged, ns, the
                box's monotonic clock
    bundle      name and content hash of the bundle that judged
    peak_xy     pixel (x, y) of the highest point of the map, None without a map
    stages_us   microseconds spent in each stage, and `total` since the last line
    defects     on a part, at most as many as are told of one frame, the highest first;
                a web's are in `web`
    n_defects   how many there were on the part
    web         what else is known of a web; None where frames show parts, and where
                nothing was judged
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
    defects: tuple[Defect, ...] = ()
    n_defects: int = 0
    web: WebFindings | None = None

    @property
    def by_its_score(self) -> bool:
        """Whether a score decided: what is NG by anything else was not found, but not judged."""
        return self.reason in (None, Reason.DEFECT, Reason.UNSURE)

    @property
    def defects_found(self) -> int:
        """How many defects there were, on a part or on a web's lines."""
        return self.n_defects if self.web is None else self.web.n_defects

    @classmethod
    def unjudged(
        cls,
        reason: Reason,
        detail: str,
        *,
        thresholds: Thresholds | None,
        bundle: str,
        frame_index: int = 0,
        judged_ns: int = 0,
    ) -> Verdict:
        """NG for a frame that nobody could judge."""
        return cls(
            Outcome.NG, reason, detail, None, thresholds, frame_index, "",
            judged_ns, judged_ns, bundle,
        )  # fmt: skip
