"""A network that somebody else made, brought into a bundle's shape: tiles in, distances out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kenpin.compile.backbones import Tap
from kenpin.compile.importing.lost_numbers import with_lost_numbers
from kenpin.compile.importing.model_ensemble import model_files
from kenpin.compile.importing.model_file import (
    Said,
    flat_map,
    output_of,
    said_by,
    step_of,
)
from kenpin.compile.importing.network_input import NetworkInput, cut
from kenpin.compile.importing.trials import (
    Outputs,
    expect_repeatable,
    expect_slots_apart,
    mixes_nothing,
)
from kenpin.compile.methods.fitting import Embedding, fitting_of
from kenpin.compile.networks.tiles_apart import WholeTiles
from kenpin.config.errors import ConfigError
from kenpin.config.imported import ImportedSpec
from kenpin.config.methods import MethodSettings
from kenpin.config.recipe import Recipe
from kenpin.runtime.judging.openvino_core import new_core
from kenpin.runtime.judging.telemetry import silence
from kenpin.runtime.judging.tiling import TileGrid

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as opset  # noqa: E402

__all__ = ["ImportedNetwork"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

SMALLEST_CELL_PX = 4


class ImportedNetwork:
    """What an imported network is to a build; see `kenpin.compile.networks.network.FeatureNetwork`.

    file     that it is read from, or those of the tiles
    said     its outputs that are used
    size     the side of a tile, px
    batch_of_its_own
             images at once that it takes alone; None if it takes any number
    seen     (height, width) of its input: a tile, or the whole frame, in a tile's upper left
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
        self.file = model_files(spec.file)
        self.input = NetworkInput(recipe, spec, self.file)
        self.size = recipe.tiles.size_px
        self.seen = self.input.seen
        self.weights_sha256: str | None = self.file.sha256()
        self.batch_of_its_own = self.input.batch_of_its_own
        self._fits_the_grid()
        tiles, inner = self.input.wrapped(self.batch_of_its_own or 1)
        # What an output is shows in its shape, which may follow from that of the input.
        self.said = said_by(inner, spec, self.file)
        expect_repeatable(self._used(tiles, inner), self.file)
        method = recipe.method
        if isinstance(method, ImportedSpec):
            if self.said.features:
                raise ConfigError(self._judges_no_features(inner))
            if recipe.images.mask is not None and self.said.map is None:
                raise ConfigError(
                    f"{self.file.name} gives one score for a whole tile, of which images.mask "
                    "cannot leave out a part; name a model.map, or remove images.mask"
                )
            if recipe.frame.geometry == "continuous" and self.said.map is None:
                raise ConfigError(
                    f"{self.file.name} gives one score for a whole tile, which would be another "
                    "if a web's tile rows lay a few lines further down; name a model.map, or cut "
                    'the web into parts (frame.geometry = "indexed")'
                )
            own: dict[str, Any] = {"own_score": self._own_score(method)}
            if self.file.shape is not None:
                own["share"] = "tile"
            self.method: MethodSettings = method.model_copy(update=own)
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
        self.dimensions = int(self.model(self.batch_of_its_own or 1).outputs[0].shape[3])

    def _judges_no_features(self, inner: Any) -> str:
        """Why the method imported cannot judge by what is named, or taken for, features."""
        remedy = "to judge by them set method.name to padim or patchcore"
        if self._spec.features:
            return f"model.features are for a method that judges by them; {remedy}"
        name = self.said.features[0]
        shape = [int(n) for n in output_of(inner, name).shape]
        return (
            f"{self.file.name}: its output {name} has the shape {shape}, and a map has one "
            f"channel; export that of the defect alone, or, where these are features, {remedy}"
        )

    def _fits_the_grid(self) -> None:
        """Networks of tiles: as many as the frame has, each in its place."""
        shape, method = self.file.shape, self._recipe.method
        if shape is None:
            if isinstance(method, ImportedSpec) and method.share == "tile":
                raise ConfigError(
                    f'{self.file.name}: is one network, and method.share is "tile"; name a folder '
                    "with one for each tile, or leave method.share out"
                )
            return
        grid = TileGrid.of(self._recipe.frame, self._recipe.tiles)
        if shape != (grid.rows, grid.cols):
            raise ConfigError(
                f"{self.file.name}: has networks for {shape[0]} x {shape[1]} tiles, and the frame "
                f"is cut into {grid.rows} x {grid.cols}; set frame, tiles.size_px, tiles.halo_px "
                "and tiles.stride_px to what they were trained for"
            )
        if not isinstance(method, ImportedSpec) and method.share != "tile":
            raise ConfigError(
                f"{self.file.name}: has a network for each tile, whose features no others share; "
                'set method.share to "tile"'
            )

    @property
    def sees_frames(self) -> bool:
        """Whether it sees a frame as a whole and nothing besides, as where it was trained."""
        frame = self._recipe.frame
        whole = frame.geometry == "indexed" and self.file.shape is None and not self.halo_px
        return whole and self.seen == (frame.height_px, frame.width_px)

    def model(self, batch: int) -> Any:
        """(batch, C, S, S) uint8 tiles to (batch, cells, cells, D) float32, its shape static."""
        tiles, inner = self.input.wrapped(batch)
        if self.said.features:
            taps = [output_of(inner, name) for name in self.said.features]
            taps = [self._as_tile(tap, 2, self.seen[0] // int(tap.shape[2])) for tap in taps]
            found = _spliced(self._embedding, taps)
            found = opset.transpose(found, np.array([0, 2, 3, 1]))
        else:
            found = self._distances(inner, batch)
        quantised = self._recipe.quantize.precision == "int8"
        found = with_lost_numbers(found, tiles, quantised=quantised)
        found.set_friendly_name("in_float_distances")
        result = opset.result(found)
        # Its own name counts everything that this process ever made.
        result.output(0).get_tensor().set_names({"features"})
        return ov.Model([result], [tiles], "features")

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
        seen = f"tiles of {self.size} px, halo {self.halo_px} px"
        if self.sees_frames:
            seen = "the frame as a whole"
        return f"{self.file.name}: {outputs}; {self.input}; sees {seen}"

    def _distances(self, inner: Any, batch: int) -> Any:
        """(batch, cells, cells, n): all values of the map within a cell, and the score."""
        tiles, cell = self._recipe.tiles, self.patch_stride_px
        cells = tiles.core_px // cell
        parts = []
        if self.said.map:
            found = flat_map(output_of(inner, self.said.map), self.said.map, self.file)
            step = self.seen[0] // int(found.shape[1])
            inside = cell // step
            first, count = tiles.halo_px // step, cells * inside
            found = cut(self._as_tile(found, 1, step), (first, first), (count, count), (1, 2))
            split = np.array([batch, cells, inside, cells, inside])
            found = opset.transpose(opset.reshape(found, split, False), np.array([0, 1, 3, 2, 4]))
            flat = np.array([batch, cells, cells, inside * inside])
            parts.append(opset.reshape(found, flat, False))
        if self.said.score:
            score = output_of(inner, self.said.score)
            if int(np.prod(score.shape)) != batch:
                shape = [int(n) for n in score.shape]
                raise ConfigError(
                    f"{self.file.name}: the output {self.said.score} has the shape {shape} for "
                    f"{batch} images; expected one number for each: of a classifier export that "
                    "of the class that is a defect; a map is named by model.map"
                )
            score = opset.convert(score, "f32") if score.element_type != ov.Type.f32 else score
            score = opset.reshape(score, np.array([batch, 1, 1, 1]), False)
            parts.append(opset.broadcast(score, np.array([batch, cells, cells, 1])))
        return parts[0] if len(parts) == 1 else opset.concat(parts, 3)

    def _as_tile(self, found: Any, axis: int, step: int) -> Any:
        """An output with a value every `step` px brought to a tile's size, its border repeated."""
        sides = [int(n) for n in found.shape[axis : axis + 2]]
        side = self.size // step
        if sides == [side, side]:
            return found
        after = np.zeros(len(found.shape), np.int64)
        after[axis : axis + 2] = [side - n for n in sides]
        return opset.pad(found, np.zeros_like(after), after, "edge").output(0)

    def _cell_px(self, method: ImportedSpec) -> int:
        """Pixels from one place of the map to the next."""
        core, halo = self._recipe.tiles.core_px, self._recipe.tiles.halo_px
        if not self.said.map:
            largest = next(c for c in (32, 16, 8, 4, 2, 1) if not core % c and not halo % c)
            return method.cell_px or largest
        _, inner = self.input.wrapped(self.batch_of_its_own or 1)
        found = flat_map(output_of(inner, self.said.map), self.said.map, self.file)
        rows, cols = (int(n) for n in found.shape[1:])
        step = step_of((rows, cols), self.seen)
        if step is None:
            height, width = self.seen
            remedy = f"set tiles.size_px to a multiple of {rows}, or export it for such a size"
            if self.sees_frames and self.input.any_size:
                remedy = (
                    f"set frame.height_px to {rows}, frame.width_px to {cols}, or both to as many "
                    'times that, and frame.fit to "resize"'
                )
            raise ConfigError(
                f"{self.file.name}: its map of {rows} x {cols} is no whole part of images of "
                f"{height} x {width} px; {remedy}"
            )
        cell = method.cell_px or max(step, SMALLEST_CELL_PX)
        if cell % step or core % cell or halo % cell:
            raise ConfigError(
                f"cells of {cell} px do not fit a map with a value every {step} px and cores of "
                f"{core} px within a halo of {halo} px; set method.cell_px or tiles.halo_px"
            )
        return cell

    def _taps(self) -> list[Tap]:
        _, inner = self.input.wrapped(self.batch_of_its_own or 1)
        taps = []
        for name in self.said.features:
            shape = [int(n) for n in output_of(inner, name).shape]
            step = step_of(shape[2:], self.seen) if len(shape) == 4 else None
            if step is None or self.size % step:
                height, width = self.seen
                raise ConfigError(
                    f"{self.file.name}: the output {name} has the shape {shape}; expected "
                    f"features (N, C, h, w) with h and w whole parts of {height} x {width} px"
                )
            taps.append(Tap(name, step, shape[1]))
        if [tap.stride_px for tap in taps] != sorted(tap.stride_px for tap in taps):
            raise ConfigError("model.features: name them from fine to coarse")
        for fine, coarse in pairwise(taps):
            if coarse.stride_px % fine.stride_px:
                raise ConfigError(
                    f"{self.file.name}: the outputs {fine.layer} and {coarse.layer} have a value "
                    f"every {fine.stride_px} and {coarse.stride_px} px; expected a whole number of "
                    "times as far, so that they lie on one grid; name others in model.features"
                )
        return taps

    def fitting_batch(self, wanted: int) -> int:
        """See `FeatureNetwork`: as many as wanted if its tiles do not mix then; else its own."""
        if self.batch_of_its_own is not None and self.batch_of_its_own > 1:
            if self.file.shape is None:
                expect_slots_apart(self._raw(self.batch_of_its_own), self._tile, self.file)
            return self.batch_of_its_own
        if wanted == 1:
            return 1
        try:
            together, alone = self._raw(wanted), self._raw(1)
        except (RuntimeError, ConfigError):
            return 1
        return wanted if mixes_nothing(together, alone, self._tile) else 1

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

    @property
    def _tile(self) -> tuple[int, int, int]:
        return self._recipe.frame.channels, self.size, self.size

    def _used(self, tiles: Any, inner: Any) -> Any:
        """The outputs that are used, of tiles, as a model."""
        results = [opset.result(output_of(inner, name)) for name in self.said.names]
        return ov.Model(results, [tiles], "used")

    def whole_tiles(self) -> WholeTiles | None:
        """See `SeesTiles`: in each slot of a fixed batch.

        None of scores, which are of a tile, and of a network for each tile, which meets its own
        places only.
        """
        method, said = self.method, self.said
        if self.file.shape is not None or not (said.map or said.features):
            return None
        run = self._raw(self.batch_of_its_own or 1)

        def of_tile(tile: U8) -> list[F32]:
            found = run.of(np.repeat(tile[None], run.batch, axis=0))
            if not isinstance(method, ImportedSpec):
                return [value.astype(np.float32).transpose(0, 2, 3, 1) for value in found]
            sides = [n for n in found[0].shape[1:] if n != 1]
            values = found[0].reshape(len(found[0]), *sides, 1).astype(np.float32)
            sign, zero = np.float32(1 if method.worse == "higher" else -1), np.float32(method.zero)
            return [np.maximum(sign * (values - zero), np.float32(0))]

        return WholeTiles(of_tile, features=not isinstance(method, ImportedSpec))

    def _raw(self, batch: int) -> Outputs:
        compiled = new_core().compile_model(
            self._used(*self.input.wrapped(batch)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return Outputs(
            batch, lambda pixels: [np.array(value) for value in compiled(pixels).values()]
        )


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
