"""Materials that never were, unlike each other: parts that lie alike, and strips of a web.

For asking whether a threshold keeps its promise on what nobody chose anything on. Each has
what real material has and a threshold must live with: parts that lie a little
differently, light that wanders, grain, and now and then some dust that is no defect.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import write_png

__all__ = ["MATERIALS", "photograph", "write_material"]

F32 = NDArray[np.float32]
Rng = np.random.Generator

# Of all good images so many carry dust.
DUSTY = 0.1
DEFECTS = ("scratch", "spot", "stain", "rough")


def photograph(material: str, number: int, defect: str | None = None) -> NDArray[np.uint8]:
    """Image `number` of a material, (H, W), always the same."""
    rng = np.random.default_rng([list(MATERIALS).index(material), number])
    grey, inside = MATERIALS[material](rng)
    if rng.random() < DUSTY:
        _spot(grey, inside, rng, radius=rng.uniform(0.8, 1.6), levels=rng.uniform(8, 25))
    if defect is not None:
        _DRAWN[defect](grey, inside, rng)
    grey += rng.normal(0, 1.5, grey.shape).astype(np.float32)
    pixels: NDArray[np.uint8] = np.rint(grey.clip(0, 255)).astype(np.uint8)
    return pixels


def write_material(folder: Path, material: str, *, train: int, good: int, each: int) -> None:
    """The layout of `eval`: train/good, test/good, test/<defect>."""
    number = 0
    for place, count, defect in (
        ("train/good", train, None),
        ("test/good", good, None),
        *((f"test/{kind}", each, kind) for kind in DEFECTS),
    ):
        (folder / place).mkdir(parents=True)
        for _ in range(count):
            write_png(folder / place / f"{number:04d}.png", photograph(material, number, defect))
            number += 1


def _cell(rng: Rng) -> tuple[F32, F32]:
    """A solar cell under a camera for electroluminescence: grains, fingers, bus bars."""
    side = 192
    seeds = rng.uniform(0, side, (40, 2)).astype(np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    nearest = ((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2).argmin(-1)
    grains = rng.normal(0, 6, 40).astype(np.float32)[nearest]
    grey = rng.uniform(90, 160) * (1 + cv2.GaussianBlur(grains, (0, 0), 2) / 100)
    down, right = rng.normal(0, 1.2, 2)
    for bar in (48, 96, 144):
        grey *= 1 - 0.6 * np.exp(-(((y - bar - down) / 2.5) ** 2))
    grey *= 1 - 0.06 * (np.sin((x + right) * 2 * np.pi / 6.1) > 0.6)
    edge = np.minimum(np.minimum(x, side - 1 - x), np.minimum(y, side - 1 - y))
    return _lit(grey * (0.75 + 0.25 * np.clip(edge / 12, 0, 1)), rng, 0.04), np.ones_like(grey)


def _casting(rng: Rng) -> tuple[F32, F32]:
    """A turned disc on a dark ground: rings, a bore, light from a side that wanders."""
    side = 192
    y, x = np.mgrid[:side, :side].astype(np.float32)
    cy, cx = 96 + rng.normal(0, 1.5, 2)
    far = np.hypot(y - cy, x - cx)
    radius = 82 + rng.normal(0, 0.7)
    angle = np.arctan2(y - cy, x - cx)
    inside = ((far < radius - 4) & (far > 22)).astype(np.float32)
    rings = 8 * np.sin(far * 2 * np.pi / 9.0) + 10 * np.cos(angle - rng.normal(0.7, 0.25))
    grain = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), 0.9) * 8
    metal = rng.uniform(125, 150) + rings + grain
    body = np.clip(radius - far, 0, 1) * np.clip(far - 18, 0, 1)
    return _lit(30 + (metal - 30) * body, rng, 0.05), inside


def _brushed(rng: Rng) -> tuple[F32, F32]:
    """Brushed metal: grain drawn out along one way."""
    noise = rng.normal(0, 1, (192, 256)).astype(np.float32)
    brush = cv2.GaussianBlur(noise, (0, 0), sigmaX=18, sigmaY=0.7)
    fine = cv2.GaussianBlur(rng.normal(0, 1, noise.shape).astype(np.float32), (0, 0), 0.8)
    grey = rng.uniform(110, 150) * (1 + 0.09 * brush / brush.std() + 0.02 * fine / fine.std())
    return _lit(grey.astype(np.float32), rng, 0.08), np.ones_like(noise)


def _cloth(rng: Rng) -> tuple[F32, F32]:
    """A strip of cloth beside a table, whose edge wanders."""
    height, width = 128, 1024
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bow = rng.normal(0, 0.6) * np.sin(x / 160 + rng.uniform(0, 6.3))
    warp = np.sin(2 * np.pi * (x / 6.7 + 0.15 * np.sin(y / 40 + rng.uniform(0, 6.3))))
    weft = np.sin(2 * np.pi * (y + bow) / 5.9 + rng.uniform(0, 6.3))
    yarn = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.2)
    cloth = rng.uniform(95, 115) * (1 + 0.16 * warp * weft + 0.06 * (warp + weft) + 0.25 * yarn)
    edge = 150 + rng.normal(0, 8) + 3 * np.sin(y / 30 + rng.uniform(0, 6.3))
    share = np.clip(x - edge, 0, 1)
    grey = (35 + (cloth - 35) * share).astype(np.float32)
    inside = (x > edge + 8).astype(np.float32)
    return _lit(grey, rng, 0.03), inside


MATERIALS: dict[str, Callable[[Rng], tuple[F32, F32]]] = {
    "cell": _cell,
    "casting": _casting,
    "brushed": _brushed,
    "cloth": _cloth,
}


def _lit(grey: NDArray[np.floating], rng: Rng, spread: float) -> F32:
    """Under a lamp whose brightness and slant wander by this share."""
    slant = np.linspace(-1, 1, grey.shape[1]) * rng.normal(0, spread / 2)
    lit: F32 = (grey * (1 + rng.normal(0, spread) + slant)).astype(np.float32)
    return lit


def _place(inside: F32, rng: Rng, margin: int) -> tuple[float, float]:
    rows, cols = np.nonzero(inside[margin:-margin, margin:-margin])
    at = int(rng.integers(len(rows)))
    return float(rows[at] + margin), float(cols[at] + margin)


def _spot(grey: F32, inside: F32, rng: Rng, radius: float, levels: float) -> None:
    y0, x0 = _place(inside, rng, 10)
    y, x = np.ogrid[: grey.shape[0], : grey.shape[1]]
    grey += rng.choice((-1, 1)) * levels * np.clip(radius + 0.5 - np.hypot(y - y0, x - x0), 0, 1)


def _drawn_spot(grey: F32, inside: F32, rng: Rng) -> None:
    _spot(grey, inside, rng, radius=rng.uniform(2, 6), levels=rng.uniform(15, 60))


def _drawn_scratch(grey: F32, inside: F32, rng: Rng) -> None:
    y0, x0 = _place(inside, rng, 20)
    angle, reach = rng.uniform(0, np.pi), rng.uniform(10, 30)
    line = np.zeros(grey.shape, np.uint8)
    step = reach * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(int(v) for v in np.rint([x0, y0] + sign * step)) for sign in (-1, 1)]
    cv2.line(line, ends[0], ends[1], 255, int(rng.integers(1, 3)), cv2.LINE_AA)
    grey += rng.choice((-1, 1)) * rng.uniform(15, 60) * line / 255


def _drawn_stain(grey: F32, inside: F32, rng: Rng) -> None:
    y0, x0 = _place(inside, rng, 20)
    y, x = np.ogrid[: grey.shape[0], : grey.shape[1]]
    wide = rng.uniform(6, 18, 2)
    soft = np.exp(-((((y - y0) / wide[0]) ** 2 + ((x - x0) / wide[1]) ** 2) / 2))
    grey *= 1 + rng.choice((-1, 1)) * rng.uniform(0.06, 0.25) * soft


def _drawn_rough(grey: F32, inside: F32, rng: Rng) -> None:
    """A patch whose texture is torn up, as bright as before."""
    y0, x0 = (int(v) for v in _place(inside, rng, 20))
    half = int(rng.integers(5, 13))
    patch = grey[y0 - half : y0 + half, x0 - half : x0 + half]
    noise = rng.normal(0, rng.uniform(0.5, 1.5) * patch.std() + 4, patch.shape)
    patch += cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 0.8) * 2


_DRAWN: dict[str, Callable[[F32, F32, Rng], None]] = {
    "scratch": _drawn_scratch,
    "spot": _drawn_spot,
    "stain": _drawn_stain,
    "rough": _drawn_rough,
}
