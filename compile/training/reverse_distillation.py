"""Reverse distillation: a decoder gives a backbone's features back from a narrow summary of them.

Deng and Li, Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022
(arXiv:2201.10703). What is not good gets lost on its way through the summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones import Tap
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.head import HeadPlan, TrainedHead, descend, on_one_grid
from kenpin.compile.training.plain import Residual
from kenpin.config.errors import ConfigError
from kenpin.config.trained import ReverseDistillationSpec

__all__ = ["REVERSE_DISTILLATION", "ReverseHead"]

# Section 4.1 of the paper.
BETAS = (0.5, 0.999)


def _halved(inside: int, outside: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    ]


class _Summary(nn.Module):
    """All taps fused on a grid twice as coarse as the coarsest, and embedded: section 3.2."""

    def __init__(self, taps: Sequence[Tap], width: int) -> None:
        super().__init__()
        coarsest = taps[-1].stride_px
        self.ways = nn.ModuleList(
            nn.Sequential(*self._way(tap, coarsest), *_halved(tap.channels, width)) for tap in taps
        )
        self.narrow = nn.Sequential(
            nn.Conv2d(width * len(taps), width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.block = Residual(width)

    @staticmethod
    def _way(tap: Tap, coarsest: int) -> list[nn.Module]:
        found: list[nn.Module] = []
        for _ in range((coarsest // tap.stride_px).bit_length() - 1):
            found += _halved(tap.channels, tap.channels)
        return found

    def forward(self, maps: list[Tensor]) -> Tensor:
        parts = [way(one) for way, one in zip(self.ways, maps, strict=True)]
        found: Tensor = self.block(self.narrow(torch.cat(parts, dim=1)))
        return found


class _Doubled(nn.Module):
    """Twice as fine: a transposed convolution, then a residual block."""

    def __init__(self, inside: int, outside: int, times: int) -> None:
        super().__init__()
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(
                inside if number == 0 else outside, outside, 4, stride=2, padding=1, bias=False
            )
            for number in range(times)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(outside) for _ in range(times))
        self.block = Residual(outside)

    def forward(self, x: Tensor) -> Tensor:
        for up, norm in zip(self.up, self.norms, strict=True):
            x = functional.relu(norm(up(x)))
        found: Tensor = self.block(x)
        return found


class _Decoder(nn.Module):
    """The summary back to every tap, from deep to shallow."""

    def __init__(self, taps: Sequence[Tap], width: int) -> None:
        super().__init__()
        inside, stride = width, 2 * taps[-1].stride_px
        stages: list[nn.Module] = []
        reads: list[nn.Module] = []
        for tap in reversed(taps):
            times = (stride // tap.stride_px).bit_length() - 1
            stages.append(_Doubled(inside, tap.channels, times))
            # A block ends with no value below zero; features of a backbone may be negative.
            reads.append(nn.Conv2d(tap.channels, tap.channels, 1))
            inside, stride = tap.channels, tap.stride_px
        self.stages, self.reads = nn.ModuleList(stages), nn.ModuleList(reads)

    def forward(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for stage, read in zip(self.stages, self.reads, strict=True):
            x = stage(x)
            found.append(read(x))
        return found[::-1]


class _AnglesApart(nn.Module):
    """Angles between features and what was made of their summary."""

    def __init__(self, taps: Sequence[Tap], grid_px: int) -> None:
        super().__init__()
        self._taps, self._grid_px = tuple(taps), grid_px

    def forward(self, taught: list[Tensor], given: list[Tensor]) -> Tensor:
        """(N, 1, cells, cells): the sum of all layers, eq. 4."""
        found = on_one_grid(self.layers(taught, given), self._taps, self._grid_px)
        return torch.stack(found).sum(dim=0)

    def layers(self, taught: list[Tensor], given: list[Tensor]) -> list[Tensor]:
        """1 - cosine at each place, (N, 1, h_i, w_i) each, from half a squared distance."""
        return [
            0.5
            * (functional.normalize(one, dim=1) - functional.normalize(other, dim=1))
            .square()
            .sum(dim=1, keepdim=True)
            for one, other in zip(taught, given, strict=True)
        ]


class ReverseHead(TrainedHead):
    """Summary and decoder behind the backbone, which is the teacher and the encoder."""

    def __init__(self, plan: HeadPlan, spec: ReverseDistillationSpec) -> None:
        super().__init__()
        twice = 2 * plan.taps[-1].stride_px
        if plan.size_px % twice:
            raise ConfigError(
                f"tiles.size_px {plan.size_px} is not a multiple of {twice}: method "
                f"reverse_distillation halves the map of {plan.taps[-1].layer} once more; use a "
                "multiple of it"
            )
        for fine, coarse in pairwise(plan.taps):
            if fine.stride_px == coarse.stride_px and fine.channels != coarse.channels:
                raise ConfigError(
                    f"layers {fine.layer} and {coarse.layer} are both of stride {fine.stride_px}, "
                    f"with {fine.channels} and {coarse.channels} channels: method "
                    "reverse_distillation goes from one to the other by doubling the map; set "
                    "backbone.layers to one of them"
                )
        self.summary = _Summary(plan.taps, spec.width)
        self.decoder = _Decoder(plan.taps, spec.width)
        self.embedding = _AnglesApart(plan.taps, plan.grid_px)
        self._rate = spec.rate

    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:  # noqa: ARG002
        """See `TrainedHead`."""
        found: Tensor = self.embedding(taps, self._given(taps))
        return found

    def learn(
        self,
        tiles: Tensor,  # noqa: ARG002
        taps: list[Tensor],
        optimizers: list[torch.optim.Optimizer],
        step: int,  # noqa: ARG002
    ) -> None:
        """See `TrainedHead`: eq. 2, at each place as written, not over the flattened map."""
        apart = self.embedding.layers(taps, self._given(taps))
        descend(torch.stack([one.mean() for one in apart]).sum(), optimizers[0])

    def _given(self, taps: list[Tensor]) -> list[Tensor]:
        given: list[Tensor] = self.decoder(self.summary(taps))
        return given

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`."""
        return [torch.optim.Adam(self.parameters(), self._rate, betas=BETAS)]


# The workstation's half of the method `reverse_distillation`.
REVERSE_DISTILLATION = MapFitting(ReverseHead)
