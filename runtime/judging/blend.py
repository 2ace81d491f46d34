"""Two maps to one: what the network finds odd, and what is oddly bright or dark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.config.recipe import Join
from kenpin.runtime.bundles.manifest import BlendRecord, BundleError
from kenpin.runtime.judging.brightness import contrasts

__all__ = [
    "Blend",
    "Look",
    "band_measures",
    "join_maps",
    "joined_measures",
    "load_blend",
    "network_measure",
    "never_zero",
]

F32 = NDArray[np.float32]

_ZERO = np.float32(0)
# In a map 0 says "not inspected", so what is inspected is never quite 0.
_LEAST = np.float32(1e-7)


@dataclass(frozen=True, eq=False)
class Look:
    """Bands that are looked at beside the network's map, which stays as it is.

    sigmas_px  of the bands' narrow Gaussians
    stride_px  of the map's grid
    """

    sigmas_px: tuple[float, ...]
    stride_px: int

    def whole(self, network: F32, pixels: NDArray[Any], mask: F32 | None = None) -> tuple[F32, F32]:
        """The joined map of one frame, and the (bands, rows, cols) contrasts behind it.

        Parameters
        ----------
        network : (rows, cols) float32
            The network's map, smoothed.
        pixels : (H, W) or (H, W, C) uint8
        mask : (rows, cols) float32, 1 where the part is inspected
        """
        found = contrasts(pixels, self.stride_px, self.sigmas_px, mask)
        joined = self.rows(network, found)
        return (joined if mask is None else joined * mask), found

    def rows(self, network: F32, found: F32) -> F32:  # noqa: ARG002
        """The joined map of rows whose (bands, rows, cols) contrasts are known."""
        return network


@dataclass(frozen=True, eq=False)
class Blend(Look):
    """Both maps in the measure of good images, joined.

    A map's value becomes (value − mean) · gain, with the mean and the deviation that
    good images have at that place, so that 1 is what their highest place usually has.
    Of the bands the distance from the mean counts, darker or brighter, and of several
    the largest.

    join  how
    network_mean, network_gain  (rows or 1, cols or 1) float32
    band_mean, band_gain        (bands, rows or 1, cols or 1) float32
    section_gain                (rows or 1, cols or 1) float32, for thresholds of their own:
                                sections whose good places reach higher count for less;
                                None: the whole frame has one
    """

    join: Join
    network_mean: F32
    network_gain: F32
    band_mean: F32
    band_gain: F32
    section_gain: F32 | None = None

    def rows(self, network: F32, found: F32) -> F32:
        """The joined map of rows whose (bands, rows, cols) contrasts are known, always above 0.

        Not a number in either map is not a number in the joined one.
        """
        one = network_measure(network, self.network_mean, self.network_gain)
        bands = None
        if self.sigmas_px:
            bands = band_measures(found, self.band_mean, self.band_gain)
        joined = joined_measures(one, bands, self.join)
        if self.section_gain is not None:
            joined = joined * self.section_gain
        return never_zero(joined)


def network_measure(network: F32, mean: F32, gain: F32) -> F32:
    """(rows, cols), the network's map in the measure of good images."""
    measured: F32 = (network - mean) * gain
    return measured


def band_measures(found: F32, mean: F32, gain: F32) -> F32:
    """(bands, rows, cols), how far each band's contrasts are from their means, in that measure."""
    measured: F32 = np.abs(found - mean) * gain
    return measured


def joined_measures(network: F32, bands: F32 | None, join: Join) -> F32:
    """One map (rows, cols) of a network's and (bands, rows, cols); without bands the network's."""
    if bands is None:
        return network
    second: F32 = bands.max(axis=0)
    return join_maps(network, second, join)


def never_zero(joined: F32) -> F32:
    """A joined map (rows, cols) without a 0, which would say that a place is not inspected."""
    return np.maximum(joined, _LEAST)


def join_maps(network: F32, band: F32, join: Join) -> F32:
    """One map of two (rows, cols) in the measure of good images, never below 0."""
    joined: F32
    if join == "band":
        # The network's map still has its say on whether all is a number.
        joined = np.where(np.isfinite(network), band, network)
    elif join == "mean":
        joined = np.maximum((network + band) * np.float32(0.5), _ZERO)
    elif join == "maximum":
        joined = np.maximum(np.maximum(network, band), _ZERO)
    else:
        # Places below the network's mean are not odd.
        above = np.maximum(network, _ZERO)
        joined = np.sqrt(above * above + band * band)
    return joined


def load_blend(
    arrays: Mapping[str, F32], record: BlendRecord | None, shape: tuple[int, int], stride_px: int
) -> Blend | None:
    """What a bundle's arrays make of its maps; None in bundles from before there were two.

    Parameters
    ----------
    shape
        Rows and columns of the map; (1, columns) of a web, which has no end.

    Raises
    ------
    BundleError
        If an array is missing, not of the map's shape, or not finite.
    """
    if record is None:
        return None
    sized = (len(record.sigmas_px), *shape)
    nothing = np.zeros((0, 1, 1), np.float32)
    return Blend(
        record.sigmas_px,
        stride_px,
        record.join,
        network_mean=_part(arrays, "network_mean", shape),
        network_gain=_part(arrays, "network_gain", shape),
        band_mean=_part(arrays, "band_mean", sized) if record.sigmas_px else nothing,
        band_gain=_part(arrays, "band_gain", sized) if record.sigmas_px else nothing,
        section_gain=_part(arrays, "section_gain", shape) if record.each != "frame" else None,
    )


def _part(arrays: Mapping[str, F32], name: str, shape: tuple[int, ...]) -> F32:
    """One array of a blend, whose two last sides fit the map or are shared by all of it."""
    array = arrays.get(name)
    rows, cols = shape[-2:]
    allowed = {(*shape[:-2], r, c) for r in (1, rows) for c in (1, cols)}
    if array is None or array.shape not in allowed:
        raise BundleError(
            f"statistics {name}.npy are {'missing' if array is None else array.shape}, the map "
            f"needs {shape}, or 1 where a side is shared; recompile the bundle"
        )
    if not np.isfinite(array).all():
        raise BundleError(
            f"statistics {name}.npy hold numbers that are not finite; recompile the bundle"
        )
    return np.asarray(array)
