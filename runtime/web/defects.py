"""Regions of the map over threshold, followed along the web until they end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.config.web import DefectSpec
from kenpin.runtime.judging.verdict import WebDefect
from kenpin.runtime.web.pieces import MapStrip

__all__ = ["DefectTracker"]

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass
class _Region:
    """A defect that is still being gathered. Rows and columns are the map's, ends included."""

    number: int
    top: int
    bottom: int
    left: int
    right: int
    cells: int
    total: float
    peak: float
    peak_at: tuple[int, int]
    lanes: int
    reports: int = 0
    continues: int | None = None
    absorbed: list[int] = field(default_factory=list)

    def take(self, other: _Region) -> None:
        """Become one with another. The smaller number stays, the highest peak counts."""
        if other.number < self.number:
            if self.reports:
                self.absorbed.append(self.number)
            self.number = other.number
        elif other.reports:
            self.absorbed.append(other.number)
        self.absorbed += other.absorbed
        self.reports = max(self.reports, other.reports)
        if other.continues is not None:
            self.continues = min(other.continues, self.continues or other.continues)
        self.top, self.bottom = min(self.top, other.top), max(self.bottom, other.bottom)
        self.left, self.right = min(self.left, other.left), max(self.right, other.right)
        self.cells += other.cells
        self.total += other.total
        self.lanes |= other.lanes
        # Of equal peaks the first along the web, then the leftmost.
        if (-other.peak, other.peak_at) < (-self.peak, self.peak_at):
            self.peak, self.peak_at = other.peak, other.peak_at


class DefectTracker:
    """Connected regions (8 neighbours) of an endless map, strip by strip.

    Only what is still open is kept: at most one region for every second column.
    A strip is labelled as a whole, then stitched to the row before it.

    lane_of  (cols,) lane number of each column, -1 outside all
    names    of the lanes
    """

    def __init__(
        self,
        spec: DefectSpec,
        patch_stride_px: int,
        width_px: int,
        lane_of: NDArray[np.int8],
        names: tuple[str, ...],
        origin: int = 0,
    ) -> None:
        self._spec = spec
        self._px = patch_stride_px
        self._width_px = width_px
        self._bits = np.where(lane_of >= 0, np.left_shift(1, lane_of.astype(np.int64)), 0)
        self._lane_of = lane_of
        self._names = names
        self._origin = origin
        self._numbers = 0
        self._last: NDArray[np.int64] = np.zeros(len(lane_of), np.int64)
        self._open: dict[int, _Region] = {}
        self._end_line = origin

    @property
    def open(self) -> int:
        """Defects that may go on."""
        return len(self._open)

    @property
    def open_since(self) -> int | None:
        """First line of the oldest of them."""
        tops = [region.top for region in self._open.values() if region.cells]
        return self._origin + min(tops) * self._px if tops else None

    @property
    def going_on(self) -> list[WebDefect]:
        """They, as they stand, cut: for whoever can no longer follow them."""
        return [self._defect(region, cut=True) for region in self._open.values() if region.cells]

    def add(self, strip: MapStrip, over: Mask) -> list[WebDefect]:
        """The defects that end in a strip, or are due for a report, along the web.

        Parameters
        ----------
        strip
            The one after the last, with no gap between: `interrupt` first if there was.
        over : (rows, cols) bool
            Where the map is over its threshold.
        """
        self._end_line = strip.end_line
        regions, ended, last = self._regions(strip, over)
        out = [self._defect(region) for region in ended if region.cells]
        self._open = {}
        bottom = strip.row + len(over) - 1
        for number, region in regions.items():
            if region.bottom < bottom:
                out.append(self._defect(region))
            else:
                self._open[number] = region
        self._last = last
        out += self._overdue(bottom)
        return sorted(out, key=lambda d: (d.first_line, d.left_px, d.number))

    def interrupt(self) -> list[WebDefect]:
        """Lines follow that nobody inspects: what is open ends here, cut."""
        return self._close_all(cut=True)

    def finish(self) -> list[WebDefect]:
        """The web ends."""
        return self._close_all(cut=False)

    def _close_all(self, *, cut: bool) -> list[WebDefect]:
        regions = [region for region in self._open.values() if region.cells]
        self._open = {}
        self._last = np.zeros_like(self._last)
        found = [self._defect(region, cut=cut) for region in regions]
        return sorted(found, key=lambda d: (d.first_line, d.left_px, d.number))

    def _overdue(self, bottom: int) -> Iterable[WebDefect]:
        """Reports of what has been open for long; what is too long is cut."""
        for number in sorted(self._open):
            region = self._open[number]
            length = (bottom + 1 - region.top) * self._px
            if length >= self._spec.longest_lines:
                yield self._defect(region, cut=True)
                # What goes on is told as a new defect; without cells it never was.
                self._numbers += 1
                self._open[self._numbers] = _Region(
                    self._numbers, _NEW, -1, _NEW, -1, 0, 0.0, -np.inf, (_NEW, _NEW), 0,
                    continues=region.number,
                )  # fmt: skip
                del self._open[number]
                self._last[self._last == number] = self._numbers
            elif length // self._spec.report_open_lines > region.reports:
                region.reports = length // self._spec.report_open_lines
                yield self._defect(region, still_open=True)

    def _regions(
        self, strip: MapStrip, over: Mask
    ) -> tuple[dict[int, _Region], list[_Region], NDArray[np.int64]]:
        """Regions with a cell in the strip, by number; those above it that have
        none; and the numbers in the strip's last row."""
        last = np.zeros_like(self._last)
        if not over.any():
            return {}, list(self._open.values()), last
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            over.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S
        )
        found = self._measured(strip, over, labels, stats, count)
        # Stitching: parents of labels, and of the regions open above.
        parent: dict[int, int] = {}

        def root(node: int) -> int:
            while parent.get(node, node) != node:
                node = parent[node]
            return node

        for above, label in self._contacts(labels[0]):
            a, b = root(-above), root(label)
            if a != b:
                parent[max(a, b)] = min(a, b)
        groups: dict[int, _Region] = {}
        ended: list[_Region] = []
        members = [(-above, region) for above, region in sorted(self._open.items())]
        touched = {root(label) for label in range(1, count)}
        for node, region in [*members, *found.items()]:
            top = root(node)
            if top not in touched:
                ended.append(region)
            elif top in groups:
                groups[top].take(region)
            else:
                groups[top] = region
        regions: dict[int, _Region] = {}
        for region in sorted(groups.values(), key=lambda r: (r.top, r.left)):
            if region.number == _NEW:
                self._numbers += 1
                region.number = self._numbers
            regions[region.number] = region
        bottom_labels = labels[-1]
        for label in np.unique(bottom_labels[bottom_labels > 0]):
            last[bottom_labels == label] = groups[root(int(label))].number
        return regions, ended, last

    def _contacts(self, first_row: NDArray[Any]) -> set[tuple[int, int]]:
        """(number above, label below) of every pair that touches, corners too."""
        pairs: set[tuple[int, int]] = set()
        if not self._last.any():
            return pairs
        for shift in (-1, 0, 1):
            above = self._last[max(0, -shift) : len(self._last) - max(0, shift)]
            below = first_row[max(0, shift) : len(first_row) - max(0, -shift)]
            both = (above > 0) & (below > 0)
            pairs.update(zip(above[both].tolist(), below[both].tolist(), strict=True))
        return pairs

    def _measured(
        self, strip: MapStrip, over: Mask, labels: NDArray[Any], stats: NDArray[Any], count: int
    ) -> dict[int, _Region]:
        at = np.flatnonzero(over)
        own, values = labels.ravel()[at], strip.values.ravel()[at]
        total = np.bincount(own, values, count)
        peak = np.full(count, -np.inf, np.float32)
        np.maximum.at(peak, own, values)
        lanes = np.zeros(count, np.int64)
        cols = over.shape[1]
        np.bitwise_or.at(lanes, own, self._bits[at % cols])
        highest = np.flatnonzero(values == peak[own])[::-1]
        place = np.zeros(count, np.intp)
        # Written backwards, so that the first of equals stays.
        place[own[highest]] = at[highest]
        regions = {}
        for label in range(1, count):
            left, top, width, height, cells = (int(v) for v in stats[label])
            row, col = divmod(int(place[label]), cols)
            regions[label] = _Region(
                _NEW, strip.row + top, strip.row + top + height - 1, left, left + width - 1,
                cells, float(total[label]), float(peak[label]), (strip.row + row, col),
                int(lanes[label]),
            )  # fmt: skip
        return regions

    def _defect(self, region: _Region, *, still_open: bool = False, cut: bool = False) -> WebDefect:
        px = self._px
        row, col = region.peak_at
        lane = int(self._lane_of[col])
        return WebDefect(
            number=region.number,
            first_line=self._origin + region.top * px,
            end_line=min(self._origin + (region.bottom + 1) * px, self._end_line),
            left_px=region.left * px,
            right_px=min((region.right + 1) * px, self._width_px),
            area_px=region.cells * px * px,
            peak=region.peak,
            mean=region.total / region.cells,
            peak_line=min(self._origin + row * px + px // 2, self._end_line - 1),
            peak_px=min(col * px + px // 2, self._width_px - 1),
            lane=self._names[lane],
            lanes=tuple(n for k, n in enumerate(self._names) if region.lanes >> k & 1),
            open=still_open,
            cut=cut,
            continues=region.continues,
            absorbed=tuple(sorted(region.absorbed)),
            # The account knows how long a line and how wide a pixel is.
            web_mm=None,
            length_mm=None,
            left_mm=None,
            width_mm=None,
            area_mm2=None,
        )


# Until a region gets its number; larger than all, so that an older one stays.
_NEW = 2**62
