"""What a bundle says of itself: `manifest.json`, its records, and its one sequence of bytes."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from kenpin.config.frame import FrameSpec
from kenpin.config.methods import MethodSpec
from kenpin.config.recipe import Join, Places, QuantizeSpec, ScoreSpec, ThresholdSpec
from kenpin.config.settings import Settings, as_before, problems
from kenpin.config.threshold import Each
from kenpin.config.tiles import TileSpec
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.layout import MANIFEST

__all__ = [
    "NAME_DIGITS",
    "SCHEMA",
    "BlendRecord",
    "BundleError",
    "ChallengeRecord",
    "DataRecord",
    "DriftRecord",
    "FeatureRecord",
    "GoldenFrame",
    "GoodScore",
    "GreyRange",
    "LearntFrame",
    "Manifest",
    "QuantizationRecord",
    "ThresholdRecord",
    "TwinScores",
    "UpdateRecord",
    "canonical",
    "content_hash",
    "parse_manifest",
]

# The version of manifests that is read and written.
SCHEMA = 1

# Hex digits of the content hash in a bundle's name: enough to tell bundles
# apart on one box, short enough for a log line.
NAME_DIGITS = 12

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleError(Exception):
    """The bundle cannot be trusted or used: says which part, and what to do."""


class FeatureRecord(Settings):
    """What the network gives for one tile: cells x cells positions of `dimensions`."""

    backbone: str
    layers: tuple[str, ...]
    weights_sha256: Sha256 | None
    patch_stride_px: int
    cells: int
    dimensions: int
    batch: int
    inference_precision: Literal["f32"]


class QuantizationRecord(Settings):
    """How FP32 and INT8 score the same anomaly twins.

    Each entry of `scores` holds the image scores of normals and twins by one
    precision, fitted on its own features of the same tiles. `score_ratios` is
    INT8's score of a twin over FP32's, the median of each kind; empty for FP32.
    `processors` says which x86-64 processors compute the same scores: "any", or those with
    "vnni"; bundles from before there was a choice do not say. `in_float` names the
    convolutions and products that stayed in float where the rest is INT8, because in INT8
    defects would be lost.
    """

    settings: QuantizeSpec
    scores: dict[Literal["fp32", "int8"], dict[Literal["normals", "twins"], list[float]]]
    score_ratios: dict[str, float]
    separation: dict[Literal["fp32", "int8"], float]
    processors: Literal["any", "vnni"] | None = None
    in_float: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return as_before(self, handler(self), "processors", "in_float")


class ThresholdRecord(Settings):
    """The thresholds in force and where they came from.

    source    what was chosen and why, in words
    rule      "conformal" or "gumbel", see `operating_point`; "f1", "cost" or "fixed"
    at_most   the share of good images that is rejected at most, with 95 % confidence;
              None where nothing was promised
    usual     the median score of the good images
    with_odd  what `ok` would be if the odd ones among the good images counted
    """

    ok: float = Field(ge=0)
    ng: float
    source: str
    settings: ThresholdSpec
    rule: Literal["conformal", "gumbel", "f1", "cost", "fixed"] = "fixed"
    usual: float = Field(default=0.0, ge=0)
    at_most: float | None = None
    with_odd: float | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.ok <= self.ng < math.inf:
            raise ValueError(f"ok is {self.ok}, ng {self.ng}: expected finite 0 <= ok <= ng")
        return self


class BlendRecord(Settings):
    """How the network's map and bands of plain brightness became one map.

    normalise   whose good places the network's map is measured by: those of the same
                position, the same column, or all
    places      the same of the bands
    sigmas_px   of the bands' narrow Gaussians; empty: the network alone
    join        root: of the sum of squares; band: the network has no say
    chosen      why, in words
    adds        whether the network finds faint twins that bands alone do not, by more than
                chance; None where nobody looked
    each        what has a threshold of its own: array `section_gain` scales the map, so that
                the bundle's threshold serves all
    """

    normalise: Places
    places: Places
    sigmas_px: tuple[float, ...]
    join: Join
    chosen: str
    adds: bool | None = None
    each: Each = "frame"

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return as_before(self, handler(self), "each")


class GreyRange(Settings):
    """Frames outside are not judged by the model: a lamp or the exposure failed.

    even_to  mean grey that frames inside are brought to before the network sees them;
             None: they stay as they are
    """

    mean_min: float
    mean_max: float
    contrast_min: float
    even_to: float | None = None


class GoldenFrame(Settings):
    """A frame whose score every box must reproduce within `tolerance` (a share)."""

    file: str
    kind: Literal["good", "twin"]
    score: float
    tolerance: float


class DataRecord(Settings):
    """Which good images were learned from, by file name, and how they were turned; clockwise."""

    sha256: Sha256
    fitted: list[str]
    seed: int
    turn_deg: Literal[0, 90, 180, 270] = 0


class GoodScore(Settings):
    """A good image, or a strip of a good web as `file#strip`: its score without its own part.

    odd  it does not belong to the others by its score, and sets no threshold
    """

    name: str
    part: str
    score: float
    odd: bool = False


class TwinScores(Settings):
    """How faint defects score that were drawn into good images, see `subtle_twins`."""

    kind: str
    size_px: int
    contrast: int
    scores: list[float]


class LearntFrame(Settings):
    """A frame that was falsely rejected, said who, and was learnt from; by its file's hash."""

    name: str
    sha256: Sha256
    by: str


class ChallengeRecord(Settings):
    """What an updated bundle had to show before it was let through.

    sha256    of the names and hashes of all that was judged
    defects   shown or drawn; the first of `found` by the bundle it came from, clearly enough to
              count, and the second of those by this one
    good      known good frames; `rejected` likewise
    """

    sha256: Sha256
    defects: int
    found: tuple[int, int]
    good: int
    rejected: tuple[int, int]


class UpdateRecord(Settings):
    """Where an updated bundle came from.

    bases          labels of the bundles it came from, the compiled one first
    base_sha256    content hash of the last of them
    frames         what was learnt from in this step
    added          rows, or patches of each Gaussian
    compiled_rows  of PatchCore's bank before the first update
    ok_before, ng_before
                   thresholds of the bundle it came from
    """

    bases: list[str] = Field(min_length=1)
    base_sha256: Sha256
    frames: list[LearntFrame]
    added: int
    compiled_rows: int | None
    ok_before: float
    ng_before: float
    challenge: ChallengeRecord


class DriftRecord(Settings):
    """What the good images look like, for whoever watches whether frames still do.

    looks        images that were looked at; of webs, blocks of lines as high as a tile's core
    independent  as how many of them they count, by quantity, and "columns" and "material":
                 neighbours resemble each other
    limits       lowest, median and highest of each quantity, see `look_at`
    material     the largest distance of one that the statistics had not seen, see `Material`;
                 0: lamp and focus leave nothing of the features, and nobody watches it
    """

    looks: int = Field(ge=3)
    independent: dict[str, float]
    limits: dict[str, tuple[float, float, float]]
    material: float = Field(ge=0)


class Manifest(Settings):
    """`manifest.json`: the bundle's whole content, each file by its SHA-256."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    versions: dict[str, str]
    frame: FrameSpec
    tiles: TileSpec
    features: FeatureRecord
    method: MethodSpec
    score: ScoreSpec
    threshold: ThresholdRecord
    grey: GreyRange
    quantization: QuantizationRecord
    golden: list[GoldenFrame] = Field(min_length=1)
    data: DataRecord
    good_scores: list[GoodScore] = Field(min_length=1)
    twin_scores: list[TwinScores]
    ng_scores: dict[str, float]
    files: dict[str, Sha256]
    web: WebSpec | None = None
    blend: BlendRecord | None = None
    update: UpdateRecord | None = None
    drift: DriftRecord | None = None


def canonical(manifest: Manifest) -> bytes:
    """The one byte sequence of a manifest: sorted keys, no NaN, a line each."""
    tree = manifest.model_dump(mode="json")
    optional = [(tree, name) for name in ("web", "blend", "update", "drift")]
    for table, name in [*optional, (tree["grey"], "even_to")]:
        # Bundles keep the content hash they had before there was such a thing.
        if table[name] is None:
            del table[name]
    if not tree["data"]["turn_deg"]:
        del tree["data"]["turn_deg"]
    text = json.dumps(tree, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode()


def content_hash(manifest_bytes: bytes) -> str:
    """SHA-256 of the manifest, which names every other file's: the bundle's identity."""
    return hashlib.sha256(manifest_bytes).hexdigest()


def parse_manifest(folder: Path, raw: bytes) -> Manifest:
    """The manifest in a file's bytes, which must hash to the folder's name.

    Raises
    ------
    BundleError
        If a single bit of it is not as it was written.
    """
    try:
        tree: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{folder}/{MANIFEST}: damaged ({error}); copy the bundle again"
        ) from None
    found = tree.get("schema_version") if isinstance(tree, dict) else None
    if found != SCHEMA:
        raise BundleError(
            f"{folder}/{MANIFEST}: schema version {found!r}, this runtime knows {SCHEMA}; "
            "recompile the bundle or update the runtime"
        )
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise BundleError(f"{folder}/{MANIFEST}: {problems(error)}; recompile it") from None
    # A changed space or digit that means the same is still a change.
    if canonical(manifest) != raw:
        raise BundleError(f"{folder}/{MANIFEST}: altered after it was written; copy it again")
    expected = f"{manifest.name}-{content_hash(raw)[:NAME_DIGITS]}"
    if folder.name != expected:
        raise BundleError(
            f"{folder}: the content hashes to {expected}, the folder has another name; the "
            "manifest was altered or the folder renamed: copy the bundle again, keeping its name"
        )
    return manifest
