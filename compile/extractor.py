"""The network that goes into the bundle: a backbone and the patch embedding."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones import Backbone
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import PadimSpec, PatchCoreSpec

__all__ = ["Extractor", "PadimEmbedding", "PatchCoreEmbedding"]


class PadimEmbedding(nn.Module):
    """Channels of all taps side by side on the finest tap's grid, then fewer of them.

    Reduction and upsampling are both linear and act on different axes, so each
    tap is reduced on its own, smaller grid first.

    References
    ----------
    Defard et al., PaDiM, ICPR 2021, 3.1; nearest upsampling and a random
    choice of channels as there and in Anomalib.
    """

    def __init__(self, channels: tuple[int, ...], spec: PadimSpec) -> None:
        super().__init__()
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
        self._selects = spec.reduction == "select"
        ends = np.cumsum(channels)
        self._parts: list[Tensor] = [
            torch.from_numpy(np.ascontiguousarray(mixing[:, end - n : end]))
            for n, end in zip(channels, ends, strict=True)
        ]

    def forward(self, taps: list[Tensor]) -> Tensor:
        """Taps (N, C_i, h_i, w_i) to (N, dimensions, h, w) of the finest."""
        size = taps[0].shape[2:]
        parts = []
        for tap, mixing in zip(taps, self._parts, strict=True):
            if self._selects:
                index = mixing.argmax(dim=1)[mixing.sum(dim=1) > 0]
                if not len(index):
                    continue
                part = tap.index_select(1, index)
            else:
                part = functional.conv2d(tap, mixing[:, :, None, None])
            parts.append(functional.interpolate(part, size=size, mode="nearest"))
        return torch.cat(parts, dim=1) if self._selects else torch.stack(parts).sum(dim=0)


class PatchCoreEmbedding(nn.Module):
    """Every tap averaged over its neighbourhood, then side by side on the finest grid.

    References
    ----------
    Roth et al., PatchCore, CVPR 2022, 3.1; zeros count at the border and
    upsampling is bilinear, as in Anomalib.
    """

    def __init__(self, channels: tuple[int, ...], spec: PatchCoreSpec) -> None:
        super().__init__()
        self.dimensions = sum(channels)
        self._side = spec.neighbourhood

    def forward(self, taps: list[Tensor]) -> Tensor:
        """Taps (N, C_i, h_i, w_i) to (N, sum of C_i, h, w) of the finest."""
        size = taps[0].shape[2:]
        parts = []
        for tap in taps:
            pooled = functional.avg_pool2d(tap, self._side, stride=1, padding=self._side // 2)
            if pooled.shape[2:] != size:
                pooled = functional.interpolate(
                    pooled, size=size, mode="bilinear", align_corners=False
                )
            parts.append(pooled)
        return torch.cat(parts, dim=1)


class Extractor(nn.Module):
    """(N, C, S, S) uint8 tiles to (N, cells, cells, D) float32 features of their cores."""

    def __init__(self, backbone: Backbone, method: PadimSpec | PatchCoreSpec, halo_px: int) -> None:
        """Join a backbone and a method's embedding.

        Raises
        ------
        ConfigError
            If the halo is not a whole number of feature positions.
        """
        super().__init__()
        channels = tuple(tap.channels for tap in backbone.taps)
        self.backbone = backbone
        # The name is what keeps this part from being quantised.
        self.embedding = (
            PadimEmbedding(channels, method)
            if isinstance(method, PadimSpec)
            else PatchCoreEmbedding(channels, method)
        )
        self.dimensions = self.embedding.dimensions
        self.patch_stride_px = backbone.taps[0].stride_px
        if halo_px % self.patch_stride_px:
            raise ConfigError(
                f"halo_px {halo_px} is not a multiple of {self.patch_stride_px}, the stride of "
                f"{backbone.taps[0].layer}; use a multiple of it"
            )
        self._margin = halo_px // self.patch_stride_px

    def forward(self, tiles: Tensor) -> Tensor:
        """See the class."""
        features: Tensor = self.embedding(self.backbone(tiles))
        if self._margin:
            m = self._margin
            features = features[:, :, m:-m, m:-m]
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
