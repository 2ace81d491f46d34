"""A network that somebody else made, brought into a bundle's shape: tiles in, distances out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kenpin.compile.backbones import Tap
from kenpin.compile.importing.model_ensemble import model_files
from kenpin.compile.importing.model_file import (
    ANOMALIB_MAP,
    ANOMALIB_SCORE,
    Said,
    channels_last,
    colours_of,
    flat_map,
    make_static,
    names_of,
    output_of,
    said_by,
    size_of,
    static_batch,
    step_of,
)
from kenpin.compile.methods.fitting import Embedding, fitting_of
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

SMALLEST_CELL_PX = 4
# Tiles in other slots of a batch give the same to so much of the largest value.
ALIKE = 1e-5
# Operations of OpenVINO that give another result each time.
RANDOM = frozenset({"RandomUniform", "Multinomial"})


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
        self._inner = self.file.read()
        self._channels_last = channels_last(self._inner, spec, self.file)
        self.size = recipe.tiles.size_px
        self.seen = size_of(self._inner, recipe, self._channels_last, self.file)
        self._colours = colours_of(self._inner, self._channels_last)
        self.weights_sha256: str | None = self.file.sha256()
        self.batch_of_its_own = static_batch(self._inner)
        self._fits_the_grid()
        if len(spec.mean) not in (0, 1, self._colours):
            raise ConfigError(
                f"{self.file.name} looks at {self._colours} channels, and model.mean has "
                f"{len(spec.mean)} numbers; give one, or one for each channel"
            )
        # What an output is shows in its shape, which may follow from that of the input.
        alone = self.file.read()
        make_static(alone, self.input_shape(self.batch_of_its_own or 1), self.file)
        self.said = said_by(alone, spec, self.file)
        self._repeatable()
        method = recipe.method
        if isinstance(method, ImportedSpec):
            if self.said.features:
                raise ConfigError(
                    "model.features are for a method that judges by them; set method.name to "
                    "padim or patchcore"
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

    def _repeatable(self) -> None:
        """Nothing that it is used for is drawn at random, as in training."""
        tiles, inner = self._shown(self.batch_of_its_own or 1)
        results = [opset.result(output_of(inner, name)) for name in self.said.names]
        network = ov.Model(results, [tiles], "used")
        drawn = {op.get_type_name() for op in network.get_ops()} & RANDOM
        if drawn:
            raise ConfigError(
                f"{self.file.name}: draws at random ({', '.join(sorted(drawn))}), so no frame "
                "would get the same score twice; export it in evaluation mode, or without sampling"
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

    def model(self, batch: int) -> Any:
        """(batch, C, S, S) uint8 tiles to (batch, cells, cells, D) float32, its shape static."""
        tiles, inner = self._shown(batch)
        if self.said.features:
            taps = [output_of(inner, name) for name in self.said.features]
            taps = [self._as_tile(tap, 2, self.seen[0] // int(tap.shape[2])) for tap in taps]
            found = _spliced(self._embedding, taps)
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
        inner = self.file.read()
        make_static(inner, self.input_shape(batch), self.file)
        port = inner.inputs[0]
        tiles = opset.parameter([batch, frame_channels, size, size], ov.Type.u8, name="tiles")
        tiles.set_friendly_name("tiles")
        # The name keeps NNCF away from it.
        shown = opset.convert(tiles, "f32", name="in_float_grey")
        if self.seen != (size, size):
            shown = _cut(shown, (0, 0), self.seen, (2, 3))
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
        (height, width), colours = self.seen, self._colours
        if self._channels_last:
            return [batch, height, width, colours]
        return [batch, colours, height, width]

    def shown(self, tile: U8) -> NDArray[Any]:
        """A tile as the network itself takes it, in numpy: what the wrapped one is compared with.

        float32 for a network in float16, which a bundle runs in float32.

        Parameters
        ----------
        tile : (C, S, S) uint8
        """
        height, width = self.seen
        planes = np.broadcast_to(tile, (self._colours, *tile.shape[1:]))[:, :height, :width]
        image: NDArray[Any] = planes.astype(np.float32)
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
        kind = np.float32 if port.element_type == ov.Type.f16 else port.element_type.to_dtype()
        return np.ascontiguousarray(image[None]).astype(kind)

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
        height, width = self.seen
        return (
            f"{self.file.name}: {outputs}; input {layout} {height} x {width}, "
            f"{self._colours} colours, {values}{outside}"
        )

    @property
    def anomalib(self) -> bool:
        """Whether its outputs have the names that Anomalib gives them."""
        return {ANOMALIB_MAP, ANOMALIB_SCORE} <= names_of(self._inner)

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
            found = _cut(self._as_tile(found, 1, step), (first, first), (count, count), (1, 2))
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
        _, inner = self._shown(self.batch_of_its_own or 1)
        found = flat_map(output_of(inner, self.said.map), self.said.map, self.file)
        rows, cols = (int(n) for n in found.shape[1:])
        step = step_of((rows, cols), self.seen)
        if step is None:
            height, width = self.seen
            raise ConfigError(
                f"{self.file.name}: its map of {rows} x {cols} is no whole part of images of "
                f"{height} x {width} px; set tiles.size_px to a multiple of {rows}, or export it "
                "for such a size"
            )
        cell = method.cell_px or max(step, SMALLEST_CELL_PX)
        if cell % step or core % cell or halo % cell:
            raise ConfigError(
                f"cells of {cell} px do not fit a map with a value every {step} px and cores of "
                f"{core} px within a halo of {halo} px; set method.cell_px or tiles.halo_px"
            )
        return cell

    def _taps(self) -> list[Tap]:
        _, inner = self._shown(self.batch_of_its_own or 1)
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
        return taps

    def fitting_batch(self, wanted: int) -> int:
        """See `FeatureNetwork`: as many as wanted if its tiles do not mix then; else its own."""
        if self.batch_of_its_own is not None and self.batch_of_its_own > 1:
            if self.file.shape is None:
                self._keeps_slots_apart(self.batch_of_its_own)
            return self.batch_of_its_own
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
            if not _alike(expected, values):
                return False
        return True

    def _keeps_slots_apart(self, batch: int) -> None:
        """A tile's result is the same whatever lies in the other slots of a fixed batch."""
        run, rng = self._raw(batch), np.random.default_rng(0)
        shape = (batch, self._recipe.frame.channels, self.size, self.size)
        # Faint among loud ones, and among dark ones: a network may divide by the largest of all.
        tiles = rng.integers(96, 160, shape, np.uint8)
        for others in (np.zeros(shape, np.uint8), rng.integers(0, 256, shape, np.uint8)):
            for slot in range(batch):
                mixed = others.copy()
                mixed[slot] = tiles[slot]
                for here, there in zip(run(tiles), run(mixed), strict=True):
                    if not _alike(here[slot], there[slot]):
                        raise ConfigError(
                            f"{self.file.name}: takes {batch} images at once and mixes them: what "
                            "it says of one depends on the others; export it for one image, or "
                            "for any number"
                        )

    def _raw(self, batch: int) -> Any:
        """The outputs that are used, of so many tiles at once."""
        tiles, inner = self._shown(batch)
        results = [opset.result(output_of(inner, name)) for name in self.said.names]
        compiled = new_core().compile_model(
            ov.Model(results, [tiles], "raw"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return lambda pixels: [np.array(value) for value in compiled(pixels).values()]


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two outputs are the same but for rounding; what is no number is so in both."""
    known = np.isfinite(one)
    if one.shape != other.shape or not np.array_equal(known, np.isfinite(other)):
        return False
    limit = ALIKE * np.abs(one[known]).max(initial=0)
    return np.allclose(one[known], other[known], rtol=0, atol=limit)


def _cut(found: Any, first: Sequence[int], size: Sequence[int], axes: Sequence[int]) -> Any:
    """A window of an output along two axes."""
    end = [a + n for a, n in zip(first, size, strict=True)]
    steps = np.ones(len(axes), np.int64)
    return opset.slice(found, np.array(first), np.array(end), steps, np.array(axes))


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
