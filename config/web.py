"""What is particular to a web: lanes, edges, millimetres, gates, rolls."""

from __future__ import annotations

import itertools
from typing import Any, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from kenpin.config.settings import Settings, as_before

__all__ = [
    "AlongSpec",
    "DefectSpec",
    "EdgeSpec",
    "EndsSpec",
    "LaneSpec",
    "RollSpec",
    "WebEncoderSpec",
    "WebSpec",
    "ZoneSpec",
]

# Lines at an end of a web that may be left out: they are held in memory.
MOST_END_LINES = 65_536

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$"


class _Span(Settings):
    """Pixels across the web.

    left_px   the first of them
    right_px  the one just behind the last
    """

    left_px: int = Field(ge=0)
    right_px: int = Field(ge=1)

    @model_validator(mode="after")
    def _left_of(self) -> Self:
        if self.left_px >= self.right_px:
            raise ValueError(_crossed(self.left_px, self.right_px))
        return self


def _crossed(left: int, right: int) -> str:
    return f"left_px {left} is not left of right_px {right}; exchange them"


class ZoneSpec(Settings):
    """What is not inspected: a hem along the whole web, a table before or after a strip.

    left_px, right_px  across; without right_px up to the right end
    first_lines        only so many lines from the web's first
    last_lines         only so many lines up to the web's last; every verdict waits for
                       so many lines more, for they may be the last
    """

    left_px: int = Field(default=0, ge=0)
    right_px: int | None = Field(default=None, ge=1)
    first_lines: int | None = Field(default=None, ge=1, le=MOST_END_LINES)
    last_lines: int | None = Field(default=None, ge=1, le=MOST_END_LINES)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return as_before(self, handler(self), "first_lines", "last_lines")

    @property
    def endless(self) -> bool:
        """Whether it goes along the whole web."""
        return self.first_lines is None and self.last_lines is None

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.right_px is None and self.endless:
            raise ValueError(
                "an ignored zone needs right_px, or first_lines or last_lines; without them it "
                "would be the whole web"
            )
        if self.right_px is not None and self.left_px >= self.right_px:
            raise ValueError(_crossed(self.left_px, self.right_px))
        return self


class LaneSpec(_Span):
    """A part of the width with a verdict, thresholds and a reject gate of its own.

    name               in verdicts, on the wire and in a roll's report
    threshold_times    of the bundle's thresholds, both
    offset_to_gate_mm  from the camera's line to this lane's gate, along the
                       web; by default the web's
    """

    name: str = Field(pattern=_NAME)
    threshold_times: float = Field(default=1.0, gt=0, le=100)
    offset_to_gate_mm: float | None = Field(default=None, ge=0)


class EdgeSpec(Settings):
    """Where the web ends across, found anew for every tile row.

    left_px, right_px  where the edges should lie
    tolerance_px       how far each may be from there; beyond, the lines are not inspected
    margin_px          what is left out inside each edge
    web_is_brighter    than what is seen beside it
    level              grey level between the two
    """

    left_px: int = Field(ge=0)
    right_px: int = Field(ge=1)
    tolerance_px: int = Field(ge=0)
    margin_px: int = Field(default=0, ge=0)
    web_is_brighter: bool = True
    level: float = Field(gt=0, lt=255)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        left_over = self.right_px - self.left_px - 2 * (self.tolerance_px + self.margin_px)
        if left_over <= 0:
            raise ValueError(
                f"edges at {self.left_px} and {self.right_px} px leave nothing to inspect once "
                f"tolerance_px {self.tolerance_px} and margin_px {self.margin_px} are taken off "
                "both; give them further apart"
            )
        return self


class EndsSpec(Settings):
    """Where the material begins and ends along a web that lies on a table, found for each.

    A line is of the material if most of its pixels are on the material's side of `level`.

    within_lines     of the web's first line, and of its last, in which it must begin and
                     end; lines beyond are inspected, whatever they show. Every verdict
                     waits for so many lines more, for they may be the last
    margin_lines     what is left out of the material at both ends
    web_is_brighter  than the table
    level            grey level between the two
    """

    within_lines: int = Field(ge=1, le=MOST_END_LINES)
    margin_lines: int = Field(default=0, ge=0)
    web_is_brighter: bool = True
    level: float = Field(gt=0, lt=255)


class WebEncoderSpec(Settings):
    """A wheel on the web.

    counts_per_mm  negative if it counts down when the web runs forward
    bits           width of the counter that the camera reports; it wraps there
    """

    counts_per_mm: float
    bits: int = Field(default=32, ge=8, le=64)

    @model_validator(mode="after")
    def _turns(self) -> Self:
        if self.counts_per_mm == 0:
            raise ValueError("counts_per_mm is 0; expected the counts for each mm of web")
        return self


class AlongSpec(Settings):
    """From scan lines to millimetres along the web.

    line_pitch_mm    from one line to the next; or line_rate_hz and speed_mm_s say it
    line_rate_hz     lines that the camera scans in a second
    speed_mm_s       millimetres that the web moves in a second
    encoder          if frames carry counts, they say where lines lie; the pitch only
                     fills in between them
    fastest_line_mm  most that the web moves from one line to the next, by default the
                     pitch: so far may lines between two counts be off, which widens gates
    """

    line_pitch_mm: float | None = Field(default=None, gt=0)
    line_rate_hz: float | None = Field(default=None, gt=0)
    speed_mm_s: float | None = Field(default=None, gt=0)
    encoder: WebEncoderSpec | None = None
    fastest_line_mm: float | None = Field(default=None, gt=0)

    @property
    def pitch_mm(self) -> float | None:
        """Millimetres from line to line; None if nobody said."""
        if self.line_rate_hz is not None and self.speed_mm_s is not None:
            return self.speed_mm_s / self.line_rate_hz
        return self.line_pitch_mm

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        rates = (self.line_rate_hz, self.speed_mm_s)
        if (rates[0] is None) != (rates[1] is None):
            raise ValueError("line_rate_hz and speed_mm_s belong together; give both or neither")
        if rates[0] is not None and self.line_pitch_mm is not None:
            raise ValueError("line_pitch_mm and line_rate_hz are both given; expected only one")
        fastest, pitch = self.fastest_line_mm, self.pitch_mm
        if fastest is not None and pitch is not None and fastest < pitch:
            raise ValueError(
                f"fastest_line_mm {fastest:g} is less than the {pitch:g} mm from line to line; "
                "give the most that the web moves between two lines, or leave it out"
            )
        if self.encoder is not None and self.pitch_mm is None:
            raise ValueError(
                "an encoder needs line_pitch_mm too, for the lines between two counts; "
                "with one line every n counts it is n / counts_per_mm"
            )
        return self


class DefectSpec(Settings):
    """How regions of the map over threshold become defects.

    report_open_lines  a defect that goes on is reported as open every so many lines
    longest_lines      past this it is ended, and what goes on is a new one
    most_per_frame     defects told of one frame, the highest first; the rest is counted
    """

    report_open_lines: int = Field(default=4096, ge=1)
    longest_lines: int = Field(default=1_000_000, ge=1)
    most_per_frame: int = Field(default=64, ge=1, le=64)


class RollSpec(Settings):
    """Where a roll ends and the next begins.

    length_mm      a new roll every so many mm; by default by command only
    start_count    encoder count at which a roll starts by itself
    stop_count     encoder count at which it stops by itself
    size_classes_mm
                   limits of the classes by which defects are counted
    most_defects   on the map of one roll, the highest first; the rest is counted
    """

    length_mm: float | None = Field(default=None, gt=0)
    start_count: int | None = None
    stop_count: int | None = None
    size_classes_mm: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    most_defects: int = Field(default=20_000, ge=1, le=100_000)

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        limits = self.size_classes_mm
        if any(a >= b for a, b in itertools.pairwise(limits)) or min(limits) <= 0:
            raise ValueError(f"size_classes_mm {limits}: expected rising numbers above 0")
        if self.stop_count is not None and self.start_count is None:
            raise ValueError("stop_count without start_count; give the count where a roll starts")
        if self.stop_count is not None and self.length_mm is not None:
            raise ValueError("a roll ends at stop_count or after length_mm, not both; drop one")
        return self


class WebSpec(Settings):
    """The table [web] of a recipe with continuous geometry, or of a line.

    mm_per_px          across the web; without it sizes are told in pixels only
    along              along the web
    offset_to_gate_mm  from the camera's line to the reject gate; without it there is none
    gate_margin_mm     added before and after each defect where the gate acts
    lanes              left to right; none given: one over the whole width
    ignore             zones that are not inspected
    edges              where the web ends across, found for every tile row
    ends               where the material begins and ends along, found for every web
    defects            how regions over threshold become defects
    roll               where rolls end, and what their reports say
    """

    mm_per_px: float | None = Field(default=None, gt=0)
    along: AlongSpec = AlongSpec()
    offset_to_gate_mm: float | None = Field(default=None, ge=0)
    gate_margin_mm: float = Field(default=0.0, ge=0)
    lanes: tuple[LaneSpec, ...] = Field(default=(), max_length=16)
    ignore: tuple[ZoneSpec, ...] = ()
    edges: EdgeSpec | None = None
    ends: EndsSpec | None = None
    defects: DefectSpec = DefectSpec()
    roll: RollSpec = RollSpec()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return as_before(self, handler(self), "ends")

    @property
    def has_ends(self) -> bool:
        """Whether anything is left out for where a web begins or ends along."""
        return self.ends is not None or not all(zone.endless for zone in self.ignore)

    @property
    def without_ends(self) -> WebSpec:
        """The same for a piece out of the middle, which begins and ends nowhere."""
        endless = tuple(zone for zone in self.ignore if zone.endless)
        return self.model_copy(update={"ends": None, "ignore": endless})

    @model_validator(mode="after")
    def _side_by_side(self) -> Self:
        for left, right in zip(self.lanes, self.lanes[1:], strict=False):
            if right.left_px < left.right_px:
                raise ValueError(
                    f"lane {right.name} starts at {right.left_px} px, before lane {left.name} "
                    f"ends at {left.right_px} px; give lanes from left to right, side by side"
                )
        names = [lane.name for lane in self.lanes]
        if len(set(names)) < len(names):
            raise ValueError(f"lanes are called {names}; expected a name of its own for each")
        gated = self.offset_to_gate_mm is not None or any(
            lane.offset_to_gate_mm is not None for lane in self.lanes
        )
        if gated and self.along.pitch_mm is None:
            raise ValueError(
                "offset_to_gate_mm is given, but not how lines become mm; give along.line_pitch_mm"
            )
        return self
