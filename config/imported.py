"""Networks that somebody else made: what must be said of one, and the method that judges by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from kenpin.config.methods import Method, MethodSettings
from kenpin.config.settings import Settings

__all__ = ["IMPORTED", "ImportedSpec", "ModelSpec"]


class ModelSpec(Settings):
    """The table [model]: a network in a file. What the file tells by itself need not be said.

    file         OpenVINO IR (.xml, its .bin beside it), ONNX (.onnx), a program that
                 torch.export.save wrote (.pt2), or a folder with one of them, such as Anomalib
                 exports
    map, score   outputs by name: an anomaly map, and one number for the whole tile
    features     outputs by name that a method such as padim or patchcore works on, fine
                 to coarse
    layout       of the input: planes of colour first, or colour last
    values       of the input: what the darkest and the brightest pixel are
    mean, std    of each colour, in the measure of `values`, taken off and divided by before
                 the network; left out where the network is seen to do so itself, and 0 and 1
                 where nobody does
    colours      order of the colours; a grey frame is shown to all of them alike
    """

    file: Path | None = None
    map: str | None = None
    score: str | None = None
    features: tuple[str, ...] = ()
    layout: Literal["nchw", "nhwc"] | None = None
    values: Literal["0..1", "0..255"] | None = None
    mean: tuple[float, ...] = Field(default=(), max_length=3)
    std: tuple[float, ...] = Field(default=(), max_length=3)
    colours: Literal["rgb", "bgr"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.features and (self.map or self.score):
            raise ValueError("model names features and a map or score; name one or the other")
        if len(self.mean) != len(self.std) or len(self.mean) == 2 or 0 in self.std:
            raise ValueError(
                "model.mean and model.std: expected one or three numbers each, std > 0"
            )
        return self

    @property
    def normalises(self) -> bool:
        """Whether pixels are changed by `mean` and `std`."""
        return any(self.mean) or any(part != 1 for part in self.std)


class ImportedSpec(MethodSettings):
    """What a network says is the distance: an anomaly map, a score a tile, or both.

    share      "tile": each tile has a network of its own, as in Anomalib's tiled ensemble
    worse      which way its numbers grow
    zero       its number that counts as 0; what is better is 0, too
    cell_px    pixels from one place of the map to the next; each is the worst within.
               By default the network's own distance, at least 4; for a score the core
    own_score  an image's score is the network's, and the map only says where
    """

    # Its own pre- and post-processing stays as it is, and nothing is joined with it.
    table_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quantize": {"precision": "fp32"},
        "score": {"smooth_sigma_px": 0.0},
        "image_quality": {"even_light": False},
    }

    name: Literal["imported"]
    share: Literal["frame", "tile"] = "frame"
    worse: Literal["higher", "lower"] = "higher"
    zero: float = 0.0
    cell_px: Literal[1, 2, 4, 8, 16, 32] | None = None
    own_score: bool = False

    @property
    def scores_images(self) -> bool:
        """See `MethodSettings`."""
        return self.own_score

    @property
    def joins_nothing(self) -> bool:
        """See `MethodSettings`."""
        return True

    def unfit_for_webs(self) -> str:
        """See `MethodSettings`."""
        return super().unfit_for_webs() or self._whole("a web")

    def unfit_for_masks(self) -> str:
        """See `MethodSettings`."""
        return self._whole("a mask")

    def _whole(self, what: str) -> str:
        if not self.own_score:
            return ""
        return (
            f"method.own_score takes the network's score of a whole tile, and {what} is judged "
            "part by part; set it to false and let the map decide"
        )


# The method of the name `imported`.
IMPORTED = Method(
    ImportedSpec,
    "kenpin.runtime.judging.imported:load_imported",
    "kenpin.compile.importing.imported:IMPORTED",
)
