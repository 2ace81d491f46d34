"""What a trained method learns: from a tile and a frozen backbone's maps of it to one map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kenpin.compile.backbones import Backbone, Tap
from kenpin.compile.methods.extractor import onto_grid

__all__ = [
    "SETTLED_TILES",
    "Batches",
    "HeadPlan",
    "Joint",
    "MemberPlan",
    "Shown",
    "TrainedHead",
    "filled",
    "on_one_grid",
]

# Batches of tiles, and their taps.
Batches = Iterator[tuple[Tensor, list[Tensor]]]
# So many of the good tiles that are learned from, or all where there are fewer, evenly over all.
Shown = Callable[[int], Batches]
# That a head usually measures itself by.
SETTLED_TILES = 256


@dataclass(frozen=True)
class HeadPlan:
    """What a head is made for.

    backbone  as it comes, its weights fixed
    fresh     another network with these taps, its weights drawn at random: what a student is
    channels  of the camera
    size_px   side of a tile
    grid_px   pixels from one place of the map to the next
    halo_px   around the part of a tile that counts
    members   of an ensemble: what each of them is made for
    """

    backbone: Backbone
    fresh: Callable[[], Backbone]
    channels: int
    size_px: int
    grid_px: int
    halo_px: int
    members: tuple[MemberPlan, ...] = ()

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Of the backbone, shallow to deep."""
        return self.backbone.taps

    @property
    def cells(self) -> int:
        """Places along a whole tile's side."""
        return self.size_px // self.grid_px

    @property
    def margin(self) -> int:
        """Places of the map at each border that are not wanted."""
        return self.halo_px // self.grid_px

    def core(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) of whole tiles without the places that are not wanted."""
        m = self.margin
        return maps[:, :, m : maps.shape[2] - m, m : maps.shape[3] - m]


@dataclass(frozen=True)
class MemberPlan:
    """What a member of an ensemble is made for.

    numbers  of its taps among those of the ensemble
    """

    plan: HeadPlan
    numbers: tuple[int, ...]


class TrainedHead(nn.Module):
    """The part of a network that one training makes.

    forward: (N, C, S, S) uint8 tiles and the backbone's taps of them, to the map of the whole
    tile, (N, 1, cells, cells) float32, never negative, higher where it is worse. What is no number
    must come through: limits as in `no_number`, for a clamp's 0 would be perfectly good.

    What stays in float where the rest runs in INT8 lies in submodules called `embedding`.

    warm_up  steps before it says anything: looks at held-out tiles begin after them
    learns   whether steps make it any better; what does not is looked at once
    """

    warm_up: int = 0
    learns: bool = True

    @abstractmethod
    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:
        """See the class."""

    @abstractmethod
    def learn(
        self, tiles: Tensor, taps: list[Tensor], optimizers: list[torch.optim.Optimizer], step: int
    ) -> None:
        """One step of training.

        Parameters
        ----------
        step
            Counted from 0: whoever draws at random seeds a generator of its own by it, so that a
            training that was interrupted goes on as if it had not been.
        """

    def settle(self, shown: Shown) -> None:
        """Take what is measured and not learned, in evaluation mode, before each look."""

    def measure(self, held: Batches) -> None:
        """Take the measure of good tiles that nothing was learned from, after it has settled."""

    @abstractmethod
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """What `learn` is given, made anew."""


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step downhill."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def filled(rows: Tensor, count: int) -> Tensor:
    """(count, D) of fewer rows: a network has one shape; the first stands in the places left."""
    return torch.cat([rows, rows[:1].expand(count - len(rows), -1)])


def on_one_grid(maps: Sequence[Tensor], taps: Sequence[Tap], grid_px: int) -> list[Tensor]:
    """Each tap's own map on the grid of the joint one."""
    return [
        onto_grid(found, tap.stride_px / grid_px) for found, tap in zip(maps, taps, strict=True)
    ]


class _CoreMap(nn.Module):
    """Maps of whole tiles to those of their cores, each in its own measure."""

    def __init__(self, margin: int, scales: Sequence[float]) -> None:
        super().__init__()
        self._margin = margin
        factors = torch.tensor([1 / scale for scale in scales], dtype=torch.float32)
        self.register_buffer("factors", factors.view(1, -1, 1, 1), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        m = self._margin
        core = maps[:, :, m : maps.shape[2] - m, m : maps.shape[3] - m]
        return core * self.get_buffer("factors")


class Joint(nn.Module):
    """A backbone and some heads, side by side: (N, C, S, S) uint8 to (N, cells, cells, heads).

    scales  what of each head's map counts as 1
    """

    def __init__(
        self, backbone: Backbone, heads: Sequence[TrainedHead], margin: int, scales: Sequence[float]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(heads)
        # The name is what keeps this part from being quantised.
        self.embedding = _CoreMap(margin, scales)

    def forward(self, tiles: Tensor) -> Tensor:
        """See the class."""
        taps = self.backbone(tiles)
        maps = [head(tiles, taps) for head in self.heads]
        joined: Tensor = self.embedding(torch.cat(maps, dim=1) if len(maps) > 1 else maps[0])
        return joined.permute(0, 2, 3, 1)
