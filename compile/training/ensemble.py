"""Several methods, on one backbone or several, as one network with one map."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from kenpin.compile.methods.fitting import fitting_of
from kenpin.compile.methods.levels import gains
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.gaussian import GaussianHead
from kenpin.compile.training.head import Batches, HeadPlan, Shown, TrainedHead
from kenpin.compile.training.memory import MemoryHead
from kenpin.compile.training.no_number import larger
from kenpin.config.dfm import DfmSpec
from kenpin.config.ensemble import EnsembleSpec
from kenpin.config.errors import ConfigError
from kenpin.config.methods import MethodSettings, PadimSpec, PatchCoreSpec

__all__ = ["ENSEMBLE", "EnsembleHead"]

# A member's level is what one of so many good tiles passes, in one member or another.
PASSED = 0.01


class _Joined(nn.Module):
    """The members' maps, each in the measure of good tiles, as one."""

    factors: Tensor

    def __init__(self, members: int, join: str) -> None:
        super().__init__()
        self._join = join
        self.register_buffer("factors", torch.ones(members))

    def forward(self, maps: list[Tensor]) -> Tensor:
        scaled = [one * self.factors[number] for number, one in enumerate(maps)]
        if self._join == "max":
            return reduce(larger, scaled)
        return torch.stack(scaled).sum(dim=0)


class EnsembleHead(TrainedHead):
    """Each member learns by itself, from the same tiles; the box runs all of them."""

    def __init__(self, plan: HeadPlan, spec: EnsembleSpec) -> None:
        super().__init__()
        heads: list[TrainedHead] = []
        for own, one in zip(plan.members, spec.members, strict=True):
            with _told_of(len(heads)):
                heads.append(_head_of(one.method)(own.plan, one.method))
        self.warm_up = max(head.warm_up for head in heads)
        self.learns = any(head.learns for head in heads)
        self.members = nn.ModuleList(heads)
        self.embedding = _Joined(len(heads), spec.join)
        self._plan = plan
        self._counts = [len(head.optimizers()) for head in heads]

    def _seen(self, taps: list[Tensor]) -> Iterator[tuple[TrainedHead, list[Tensor]]]:
        """Each member, and what it looks at."""
        for head, own in zip(self.members, self._plan.members, strict=True):
            yield cast(TrainedHead, head), [taps[number] for number in own.numbers]

    def forward(self, tiles: Tensor, taps: list[Tensor]) -> Tensor:
        """See `TrainedHead`."""
        found: Tensor = self.embedding([head(tiles, own) for head, own in self._seen(taps)])
        return found

    def learn(
        self,
        tiles: Tensor,
        taps: list[Tensor],
        optimizers: list[torch.optim.Optimizer],
        step: int,
    ) -> None:
        """See `TrainedHead`."""
        first = 0
        for (head, own), count in zip(self._seen(taps), self._counts, strict=True):
            head.learn(tiles, own, optimizers[first : first + count], step)
            first += count

    def settle(self, shown: Shown) -> None:
        """See `TrainedHead`: each member by itself."""
        for number, head in enumerate(self.members):
            with _told_of(number):
                cast(TrainedHead, head).settle(partial(self._shown, shown, number))

    def _shown(self, shown: Shown, number: int, tiles: int) -> Batches:
        """What one member is shown."""
        own = self._plan.members[number].numbers
        return ((batch, [taps[n] for n in own]) for batch, taps in shown(tiles))

    def measure(self, held: Batches) -> None:
        """See `TrainedHead`: each member's map counts for less, the higher its good peaks reach.

        Of tiles that it remembers a member says less than of any other, and the more so the
        better it remembers: its measure must be that of tiles it has not seen.
        """
        peaks = []
        with torch.no_grad():
            for tiles, taps in held:
                maps = [self._plan.core(head(tiles, own)) for head, own in self._seen(taps)]
                peaks.append(torch.cat(maps, dim=1).amax(dim=(2, 3)).double().numpy())
        every = np.concatenate(peaks)
        found = gains(every, np.ones(len(every), bool), PASSED)
        self.embedding.factors.copy_(torch.from_numpy(found))

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """See `TrainedHead`: those of all members."""
        return [one for head in self.members for one in cast(TrainedHead, head).optimizers()]


@contextlib.contextmanager
def _told_of(number: int) -> Iterator[None]:
    """What a member complains of is told as that member's."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"method.members.{number}: {error}") from None


def _head_of(member: MethodSettings) -> Callable[[HeadPlan, Any], TrainedHead]:
    if isinstance(member, PatchCoreSpec):
        return MemoryHead
    if isinstance(member, PadimSpec | DfmSpec):
        return GaussianHead
    fitting = fitting_of(member)
    assert isinstance(fitting, MapFitting), "other members are a TrainedSpec each"
    return fitting.head


# The workstation's half of the method `ensemble`.
ENSEMBLE = MapFitting(EnsembleHead)
