"""Scan lines to millimetres along the web, and to the count at which a gate must act."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from kenpin.config.web import AlongSpec
from kenpin.runtime.judging.findings import GateAction

__all__ = ["Along", "Unwrapper", "gate_action"]

# Counts at the starts of the last frames; older lines are reckoned from the oldest.
ANCHORS = 4096


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


class Along:
    """Where the lines of a web lie along it, in mm from its first line.

    With an encoder, a line lies where the counts say: between the first lines
    of two frames in proportion, after the last by the pitch. A web that backs
    up is seen there again, at the same millimetres; lost lines, however many,
    move nothing. Without one, lines lie a pitch apart.
    """

    def __init__(self, spec: AlongSpec, origin: int = 0) -> None:
        self._pitch_mm = spec.pitch_mm
        self._encoder = spec.encoder
        self._origin = origin
        self._unwrap = Unwrapper(spec.encoder.bits) if spec.encoder else None
        self._lines: deque[int] = deque(maxlen=ANCHORS)
        self._counts: deque[int] = deque(maxlen=ANCHORS)
        # How far the web had come by each anchor.
        self._reached: deque[float] = deque(maxlen=ANCHORS)
        self._zero: float | None = None
        self._furthest_mm = 0.0
        self.backed_mm = 0.0

    @property
    def furthest_mm(self) -> float:
        """As far as the web has ever come, by the counts at the frames' first lines."""
        return self._furthest_mm

    def anchor(self, line: int, raw: int) -> None:
        """A frame's first line was at this count of the encoder."""
        if self._unwrap is None or self._encoder is None or self._pitch_mm is None:
            return
        count = self._unwrap(raw)
        before = None if not self._lines else self.mm(self._lines[-1])
        if self._lines and line <= self._lines[-1]:
            return
        self._lines.append(line)
        self._counts.append(count)
        per_line = self._pitch_mm * self._encoder.counts_per_mm
        if self._zero is None:
            self._zero = count - (line - self._origin) * per_line
        now = self.mm(line)
        assert now is not None, "an anchor was just set"
        if before is not None and now < before:
            self.backed_mm += before - now
        self._furthest_mm = max(self._furthest_mm, now)
        self._reached.append(self._furthest_mm)

    def mm(self, line: int) -> float | None:
        """Millimetres from the web's first line; None if nobody said how."""
        if self._pitch_mm is None:
            return None
        count = self.count(line)
        if count is None or self._encoder is None or self._zero is None:
            return (line - self._origin) * self._pitch_mm
        return (count - self._zero) / self._encoder.counts_per_mm

    def count(self, line: int) -> float | None:
        """The encoder's unwrapped count when a line was under the camera."""
        if not self._lines or self._encoder is None or self._pitch_mm is None:
            return None
        per_line = self._pitch_mm * self._encoder.counts_per_mm
        # Between two anchors in proportion; outside them by the pitch.
        at = bisect_right(self._lines, line) - 1
        if 0 <= at < len(self._lines) - 1:
            share = (line - self._lines[at]) / (self._lines[at + 1] - self._lines[at])
            return self._counts[at] + share * (self._counts[at + 1] - self._counts[at])
        near = max(at, 0)
        return self._counts[near] + (line - self._lines[near]) * per_line

    def count_at(self, mm: float) -> float | None:
        """The encoder's unwrapped count once the web has come so far."""
        if self._zero is None or self._encoder is None:
            return None
        return self._zero + mm * self._encoder.counts_per_mm

    def seen_before(self, first_line: int, end_line: int) -> bool:
        """Whether the web had backed up, so that these lines show it once more."""
        at = bisect_right(self._lines, first_line) - 1
        first, end = self.mm(first_line), self.mm(end_line)
        if at < 0 or first is None or end is None or self._pitch_mm is None:
            return False
        # Counts are whole and lines are not: half a line is no reversal.
        return max(first, end) < self._reached[at] - self._pitch_mm / 2


def gate_action(
    along: Along,
    spec: AlongSpec,
    lane: str,
    lines: tuple[int, int],
    offset_mm: float,
    margin_mm: float,
    now_line: int,
) -> GateAction:
    """When a gate must act so that lines `lines[0]` to `lines[1]` are rejected.

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
    ends = [along.mm(line) for line in lines]
    now = along.mm(now_line)
    if ends[0] is None or ends[1] is None or now is None:
        raise ValueError("no line_pitch_mm, so no position for a gate")
    start = min(ends[0], ends[1]) + offset_mm - margin_mm
    stop = max(ends[0], ends[1]) + offset_mm + margin_mm
    counts = [along.count_at(mm) for mm in (start, stop)]
    late = start < now
    if counts[0] is None or counts[1] is None or spec.encoder is None:
        return GateAction(lane, start, stop, late=late)
    first, last = round(counts[0]), round(counts[1])
    wrap = 1 << spec.encoder.bits
    return GateAction(lane, start, stop, first, last, first % wrap, last % wrap, late)
