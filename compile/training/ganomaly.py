"""GANomaly: a tile is encoded, drawn again and encoded again; what is not good comes back changed.

Akcay, Atapour-Abarghouei and Breckon, GANomaly: Semi-Supervised Anomaly Detection via Adversarial
Training, ACCV 2018 (arXiv:1805.06725). The paper gives an image's score; where in the tile is told
by what was drawn differently.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kenpin.compile.backbones.base import centred
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.head import HeadPlan, TrainedHead, descend
from kenpin.compile.training.no_number import at_most
from kenpin.config.trained import GanomalySpec

__all__ = ["GANOMALY", "GanomalyHead"]

# Section 4: what the losses weigh, and Adam's moments.
ADVERSARIAL, CONTEXT, LATENT = 1.0, 50.0, 1.0
BETAS = (0.5, 0.999)
SMALLEST_SIDE = 4
WIDEST = 128
SLOPE = 0.2
SMALLEST = 1e-6


def _halvings(size_px: int) -> int:
    """How often a tile is halved: to 4 px, or to the first odd side."""
    count, side = 0, size_px
    while side % 2 == 0 and side > SMALLEST_SIDE:
        count, side = count + 1, side // 2
    return count


class _TileEncoder(nn.Module):
    """Halved again and again, and then a vector: the features before it are the discriminator's."""

    def __init__(self, inside: int, width: int, outside: int, size_px: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        count = _halvings(size_px)
        for number in range(count):
            wide = min(WIDEST, width * 2**number)
            stages.append(nn.Conv2d(inside, wide, 4, stride=2, padding=1, bias=number == 0))
            if number:
                stages.append(nn.BatchNorm2d(wide))
            stages.append(nn.LeakyReLU(SLOPE))
            inside = wide
        self.features = nn.Sequential(*stages)
        self.last = nn.Conv2d(inside, outside, size_px // 2**count)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.features(x))
        return found


class _TileDecoder(nn.Module):
    """A vector to a tile, its greys around zero."""

    def __init__(self, latent: int, width: int, channels: int, size_px: int) -> None:
        super().__init__()
        count = _halvings(size_px)
        wide = [min(WIDEST, width * 2**n) for n in range(count)]
        stages: list[nn.Module] = [
            nn.ConvTranspose2d(latent, wide[-1], size_px // 2**count, bias=False),
            nn.BatchNorm2d(wide[-1]),
            nn.ReLU(),
        ]
        for number in reversed(range(1, count)):
            stages += [
                nn.ConvTranspose2d(wide[number], wide[number - 1], 4, 2, 1, bias=False),
                nn.BatchNorm2d(wide[number - 1]),
                nn.ReLU(),
            ]
        stages += [nn.ConvTranspose2d(wide[0], channels, 4, 2, 1), nn.Tanh()]
        self.stages = nn.Sequential(*stages)

    def forward(self, z: Tensor) -> Tensor:
        # Greys lie between -0.5 and 0.5.
        found: Tensor = 0.5 * self.stages(z)
        return found


class _Changed(nn.Module):
    """How far apart both codes are, and where the tile was drawn differently."""

    def __init__(self, plan: HeadPlan) -> None:
        super().__init__()
        self._grid_px, self._margin = plan.grid_px, plan.margin

    def forward(self, grey: Tensor, drawn: Tensor, code: Tensor, again: Tensor) -> Tensor:
        """(N, 1, cells, cells), whose highest place in the core is the paper's score, eq. 6."""
        score = (code - again).abs().mean(dim=(1, 2, 3), keepdim=True)
        off = (grey - drawn).abs().mean(dim=1, keepdim=True)
        places = functional.avg_pool2d(off, self._grid_px)
        m = self._margin
        core = places[:, :, m : places.shape[2] - m, m : places.shape[3] - m]
        highest = core.amax(dim=(2, 3), keepdim=True) + SMALLEST
        return at_most(places / highest, 1) * score


class GanomalyHead(TrainedHead):
    """Generator and discriminator; the box runs the generator alone, and no backbone."""

    def __init__(self, plan: HeadPlan, spec: GanomalySpec) -> None:
        super().__init__()
        size, channels, width = plan.size_px, plan.channels, spec.width
        self._channels, self._rate = channels, spec.rate
        self.encoder = _TileEncoder(channels, width, spec.latent, size)
        self.decoder = _TileDecoder(spec.latent, width, channels, size)
        self.again = _TileEncoder(channels, width, spec.latent, size)
        self.critic = _TileEncoder(channels, width, 1, size)
        self.embedding = _Changed(plan)

    def _drawn(self, tiles: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The tile, the tile drawn again, and the codes of both."""
        grey = centred(tiles)[:, : self._channels]
        code = self.encoder(grey)
        drawn = self.decoder(code)
        return grey, drawn, code, self.again(drawn)

    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:  # noqa: ARG002
        """See `TrainedHead`."""
        found: Tensor = self.embedding(*self._drawn(tiles))
        return found

    def learn(
        self,
        tiles: Tensor,
        taps: list[Tensor],  # noqa: ARG002
        optimizers: list[torch.optim.Optimizer],
        step: int,  # noqa: ARG002
    ) -> None:
        """See `TrainedHead`: eq. 5, then drawn and real tiles are told apart."""
        grey, drawn, code, again = self._drawn(tiles)
        seen, fooled = self.critic.features(grey), self.critic.features(drawn)
        loss = (
            ADVERSARIAL * (seen - fooled).square().mean()
            + CONTEXT * (grey - drawn).abs().mean()
            + LATENT * (code - again).square().mean()
        )
        descend(loss, optimizers[0])
        real, made = (self.critic(one).flatten() for one in (grey, drawn.detach()))
        bce = functional.binary_cross_entropy_with_logits
        descend(bce(real, torch.ones_like(real)) + bce(made, torch.zeros_like(made)), optimizers[1])

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`: the generator's, and the discriminator's."""
        generator = [
            *self.encoder.parameters(),
            *self.decoder.parameters(),
            *self.again.parameters(),
        ]
        return [
            torch.optim.Adam(own, self._rate, betas=BETAS)
            for own in (generator, list(self.critic.parameters()))
        ]


# The workstation's half of the method `ganomaly`.
GANOMALY = MapFitting(GanomalyHead)
