"""What to do next with a bundle, in words: the weakest first, nothing where nothing is weak."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kenpin.compile.evaluation.trade import detection_limits, found
from kenpin.compile.good_images.clusters import Cluster, describe
from kenpin.compile.operating_point.good_scores import ALIKE_TIMES, GoodScores
from kenpin.runtime.bundles.manifest import Manifest
from kenpin.runtime.bundles.operating_point import scores_needed
from kenpin.runtime.judging.subtle_twins import MANY, SIZES_PX

__all__ = ["Advice", "advise"]

Level = Literal["weak", "look", "know"]

# Loud pasted defects that are told from good material worse than this: expect escapes.
WEAK_SEPARATION = 0.9
# Drawn defects of 100 grey levels, but of the smallest size, that are found less often than
# this are a warning.
LOUD_CONTRAST, LOUD_FOUND = 100, 0.9
# The bound on false rejects may be so many times the promise before more parts are asked for.
LOOSE_BOUND = 4.0


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing a person should know.

    level  "weak": as it is, the bundle will disappoint; "look": somebody has to decide
           something; "know": for later
    says   what was found
    do     what to do about it
    """

    level: Level
    says: str
    do: str

    def __str__(self) -> str:
        return f"{self.says}; {self.do}"

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def advise(manifest: Manifest, good: GoodScores, clusters: Sequence[Cluster]) -> list[Advice]:
    """All that is worth doing, the most pressing first."""
    every = [
        *_of_the_network(manifest),
        *_of_the_images(manifest, good, clusters),
        *_of_the_threshold(manifest),
        *_of_defects(manifest),
    ]
    order = ("weak", "look", "know")
    return sorted(every, key=lambda one: order.index(one.level))


def _of_the_network(m: Manifest) -> Iterator[Advice]:
    weakest = min(m.quantization.separation.values())
    if weakest < WEAK_SEPARATION:
        yield Advice(
            "weak",
            f"even loud pasted defects are told from normals with AUROC {weakest:.3f} only",
            "expect escapes, and try another backbone, layers or method",
        )
    if m.blend is not None and m.blend.adds is False and m.method.backbone is None:
        yield Advice(
            "know",
            "the network adds nothing to plain brightness on these twins, most of which are "
            "brighter or darker than what surrounds them",
            'method.name = "baseline" is smaller and faster, unless defects show in the texture '
            "alone",
        )


def _of_the_images(m: Manifest, good: GoodScores, clusters: Sequence[Cluster]) -> Iterator[Advice]:
    if good.likeness is not None and good.likeness > ALIKE_TIMES:
        yield Advice(
            "weak",
            "several photographs of one part: a good image scores "
            f"{good.likeness:.2f} times as high without its neighbours as without itself",
            "give images.group, so that photographs of one part are left out together",
        )
    if clusters:
        web = m.frame.geometry == "continuous"
        yield Advice("look", describe(clusters, web=web), "the picture beside the bundle shows it")
    if good.odd:
        names = ", ".join(
            f"{one.name} ({'the median is 0' if times is None else f'{times:.1f} times'})"
            for one, times in good.odd[:5]
        )
        more = f" and {len(good.odd) - 5} more" if len(good.odd) > 5 else ""
        at = m.threshold.with_odd
        with_odd = "" if at is None else f"; with them the threshold were {at:.4g}"
        yield Advice(
            "look",
            f"probably not good, by their multiple of the median score: {names}{more}; they set "
            f"no threshold{with_odd}",
            "look at them, then name each that is good in images.keep, and cut the others out of "
            "their recordings"
            if m.frame.geometry == "continuous"
            else "look at them, then name each in images.exclude or images.keep",
        )


def _of_the_threshold(m: Manifest) -> Iterator[Advice]:
    record, spec = m.threshold, m.threshold.settings
    if spec.method != "false_rejects":
        return
    count = sum(not one.odd for one in m.good_scores)
    what = "strips" if m.frame.geometry == "continuous" else "images"
    needed = scores_needed(spec.false_rejects)
    if record.rule == "gumbel":
        yield Advice(
            "look",
            f"the threshold is extrapolated: {count} good {what} cannot have seen a rate of "
            f"{100 * spec.false_rejects:g} %",
            f"photograph {needed - count} more, each of another part: from {needed} on it rests "
            "on what was seen",
        )
    elif record.at_most is not None and record.at_most > LOOSE_BOUND * spec.false_rejects:
        yield Advice(
            "know",
            f"{100 * spec.false_rejects:g} % false rejects are promised, but with 95 % confidence "
            f"only that they stay below {100 * record.at_most:.2g} %",
            "photograph more parts, from several days, lots and lamps",
        )


def _of_defects(m: Manifest) -> Iterator[Advice]:
    loud = [
        twin
        for twin in m.twin_scores
        if twin.contrast >= LOUD_CONTRAST and twin.size_px > min(SIZES_PX[twin.kind])
    ]
    for kind, share in found(loud, m.threshold.ok, lambda twin: twin.kind).items():
        if share.share < LOUD_FOUND:
            yield Advice(
                "weak",
                f"of {MANY[kind]} of {LOUD_CONTRAST} grey levels, which anybody sees, "
                f"{100 * share.share:.0f} % are found",
                "try smaller tiles or score.smooth_sigma_px for small defects, larger ones for "
                "wide and faint ones, or another backbone",
            )
    limits = detection_limits(m.twin_scores, m.threshold.ok)
    blind = [
        f"{MANY[kind]} of {size} px" for (kind, size), least in limits.items() if least is None
    ]
    if blind:
        yield Advice(
            "know",
            f"not found reliably at any contrast that was drawn: {', '.join(blind)}",
            "bring the camera closer if such defects matter",
        )
    if not m.twin_scores:
        yield Advice(
            "know",
            "no faint defects were drawn, so nobody knows what the threshold finds",
            "leave report.twins_each at its default",
        )
    if not m.ng_scores:
        yield Advice(
            "know",
            "no real defect has been shown yet: what is found is told by drawn ones",
            "keep every rejected part's picture; a folder of them is images.ng",
        )
