"""The table [tiles]: how a frame is cut."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from kenpin.config.settings import Settings

__all__ = ["TileSpec"]


class TileSpec(Settings):
    """How a frame is cut: into squares whose border is context only.

    size_px    side of a square. Where it is left out, an imported network's tiles are of its
               own size, if it has one; PatchCore's of parts are 512 px if the frame fills
               them and that is fewer pixels, halos included; all others have 256 px
    halo_px    the border on each side: seen by the network and not scored, for padding
               poisons features there. 0 where it is left out and an imported network sees
               the frame as a whole
    stride_px  from one tile to the next; by default what is scored, so that nothing is
               scored twice
    """

    size_px: int = Field(default=256, ge=32, le=2048)
    halo_px: int = Field(default=32, ge=0)
    stride_px: int | None = Field(default=None, ge=1)

    @property
    def core_px(self) -> int:
        """Side of the square that is scored."""
        return self.size_px - 2 * self.halo_px

    @property
    def step_px(self) -> int:
        """The fixed stride; by default the core, so that cores abut."""
        return self.core_px if self.stride_px is None else self.stride_px

    @model_validator(mode="after")
    def _covers(self) -> Self:
        if self.core_px < 16:
            raise ValueError(
                f"size_px {self.size_px} less twice halo_px {self.halo_px} leaves a core of "
                f"{self.core_px} px; expected at least 16: enlarge size_px or shrink halo_px"
            )
        if self.step_px > self.core_px:
            raise ValueError(
                f"stride_px {self.step_px} is larger than the core of {self.core_px} px, so lines "
                f"between tiles would never be scored; expected at most {self.core_px}"
            )
        return self
