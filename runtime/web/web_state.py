"""What is known of a web so far."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Frame, LostFrame
from kenpin.config.web import WebSpec
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.verdict import (
    Cause,
    Gap,
    Thresholds,
    WebDefect,
    WebGate,
    WebResume,
)
from kenpin.runtime.web.defects import DefectTracker
from kenpin.runtime.web.lanes import LaneMap, RowChecks
from kenpin.runtime.web.pieces import MapStrip, united
from kenpin.runtime.web.position import Along, gate_action
from kenpin.runtime.web.stream import StreamingMap, TileWork

__all__ = ["WebState"]

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Stretches that one gate is told of in one verdict; further ones widen the last.
MOST_ACTIONS = 16


@dataclass
class _LaneState:
    """One lane in the lines of one verdict."""

    score: float | None = None
    ng_runs: list[tuple[int, int]] = field(default_factory=list)


class WebState:
    """A web in progress. `begin_frame`, then `add` all pieces; then `conclude`."""

    def __init__(
        self,
        *,
        web: WebSpec,
        thresholds: Thresholds,
        lanes: LaneMap,
        stream: StreamingMap,
        checks: RowChecks,
        tracker: DefectTracker,
        along: Along,
        patch_stride_px: int,
    ) -> None:
        self.web, self.lanes, self.stream = web, lanes, stream
        self.along, self.checks = along, checks
        self.patch_stride_px = patch_stride_px
        self.limits = [_times(thresholds, lane.threshold_times) for lane in lanes.lanes]
        self._tracker = tracker
        # A column's own limit; infinite where nothing is inspected.
        ok = np.array([limit.ok for limit in self.limits])
        self._limit = np.where(lanes.lane_of >= 0, ok[lanes.lane_of], np.inf)
        self._columns = [np.flatnonzero(lanes.lane_of == k) for k in range(len(lanes.lanes))]
        # Bad lines of each lane that no gate was told of: their counts are not known yet.
        self._pending: list[list[tuple[int, int]]] = [[] for _ in lanes.lanes]
        self._ended = False
        self.begin_frame()

    def begin_frame(self) -> None:
        """What follows belongs to the next frame's verdict."""
        self.first_line = self.said = self.stream.settled
        # Where the frame's own lines begin; the pipeline moves it past lost ones.
        self.frame_line = self.stream.end
        self.stream.work = TileWork()
        self.gaps: list[Gap] = []
        self.defects: list[WebDefect] = []
        self.strips: list[MapStrip] = []
        self.by_lane = [_LaneState() for _ in self.lanes.lanes]
        self._bad: list[list[tuple[int, int]]] = [[] for _ in self.lanes.lanes]
        self.holes = 0

    def add(self, piece: MapStrip | Gap) -> None:
        """Count a piece towards the frame in hand."""
        self.holes += abs(piece.first_line - self.said)
        self.said = piece.end_line
        if isinstance(piece, Gap):
            if not piece.known:
                self.along.interrupt()
            self.gaps.append(piece)
            self.defects += self._tracker.interrupt()
            for bad in self._bad:
                bad.append((piece.first_line, piece.end_line))
            return
        self.gaps += piece.gaps
        self.strips.append(piece)
        over = (piece.values > self._limit) & piece.inspected
        self.defects += self._tracker.add(piece, over)
        for gap in piece.gaps:
            for bad in self._bad:
                bad.append((gap.first_line, gap.end_line))
        for lane, columns, bad in zip(self.by_lane, self._columns, self._bad, strict=True):
            if not piece.inspected[:, columns].any():
                continue
            peak = float(piece.values[:, columns].max())
            lane.score = peak if lane.score is None else max(lane.score, peak)
            runs = list(self._runs(piece, np.atleast_1d(over[:, columns].any(axis=1))))
            lane.ng_runs += runs
            bad += runs

    def abandon(self, frame: Frame | LostFrame) -> None:
        """Something failed inside a frame: none of its lines can be trusted to have been seen."""
        rest = 0
        if isinstance(frame, Frame):
            # The stream took in some of them; which, it knows itself.
            rest = max(0, self.frame_line + len(frame.pixels) - self.stream.end)
        for gap in self.stream.lose(rest, cause=Cause.FAILED):
            self.add(gap)

    def close(self) -> None:
        """The web ends."""
        self.defects += self._tracker.finish()
        self._ended = True

    def resume(self, web: WebResume, start: int) -> None:
        """Take over what another inspection still had to tell the gates.

        Of the lines between the last verdict and `start` they would hear from nobody. What
        was owed to the gate of a lane that is no more is told to all.
        """
        names = [lane.name for lane in self.lanes.lanes]
        for own, lines in zip(names, self._pending, strict=True):
            lines += [(a, b) for name, a, b in web.pending if name == own or name not in names]
            if web.line < start:
                lines.append((web.line, start))

    @property
    def pending(self) -> tuple[tuple[str, int, int], ...]:
        """Lane and lines that the gates were not told of yet; after `gates`."""
        return tuple(
            (lane.name, first, end)
            for lane, lines in zip(self.lanes.lanes, self._pending, strict=True)
            for first, end in lines
        )

    @property
    def open_since(self) -> int | None:
        """First line of the oldest defect that goes on."""
        return self._tracker.open_since

    @property
    def going_on(self) -> list[WebDefect]:
        """Defects that may go on, as they stand."""
        return self._tracker.going_on

    def located(self, defect: WebDefect) -> WebDefect:
        """With its place and size in mm, as far as they are known."""
        first, end = self.along.mm(defect.first_line), self.along.mm(defect.end_line)
        across = self.web.mm_per_px
        if first is not None and end is not None:
            within = self.along.within(defect.first_line, defect.end_line)
            defect = replace(
                defect, web_mm=min(first, end), length_mm=abs(end - first), within_mm=within
            )
        if across is not None:
            defect = replace(
                defect, left_mm=defect.left_px * across, width_mm=defect.width_px * across
            )
        if defect.length_mm is not None and across is not None:
            per_px = defect.length_mm / max(1, defect.lines) * across
            defect = replace(defect, area_mm2=defect.area_px * per_px)
        return defect

    def gates(self, usual_lines: int) -> Iterator[WebGate]:
        """When the lanes' gates must act for what is wrong in the frame's lines.

        Lines after the last count wait for the next, if the gate can: then they are told of
        with the next frame, which is about so high.
        """
        for k, (lane, bad) in enumerate(zip(self.lanes.lanes, self._bad, strict=True)):
            offset = lane.offset_to_gate_mm
            offset = self.web.offset_to_gate_mm if offset is None else offset
            if offset is None or self.along.mm(self.stream.origin) is None:
                self._pending[k] = []
                continue
            reach = offset - self.web.gate_margin_mm
            due, waiting = self._due([*self._pending[k], *bad], reach, usual_lines)
            # They travel to the gateway with each verdict, and a message has an end.
            self._pending[k] = united(waiting, MOST_ACTIONS)
            for lines in united(due, MOST_ACTIONS):
                yield gate_action(
                    self.along, self.web.along, lane.name, lines, offset,
                    self.web.gate_margin_mm, self.stream.end,
                )  # fmt: skip

    def _due(
        self, bad: list[tuple[int, int]], reach_mm: float, usual_lines: int
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Bad lines that a gate must be told of now, and those that may wait for a count."""
        known = self.along.known_to
        if known is None or self._ended:
            return bad, []
        # By the verdict after the next frame's, the web may have come so far.
        coming = self.along.reach(known, self.stream.end + 2 * usual_lines)
        due, waiting = [], []
        for first, end in united(bad):
            place = self.along.reach(max(first, known), max(end, known))
            if end <= known or not coming or not place or place[0] + reach_mm <= coming[1]:
                due.append((first, end))
                continue
            if first < known:
                due.append((first, known))
            waiting.append((max(first, known), end))
        return due, waiting

    def score_map(self) -> tuple[ScoreMap, int] | None:
        """The rows that became final, 0 where a gap interrupts them, and the first one's line."""
        if not self.strips:
            return None
        first = self.strips[0].row
        rows = self.strips[-1].row + len(self.strips[-1].values) - first
        values = np.zeros((rows, self.strips[0].values.shape[1]), np.float32)
        for strip in self.strips:
            values[strip.row - first : strip.row - first + len(strip.values)] = strip.values
        line = self.strips[0].first_line
        size = (self.strips[-1].end_line - line, self.stream.width)
        return ScoreMap(values, self.patch_stride_px, size), line

    def _runs(self, strip: MapStrip, rows: Mask) -> Iterator[tuple[int, int]]:
        """Lines of neighbouring rows that are set."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
        px = self.patch_stride_px
        for start, stop in edges.reshape(-1, 2):
            first = strip.first_line + int(start) * px
            yield first, min(strip.end_line, strip.first_line + int(stop) * px)


def _times(thresholds: Thresholds, times: float) -> Thresholds:
    return Thresholds(*(times * part for part in astuple(thresholds)))
