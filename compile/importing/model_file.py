"""A network in a file that somebody else wrote: read, or refused, and what it tells of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kenpin.compile.fingerprint import weights_beside
from kenpin.config.errors import ConfigError, in_one_line
from kenpin.config.imported import ModelSpec
from kenpin.config.recipe import Recipe
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as opset  # noqa: E402

__all__ = [
    "ANOMALIB_MAP",
    "ANOMALIB_SCORE",
    "Said",
    "channels_last",
    "colours_of",
    "flat_map",
    "make_static",
    "model_file",
    "names_of",
    "networks_in",
    "output_of",
    "read",
    "said_by",
    "sha256_of",
    "sides_of",
    "size_of",
    "square_around",
    "static_batch",
    "step_of",
]

# As Anomalib names what its exported networks say; theirs take red, green and blue from 0 to 1.
# Some have no map, but all have a score.
ANOMALIB_MAP, ANOMALIB_SCORE = "anomaly_map", "pred_score"
READ = (".xml", ".onnx", ".pt2")
# A side that this divides is fit for cells of any size.
_WHOLE_CELLS_PX = 32
# What runs code while it is being loaded, or may.
CODE = (
    ".pt",
    ".pth",
    ".ckpt",
    ".pkl",
    ".pickle",
    ".bin",
    ".h5",
    ".keras",
    ".joblib",
    ".py",
)


class Named(Protocol):
    """Where a network was read from, for messages."""

    @property
    def name(self) -> str:
        """Without the folders above it."""


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


def model_file(path: Path) -> Path:
    """The file of a network; a folder must hold one.

    Raises
    ------
    ConfigError
        If there is none, or only what would run code while it is loaded.
    """
    if path.is_dir():
        found = networks_in(path)
        if len(found) != 1:
            names = ", ".join(str(file.relative_to(path)) for file in found) or "none"
            raise ConfigError(
                f"{path}: expected one {', '.join(READ)} in it, found {names}; name it"
            )
        return found[0]
    if path.suffix.lower() == ".bin" and path.with_suffix(".xml").is_file():
        path = path.with_suffix(".xml")
    if path.suffix.lower() in CODE:
        raise ConfigError(
            f"{path}: files of this kind run code while they are loaded, or may; export the "
            "network to ONNX or OpenVINO IR where you trained it, and import that"
        )
    if path.suffix.lower() not in READ:
        raise ConfigError(
            f"{path}: expected OpenVINO IR (.xml), ONNX (.onnx), or an exported program (.pt2)"
        )
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    if path.suffix.lower() == ".xml" and not path.with_suffix(".bin").is_file():
        raise ConfigError(f"{path}: its weights {path.with_suffix('.bin').name} are not beside it")
    return path


def networks_in(folder: Path) -> list[Path]:
    """The networks of a folder and of those below it, in the first format that is there."""
    every = sorted(file for file in folder.rglob("*") if file.is_file())
    kinds = ([file for file in every if file.suffix.lower() == suffix] for suffix in READ)
    return next((files for files in kinds if files), [])


def read(file: Path) -> Any:
    """The network in a file, as OpenVINO reads it.

    Raises
    ------
    ConfigError
        If it cannot, or the network has more than one input.
    """
    if file.suffix.lower() == ".pt2":
        # torch is loaded for these alone.
        from kenpin.compile.importing.exported_program import converted

        return _with_one_input(converted(file), file)
    try:
        # No extension is loaded, so operations that are not OpenVINO's own are refused here.
        model = ov.Core().read_model(file)
    except RuntimeError as error:
        if missing := [path for path in weights_beside(file) if not path.is_file()]:
            raise ConfigError(
                f"{file}: its weights lie in {missing[0]}, and there is no such file; copy it there"
            ) from None
        raise ConfigError(
            f"{file}: OpenVINO cannot read it: {in_one_line(error)}; operations of one's own would "
            "be code that a box loads, and are refused"
        ) from None
    return _with_one_input(model, file)


def _with_one_input(model: Any, file: Path) -> Any:
    if len(model.inputs) != 1:
        names = ", ".join(port.any_name for port in model.inputs)
        raise ConfigError(f"{file}: has the inputs {names}; expected one, the image")
    for number, port in enumerate(model.outputs):
        # A recipe can only say which is which by name.
        if not port.get_names():
            port.get_tensor().set_names({f"output{number}"})
    return model


def sha256_of(file: Path) -> str:
    """Of the file, and of the weights beside it."""
    digest = hashlib.sha256(file.read_bytes())
    for path in weights_beside(file):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def names_of(model: Any) -> set[str]:
    """Of all outputs."""
    return {name for port in model.outputs for name in port.get_names()}


def output_of(model: Any, name: str) -> Any:
    """What feeds the output of that name."""
    port = next((port for port in model.outputs if name in port.get_names()), None)
    if port is None:
        raise ConfigError(
            f"model: has no output {name} once its shape is fixed; it has {_ports(model)}; name "
            "its outputs where it is exported"
        )
    return port.get_node().input_value(0)


def said_by(model: Any, spec: ModelSpec, file: Named) -> Said:
    """Which outputs are used: those named, Anomalib's, or the only one, as its shape tells.

    Raises
    ------
    ConfigError
        If a named output is not there, or the model does not tell which of them is meant.
    """
    said = Said(spec.map, spec.score, spec.features)
    known = names_of(model)
    for name in said.names:
        if name not in known:
            raise ConfigError(f"{file.name}: has no output {name}; it has {_ports(model)}")
    if said.names:
        return said
    if ANOMALIB_SCORE in known:
        return Said(ANOMALIB_MAP if ANOMALIB_MAP in known else None, ANOMALIB_SCORE)
    if len(model.outputs) != 1:
        raise ConfigError(
            f"{file.name}: gives {_ports(model)}; say which to use: model.map, model.score, or "
            "model.features"
        )
    (port,) = model.outputs
    name, shape = port.any_name, port.partial_shape
    sizes = [None if n.is_dynamic else n.get_length() for n in shape]
    if len(sizes) <= 1 or all(n == 1 for n in sizes[1:]):
        return Said(score=name)
    if len(sizes) == 3 or (len(sizes) == 4 and 1 in (sizes[1], sizes[3])):
        return Said(map=name)
    if len(sizes) == 4:
        return Said(features=(name,))
    raise ConfigError(f"{file.name}: gives {_ports(model)}; expected a map, a score or features")


def _ports(model: Any) -> str:
    return ", ".join(f"{port.any_name} {port.partial_shape}" for port in model.outputs)


def channels_last(model: Any, spec: ModelSpec, file: Named) -> bool:
    """Whether the input is (N, H, W, C): as its shape tells, or the recipe.

    Raises
    ------
    ConfigError
        If it has not four dimensions, or neither its shape nor the recipe tells the layout.
    """
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


def colours_of(model: Any, channels_last: bool) -> int:
    """Of the input; 3 where it takes any."""
    dimension = model.inputs[0].partial_shape[3 if channels_last else 1]
    return 3 if dimension.is_dynamic else int(dimension.get_length())


def static_batch(model: Any) -> int | None:
    """Images at once; None if it takes any number."""
    dimension = model.inputs[0].partial_shape[0]
    return None if dimension.is_dynamic else int(dimension.get_length())


def sides_of(model: Any, channels_last: bool) -> tuple[int | None, int | None]:
    """(height, width) of its input; None where it takes any."""
    shape = model.inputs[0].partial_shape
    first = 1 if channels_last else 2
    height, width = (None if n.is_dynamic else int(n.get_length()) for n in list(shape)[first:][:2])
    return height, width


def size_of(model: Any, recipe: Recipe, channels_last: bool, file: Named) -> tuple[int, int]:
    """(height, width) of its input: its own, or the tiles' side where it takes any.

    Tiles are square. A network that is not takes the frame as a whole: it lies in the upper
    left of one tile, and what the tile has besides is not shown to it.

    Raises
    ------
    ConfigError
        If its size is neither that of a tile nor that of the whole frame.
    """
    side = recipe.tiles.size_px
    height, width = (side if n is None else n for n in sides_of(model, channels_last))
    if height == width == side:
        return side, side
    if height == width:
        raise ConfigError(
            f"{file.name}: takes images of {height} x {width} px, tiles.size_px is {side}; "
            f"set tiles.size_px to {height}, or leave it out"
        )
    frame, tiles = recipe.frame, recipe.tiles
    whole = frame.geometry == "indexed" and (frame.height_px, frame.width_px) == (height, width)
    if not whole or tiles.halo_px or side < max(height, width):
        raise ConfigError(
            f"{file.name}: takes images of {height} x {width} px, and tiles are square, so it must "
            f"see the frame as a whole: set frame.height_px to {height}, frame.width_px to {width} "
            f'(and frame.fit to "resize" for photographs of another size), and leave out tiles, or '
            f"set tiles.size_px to {square_around(height, width)} and tiles.halo_px to 0"
        )
    return height, width


def square_around(height: int, width: int) -> int:
    """Side of the tile that holds a frame as a whole, px."""
    if height == width:
        return height
    return -(-max(height, width) // _WHOLE_CELLS_PX) * _WHOLE_CELLS_PX


def make_static(model: Any, shape: list[int], file: Named) -> None:
    """Give the input this shape, and with it all outputs theirs.

    Raises
    ------
    ConfigError
        If the model cannot take it, or an output depends on what is in the image.
    """
    if list(model.inputs[0].partial_shape) != shape:
        try:
            model.reshape(shape)
        except RuntimeError as error:
            raise ConfigError(f"{file.name}: cannot take {shape}: {in_one_line(error)}") from None
    dynamic = [port.any_name for port in model.outputs if port.partial_shape.is_dynamic]
    if dynamic:
        raise ConfigError(
            f"{file.name}: the shape of {', '.join(dynamic)} depends on what is in the image; "
            "a line needs static ones"
        )


def flat_map(found: Any, name: str, file: Named) -> Any:
    """(N, h, w) float32 of an output (N, 1, h, w), (N, h, w, 1) or (N, h, w).

    Raises
    ------
    ConfigError
        If it is of another shape, and so no map.
    """
    shape = [int(n) for n in found.shape]
    sides = [n for n in shape[1:] if n != 1]
    if len(sides) != 2:
        raise ConfigError(f"{file.name}: the output {name} has the shape {shape}; expected a map")
    if found.element_type != ov.Type.f32:
        found = opset.convert(found, "f32").output(0)
    return opset.reshape(found, np.array([shape[0], *sides]), False).output(0)


def step_of(sides: Sequence[int], seen: tuple[int, int]) -> int | None:
    """Pixels from one value to the next of an output (h, w); None if that is no whole number."""
    steps = {whole / part for whole, part in zip(seen, sides, strict=True)}
    step = steps.pop()
    return None if steps or step != int(step) else int(step)
