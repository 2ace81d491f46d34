"""The recipe: everything that decides what bundle comes out of good images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from kenpin.config.backbone import BackboneSpec
from kenpin.config.frame import FrameSpec
from kenpin.config.images import ImagesSpec
from kenpin.config.imported import ModelSpec
from kenpin.config.methods import MethodSpec, for_webs, own_backbone, tables_of
from kenpin.config.settings import Settings, anchored, as_before, load
from kenpin.config.threshold import ReportSpec, ThresholdSpec
from kenpin.config.tiles import TileSpec
from kenpin.config.web import WebSpec

__all__ = [
    "SAFE_WEIGHT_BITS",
    "EngineSpec",
    "ImageQualitySpec",
    "Join",
    "Places",
    "QuantizeSpec",
    "Recipe",
    "ReportSpec",
    "ScoreSpec",
    "ThresholdSpec",
    "in_large_tiles",
    "load_recipe",
]

# Which places of a map have a band of their own.
Places = Literal["none", "column", "position"]
# How bands of brightness and the network's map become one.
Join = Literal["root", "maximum", "mean", "band"]

# Pixels. On a web four times as much, and twice that again, is what a verdict waits for.
BandSigma = Annotated[float, Field(ge=1, le=64)]

# Tiles of 512 px spend half as many pixels on halos as those of 256 px: a fifth of the network's
# time for each pixel that is scored.
LARGE_PX: Final = 512

# Weights of so many bits add up without saturation on every x86-64 processor.
SAFE_WEIGHT_BITS: Final = 7


class QuantizeSpec(Settings):
    """INT8 by NNCF, and the limits past which the compile step fails.

    precision            "int8", or "fp32": the network stays as it is
    weight_bits          with 7, scores are the same on every x86-64 processor; 8 are
                         for processors with VNNI, and others refuse the bundle
    calibrate_on         what the ranges of INT8 are taken from: good tiles, with twins of
                         them in which defects are drawn, or good tiles alone
    calibration_tiles    so many of these
    guard_tiles          good tiles, and a twin of each, that FP32 and INT8 are compared on;
                         as many others to measure by
    min_score_ratio      INT8 may shrink the scores of any kind of anomaly twin to
                         this part of FP32's
    max_separation_loss  and may lose this much AUROC of twins against normals
    """

    precision: Literal["int8", "fp32"] = "int8"
    weight_bits: Literal[7, 8] = SAFE_WEIGHT_BITS
    calibrate_on: Literal["normals+twins", "normals"] = "normals+twins"
    calibration_tiles: int = Field(default=256, ge=8, le=4096)
    guard_tiles: int = Field(default=64, ge=8, le=1024)
    min_score_ratio: float = Field(default=0.9, gt=0, le=1)
    max_separation_loss: float = Field(default=0.02, ge=0, le=1)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return as_before(self, handler(self), "weight_bits")


class ScoreSpec(Settings):
    """How one map comes about, whose maximum becomes the score.

    smooth_sigma_px  blurs the network's map
    seam_sigma_px    blurs it near the borders of tiles alone, for networks of single tiles
    normalise        whose good places the network's map is measured by: those of the
                     same position (parts that lie alike), the same column (webs), or
                     "none" for all alike
    bands_px         bands of plain brightness, by the sigma of their narrow Gaussian;
                     an empty list leaves the network alone
    join             how both become one: the root of the sum of squares, their maximum
                     or mean; "band" gives the network no say

    What is "auto" is chosen by the build from good images and their twins, and said.
    """

    smooth_sigma_px: float = Field(default=4.0, ge=0, le=64)
    seam_sigma_px: float = Field(default=0.0, ge=0, le=64)
    normalise: Literal["auto"] | Places = "auto"
    bands_px: Literal["auto"] | tuple[BandSigma, ...] = "auto"
    join: Literal["auto"] | Join = "auto"

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.join == "band" and self.bands_px == ():
            raise ValueError('join "band" without bands_px would look at nothing; name a band')
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Bundles keep the content hash they had before there were bands.
        tree: dict[str, Any] = as_before(self, handler(self), "seam_sigma_px")
        return {name: value for name, value in tree.items() if value != "auto"}


class ImageQualitySpec(Settings):
    """How far a frame's brightness and contrast may leave those of the good images.

    A frame beyond is NG `image_quality`.

    even_light      a frame within is brought to the good images' mean brightness before
                    the network sees it: a lamp that ages is then no defect, and a part
                    that is darker as a whole is none either
    grey_margin     grey levels by which a frame's mean may leave the good images' range, on
                    both sides
    contrast_share  of the lowest contrast (standard deviation) of a good image: less is
                    too flat
    """

    even_light: bool = True
    grey_margin: float = Field(default=40.0, ge=0, le=255)
    contrast_share: float = Field(default=0.25, ge=0, le=1)


class EngineSpec(Settings):
    """How the network runs on the box; its shape is static.

    batch  tiles of one inference
    """

    batch: int = Field(default=8, ge=1, le=256)


class Recipe(Settings):
    """A recipe file as a whole.

    name   of what is inspected: bundles are called by it and by their hash
    model  a network of somebody else's, for `edge-compile import`
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    images: ImagesSpec
    frame: FrameSpec
    tiles: TileSpec = TileSpec()
    backbone: BackboneSpec = BackboneSpec()
    quantize: QuantizeSpec = QuantizeSpec()
    method: MethodSpec
    score: ScoreSpec = ScoreSpec()
    threshold: ThresholdSpec = ThresholdSpec()
    image_quality: ImageQualitySpec = ImageQualitySpec()
    report: ReportSpec = ReportSpec()
    engine: EngineSpec = EngineSpec()
    web: WebSpec | None = None
    model: ModelSpec | None = None

    @model_validator(mode="after")
    def _model_has_a_method(self) -> Self:
        if self.model is None and self.method.name == "imported":
            raise ValueError('method "imported" needs the table [model], which names a network')
        if self.model is not None and self.method.backbone is not None:
            raise ValueError(
                f'method "{self.method.name}" has no network; remove the table [model]'
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _as_webs_are(cls, tree: Any) -> Any:
        # A web looks alike along its length: what a method's defaults for parts need not be.
        if _is_web(tree) and isinstance(method := tree.get("method"), Mapping):
            return {"web": {}, **tree, "method": for_webs(method)}
        return tree

    @model_validator(mode="before")
    @classmethod
    def _in_large_tiles(cls, tree: Any) -> Any:
        # How large the tiles of somebody else's network are, its file may tell.
        foreign = not isinstance(tree, Mapping) or tree.get("model") is not None
        return tree if foreign else in_large_tiles(tree)

    @model_validator(mode="after")
    def _fits_the_geometry(self) -> Self:
        if self.frame.geometry == "indexed":
            if self.web is not None or self.images.joined:
                raise ValueError(
                    "the table [web] and images.joined are for webs; "
                    'set frame.geometry = "continuous" or remove them'
                )
            if self.images.mask:
                _fits(self.method.unfit_for_masks())
            return self
        if self.images.augment is not None:
            raise ValueError(
                "images.augment is for parts: a web shows itself in every place already; remove it"
            )
        if self.score.seam_sigma_px:
            raise ValueError(
                "score.seam_sigma_px is for parts: a web has no tile of its own; remove it"
            )
        if self.images.mask is not None:
            raise ValueError("images.mask is for parts; a web has web.ignore and web.edges")
        if self.images.joined and self.images.group is not None:
            raise ValueError(
                "images.group tells several webs apart, and images.joined makes one web of all "
                "files, which is cut into parts along its length; remove one of them"
            )
        _fits(self.method.unfit_for_webs())
        if self.web is not None:
            _within(self.web, self.frame.width_px)
        return self

    @model_validator(mode="before")
    @classmethod
    def _without_a_network(cls, tree: Any) -> Any:
        # Nothing is quantised where there is no network.
        method = tree.get("method") if isinstance(tree, Mapping) else None
        own = own_backbone(method) if isinstance(method, Mapping) else None
        quantize = tree.get("quantize", {}) if own else None
        if own is None or not isinstance(quantize, Mapping):
            return tree
        quantize = {"precision": "fp32", **quantize}
        return {"backbone": {"name": own}, **tree, "quantize": quantize}

    @model_validator(mode="before")
    @classmethod
    def _imported(cls, tree: Any) -> Any:
        # The first of these to run, for it is the last that stands here.
        # A network of somebody else's judges by itself, unless a method is to do so.
        if isinstance(tree, Mapping) and tree.get("model") is not None:
            tree = {"method": {"name": "imported"}, **tree}
        method = tree.get("method") if isinstance(tree, Mapping) else None
        if not isinstance(method, Mapping):
            return tree
        for name, defaults in tables_of(method).items():
            table = tree.get(name, {})
            if isinstance(table, Mapping):
                tree = {**tree, name: {**defaults, **table}}
        return tree

    @model_validator(mode="after")
    def _join_fits_the_method(self) -> Self:
        method, score = self.method, self.score
        own = method.backbone
        if own is not None and (self.backbone.name != own or self.quantize.precision != "fp32"):
            raise ValueError(
                f'method "{method.name}" has no network; remove the table [backbone] and '
                "quantize.precision"
            )
        if own is not None and (score.join not in ("auto", "band") or score.bands_px == ()):
            raise ValueError(
                f'method "{method.name}" is bands alone; set score.join to "band" or "auto", and '
                "let score.bands_px name some"
            )
        asked = {score.normalise, score.join} != {"auto"} or score.bands_px != "auto"
        # Its tiles are measured by it before anything is joined.
        own_tiles = method.name == "imported" and self.threshold.each == "tile"
        asked |= self.threshold.each != "frame" and not own_tiles
        if own_tiles and (self.frame.geometry == "continuous" or self.images.mask is not None):
            raise ValueError(
                'threshold.each "tile" of an imported network is for parts that are seen whole: no '
                'web and no images.mask; set it to "frame"'
            )
        if method.joins_nothing and asked:
            why = (
                "a network's own map is left as it is"
                if method.name == "imported"
                else "method.reweight_neighbours weighs the score of one whole image, which no map "
                "joins; set it to 0"
            )
            raise ValueError(
                f"{why}; remove score.normalise, score.bands_px, score.join and threshold.each"
            )
        if score.normalise == "position" and self.frame.geometry == "continuous":
            raise ValueError(
                'score.normalise "position" tells places along the frame apart, which a web does '
                'not have; use "column" or "none"'
            )
        return self

    @model_validator(mode="after")
    def _lanes_are_named(self) -> Self:
        if self.threshold.each == "lane" and (self.web is None or not self.web.lanes):
            raise ValueError(
                'threshold.each "lane" needs lanes, which [[web.lanes]] names; '
                'name some, or choose "tile" or "column"'
            )
        return self

    @model_validator(mode="after")
    def _some_need_ng(self) -> Self:
        method = self.threshold.method
        if method in ("f1", "cost") and self.images.ng is None:
            raise ValueError(
                f'threshold method "{method}" needs `images.ng`, a folder of NG images'
            )
        return self


def in_large_tiles(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recipe's tree, its tiles of `LARGE_PX` where nobody has said and that is fewer pixels."""
    if _is_web(tree) or not _alike_everywhere(tree):
        return tree
    frame, tiles = tree.get("frame"), tree.get("tiles", {})
    if not isinstance(frame, Mapping) or not isinstance(tiles, Mapping):
        return tree
    sides: tuple[Any, ...] = frame.get("height_px"), frame.get("width_px")
    halo = tiles.get("halo_px", TileSpec().halo_px)
    chosen = "size_px" in tiles or "stride_px" in tiles
    # What is of a wrong kind is refused where it belongs.
    if chosen or not all(isinstance(px, int) and px > 0 for px in (*sides, halo)):
        return tree
    usual = TileSpec().size_px
    filled = 2 * halo < usual and min(sides) >= LARGE_PX - 2 * halo
    if filled and _pixels(sides, LARGE_PX, halo) < _pixels(sides, usual, halo):
        return {**tree, "tiles": {**tiles, "size_px": LARGE_PX}}
    return tree


def _is_web(tree: Any) -> bool:
    if not isinstance(tree, Mapping):
        return False
    frame = tree.get("frame")
    if isinstance(frame, FrameSpec):
        return frame.geometry == "continuous"
    return isinstance(frame, Mapping) and frame.get("geometry") == "continuous"


def _alike_everywhere(tree: Mapping[str, Any]) -> bool:
    """Whether a patch is judged alike wherever it lies in its tile: then tiles may be larger."""
    method = tree.get("method")
    return (
        isinstance(method, Mapping)
        and method.get("name") == "patchcore"
        and method.get("share", "frame") == "frame"
        and not method.get("position_weight")
    )


def _pixels(sides: tuple[Any, ...], size_px: int, halo_px: int) -> int:
    """Pixels of all tiles of a frame."""
    core = size_px - 2 * halo_px
    tiles: int = math.prod(-(-side // core) for side in sides)
    return tiles * size_px**2


def _fits(unfit: str) -> None:
    if unfit:
        raise ValueError(unfit)


def _within(web: WebSpec, width_px: int) -> None:
    spans = [("lane " + lane.name, lane.right_px) for lane in web.lanes]
    spans += [("ignore", zone.right_px or zone.left_px) for zone in web.ignore]
    if web.edges is not None:
        spans.append(("edges", web.edges.right_px))
    for name, right_px in spans:
        if right_px > width_px:
            raise ValueError(
                f"web: {name} reaches to {right_px} px, but frame.width_px is {width_px}"
            )


def load_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file, its paths made absolute.

    Parameters
    ----------
    changes
        Settings to use instead of the file's, each as `table.key=value`. The
        value is TOML; what is not TOML is taken as text.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or holds an unknown, missing
        or impossible setting; every such setting is named.
    """
    return anchored(load(Recipe, path, changes), path.resolve().parent)
