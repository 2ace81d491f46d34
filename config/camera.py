"""Which camera a line has: a real one, recorded frames, or the synthetic web."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from kenpin.config.settings import Settings

__all__ = ["CameraSpec", "GenicamSpec", "RecordedSpec", "SyntheticSpec"]


class GenicamSpec(Settings):
    """A GenICam camera."""

    kind: Literal["genicam"]


class RecordedSpec(Settings):
    """Recorded frames."""

    kind: Literal["recorded"]
    folder: Path
    rate_hz: float | None = Field(default=None, gt=0)
    loop: bool = False


class SyntheticSpec(Settings):
    """The synthetic web."""

    kind: Literal["synthetic"]
    height_px: int = Field(ge=64)
    width_px: int = Field(ge=64)
    seed: int = Field(default=0, ge=0)
    rate_hz: float | None = Field(default=None, gt=0)
    count: int | None = Field(default=None, ge=1)


CameraSpec = Annotated[GenicamSpec | RecordedSpec | SyntheticSpec, Field(discriminator="kind")]
