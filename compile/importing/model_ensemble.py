"""A network for each tile of a frame, as Anomalib's tiled ensemble trains them: made one."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kenpin.compile.importing.model_file import model_file, networks_in, output_of, read, sha256_of
from kenpin.compile.importing.normalisation import takes_a_mean_off
from kenpin.config.errors import ConfigError, in_one_line
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as opset  # noqa: E402

__all__ = ["ModelFiles", "model_files"]

# In a folder's or a file's name: model0_1, 0_1.
_PLACE = re.compile(r"(?<!\d)(\d+)_(\d+)(?!\d)")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a network lies.

    place  the file, or the folder with one for each tile
    files  one, or those of the tiles, row by row
    shape  (rows, cols) of tiles with a network each; None if all share one
    """

    place: Path
    files: tuple[Path, ...]
    shape: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return self.place.name

    def read(self) -> Any:
        """The network; of several one that shows each image of a batch to its own.

        Raises
        ------
        ConfigError
            If one cannot be read, or they are not alike.
        """
        if self.shape is None:
            return read(self.files[0])
        models = [_for_one(read(file), file) for file in self.files]
        _expect_alike(models, [file.relative_to(self.place).as_posix() for file in self.files])
        return _merged(models)

    def sha256(self) -> str:
        """Of all files."""
        if self.shape is None:
            return sha256_of(self.files[0])
        return _digest_of([sha256_of(file) for file in self.files])


def model_files(path: Path) -> ModelFiles:
    """What a path leads to: a network, or a folder with one for each tile.

    Tiles are told by the row and the column in the names of folders or files, as in
    `model0_1` or `0_1/`, counted from 0.

    Raises
    ------
    ConfigError
        If there is no network, or a tile has none.
    """
    placed = _placed(path) if path.is_dir() else {}
    if len(placed) < 2:
        file = model_file(path)
        return ModelFiles(file, (file,))
    rows, cols = (1 + max(place[n] for place in placed) for n in (0, 1))
    places = [(row, col) for row in range(rows) for col in range(cols)]
    missing = [place for place in places if place not in placed]
    if missing:
        row, col = missing[0]
        raise ConfigError(
            f"{path}: has networks for {rows} x {cols} tiles, but none for row {row}, column {col}"
        )
    return ModelFiles(path, tuple(placed[place] for place in places), (rows, cols))


def _placed(folder: Path) -> dict[tuple[int, int], Path]:
    """Networks of a folder by row and column; none unless each has one."""
    found: dict[tuple[int, int], Path] = {}
    for file in networks_in(folder):
        places = _PLACE.findall(file.relative_to(folder).with_suffix("").as_posix())
        if len(places) != 1:
            return {}
        row, col = map(int, places[0])
        if (row, col) in found:
            raise ConfigError(
                f"{folder}: {found[row, col].name} and {file.name} are both for row {row}, "
                f"column {col}"
            )
        found[row, col] = file
    return found


def _for_one(model: Any, file: Path) -> Any:
    """A network that takes one image of a fixed size."""
    shape = model.inputs[0].partial_shape
    if shape.rank.is_dynamic or any(n.is_dynamic for n in list(shape)[1:]):
        raise ConfigError(
            f"{file}: its input is {shape}; of networks for tiles the size must be fixed"
        )
    try:
        model.reshape([1, *(int(n.get_length()) for n in list(shape)[1:])])
    except RuntimeError as error:
        raise ConfigError(f"{file}: cannot take a single image: {in_one_line(error)}") from None
    return model


def _expect_alike(models: Sequence[Any], names: Sequence[str]) -> None:
    """See that the networks of all tiles take and give the same, but for what they learned.

    Raises
    ------
    ConfigError
        If one is unlike most: it is named, and what it has beside what they have.
    """
    first = models[0]
    for told in (_taken, lambda model: _given(model, first), _normalised):
        found = [told(model) for model in models]
        usual = Counter(found).most_common(1)[0][0]
        odd = next((number for number, one in enumerate(found) if one != usual), None)
        if odd is not None:
            raise ConfigError(
                f"{names[odd]}: {found[odd]}, and {names[found.index(usual)]} {usual}; export the "
                "networks of all tiles alike"
            )


def _taken(model: Any) -> str:
    port = model.inputs[0]
    return f"takes {port.partial_shape} {port.element_type.get_type_name()}"


def _given(model: Any, first: Any) -> str:
    """Its outputs by the names that the first network has for them, and what it has besides."""
    told, own = [], list(model.outputs)
    for wanted in first.outputs:
        name = wanted.any_name
        port = next((port for port in own if name in port.get_names()), None)
        if port is not None:
            own.remove(port)
            told.append(_output(name, port))
    told += [_output(port.any_name, port) for port in own]
    return f"gives {', '.join(told)}"


def _output(name: str, port: Any) -> str:
    return f"{name} {port.partial_shape} {port.element_type.get_type_name()}"


def _normalised(model: Any) -> str:
    return f"{'takes a' if takes_a_mean_off(model) else 'takes no'} mean off its pixels itself"


def _merged(models: Sequence[Any]) -> Any:
    """One network: image n of its batch goes through the n-th, and comes out as n-th."""
    first = models[0]
    port = first.inputs[0]
    images = opset.parameter([len(models), *port.shape[1:]], port.element_type, name="images")
    parts = opset.split(images, 0, len(models))
    for number, model in enumerate(models):
        for user in model.inputs[0].get_node().output(0).get_target_inputs():
            user.replace_source_output(parts.output(number))
    results = []
    for name in [port.any_name for port in first.outputs if port.get_names()]:
        outputs = [_batched(output_of(model, name)) for model in models]
        result = opset.result(opset.concat(outputs, 0))
        result.output(0).get_tensor().set_names({name})
        results.append(result)
    return ov.Model(results, [images], "tiles")


def _batched(output: Any) -> Any:
    """An output whose first axis is the image: a bare number gets one."""
    return opset.unsqueeze(output, 0).output(0) if not len(output.shape) else output


def _digest_of(digests: Sequence[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
