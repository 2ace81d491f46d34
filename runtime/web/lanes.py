"""The width of a web: lanes, zones that are ignored, and edges that wander."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kenpin.config.web import EdgeSpec, LaneSpec, WebSpec
from kenpin.runtime.bundles.manifest import GreyRange
from kenpin.runtime.judging.pipeline import grey_fault
from kenpin.runtime.judging.verdict import Cause
from kenpin.runtime.web.strip_ends import StripEnds

__all__ = ["WHOLE_WIDTH", "EdgeTracker", "LaneMap", "RowChecks"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# The one lane of a web that names none.
WHOLE_WIDTH = "web"


@dataclass(frozen=True, eq=False)
class LaneMap:
    """Which lane each column of the map belongs to.

    A column stands for a square of pixels and belongs where the middle of that
    square lies, so borders are exact to half a square.

    lanes    left to right
    lane_of  (cols,) number of the lane, -1 where nothing is inspected
    times    (cols,) float32, the lane's factor on the bundle's thresholds
    """

    lanes: tuple[LaneSpec, ...]
    lane_of: NDArray[np.int8]
    times: F32

    @classmethod
    def of(cls, web: WebSpec, width_px: int, patch_stride_px: int) -> LaneMap:
        """The columns of a map that is so wide.

        Raises
        ------
        ValueError
            If a lane has no column to inspect, or would not once the edges
            have wandered as far as they may.
        """
        cols = -(-width_px // patch_stride_px)
        middle = (np.arange(cols) + 0.5) * patch_stride_px
        # The last square may reach past the frame.
        middle = np.minimum(middle, width_px - 0.5)
        whole = LaneSpec(name=WHOLE_WIDTH, left_px=0, right_px=width_px)
        lanes = web.lanes or (whole,)
        lane_of = np.full(cols, -1, np.int8)
        times = np.ones(cols, np.float32)
        for number, lane in enumerate(lanes):
            own = (lane.left_px <= middle) & (middle < lane.right_px)
            lane_of[own] = number
            times[own] = lane.threshold_times
        for zone in web.ignore:
            # Of the others see `StripEnds`.
            if zone.endless and zone.right_px is not None:
                lane_of[(zone.left_px <= middle) & (middle < zone.right_px)] = -1
        sure = lane_of >= 0
        if web.edges is not None:
            lost = web.edges.tolerance_px + web.edges.margin_px + patch_stride_px
            sure &= middle >= web.edges.left_px + lost
            sure &= middle < web.edges.right_px - lost
        for number, lane in enumerate(lanes):
            if not (sure & (lane_of == number)).any():
                raise ValueError(
                    f"lane {lane.name} ({lane.left_px} to {lane.right_px} px) has nothing left to "
                    "inspect once the ignored zones and the edges' tolerance are taken off; "
                    "widen it or remove it"
                )
        return cls(tuple(lanes), lane_of, times)

    @property
    def inspected(self) -> NDArray[np.bool_]:
        """(cols,) whether a column belongs to a lane."""
        inspected: NDArray[np.bool_] = self.lane_of >= 0
        return inspected


class EdgeTracker:
    """Finds both edges of the web in a tile row, and what lies safely between them.

    An edge is the median over the tile row of where the grey level, averaged
    over squares as large as a patch, passes the level: a tear or a tag at the
    edge does not move it, and so is inspected like everything else.

    found   the edges of the last row, px; None if one was out of tolerance
    """

    def __init__(self, spec: EdgeSpec, width_px: int, patch_stride_px: int) -> None:
        self._spec = spec
        self._px = patch_stride_px
        self._cols = -(-width_px // patch_stride_px)
        self.found: tuple[int, int] | None = None

    def inside(self, core: U8) -> F32 | None:
        """(cols,) 1 where a column lies wholly between the edges, None if one is not found.

        Parameters
        ----------
        core : (core, W) or (core, W, 3) uint8
        """
        spec, px = self._spec, self._px
        grey = core if core.ndim == 2 else core.mean(axis=2)
        rows = grey.reshape(-1, px, grey.shape[1]).sum(axis=1, dtype=np.float64) / px
        left = self._edge(rows, spec.left_px)
        right = self._edge(rows[:, ::-1], grey.shape[1] - spec.right_px)
        if left is None or right is None:
            self.found = None
            return None
        right = grey.shape[1] - right
        self.found = (left, right)
        start = np.arange(self._cols) * px
        stop = np.minimum(start + px, grey.shape[1])
        inside = (start >= left + spec.margin_px) & (stop <= right - spec.margin_px)
        found: F32 = inside.astype(np.float32)
        return found

    def between(self, core: U8) -> U8:
        """What lies between the edges last found, or where they could at most be."""
        spec = self._spec
        sure = spec.left_px + spec.tolerance_px, spec.right_px - spec.tolerance_px
        left, right = self.found or sure
        return np.ascontiguousarray(core[:, left:right])

    def _edge(self, rows: NDArray[np.float64], expected: int) -> int | None:
        """Where the web begins, from the left, if that is within tolerance of `expected`."""
        spec, px = self._spec, self._px
        low = expected - spec.tolerance_px
        first = max(0, low - px)
        stop = min(rows.shape[1], expected + spec.tolerance_px + px)
        total = np.cumsum(np.pad(rows[:, first:stop], ((0, 0), (1, 0))), axis=1)
        box = (total[:, px:] - total[:, :-px]) / px
        web = box > spec.level if spec.web_is_brighter else box < spec.level
        # A box passes the level when half of it does; with no room to the left the
        # web may fill the frame.
        at = first + web.argmax(axis=1)
        at = np.where(at > 0, at + px // 2, at)
        seen = web.any(axis=1) & (at >= low) & (at <= expected + spec.tolerance_px)
        if 2 * np.count_nonzero(seen) <= len(rows):
            return None
        return int(np.median(at[seen]))


class RowChecks:
    """What must hold of a tile row's pixels before its scores count; see `RowCheck`."""

    def __init__(
        self, grey: GreyRange | None, edges: EdgeTracker | None, ends: StripEnds | None = None
    ) -> None:
        self._grey = grey
        self._edges = edges
        self.ends = ends
        self.detail = ""

    def __call__(self, core: U8, line: int) -> tuple[Cause | None, F32 | None]:
        """A cause if the row cannot be judged, and weights of the map's cells."""
        weights = self.ends.weights(core, line) if self.ends else None
        if weights is None:
            return self._checked(core)
        # Only what is inspected must be as it should.
        seen = np.repeat(weights.any(axis=1), len(core) // len(weights))
        if not seen.any():
            return None, weights
        cause, inside = self._checked(core[seen])
        return cause, weights if inside is None else weights * inside

    def _checked(self, core: U8) -> tuple[Cause | None, F32 | None]:
        inside = self._edges.inside(core) if self._edges else None
        between = self._edges.between(core) if self._edges else core
        fault = grey_fault(between, self._grey) if self._grey else ""
        if fault:
            self.detail = fault
            return Cause.IMAGE_QUALITY, None
        if self._edges and inside is None:
            self.detail = (
                "an edge of the web is further from its place than web.edges.tolerance_px; "
                "check the web guide"
            )
            return Cause.EDGE, None
        return None, inside
