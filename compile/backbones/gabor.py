"""An analytic bank of oriented complex filters in two layers: nothing to download or learn.

A scattering transform in all but name (Bruna and Mallat, IEEE TPAMI 2013,
arXiv:1203.1513), on a pyramid so that every filter stays small:

    grey ── / 64 ──► full, half and quarter size (5-tap binomial)
    layer 1: Morlet filters on each size ── modulus ── log(1 + 16 u)
    layer 2: Morlet filters on each map of layer 1 ── modulus ── log(1 + 4 v)

Layer 1 sees the texture itself, wavelengths of 2.7, 4, 8 and 16 pixels; layer
2 how evenly it is laid; and the quarter-size grey is one more map, too weak
beside them to show a soft stain. The constants were chosen among some twenty
variants on AITEX fabric 03, all but a few of which had a within-strip tile
AUROC of 0.91 to 0.955.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones.base import Backbone, Tap
from kenpin.compile.backbones.family import Family

__all__ = ["GABOR", "GABOR_LAYERS", "Gabor", "morlet"]

# Layers that a recipe may name, by their strides.
GABOR_LAYERS = ("stride4", "stride8", "stride16")

ORIENTATIONS = 4
# Grey levels to numbers around zero, of the size that the logarithms expect.
GREY_SCALE, GREY_SHIFT = 1 / 64, 2.0
# Compression makes a modulus' spread alike for faint and strong texture.
FIRST_GAIN, SECOND_GAIN = 16.0, 4.0
# Keeps the root's slope finite where a filter sees nothing.
MODULUS_FLOOR = 1e-6

# The largest weight in INT8, which is what 7 bits hold: `compile.quantize` has the reason.
MOST = 63

# Halves what it smooths.
BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16

# (side, sigma in pixels, frequency in radians a pixel)
FINE = (7, 0.9, 3 * np.pi / 4)
COARSE = (9, 1.5, np.pi / 2)
SECOND = (7, 1.4, np.pi / 2)


def morlet(side: int, sigma: float, frequency: float) -> NDArray[np.complex128]:
    """(ORIENTATIONS, side, side) Morlet filters: zero mean, unit energy.

    White noise gives every filter the same power, so no orientation or size
    outweighs another in a distance.

    Parameters
    ----------
    sigma
        Of the round Gaussian window, in pixels.
    frequency
        Of the wave, in radians a pixel.
    """
    r = np.arange(side) - (side - 1) / 2
    y, x = np.meshgrid(r, r, indexing="ij")
    window = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    filters = []
    for k in range(ORIENTATIONS):
        angle = np.pi * k / ORIENTATIONS
        wave = np.exp(1j * frequency * (x * np.cos(angle) + y * np.sin(angle)))
        # Without its mean, the filter is blind to brightness.
        psi = window * (wave - (window * wave).sum() / window.sum())
        filters.append(psi / np.sqrt((np.abs(psi) ** 2).sum()))
    return np.stack(filters)


def _pool(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, stride=2, padding=1)


def _squared(x: Tensor) -> Tensor:
    # Of absolute values: OpenVINO without AVX scaled x * x of an INT8 convolution twice.
    size = torch.abs(x)
    return size * size


class _Modulus(nn.Module):
    """|z| of complex maps given as real and imaginary parts, one after the other or apart."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        # A product with ones adds each pair of squares: OpenVINO copies maps that are split.
        self._pairs = torch.eye(maps).repeat(1, 2)[:, :, None, None]

    def forward(self, parts: list[Tensor]) -> Tensor:
        if len(parts) == 1:
            squares = functional.conv2d(_squared(parts[0]), self._pairs)
        else:
            real, imaginary = parts
            squares = _squared(real) + _squared(imaginary)
        return torch.sqrt(squares + MODULUS_FLOOR)


def on_int8_grid(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """A zero-mean kernel's near neighbour that INT8 holds exactly, zero-mean too.

    Rounding leaves a small sum, and with it a bank that answers to flat black
    and white, which the logarithm makes loud: pasted black patches kept only
    0.88 of their FP32 score.
    """
    scale = np.abs(kernel).max() / MOST
    exact = kernel / scale
    rounded = np.round(exact)
    excess = int(rounded.sum())
    # Take the excess from the values that rounding moved farthest its way.
    moved = np.sign(excess) * (rounded - exact)
    # The largest value sets INT8's scale and must stay.
    moved[np.abs(rounded) == MOST] = -np.inf
    rounded.ravel()[np.argsort(-moved, axis=None)[: abs(excess)]] -= np.sign(excess)
    snapped: NDArray[np.float64] = rounded * scale
    return snapped


def _log1p(x: Tensor) -> Tensor:
    """log(1 + x) of what is not negative, to 1e-5, by roots, products and one quotient.

    OpenVINO joins these with what stands before them; its own logarithm it computes number by
    number, which took an eighth of the network's time. 8 log w is log w^8, and log w is
    2 artanh t for t = (w - 1) / (w + 1), which the root keeps below 0.3.
    """
    w = torch.sqrt(torch.sqrt(torch.sqrt(1 + x)))
    t = (w - 1) / (w + 1)
    t2 = t * t
    series = 1 + t2 * (1 / 3 + t2 * (1 / 5 + t2 * (1 / 7 + t2 * (1 / 9))))
    return 16 * t * series


class _Compression(nn.Module):
    """log(1 + gain u), of local means at half the resolution if `pool`."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self._gain = gain

    def forward(self, u: Tensor, pool: bool = False) -> Tensor:
        return _log1p(self._gain * (_pool(u) if pool else u))


class _Bank(nn.Module):
    """|x * psi| of every map x and every filter psi, at half the resolution.

    Where there is one map, all filters are one convolution, real and imaginary
    parts side by side: of 16 output channels AMX uses its tiles whole, of 4 a
    quarter of them. Where there are more, each filter sees its own map and has zeros for
    the others: a grouped convolution took three times as long.
    """

    def __init__(self, banks: list[NDArray[np.complex128]], maps: int = 1) -> None:
        super().__init__()
        real = [kernel for bank in banks for kernel in bank.real]
        imaginary = [kernel for bank in banks for kernel in bank.imag]
        together = [real + imaginary] if maps == 1 else [real, imaginary]
        self.parts = nn.ModuleList(self._conv(kernels, maps) for kernels in together)
        # Squares span twice the decades of what is squared: 8 bits do not. Parts
        # named "in_float" are not quantised.
        self.in_float = _Modulus(len(real))

    @staticmethod
    def _conv(kernels: list[NDArray[np.float64]], maps: int) -> nn.Conv2d:
        side = max(len(kernel) for kernel in kernels)
        exact = np.stack([_framed(on_int8_grid(kernel), side) for kernel in kernels])
        conv = nn.Conv2d(maps, maps * len(exact), side, stride=2, padding=side // 2, bias=False)
        weights = np.zeros((maps, len(exact), maps, side, side))
        weights[range(maps), :, range(maps)] = exact
        bank = torch.from_numpy(weights).float().flatten(0, 1)
        conv.weight = nn.Parameter(bank, requires_grad=False)
        return conv

    def forward(self, x: Tensor) -> Tensor:
        modulus: Tensor = self.in_float([conv(x) for conv in self.parts])
        return modulus


def _framed(kernel: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """A kernel with zeros around it, which changes nothing but its size."""
    return np.pad(kernel, (side - len(kernel)) // 2)


def _halve() -> nn.Conv2d:
    side = len(BINOMIAL)
    conv = nn.Conv2d(1, 1, side, stride=2, padding=side // 2, bias=False)
    kernel = torch.from_numpy(np.outer(BINOMIAL, BINOMIAL)).float()[None, None]
    conv.weight = nn.Parameter(kernel, requires_grad=False)
    return conv


class _Quarter(nn.Module):
    """What halving twice does, apart from the border, at once and in float: two products.

    A convolution of one channel to one leaves most of a processor idle.
    """

    def forward(self, x: Tensor) -> Tensor:
        across, along = self._matrix(x.shape[3]), self._matrix(x.shape[2])
        return torch.matmul(torch.matmul(along, x), across.T)

    @staticmethod
    def _matrix(side: int) -> Tensor:
        """(side / 4, side): row r weighs the places around 4 r; beyond the border is nothing."""
        spaced = np.zeros(2 * len(BINOMIAL) - 1)
        spaced[::2] = BINOMIAL
        taps = np.convolve(BINOMIAL, spaced)
        reach = len(taps) // 2
        rows = np.zeros((side // 4, side + 2 * reach), np.float32)
        for number, row in enumerate(rows):
            row[4 * number : 4 * number + len(taps)] = taps
        return torch.from_numpy(rows[:, reach:-reach].copy())


class Gabor(Backbone):
    """Grey tiles to oriented texture energy at strides 4, 8 and 16."""

    def __init__(self, layers: tuple[str, ...], channels: int) -> None:
        super().__init__()
        if channels != 1:
            raise ValueError(f"gabor looks at grey only, found {channels} channels")
        fine, coarse, second = morlet(*FINE), morlet(*COARSE), morlet(*SECOND)
        n = ORIENTATIONS
        self.halving, self.quartering = _halve(), _halve()
        self.full_first = _Bank([fine, coarse])
        self.half_first, self.quarter_first = _Bank([coarse]), _Bank([coarse])
        self.full_second, self.half_second = _Bank([second], 2 * n), _Bank([second], n)
        self.full_third, self.half_third = _Bank([second], 2 * n), _Bank([second], n)
        self.quarter_third = _Bank([second], n)
        self.in_float = nn.ModuleList(
            [_Compression(FIRST_GAIN), _Compression(SECOND_GAIN), _Quarter()]
        )
        widths = (1 + 3 * n, n + 3 * n * n, 4 * n * n)
        self.taps = tuple(
            Tap(name, 4 * 2**k, width)
            for k, (name, width) in enumerate(zip(GABOR_LAYERS, widths, strict=True))
            if name in layers
        )

    def forward(self, tiles: Tensor) -> list[Tensor]:
        """See `Backbone`."""
        first, second, grey = self.in_float
        full = tiles.to(torch.float32) * GREY_SCALE - GREY_SHIFT
        half = self.halving(full)
        quarter = self.quartering(half)
        u1 = first(self.full_first(full), pool=True)
        u2 = first(self.half_first(half))
        u3 = first(self.quarter_first(quarter))
        makers: dict[str, Callable[[], list[Tensor]]] = {
            # Smoothed once more, from the image: OpenVINO without AVX rounds a single channel
            # to nothing where something else wants it in float, too.
            "stride4": lambda: [grey(full), u1, u2],
            "stride8": lambda: [u3, second(self.full_second(u1)), second(self.half_second(u2))],
            "stride16": lambda: [
                second(self.full_third(_pool(u1))),
                second(self.half_third(_pool(u2))),
                second(self.quarter_third(u3)),
            ],
        }
        return [torch.cat(makers[tap.layer](), dim=1) for tap in self.taps]


# The backbone of the name `gabor`.
GABOR = Family(Gabor, GABOR_LAYERS, grid_px=8, colour=False)
