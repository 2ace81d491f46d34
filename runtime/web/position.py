"""Scan lines to millimetres along the web, and to the count at which a gate must act."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from kenpin.camera.capture import LineCounts
from kenpin.config.web import AlongSpec
from kenpin.runtime.judging.verdict import WebGate, WebResume

__all__ = ["Along", "Unwrapper", "gate_action"]

# Lines whose counts are kept. A verdict is about the last few hundred lines.
ANCHORS = 8192
# Of the lines of one verdict.
KNOTS = 64


class Unwrapper:
    """A counter of a few bits that turns either way, as a number without an end.

    It must be asked before it has turned by half its range: with 32 bits and
    20 counts a millimetre that is 107 km of web.
    """

    def __init__(self, bits: int) -> None:
        self._range = 1 << bits
        self._last: int | None = None

    def __call__(self, raw: int) -> int:
        """The count, unwrapped; the first is taken as it is."""
        if self._last is None:
            self._last = raw
            return raw
        moved = (raw - self._last) % self._range
        if moved >= self._range // 2:
            moved -= self._range
        self._last += moved
        return self._last


@dataclass(frozen=True, slots=True)
class _Anchor:
    """A line whose count is known.

    mm       from the web's first line
    reached  as far as the web had come by then
    open     nobody knows how many lines follow before the next anchor
    within   mm: lines up to the next anchor are so near to the straight line, for their
             counts were seen, too; None if they were not
    """

    line: int
    count: int
    mm: float
    reached: float
    open: bool = False
    within: float | None = None


def _line(anchor: _Anchor) -> int:
    return anchor.line


class Along:
    """Where the lines of a web lie along it, in mm from its first line.

    With an encoder, a line lies where the counts say: its own, where the camera tells
    one for every line. Where it is not known, it lies between those of the lines around
    it, in proportion, or after the last as the web last moved; `reach` says how far off
    that may be. For the web moves by `fastest_line_mm` a line at most, or by twice what
    was measured there if that was more. A web that backs up is seen again, at the same
    millimetres; lost lines, however many, move nothing. Without an encoder, lines
    lie a pitch apart.
    """

    def __init__(self, spec: AlongSpec, origin: int = 0, resume: WebResume | None = None) -> None:
        self._pitch_mm = spec.pitch_mm
        self._encoder = spec.encoder
        self._fastest_mm = spec.fastest_line_mm or spec.pitch_mm or 0.0
        self._origin = origin
        self._unwrap = Unwrapper(spec.encoder.bits) if spec.encoder else None
        self._anchors: list[_Anchor] = []
        self._zero: float | None = None
        self._reached = resume.furthest_mm if resume else 0.0
        if self._encoder and self._unwrap and resume and None not in (resume.mm, resume.count):
            mm, count = resume.mm or 0.0, resume.count or 0.0
            self._zero = count - mm * self._encoder.counts_per_mm
            self._unwrap(round(count))

    @property
    def known_to(self) -> int | None:
        """The last line whose count is known; None if no line has one."""
        return self._anchors[-1].line if self._anchors else None

    @property
    def furthest_mm(self) -> float:
        """As far as the web has ever come, by the counts."""
        return self._anchors[-1].reached if self._anchors else self._reached

    def lines(self, first_line: int, counts: LineCounts) -> None:
        """The counts of all lines of a frame, which begins with this line."""
        for line, raw in zip(counts.lines, counts.counts, strict=True):
            self.anchor(first_line + line, raw)
            if self._encoder is not None and self._anchors and line != counts.lines[-1]:
                within = counts.within / abs(self._encoder.counts_per_mm)
                self._anchors[-1] = replace(self._anchors[-1], within=within)

    def anchor(self, line: int, raw: int) -> None:
        """A line was at this count of the encoder."""
        if self._unwrap is None or self._encoder is None or self._pitch_mm is None:
            return
        count = self._unwrap(raw)
        if self._anchors and line <= self._anchors[-1].line:
            return
        per_mm = self._encoder.counts_per_mm
        if self._zero is None:
            self._zero = count - (line - self._origin) * self._pitch_mm * per_mm
        mm = (count - self._zero) / per_mm
        self._anchors.append(_Anchor(line, count, mm, max(mm, self.furthest_mm)))
        if len(self._anchors) > ANCHORS:
            # Of what has long been judged, every second will do.
            old = self._anchors[: ANCHORS // 2 : 2]
            self._anchors[: ANCHORS // 2] = [replace(anchor, within=None) for anchor in old]

    def knots(self, first_line: int, end_line: int) -> tuple[tuple[int, float], ...]:
        """(line, mm) of lines from one to before another whose counts are known; KNOTS at most."""
        a = bisect_left(self._anchors, first_line, key=_line)
        b = bisect_left(self._anchors, end_line, key=_line)
        step = max(1, -(-(b - a) // KNOTS))
        return tuple((k.line, k.mm) for k in self._anchors[a:b:step])

    def interrupt(self) -> None:
        """Lines are missing from here on, and nobody knows how many."""
        if self._anchors:
            self._anchors[-1] = replace(self._anchors[-1], open=True)

    def mm(self, line: int) -> float | None:
        """Millimetres from the web's first line; None if nobody said how."""
        if self._pitch_mm is None:
            return None
        if not self._anchors:
            return (line - self._origin) * self._pitch_mm
        return self._at(self._index(line), line)[1]

    def reach(self, first_line: int, end_line: int) -> tuple[float, float] | None:
        """Between which millimetres these lines lie for sure; None if nobody said how."""
        first, end = self.mm(first_line), self.mm(end_line)
        if first is None or end is None:
            return None
        if not self._anchors or self._encoder is None:
            return min(first, end), max(first, end)
        places = list(self._extremes(first_line, end_line))
        # Counts are whole: each is up to one less than where the web is.
        whole = 1 / abs(self._encoder.counts_per_mm)
        return min(low for low, _, _ in places) - whole, max(high for _, _, high in places) + whole

    def within(self, first_line: int, end_line: int) -> float | None:
        """Mm by which these lines may lie outside of where they are told to begin and end.

        None without counts: then nobody measures how the web moves.
        """
        reach, first, end = self.reach(first_line, end_line), self.mm(first_line), self.mm(end_line)
        if reach is None or first is None or end is None or not self._anchors:
            return None
        return max(0.0, min(first, end) - reach[0], reach[1] - max(first, end))

    def count(self, line: int) -> float | None:
        """The encoder's unwrapped count when a line was under the camera."""
        mm = self.mm(line)
        return None if mm is None or not self._anchors else self.count_at(mm)

    def count_at(self, mm: float) -> float | None:
        """The encoder's unwrapped count once the web has come so far."""
        if self._zero is None or self._encoder is None:
            return None
        return self._zero + mm * self._encoder.counts_per_mm

    def seen_before(self, first_line: int, end_line: int) -> bool:
        """Whether the web had backed up, so that these lines show it once more."""
        first, end = self.mm(first_line), self.mm(end_line)
        if first is None or end is None or self._pitch_mm is None or not self._anchors:
            return False
        # Counts are whole and lines are not: half a line is no reversal.
        reached = self._anchors[self._index(first_line)].reached
        return max(first, end) < reached - self._pitch_mm / 2

    def _index(self, line: int) -> int:
        """The last anchor up to a line, or the first."""
        return max(0, bisect_right(self._anchors, line, key=_line) - 1)

    def _at(self, at: int, line: float) -> tuple[float, float, float]:
        """At the least, at best guess, at the most, mm: a line after an anchor, or before all."""
        a, b = self._anchors[at], self._next(at)
        after = line - a.line
        if b is None:
            speed = self._last_speed(at) if after > 0 else self._pitch_mm or 0.0
            most = self._most(speed) * abs(after)
            return a.mm - most, a.mm + speed * after, a.mm + most
        if after < 0:
            speed, most = self._pitch_mm or 0.0, self._fastest_mm * -after
            return a.mm - most, a.mm + speed * after, a.mm + most
        before, speed = b.line - line, (b.mm - a.mm) / (b.line - a.line)
        if a.within is not None:
            best = a.mm + speed * after
            off = a.within if after and before else 0.0
            return best - off, best, best + off
        most = self._most(speed)
        low = max(a.mm - most * after, b.mm - most * before)
        return low, a.mm + speed * after, min(a.mm + most * after, b.mm + most * before)

    def _extremes(self, first: int, end: int) -> Iterator[tuple[float, float, float]]:
        """Where lines lie at the ends of a stretch, and wherever the web may have turned in it."""
        for at in range(self._index(first), self._index(end) + 1):
            a, b = self._anchors[at], self._next(at)
            following = self._anchors[at + 1].line if at + 1 < len(self._anchors) else end
            start = first if at == self._index(first) else a.line
            stop = min(end, following)
            if a.within is not None:
                for end_of_it in (start, stop):
                    _, best, _ = self._at(at, end_of_it)
                    yield best - a.within, best, best + a.within
                continue
            turns: list[float] = []
            if b is not None and (most := self._most((b.mm - a.mm) / (b.line - a.line))):
                half, way = (b.line - a.line) / 2, (b.mm - a.mm) / most / 2
                turns = [a.line + half - way, a.line + half + way]
            for line in (start, stop, *turns):
                if start <= line <= stop:
                    yield self._at(at, line)

    def _next(self, at: int) -> _Anchor | None:
        """The anchor after one, unless nobody knows how many lines lie between."""
        closed = at + 1 < len(self._anchors) and not self._anchors[at].open
        return self._anchors[at + 1] if closed else None

    def _last_speed(self, at: int) -> float:
        """Mm a line before an anchor: the web goes on as it did."""
        if at == 0 or self._anchors[at - 1].open:
            return self._pitch_mm or 0.0
        a, b = self._anchors[at - 1], self._anchors[at]
        return (b.mm - a.mm) / (b.line - a.line)

    def _most(self, speed: float) -> float:
        """Mm that the web moved a line at most, where it did so on average."""
        slack = 1 + 1e-9
        return self._fastest_mm if abs(speed) <= self._fastest_mm * slack else 2 * abs(speed)


def gate_action(
    along: Along,
    spec: AlongSpec,
    lane: str,
    lines: tuple[int, int],
    offset_mm: float,
    margin_mm: float,
    now_line: int,
) -> WebGate:
    """When a gate must act so that lines `lines[0]` to `lines[1]` are rejected, wherever they lie.

    Parameters
    ----------
    offset_mm
        From the camera's line to the gate, along the web.
    now_line
        The newest line: the web has come at least so far.

    Raises
    ------
    ValueError
        If lines cannot be told in mm.
    """
    ends, now = along.reach(*lines), along.mm(now_line)
    if ends is None or now is None:
        raise ValueError("no line_pitch_mm, so no position for a gate")
    start, stop = ends[0] + offset_mm - margin_mm, ends[1] + offset_mm + margin_mm
    counts = [along.count_at(mm) for mm in (start, stop)]
    late = start < now
    if counts[0] is None or counts[1] is None or spec.encoder is None:
        return WebGate(lane, start, stop, None, None, None, None, late)
    # Outwards: a gate acts on too much rather than on too little.
    down, up = (math.floor, math.ceil) if counts[0] <= counts[1] else (math.ceil, math.floor)
    first, last = down(counts[0]), up(counts[1])
    wrap = 1 << spec.encoder.bits
    return WebGate(lane, start, stop, first, last, first % wrap, last % wrap, late)
