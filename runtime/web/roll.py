"""Rolls: from where to where, what was found on them, and what it comes to."""

from __future__ import annotations

import heapq
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from kenpin.config.web import LaneSpec, WebSpec
from kenpin.runtime.judging.verdict import Cause, Gap, WebDefect, WebFindings
from kenpin.runtime.web.periods import Repeat, Search, find_repeats
from kenpin.runtime.web.pieces import merged
from kenpin.runtime.web.roll_report import write_page

__all__ = ["RollBook"]

# Stretches without inspection that a report lists; the length of all is exact.
MOST_GAPS = 5000
# How far from its place a repeating defect may be, as a rule of thumb for all rollers;
# and how exactly it can be known: the region's ends lie on the map's patches.
NEAR_MM, NEAR_LINES = 3.0, 24
FINEST_LINES = 6


@dataclass
class _LaneSums:
    """Lines of a lane by what became of them."""

    lines: int = 0
    ng: int = 0
    lost: int = 0


class RollBook:
    """Writes a report for every roll, from the findings about a web as they come.

    Each roll gets two files in the folder: NAME.jsonl, written line by line as
    things are known, and NAME.html once the roll is over: see `write_page`. A
    roll starts by `start`, at an encoder count, or where the last one ended,
    and ends by `stop`, at a count, or at its length. It is written once no
    defect that began on it goes on.

    Memory does not grow with the length of the web: a roll keeps at most
    `most_defects` defects, the highest, and counts the rest. Lines between two
    findings that no findings cover were never told: they count as not inspected.
    Nothing is overwritten: a name that is taken gets a number.

    facts    about the line, the bundle and so on, for the report's head
    width_px of the web's frames
    stamp    the time of day, for people
    """

    def __init__(
        self,
        folder: Path,
        web: WebSpec,
        width_px: int,
        facts: dict[str, str],
        stamp: Callable[[], str],
    ) -> None:
        self._folder = folder
        self._web = web
        self._width_px = width_px
        self._facts = facts
        self._stamp = stamp
        self._number = 0
        self._asked: str | None = None
        self._rolls: list[_Roll] = []
        self._running: _Roll | None = None
        self._end: int | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str = "") -> None:
        """A roll begins with the next line that a verdict covers; a running one ends there."""
        self._asked = name

    def stop(self) -> None:
        """The running roll ends with the last line that a verdict covered."""
        if self._running:
            self._running.ended = True
            self._running = None

    def add(self, findings: WebFindings) -> list[Path]:
        """Take in what a verdict says; the pages of the rolls that are complete with it."""
        findings = self._without_hole(findings)
        if self._asked is not None:
            self.stop()
            self._begin(findings, findings.first_line, self._asked)
            self._asked = None
        at = findings.first_line
        for line, begins in self._changes(findings):
            self._cover(findings, at, line)
            at = line
            self.stop()
            if begins:
                self._begin(findings, line, "")
        self._cover(findings, at, findings.end_line)
        for defect in findings.defects:
            for roll in self._rolls:
                if roll.first_line <= defect.first_line and (
                    roll is self._running or defect.first_line < roll.end_line
                ):
                    roll.defect(defect)
        if self._rolls:
            # Not told one by one, and so without a place: counted where the verdict ends.
            hidden = findings.n_defects - len(findings.defects)
            (self._running or self._rolls[-1]).hidden += hidden
        since = findings.open_since
        done = [r for r in self._rolls if r.ended and (since is None or since >= r.end_line)]
        return [self._write(roll) for roll in done]

    def _without_hole(self, findings: WebFindings) -> WebFindings:
        """The findings from where the last ones ended."""
        end, self._end = self._end, findings.end_line
        if end is None or findings.first_line <= end:
            return findings
        hole = Gap(end, findings.first_line, Cause.LOST)
        return replace(findings, first_line=end, gaps=(hole, *findings.gaps))

    def close(self) -> list[Path]:
        """The web ends: every roll is complete."""
        self.stop()
        return [self._write(roll) for roll in list(self._rolls)]

    def _begin(self, findings: WebFindings, line: int, name: str) -> None:
        self._number += 1
        name = self._unused(
            re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip(".-") or f"roll-{self._number:04d}"
        )
        roll = _Roll(
            name, line, _between(findings, line), self._web, self._width_px,
            self._folder, {**self._facts, "started": self._stamp()},
        )  # fmt: skip
        self._rolls.append(roll)
        self._running = roll

    def _unused(self, name: str) -> str:
        names = (name, *(f"{name}-{k}" for k in range(2, 1_000_000)))
        return next(n for n in names if not (self._folder / f"{n}.jsonl").exists())

    def _changes(self, findings: WebFindings) -> Iterator[tuple[int, bool]]:
        """Lines within a verdict's at which a roll ends by itself, and whether another begins."""
        spec = self._web.roll
        first, end = findings.first_line, findings.end_line
        if spec.start_count is not None:
            counts = (findings.first_count, findings.end_count)
            for count, begins in ((spec.start_count, True), (spec.stop_count, False)):
                line = None if count is None else _crossing(counts, (first, end), count)
                if line is not None and begins != (self._running is not None):
                    yield line, begins
            return
        while spec.length_mm and self._running:
            start = self._running.first_mm
            if start is None:
                return
            mms = (findings.first_mm, findings.end_mm)
            line = _crossing(mms, (first, end), start + spec.length_mm)
            if line is None or line <= self._running.first_line:
                return
            yield line, True

    def _cover(self, findings: WebFindings, first: int, end: int) -> None:
        if self._running and end > first:
            self._running.cover(findings, first, end, _between(findings, end))

    def _write(self, roll: _Roll) -> Path:
        self._rolls.remove(roll)
        return roll.write(self._stamp())


class _Roll:
    """One roll in progress."""

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
        self.end_line, self.end_mm = first_line, first_mm
        self.ended = False
        self.hidden = 0
        self._web, self._width_px, self._facts = web, width_px, facts
        whole = LaneSpec(name="web", left_px=0, right_px=width_px)
        self._specs = web.lanes or (whole,)
        self._lanes = {lane.name: _LaneSums() for lane in self._specs}
        self._gaps: list[Gap] = []
        self._lost_lines = 0
        self._defects: list[tuple[float, int, WebDefect]] = []
        self._sizes: dict[str, list[int]] = {
            lane.name: [0] * (len(web.roll.size_classes_mm) + 1) for lane in self._specs
        }
        self._count = 0
        self._page = folder / f"{name}.html"
        self._stream: TextIO = (folder / f"{name}.jsonl").open("w", encoding="utf-8")
        self._line("roll", name=name, first_line=first_line, first_mm=first_mm, facts=facts)

    def cover(self, findings: WebFindings, first: int, end: int, end_mm: float | None) -> None:
        """Lines `first` to `end` of a verdict lie on this roll."""
        self.end_line, self.end_mm = end, end_mm
        gaps = [g for g in merged(findings.gaps) if g.first_line < end and g.end_line > first]
        lost = 0
        for gap in gaps:
            own = Gap(max(first, gap.first_line), min(end, gap.end_line), gap.cause, gap.known)
            lost += own.lines
            self._line("gap", **asdict(own) | {"cause": own.cause.word})
            self._gaps = merged([*self._gaps, own]) if len(self._gaps) < MOST_GAPS else self._gaps
        self._lost_lines += lost
        for lane in findings.lanes:
            sums = self._lanes[lane.name]
            sums.lines += end - first
            sums.lost += lost
            sums.ng += sum(max(0, min(end, b) - max(first, a)) for a, b in lane.ng_runs)

    def defect(self, defect: WebDefect) -> None:
        """A defect begins on this roll; an open one is told and will come again."""
        self._line("defect", **asdict(defect))
        if defect.open:
            return
        self._count += 1
        limits = self._web.roll.size_classes_mm
        size = defect.size_mm
        if size is not None:
            self._sizes[defect.lane][sum(size >= limit for limit in limits)] += 1
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
        defects = sorted((d for _, _, d in self._defects), key=lambda d: d.first_line)
        unit = "mm" if self.first_mm is not None else "lines"
        length = self.end_line - self.first_line
        per_line = 1.0
        if self.first_mm is not None and self.end_mm is not None and length:
            per_line = abs(self.end_mm - self.first_mm) / length
        px = self._web.mm_per_px
        searched = self._repeats(defects)
        return {
            "name": self.name,
            "facts": {**self._facts, "ended": stamp},
            "unit": unit,
            "first_line": self.first_line,
            "end_line": self.end_line,
            "lines": length,
            "length": length * per_line,
            "first": self.first_mm if unit == "mm" else self.first_line,
            "width": self._width_px * (px or 1.0),
            "width_unit": "mm" if px else "px",
            "width_px": self._width_px,
            "per_line": per_line,
            "per_px": px or 1.0,
            "lanes": [self._lane(spec, per_line) for spec in self._specs],
            "ignore": [zone.model_dump() for zone in self._web.ignore],
            "size_classes_mm": list(self._web.roll.size_classes_mm),
            "not_inspected": self._lost_lines * per_line,
            "gaps": [
                {"first_line": g.first_line, "end_line": g.end_line, "cause": g.cause.word,
                 "known": g.known}
                for g in self._gaps
            ],
            "n_defects": self._count + self.hidden,
            "not_on_map": self._count + self.hidden - len(defects),
            "repeats": [self._repeat(r, defects) for r in searched.repeats],
            "spacings_not_tried": searched.left,
            "defects": [asdict(defect) for defect in defects],
        }  # fmt: skip

    def _lane(self, spec: LaneSpec, per_line: float) -> dict[str, Any]:
        sums = self._lanes[spec.name]
        good = sums.lines - sums.ng - sums.lost
        return {
            "name": spec.name,
            "left_px": spec.left_px,
            "right_px": spec.right_px,
            "length": sums.lines * per_line,
            "ng": sums.ng * per_line,
            "not_inspected": sums.lost * per_line,
            "yield": good / sums.lines if sums.lines else None,
            "defects_by_size": self._sizes[spec.name],
            "n_defects": sum(1 for _, _, d in self._defects if d.lane == spec.name),
        }

    def _repeats(self, defects: list[WebDefect]) -> Search:
        px = self._web.mm_per_px
        if self.first_mm is not None and px is not None:
            along = [(d.web_mm or 0.0) + (d.length_mm or 0.0) / 2 for d in defects]
            across = [(d.left_px + d.right_px) / 2 * px for d in defects]
            finest = FINEST_LINES * abs(self._web.along.pitch_mm or 0.0)
            near = max(NEAR_MM, finest)
        else:
            along = [(d.first_line + d.end_line) / 2 for d in defects]
            across = [(d.left_px + d.right_px) / 2 for d in defects]
            near, finest = NEAR_LINES, FINEST_LINES
        return find_repeats(along, across, near_along=near, near_across=1.5 * near, finest=finest)

    def _repeat(self, repeat: Repeat, defects: list[WebDefect]) -> dict[str, Any]:
        members = [defects[m] for m in repeat.members]
        unit = "mm" if self.first_mm is not None and self._web.mm_per_px else "lines"
        return {
            "name": f"every {repeat.period:.1f} {unit}",
            "period": repeat.period,
            "unit": unit,
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


def _between(findings: WebFindings, line: int) -> float | None:
    """Where a line of a verdict lies along the web, in mm."""
    first, end = findings.first_mm, findings.end_mm
    if first is None or end is None:
        return None
    if findings.lines == 0:
        return first
    return first + (line - findings.first_line) / findings.lines * (end - first)


def _crossing(
    values: tuple[float | None, float | None], lines: tuple[int, int], target: float
) -> int | None:
    """The first line at or past a value that rises or falls evenly between two lines."""
    first, end = values
    if first is None or end is None or first == end or lines[0] == lines[1]:
        return None
    share = (target - first) / (end - first)
    if not 0 < share <= 1:
        return None
    return min(lines[1], lines[0] + math.ceil(share * (lines[1] - lines[0]) - 1e-9))
