"""Methods whose network is trained on the good images: what may be set of each.

What all of them share is `TrainedSpec`. Each says of itself whether endless webs suit it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from kenpin.config.backbone import BackboneSpec
from kenpin.config.methods import Method, MethodSettings
from kenpin.config.settings import Settings, as_before

__all__ = [
    "CFLOW",
    "EFFICIENTAD",
    "FASTFLOW",
    "GANOMALY",
    "METRIC",
    "REVERSE_DISTILLATION",
    "STFPM",
    "CflowSpec",
    "DrawnKind",
    "DrawnSpec",
    "EfficientAdSpec",
    "FastflowSpec",
    "GanomalySpec",
    "MetricLoss",
    "MetricSpec",
    "ReverseDistillationSpec",
    "StfpmSpec",
    "TrainedSpec",
    "TwinKind",
    "trained",
]

# Losses of the method `metric`.
MetricLoss = Literal["arcface", "cosface", "sphereface", "l2_softmax", "center"]
# Defects that a training draws.
TwinKind = Literal["spot", "scratch", "stain", "band", "grain", "cut_paste"]
# Drawn by hand into photographs, defects below this are lost in most cameras' noise; above the
# upper one every network finds them.
CONTRASTS = (12.0, 60.0)


# For methods that cannot do otherwise.
OTHERS = (
    "use a method that judges places: stfpm, fastflow, reverse_distillation, cflow, dfm, "
    "patchcore or padim"
)


def _whole_tiles(what: str, remedy: str = OTHERS) -> str:
    """Why webs refuse a method, or a setting of one, that judges whole tiles."""
    return (
        f"{what} judges a tile as a whole, so a line's verdict would depend on where the tile rows "
        f"happen to fall on the material; {remedy}"
    )


def _rising(contrast: tuple[float, float] | None, size_px: tuple[int, int] | None) -> None:
    if contrast is not None and not 1 <= contrast[0] <= contrast[1] <= 255:
        raise ValueError(
            f"twins.contrast is {contrast[0]:g} to {contrast[1]:g}; expected grey levels from 1 to "
            "255, the lower one first"
        )
    if size_px is not None and not 1 <= size_px[0] <= size_px[1]:
        raise ValueError(
            f"twins.size_px is {size_px[0]} to {size_px[1]}; expected pixels from 1 on, the "
            "smaller first"
        )


class DrawnKind(Settings):
    """A kind of defect with a contrast and sizes of its own; its name alone is such a table, too.

    kind      of defect
    contrast  of this kind; by default that of all
    size_px   of this kind; by default those of all
    """

    kind: TwinKind
    contrast: tuple[float, float] | None = None
    size_px: tuple[int, int] | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_a_name(cls, said: Any) -> Any:
        return {"kind": said} if isinstance(said, str) else said

    @model_serializer(mode="wrap")
    def _as_a_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any] | str:
        tree: dict[str, Any] = {k: v for k, v in handler(self).items() if v is not None}
        # Bundles keep the content hash they had before kinds could say more.
        return tree if len(tree) > 1 else self.kind

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _rising(self.contrast, self.size_px)
        return self


EVERY_KIND = tuple(DrawnKind(kind=kind) for kind in get_args(TwinKind))


class DrawnSpec(Settings):
    """Anomaly twins: what is drawn into good tiles, for failures that are known by their looks.

    kinds     of defects, drawn in turn: names of spot, scratch, stain, band, grain or
              cut_paste, and tables for those with a contrast or sizes of their own
    contrast  grey levels that they differ by from what is around them, from and to
    size_px   diameter of spots and stains, width of scratches and bands, side of what is cut
              out and pasted elsewhere, from and to; by default each kind's own sizes
    """

    kinds: tuple[DrawnKind, ...] = Field(default=EVERY_KIND, min_length=1)
    contrast: tuple[float, float] = CONTRASTS
    size_px: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _rising(self.contrast, self.size_px)
        return self

    def contrast_of(self, one: DrawnKind) -> tuple[float, float]:
        """Of one of its kinds."""
        return one.contrast or self.contrast

    def size_px_of(self, one: DrawnKind) -> tuple[int, int] | None:
        """Of one of its kinds; None: the kind's usual sizes."""
        return one.size_px or self.size_px


class TrainedSpec(MethodSettings):
    """What every trained method's table `[method]` has.

    share     "frame" alone: the network is the same everywhere
    minutes   that the first training may take; of `folds` more none takes more steps
    steps     that one training may take: ended by them it comes out the same each time
    folds     good images are dealt into so many, by part: each is judged by a network that
              has seen nothing of it
    batch     tiles that a step learns from
    patience  looks at held-out tiles without getting better, after which a training ends
    every     steps from one look to the next
    twins     drawn into held-out tiles, for these looks
    seed      of first weights and of the order of tiles
    """

    name: str
    share: Literal["frame"] = "frame"
    minutes: float = Field(default=10.0, gt=0, le=24 * 60)
    steps: int = Field(default=20_000, ge=1)
    folds: int = Field(default=3, ge=2, le=10)
    batch: int = Field(default=16, ge=2, le=256)
    patience: int = Field(default=8, ge=1)
    every: int = Field(default=50, ge=1)
    twins: DrawnSpec = DrawnSpec()
    seed: int = Field(default=0, ge=0)

    def looks_at(self, backbone: BackboneSpec) -> tuple[tuple[BackboneSpec, tuple[int, ...]], ...]:
        """The backbones that it learns beside, and the strides of the layers that it taps.

        Without strides it looks at none.

        Parameters
        ----------
        backbone
            The recipe's.
        """
        return ((backbone, self.tap_strides),)

    def all_twins(self) -> dict[str, DrawnSpec]:
        """What is drawn into tiles, by the name of the setting that says it."""
        return {"method.twins": self.twins}

    def without_files(self) -> Self:
        """As a bundle tells it: where files lay on the workstation is nobody's business there."""
        return self


class StfpmSpec(TrainedSpec):
    """Student-teacher feature pyramid matching (Wang et al., arXiv:2103.04257).

    rate  of learning
    """

    tap_strides: ClassVar[tuple[int, ...]] = (4, 8, 16)

    name: Literal["stfpm"]
    rate: float = Field(default=0.4, gt=0)


class FastflowSpec(TrainedSpec):
    """FastFlow (Yu et al., arXiv:2111.07677).

    couplings     steps of the flow of each layer
    hidden_ratio  channels inside a coupling's network, as a share of those that speak
    norm          what features are brought to a mean and a deviation by: each "channel" by what
                  it is over all good tiles; or each "tile" by itself, as its authors do, so that
                  its light and contrast count for nothing
    rate          of learning
    """

    tap_strides: ClassVar[tuple[int, ...]] = (4, 8, 16)

    name: Literal["fastflow"]
    couplings: int = Field(default=8, ge=1, le=32)
    hidden_ratio: float = Field(default=1.0, gt=0, le=4)
    norm: Literal["channel", "tile"] = "channel"
    rate: float = Field(default=1e-3, gt=0)

    def unfit_for_webs(self) -> str:
        """See `MethodSettings`."""
        if self.norm == "tile":
            return _whole_tiles('method.norm "tile"', "leave it out")
        return ""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return as_before(self, handler(self), "norm")


class ReverseDistillationSpec(TrainedSpec):
    """Reverse distillation (Deng and Li, arXiv:2201.10703).

    width  channels of the summary that all features go through
    rate   of learning
    """

    tap_strides: ClassVar[tuple[int, ...]] = (4, 8, 16)

    name: Literal["reverse_distillation"]
    width: int = Field(default=128, ge=8, le=1024)
    rate: float = Field(default=5e-3, gt=0)


class CflowSpec(TrainedSpec):
    """CFLOW (Gudovskiy et al., arXiv:2107.12571).

    couplings       steps of the flow of each layer
    hidden_ratio    channels inside a coupling's network, as a share of those that it is told
    place           "tile": a feature's likelihood depends on where in its tile it lies, as in
                    the paper; "none": it does not
    place_channels  that tell the place
    rate            of learning
    """

    tap_strides: ClassVar[tuple[int, ...]] = (4, 8, 16)

    name: Literal["cflow"]
    couplings: int = Field(default=8, ge=1, le=32)
    hidden_ratio: float = Field(default=2.0, gt=0, le=4)
    place: Literal["tile", "none"] = "tile"
    place_channels: int = Field(default=128, ge=8, le=512, multiple_of=4)
    rate: float = Field(default=2e-4, gt=0)

    @classmethod
    def web_defaults(cls) -> dict[str, Any]:
        """The material has no fixed place under the tile rows."""
        return {"place": "none"}

    def unfit_for_webs(self) -> str:
        """See `MethodSettings`."""
        if self.place == "tile":
            return (
                'method.place "tile" tells scan lines of a tile apart, but the material has no '
                "fixed place under the tile rows: the same thread would be judged differently "
                'each time; use "none"'
            )
        return ""


class MetricSpec(TrainedSpec):
    """Deep metric learning with anomaly twins: the distance to the nearest good tile, by cosine.

    loss        what a training minimises
    margin, scale
                of the loss; by default its paper's own
    dimensions  of an embedding
    prototypes  good tiles that the bundle compares with
    twins       drawn into good tiles to learn from, too: each kind is a class
    rate        of learning
    """

    tap_strides: ClassVar[tuple[int, ...]] = (16,)
    # The highest place of the map is the distance itself, which a blur would lower.
    table_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"score": {"smooth_sigma_px": 0.0}}

    name: Literal["metric"]
    loss: MetricLoss = "arcface"
    margin: float | None = Field(default=None, ge=0, le=4)
    scale: float | None = Field(default=None, gt=0, le=256)
    dimensions: int = Field(default=128, ge=8, le=1024)
    prototypes: int = Field(default=64, ge=1, le=1024)
    rate: float = Field(default=1e-3, gt=0)

    def unfit_for_webs(self) -> str:
        """See `MethodSettings`."""
        return _whole_tiles("method metric")


class EfficientAdSpec(TrainedSpec):
    """EfficientAD (Batzner et al., arXiv:2303.14535).

    distill_steps  of the training in which the teacher learns from the backbone
    width          channels of the first layer of teacher and student; the paper's is 128
    features       of the teacher; the paper's are 384
    autoencoder    whether what only a whole tile shows is judged, too
    rate           of learning
    """

    tap_strides: ClassVar[tuple[int, ...]] = (8, 16)

    name: Literal["efficientad"]
    distill_steps: int = Field(default=500, ge=1)
    width: int = Field(default=64, ge=8, le=512)
    features: int = Field(default=128, ge=8, le=1024)
    autoencoder: bool = True
    rate: float = Field(default=1e-3, gt=0)

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        # As everybody has them, they may be a member's, whose ensemble says others.
        usual = TrainedSpec.model_fields["steps"].default
        if self.steps != usual and self.steps <= self.distill_steps:
            raise ValueError(
                f"steps {self.steps} end with the teacher's, {self.distill_steps}; expected more"
            )
        return self

    @classmethod
    def web_defaults(cls) -> dict[str, Any]:
        """The autoencoder sees a tile as a whole."""
        return {"autoencoder": False}

    def unfit_for_webs(self) -> str:
        """See `MethodSettings`."""
        if self.autoencoder:
            return _whole_tiles("method.autoencoder", "set it to false")
        return ""


class GanomalySpec(TrainedSpec):
    """GANomaly (Akcay et al., arXiv:1805.06725).

    latent  numbers that a tile is encoded as
    width   channels of the first layer
    rate    of learning
    """

    # It looks at tiles alone.
    tap_strides: ClassVar[tuple[int, ...]] = ()
    # The highest place of the map is the score itself, which a blur would lower.
    table_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"score": {"smooth_sigma_px": 0.0}}

    name: Literal["ganomaly"]
    latent: int = Field(default=100, ge=2, le=1024)
    width: int = Field(default=32, ge=4, le=256)
    rate: float = Field(default=2e-4, gt=0)

    def unfit_for_webs(self) -> str:
        """See `MethodSettings`."""
        return _whole_tiles("method ganomaly")


def trained(settings: type[TrainedSpec], fitting: str) -> Method:
    """A method whose network gives the map: its scorer is the same for all of them.

    Parameters
    ----------
    fitting
        The `kenpin.compile.training.fitting.MapFitting`, as "package.module:object".
    """
    return Method(settings, "kenpin.runtime.judging.trained:load_trained", fitting)


# The methods that are trained, each of the name of its table.
STFPM = trained(StfpmSpec, "kenpin.compile.training.stfpm:STFPM")
CFLOW = trained(CflowSpec, "kenpin.compile.training.cflow:CFLOW")
METRIC = trained(MetricSpec, "kenpin.compile.training.metric:METRIC")
FASTFLOW = trained(FastflowSpec, "kenpin.compile.training.fastflow:FASTFLOW")
REVERSE_DISTILLATION = trained(
    ReverseDistillationSpec, "kenpin.compile.training.reverse_distillation:REVERSE_DISTILLATION"
)
EFFICIENTAD = trained(EfficientAdSpec, "kenpin.compile.training.efficientad:EFFICIENTAD")
GANOMALY = trained(GanomalySpec, "kenpin.compile.training.ganomaly:GANOMALY")
