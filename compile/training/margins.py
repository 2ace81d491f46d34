"""Losses of deep metric learning: what pulls one class together and pushes classes apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.config.trained import MetricLoss

__all__ = ["MARGINS", "SCALES", "MarginLoss"]

# Each paper's own margin and scale; of SphereFace a smaller one than its 4, which does not
# converge from scratch without its annealing.
MARGINS: dict[MetricLoss, float] = {
    "arcface": 0.5,
    "cosface": 0.35,
    "sphereface": 2,
    "l2_softmax": 0.0,
    "center": 0.0,
}
SCALES: dict[MetricLoss, float] = {
    "arcface": 30.0,
    "cosface": 30.0,
    "sphereface": 30.0,
    "l2_softmax": 16.0,
    "center": 1.0,
}
# Wen et al., section 4.1: what the distance to the centres weighs beside the softmax.
CENTER_WEIGHT = 0.003
# An angle's slope is infinite where its cosine is 1.
ALMOST_ONE = 1 - 1e-6


class MarginLoss(nn.Module):
    """Embeddings and their classes to a loss; it learns a direction for each class.

    References
    ----------
    arcface     Deng et al., CVPR 2019 (arXiv:1801.07698), eq. 3
    cosface     Wang et al., CVPR 2018 (arXiv:1801.09414), eq. 4
    sphereface  Liu et al., CVPR 2017 (arXiv:1704.08063), eq. 7; embeddings are of one length, too
    l2_softmax  Ranjan et al., 2017 (arXiv:1703.09507), eq. 3
    center      Wen et al., ECCV 2016, eq. 5; centres learn by the same descent
    """

    def __init__(
        self,
        loss: MetricLoss,
        dimensions: int,
        classes: int,
        margin: float | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self._loss = loss
        self._margin = MARGINS[loss] if margin is None else margin
        self._scale = SCALES[loss] if scale is None else scale
        self.weights = nn.Parameter(torch.randn(classes, dimensions) / dimensions**0.5)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.centers = nn.Parameter(torch.zeros(classes, dimensions))

    def forward(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        """(N, E) embeddings and (N,) classes to one number."""
        if self._loss == "center":
            plain = functional.linear(embeddings, self.weights, self.bias)
            off = (embeddings - self.centers[classes]).square().sum(dim=1).mean()
            return functional.cross_entropy(plain, classes) + 0.5 * CENTER_WEIGHT * off
        unit = functional.normalize(embeddings, dim=1)
        if self._loss == "l2_softmax":
            logits = functional.linear(self._scale * unit, self.weights, self.bias)
            return functional.cross_entropy(logits, classes)
        cosine = unit @ functional.normalize(self.weights, dim=1).T
        own = functional.one_hot(classes, len(self.weights)).bool()
        harder = torch.where(own, self._harder(cosine), cosine)
        return functional.cross_entropy(self._scale * harder, classes)

    def _harder(self, cosine: Tensor) -> Tensor:
        """The own class's cosine, with the margin that it must overcome."""
        if self._loss == "cosface":
            return cosine - self._margin
        angle = torch.acos(cosine.clamp(-ALMOST_ONE, ALMOST_ONE))
        if self._loss == "arcface":
            # Beyond pi the cosine would rise again: there it goes on falling.
            return torch.where(
                angle + self._margin < math.pi,
                torch.cos(angle + self._margin),
                cosine - math.sin(math.pi - self._margin) * self._margin,
            )
        times = self._margin
        turn = torch.floor(angle * times / math.pi)
        return (1 - 2 * (turn % 2)) * torch.cos(times * angle) - 2 * turn
