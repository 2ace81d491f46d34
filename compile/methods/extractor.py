"""The network that goes into the bundle: a backbone and the patch embedding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones import Backbone, Tap
from kenpin.compile.methods.fitting import Embedding, fitting_of
from kenpin.config.errors import ConfigError
from kenpin.config.methods import MethodSettings, PadimSpec, PatchCoreSpec

__all__ = ["Extractor", "PadimEmbedding", "PatchCoreEmbedding", "onto_grid"]


class PadimEmbedding(Embedding):
    """Channels of all taps side by side on one grid, then fewer of them, of the core alone.

    Reduction and resampling are both linear and act on different axes, so each
    tap is reduced on its own, smaller grid first.

    References
    ----------
    Defard et al., PaDiM, ICPR 2021, 3.1; nearest upsampling and a random
    choice of channels as there and in Anomalib.
    """

    def __init__(self, taps: Sequence[Tap], grid_px: int, spec: PadimSpec, margin: int = 0) -> None:
        """`margin`: grid cells at each border that are not wanted."""
        super().__init__()
        channels = [tap.channels for tap in taps]
        self._factors = [tap.stride_px / grid_px for tap in taps]
        self._margin = margin
        total = sum(channels)
        self.dimensions = _dimensions(spec, total)
        rng = np.random.default_rng(spec.seed)
        if spec.reduction == "select":
            mixing = np.zeros((self.dimensions, total), np.float32)
            chosen = np.sort(rng.permutation(total)[: self.dimensions])
            mixing[np.arange(self.dimensions), chosen] = 1
        else:
            # The Q of a Gaussian matrix is uniformly distributed over bases, up to
            # signs, which no Mahalanobis distance sees.
            square = rng.standard_normal((total, self.dimensions))
            mixing = np.linalg.qr(square)[0].T.astype(np.float32)
        # Chosen channels are other ones for each tap; mixtures are made of all taps.
        self._selects = spec.reduction == "select"
        self._parts: list[Tensor] = []
        for n, end in zip(channels, np.cumsum(channels), strict=True):
            part = mixing[:, end - n : end]
            if self._selects:
                part = part[part.any(axis=1)]
            self._parts.append(torch.from_numpy(np.ascontiguousarray(part[:, :, None, None])))

    def forward(self, taps: list[Tensor]) -> Tensor:
        """Taps (N, C_i, h_i, w_i) to (N, dimensions, h, w) of the grid's core."""
        parts = []
        for tap, mixing, factor in zip(taps, self._parts, self._factors, strict=True):
            if not len(mixing):
                continue
            first = _first(factor, self._margin, "nearest")
            # A product with ones and zeros chooses, too: OpenVINO's own choice of channels
            # turned the whole map over first and took a fifth of the network's time.
            part = functional.conv2d(_inside(tap, first), mixing)
            parts.append(onto_grid(part, factor, "nearest", self._margin, first))
        return torch.cat(parts, dim=1) if self._selects else torch.stack(parts).sum(dim=0)


class PatchCoreEmbedding(Embedding):
    """Every tap averaged over its neighbourhood, then side by side on one grid's core.

    References
    ----------
    Roth et al., PatchCore, CVPR 2022, 3.1; zeros count at the border and
    upsampling is bilinear, as in Anomalib.
    """

    def __init__(
        self, taps: Sequence[Tap], grid_px: int, spec: PatchCoreSpec, margin: int = 0
    ) -> None:
        """`margin`: grid cells at each border that are not wanted."""
        super().__init__()
        self.dimensions = sum(tap.channels for tap in taps)
        self._factors = [tap.stride_px / grid_px for tap in taps]
        self._side = spec.neighbourhood
        self._margin = margin

    def forward(self, taps: list[Tensor]) -> Tensor:
        """Taps (N, C_i, h_i, w_i) to (N, sum of C_i, h, w) of the grid's core."""
        parts = []
        for tap, factor in zip(taps, self._factors, strict=True):
            first = _first(factor, self._margin, "bilinear")
            pooled = self._pooled(tap, first)
            parts.append(onto_grid(pooled, factor, "bilinear", self._margin, first))
        return torch.cat(parts, dim=1)

    def _pooled(self, tap: Tensor, first: int) -> Tensor:
        reach = self._side // 2
        if first < reach:
            pooled = functional.avg_pool2d(tap, self._side, stride=1, padding=reach)
            return _inside(pooled, first)
        return functional.avg_pool2d(_inside(tap, first - reach), self._side, stride=1)


def _first(factor: float, margin: int, mode: str) -> int:
    """How many pixels of a tap's border do not touch the core.

    The tap's stride is `factor` grid strides, and `margin` cells of the grid lie
    around the core. What is cut off early need not be pooled, mixed and resampled.
    """
    if factor <= 1:
        return margin * round(1 / factor)
    # Linear resampling looks half a pixel of the tap further out.
    return max(0, margin // round(factor) - (mode == "bilinear"))


def onto_grid(
    tap: Tensor, factor: float, mode: str = "bilinear", margin: int = 0, first: int = 0
) -> Tensor:
    """A tap without its `first` outermost pixels, on the grid's core.

    Parameters
    ----------
    factor
        The tap's stride in those of the grid.
    margin
        Cells of the grid around the core.
    """
    if factor == 1:
        return tap
    if factor < 1:
        return functional.avg_pool2d(tap, round(1 / factor))
    return _enlarged(tap, round(factor), mode, margin - first * round(factor))


def _enlarged(tap: Tensor, factor: int, mode: str, cut: int) -> Tensor:
    """(N, C, h, w) `factor` times as fine, without its `cut` outermost rows and columns.

    The same as torch's interpolation, as a transposed convolution: OpenVINO takes as long
    for both, but its interpolation cannot be compiled where it is told to keep to SSE4.1.
    """
    if mode == "nearest":
        taps, overlap = torch.ones(factor), 0
    else:
        # A triangle over both neighbours; beyond the border the outermost value goes on.
        taps, overlap = 1 - (2 * torch.arange(2 * factor) + 1 - 2 * factor).abs() / (2 * factor), 1
        tap = functional.pad(tap, (1, 1, 1, 1), mode="replicate")
    kernel = torch.outer(taps, taps).expand(tap.shape[1], 1, -1, -1)
    beyond = factor // 2 + factor if overlap else 0
    return functional.conv_transpose2d(
        tap, kernel, stride=factor, padding=beyond + cut, groups=tap.shape[1]
    )


def _inside(grid: Tensor, margin: int) -> Tensor:
    """(N, C, h, w) without its outermost rows and columns."""
    return grid[:, :, margin:-margin, margin:-margin] if margin else grid


class Extractor(nn.Module):
    """(N, C, S, S) uint8 tiles to (N, cells, cells, D) float32 features of their cores."""

    def __init__(
        self, backbone: Backbone, grid_px: int, method: MethodSettings, halo_px: int
    ) -> None:
        """Join a backbone and a method's embedding.

        Raises
        ------
        ConfigError
            If the halo is not a whole number of feature positions.
        """
        super().__init__()
        self.backbone = backbone
        if halo_px % grid_px:
            raise ConfigError(
                f"halo_px {halo_px} is not a multiple of {grid_px}, the distance of the feature "
                "positions (`backbone.grid_px`); use a multiple of it"
            )
        margin = halo_px // grid_px
        # The name is what keeps this part from being quantised.
        self.embedding = fitting_of(method).embedding(backbone.taps, grid_px, method, margin)
        self.dimensions = self.embedding.dimensions
        self.patch_stride_px = grid_px

    def forward(self, tiles: Tensor) -> Tensor:
        """See the class."""
        features: Tensor = self.embedding(self.backbone(tiles))
        return features.permute(0, 2, 3, 1)


def _dimensions(spec: PadimSpec, total: int) -> int:
    """How many of `total` channels a recipe keeps; 100 unless it says otherwise."""
    if spec.feature_ratio is not None:
        return max(1, math.floor(total * spec.feature_ratio))
    if spec.dimensions is None:
        return min(100, total)
    if spec.dimensions > total:
        raise ConfigError(
            f"method.dimensions {spec.dimensions} is more than the {total} channels of the tapped "
            f"layers; use at most {total}"
        )
    return spec.dimensions
