"""A woven web that never was, with defects whose every pixel is known.

For the demo, the tests and the wiring of a line before its camera arrives. It
is no benchmark: real material is harder.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import write_png
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.paced_source import PacedSource

__all__ = ["DefectKind", "SyntheticFrame", "SyntheticSource", "SyntheticWeb", "write_dataset"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Chosen by eye.
_WARP_PX, _WEFT_LINES = 8.6, 7.2
_MEAN_LEVEL = 118.0
_WEAVE_CONTRAST = 0.42
_FIBRE_LEVELS, _SENSOR_LEVELS, _LINE_LEVELS = 27.0, 2.5, 0.8

# The grain's blur reaches this many lines; see `_grain`.
_REACH_LINES = 6
_SMALLEST = 64
_TURN = 2 * np.pi


class DefectKind(StrEnum):
    """What can be wrong with the web."""

    SCRATCH = "scratch"
    SPOT = "spot"
    DARK_BAND = "dark_band"
    STAIN = "stain"
    SUBTLE = "subtle"  # one weft thread too thin, over a part of the width


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticFrame:
    """A block of the web, and the truth about it.

    pixels  (H, W) uint8, read-only
    mask    (H, W) bool, read-only: True on the pixels of the defect
    defect  what is wrong, or None if nothing is
    """

    pixels: NDArray[np.uint8]
    mask: Mask
    defect: DefectKind | None

    def __post_init__(self) -> None:
        self.pixels.flags.writeable = False
        self.mask.flags.writeable = False


class SyntheticWeb:
    """An endless plain weave under a line camera, cut into frames without a seam.

    Warp threads run along the web and wander slowly; weft threads bow across
    it. The light falls off towards the edges, the material drifts, and each
    column of the camera has its own gain. The same seed and index give the same
    frame, with and without a defect, whatever was asked for before.

    height, width  scan lines and pixels of a frame, 64 or more
    seed           0 or more

    Raises
    ------
    ValueError
        If the frame is too small or the seed negative.
    """

    def __init__(self, height: int, width: int, seed: int) -> None:
        if min(height, width) < _SMALLEST:
            raise ValueError(
                f"frames of {height} x {width} cannot hold the defects; "
                f"expected {_SMALLEST} x {_SMALLEST} or more"
            )
        self.height, self.width, self.seed = height, width, seed
        rng = np.random.default_rng([seed, 0])
        across = np.linspace(-1, 1, width)
        pixel = np.arange(width)
        spacing = np.interp(pixel, pixel[::8], rng.normal(0, 0.35, pixel[::8].size))
        self._warp_phase = _TURN * pixel / _WARP_PX + spacing
        self._weft_bow = 2.4 * across**2 + rng.normal(0, 1.5) * across
        light = 1 - 0.13 * across**2 + 0.03 * across
        self._gain = light * rng.normal(1, 0.008, width)
        self._wander = _Waves(rng, periods_lines=(170, 610, 2300), amplitude=0.5)
        self._stretch = _Waves(rng, periods_lines=(90, 410, 3100), amplitude=0.7)
        self._drift = _Waves(rng, periods_lines=(1900, 7300, 31000), amplitude=0.02)
        self._clouds = [
            (_Waves(rng, periods_lines=(140, 530), amplitude=1.6), _bumps(rng, width))
            for _ in range(4)
        ]

    def frame(self, index: int, defect: DefectKind | None = None) -> SyntheticFrame:
        """Block `index` of the web, lines index · H to index · H + H − 1.

        Raises
        ------
        ValueError
            If the index is negative.
        """
        if index < 0:
            raise ValueError(f"index is {index}, expected 0 or more: the web has a beginning")
        lines = np.arange(index * self.height, (index + 1) * self.height, dtype=np.float64)
        weft_phase = self._weft_phase(lines)
        canvas = self._cloth(lines, weft_phase)
        mask = np.zeros(canvas.shape, np.bool_)
        if defect is not None:
            rng = np.random.default_rng([self.seed, 1, index, list(DefectKind).index(defect)])
            _draw(defect, canvas, mask, weft_phase, rng)
        # Noise last: the camera adds it, whatever lies below.
        canvas += self._grain(index)
        pixels = np.rint(canvas.clip(0, 255)).astype(np.uint8)
        return SyntheticFrame(pixels, mask, defect)

    def _weft_phase(self, lines: F64) -> F32:
        """Radians, (H, W): one turn for each weft thread."""
        along = _TURN * lines / _WEFT_LINES + self._stretch.at(lines)
        # Whole pairs of threads are taken off, or float32 would blur a long web.
        along -= 2 * _TURN * (along[0] // (2 * _TURN))
        return _sum_of(along, self._weft_bow)

    def _cloth(self, lines: F64, weft_phase: F32) -> F32:
        """Grey levels of the web without noise, (H, W)."""
        warp = np.sin(_sum_of(self._wander.at(lines), self._warp_phase) / 2)
        weft = np.sin(weft_phase / 2)
        # Positive where the warp lies on top, in turns like a chessboard.
        over = warp * weft
        warp *= warp
        weft *= weft
        threads = (warp + weft + over * (warp - weft)) / 2 + 0.12 * over - 0.5
        drift = 1 + self._drift.at(lines)
        cloth = _product_of(_MEAN_LEVEL * drift, self._gain)
        cloth *= 1 + _WEAVE_CONTRAST * threads
        # Not one matrix product: BLAS starts threads for it, and on a busy box
        # they took 30 ms where these four take less than 1 ms.
        for along, across in self._clouds:
            cloth += _product_of(along.at(lines), across)
        return cloth

    def _grain(self, index: int) -> F32:
        """Fibres, sensor noise and flicker of the lines, grey levels, (H, W)."""
        reach, shape = _REACH_LINES, (self.height - 2 * _REACH_LINES, self.width)
        own = np.random.default_rng([self.seed, 2, index])
        # The lines around each cut have noise of their own, which both frames
        # draw. Blurred across the cut, the grain runs on without a seam.
        before, after = (
            np.random.default_rng([self.seed, 3, cut]).standard_normal(
                (2 * reach, self.width), np.float32
            )
            for cut in (index, index + 1)
        )
        white = np.concatenate([before, own.standard_normal(shape, np.float32), after])
        fibres = cv2.GaussianBlur(white, (0, 2 * reach + 1), sigmaX=0.8, sigmaY=1.5)
        noise = _FIBRE_LEVELS * fibres + _SENSOR_LEVELS * white
        noise[reach:-reach] += _LINE_LEVELS * own.standard_normal((self.height, 1), np.float32)
        return noise[reach:-reach].astype(np.float32, copy=False)


class SyntheticSource(PacedSource):
    """A `SyntheticWeb` under a simulated camera: a `FrameSource`.

    web       what the camera looks at; frame k is its block k
    count     frames until it is exhausted; None for ever
    schedule  the defect of frame k, None for good web; `{7: DefectKind.SPOT}.get`
              is one
    lost      indices that arrive as `LostFrame`
    rate_hz   frames per second; None delivers flat out; see `PacedSource`
    """

    def __init__(
        self,
        web: SyntheticWeb,
        *,
        count: int | None = None,
        schedule: Callable[[int], DefectKind | None] = lambda _: None,
        lost: Collection[int] = (),
        rate_hz: float | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(count, rate_hz, clock_ns, sleep)
        self._web = web
        self._schedule = schedule
        self._lost = lost

    def _make(self, position: int) -> Frame | LostFrame:
        if position in self._lost:
            return LostFrame(0, position, "lost on purpose by the simulated camera")
        return Frame(self._web.frame(position, self._schedule(position)).pixels, 0, position)


def write_dataset(
    folder: Path,
    web: SyntheticWeb,
    *,
    train: int = 40,
    good: int = 20,
    each: int = 8,
    kinds: Sequence[DefectKind] = tuple(DefectKind),
) -> None:
    """Write a data set in the layout of MVTec AD, no block of the web twice.

    `train/good/*.png`, `test/good/*.png`, `test/<kind>/*.png`, and for each of
    the last `ground_truth/<kind>/<stem>_mask.png`, 255 on the defect.

    Parameters
    ----------
    train, good, each
        Frames for training, good ones for the test, and for each kind of defect.

    Raises
    ------
    FileExistsError
        If the folder holds anything: old frames would mix with the new.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: not empty, expected a new folder; name another")
    parts: list[tuple[str, int, DefectKind | None]] = [
        ("train/good", train, None),
        ("test/good", good, None),
        *((f"test/{kind}", each, kind) for kind in kinds),
    ]
    index = 0
    for part, count, kind in parts:
        (folder / part).mkdir(parents=True, exist_ok=True)
        masks = folder / "ground_truth" / part.removeprefix("test/")
        if kind is not None:
            masks.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            made = web.frame(index, kind)
            index += 1
            write_png(folder / part / f"{number:03d}.png", made.pixels)
            if kind is not None:
                white = made.mask.astype(np.uint8) * np.uint8(255)
                write_png(masks / f"{number:03d}_mask.png", white)


class _Waves:
    """A slow quantity along the web: a sum of waves of equal height, smooth for ever."""

    def __init__(
        self, rng: np.random.Generator, periods_lines: Sequence[float], amplitude: float
    ) -> None:
        self._amplitude = amplitude
        self._waves = [(period, rng.uniform(0, _TURN)) for period in periods_lines]

    def at(self, lines: F64) -> F64:
        """The quantity at each line, (H,), at most amplitude × number of waves."""
        waves = [np.sin(_TURN * lines / period + phase) for period, phase in self._waves]
        total: F64 = self._amplitude * np.sum(waves, axis=0)
        return total


def _bumps(rng: np.random.Generator, width: int) -> F64:
    """A smooth random quantity across the web, (W,), of order one."""
    pixel = np.arange(width)
    waves = [np.sin(_TURN * pixel / p + rng.uniform(0, _TURN)) for p in rng.uniform(80, 600, 3)]
    bumps: F64 = np.sum(waves, axis=0) / np.sqrt(len(waves))
    return bumps


def _sum_of(along: F64, across: F64) -> F32:
    """The sum of a column (H,) and a row (W,), (H, W)."""
    total: F32 = np.add.outer(along.astype(np.float32), across.astype(np.float32))
    return total


def _product_of(along: F64, across: F64) -> F32:
    """The product of a column (H,) and a row (W,), (H, W)."""
    return np.outer(along.astype(np.float32), across.astype(np.float32))


# Defects. Each is drawn in place: on the canvas, (H, W) grey levels, what the
# camera would see, and on the mask, (H, W) bool, what a person would mark.


def _draw(
    kind: DefectKind, canvas: F32, mask: Mask, weft_phase: F32, rng: np.random.Generator
) -> None:
    if kind is DefectKind.SUBTLE:
        _thin_thread(canvas, mask, weft_phase, rng)
    else:
        _PATTERNS[kind](canvas, mask, rng)


def _scratch(canvas: F32, mask: Mask, rng: np.random.Generator) -> None:
    """A thin line, bright or dark, slanted against the web, tapering at its ends."""
    length = min(rng.uniform(0.35, 0.75) * min(canvas.shape), 300)
    slant = _either_sign(rng) * rng.uniform(0.15, 0.7)
    down, right = length * math.cos(slant), length * math.sin(slant)
    grey, marked, y, x = _patch(canvas, mask, rng, math.ceil(length / 2))
    along = (y * down + x * right) / length**2  # -½ at one end, ½ at the other
    beside = np.abs(x * down - y * right) / length  # pixels from the line
    taper = np.clip((0.5 - np.abs(along)) * 6, 0, 1)
    line = np.clip(rng.uniform(0.8, 1.3) * taper - beside + 0.5, 0, 1) * (taper > 0)
    grey += _either_sign(rng) * rng.uniform(38, 60) * line
    marked[:] = line > 0.25


def _spot(canvas: F32, mask: Mask, rng: np.random.Generator) -> None:
    """A crisp fleck, 6 to 12 pixels across, bright or dark."""
    grey, marked, y, x = _patch(canvas, mask, rng, 7)
    radius, squeeze = rng.uniform(3, 5.4), rng.uniform(0.9, 1.1)
    fleck = np.clip(radius + 0.5 - np.hypot(y * squeeze, x / squeeze), 0, 1)
    grey += _either_sign(rng) * rng.uniform(45, 70) * fleck
    marked[:] = fleck > 0.5


def _dark_band(canvas: F32, mask: Mask, rng: np.random.Generator) -> None:
    """A few dozen lines across the full width that got less light."""
    lines: int = canvas.shape[0]
    height = min(rng.uniform(24, 48), lines / 3)
    middle = rng.uniform(height / 2, lines - height / 2)
    band = np.clip((height / 2 - np.abs(np.arange(lines) - middle)) / 4 + 0.5, 0, 1)
    canvas *= (1 - rng.uniform(0.2, 0.3) * band[:, None]).astype(np.float32)
    mask[band > 0.5] = True


def _stain(canvas: F32, mask: Mask, rng: np.random.Generator) -> None:
    """A soft-edged darker blot of uneven outline."""
    radius = min(rng.uniform(18, 42), min(canvas.shape) / 4)
    grey, marked, y, x = _patch(canvas, mask, rng, math.ceil(1.7 * radius))
    angle = np.arctan2(y, x)
    outline = np.ones_like(angle)
    for lobes in (2, 3, 5):
        outline += rng.uniform(0.03, 0.08) * np.sin(lobes * angle + rng.uniform(0, _TURN))
    depth = np.clip(1.9 - 1.4 * np.hypot(y, x) / (radius * outline), 0, 1)
    blot = depth * depth * (3 - 2 * depth)
    grey *= 1 - rng.uniform(0.17, 0.27) * blot
    marked[:] = blot > 0.3


def _thin_thread(canvas: F32, mask: Mask, weft_phase: F32, rng: np.random.Generator) -> None:
    """One weft thread too thin over a part of the width: the ground shows through."""
    rows: int = canvas.shape[0]
    columns: int = canvas.shape[1]
    length = round(rng.uniform(0.25, 0.45) * columns)
    start = round(rng.uniform(0.05, 0.5) * columns)
    within = slice(start, start + length)
    phase = weft_phase[:, within]
    thread = phase // _TURN
    own = thread == thread[round(rng.uniform(0.2, 0.8) * rows), length // 2]
    pixel = np.arange(length)
    taper = np.clip(np.minimum(pixel, length - 1 - pixel) / 12, 0, 1).astype(np.float32)
    canvas[:, within] *= 1 - 0.2 * taper * own * np.sin(phase / 2) ** 2
    mask[:, within] = own & (taper > 0.5)


def _patch(
    canvas: F32, mask: Mask, rng: np.random.Generator, reach: int
) -> tuple[F32, Mask, F32, F32]:
    """A square somewhere inside the frame, `reach` pixels to each side of its centre.

    Returns
    -------
    Its views of canvas and mask, (2R + 1, 2R + 1) each, and the offsets of its
    rows (2R + 1, 1) and columns (1, 2R + 1) from a point within its central pixel.
    """
    rows: int = canvas.shape[0]
    columns: int = canvas.shape[1]
    y, x = rng.integers(reach, rows - reach), rng.integers(reach, columns - reach)
    window = slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1)
    offsets = np.arange(-reach, reach + 1) + rng.uniform(-0.5, 0.5, (2, 1))
    down, right = offsets.astype(np.float32)
    return canvas[window], mask[window], down[:, None], right[None, :]


def _either_sign(rng: np.random.Generator) -> float:
    return float(rng.choice((-1, 1)))


_PATTERNS = {
    DefectKind.SCRATCH: _scratch,
    DefectKind.SPOT: _spot,
    DefectKind.DARK_BAND: _dark_band,
    DefectKind.STAIN: _stain,
}
