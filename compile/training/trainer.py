"""One training: until nothing gets better, or its steps or minutes are over.

It can be interrupted anywhere and goes on from where it was last written down, to the same bits:
what a step sees and draws depends on its number alone.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kenpin.compile.backbones import Backbone
from kenpin.compile.metrics.scores import auroc
from kenpin.compile.training.checkpoint import load_checkpoint, save_checkpoint
from kenpin.compile.training.drawn import drawn_into
from kenpin.compile.training.head import Batches, TrainedHead
from kenpin.compile.training.pool import Chosen, Pool
from kenpin.config.errors import ConfigError
from kenpin.config.trained import TrainedSpec

__all__ = ["Learned", "Trainer", "TrainingLook"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Clock = Callable[[], float]
# What a training is ended by.
Ended = Literal["no better", "steps", "minutes"]

# A map's measure is what the highest places of so many of the held-out good tiles stay below.
MEASURE_QUANTILE = 0.9
# Of what a training draws at random.
ORDER, TWINS = 0, 1


@dataclass(frozen=True, slots=True)
class TrainingLook:
    """Where a training stood when it was written down, and mostly looked at.

    left_s      that it still takes at most
    separation  how well twins are told from good tiles, at its best so far: AUROC; None where
                nobody has looked yet
    """

    step: int
    seconds: float
    left_s: float
    separation: float | None

    def __str__(self) -> str:
        told = "" if self.separation is None else f"AUROC of twins {self.separation:.3f}, "
        return f"step {self.step}, {told}{self.left_s / 60:.1f} min left at most"


@dataclass(frozen=True, slots=True)
class Learned:
    """A training that has ended.

    scale       the 0.9 quantile of held-out good tiles' highest places, which counts as 1
    steps       that were taken, and after which of them it was the best
    separation  AUROC of twins against the good tiles they were drawn into, held-out ones
    ended       by what
    seconds     that it took
    """

    head: TrainedHead
    scale: float
    steps: int
    best: int
    separation: float
    ended: Ended
    seconds: float


@dataclass(frozen=True, order=True, slots=True)
class _Quality:
    """How well twins stand out: told apart first, and how far where that is the same."""

    separation: float
    distance: float


@dataclass(frozen=True)
class Trainer:
    """What one training of a head needs.

    margin  places of the map at each border that do not count
    file    where its checkpoint lies
    to_end  it takes all of its steps, and is looked at after the last one alone
    clock   seconds, monotonic
    """

    backbone: Backbone
    pool: Pool
    chosen: Chosen
    spec: TrainedSpec
    halo_px: int
    margin: int
    file: Path
    to_end: bool = False
    clock: Clock = time.monotonic

    def taken(self) -> int:
        """Steps that are behind it already, from a training that was interrupted."""
        saved = self._saved()
        return 0 if saved is None else int(saved["counts"][0])

    def train(self, head: TrainedHead, on_look: Callable[[TrainingLook], None]) -> Learned:
        """Train a head, or go on with it, and leave it as it was at its best.

        Raises
        ------
        ConfigError
            If its time was over before it was of any use.
        """
        spec = self.spec
        good = self.pool.tiles[self.chosen.check]
        twins = drawn_into(good, spec.twins, self.halo_px, self._random(TWINS))
        every = spec.every if head.learns else 1
        state = _State(head)
        if (saved := self._saved()) is not None:
            state.take(saved)
            if self.to_end and state.best_step != spec.steps:
                # It was looked at where it was to end before.
                state.forget_looks()
        begun = self.clock() - state.seconds
        while (ended := self._ended(head, state)) is None:
            head.train()
            for _ in range(min(every - state.step % every, spec.steps - state.step)):
                self._step(head, state)
                state.seconds = self.clock() - begun
                if self._is_late(state):
                    break
            if state.step == spec.steps if self.to_end else state.step % every == 0:
                self._look(head, state, good, twins)
            state.seconds = self.clock() - begun
            save_checkpoint(self.file, state.tree())
            on_look(self._stands(state))
        if state.step % every and not self.to_end:
            # Not in the checkpoint: a training that is given more would not have looked here.
            self._look(head, state, good, twins)
            on_look(self._stands(state))
        if not state.best_step:
            raise ConfigError(self._of_no_use(head, state, ended))
        head.load_state_dict(state.best)
        head.eval()
        peaks = self._maps(head, self.pool.tiles[self.chosen.measure]).max(axis=(1, 2))
        scale = float(np.quantile(peaks, MEASURE_QUANTILE))
        # A head that says 0 everywhere has no measure, and needs none.
        scale = scale if scale > 0 and math.isfinite(scale) else 1.0
        separation, seconds = state.quality.separation, state.seconds
        return Learned(head, scale, state.step, state.best_step, separation, ended, seconds)

    def _look(self, head: TrainedHead, state: _State, good: U8, twins: U8) -> None:
        """See how good it is by now, unless it only prepares."""
        if state.step <= head.warm_up:
            return
        head.eval()
        head.settle(self._shown)
        head.measure(self._batches(self.pool.tiles, self.chosen.measure))
        state.note(self._quality(head, good, twins))

    def _saved(self) -> dict[str, Any] | None:
        """What it goes on from: what was saved, if it would have come by that with its settings.

        How long it may take is not in its digest, so that it can be given more.
        """
        saved = load_checkpoint(self.file)
        if saved is None:
            return None
        counts: list[int] = [*saved["counts"], saved["longest"]]
        step, _, waited, longest = counts
        # A wait that ended with something better must have been shorter than what ends a training.
        patience = self.spec.patience
        comes_by = step <= self.spec.steps and waited <= patience and longest < patience
        return saved if comes_by else None

    def _stands(self, state: _State) -> TrainingLook:
        left_s = self._left(state)
        separation = state.quality.separation if state.best_step else None
        return TrainingLook(state.step, state.seconds, left_s, separation)

    def _ended(self, head: TrainedHead, state: _State) -> Ended | None:
        if state.waited >= self.spec.patience or (state.best_step and not head.learns):
            return "no better"
        if state.step >= self.spec.steps:
            return "steps"
        return "minutes" if self._is_late(state) else None

    def _is_late(self, state: _State) -> bool:
        return state.seconds >= 60 * self.spec.minutes

    def _of_no_use(self, head: TrainedHead, state: _State, ended: str) -> str:
        """Why nothing was learnt, and what to do."""
        name = self.spec.name
        if state.step > head.warm_up:
            self.file.unlink(missing_ok=True)
            rate = "method.rate" if hasattr(self.spec, "rate") else "rate of a member"
            return (
                f"method {name}: the training diverged: at none of its looks within {state.step} "
                f"steps the map held numbers alone; set a lower {rate}"
            )
        remedy = "minutes, and the same command goes on" if ended == "minutes" else "steps"
        return (
            f"method {name}: the training ended by its {ended} after {state.step} steps, of which "
            f"the first {head.warm_up} only prepare; raise method.{remedy}"
        )

    def _left(self, state: _State) -> float:
        """Seconds that it still takes at most."""
        steps_s = state.seconds / state.step * (self.spec.steps - state.step)
        return max(0.0, min(60 * self.spec.minutes - state.seconds, steps_s))

    def _step(self, head: TrainedHead, state: _State) -> None:
        tiles = torch.from_numpy(self.pool.tiles[self._batch(state.step)])
        with torch.no_grad():
            taps = self.backbone(tiles)
        head.learn(tiles, taps, state.optimizers, state.step)
        state.step += 1

    def _batch(self, step: int) -> NDArray[np.intp]:
        """Numbers of the tiles of a step: each once in every round, in another order."""
        learn, size = self.chosen.learn, self.spec.batch
        first = step * size
        places = np.arange(first, first + size)
        rounds = places // len(learn)
        found = np.empty(size, np.intp)
        for number in np.unique(rounds):
            order = self._random(ORDER, int(number)).permutation(len(learn))
            own = rounds == number
            found[own] = learn[order[places[own] % len(learn)]]
        return found

    def _random(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.spec.seed, *stream])

    def _shown(self, tiles: int) -> Batches:
        """See `Shown`."""
        learn = self.chosen.learn
        count = min(tiles, len(learn))
        return self._batches(self.pool.tiles, learn[np.arange(count) * len(learn) // count])

    def _batches(self, tiles: U8, numbers: NDArray[np.intp] | None = None) -> Batches:
        """All tiles, or those of some numbers."""
        some = np.arange(len(tiles)) if numbers is None else numbers
        for start in range(0, len(some), self.spec.batch):
            part = torch.from_numpy(tiles[some[start : start + self.spec.batch]])
            # Around the yield it would hold for whoever asks, too.
            with torch.no_grad():
                taps = self.backbone(part)
            yield part, taps

    def _quality(self, head: TrainedHead, good: U8, twins: U8) -> _Quality:
        scores = [self._maps(head, tiles).max(axis=(1, 2)) for tiles in (good, twins)]
        together = np.concatenate(scores)
        if not np.isfinite(together).all():
            return _Quality(0.0, -math.inf)
        bad = np.repeat([False, True], [len(part) for part in scores])
        spread = float(scores[0].std()) or 1.0
        apart = (float(np.median(scores[1])) - float(np.median(scores[0]))) / spread
        return _Quality(round(auroc(together.astype(np.float64), bad), 4), apart)

    def _maps(self, head: TrainedHead, tiles: U8) -> F32:
        """(N, cells, cells) of the tiles' cores, unscaled."""
        m = self.margin
        found = []
        with torch.no_grad():
            for part, taps in self._batches(tiles):
                whole: Tensor = head(part, taps)[:, 0]
                found.append(whole[:, m : whole.shape[1] - m, m : whole.shape[2] - m].numpy())
        return np.concatenate(found)


class _State:
    """Where a training stands: all that a checkpoint holds.

    waited   looks without getting better since it was at its best
    longest  of the waits before
    """

    def __init__(self, head: TrainedHead) -> None:
        self._head = head
        self.optimizers = head.optimizers()
        self.best = copy.deepcopy(head.state_dict())
        self.step, self.best_step, self.waited, self.longest = 0, 0, 0, 0
        self.seconds = 0.0
        self.quality = _Quality(-1.0, -math.inf)

    def forget_looks(self) -> None:
        """As if nobody had looked yet; what was learnt stays."""
        self.best_step, self.quality = 0, _Quality(-1.0, -math.inf)

    def note(self, quality: _Quality) -> None:
        """One look more: the best so far, or not."""
        # What is no number is no best, not even the first.
        if quality > self.quality and math.isfinite(quality.distance):
            self.longest = max(self.longest, self.waited)
            self.quality, self.best_step, self.waited = quality, self.step, 0
            self.best = copy.deepcopy(self._head.state_dict())
        else:
            self.waited += 1

    def tree(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "head": self._head.state_dict(),
            "best": self.best,
            "optimizers": [one.state_dict() for one in self.optimizers],
            "counts": [self.step, self.best_step, self.waited],
            "longest": self.longest,
            "seconds": self.seconds,
            "quality": [self.quality.separation, self.quality.distance],
        }

    def take(self, tree: dict[str, Any]) -> None:
        """As it was written."""
        self._head.load_state_dict(tree["head"])
        self.best = tree["best"]
        for own, saved in zip(self.optimizers, tree["optimizers"], strict=True):
            own.load_state_dict(saved)
        self.step, self.best_step, self.waited = tree["counts"]
        self.longest = tree["longest"]
        self.seconds = tree["seconds"]
        self.quality = _Quality(*tree["quality"])
