"""How good parts may differ beyond what was photographed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from kenpin.config.settings import Settings

__all__ = ["AugmentSpec"]


class AugmentSpec(Settings):
    """Changed copies of every good image, to learn from; scores rest on the images alone.

    copies      of each image
    flip        mirrored across the frame, along it, or both at random
    shift_px    moved at most so far, each way; what is missing is mirrored in
    brightness  so much brighter or darker at most, as a share
    """

    copies: int = Field(default=1, ge=1, le=16)
    flip: Literal["none", "across", "along", "both"] = "none"
    shift_px: int = Field(default=0, ge=0, le=256)
    brightness: float = Field(default=0.0, ge=0, le=0.5)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.flip == "none" and not self.shift_px and not self.brightness:
            raise ValueError(
                "the copies would be the images themselves; give flip, shift_px or brightness"
            )
        return self
