"""The search itself: recipes are asked for, tried, and told, until the time is up."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from kenpin.compile.fingerprint import fingerprint, paths_in
from kenpin.compile.recipe_search.attempt import REFUSALS, Attempt, Found, OutOfTimeError
from kenpin.compile.recipe_search.space import Option, Space
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe, load_recipe

__all__ = ["HEADROOM", "Budget", "RecipeSearch", "Tried", "budget_of", "chosen", "front"]

# The slowest hundredth of frames takes so many times the median; a budget holds for it.
HEADROOM = 1.3
SEED = 1
NAME = "recipe"
# Recipes at random, before what was found says where to look.
AT_RANDOM = 6
_RATE = re.compile(r"^\s*([0-9.]+)\s*([kM]?)(hz)?\s*$", re.IGNORECASE)
_TIMES = {"": 1.0, "k": 1e3, "m": 1e6}


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a frame may take, and who says so.

    ms     for the slowest hundredth of frames
    words  for people
    """

    ms: float
    words: str

    @property
    def median_ms(self) -> float:
        """What a frame's median may take."""
        return self.ms / HEADROOM


def budget_of(line_rate: str | None, budget_ms: float | None, lines: int) -> Budget:
    """A budget from the command line; exactly one of both is given.

    Parameters
    ----------
    lines
        Of a frame: at a line rate one comes as often as so many lines do.

    Raises
    ------
    ConfigError
        If it is no rate or no time.
    """
    if line_rate is None:
        if budget_ms is None or budget_ms <= 0:
            raise ConfigError(f"--budget-ms {budget_ms}: expected milliseconds above 0")
        return Budget(budget_ms, f"{budget_ms:g} ms a frame")
    found = _RATE.match(line_rate)
    hz = float(found[1]) * _TIMES[found[2].lower()] if found and found[1].count(".") < 2 else 0.0
    if not hz:
        raise ConfigError(
            f"--line-rate {line_rate!r}: expected scan lines a second, 20khz or 20000"
        )
    ms = 1e3 * lines / hz
    return Budget(ms, f"{hz:g} lines a second, so {lines} lines in {ms:.4g} ms")


@dataclass(frozen=True, slots=True)
class Tried:
    """A recipe that was tried.

    settings  what was changed, by key
    found     None where it was given up
    quick     what a first glance said; None where there was none
    why       in words, where it was given up
    """

    number: int
    settings: dict[str, Option]
    found: Found | None
    quick: Found | None
    why: str


class RecipeSearch:
    """A search in a folder; what lies there from before goes on.

    Each recipe is looked at with few images first, and given up if it is too slow already
    or another finds clearly more in less time.

    folder   study.journal, and trials/NNN.toml: every recipe that was tried
    """

    def __init__(self, folder: Path, recipe: Recipe, space: Space, attempt: Attempt) -> None:
        """Open the study.

        Raises
        ------
        ConfigError
            If the folder holds the search of another recipe or for another budget.
        """
        self._folder, self._space, self._attempt = folder, space, attempt
        (folder / "trials").mkdir(exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
        begun = optuna.create_study(
            storage=storage,
            study_name=NAME,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        # A sampler that begins anew would suggest the same once more.
        sampler = optuna.samplers.TPESampler(
            seed=SEED + len(begun.trials), n_startup_trials=AT_RANDOM
        )
        self._study = optuna.load_study(study_name=NAME, storage=storage, sampler=sampler)
        task = _digest(recipe, attempt)
        before = self._study.user_attrs.get("task", task)
        if before != task:
            raise ConfigError(
                f"{folder}: holds the search of another recipe, other images, another rate of "
                "false rejects or another box; name another folder with -o"
            )
        self._study.set_user_attr("task", task)
        if self._study.trials:
            self._take_up()
        elif first := space.first():
            # The user's own, to be better than.
            self._study.enqueue_trial(first)

    def _take_up(self) -> None:
        """What was being tried when the last search ended is tried again."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            if trial.params:
                self._study.enqueue_trial(dict(trial.params))

    @property
    def tried(self) -> list[Tried]:
        """All so far, in the order that they were tried."""
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        return [_tried(t) for t in self._study.get_trials(deepcopy=False, states=ended)]

    def run(
        self,
        budget: Budget,
        seconds: float,
        most: int,
        said: Callable[[Tried], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Try recipes until another might not be done in time, or there are so many."""
        end = clock() + seconds
        longest = 0.0
        while len(self.tried) < most and (begun := clock()) + longest <= end:
            said(self._try_one(budget))
            longest = max(longest, clock() - begun)

    def _try_one(self, budget: Budget) -> Tried:
        trial = self._study.ask()
        settings = self._space.suggest(trial.suggest_categorical)
        trial.set_user_attr("settings", settings)
        file = self._folder / "trials" / f"{trial.number:03d}.toml"
        file.write_text(self._space.text(settings), encoding="utf-8")
        found, why = self._judged(trial, file, budget)
        if found is None:
            trial.set_user_attr("why", why)
            frozen = self._study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("found", asdict(found))
            frozen = self._study.tell(trial, [found.separation, found.ms])
        return _tried(frozen)

    def _judged(self, trial: Any, file: Path, budget: Budget) -> tuple[Found | None, str]:
        """What came of a recipe; or why it was given up."""
        done = self.tried
        if any(one.found and one.settings == trial.user_attrs["settings"] for one in done):
            return None, "was tried before"
        # The user's own recipe is what others are compared with, however long it takes.
        attempt = self._attempt if trial.number else replace(self._attempt, most_s=math.inf)
        try:
            recipe = load_recipe(file)
            quick = attempt.quick(recipe)
            trial.set_user_attr("quick", asdict(quick))
            # The user's own recipe is what others are compared with, however it does.
            if trial.number and (why := _hopeless(quick, done, budget)):
                return None, why
            return attempt.whole(recipe), ""
        except OutOfTimeError as error:
            return None, str(error)
        except REFUSALS as error:
            return None, f"cannot be compiled: {error}"


def front(tried: Sequence[Tried]) -> list[Tried]:
    """Those that no other beats in both time and what it finds, the fastest first."""
    whole = [one for one in tried if one.found]
    return sorted(
        (one for one in whole if not any(_beats(other, one) for other in whole)),
        key=lambda one: _of(one).ms,
    )


def chosen(tried: Sequence[Tried], budget: Budget) -> Tried:
    """Of those within the budget the one that finds most; of equals the fastest.

    Equal are those whose share the best one's confidence interval holds.

    Raises
    ------
    ConfigError
        If none holds the budget.
    """
    whole = [one for one in tried if one.found]
    within = [one for one in whole if _of(one).ms <= budget.median_ms]
    if not within:
        fastest = min((_of(one).ms for one in whole), default=None)
        rest = (
            "none could be compiled" if fastest is None else f"the fastest takes {fastest:.4g} ms"
        )
        raise ConfigError(
            f"none of {len(tried)} recipes holds {budget.words}, a median of "
            f"{budget.median_ms:.4g} ms: {rest}; search longer, allow more time, or take a smaller "
            "frame"
        )
    best = max(within, key=lambda one: (_of(one).separation, -_of(one).ms))
    least = _of(best).separation - (_of(best).share - _of(best).low)
    alike = [one for one in within if _of(one).separation >= least]
    # Confidence is wide where twins are few: no more than a hundredth is given away for speed.
    alike = [one for one in alike if _of(one).separation >= _of(best).separation - 0.01]
    return min(alike, key=lambda one: _of(one).ms)


def _of(one: Tried) -> Found:
    assert one.found is not None
    return one.found


def _beats(one: Tried, other: Tried) -> bool:
    a, b = _of(one), _of(other)
    no_worse = a.separation >= b.separation and a.ms <= b.ms
    return no_worse and (a.separation, a.ms) != (b.separation, b.ms)


def _hopeless(quick: Found, done: Sequence[Tried], budget: Budget) -> str:
    """Why a recipe is given up after a first glance; empty if it is not."""
    if quick.ms > budget.median_ms:
        return f"takes {quick.ms:.4g} ms with a small bank already"
    for other in done:
        if not other.found or not other.quick or other.found.ms > quick.ms:
            continue
        if other.quick.low > quick.high:
            return (
                f"finds {quick.share:.0%} of a few twins; number {other.number} finds "
                f"{other.quick.share:.0%} of them and is no slower"
            )
    return ""


def _digest(recipe: Recipe, attempt: Attempt) -> str:
    """Of all that must be the same for results to be compared."""
    files = [line for path in paths_in(recipe.model_dump()) for line in fingerprint(path)]
    conditions = [version("kenpin"), attempt.rate, attempt.lines, attempt.boxed]
    task = [recipe.model_dump(mode="json"), files, *conditions]
    return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()


def _tried(trial: Any) -> Tried:
    attrs = trial.user_attrs
    return Tried(
        trial.number,
        attrs.get("settings", {}),
        Found(**attrs["found"]) if "found" in attrs else None,
        Found(**attrs["quick"]) if "quick" in attrs else None,
        attrs.get("why", ""),
    )
