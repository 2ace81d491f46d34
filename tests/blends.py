"""Bundles whose network is joined with bands of brightness, without compiling them anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kenpin.config.recipe import Join
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BlendRecord
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.tiling import TileGrid

SIGMAS_PX = (4.0, 10.0)
OK_UP_TO = 3.0


def uneven(bundle: Bundle) -> Bundle:
    """Whose frames go to the network as bright as they are: a web's windows and a frame of
    its height are not evened out alike."""
    grey = bundle.manifest.grey.model_copy(update={"even_to": None})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"grey": grey}))


def alone(bundle: Bundle) -> Bundle:
    """The network alone, as bundles were before there were bands."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"blend": None}))


def blended(bundle: Bundle, join: Join = "root", seed: int = 0, **arrays: np.ndarray) -> Bundle:
    """With statistics drawn at random: of columns where the bundle is for webs.

    Good synthetic frames score 1 to 2 then, and OK is up to `OK_UP_TO`.

    Parameters
    ----------
    arrays
        To take instead of those drawn.
    """
    m = bundle.manifest
    web = m.frame.geometry == "continuous"
    grid = TileGrid.of(m.frame, m.tiles)
    rows, cols = Joiner(grid, m.features.patch_stride_px).shape
    shape = (1 if web else rows), cols
    rng = np.random.default_rng(seed)
    bands = (len(SIGMAS_PX), *shape)
    drawn = {
        "network_mean": rng.uniform(3, 5, shape),
        "network_gain": rng.uniform(0.3, 0.5, shape),
        "band_mean": rng.normal(0, 0.01, bands),
        "band_gain": rng.uniform(5, 8, bands),
    }
    places = "column" if web else "position"
    record = BlendRecord(
        normalise=places, places=places, sigmas_px=SIGMAS_PX, join=join, chosen="by a test"
    )
    threshold = m.threshold.model_copy(update={"ok": OK_UP_TO, "ng": OK_UP_TO})
    float32 = {name: array.astype(np.float32) for name, array in drawn.items()} | arrays
    return replace(
        bundle,
        manifest=m.model_copy(update={"blend": record, "threshold": threshold}),
        arrays={**bundle.arrays, **float32},
    )
