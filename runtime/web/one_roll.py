"""One roll: what was found on it, where, and what it comes to."""

from __future__ import annotations

import heapq
import json
import math
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from kenpin.config.web import LaneSpec, WebSpec
from kenpin.runtime.judging.verdict import Gap, WebDefect, WebFindings
from kenpin.runtime.web.bars import across_the_web
from kenpin.runtime.web.periods import Repeat, find_repeats
from kenpin.runtime.web.pieces import merged
from kenpin.runtime.web.roll_report import write_page
from kenpin.runtime.web.spans import Spans

__all__ = ["Roll", "mm_between"]

F64 = NDArray[np.float64]

# Stretches without inspection that a report lists; the length of all is exact.
MOST_GAPS = 5000
# How far from its place a repeating defect may be, as a rule of thumb for all rollers;
# and how exactly it can be known: the region's ends lie on the map's patches.
NEAR_MM, NEAR_LINES = 3.0, 24
FINEST_LINES = 6
# Stretches of the web that touch but for rounding.
ROUNDING = 1e-6


@dataclass
class _LaneOnRoll:
    """A lane on the roll: stretches over threshold, and what was found, by size."""

    ng: Spans
    by_size: list[int]


@dataclass(frozen=True)
class _Ruled:
    """Middles of defects in one unit, along and across; see `find_repeats`."""

    along: F64
    across: F64
    near: float
    finest: float


class Roll:
    """One roll in progress; see `RollBook`.

    Places are in mm along the web, or in lines where nobody said how long a line is.
    What a web that backed up shows again counts once.
    """

    def __init__(
        self,
        name: str,
        first_line: int,
        first_mm: float | None,
        web: WebSpec,
        width_px: int,
        folder: Path,
        facts: dict[str, str],
    ) -> None:
        self.name, self.first_line, self.first_mm = name, first_line, first_mm
        self.end_line = first_line
        self.ended = False
        self.hidden = 0
        self._web, self._width_px, self._facts = web, width_px, facts
        whole = LaneSpec(name="web", left_px=0, right_px=width_px)
        self._specs = web.lanes or (whole,)
        sizes = len(web.roll.size_classes_mm) + 1
        self._lanes = {lane.name: _LaneOnRoll(Spans(ROUNDING), [0] * sizes) for lane in self._specs}
        self._seen, self._inspected = Spans(ROUNDING), Spans(ROUNDING)
        self._start = self._end = float(first_line) if first_mm is None else first_mm
        self._gaps: list[tuple[Gap, float, float]] = []
        self._defects: list[tuple[float, int, WebDefect]] = []
        self._count = 0
        self._page = folder / f"{name}.html"
        self._stream: TextIO = (folder / f"{name}.jsonl").open("w", encoding="utf-8")
        self._line("roll", name=name, first_line=first_line, first_mm=first_mm, facts=facts)

    @property
    def metric(self) -> bool:
        """Whether places are known in mm."""
        return self.first_mm is not None

    def cover(self, findings: WebFindings, first: int, end: int) -> None:
        """Lines `first` to `end` of a verdict lie on this roll."""
        self.end_line = end

        def place(line: int) -> float:
            mm = mm_between(findings, line)
            return float(line) if mm is None or not self.metric else mm

        def add(spans: Spans, a: int, b: int) -> None:
            # Between two knots the web moved one way.
            turns = [a, *(line for line, _ in findings.knots if a < line < b), b]
            for one, other in pairwise(turns):
                spans.add(place(one), place(other))

        add(self._seen, first, end)
        places = [
            place(line) for line in (first, end, *(k for k, _ in findings.knots if first < k < end))
        ]
        self._start, self._end = min(self._start, *places), max(self._end, *places)
        gaps = [g for g in merged(findings.gaps) if g.first_line < end and g.end_line > first]
        at = first
        for gap in gaps:
            own = Gap(max(first, gap.first_line), min(end, gap.end_line), gap.cause, gap.known)
            add(self._inspected, at, own.first_line)
            at = own.end_line
            self._line("gap", **asdict(own) | {"cause": own.cause.word})
            self._take_gap(own, place(own.first_line), place(own.end_line))
        add(self._inspected, at, end)
        for lane in findings.lanes:
            for a, b in lane.ng_runs:
                if a < end and b > first:
                    add(self._lanes[lane.name].ng, max(a, first), min(b, end))

    def _take_gap(self, gap: Gap, first: float, end: float) -> None:
        if self._gaps and merged([self._gaps[-1][0], gap]) == [
            replace(gap, first_line=self._gaps[-1][0].first_line)
        ]:
            before, start, _ = self._gaps.pop()
            self._gaps.append((replace(gap, first_line=before.first_line), start, end))
        elif len(self._gaps) < MOST_GAPS:
            self._gaps.append((gap, first, end))

    def defect(self, defect: WebDefect) -> None:
        """A defect begins on this roll; an open one is told and will come again."""
        self._line("defect", **asdict(defect))
        if defect.open:
            return
        self._count += 1
        limits = self._web.roll.size_classes_mm
        size = defect.size_mm
        if size is not None:
            self._lanes[defect.lane].by_size[sum(size >= limit for limit in limits)] += 1
        entry = (defect.peak, defect.number, defect)
        if len(self._defects) < self._web.roll.most_defects:
            heapq.heappush(self._defects, entry)
        else:
            heapq.heappushpop(self._defects, entry)

    def write(self, stamp: str) -> Path:
        """End both files; the page."""
        summary = self._summary(stamp)
        self._line("summary", **{k: v for k, v in summary.items() if k != "defects"})
        self._stream.close()
        write_page(self._page, summary)
        return self._page

    def _summary(self, stamp: str) -> dict[str, Any]:
        defects = sorted((d for _, _, d in self._defects), key=self._place)
        unit = "mm" if self.metric else "lines"
        px = self._web.mm_per_px
        lines, length = self.end_line - self.first_line, self._seen.total
        repeats, left = self._repeats(defects)
        return {
            "name": self.name,
            "facts": {**self._facts, "ended": stamp},
            "unit": unit,
            "first_line": self.first_line,
            "end_line": self.end_line,
            "lines": lines,
            "length": length,
            "first": self.first_mm if self.metric else self.first_line,
            "start": self._start,
            "end": self._end,
            "width": self._width_px * (px or 1.0),
            "width_unit": "mm" if px else "px",
            "width_px": self._width_px,
            "per_line": length / lines if lines else 1.0,
            "per_px": px or 1.0,
            "lanes": [self._lane(spec) for spec in self._specs],
            "ignore": [zone.model_dump() for zone in self._web.ignore if zone.endless],
            "size_classes_mm": list(self._web.roll.size_classes_mm),
            "not_inspected": length - self._inspected.total,
            "gaps": [
                {"first_line": g.first_line, "end_line": g.end_line, "first": first, "end": end,
                 "cause": g.cause.word, "known": g.known}
                for g, first, end in self._gaps
                if not self._inspected.holds(first, end)
            ],
            "n_defects": self._count + self.hidden,
            "not_on_map": self._count + self.hidden - len(defects),
            "repeats": repeats,
            "spacings_not_tried": left,
            "defects": [asdict(defect) for defect in defects],
        }  # fmt: skip

    def _place(self, defect: WebDefect) -> float:
        return defect.first_line if defect.web_mm is None else defect.web_mm

    def _lane(self, spec: LaneSpec) -> dict[str, Any]:
        lane, length = self._lanes[spec.name], self._seen.total
        lost, ng = length - self._inspected.total, lane.ng.total
        return {
            "name": spec.name,
            "left_px": spec.left_px,
            "right_px": spec.right_px,
            "length": length,
            "ng": ng,
            "not_inspected": lost,
            "yield": max(0.0, length - ng - lost) / length if length else None,
            "defects_by_size": lane.by_size,
            "n_defects": sum(1 for _, _, d in self._defects if d.lane == spec.name),
        }

    def _repeats(self, defects: list[WebDefect]) -> tuple[list[dict[str, Any]], int]:
        """Series of marks, and of what reaches across the whole web; spacings not tried.

        Apart, for pieces of even length that were joined are no roller's marks, and the
        joints would take marks that lie near by into their series.
        """
        ruled = self._ruled(defects)
        whole = across_the_web(
            ruled.along, [d.left_px for d in defects], [d.right_px for d in defects],
            self._columns, 2 * ruled.near,
        )  # fmt: skip
        repeats, left = [], 0
        for across in (False, True):
            chosen = np.flatnonzero(whole == across)
            own = [defects[k] for k in chosen]
            searched = find_repeats(
                ruled.along[chosen], ruled.across[chosen], near_along=ruled.near,
                near_across=1.5 * ruled.near, finest=ruled.finest,
            )  # fmt: skip
            repeats += [self._repeat(r, own, across=across) for r in searched.repeats]
            left += searched.left
        return repeats, left

    @property
    def _columns(self) -> NDArray[np.bool_]:
        """(width_px,) which are inspected from one end to the other."""
        columns = np.zeros(self._width_px, np.bool_)
        for lane in self._specs:
            columns[lane.left_px : lane.right_px] = True
        if (edges := self._web.edges) is not None:
            columns[: edges.left_px] = columns[edges.right_px :] = False
        for zone in self._web.ignore:
            if zone.endless:
                columns[zone.left_px : zone.right_px] = False
        return columns

    def _ruled(self, defects: list[WebDefect]) -> _Ruled:
        px = self._web.mm_per_px
        middles = np.array([(d.left_px + d.right_px) / 2 for d in defects], np.float64)
        if self.metric and px is not None:
            along = [(d.web_mm or 0.0) + (d.length_mm or 0.0) / 2 for d in defects]
            finest = FINEST_LINES * abs(self._web.along.pitch_mm or 0.0)
            return _Ruled(np.array(along), middles * px, max(NEAR_MM, finest), finest)
        along = [(d.first_line + d.end_line) / 2 for d in defects]
        return _Ruled(np.array(along), middles, NEAR_LINES, FINEST_LINES)

    def _repeat(self, repeat: Repeat, defects: list[WebDefect], *, across: bool) -> dict[str, Any]:
        members = [defects[m] for m in repeat.members]
        unit = "mm" if self.metric and self._web.mm_per_px else "lines"
        return {
            "name": f"every {repeat.period:.1f} {unit}",
            "period": repeat.period,
            "unit": unit,
            "whole_width": across,
            "roller_mm": repeat.period / math.pi if unit == "mm" else None,
            "lanes": sorted({d.lane for d in members}, key=list(self._lanes).index),
            "marks": repeat.marks,
            "found": len(members),
            "places": repeat.places,
            "spread": repeat.spread,
            "numbers": [d.number for d in members],
        }

    def _line(self, kind: str, **content: Any) -> None:
        self._stream.write(json.dumps({"type": kind, **content}, allow_nan=False) + "\n")
        self._stream.flush()


def mm_between(findings: WebFindings, line: int) -> float | None:
    """Where a line of a verdict lies along the web."""
    first, end = findings.first_mm, findings.end_mm
    if first is None or end is None:
        return None
    before, after = (findings.first_line, first), (findings.end_line, end)
    for knot in findings.knots:
        before, after = (knot, after) if knot[0] <= line else (before, min(after, knot))
    if after[0] == before[0]:
        return before[1]
    return before[1] + (line - before[0]) / (after[0] - before[0]) * (after[1] - before[1])
