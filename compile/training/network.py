"""A network that is trained on the good images before it becomes a bundle's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kenpin.compile.good_images.images import GoodImages
from kenpin.compile.good_images.places import InspectedPlaces
from kenpin.compile.good_images.walk import GoodWalk
from kenpin.compile.networks.quantize import convert
from kenpin.compile.networks.tiles_apart import WholeTiles
from kenpin.compile.progress import Steps
from kenpin.compile.training.claim import claim, remove
from kenpin.compile.training.drawn import expect_room
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.head import Joint, TrainedHead
from kenpin.compile.training.plan import plan_for
from kenpin.compile.training.pool import Chosen, Pool, choose, fold_of, gather, held_out
from kenpin.compile.training.trainer import Learned, Trainer, TrainingLook
from kenpin.config.errors import ConfigError
from kenpin.config.methods import MethodSettings
from kenpin.config.recipe import Recipe
from kenpin.config.trained import TrainedSpec
from kenpin.runtime.judging.lamp import Lamp

__all__ = ["TrainedNetwork"]

Index = NDArray[np.intp]
U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# Beside the bundles, until the one that they are for is sealed.
TRAININGS = ".trainings"
# So much less than the bundle's network, by AUROC of twins, a fold's may have learned unremarked.
WORSE = 0.1
# Without a terminal a line in so many seconds says how far a training is.
REPORT_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class _Trained:
    """What came out: the bundle's network, and one for each fold of the good images."""

    pool: Pool
    whole: Learned
    folds: list[Learned]


class TrainedNetwork:
    """A backbone as it comes and what is trained beside it; see `kenpin.compile.networks.network`.

    Raises
    ------
    ConfigError
        If tiles, layers and method do not fit each other, or the weights cannot be had.
    """

    dimensions = 1

    def __init__(self, recipe: Recipe, weights: Path | None, fitting: MapFitting) -> None:
        method = recipe.method
        assert isinstance(method, TrainedSpec), "a MapFitting belongs to a TrainedSpec"
        self._recipe, self._fitting = recipe, fitting
        self._spec = method.without_files()
        for setting, twins in self._spec.all_twins().items():
            expect_room(setting, twins, recipe.tiles.core_px)
        self.method: MethodSettings = self._spec
        planned = plan_for(recipe, method, weights)
        self.plan = planned.plan
        self.name = planned.name
        self.layers = planned.layers
        self.weights_sha256 = planned.weights_sha256
        self.patch_stride_px = planned.plan.grid_px
        self._trained: _Trained | None = None
        # What it cannot be made for is told before images are read.
        warm_up = self._new_head().warm_up
        if warm_up >= self._spec.steps:
            raise ConfigError(
                f"method {method.name}: of {method.steps} steps the first {warm_up} only prepare; "
                "raise method.steps"
            )

    def _new_head(self) -> TrainedHead:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._spec.seed)
            return self._fitting.head(self.plan, self._spec)

    def fitting_batch(self, wanted: int) -> int:
        """See `FeatureNetwork`: any."""
        return wanted

    def learn(
        self, images: GoodImages, walk: GoodWalk, lamp: Lamp, steps: Steps, store: Path
    ) -> None:
        """All trainings: of all good images, and for each fold of them without it.

        What was interrupted goes on from `store`; `forget` removes what lies there.

        Raises
        ------
        ConfigError
            If another build of the same recipe trains there.
        """
        spec = self._spec
        with steps.step("cut tiles to train on") as progress:
            pool = gather(images, walk, lamp, spec.seed, progress)
        folder = store / TRAININGS / self._digest(images, walk.places)
        claim(folder)
        of_part = fold_of(len(images.parts), spec.folds)
        folds = int(of_part.max()) + 1
        held = held_out(np.unique(pool.parts), of_part, spec.seed)
        every = choose(pool, np.empty(0, np.intp), held, spec.seed)
        # What would leave one of them nothing to learn from is told before the first one's minutes.
        chosen = [
            choose(pool, np.flatnonzero(of_part == fold), held, spec.seed) for fold in range(folds)
        ]
        # Without parts that are held out of all trainings it would learn what the first one does.
        fresh = [not np.array_equal(one.learn, every.learn) for one in chosen]
        count = 1 + sum(fresh)
        steps.say(
            f"{count} trainings, the first of {spec.minutes:g} min at most, all of about "
            f"{count * spec.minutes:g} at most, {len(pool.tiles)} tiles; interrupted, the same "
            "command goes on with them"
        )
        name = f"train {spec.name}, {{}} of {count}".format
        whole = self._train(self._trainer(pool, every, spec, folder / "whole.pt"), name(1), steps)
        if whole.ended == "minutes":
            steps.say(
                f"  ended by minutes, another run ends elsewhere; method.steps = {whole.steps} "
                "takes as long at most, and gives the same each time"
            )
        # What a network says of tiles that it has not seen changes with every step that it takes:
        # those of the folds take as many, whatever would be their best or however long it takes.
        same = spec.model_copy(update={"steps": whole.best, "minutes": math.inf})
        more = {
            fold: self._trainer(
                pool, chosen[fold], same, folder / f"without-{fold}.pt", to_end=True
            )
            for fold in np.flatnonzero(fresh)
        }
        if more:
            left = sum(whole.best - one.taken() for one in more.values())
            left_min = left * whole.seconds / whole.steps / 60
            steps.say(
                f"  {len(more)} more of {whole.best} steps each: about {left_min:.1f} min at most"
            )
        less = [whole] * folds
        for number, (fold, one) in enumerate(more.items(), 2):
            less[fold] = self._train(one, name(number), steps)
        worst = min(one.separation for one in less)
        if worst < whole.separation - WORSE:
            steps.say(
                f"warning: a network that learned from a part of the good images tells twins from "
                f"good tiles with AUROC {worst:.3f}, the bundle's own with {whole.separation:.3f}: "
                "the threshold rests on what the former says; give more good images, or set "
                "method.folds higher, so that it learns from more of them"
            )
        self._folder = folder
        self._trained = _Trained(pool, whole, less)

    def forget(self) -> None:
        """Remove what interrupted trainings would have gone on from."""
        remove(self._folder)
        # Others may be under way beside it.
        with contextlib.suppress(OSError):
            self._folder.parent.rmdir()

    def _trainer(
        self, pool: Pool, chosen: Chosen, spec: TrainedSpec, file: Path, *, to_end: bool = False
    ) -> Trainer:
        plan = self.plan
        return Trainer(plan.backbone, pool, chosen, spec, plan.halo_px, plan.margin, file, to_end)

    def _train(self, trainer: Trainer, name: str, steps: Steps) -> Learned:
        head = self._new_head()
        reported_s = 0.0
        with steps.step(name) as progress:

            def show(look: TrainingLook) -> None:
                nonlocal reported_s
                progress(round(look.seconds), round(look.seconds + look.left_s))
                if not steps.live and look.seconds >= reported_s + REPORT_EVERY_S:
                    reported_s = look.seconds
                    steps.say(f"{name}: {look}")

            learned = trainer.train(head, show)
            progress(learned.steps, learned.steps)
        steps.say(
            f"  best after {learned.best} of {learned.steps} steps, twins told from good tiles "
            f"with AUROC {learned.separation:.3f}; ended by: {learned.ended}"
        )
        return learned

    def _digest(self, images: GoodImages, places: InspectedPlaces | None) -> str:
        """Of all that a training depends on, but for how long it may take."""
        recipe = self._recipe
        method = self._spec.model_dump(mode="json", exclude={"minutes", "steps", "patience"})
        identity = {
            "method": method,
            "backbone": recipe.backbone.model_dump(mode="json", exclude={"weights"}),
            "weights": self.weights_sha256,
            "frame": recipe.frame.model_dump(mode="json"),
            "tiles": recipe.tiles.model_dump(mode="json"),
            "images": [images.digest, recipe.images.turn_deg, recipe.images.joined],
            "augment": [recipe.images.model_dump(mode="json")["augment"], recipe.images.seed],
            "parts": [list(images.parts.names), images.parts.of_web.tolist()],
            "inspected": None if places is None else places.digest,
            "light": recipe.image_quality.model_dump(mode="json"),
            "programs": [version("kenpin"), torch.__version__],
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def model(self, batch: int) -> Any:
        """See `FeatureNetwork`: of the network that was trained on all good images."""
        return self._converted(self.joint(), batch)

    def apart(self, batch: int) -> Any:
        """The networks of the folds as one, which gives a map of each."""
        return self._converted(self.joint(apart=True), batch)

    @property
    def learned(self) -> tuple[TrainedHead, Pool]:
        """What was trained on all good images, and on which tiles."""
        return self._done.whole.head, self._done.pool

    def joint(self, *, apart: bool = False, border: bool = False) -> Joint:
        """The same in torch, in evaluation mode; `border`: of whole tiles, not of cores."""
        done = self._done
        learned = done.folds if apart else [done.whole]
        heads, scales = [one.head for one in learned], [one.scale for one in learned]
        margin = 0 if border else self.plan.margin
        return Joint(self.plan.backbone, heads, margin, scales).eval()

    def whole_tiles(self) -> WholeTiles | None:
        """See `SeesTiles`: None of methods that judge a tile as a whole, and say so."""
        if self._spec.unfit_for_webs():
            return None
        joint = self.joint(border=True)

        def of_tile(tile: U8) -> list[F32]:
            with torch.no_grad():
                return [joint(torch.from_numpy(np.ascontiguousarray(tile[None]))).numpy()]

        return WholeTiles(of_tile)

    @property
    def _done(self) -> _Trained:
        if self._trained is None:
            raise ValueError("the network is asked for before it was trained")
        return self._trained

    def _converted(self, joint: Joint, batch: int) -> Any:
        return convert(joint, batch, self.plan.channels, self.plan.size_px)
