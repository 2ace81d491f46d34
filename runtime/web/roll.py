"""Rolls: from where to where, what was found on them, and what it comes to."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from kenpin.config.web import AlongSpec, WebSpec
from kenpin.runtime.judging.verdict import Cause, Gap, WebDefect, WebFindings
from kenpin.runtime.web.one_roll import Roll, mm_between

__all__ = ["RollBook"]

# Lines whose places are kept, for defects that began there.
KNOTS = 4096


class RollBook:
    """Writes a report for every roll, from the findings about a web as they come.

    Each roll gets two files in the folder: NAME.jsonl, written line by line as
    things are known, and NAME.html once the roll is over: see `write_page`. A
    roll starts by `start`, at an encoder count, or where the last one ended,
    and ends by `stop`, at a count, or at its length. It is written once its last
    line is covered and no defect that began on it goes on.

    With an encoder, findings are taken in once those after them have come: only
    then is it known where their last lines lie.

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
        self._rolls: list[Roll] = []
        self._running: Roll | None = None
        # What was asked for, and at which line: a name begins a roll, None ends it.
        self._asked: deque[tuple[int | None, str | None]] = deque()
        self._held: WebFindings | None = None
        self._end: int | None = None
        self._came: int | None = None
        self._track = _Track(web.along)
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str = "", line: int | None = None) -> None:
        """A roll begins with the line that comes next; a running one ends there.

        line  its number; None: as many as the findings know to have come
        """
        self._asked.append((self._came if line is None else line, name))

    def stop(self, line: int | None = None) -> None:
        """The running roll ends with the last line that came; see `start`."""
        self._asked.append((self._came if line is None else line, None))

    @property
    def waits(self) -> bool:
        """Whether a roll was ended, but not all of its lines are covered yet."""
        return any(name is None for _, name in self._asked)

    def add(self, findings: WebFindings) -> list[Path]:
        """Take in what a verdict says; the pages of the rolls that are complete with it."""
        findings = self._without_hole(findings)
        self._end = findings.end_line
        self._came = max(self._came or 0, findings.came_line)
        if self._web.along.encoder is None:
            return self._take(findings)
        self._track.know(findings.knots)
        held, self._held = self._held, findings
        if held is None:
            return []
        # By now the counts on both sides of its last lines are known.
        return self._take(replace(held, end_mm=findings.first_mm, end_count=findings.first_count))

    def settle(self) -> list[Path]:
        """No more lines will come for now: end what was asked to end. The pages."""
        pages = []
        if self._held is not None:
            held, self._held = self._held, None
            pages = self._take(held)
        lines = [line for line, name in self._asked if name is None and line is not None]
        return pages + (self._take(self._unseen(max(lines))) if lines else [])

    def close(self) -> list[Path]:
        """The web ends: every roll is complete."""
        pages = self.settle()
        if self._running and self._came is not None:
            pages += self._take(self._unseen(self._came))
        self._stop()
        return pages + [self._write(roll) for roll in list(self._rolls)]

    def _take(self, findings: WebFindings) -> list[Path]:
        self._track.add(findings)
        at = findings.first_line
        while (change := self._next_change(findings, at)) is not None:
            line, name = change
            self._cover(findings, at, line)
            at = line
            self._stop()
            if name is not None:
                self._begin(findings, line, name)
        self._cover(findings, at, findings.end_line)
        for found in (*findings.defects, *findings.further):
            defect = self._track.placed(found)
            for roll in self._rolls:
                if roll.first_line <= defect.first_line and (
                    roll is self._running or defect.first_line < roll.end_line
                ):
                    roll.defect(defect)
        if self._rolls:
            # Not told one by one, and so without a place: counted where the verdict ends.
            hidden = findings.n_defects - len(findings.defects) - len(findings.further)
            (self._running or self._rolls[-1]).hidden += hidden
        since = findings.open_since
        done = [r for r in self._rolls if r.ended and (since is None or since >= r.end_line)]
        return [self._write(roll) for roll in done]

    def _without_hole(self, findings: WebFindings) -> WebFindings:
        """The findings from where the last ones ended."""
        end = self._end
        if end is None or findings.first_line <= end:
            return findings
        hole = Gap(end, findings.first_line, Cause.LOST)
        before = self._held.end_mm if self._held else None
        return replace(
            findings,
            first_line=end,
            first_mm=findings.first_mm if before is None else before,
            gaps=(hole, *findings.gaps),
        )

    def _unseen(self, line: int) -> WebFindings:
        """Lines that came, up to this one, whose context never did."""
        end = line if self._end is None else self._end
        mm = self._track.mm(end), self._track.mm(line)
        gaps = (Gap(end, line, Cause.CONTEXT),) if line > end else ()
        return WebFindings(
            first_line=end, end_line=line, first_mm=mm[0], end_mm=mm[1], lanes=(), defects=(),
            n_defects=0, gaps=gaps, gates=(), map_line=None, came_line=line,
        )  # fmt: skip

    def _stop(self) -> None:
        if self._running:
            self._running.ended = True
            self._running = None

    def _begin(self, findings: WebFindings, line: int, name: str) -> None:
        self._number += 1
        name = self._unused(
            re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip(".-") or f"roll-{self._number:04d}"
        )
        roll = Roll(
            name, line, mm_between(findings, line), self._web, self._width_px,
            self._folder, {**self._facts, "started": self._stamp()},
        )  # fmt: skip
        self._rolls.append(roll)
        self._running = roll

    def _unused(self, name: str) -> str:
        names = (name, *(f"{name}-{k}" for k in range(2, 1_000_000)))
        return next(n for n in names if not (self._folder / f"{n}.jsonl").exists())

    def _next_change(self, findings: WebFindings, at: int) -> tuple[int, str | None] | None:
        """The next line from `at` on at which a roll begins (its name) or ends (None)."""
        end = findings.end_line
        found = list(self._own_changes(findings, at))
        if self._asked:
            line, name = self._asked[0]
            line = at if line is None else max(at, line)
            # Where several fall on one line, what was asked for comes first.
            if line <= end and all(line <= other for other, _ in found):
                self._asked.popleft()
                return line, name
        return min(found, key=lambda change: change[0], default=None)

    def _own_changes(self, findings: WebFindings, at: int) -> Iterator[tuple[int, str | None]]:
        """Lines after `at` at which a roll ends or begins by itself."""
        spec, lines = self._web.roll, (findings.first_line, findings.end_line)
        if spec.start_count is not None:
            counts = (findings.first_count, findings.end_count)
            count = spec.stop_count if self._running else spec.start_count
            line = None if count is None else _crossing(counts, lines, count)
            if line is not None and line > at:
                yield line, None if self._running else ""
        elif spec.length_mm and self._running and self._running.first_mm is not None:
            mms = (findings.first_mm, findings.end_mm)
            line = _crossing(mms, lines, self._running.first_mm + spec.length_mm)
            if line is not None and line > at:
                yield line, ""

    def _cover(self, findings: WebFindings, first: int, end: int) -> None:
        if self._running and end > first:
            self._running.cover(findings, first, end)

    def _write(self, roll: Roll) -> Path:
        self._rolls.remove(roll)
        return roll.write(self._stamp())


class _Track:
    """Where the lines of the last verdicts lie along the web."""

    def __init__(self, along: AlongSpec) -> None:
        self._lines: deque[int] = deque(maxlen=KNOTS)
        self._mm: deque[float] = deque(maxlen=KNOTS)
        # Lines whose own counts are known, of verdicts to come as well.
        self._known: deque[tuple[int, float]] = deque(maxlen=KNOTS)
        self._fastest_mm = along.fastest_line_mm or along.pitch_mm or 0.0
        self._count_mm = 1 / abs(along.encoder.counts_per_mm) if along.encoder else 0.0

    def know(self, knots: Sequence[tuple[int, float]]) -> None:
        """These lines lie where their own counts say."""
        self._known.extend(knots)

    def add(self, findings: WebFindings) -> None:
        """A verdict's lines lie evenly between its ends."""
        first, end = (findings.first_line, findings.first_mm), (findings.end_line, findings.end_mm)
        for line, mm in (first, *findings.knots, end):
            if mm is not None and (not self._lines or line > self._lines[-1]):
                self._lines.append(line)
                self._mm.append(mm)

    def mm(self, line: int) -> float | None:
        """Where a line lies; past the last verdict as the web last moved, None before all."""
        if len(self._lines) < 2 or line < self._lines[0]:
            return None
        b = min(max(1, bisect_right(self._lines, line)), len(self._lines) - 1)
        share = (line - self._lines[b - 1]) / (self._lines[b] - self._lines[b - 1])
        return self._mm[b - 1] + share * (self._mm[b] - self._mm[b - 1])

    def placed(self, defect: WebDefect) -> WebDefect:
        """A defect where its lines turned out to lie."""
        first, end = self.mm(defect.first_line), self.mm(defect.end_line)
        if first is None or end is None or defect.web_mm is None:
            return defect
        length, area = abs(end - first), defect.area_mm2
        if area is not None and defect.length_mm:
            area *= length / defect.length_mm
        start, within = min(first, end), defect.within_mm
        if within is not None:
            # It lay so near to where it was told to be, and is told to be elsewhere now.
            moved = abs(start - defect.web_mm) + abs(length - (defect.length_mm or 0.0))
            lines = defect.first_line, defect.end_line
            within = min(within + moved, self._within(*lines, start, start + length))
        return replace(defect, web_mm=start, length_mm=length, area_mm2=area, within_mm=within)

    def _within(self, first: int, end: int, low: float, high: float) -> float:
        """Mm by which lines may lie outside of these two, infinite without counts on both sides.

        Where the web turned between them, it was further than at either.
        """
        known = list(self._known)
        a = bisect_right(known, first, key=_line_of) - 1
        b = bisect_left(known, end, key=_line_of)
        if a < 0 or b >= len(known):
            return math.inf
        beyond = 0.0
        for one, other in pairwise(known[a : b + 1]):
            off = self._off(one, other)
            for line in (max(first, one[0]), min(end, other[0])):
                mm = one[1] + (line - one[0]) / (other[0] - one[0]) * (other[1] - one[1])
                beyond = max(beyond, low - mm + off, mm + off - high)
        return beyond

    def _off(self, one: tuple[int, float], other: tuple[int, float]) -> float:
        """How far off the line between two known ones may be that is furthest off.

        For the web moves `most` a line, both ways; see `Along`.
        """
        lines = other[0] - one[0]
        speed = abs(other[1] - one[1]) / lines
        most = self._fastest_mm if speed <= self._fastest_mm * (1 + 1e-9) else 2 * speed
        furthest = max(0.0, most**2 - speed**2) * lines / (2 * most) if most else 0.0
        # Where a verdict ends within, its line lies on no straight line between the two.
        between = [
            abs(mm - (one[1] + (line - one[0]) / lines * (other[1] - one[1])))
            for line, mm in zip(self._lines, self._mm, strict=True)
            if one[0] < line < other[0]
        ]
        return furthest + max(between, default=0.0) + self._count_mm


def _line_of(knot: tuple[int, float]) -> int:
    return knot[0]


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
