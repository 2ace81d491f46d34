"""Flat-field correction for cameras that have none: an offset and a gain for every column.

new = (raw - offset[x]) * gain[x], as line cameras with a correction of their own do it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.source import CameraError

__all__ = ["FlatField", "FlatFieldError", "calibrate", "read_flat_field", "write_flat_field"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_KIND, _VERSION = "kenpin flat field", 1
# Lines at a time: 8 lines of 8192 floats stay in the second-level cache.
_BLOCK = 8
# What a calibration is refused or complained about for.
_CLIP_SIGMAS = 3.0
_SATURATED_SHARE = 0.001
_DARKEST_WHITE = 0.2
_DEAD_SHARE = 0.25
_HOT_SHARE = 0.2
_LARGEST_GAIN = 4.0


class FlatFieldError(CameraError):
    """A calibration that cannot be made, read or applied."""


@dataclass(frozen=True, eq=False)
class FlatField:
    """The correction of one camera under one exposure.

    offset      (W,) or (W, 3) float32, grey levels
    gain        of the same shape, dimensionless
    conditions  the settings under which it was calibrated, by their names
    remarks     what a person should know about it, each with a remedy
    """

    offset: F32
    gain: F32
    conditions: Mapping[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    _gains: F32 = field(init=False, repr=False)
    _offsets: F32 = field(init=False, repr=False)
    _work: F32 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Ready for a block of lines at a time; raw * gain - offset * gain.
        gains = np.tile(self.gain.reshape(1, -1), (_BLOCK, 1))
        offsets = np.tile((self.offset * self.gain).reshape(1, -1), (_BLOCK, 1))
        object.__setattr__(self, "_gains", gains)
        object.__setattr__(self, "_offsets", offsets)
        object.__setattr__(self, "_work", np.empty_like(gains))

    def apply(self, pixels: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The corrected image, rounded to whole grey levels, never beyond its type's range.

        Parameters
        ----------
        pixels : (H, W) or (H, W, 3), uint8 or uint16
        out : like `pixels`
            Where to write; may be `pixels` itself; made if not given.

        Raises
        ------
        FlatFieldError
            If the image is not as wide, or has not as many channels, as the calibration.
        """
        if pixels.shape[1:] != self.gain.shape or pixels.dtype not in (np.uint8, np.uint16):
            raise FlatFieldError(
                f"an image of {pixels.shape} {pixels.dtype} under a flat field for lines of "
                f"{self.gain.shape}; calibrate again with the camera's present settings"
            )
        if out is None:
            out = np.empty_like(pixels)
        kind = cv2.CV_8U if pixels.dtype == np.uint8 else cv2.CV_16U
        lines = pixels.reshape(len(pixels), -1)
        target = out.reshape(len(out), -1)
        gains, offsets, work = self._gains, self._offsets, self._work
        for first in range(0, len(lines), _BLOCK):
            block = lines[first : first + _BLOCK]
            count = len(block)
            np.copyto(work[:count], block)
            np.multiply(work[:count], gains[:count], out=work[:count])
            # Subtracts, rounds and saturates in one pass.
            cv2.subtract(
                work[:count], offsets[:count], dst=target[first : first + count], dtype=kind
            )
        return out


def calibrate(
    dark: Iterable[NDArray[Any]],
    white: Iterable[NDArray[Any]],
    *,
    bits: int = 8,
    target: float | None = None,
    conditions: Mapping[str, float] | None = None,
) -> FlatField:
    """A correction from frames with the lens covered and frames of an even white target.

    Parameters
    ----------
    dark, white : images (H, W) or (H, W, 3), uint8 or uint16
        Lines that differ from their column's mean by over 3 standard deviations,
        as dust on a moving target makes, count for nothing.
    bits
        Of a sample: 255 is full for 8.
    target
        The grey level that white becomes; by default that of its brightest columns.

    Raises
    ------
    FlatFieldError
        If there are no frames, they differ in size, white is not brighter than
        dark, or so much of it is saturated or dark that a gain would mean nothing.
    """
    full = float((1 << bits) - 1)
    low, _ = _column_means(dark, "dark")
    high, saturated = _column_means(white, "white", full)
    if low.shape != high.shape:
        raise FlatFieldError(
            f"dark frames are {low.shape[0]} px wide, white ones {high.shape[0]}; record both with "
            "the same settings"
        )
    span = high - low
    usual = float(np.median(span))
    if usual < _DARKEST_WHITE * full:
        raise FlatFieldError(
            f"white is {float(np.median(high)):.0f} of {full:.0f} and dark "
            f"{float(np.median(low)):.0f}; expected them {_DARKEST_WHITE * full:.0f} apart at "
            "least: more light, or a longer exposure"
        )
    if saturated > 0.5:
        raise FlatFieldError(
            f"{saturated:.0%} of white is saturated; less light, or a shorter exposure"
        )
    dead = span < _DEAD_SHARE * usual
    hot = low > _HOT_SHARE * full
    wanted = float(np.percentile(high[~dead], 95)) if target is None else target
    gain = wanted / np.where(dead, usual, span)
    steep = (gain > _LARGEST_GAIN) & ~dead
    gain = np.minimum(gain, _LARGEST_GAIN)
    remarks = _remarks(saturated, dead, hot, steep, span)
    return FlatField(
        low.astype(np.float32), gain.astype(np.float32), dict(conditions or {}), tuple(remarks)
    )


def _column_means(
    frames: Iterable[NDArray[Any]], name: str, full: float | None = None
) -> tuple[F64, float]:
    """Each column's mean without outlying lines, and the share of saturated pixels."""
    images = [np.asarray(frame) for frame in frames]
    if not images:
        raise FlatFieldError(f"no {name} frames; record some")
    sizes = {image.shape[1:] for image in images}
    if len(sizes) > 1:
        widths = ", ".join(f"{width} px" for width in sorted({size[0] for size in sizes}))
        raise FlatFieldError(
            f"{name} frames differ in width or channels: {widths}; expected one size: record them "
            "with the same settings"
        )
    count = np.zeros(images[0].shape[1:])
    total, square = np.zeros_like(count), np.zeros_like(count)
    for image in images:
        values = image.astype(np.float64)
        count += len(values)
        total += values.sum(axis=0)
        square += (values**2).sum(axis=0)
    mean = total / count
    # Half a grey level at least: a quiet column's digitisation is no outlier.
    spread = np.maximum(np.sqrt(np.maximum(square / count - mean**2, 0)), 0.5) * _CLIP_SIGMAS
    kept, total = np.zeros_like(count), np.zeros_like(count)
    saturated = 0
    for image in images:
        values = image.astype(np.float64)
        near = np.abs(values - mean) <= spread
        kept += near.sum(axis=0)
        total += np.where(near, values, 0).sum(axis=0)
        saturated += 0 if full is None else int((values >= full).sum())
    pixels = sum(image.size for image in images)
    return np.where(kept > 0, total / np.maximum(kept, 1), mean), saturated / pixels


def _remarks(
    saturated: float,
    dead: NDArray[np.bool_],
    hot: NDArray[np.bool_],
    steep: NDArray[np.bool_],
    span: F64,
) -> list[str]:
    found = []
    if saturated > _SATURATED_SHARE:
        found.append(f"{saturated:.2%} of white is saturated; less light or a shorter exposure")
    if dead.any():
        found.append(f"dead columns {_list(dead)}: clean the sensor's window, or mask them")
    if hot.any():
        found.append(f"hot columns {_list(hot)}: is the lens covered, the camera cool?")
    if steep.any():
        found.append(
            f"columns {_list(steep)} need more than {_LARGEST_GAIN:g} times the light; they stay "
            "too dark: straighten the lamp"
        )
    lively = span[~dead]
    ratio = float(lively.max() / lively.min())
    if ratio > 2:
        found.append(f"the light is {ratio:.1f} times as bright in one place as in another")
    return found


# Columns that a message names, of those that are marked.
_NAMED = 8


def _list(marked: NDArray[np.bool_]) -> str:
    columns = np.flatnonzero(marked.any(axis=1) if marked.ndim == 2 else marked)
    text = ", ".join(str(column) for column in columns[:_NAMED])
    more = len(columns) - _NAMED
    return text + (f" and {more} more" if more > 0 else "")


def write_flat_field(path: Path, flat: FlatField) -> None:
    """Write a calibration as one JSON file, whole or not at all."""
    tree = {
        "kind": _KIND,
        "version": _VERSION,
        "conditions": dict(flat.conditions),
        "remarks": list(flat.remarks),
        "offset": [round(float(value), 4) for value in flat.offset.reshape(-1)],
        "gain": [round(float(value), 6) for value in flat.gain.reshape(-1)],
        "channels": 1 if flat.gain.ndim == 1 else flat.gain.shape[1],
    }
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(tree, indent=1) + "\n")
    fresh.replace(path)


def read_flat_field(path: Path, present: Mapping[str, float] | None = None) -> FlatField:
    """The calibration in a file.

    present
        The settings in force; those that were also in force when it was made
        must be equal.

    Raises
    ------
    FlatFieldError
        If the file is not one, or the settings differ.
    """
    try:
        tree = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FlatFieldError(f"{path}: cannot be read as a flat field ({error})") from None
    if not isinstance(tree, dict) or (tree.get("kind"), tree.get("version")) != (_KIND, _VERSION):
        raise FlatFieldError(f"{path}: is no flat field of version {_VERSION}; calibrate again")
    try:
        offset = np.asarray(tree["offset"], np.float32)
        gain = np.asarray(tree["gain"], np.float32)
        channels = int(tree["channels"])
        conditions = {str(k): float(v) for k, v in tree["conditions"].items()}
        if offset.ndim != 1 or offset.shape != gain.shape or len(gain) % channels:
            raise ValueError(f"{len(offset)} offsets, {len(gain)} gains, {channels} channels")
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise FlatFieldError(f"{path}: damaged ({error}); calibrate again") from None
    if not (np.isfinite(offset).all() and np.isfinite(gain).all() and (gain > 0).all()):
        raise FlatFieldError(f"{path}: damaged, gains must be above 0; calibrate again")
    for name, value in (present or {}).items():
        then = conditions.get(name)
        if then is not None and not math.isclose(then, value, rel_tol=1e-3):
            raise FlatFieldError(
                f"{path}: calibrated at {name} {then:g}, now it is {value:g}; calibrate again"
            )
    if channels > 1:
        offset, gain = offset.reshape(-1, channels), gain.reshape(-1, channels)
    return FlatField(offset, gain, conditions, tuple(tree.get("remarks", ())))
