"""The bundle: what the offline step hands to the box, verified before use."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from kenpin.config.frame import FrameSpec
from kenpin.config.methods import MethodSpec
from kenpin.config.recipe import Join, Places, QuantizeSpec, ScoreSpec, ThresholdSpec, TileSpec
from kenpin.config.settings import Settings, problems
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.layout import MANIFEST, SIGNATURES

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "SIGNATURES",
    "BlendRecord",
    "Bundle",
    "BundleError",
    "DataRecord",
    "FeatureRecord",
    "GoldenFrame",
    "GoodScore",
    "GreyRange",
    "Manifest",
    "Network",
    "QuantizationRecord",
    "ThresholdRecord",
    "TwinScores",
    "canonical",
    "content_hash",
    "file_hash",
    "parse_manifest",
    "read_bundle",
]

SCHEMA = 1

# Hex digits of the content hash in a bundle's name: enough to tell bundles
# apart on one box, short enough for a log line.
NAME_DIGITS = 12

# Of the format's versions, those that numpy writes for plain arrays.
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

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
    "vnni"; bundles from before there was a choice do not say.
    """

    settings: QuantizeSpec
    scores: dict[Literal["fp32", "int8"], dict[Literal["normals", "twins"], list[float]]]
    score_ratios: dict[str, float]
    separation: dict[Literal["fp32", "int8"], float]
    processors: Literal["any", "vnni"] | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = handler(self)
        if self.processors is None:
            del tree["processors"]
        return tree


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
    """

    normalise: Places
    places: Places
    sigmas_px: tuple[float, ...]
    join: Join
    chosen: str
    adds: bool | None = None


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
    """Which good images were learned from, by file name."""

    sha256: Sha256
    fitted: list[str]
    seed: int


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


@dataclass(frozen=True)
class Network:
    """An OpenVINO IR as it was verified.

    source   where it came from, for messages
    """

    source: Path
    xml: bytes = field(repr=False)
    weights: bytes = field(repr=False)

    def __str__(self) -> str:
        return str(self.source)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every byte was checked, and is in memory: what was hashed is what judges.

    folder   where it was read from; nothing that judges is read there again
    sha256   its content hash
    arrays   the method's statistics by name, read-only
    network  the IR; None once it is `loaded`
    golden   the golden frames' image files by name
    """

    folder: Path
    sha256: str
    manifest: Manifest
    arrays: Mapping[str, NDArray[np.float32]]
    network: Network | None
    golden: Mapping[str, bytes]

    @property
    def label(self) -> str:
        """Name and the start of the content hash, as verdicts carry it."""
        return f"{self.manifest.name}@{self.sha256[:NAME_DIGITS]}"

    def loaded(self) -> Bundle:
        """The same for whoever has made a pipeline of it, which holds what it needs itself."""
        return replace(self, arrays={}, network=None)


def canonical(manifest: Manifest) -> bytes:
    """The one byte sequence of a manifest: sorted keys, no NaN, a line each."""
    tree = manifest.model_dump(mode="json")
    for table, name in ((tree, "web"), (tree, "blend"), (tree["grey"], "even_to")):
        # Bundles keep the content hash they had before there was such a thing.
        if table[name] is None:
            del table[name]
    text = json.dumps(tree, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode()


def content_hash(manifest_bytes: bytes) -> str:
    """SHA-256 of the manifest, which names every other file's: the bundle's identity."""
    return hashlib.sha256(manifest_bytes).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_bundle(path: Path, trust: Path | None = None) -> Bundle:
    """The bundle in a folder, every byte of it verified.

    Parameters
    ----------
    path
        The bundle's own folder, or a store whose link `current` leads to one.
    trust
        A folder of public keys, one of which must have signed the bundle; None
        takes bundles that nobody signed.

    Raises
    ------
    BundleError
        If no trusted key has signed it, where one must;
        If a file is missing, added, altered, not a plain file of the folder,
        or the manifest is not of a known schema, not in its canonical form,
        or does not hash to the folder's name. The message says which.
    """
    if (path / "current").is_symlink() and not (path / MANIFEST).exists():
        path = path / "current"
    folder = path.resolve()
    if not folder.is_dir():
        raise BundleError(f"{path}: no such folder; give the folder that edge-compile wrote")
    raw = _manifest_bytes(folder)
    manifest = parse_manifest(folder, raw)
    if trust is not None:
        _check_signature(folder, raw, trust)
    _check_names(folder, manifest)
    files = {name: _verified(folder, name, expected) for name, expected in manifest.files.items()}
    return Bundle(
        folder,
        content_hash(raw),
        manifest,
        _arrays(folder, files),
        _network(folder, files),
        _golden(folder, manifest, files),
    )


def _manifest_bytes(folder: Path) -> bytes:
    file = folder / MANIFEST
    if file.is_symlink() or not file.is_file():
        raise BundleError(f"{folder}: holds no {MANIFEST}; this is not a bundle, or it is damaged")
    return file.read_bytes()


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


def _check_signature(folder: Path, raw: bytes, trust: Path) -> None:
    # Only where it is asked for: cryptography takes its time to import.
    from kenpin.runtime.bundles.signature import SignatureError, signer

    try:
        signer(folder, raw, trust)
    except SignatureError as error:
        raise BundleError(str(error)) from None


def _check_names(folder: Path, manifest: Manifest) -> None:
    """That the folder holds the files which the manifest names, and nothing else."""
    for name in manifest.files:
        parts = name.split("/")
        if re.search(r"[\\\0]", name) or any(part in ("", ".", "..") for part in parts):
            raise BundleError(f"{folder}/{MANIFEST}: names {name!r}, which leaves the folder")
    found: set[str] = set()
    for item in sorted(folder.rglob("*")):
        name = item.relative_to(folder).as_posix()
        if item.is_symlink() or not (item.is_file() or item.is_dir()):
            raise BundleError(f"{folder}: {name} is not a plain file; a bundle holds no links")
        if item.is_file() and name not in (MANIFEST, SIGNATURES):
            found.add(name)
    for name in sorted(found - set(manifest.files)):
        raise BundleError(f"{folder}: {name} does not belong to the bundle; remove it")
    for name in sorted(set(manifest.files) - found):
        raise BundleError(f"{folder}: {name} is missing; copy the bundle again")


def _verified(folder: Path, name: str, expected: str) -> bytes:
    """A file's bytes, read once: these were hashed, and these are used."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{folder}: {name} cannot be read ({error.strerror}); copy the bundle again"
        ) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise BundleError(
            f"{folder}: {name} does not have the recorded SHA-256; it is damaged or was "
            "altered: copy the bundle again"
        )
    return data


def _arrays(folder: Path, files: Mapping[str, bytes]) -> dict[str, NDArray[np.float32]]:
    return {
        name.removesuffix(".npy"): _array(folder, name, data)
        for name, data in sorted(files.items())
        if name.endswith(".npy")
    }


def _array(folder: Path, name: str, data: bytes) -> NDArray[np.float32]:
    """The array in a `.npy` file's bytes, which stay where they are: no copy, read-only."""
    stream = io.BytesIO(data)
    try:
        header = _HEADERS[np.lib.format.read_magic(stream)](stream)
    # numpy's reader of headers raises whatever Python's own parser does.
    except Exception as error:  # noqa: BLE001
        raise BundleError(
            f"{folder}: {name} is not a plain array ({type(error).__name__}: {error}); recompile "
            "the bundle"
        ) from None
    shape, column_major, dtype = header
    if dtype != np.float32 or not math.prod(shape):
        raise BundleError(f"{folder}: {name} is {dtype} {shape}, expected filled float32")
    start, size = stream.tell(), 4 * math.prod(shape)
    if len(data) != start + size:
        raise BundleError(
            f"{folder}: {name} holds {len(data) - start} bytes after its header, {shape} float32 "
            f"take {size}; recompile the bundle"
        )
    flat = np.frombuffer(data, np.float32, offset=start)
    return flat.reshape(shape, order="F" if column_major else "C")


def _network(folder: Path, files: Mapping[str, bytes]) -> Network:
    missing = [name for name in ("features.xml", "features.bin") if name not in files]
    if missing:
        raise BundleError(f"{folder}: holds no {missing[0]}; recompile the bundle")
    return Network(folder / "features.xml", files["features.xml"], files["features.bin"])


def _golden(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> dict[str, bytes]:
    for frame in manifest.golden:
        if frame.file not in files:
            raise BundleError(f"{folder}: names a golden frame {frame.file!r}, which it lacks")
    return {frame.file: files[frame.file] for frame in manifest.golden}
