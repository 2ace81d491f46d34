"""How the network's map and bands of brightness become one: by good images and their twins.

Every good image is looked at without its own part, and so are faint twins of good
images. Of each way to normalise and to join, the threshold that keeps the asked rate of
false rejects is worked out from the good ones, and the twins above it are counted. A way
is taken before the plainest one only if it finds more by three times the difference's
standard error. No test image is ever looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.methods.moments import Moments
from kenpin.compile.operating_point.map_store import F32, Area, MapStore
from kenpin.config.recipe import Join, Places, ScoreSpec
from kenpin.runtime.bundles.manifest import BlendRecord
from kenpin.runtime.judging.blend import (
    Blend,
    band_measures,
    joined_measures,
    network_measure,
    never_zero,
)

__all__ = ["SIGMAS_PX", "Blender", "Choice", "Way", "Ways"]

F64 = NDArray[np.float64]

# Narrow Gaussians that are tried: of specks and threads, and of stains.
SIGMAS_PX = (4.0, 10.0)
# Good images that the ways are compared on; the scores of all come after.
COMPARED = 64
# With fewer the plainest way is taken: the luckiest of some forty thresholds is no measure.
# Seen on 16 images: the way that was chosen rejected 6 of 60 good ones, the plainest 1.
FEWEST = 30
# Standard error of a threshold that rejects 1 %, over the scores' deviation / √n: of a
# Gumbel distribution's quantile by moments. By so much a way's threshold is raised before
# it is compared with the plainest's.
THRESHOLD_ERROR = 3.2
# So many standard errors more must a way find to be taken before a plainer one: the best
# of some forty that are all alike is ahead by two, by chance.
SURE = 3.0


@dataclass(frozen=True, slots=True)
class Way:
    """One way to normalise and to join; see `BlendRecord`."""

    normalise: Places
    places: Places
    sigmas_px: tuple[float, ...]
    join: Join

    def __str__(self) -> str:
        if not self.sigmas_px:
            return f"the network alone, normalised by {self.normalise}"
        bands = " and ".join(f"{sigma:g}" for sigma in self.sigmas_px)
        by = f"bands of {bands} px by {self.places}"
        if self.join == "band":
            return f"{by} alone"
        return f"the network normalised by {self.normalise} with {by}, joined by {self.join}"


@dataclass(frozen=True)
class Ways:
    """The ways that a recipe leaves open, the plainest first."""

    ways: tuple[Way, ...]
    baseline: Way

    @classmethod
    def of(cls, score: ScoreSpec, *, web: bool, network: bool = True) -> Ways:
        """`network`: False where the method has none and bands are all there is."""
        where: tuple[Places, ...] = ("column",) if web else ("column", "position", "none")
        if not network and not web:
            where = ("position", "none", "column")
        sets: list[tuple[float, ...]] = [SIGMAS_PX, *((sigma,) for sigma in SIGMAS_PX)]
        if score.bands_px != "auto":
            sets = [score.bands_px]
        joins: tuple[Join, ...] = ("root", "maximum", "mean")
        if not network:
            joins = ("band",)
        elif score.join != "auto":
            joins = (score.join,)
        ways = []
        for sigmas in sets:
            for places in where:
                normalised: list[Places] = ["none"] if places == "none" else [places, "none"]
                if score.normalise != "auto":
                    normalised = [score.normalise]
                if not network:
                    normalised = ["none"]
                ways += [
                    Way(normalise, places, sigmas, join)
                    for normalise in normalised
                    for join in (joins if sigmas else ("root",))
                ]
        alone = tuple(dict.fromkeys(ways))
        return cls(
            alone, Way("none", "column" if web else "position", sets[0] or SIGMAS_PX, "band")
        )

    @property
    def sigmas_px(self) -> tuple[float, ...]:
        """All bands that any of them looks at."""
        every = (*self.ways, self.baseline)
        return tuple(sorted({sigma for way in every for sigma in way.sigmas_px}))


@dataclass(frozen=True)
class TwinHits:
    """How many twins a way finds at the threshold that its good images give it."""

    hits: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Of all twins."""
        return float(self.hits.mean()) if len(self.hits) else 0.0

    def surely_above(self, other: TwinHits, errors: float = SURE) -> bool:
        """Whether it finds more by so many standard errors of the difference."""
        if not len(self.hits):
            return False
        ahead = self.hits.astype(np.float64) - other.hits
        error = float(ahead.std(ddof=1)) / np.sqrt(len(ahead)) if len(ahead) > 1 else np.inf
        return float(ahead.mean()) > errors * error


@dataclass(frozen=True)
class Choice:
    """What was chosen, and what of.

    plain     what the plainest way finds
    baseline  what bands of brightness alone find
    """

    way: Way
    found: TwinHits
    plain: TwinHits
    baseline: TwinHits

    @property
    def adds(self) -> bool:
        """Whether the network finds what bands alone do not, by more than chance."""
        # One comparison, not the best of many.
        return self.found.surely_above(self.baseline, 2.0)

    @property
    def reason(self) -> str:
        """Why, in words."""
        count = len(self.found.hits)
        if not count:
            return f"{self.way}; as the recipe says"
        return (
            f"{self.way}: finds {self.found.share:.0%} of {count} faint twins, the plainest way "
            f"{self.plain.share:.0%}, bands alone {self.baseline.share:.0%}"
        )


Normals = dict[Places, tuple[tuple[F32, F32], tuple[F32, F32]]]
# The threshold of some good scores, whose parts are named.
Threshold = Callable[[Sequence[float], Sequence[str]], float]


@dataclass
class Blender:
    """Chooses a way and fits it.

    good, twins  maps, each without its own part
    ways         what may be chosen
    shape        (rows, cols) of a frame's map; (1, cols) of a web's
    stride_px    of the map's grid
    threshold    what decides between good and NG
    """

    good: MapStore[Any]
    twins: MapStore[Any]
    ways: Ways
    shape: tuple[int, int]
    stride_px: int
    threshold: Threshold
    _totals: dict[Places, tuple[Moments, Moments]] = field(default_factory=dict)
    _scales: dict[Places, tuple[float, F64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._measure()

    def choose(self) -> Choice:
        """The plainest way, or one that finds more."""
        candidates = list(dict.fromkeys((*self.ways.ways, self.ways.baseline)))
        good: dict[Way, list[float]] = {way: [] for way in candidates}
        bad: dict[Way, list[float]] = {way: [] for way in candidates}
        parts: list[str] = []
        chosen = set(_some(len(self.good), COMPARED))
        for part, normals in self._parts():
            parts += [str(part)] * sum(n in chosen for n in self.good.of(part))
            for store, scores, only in ((self.good, good, chosen), (self.twins, bad, None)):
                for number in store.of(part):
                    if only is not None and number not in only:
                        continue
                    looked = _Looked(self, store, number, normals)
                    for way in candidates:
                        scores[way].append(looked.score(way))
        limits = {way: self.threshold(good[way], parts) for way in candidates}
        found = {way: TwinHits(np.array(bad[way]) > limits[way]) for way in candidates}
        plain = self.ways.ways[0]
        at_least = {
            way: TwinHits(np.array(bad[way]) > limits[way] + _error(good[way]))
            for way in candidates
        }
        best = max(self.ways.ways, key=lambda way: at_least[way].share)
        enough = len(parts) >= FEWEST
        way = best if enough and at_least[best].surely_above(found[plain]) else plain
        return Choice(way, found[way], found[plain], found[self.ways.baseline])

    def fitted(self, choice: Choice) -> tuple[BlendRecord, dict[str, F32]]:
        """What goes into the bundle: statistics of all good images."""
        normals = {places: (a.normal(), b.normal()) for places, (a, b) in self._totals.items()}
        blend = self._blend(choice.way, normals)
        way = choice.way
        record = BlendRecord(
            normalise=way.normalise,
            places=way.places,
            sigmas_px=way.sigmas_px,
            join=way.join,
            chosen=choice.reason,
            adds=choice.adds if len(choice.found.hits) else None,
        )
        arrays = {"network_mean": blend.network_mean, "network_gain": blend.network_gain}
        if way.sigmas_px:
            arrays |= {"band_mean": blend.band_mean, "band_gain": blend.band_gain}
        return record, {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    def joined(self, store: MapStore[Any], way: Way) -> Iterator[tuple[int, F32]]:
        """Numbers and joined maps of all that a store holds, each without its own part."""
        for part, normals in self._parts():
            for number in store.of(part):
                yield number, self._map(store, number, way, normals)

    def _measure(self) -> None:
        """Moments of all good maps, and what their highest places usually are."""
        places: list[Places] = ["none", "column"]
        every = (*self.ways.ways, self.ways.baseline)
        if any("position" in (way.normalise, way.places) for way in every):
            places.append("position")
        bands = len(self.ways.sigmas_px)
        self._totals = {
            name: (
                Moments(name, (1, *self.shape)),
                Moments(name, (bands, *self.shape)),
            )
            for name in places
        }
        for number in range(len(self.good)):
            self._take(self._totals, number)
        peaks: dict[Places, list[F64]] = {name: [] for name in places}
        for part, normals in self._parts():
            for number in self.good.of(part):
                network, found, inside = self.good.maps(number)
                for name, ((m, d), (bm, bd)) in normals.items():
                    z = np.concatenate([(network - m) / d, np.abs(found - bm) / bd])
                    peaks[name].append(np.where(inside, z, 0).max(axis=(1, 2)).astype(np.float64))
        for name in places:
            # A map that is never above its mean has no usual peak, and no say.
            usual = np.maximum(np.median(np.stack(peaks[name]), axis=0), 1e-3)
            self._scales[name] = float(usual[0]), usual[1:]

    def _take(self, totals: dict[Places, tuple[Moments, Moments]], number: int) -> None:
        network, found, inside = self.good.maps(number)
        for alone, bands in totals.values():
            alone.add(network, inside)
            bands.add(found, inside)

    def _parts(self) -> Iterator[tuple[int, Normals]]:
        """Every part, with the statistics of all others.

        Of a part none of whose strips is inspected there may be twins alone.
        """
        for part in sorted({*self.good.parts, *self.twins.parts}):
            own = {
                name: (
                    Moments(name, (1, *self.shape)),
                    Moments(name, (len(self.ways.sigmas_px), *self.shape)),
                )
                for name in self._totals
            }
            for number in self.good.of(part):
                self._take(own, number)
            yield (
                part,
                {
                    name: (a.without(own[name][0]).normal(), b.without(own[name][1]).normal())
                    for name, (a, b) in self._totals.items()
                },
            )

    def _map(self, store: MapStore[Any], number: int, way: Way, normals: Normals) -> F32:
        return _Looked(self, store, number, normals).joined(way)

    def _blend(self, way: Way, normals: Normals) -> Blend:
        """Of whole frames, as a bundle holds it."""
        keep = self.kept(way)
        network_mean, network_gain = self.network_normal(way, normals)
        band_mean, band_gain = self.band_normal(way.places, normals)
        return Blend(
            way.sigmas_px,
            self.stride_px,
            way.join,
            network_mean,
            network_gain,
            band_mean[keep],
            band_gain[keep],
        )

    def kept(self, way: Way) -> list[int]:
        """Which of all bands a way looks at."""
        return [self.ways.sigmas_px.index(sigma) for sigma in way.sigmas_px]

    def network_normal(self, way: Way, normals: Normals) -> tuple[F32, F32]:
        """(rows or 1, cols or 1) mean and gain of the network's maps."""
        (mean, deviation), _ = normals[way.normalise]
        gain = 1 / (deviation * np.float32(self._scales[way.normalise][0]))
        if way.join == "band":
            # It has no say, and may be a map of nothing.
            mean, gain = np.zeros_like(mean), np.ones_like(gain)
        return mean[0], gain[0]

    def band_normal(self, places: Places, normals: Normals) -> tuple[F32, F32]:
        """(bands, rows or 1, cols or 1) mean and gain of the contrasts of all bands."""
        _, (mean, deviation) = normals[places]
        usual = self._scales[places][1].astype(np.float32)[:, None, None]
        return mean, np.float32(1) / (deviation * usual)


class _Looked:
    """Maps of one item, joined in one way after the other: what ways share is worked out once."""

    def __init__(
        self, blender: Blender, store: MapStore[Any], number: int, normals: Normals
    ) -> None:
        self._blender, self._normals = blender, normals
        self._item = store.items[number]
        self._network, self._found, self._inside = store.maps(number)
        self._networks: dict[tuple[Places, bool], F32] = {}
        self._bands: dict[Places, F32] = {}

    def score(self, way: Way) -> float:
        """The highest joined value, in the measure of its lane."""
        return float((self.joined(way) / self._item.times).max())

    def joined(self, way: Way) -> F32:
        """(rows, cols), 0 where nothing is inspected."""
        network = self._networks.get(one := (way.normalise, way.join == "band"))
        if network is None:
            mean, gain = self._own(self._blender.network_normal(way, self._normals))
            network = self._networks[one] = network_measure(self._network[0], mean, gain)
        bands = self._band(way) if way.sigmas_px else None
        joined: F32 = never_zero(joined_measures(network, bands, way.join)) * self._inside
        return joined

    def _band(self, way: Way) -> F32:
        """What bands say of a place, the largest of those that a way looks at."""
        every = self._bands.get(way.places)
        if every is None:
            mean, gain = self._own(self._blender.band_normal(way.places, self._normals))
            every = self._bands[way.places] = band_measures(self._found, mean, gain)
        return every[self._blender.kept(way)]

    def _own(self, normal: tuple[F32, F32]) -> tuple[F32, F32]:
        mean, gain = normal
        return _cut(mean, self._item.area), _cut(gain, self._item.area)


def _cut(array: F32, area: Area) -> F32:
    """The part of a frame's statistics that some rows and columns are judged by."""
    rows, cols = (
        part if side > 1 else slice(None) for part, side in zip(area, array.shape[-2:], strict=True)
    )
    return array[..., rows, cols]


def _error(scores: Sequence[float]) -> float:
    """By how much a threshold may be off that so many scores gave."""
    return float(THRESHOLD_ERROR * np.std(scores) / np.sqrt(len(scores)))


def _some(count: int, most: int) -> list[int]:
    """Numbers evenly over all."""
    kept = min(count, most)
    return [number * count // kept for number in range(kept)]
