"""Normalising flows: invertible steps from features to noise, whose likelihood is known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from kenpin.config.errors import ConfigError

__all__ = ["Coupling", "Flow", "Standardized", "joined_by_likelihood", "negative_log_likelihood"]

# The logarithm of a scale stays within this: features that no good tile has shown would
# otherwise be blown up beyond float32.
CLAMP = 2.0
# So little of what is joined is added to it: nothing, unless it is no number.
TRACE = 1e-30
# Makes the network of a coupling: channels in, channels out.
Subnet = Callable[[int, int], nn.Module]


class Standardized(nn.Module):
    """Each channel with mean 0 and deviation 1 over good tiles, as training has found them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to the same."""
        found: Tensor = self.norm(x)
        return found


class Coupling(nn.Module):
    """One half of the channels is scaled and shifted as the other half says.

    References
    ----------
    Dinh et al., Real NVP, ICLR 2017 (arXiv:1605.08803), eq. 7 and 8.
    """

    def __init__(
        self, channels: int, first: bool, subnet: Subnet, condition_channels: int = 0
    ) -> None:
        """`first`: whether the first half speaks; `condition_channels`: channels of a condition."""
        super().__init__()
        if channels < 2:
            raise ConfigError(
                "a flow needs two channels or more of each layer, as one half says how the other "
                f"changes; found {channels}; choose another backbone.name or backbone.layers"
            )
        self._cut = channels // 2
        self._first = first
        speaks = self._cut if first else channels - self._cut
        self._changes = channels - speaks
        self.subnet = subnet(speaks + condition_channels, 2 * self._changes)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) to the same, and (N, 1, h, w) the logarithm of its determinant."""
        low, high = x[:, : self._cut], x[:, self._cut :]
        speaks, changed = (low, high) if self._first else (high, low)
        asked = speaks if condition is None else torch.cat([speaks, condition], dim=1)
        said = self.subnet(asked)
        scale = CLAMP * torch.tanh(said[:, : self._changes] / CLAMP)
        changed = changed * torch.exp(scale) + said[:, self._changes :]
        parts = [speaks, changed] if self._first else [changed, speaks]
        return torch.cat(parts, dim=1), scale.sum(dim=1, keepdim=True)


class Flow(nn.Module):
    """Couplings one after the other, the halves speaking in turn.

    The paper's fixed random order of channels between couplings is left out: it costs INT8 more
    than it gains, see decision 72.
    """

    def __init__(self, channels: int, subnets: list[Subnet], condition_channels: int = 0) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(
            Coupling(channels, number % 2 == 0, subnet, condition_channels)
            for number, subnet in enumerate(subnets)
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) features to noise, and the logarithm of the determinant at each place."""
        total: Tensor | None = None
        for coupling in self.couplings:
            x, own = coupling(x, condition)
            total = own if total is None else total + own
        assert total is not None, "a flow has a coupling"
        return x, total


def negative_log_likelihood(noise: Tensor, log_det: Tensor) -> Tensor:
    """(N, 1, h, w), for each channel, without the constant of a Gaussian."""
    half_square = 0.5 * noise.square().sum(dim=1, keepdim=True)
    return (half_square - log_det) * (1 / noise.shape[1])


def joined_by_likelihood(maps: list[Tensor]) -> Tensor:
    """(N, 1, h, w): the negative logarithm of the mean of exp(-x) over several such maps.

    The means of likelihoods that FastFlow and CFLOW rank by, but without an end: what is
    unlikely can be told from what is more so. A sum of logarithms is ruled by the one map in which
    a flow has blown up features that it has not seen, as flows do with some of everything good.
    """
    each = torch.stack(maps)
    low = each.amin(dim=0)
    total = torch.exp(low - each).sum(dim=0)
    # A minimum and exp lose what is no number (see `no_number`); sums do not.
    return low - torch.log(total) + math.log(len(maps)) + TRACE * each.sum(dim=0)
