"""The scores of the good images, each judged without its own part: what a threshold rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.good_images.images import GoodImages
from kenpin.compile.methods.leave_out import LeftOut, Unseen
from kenpin.compile.progress import Steps
from kenpin.runtime.bundles.manifest import GoodScore
from kenpin.runtime.bundles.operating_point import odd_ones

__all__ = ["ALIKE_TIMES", "GoodScores", "likeness", "peak_of", "score_good", "typical_webs"]

F32 = NDArray[np.float32]

# Of the frame's side: places that are equally high and further apart than that are no one place.
ONE_PLACE = 1 / 8
# Images that are looked at to see whether photographs of one part were told apart.
LOOKED_AT = 60
# Leaving out a block of neighbours instead of one file costs little where every file
# shows another part, and 1.45 on magnetic tiles that were photographed six times each.
ALIKE_TIMES = 1.15


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a `LeftOut`: all but the map, for there may be thousands of images."""

    web: int
    strip: int
    part: int
    line: int
    score: float
    peak: tuple[float, float] | None

    @classmethod
    def of(cls, found: LeftOut) -> Self:
        """Without the map, of which only the place of its peak is kept."""
        peak = peak_of(found.values)
        return cls(found.web, found.strip, found.part, found.line, found.score, peak)


@dataclass(frozen=True)
class GoodScores:
    """How the good images score, each without its own part.

    records   in the order of the images
    places    of each record, the number of its image or web, and of the strip
    peaks     of each record, (x, y) of its highest place as shares of the frame; None where
              equal ones lie apart
    likeness  how much higher images score without their neighbours than
              without themselves alone; None where the recipe says what shows what
    """

    records: list[GoodScore]
    places: list[tuple[int, int]]
    peaks: list[tuple[float, float] | None]
    likeness: float | None

    @property
    def odd(self) -> list[tuple[GoodScore, float | None]]:
        """Those that stand out, the highest first, each with its multiple of the median.

        None where the median is 0: a network of the user's own may say so of most good images.
        """
        middle = float(np.median([one.score for one in self.records]))
        found = sorted((one for one in self.records if one.odd), key=lambda one: -one.score)
        return [(one, one.score / middle if middle else None) for one in found]


def score_good(
    images: GoodImages,
    keep: Sequence[str],
    apart: Unseen,
    alike: float | None,
    steps: Steps,
) -> GoodScores:
    """The scores that count, looked through for odd ones.

    Parameters
    ----------
    keep
        Images that are good however odd they look, and single strips of webs.
    apart
        Judges each image without its part.
    alike
        See `GoodScores.likeness`.
    """
    with steps.step("score good images without their own part") as progress:
        found = sorted(map(_Seen.of, apart.judge(progress)), key=lambda one: (one.web, one.strip))
    scores = [one.score for one in found]
    names = images.names([(one.web, one.strip, one.line) for one in found])
    kept = [images.keeps(keep, name) for name in names]
    parts = [images.parts.names[one.part] for one in found]
    odd = {number for number in odd_ones(scores, parts) if not kept[number]}
    records = [
        GoodScore(name=names[n], part=parts[n], score=one.score, odd=n in odd)
        for n, one in enumerate(found)
    ]
    places = [(one.web, one.strip) for one in found]
    return GoodScores(records, places, [one.peak for one in found], alike)


def likeness(images: GoodImages, apart: Sequence[LeftOut], by_image: Unseen, steps: Steps) -> float:
    """See `GoodScores.likeness`.

    Parameters
    ----------
    apart
        All images as judged without the block of neighbours that each is in.
    by_image
        Judges each without itself only.
    """
    chosen = _some(len(images.webs))
    with steps.step("look for photographs of one part") as progress:
        others = [one.score for one in by_image.judge(progress, chosen)]
    return _likeness([one.score for one in apart if one.web in chosen], others)


def typical_webs(found: Sequence[LeftOut], webs: int) -> list[int]:
    """Numbers of the images or webs that do not stand out.

    Where each recording has an odd strip, or all files are one web that has some, those with
    the fewest: the others of their strips are as good as any.
    """
    parts = [str(one.part) for one in found]
    odd = Counter(found[n].web for n in odd_ones([one.score for one in found], parts))
    fewest = min(odd[web] for web in range(webs))
    return [web for web in range(webs) if odd[web] == fewest]


def peak_of(values: F32) -> tuple[float, float] | None:
    """See `GoodScores.peaks`: the first of equal ones would be the frame's corner for many."""
    rows, cols = values.shape
    equal = np.argwhere(values == values.max())
    if not len(equal) or (np.ptp(equal, axis=0) > np.multiply(ONE_PLACE, values.shape)).any():
        return None
    row, col = equal[0]
    return (float(col) + 0.5) / cols, (float(row) + 0.5) / rows


def _some(webs: int) -> list[int]:
    """Numbers of some of the images, evenly over all."""
    count = min(webs, LOOKED_AT)
    return [number * webs // count for number in range(count)]


def _likeness(apart: Sequence[float], by_image: Sequence[float]) -> float:
    """How much higher images score without their neighbours than without themselves alone.

    Parameters
    ----------
    apart
        Images judged without the block of neighbours that each is in.
    by_image
        The same images, each judged without itself only.

    Returns
    -------
    The ratio of the medians; above `ALIKE_TIMES` neighbours show the same part.
    """
    medians = [float(np.median(scores)) for scores in (apart, by_image)]
    return medians[0] / medians[1] if medians[1] > 0 else 1.0
