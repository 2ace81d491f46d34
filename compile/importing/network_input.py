"""How an image reaches a network: cut, coloured, scaled and laid out, in its graph and in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.compile.importing.model_ensemble import ModelFiles
from kenpin.compile.importing.model_file import (
    ANOMALIB_SCORE,
    channels_last,
    colours_of,
    make_static,
    names_of,
    sides_of,
    size_of,
    static_batch,
)
from kenpin.compile.importing.normalisation import takes_a_mean_off
from kenpin.config.errors import ConfigError
from kenpin.config.imported import ModelSpec
from kenpin.config.recipe import Recipe
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as opset  # noqa: E402

__all__ = ["NetworkInput", "cut"]

U8 = NDArray[np.uint8]


class NetworkInput:
    """The one input of a network, as its shape and the recipe tell of it.

    seen              (height, width) of its images: a tile, or the whole frame
    any_size          whether it takes images of any size
    batch_of_its_own  images at once that it takes alone; None if it takes any number
    anomalib          whether its score has the name that Anomalib gives it
    normalises        whether it is seen to take a mean off its pixels itself
    twice             what to know where that and the recipe's mean are two

    Raises
    ------
    ConfigError
        If it does not fit the recipe; what cannot be seen and is not said is asked for.
    """

    def __init__(self, recipe: Recipe, spec: ModelSpec, file: ModelFiles) -> None:
        self._recipe, self._spec, self._file = recipe, spec, file
        inner = file.read()
        self._channels_last = channels_last(inner, spec, file)
        self._size = recipe.tiles.size_px
        self.seen = size_of(inner, recipe, self._channels_last, file)
        self.any_size = None in sides_of(inner, self._channels_last)
        self._colours = colours_of(inner, self._channels_last)
        self._port = inner.inputs[0]
        self.batch_of_its_own = static_batch(inner)
        self.anomalib = ANOMALIB_SCORE in names_of(inner)
        self.normalises = takes_a_mean_off(inner)
        self.twice = ""
        if self.normalises and spec.normalises:
            self.twice = (
                f"{file.name} takes a mean off its pixels itself, and model.mean is taken off "
                "before it, too; remove model.mean and model.std, if that is one too many"
            )
        kind = self._port.element_type
        if not kind.is_real() and (spec.values == "0..1" or spec.normalises):
            raise ConfigError(
                f"{file.name} takes whole numbers ({kind.get_type_name()}), which pixels from 0 to "
                "1 or less a mean are not; remove model.values, model.mean and model.std"
            )
        if len(spec.mean) not in (0, 1, self._colours):
            raise ConfigError(
                f"{file.name} looks at {self._colours} channels, and model.mean has "
                f"{len(spec.mean)} numbers; give one, or one for each channel"
            )
        if asked := self._asked():
            raise ConfigError(f"{file.name}: nothing tells {'; nor '.join(asked)}")
        self._expect_one_measure()

    def _asked(self) -> list[str]:
        """What cannot be seen and is not said, and what says it: all of it at once."""
        spec, kind, asked = self._spec, self._port.element_type, []
        if self.anomalib:
            return []
        if spec.values is None and kind != ov.Type.u8:
            asked.append("whether its pixels go from 0 to 1 or to 255: set model.values")
        # Whole numbers are normalised within, if at all.
        if kind.is_real() and not (spec.mean or self.normalises):
            asked.append(
                "whether its pixels are normalised before it: set model.mean and model.std to what "
                "it was trained with, in the measure of model.values, or to [0] and [1] where it "
                "takes pixels as they are"
            )
        if spec.colours is None and self._colours == 3 == self._recipe.frame.channels:
            asked.append("the order of its colours: set model.colours to rgb or bgr")
        return asked

    def _expect_one_measure(self) -> None:
        """A mean of pixels from 0 to 1 taken off pixels up to 255 would leave no picture."""
        spec = self._spec
        if not spec.normalises:
            return
        numbers = [abs(part) for part in (*spec.mean, *spec.std)]
        said = f"model.mean {list(spec.mean)} and model.std {list(spec.std)} are of pixels"
        if self._values == "0..255" and max(numbers) <= 1:
            raise ConfigError(
                f"{said} from 0 to 1, and model.values is 0..255; set it to 0..1, or multiply them "
                "by 255"
            )
        if self._values == "0..1" and max(numbers) > 1:
            raise ConfigError(
                f"{said} from 0 to 255, and model.values is 0..1; set it to 0..255, or divide them "
                "by 255"
            )

    def shape(self, batch: int) -> list[int]:
        """Of the network itself, for so many images."""
        (height, width), colours = self.seen, self._colours
        if self._channels_last:
            return [batch, height, width, colours]
        return [batch, colours, height, width]

    def wrapped(self, batch: int) -> tuple[Any, Any]:
        """(batch, C, S, S) uint8 tiles, and the network behind what must be done before it."""
        size, frame_channels = self._size, self._recipe.frame.channels
        inner = self._file.read()
        make_static(inner, self.shape(batch), self._file)
        port = inner.inputs[0]
        tiles = opset.parameter([batch, frame_channels, size, size], ov.Type.u8, name="tiles")
        tiles.set_friendly_name("tiles")
        # The name keeps NNCF away from it.
        shown = opset.convert(tiles, "f32", name="in_float_grey")
        if self.seen != (size, size):
            shown = cut(shown, (0, 0), self.seen, (2, 3))
        if self._colours == 3 and frame_channels == 1:
            shown = opset.concat([shown] * 3, 1)
        elif self._colours != frame_channels:
            raise ConfigError(
                f"{self._file.name} looks at {self._colours} channels, frame.channels is "
                f"{frame_channels}; set frame.channels to 1, and frame.to_grey for photographs "
                "in colour"
            )
        spec = self._spec
        if self._colours == 3 and frame_channels == 3 and spec.colours == "bgr":
            shown = opset.gather(shown, np.array([2, 1, 0]), np.array(1))
        if self._values == "0..1":
            shown = opset.divide(shown, np.float32(255))
        if spec.normalises:
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

    def tile(self, tile: U8) -> NDArray[Any]:
        """A tile as the network itself takes it, in numpy: what the wrapped one is compared with.

        float32 for a network in float16, which a bundle runs in float32.

        Parameters
        ----------
        tile : (C, S, S) uint8
        """
        height, width = self.seen
        planes = np.broadcast_to(tile, (self._colours, *tile.shape[1:]))[:, :height, :width]
        image: NDArray[Any] = planes.astype(np.float32)
        if len(tile) == 3 and self._spec.colours == "bgr":
            image = image[::-1]
        port = self._port
        if self._values == "0..1":
            image = image / np.float32(255)
        if self._spec.normalises:
            mean, std = (
                np.array(p, np.float32)[:, None, None] for p in (self._spec.mean, self._spec.std)
            )
            image = (image - mean) / std
        if self._channels_last:
            image = image.transpose(1, 2, 0)
        kind = np.float32 if port.element_type == ov.Type.f16 else port.element_type.to_dtype()
        return np.ascontiguousarray(image[None]).astype(kind)

    @property
    def _values(self) -> str:
        return self._spec.values or ("0..1" if self.anomalib else "0..255")

    def __str__(self) -> str:
        layout = "NHWC" if self._channels_last else "NCHW"
        height, width = self.seen
        where = "normalised inside" if self.normalises else "as they are"
        if self._spec.normalises:
            where = "normalised before it"
        return (
            f"input {layout} {height} x {width}, {self._colours} colours, {self._values}, {where}"
        )


def cut(found: Any, first: Sequence[int], size: Sequence[int], axes: Sequence[int]) -> Any:
    """A window of an output along two axes."""
    end = [a + n for a, n in zip(first, size, strict=True)]
    steps = np.ones(len(axes), np.int64)
    return opset.slice(found, np.array(first), np.array(end), steps, np.array(axes))
