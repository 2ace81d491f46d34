"""The last looks counted against the good images', and what has changed named.

A look lies outside when it leaves the range of all good images. How many of the last looks
must do so is no matter of taste: so many as chance would bring about in one look of a million
(`DriftSpec.alarms_per_look`), if frames were still like the good images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.config.drift import DriftSpec
from kenpin.runtime.drift.look import BOTH_SIDES, DETAIL, LIGHT, QUANTITIES, look_at, mean_features
from kenpin.runtime.drift.reference import COLUMNS, MATERIAL, Reference
from kenpin.runtime.drift.votes import outside_at_most, votes_needed

__all__ = ["DriftCause", "DriftStanding", "DriftWatch"]

F32 = NDArray[np.float32]
Bits = NDArray[np.bool_]

# The chance that good images were too few of a kind to show their true range.
_DOUBT = 0.05
# Dirt is narrow: where more columns have changed, something else has.
_MOST_DIRTY = 0.25


class DriftCause(StrEnum):
    """What has changed."""

    LAMP = "lamp"
    FOCUS = "focus"
    DIRT = "dirt"
    MATERIAL = "material"


# The first one that is out is named: dirt and another material change light and detail too,
# while neither lamp nor focus moves the material, whose distance leaves out what they do; and
# a blur takes contrast, which is the lamp's.
_NAMED = (DriftCause.DIRT, DriftCause.MATERIAL, DriftCause.FOCUS, DriftCause.LAMP)


@dataclass(frozen=True, slots=True)
class DriftStanding:
    """How the pictures stand.

    cause   what has changed; None: nothing
    detail  that in a sentence, with what to do; empty without a cause
    shares  of the last looks that lie outside the good images, by each cause that is watched
    looks   so many have been counted
    """

    cause: DriftCause | None
    detail: str
    shares: dict[str, float]
    looks: int


class _Votes:
    """The last looks at some quantities of one cause: which lay outside."""

    def __init__(self, window: int, independent: list[float], tails: int, chance: float) -> None:
        count = len(independent)
        self._last = np.zeros((window, count), np.bool_)
        self._next = 0
        self.counts = np.zeros(count, np.int32)
        self.looks = 0
        shares = [outside_at_most(images, tails, _DOUBT / count) for images in independent]
        needed = [votes_needed(window, share, chance / count) for share in shares]
        # Never reached where the good images are too few.
        self._needed = np.array([window + 1 if votes is None else votes for votes in needed])
        self.watched = any(votes is not None for votes in needed)
        # Halfway back to what chance explains, or an alarm would come and go.
        expected = np.minimum(np.array(shares) * window, self._needed)
        self._clears = (self._needed + expected) / 2
        self._open = np.zeros(count, np.bool_)

    def add(self, outside: Bits) -> Bits:
        """Count a look; which quantities have changed."""
        self.counts += outside
        self.counts -= self._last[self._next]
        self._last[self._next] = outside
        self._next = (self._next + 1) % len(self._last)
        self.looks = min(self.looks + 1, len(self._last))
        self._open &= self.counts > self._clears
        self._open |= self.counts >= self._needed
        return self._open

    @property
    def share(self) -> float:
        """Of the last looks, those outside by the quantity that is outside most often."""
        return float(self.counts.max()) / max(1, self.looks)


class DriftWatch:
    """Looks at frames as a pipeline judges them.

    Hand `pixels` and `features` to `open_pipeline`; they count within `looking` only.
    """

    def __init__(self, reference: Reference, spec: DriftSpec, block_lines: int | None) -> None:
        """What is compared with.

        Parameters
        ----------
        block_lines
            Of webs, the height of what is looked at once; None: each frame is.
        """
        self._reference = reference
        self._spec = spec
        self._block = block_lines
        slack = math.log1p(spec.slack)
        self._low, self._high = reference.low - slack, reference.high + slack
        self._one_sided = np.array([name not in BOTH_SIDES for name in QUANTITIES])
        self._high = np.where(self._one_sided, np.float32(np.inf), self._high)
        self._columns = reference.columns + np.array([[-1], [1]], np.float32) * spec.slack
        self._votes = {
            DriftCause.LAMP: self._votes_of(LIGHT, 2),
            DriftCause.FOCUS: self._votes_of(DETAIL, 1),
            DriftCause.DIRT: self._votes_of([COLUMNS] * self._columns.shape[1], 2),
            DriftCause.MATERIAL: self._votes_of([MATERIAL], 1),
        }
        self._recent = np.zeros((spec.window, len(QUANTITIES) + 1), np.float32)
        self._profile = np.zeros(self._columns.shape[1], np.float32)
        self._distance = 1.0
        self._looks = 0
        self._counting = False
        self._pieces: list[NDArray[Any]] = []
        self._out: dict[DriftCause, Bits] = {}
        self._named: DriftCause | None = None
        self._named_at = 0
        self._detail = ""

    def _votes_of(self, names: Sequence[str], tails: int) -> _Votes:
        independent = [self._reference.independent[name] for name in names]
        return _Votes(self._spec.window, independent, tails, self._spec.alarms_per_look)

    @property
    def watched(self) -> list[DriftCause]:
        """What the good images are enough for."""
        return [cause for cause, votes in self._votes.items() if votes.watched]

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Within, a frame of the line is judged; golden frames are not."""
        self._counting = True
        try:
            yield
        finally:
            self._counting = False

    def pixels(self, pixels: NDArray[Any]) -> None:
        """See a frame as it came, (H, W) or (H, W, 3) uint8; nothing of it is kept."""
        if not self._counting:
            return
        if self._block is None:
            self._look(pixels)
            return
        # Frames of a web may be lower than a block; of higher ones one block is enough.
        missing = self._block - sum(len(piece) for piece in self._pieces)
        if len(pixels) < missing:
            self._pieces.append(pixels.copy())
            return
        block = (
            np.concatenate([*self._pieces, pixels[:missing]]) if self._pieces else pixels[:missing]
        )
        self._pieces.clear()
        self._look(block)

    def features(self, features: F32, counts: Bits | None = None) -> None:  # noqa: ARG002
        """Hear of a frame's features, or those of a web's tile row: (tiles, cells, cells, D).

        The good images were looked at as a whole, whatever of them counts.
        """
        if not self._counting:
            return
        found = self._reference.material.distance(mean_features(features))
        self._distance += (found - self._distance) / 50
        votes = self._votes[DriftCause.MATERIAL]
        limit = self._reference.furthest * (1 + self._spec.slack)
        # What is no number is no good material either.
        self._out[DriftCause.MATERIAL] = votes.add(np.array([not found <= limit]))

    def _look(self, pixels: NDArray[Any]) -> None:
        look = look_at(pixels)
        values = look.values
        self._recent[self._looks % self._spec.window, :-1] = values
        self._looks += 1
        self._profile += (look.columns - self._profile) / min(self._looks, 50)
        outside = (values < self._low) | (values > self._high)
        split = len(LIGHT)
        self._out[DriftCause.LAMP] = self._votes[DriftCause.LAMP].add(outside[:split])
        self._out[DriftCause.FOCUS] = self._votes[DriftCause.FOCUS].add(outside[split:])
        low, high = self._columns
        stray = (look.columns < low) | (look.columns > high)
        self._out[DriftCause.DIRT] = self._votes[DriftCause.DIRT].add(stray)

    def standing(self) -> DriftStanding:
        """How the pictures stand now; the sentence stays while the cause does."""
        cause = next((one for one in _NAMED if self._is_out(one)), None)
        if (
            self._named is not None
            and self._is_out(self._named)
            and self._looks - self._named_at > self._spec.window
        ):
            # Whatever comes at once is counted within a window; what joins later follows from
            # what was first.
            cause = self._named
        if cause is not self._named:
            if self._named is None:
                self._named_at = self._looks
            self._named = cause
            self._detail = "" if cause is None else self._sentence(cause)
        shares = {cause.value: self._votes[cause].share for cause in self.watched}
        return DriftStanding(cause, self._detail, shares, self._looks)

    def _is_out(self, cause: DriftCause) -> bool:
        out = self._out.get(cause)
        if out is None or not out.any():
            return False
        return cause is not DriftCause.DIRT or float(out.mean()) <= _MOST_DIRTY

    # -- in words --------------------------------------------------------------------------

    def _sentence(self, cause: DriftCause) -> str:
        details = {
            DriftCause.LAMP: self._lamp,
            DriftCause.FOCUS: self._focus,
            DriftCause.DIRT: self._dirt,
            DriftCause.MATERIAL: self._material,
        }
        others = [one.value for one in _NAMED if one is not cause and self._is_out(one)]
        also = f"; {' and '.join(others)} may follow from it" if others else ""
        votes = self._votes[cause]
        counted = f"{int(votes.counts.max())} of the last {votes.looks} looks"
        return f"{cause.value}: {details[cause]()}, in {counted} outside all good images{also}"

    def _lamp(self) -> str:
        counts = self._votes[DriftCause.LAMP].counts
        often = [n for n in range(len(LIGHT)) if counts[n] >= 0.9 * counts.max()]
        # All light first, then where, and contrast last: that follows from both.
        worst = 0 if 0 in often else max(often, key=lambda n: (n != 1, abs(self._changed(n))))
        name = LIGHT[worst]
        share = self._changed(worst)
        if name == "contrast":
            what = f"the contrast is {_percent(share, 'higher', 'lower')}"
        else:
            where = name.partition("_")[2].replace("_", " ")
            what = f"the pictures are {_percent(share, 'brighter', 'darker')}"
            what += f" ({where} quarter, against the rest)" if where else ""
        return f"{what} than the good images; look at lamp, exposure and aperture"

    def _focus(self) -> str:
        worst = int(self._votes[DriftCause.FOCUS].counts.argmax())
        share = self._changed(len(LIGHT) + worst)
        return (
            f"fine detail {DETAIL[worst].partition('_')[2]} is "
            f"{_percent(share, 'stronger', 'weaker')} than in the good images; look at focus, lens "
            "and distance"
        )

    def _dirt(self) -> str:
        counts = np.where(self._out[DriftCause.DIRT], self._votes[DriftCause.DIRT].counts, 0)
        changed = self._profile - self._reference.columns.mean(axis=0)
        # Those around a streak are brighter than before against those around them.
        often = np.where(counts >= 0.9 * counts.max(), np.abs(changed), 0)
        worst = int(often.argmax())
        alike = self._out[DriftCause.DIRT] & (np.sign(changed) == np.sign(changed[worst]))
        first, last = _run_around(alike, worst)
        share = float(changed[first : last + 1].mean())
        return (
            f"columns {first} to {last} of {len(self._profile)} are "
            f"{_percent(share, 'brighter', 'darker')} against those around them than in the good "
            "images; clean lens, window and sensor"
        )

    def _material(self) -> str:
        times = self._distance / self._reference.furthest
        return (
            f"the surface looks like other material, {times:.1f} times as far away as any good "
            "image; is it the right bundle? If the material is good, learn from it"
        )

    def _changed(self, quantity: int) -> float:
        """How far the middle of the last looks lies from the good images', as a share."""
        looks = min(self._looks, self._spec.window)
        now = float(np.median(self._recent[:looks, quantity]))
        return math.expm1(now - float(self._reference.middle[quantity]))


def _percent(share: float, more: str, less: str) -> str:
    return f"{abs(share):.0%} {more if share > 0 else less}"


def _run_around(out: Bits, at: int) -> tuple[int, int]:
    """The first and the last of the columns beside each other that are all out."""
    first = last = at
    while first > 0 and out[first - 1]:
        first -= 1
    while last + 1 < len(out) and out[last + 1]:
        last += 1
    return first, last
