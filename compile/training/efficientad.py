"""EfficientAD: a small teacher, a student of it, and an autoencoder for what only the whole shows.

Batzner, Heckler and König, EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level
Latencies, WACV 2024 (arXiv:2303.14535). The teacher is distilled here, first of all, from the
recipe's backbone and on the good tiles and twins of them, where the paper has ImageNet; so there
are no foreign images to keep the student from learning too much, and that penalty is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones import Tap
from kenpin.compile.backbones.base import centred
from kenpin.compile.methods.extractor import onto_grid
from kenpin.compile.training.drawn import drawn_into
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.flow import Standardized
from kenpin.compile.training.head import SETTLED_TILES, HeadPlan, Shown, TrainedHead, descend
from kenpin.config.trained import EfficientAdSpec

__all__ = ["EFFICIENTAD", "EfficientAdHead"]

STRIDE_PX = 4
# Section 3.2: of all squared differences the largest share alone is learned from.
HARD_SHARE = 0.001
# Section 3.4: the quantile of good maps that becomes 1. The paper takes off their 0.9 quantile
# first; here that would make most good places the same, 0, and a threshold rests on them.
HIGH = 0.995
SMALLEST = 1e-12
DECAY = 1e-5
BOTTLENECK = 64
# Of what a step draws at random.
TWINS = 9


class _PatchDescription(nn.Module):
    """Table 6, PDN-S: what 33 px around a place look like, a value every 4 px."""

    def __init__(self, inside: int, width: int, outside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 4)
        self.conv2 = nn.Conv2d(width, 2 * width, 4)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.conv4 = nn.Conv2d(2 * width, outside, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.avg_pool2d(functional.relu(self.conv1(_around(x))), 2)
        x = functional.avg_pool2d(functional.relu(self.conv2(_around(x))), 2)
        found: Tensor = self.conv4(_around(functional.relu(self.conv3(x))))
        return found


def _around(x: Tensor) -> Tensor:
    """Padded so that a kernel of 4 leaves the size as it is."""
    return functional.pad(x, (1, 2, 1, 2))


class _Whole(nn.Module):
    """The tile through a narrow vector, and from it what the teacher would say: 3.3."""

    def __init__(self, inside: int, outside: int, size_px: int) -> None:
        super().__init__()
        side, width = size_px, 32
        down: list[nn.Module] = []
        while side % 2 == 0 and side > STRIDE_PX:
            down += [nn.Conv2d(inside, width, 4, stride=2, padding=1), nn.ReLU()]
            inside, side = width, side // 2
            width = 64
        down.append(nn.Conv2d(inside, BOTTLENECK, side))
        up: list[nn.Module] = [nn.ConvTranspose2d(BOTTLENECK, 64, side), nn.ReLU()]
        while side < size_px // STRIDE_PX:
            up += [nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1), nn.ReLU()]
            side *= 2
        up.append(nn.Conv2d(64, outside, 3, padding=1))
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.up(self.down(x))
        return found


class _Target(nn.Module):
    """What the teacher is distilled from: the taps mixed at random and standardised: 3.1."""

    mixing: Tensor

    def __init__(self, taps: Sequence[Tap], channels: int, seed: int) -> None:
        super().__init__()
        self._factors = [tap.stride_px / STRIDE_PX for tap in taps]
        total = sum(tap.channels for tap in taps)
        drawn = np.random.default_rng(seed).standard_normal((channels, total)) / total**0.5
        self.register_buffer("mixing", torch.from_numpy(drawn.astype(np.float32))[:, :, None, None])
        self.norm = Standardized(channels)

    def forward(self, taps: list[Tensor]) -> Tensor:
        parts = [onto_grid(tap, f) for tap, f in zip(taps, self._factors, strict=True)]
        found: Tensor = self.norm(functional.conv2d(torch.cat(parts, dim=1), self.mixing))
        return found


class _SquaresApart(nn.Module):
    """Both maps in the measure of good ones, and their mean."""

    high: Tensor

    def __init__(self, grid_px: int, maps: int) -> None:
        super().__init__()
        self._factor = STRIDE_PX / grid_px
        self.register_buffer("high", torch.ones(maps))

    def raw(self, pairs: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """(N, 1, S / 4, S / 4) mean squared difference of each pair."""
        return [(one - other).square().mean(dim=1, keepdim=True) for one, other in pairs]

    def forward(self, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        found = [one * (1 / self.high[n]) for n, one in enumerate(self.raw(pairs))]
        return onto_grid(torch.stack(found).mean(dim=0), self._factor)


class EfficientAdHead(TrainedHead):
    """Teacher, student and, unless it is left out, autoencoder."""

    def __init__(self, plan: HeadPlan, spec: EfficientAdSpec) -> None:
        super().__init__()
        self.warm_up = spec.distill_steps
        self._backbone = (plan.backbone,)
        self._halo_px, self._spec = plan.halo_px, spec
        inside, channels = plan.channels + 1, spec.features
        both = 2 if spec.autoencoder else 1
        self.target = _Target(plan.taps, channels, spec.seed)
        self.teacher = _PatchDescription(inside, spec.width, channels)
        self.student = _PatchDescription(inside, spec.width, both * channels)
        self.whole = _Whole(inside, channels, plan.size_px) if spec.autoencoder else None
        self.embedding = _SquaresApart(plan.grid_px, both)

    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:  # noqa: ARG002
        """See `TrainedHead`."""
        found: Tensor = self.embedding(self._pairs(centred(tiles)))
        return found

    def _pairs(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Teacher and student, and autoencoder and student."""
        channels = self._spec.features
        taught, learned = self.teacher(x), self.student(x)
        pairs = [(taught, learned[:, :channels])]
        if self.whole is not None:
            pairs.append((self.whole(x), learned[:, channels:]))
        return pairs

    def learn(
        self,
        tiles: Tensor,
        taps: list[Tensor],
        optimizers: list[torch.optim.Optimizer],
        step: int,
    ) -> None:
        """See `TrainedHead`: first the teacher, then its pupils."""
        if step < self.warm_up:
            self._distill(tiles, taps, optimizers[0], step)
            return
        x = centred(tiles)
        with torch.no_grad():
            taught = self.teacher(x)
        channels = self._spec.features
        learned = self.student(x)
        off = (taught - learned[:, :channels]).square().flatten()
        hard = off.topk(max(1, int(HARD_SHARE * len(off)))).values.mean()
        if self.whole is None:
            descend(hard, optimizers[1])
            return
        given = self.whole(x)
        whole = (taught - given).square().mean()
        alike = (given - learned[:, channels:]).square().mean()
        descend(hard + whole + alike, optimizers[1])

    def _distill(
        self, tiles: Tensor, taps: list[Tensor], optimizer: torch.optim.Optimizer, step: int
    ) -> None:
        spec = self._spec
        rng = np.random.default_rng([spec.seed, TWINS, step])
        drawn = torch.from_numpy(drawn_into(tiles.numpy(), spec.twins, self._halo_px, rng))
        with torch.no_grad():
            shown = self._backbone[0](drawn)
            both = [torch.cat([one, other]) for one, other in zip(taps, shown, strict=True)]
            wanted = self.target(both)
        said = self.teacher(centred(torch.cat([tiles, drawn])))
        descend((said - wanted).square().mean(), optimizer)

    def settle(self, shown: Shown) -> None:
        """See `TrainedHead`: a quantile of both maps, of the cores: borders would be most of it."""
        with torch.no_grad():
            maps = [
                self.embedding.raw(self._pairs(centred(tiles))) for tiles, _ in shown(SETTLED_TILES)
            ]
        m = -(-self._halo_px // STRIDE_PX)
        for number in range(len(self.embedding.high)):
            whole = [one[number] for one in maps]
            cores = [one[:, :, m : one.shape[2] - m, m : one.shape[3] - m] for one in whole]
            values = torch.cat([one.flatten() for one in cores]).numpy()
            self.embedding.high[number] = max(float(np.quantile(values, HIGH)), SMALLEST)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`: the teacher's, and its pupils'."""
        pupils = [*self.student.parameters()]
        if self.whole is not None:
            pupils += self.whole.parameters()
        rate = self._spec.rate
        return [
            torch.optim.Adam(self.teacher.parameters(), rate, weight_decay=DECAY),
            torch.optim.Adam(pupils, rate, weight_decay=DECAY),
        ]


# The workstation's half of the method `efficientad`.
EFFICIENTAD = MapFitting(EfficientAdHead)
