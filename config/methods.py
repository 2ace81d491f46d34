"""The methods: how features become distances, what may be set of each, and where they are.

A method is four things. What a recipe may say of it is a `MethodSettings`. Its half for
the box, a `kenpin.runtime.judging.scoring.LoadScorer`, makes a scorer of the statistics
in a bundle. Its half for the workstation, a `kenpin.compile.methods.fitting.Fitting`, makes the
statistics. And a `Method` names the three, and where a method can tell finished statistics
of more good frames on the box, the `kenpin.runtime.learning.learner.LoadLearner` that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from kenpin.config.errors import ConfigError
from kenpin.config.registry import Registry, settings_by
from kenpin.config.settings import Settings, as_before

__all__ = [
    "METHODS",
    "BaselineSpec",
    "Granularity",
    "Method",
    "MethodSettings",
    "MethodSpec",
    "PadimSpec",
    "PatchCoreSpec",
    "Share",
    "for_webs",
    "own_backbone",
    "tables_of",
]

# Which patches share a Gaussian; see `PadimSpec`.
Granularity = Literal["dense", "1/4", "1/16", "single", "columns"]
# Which tiles are judged by the same statistics; see `MethodSettings`.
Share = Literal["tile", "column", "frame"]

_GLANCE_ROWS = 500
# Whose Gaussian depends on where along the web a patch lies within its tile.
_PER_ROW = ("dense", "1/4", "1/16")


class MethodSettings(Settings):
    """What every method's table `[method]` has.

    name   which method; each has a table of its own keys below
    share  which tiles are judged by the same statistics: each by its own, those of a
           column, or all of the frame
    """

    # Pixels from value to value of the layers that the method taps, unless the recipe
    # names layers; a backbone knows which of its layers is the best of each stride.
    tap_strides: ClassVar[tuple[int, ...]] = (4, 8, 16)

    # The backbone of a method that has no network: bands of brightness decide then.
    backbone: ClassVar[str | None] = None

    # Defaults of a recipe's other tables, where they are others with this method.
    table_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    name: str
    share: Share = "frame"

    @classmethod
    def web_defaults(cls) -> dict[str, Any]:
        """Defaults that are others for an endless web than for parts."""
        return {}

    @classmethod
    def in_a_web(cls, table: Mapping[str, Any]) -> dict[str, Any]:
        """This table `[method]` with `web_defaults`; nobody has looked through it yet."""
        return {**cls.web_defaults(), **table}

    @classmethod
    def defaults_with(cls, table: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:  # noqa: ARG003
        """`table_defaults` with this table `[method]`, which nobody has looked through yet."""
        return cls.table_defaults

    def unfit_for_webs(self) -> str:
        """Why an endless web cannot be judged with these settings; empty if it can."""
        if self.share == "tile":
            return (
                'method.share "tile" would keep statistics for each tile row, but an endless web '
                'never comes by the same row again; use "column" or "frame"'
            )
        return ""

    @property
    def scores_images(self) -> bool:
        """Whether the method itself says an image's score, so that its map joins no other."""
        return False

    @property
    def joins_nothing(self) -> bool:
        """Whether its map is the last word, and no bands of brightness are joined with it."""
        return self.scores_images

    def unfit_for_masks(self) -> str:
        """Why parts cannot be judged behind a mask with these settings; empty if they can."""
        return ""

    def at_a_glance(self) -> Self:
        """These settings for a first look at many recipes: whatever takes long made less of."""
        return self


@dataclass(frozen=True, slots=True)
class Method:
    """A method, and where its halves lie, each as "package.module:object".

    settings  the class of its table in a recipe
    scorer    the box's half, a `LoadScorer`; its module must not import torch
    fitting   the workstation's half, a `Fitting`; imported where bundles are compiled
    learner   a `LoadLearner`; None: bundles of the method are compiled again instead
    """

    settings: type[MethodSettings]
    scorer: str
    fitting: str
    learner: str | None = None


class PadimSpec(MethodSettings):
    """PaDiM (Defard et al., arXiv:2011.08785).

    dimensions     channels kept; by default 100, or all if there are fewer
    feature_ratio  the same as a share of the backbone's channels
    reduction      channels are chosen by a seeded permutation ("select") or mixed by a
                   seeded orthogonal projection ("project")
    granularity    a Gaussian for each position ("dense"), for squares of 2 x 2 or 4 x 4 of
                   them ("1/4", "1/16"), for each pixel column of the map ("columns") or
                   one for all ("single")
    shrinkage      the paper's epsilon, added to the covariance's diagonal
    seed           of the permutation or projection
    """

    name: Literal["padim"]
    dimensions: int | None = Field(default=None, ge=1)
    feature_ratio: float | None = Field(default=None, gt=0, le=1)
    reduction: Literal["select", "project"] = "select"
    granularity: Granularity = "dense"
    shrinkage: float = Field(default=0.01, gt=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.dimensions is not None and self.feature_ratio is not None:
            raise ValueError("dimensions and feature_ratio are both given; expected only one")
        return self

    @classmethod
    def web_defaults(cls) -> dict[str, Any]:
        """A web looks alike along its length."""
        return {"granularity": "columns"}

    def unfit_for_webs(self) -> str:
        """See `MethodSettings`."""
        if self.granularity in _PER_ROW:
            return super().unfit_for_webs() or (
                f'method.granularity "{self.granularity}" tells scan lines of a tile apart, but '
                "the material has no fixed place under the tile rows: the same thread would be "
                'judged by another Gaussian each time; use "columns" or "single"'
            )
        return super().unfit_for_webs()


class PatchCoreSpec(MethodSettings):
    """PatchCore (Roth et al., arXiv:2106.08265).

    coreset_rows           patches that are kept of each model; by default 2000
    coreset_ratio          the same as a share of all good patches
    coreset                what its rows are chosen from: `sampled`, patches drawn from all
                           alike; `streamed`, a net that every patch is near to, so that
                           rare ones count, which takes longer
    candidates             patches kept by a seeded reservoir for the coreset to
                           choose from; bounds memory whatever the image count
    projection_dimensions  greedy selection measures in this many random
                           directions; 0 measures in the features themselves
    neighbourhood          patches that a feature is averaged over, along a side
    reweight_neighbours    b of eq. 7; 0 leaves the image score unweighted
    position_weight        for parts that always lie alike: a patch's place in the
                           frame, from -1 to 1 each way, counts as two more features
                           of this weight, in standard deviations of all features
                           together; 0, as in the paper, is for webs
    seed                   of what is drawn by chance: candidates, directions, the first row
    """

    tap_strides: ClassVar[tuple[int, ...]] = (8, 16)

    name: Literal["patchcore"]
    coreset_rows: int | None = Field(default=None, ge=1)
    coreset_ratio: float | None = Field(default=None, gt=0, le=1)
    coreset: Literal["sampled", "streamed"] = "sampled"
    candidates: int = Field(default=100_000, ge=100)
    projection_dimensions: int = Field(default=128, ge=0)
    neighbourhood: Literal[1, 3, 5] = 3
    reweight_neighbours: int = Field(default=0, ge=0, le=64)
    position_weight: float = Field(default=0.0, ge=0, le=100)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.coreset_rows is not None and self.coreset_ratio is not None:
            raise ValueError("coreset_rows and coreset_ratio are both given; expected only one")
        if self.coreset == "streamed" and self.coreset_rows is None:
            raise ValueError('coreset = "streamed" needs coreset_rows: a net is made for so many')
        if self.reweight_neighbours == 1:
            raise ValueError("reweight_neighbours 1 weighs a score by itself; expected 0 or >= 2")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return as_before(self, handler(self), "coreset")

    @property
    def scores_images(self) -> bool:
        """See `MethodSettings`: eq. 7 weighs one place of the whole image."""
        return self.reweight_neighbours > 0

    def unfit_for_webs(self) -> str:
        """See `MethodSettings`."""
        unfit = super().unfit_for_webs()
        if not unfit and self.position_weight:
            unfit = (
                "method.position_weight counts a patch's place along the frame, which a web "
                "does not have; set it to 0"
            )
        return unfit or self._weighs_whole_images("a web")

    def unfit_for_masks(self) -> str:
        """See `MethodSettings`."""
        return self._weighs_whole_images("a mask")

    def at_a_glance(self) -> Self:
        """See `MethodSettings`: a smaller bank."""
        rows = min(_GLANCE_ROWS, self.coreset_rows or _GLANCE_ROWS)
        return self.model_copy(update={"coreset_rows": rows, "coreset_ratio": None})

    def _weighs_whole_images(self, what: str) -> str:
        if not self.reweight_neighbours:
            return ""
        return (
            f"method.reweight_neighbours weighs the score of one whole image, and {what} is "
            "judged part by part; set it to 0"
        )


class BaselineSpec(MethodSettings):
    """Bands of plain brightness alone: what every network must be better than.

    Its backbone is `grey`, which is no network and has nothing to quantise.
    """

    tap_strides: ClassVar[tuple[int, ...]] = (8,)
    backbone: ClassVar[str | None] = "grey"

    name: Literal["baseline"]


PADIM = Method(
    PadimSpec,
    "kenpin.runtime.judging.padim:load_padim",
    "kenpin.compile.methods.padim:PADIM",
    "kenpin.runtime.learning.padim:learn_padim",
)
PATCHCORE = Method(
    PatchCoreSpec,
    "kenpin.runtime.judging.patchcore:load_patchcore",
    "kenpin.compile.methods.patchcore:PATCHCORE",
    "kenpin.runtime.learning.patchcore:learn_patchcore",
)

BASELINE = Method(
    BaselineSpec,
    "kenpin.runtime.judging.baseline:load_baseline",
    "kenpin.compile.methods.baseline:BASELINE",
)

# Every method; further ones are entry points in the group kenpin.methods.
METHODS: Registry[Method] = Registry(
    "kenpin.methods",
    "method",
    Method,
    {
        "baseline": "kenpin.config.methods:BASELINE",
        "cflow": "kenpin.config.trained:CFLOW",
        "dfm": "kenpin.config.dfm:DFM",
        "efficientad": "kenpin.config.trained:EFFICIENTAD",
        "ensemble": "kenpin.config.ensemble:ENSEMBLE",
        "fastflow": "kenpin.config.trained:FASTFLOW",
        "ganomaly": "kenpin.config.trained:GANOMALY",
        "imported": "kenpin.config.imported:IMPORTED",
        "metric": "kenpin.config.trained:METRIC",
        "padim": "kenpin.config.methods:PADIM",
        "patchcore": "kenpin.config.methods:PATCHCORE",
        "reverse_distillation": "kenpin.config.trained:REVERSE_DISTILLATION",
        "stfpm": "kenpin.config.trained:STFPM",
    },
)

# The table `[method]`: of the class that belongs to its name.
MethodSpec = Annotated[SerializeAsAny[MethodSettings], settings_by("name", METHODS)]


def for_webs(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table `[method]` with the defaults that its method has for webs."""
    try:
        settings = METHODS.find(str(table.get("name"))).settings
    except ConfigError:
        return dict(table)  # whoever reads it next says what is wrong with it
    return settings.in_a_web(table)


def tables_of(table: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The defaults that a method has for a recipe's other tables."""
    try:
        return METHODS.find(str(table.get("name"))).settings.defaults_with(table)
    except ConfigError:
        return {}  # whoever reads it next says what is wrong with it


def own_backbone(table: Mapping[str, Any]) -> str | None:
    """The backbone that a method brings that has no network; None if it takes any."""
    try:
        return METHODS.find(str(table.get("name"))).settings.backbone
    except ConfigError:
        return None  # whoever reads it next says what is wrong with it
