"""What turns tiles into a map, for parts and for webs alike."""

from __future__ import annotations

from dataclasses import dataclass, field

from kenpin.runtime.judging.blend import Look
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.scoring import OnFeatures, Scorer
from kenpin.runtime.judging.tiling import TileGrid

__all__ = ["TileNetwork"]


@dataclass(frozen=True, eq=False)
class TileNetwork:
    """A network at work on tiles, and what is done before and after it.

    grid             of a frame; of a web, of one tile row: `TileGrid.of` gives both
    scorer           measures the features that the engine gives
    patch_stride_px  from one patch of the map to the next
    sigma_px         of the smoothing
    look             joins the network's map with bands of brightness; None leaves it alone
    seam_sigma_px    of the smoothing near borders of tiles, before all other
    lamp             evens frames out before the network; by default it leaves them as they are
    listen           told of all features of which something is inspected, before they are measured
    """

    grid: TileGrid
    engine: Engine
    scorer: Scorer
    patch_stride_px: int
    sigma_px: float
    look: Look | None = None
    lamp: Lamp = field(default_factory=Lamp)
    seam_sigma_px: float = 0.0
    listen: OnFeatures | None = None
