"""What one frame looks like: its size, its depth, its colours, and how others are fitted to it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from kenpin.config.settings import Settings

__all__ = ["Fit", "FrameSpec", "Geometry", "ToGrey"]

# Whether frames show parts, or follow each other on one web.
Geometry = Literal["indexed", "continuous"]
# What is done with an image of another size.
Fit = Literal["exact", "resize", "trim", "pad"]
# How three channels become one.
ToGrey = Literal["luma", "mean", "red", "green", "blue"]


class FrameSpec(Settings):
    """What one frame looks like, in training, in replay and from the camera.

    geometry   indexed: one frame shows one part. continuous: frames are blocks
               of an endless web, of any height, so `height_px` stays away
    height_px  scan lines of a frame, from 16 on; a must where geometry is indexed
    width_px   pixels across
    channels   1: grey; 3: red, green, blue
    fit        what becomes of a photograph of another size. exact: it is refused.
               resize: it is stretched. trim: its middle is taken, the rest is not
               inspected. pad: it is mirrored at its borders until it is large enough
    bits       of a pixel: images of 16 bits whose values need only so many. The
               8 highest are judged; what a camera of 8 bits shows is taken as it is
    white      the value that becomes white, 255, instead of 2^bits - 1
    to_grey    how colour becomes grey where `channels` is 1; grey images stay as
               they are. Without it, colour is refused
    """

    geometry: Geometry = "indexed"
    height_px: int = Field(default=0, ge=0, le=65536)
    width_px: int = Field(ge=16, le=65536)
    channels: Literal[1, 3] = 1
    fit: Fit = "exact"
    bits: int = Field(default=8, ge=8, le=16)
    white: int | None = Field(default=None, ge=255, le=65535)
    to_grey: ToGrey | None = None

    @model_validator(mode="before")
    @classmethod
    def _once_a_switch(cls, tree: Any) -> Any:
        # Manifests and recipes from before `fit` say `resize`.
        if isinstance(tree, dict) and isinstance(resize := tree.get("resize"), bool):
            if "fit" in tree:
                raise ValueError("resize and fit are both given; keep fit")
            rest = {key: value for key, value in tree.items() if key != "resize"}
            return {**rest, "fit": "resize" if resize else "exact"}
        return tree

    @field_validator("height_px")
    @classmethod
    def _tall_enough(cls, height_px: int) -> int:
        if 0 < height_px < 16:
            raise ValueError(f"{height_px} lines are too few for a frame; expected 16 or more")
        return height_px

    @model_validator(mode="after")
    def _height(self) -> Self:
        if self.geometry == "continuous" and (self.height_px or self.fit != "exact"):
            raise ValueError(
                "a web has no height and is never resized, its frames may have any number of "
                "lines; remove height_px and fit"
            )
        if self.geometry == "indexed" and not self.height_px:
            raise ValueError("height_px is missing: the lines of a frame that shows one part")
        return self

    @model_validator(mode="after")
    def _depth_and_colour(self) -> Self:
        if self.white is not None and not 8 < self.white.bit_length() <= self.bits:
            raise ValueError(
                f"white {self.white} is no value of more than 8 and at most {self.bits} bits; "
                "set bits to what the images count to, or remove white"
            )
        if self.to_grey is not None and self.channels != 1:
            raise ValueError("to_grey makes frames of one channel; set channels = 1 or remove it")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Bundles keep the content hash that they had before these settings.
        tree: dict[str, Any] = handler(self)
        if self.geometry == "indexed":
            del tree["geometry"]
        if self.fit in ("exact", "resize"):
            del tree["fit"]
            tree["resize"] = self.fit == "resize"
        unset = {"bits": 8, "white": None, "to_grey": None}
        return {key: value for key, value in tree.items() if unset.get(key, ...) != value}

    @property
    def plain(self) -> FrameSpec:
        """The frame that comes out: of this size exactly, 8 bits, and these channels."""
        ready = {"fit": "exact", "bits": 8, "white": None, "to_grey": None}
        return self.model_copy(update=ready)
