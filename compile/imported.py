"""A network that somebody else made, brought into a bundle's shape: tiles in, distances out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kenpin.compile.backbones import Tap
from kenpin.compile.fitting import Embedding, FitTask, LoadArrays, fitting_of
from kenpin.compile.leave_out import LeaveOut
from kenpin.config.errors import ConfigError
from kenpin.config.imported import ImportedSpec, ModelSpec
from kenpin.config.methods import MethodSettings
from kenpin.config.recipe import Recipe
from kenpin.runtime.judging.imported import ImportedScorer
from kenpin.runtime.judging.scoring import Scorer
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as opset  # noqa: E402

__all__ = ["IMPORTED", "ImportedNetwork", "model_file"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

# As Anomalib names what its exported networks say; theirs take red, green and blue from 0 to 1.
ANOMALIB_MAP, ANOMALIB_SCORE = "anomaly_map", "pred_score"
READ = (".xml", ".onnx")
# What runs code while it is being loaded, or may.
CODE = (
    ".pt",
    ".pth",
    ".ckpt",
    ".pkl",
    ".pickle",
    ".pt2",
    ".bin",
    ".h5",
    ".keras",
    ".joblib",
    ".py",
)
SMALLEST_CELL_PX = 4
# Tiles in other slots of a batch give the same to so much of the largest value.
ALIKE = 1e-5


@dataclass(frozen=True, slots=True)
class Said:
    """Outputs of a network that are used, by name."""

    map: str | None = None
    score: str | None = None
    features: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*(name for name in (self.map, self.score) if name), *self.features)


class ImportedNetwork:
    """What an imported network is to a build; see `kenpin.compile.network.FeatureNetwork`.

    file     that it is read from
    said     its outputs that are used
    size     the side of its input, px
    halo_px  around the part of a tile that counts

    Raises
    ------
    ConfigError
        If the file is refused or cannot be read, or does not fit the recipe; what cannot
        be seen and is not said is asked for.
    """

    name = "imported"

    def __init__(self, recipe: Recipe) -> None:
        spec = recipe.model
        assert spec is not None, "the recipe names no network of its own"
        if spec.file is None:
            raise ConfigError("model.file is missing: the network to import; name it")
        self._recipe, self._spec = recipe, spec
        self.halo_px = recipe.tiles.halo_px
        self.file = model_file(spec.file)
        self._inner = _read(self.file)
        self.said = _said(self._inner, spec, self.file)
        self._channels_last = _channels_last(self._inner, spec, self.file)
        self.size = _size(self._inner, recipe.tiles.size_px, self._channels_last, self.file)
        self._colours = _colours(self._inner, self._channels_last)
        self.weights_sha256: str | None = _sha256(self.file)
        self._static = _static_batch(self._inner)
        method = recipe.method
        if isinstance(method, ImportedSpec):
            if self.said.features:
                raise ConfigError(
                    "model.features are for a method that judges by them; set method.name to "
                    "padim or patchcore"
                )
            self.method: MethodSettings = method.model_copy(
                update={"own_score": self._own_score(method)}
            )
            self.patch_stride_px: int = self._cell_px(method)
        else:
            if not self.said.features:
                raise ConfigError(
                    f"method {method.name} works on features, and {self.file.name} gives "
                    f"{', '.join(self.said.names)}; name model.features, or set method.name to "
                    "imported"
                )
            self.method = method
            taps = self._taps()
            self.patch_stride_px = recipe.backbone.grid_px or taps[0].stride_px
            halo = recipe.tiles.halo_px
            if halo % self.patch_stride_px:
                raise ConfigError(
                    f"tiles.halo_px {halo} is not a multiple of {self.patch_stride_px}, the "
                    "distance of the features; use a multiple of it"
                )
            margin = halo // self.patch_stride_px
            self._embedding = fitting_of(method).embedding(
                taps, self.patch_stride_px, method, margin
            )
        self.layers: tuple[str, ...] = self.said.names
        self.dimensions = int(self.model(self._static or 1).outputs[0].shape[3])

    def model(self, batch: int) -> Any:
        """(batch, C, S, S) uint8 tiles to (batch, cells, cells, D) float32, its shape static."""
        tiles, inner = self._shown(batch)
        if self.said.features:
            found = _spliced(self._embedding, [_output(inner, n) for n in self.said.features])
            found = opset.transpose(found, np.array([0, 2, 3, 1]))
        else:
            found = self._distances(inner, batch)
        found.set_friendly_name("in_float_distances")
        result = opset.result(found)
        # Its own name counts everything that this process ever made.
        result.output(0).get_tensor().set_names({"features"})
        return ov.Model([result], [tiles], "features")

    def _shown(self, batch: int) -> tuple[Any, Any]:
        """The input, and the network behind what must be done before it."""
        size, frame_channels = self.size, self._recipe.frame.channels
        inner = _read(self.file)
        _reshape(inner, self.input_shape(batch), self.file)
        port = inner.inputs[0]
        tiles = opset.parameter([batch, frame_channels, size, size], ov.Type.u8, name="tiles")
        tiles.set_friendly_name("tiles")
        # The name keeps NNCF away from it.
        shown = opset.convert(tiles, "f32", name="in_float_grey")
        if self._colours == 3 and frame_channels == 1:
            shown = opset.concat([shown] * 3, 1)
        elif self._colours != frame_channels:
            raise ConfigError(
                f"{self.file.name} looks at {self._colours} channels, frame.channels is "
                f"{frame_channels}; set frame.channels to 1, and frame.to_grey for photographs "
                "in colour"
            )
        spec = self._spec
        if self._colours == 3 and frame_channels == 3 and self._order() == "bgr":
            shown = opset.gather(shown, np.array([2, 1, 0]), np.array(1))
        if self._values(port) == "0..1":
            shown = opset.divide(shown, np.float32(255))
        if spec.mean:
            mean, std = (
                np.array(part, np.float32).reshape(1, -1, 1, 1) for part in (spec.mean, spec.std)
            )
            shown = opset.divide(opset.subtract(shown, mean), std)
        if self._channels_last:
            shown = opset.transpose(shown, np.array([0, 2, 3, 1]))
        if port.element_type != ov.Type.f32:
            shown = opset.convert(shown, port.element_type.get_type_name())
        for user in port.get_node().output(0).get_target_inputs():
            user.replace_source_output(shown.output(0))
        return tiles, inner

    def _order(self) -> str:
        if self._spec.colours is None and not self.anomalib:
            raise ConfigError(
                f"{self.file.name}: nothing tells the order of its colours; set model.colours to "
                "rgb or bgr"
            )
        return self._spec.colours or "rgb"

    def _values(self, port: Any) -> str:
        if self._spec.values is not None:
            return self._spec.values
        if self.anomalib:
            return "0..1"
        if port.element_type == ov.Type.u8:
            return "0..255"
        raise ConfigError(
            f"{self.file.name}: nothing tells whether its pixels go from 0 to 1 or to 255; set "
            "model.values"
        )

    def input_shape(self, batch: int) -> list[int]:
        """Of the network itself, for so many images."""
        size, colours = self.size, self._colours
        return [batch, size, size, colours] if self._channels_last else [batch, colours, size, size]

    def shown(self, tile: U8) -> NDArray[Any]:
        """A tile as the network itself takes it, in numpy: what the wrapped one is compared with.

        Parameters
        ----------
        tile : (C, S, S) uint8
        """
        image = np.broadcast_to(tile, (self._colours, *tile.shape[1:])).astype(np.float32)
        if len(tile) == 3 and self._order() == "bgr":
            image = image[::-1]
        port = self._inner.inputs[0]
        if self._values(port) == "0..1":
            image = image / np.float32(255)
        if self._spec.mean:
            mean, std = (
                np.array(p, np.float32)[:, None, None] for p in (self._spec.mean, self._spec.std)
            )
            image = (image - mean) / std
        if self._channels_last:
            image = image.transpose(1, 2, 0)
        return np.ascontiguousarray(image[None]).astype(port.element_type.to_dtype())

    def __str__(self) -> str:
        said = self.said
        outputs = ", ".join(
            f"{what} {name}"
            for what, name in (
                ("map", said.map),
                ("score", said.score),
                *(("features", n) for n in said.features),
            )
            if name
        )
        layout = "NHWC" if self._channels_last else "NCHW"
        values = self._values(self._inner.inputs[0])
        outside = "" if self._spec.mean else "; normalised inside, if at all"
        return (
            f"{self.file.name}: {outputs}; input {layout} {self.size} x {self.size}, "
            f"{self._colours} colours, {values}{outside}"
        )

    @property
    def anomalib(self) -> bool:
        """Whether its outputs have the names that Anomalib gives them."""
        return {ANOMALIB_MAP, ANOMALIB_SCORE} <= _names(self._inner)

    def _distances(self, inner: Any, batch: int) -> Any:
        """(batch, cells, cells, n): all values of the map within a cell, and the score."""
        tiles, cell = self._recipe.tiles, self.patch_stride_px
        cells = tiles.core_px // cell
        parts = []
        if self.said.map:
            found = _flat_map(_output(inner, self.said.map), self.said.map, self.file)
            step = self.size // int(found.shape[1])
            inside = cell // step
            first, count = tiles.halo_px // step, cells * inside
            found = opset.slice(
                found,
                np.array([first, first]),
                np.array([first + count, first + count]),
                np.array([1, 1]),
                np.array([1, 2]),
            )
            split = np.array([batch, cells, inside, cells, inside])
            found = opset.transpose(opset.reshape(found, split, False), np.array([0, 1, 3, 2, 4]))
            flat = np.array([batch, cells, cells, inside * inside])
            parts.append(opset.reshape(found, flat, False))
        if self.said.score:
            score = _output(inner, self.said.score)
            score = opset.convert(score, "f32") if score.element_type != ov.Type.f32 else score
            score = opset.reshape(score, np.array([batch, 1, 1, 1]), False)
            parts.append(opset.broadcast(score, np.array([batch, cells, cells, 1])))
        return parts[0] if len(parts) == 1 else opset.concat(parts, 3)

    def _cell_px(self, method: ImportedSpec) -> int:
        """Pixels from one place of the map to the next."""
        core, halo = self._recipe.tiles.core_px, self._recipe.tiles.halo_px
        if not self.said.map:
            largest = next(c for c in (32, 16, 8, 4, 2, 1) if not core % c and not halo % c)
            return method.cell_px or largest
        _, inner = self._shown(self._static or 1)
        side = int(_flat_map(_output(inner, self.said.map), self.said.map, self.file).shape[1])
        if self.size % side:
            raise ConfigError(
                f"{self.file.name}: its map of {side} x {side} is no whole part of tiles of "
                f"{self.size} px; set tiles.size_px to a multiple of {side}"
            )
        step = self.size // side
        cell = method.cell_px or max(step, SMALLEST_CELL_PX)
        if cell % step or core % cell or halo % cell:
            raise ConfigError(
                f"cells of {cell} px do not fit a map with a value every {step} px and cores of "
                f"{core} px within a halo of {halo} px; set method.cell_px or tiles.halo_px"
            )
        return cell

    def _taps(self) -> list[Tap]:
        _, inner = self._shown(self._static or 1)
        taps = []
        for name in self.said.features:
            shape = [int(n) for n in _output(inner, name).shape]
            if len(shape) != 4 or shape[2] != shape[3] or self.size % shape[2]:
                raise ConfigError(
                    f"{self.file.name}: the output {name} has the shape {shape}; expected "
                    f"features (N, C, h, h) with h a whole part of {self.size}"
                )
            taps.append(Tap(name, self.size // shape[2], shape[1]))
        if [tap.stride_px for tap in taps] != sorted(tap.stride_px for tap in taps):
            raise ConfigError("model.features: name them from fine to coarse")
        return taps

    def fitting_batch(self, wanted: int) -> int:
        """See `FeatureNetwork`: as many as wanted if its tiles do not mix then; else its own."""
        if self._static is not None and self._static > 1:
            return self._static
        return wanted if wanted == 1 or self._mixes_nothing(wanted) else 1

    def _own_score(self, method: ImportedSpec) -> bool:
        """Whether its score of a tile decides beside the map: of parts that are seen whole."""
        said, recipe = self.said, self._recipe
        if not (said.map and said.score) or recipe.web or recipe.images.mask:
            if method.own_score:
                raise ConfigError(
                    "method.own_score needs a map and a score, and parts that are seen whole: "
                    "no web and no images.mask; set it to false"
                )
            self.said = Said(said.map, None if said.map else said.score, said.features)
            return False
        return True

    def _mixes_nothing(self, batch: int) -> bool:
        rng = np.random.default_rng(0)
        size, channels = self.size, self._recipe.frame.channels
        tiles = rng.integers(0, 256, (batch, channels, size, size), np.uint8)
        try:
            together, alone = (self._raw(n) for n in (batch, 1))
            found = together(tiles)
            single = [alone(tile[None]) for tile in tiles]
        except (RuntimeError, ConfigError):
            return False
        for number, values in enumerate(found):
            expected = np.concatenate([one[number] for one in single])
            if values.shape != expected.shape:
                return False
            if not np.allclose(values, expected, rtol=0, atol=ALIKE * np.abs(expected).max()):
                return False
        return True

    def _raw(self, batch: int) -> Any:
        """The outputs that are used, of so many tiles at once."""
        tiles, inner = self._shown(batch)
        results = [opset.result(_output(inner, name)) for name in self.said.names]
        compiled = ov.Core().compile_model(
            ov.Model(results, [tiles], "raw"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return lambda pixels: [np.array(value) for value in compiled(pixels).values()]


class _Listed(nn.Module):
    """An embedding that takes its taps one by one."""

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, *taps: Tensor) -> Tensor:
        """See `Embedding`."""
        found: Tensor = self.embedding(list(taps))
        return found


def _spliced(embedding: Embedding, outputs: Sequence[Any]) -> Any:
    """A method's embedding behind a network's outputs."""
    shapes = [[int(n) for n in output.shape] for output in outputs]
    examples = tuple(torch.zeros(shape) for shape in shapes)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ov.convert_model(_Listed(embedding), example_input=examples, input=shapes)
    for port, output in zip(found.inputs, outputs, strict=True):
        for user in port.get_node().output(0).get_target_inputs():
            user.replace_source_output(output)
    return found.outputs[0].get_node().input_value(0)


# -- reading ---------------------------------------------------------------------------------------


def model_file(path: Path) -> Path:
    """The file of a network; a folder must hold one.

    Raises
    ------
    ConfigError
        If there is none, or only what would run code while it is loaded.
    """
    if path.is_dir():
        found = sorted(file for suffix in READ for file in path.rglob(f"*{suffix}"))
        if len(found) != 1:
            told = ", ".join(str(file.relative_to(path)) for file in found) or "none"
            raise ConfigError(f"{path}: expected one .xml or .onnx in it, found {told}; name it")
        return found[0]
    if path.suffix.lower() in CODE:
        raise ConfigError(
            f"{path}: files of this kind run code while they are loaded, or may; export the "
            "network to ONNX or OpenVINO IR where you trained it, and import that"
        )
    if path.suffix.lower() not in READ:
        raise ConfigError(f"{path}: expected OpenVINO IR (.xml) or ONNX (.onnx)")
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    if path.suffix.lower() == ".xml" and not path.with_suffix(".bin").is_file():
        raise ConfigError(f"{path}: its weights {path.with_suffix('.bin').name} are not beside it")
    return path


def _read(file: Path) -> Any:
    try:
        # No extension is loaded, so operations that are not OpenVINO's own are refused here.
        model = ov.Core().read_model(file)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            f"{file}: OpenVINO cannot read it: {lines[-1] if lines else error}; operations of "
            "one's own would be code that a box loads, and are refused"
        ) from None
    if len(model.inputs) != 1:
        names = ", ".join(port.any_name for port in model.inputs)
        raise ConfigError(f"{file}: has the inputs {names}; expected one, the image")
    return model


def _sha256(file: Path) -> str:
    digest = hashlib.sha256(file.read_bytes())
    if file.suffix == ".xml":
        digest.update(file.with_suffix(".bin").read_bytes())
    return digest.hexdigest()


def _names(model: Any) -> set[str]:
    return {name for port in model.outputs for name in port.get_names()}


def _output(model: Any, name: str) -> Any:
    """What feeds the output of that name."""
    port = next(port for port in model.outputs if name in port.get_names())
    return port.get_node().input_value(0)


def _said(model: Any, spec: ModelSpec, file: Path) -> Said:
    """Which outputs are used: those named, Anomalib's, or the only one, as its shape tells."""
    said = Said(spec.map, spec.score, spec.features)
    known = _names(model)
    for name in said.names:
        if name not in known:
            raise ConfigError(f"{file.name}: has no output {name}; it has {_told(model)}")
    if said.names:
        return said
    if {ANOMALIB_MAP, ANOMALIB_SCORE} <= known:
        return Said(ANOMALIB_MAP, ANOMALIB_SCORE)
    if len(model.outputs) != 1:
        raise ConfigError(
            f"{file.name}: gives {_told(model)}; say which to use: model.map, model.score, or "
            "model.features"
        )
    (port,) = model.outputs
    if not port.get_names():
        port.get_tensor().set_names({"output"})
    name, shape = port.any_name, port.partial_shape
    sizes = [None if n.is_dynamic else n.get_length() for n in shape]
    if len(sizes) <= 1 or all(n == 1 for n in sizes[1:]):
        return Said(score=name)
    if len(sizes) == 3 or (len(sizes) == 4 and 1 in (sizes[1], sizes[3])):
        return Said(map=name)
    if len(sizes) == 4:
        return Said(features=(name,))
    raise ConfigError(f"{file.name}: gives {_told(model)}; expected a map, a score or features")


def _told(model: Any) -> str:
    return ", ".join(
        f"{port.any_name if port.get_names() else 'an unnamed one'} {port.partial_shape}"
        for port in model.outputs
    )


def _channels_last(model: Any, spec: ModelSpec, file: Path) -> bool:
    shape = model.inputs[0].partial_shape
    if shape.rank.is_dynamic or len(shape) != 4:
        raise ConfigError(
            f"{file.name}: its input is {shape}; expected (N, C, H, W) or (N, H, W, C)"
        )
    if spec.layout is not None:
        return spec.layout == "nhwc"
    first, last = (not n.is_dynamic and n.get_length() in (1, 3) for n in (shape[1], shape[3]))
    if first == last:
        raise ConfigError(
            f"{file.name}: its input is {shape}, which tells no layout; set model.layout"
        )
    return bool(last)


def _colours(model: Any, channels_last: bool) -> int:
    dimension = model.inputs[0].partial_shape[3 if channels_last else 1]
    return 3 if dimension.is_dynamic else int(dimension.get_length())


def _static_batch(model: Any) -> int | None:
    dimension = model.inputs[0].partial_shape[0]
    return None if dimension.is_dynamic else int(dimension.get_length())


def _size(model: Any, wanted: int, channels_last: bool, file: Path) -> int:
    """The side of its input: its own, or the recipe's where it takes any."""
    shape = model.inputs[0].partial_shape
    sides = [shape[1], shape[2]] if channels_last else [shape[2], shape[3]]
    fixed = [n.get_length() for n in sides if not n.is_dynamic]
    if len(set(fixed)) > 1:
        raise ConfigError(f"{file.name}: its input is {shape}; tiles are square: export it so")
    if fixed and fixed[0] != wanted:
        raise ConfigError(
            f"{file.name}: takes images of {fixed[0]} x {fixed[0]} px, tiles.size_px is {wanted}; "
            f"set tiles.size_px to {fixed[0]}"
        )
    return wanted


def _reshape(model: Any, shape: list[int], file: Path) -> None:
    if list(model.inputs[0].partial_shape) != shape:
        try:
            model.reshape(shape)
        except RuntimeError as error:
            raise ConfigError(f"{file.name}: cannot take {shape}: {error}") from None
    dynamic = [port.any_name for port in model.outputs if port.partial_shape.is_dynamic]
    if dynamic:
        raise ConfigError(
            f"{file.name}: the shape of {', '.join(dynamic)} depends on what is in the image; "
            "a line needs static ones"
        )


def _flat_map(found: Any, name: str, file: Path) -> Any:
    """(N, h, h) float32 of an output (N, 1, h, h), (N, h, h, 1) or (N, h, h)."""
    shape = [int(n) for n in found.shape]
    sides = [n for n in shape[1:] if n != 1]
    if len(sides) != 2 or sides[0] != sides[1]:
        raise ConfigError(
            f"{file.name}: the output {name} has the shape {shape}; expected a square map"
        )
    if found.element_type != ov.Type.f32:
        found = opset.convert(found, "f32").output(0)
    return opset.reshape(found, np.array([shape[0], *sides]), False).output(0)


# -- the method ------------------------------------------------------------------------------------


class _SameFeatures:
    """A network that is as it is forgets nothing; see `LeaveOut`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def without(self, part: int) -> Scorer:  # noqa: ARG002
        """See `LeaveOut`."""
        return self._scorer


class _ImportedFitting:
    """See `Forgetting`: nothing is learned here."""

    def embedding(
        self,
        taps: Sequence[Tap],  # noqa: ARG002
        grid_px: int,  # noqa: ARG002
        spec: ImportedSpec,  # noqa: ARG002
        margin: int,  # noqa: ARG002
    ) -> Embedding:
        """See `Fitting`."""
        raise ConfigError("method imported judges by a network of your own: name it in [model]")

    def fit(self, spec: ImportedSpec, task: FitTask) -> dict[str, int]:  # noqa: ARG002
        """See `Fitting`: only what was learned elsewhere counts."""
        return {}

    def probe(
        self,
        spec: ImportedSpec,
        features: F32,  # noqa: ARG002
        rng: np.random.Generator,  # noqa: ARG002
    ) -> ImportedScorer:
        """See `Fitting`."""
        return ImportedScorer(spec)

    def leave_outs(self, spec: ImportedSpec, task: FitTask, load: LoadArrays) -> list[LeaveOut]:  # noqa: ARG002
        """See `Forgetting`."""
        return [_SameFeatures(load({})) for _ in task.ways]


IMPORTED = _ImportedFitting()
