"""What good images look like, as a bundle says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.drift.look import QUANTITIES
from kenpin.runtime.drift.material import Material
from kenpin.runtime.judging.scoring import array_of

__all__ = ["COLUMNS", "MATERIAL", "Reference"]

F32 = NDArray[np.float32]

# Beside the quantities of a look, by what `DriftRecord.independent` calls them.
COLUMNS, MATERIAL = "columns", "material"


@dataclass(frozen=True, eq=False)
class Reference:
    """The range of good images.

    low, middle, high  (len(QUANTITIES),) float32
    columns            (2, W) float32: lowest and highest of each column
    furthest           distance of good material, at most
    independent        as how many independent images they count
    """

    low: F32
    middle: F32
    high: F32
    columns: F32
    material: Material
    furthest: float
    independent: dict[str, float]

    @classmethod
    def of(cls, bundle: Bundle) -> Self | None:
        """Of a bundle whose arrays are at hand; None: it was compiled before there were any.

        Raises
        ------
        BundleError
            If what it says of them does not fit its geometry.
        """
        manifest = bundle.manifest
        record = manifest.drift
        if record is None:
            return None
        expected = {*QUANTITIES, COLUMNS, MATERIAL}
        if record.limits.keys() != set(QUANTITIES) or record.independent.keys() != expected:
            raise BundleError(
                f"{bundle.folder}: its statistics of drift are of other quantities than this "
                "runtime knows; recompile the bundle or update the runtime"
            )
        low, middle, high = np.array([record.limits[name] for name in QUANTITIES], np.float32).T
        return cls(
            low,
            middle,
            high,
            array_of(bundle.arrays, "drift_columns", (2, manifest.frame.width_px)),
            Material.of(bundle.arrays, manifest.features.dimensions),
            record.material,
            record.independent,
        )
