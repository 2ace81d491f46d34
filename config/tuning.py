"""How a box runs a bundle's network: measured once where it runs, kept beside the bundle."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from kenpin.config.errors import ConfigError
from kenpin.config.settings import Settings, problems

__all__ = ["Tuning", "load_tuning", "tuning_file"]


# AUTO begins on the CPU and goes on elsewhere when the other device is ready.
WANDERING = ("AUTO", "MULTI", "BATCH")


class Tuning(Settings):
    """What `edge-doctor tune` chooses. None of it changes what is computed.

    device    OpenVINO's name of what runs the network: CPU, GPU, NPU, GPU.1, HETERO:GPU,CPU, ...
    batch     tiles in one inference; None: as the bundle was compiled
    streams   inferences side by side, each on its share of the cores
    measured  what the choice rests on: milliseconds a frame by setting
    """

    device: str = Field(default="CPU", pattern=r"^[A-Z]+(\.\d+)?(:[A-Z0-9.,]+)?$")
    batch: int | None = Field(default=None, ge=1, le=256)
    streams: int = Field(default=1, ge=1, le=64)
    measured: dict[str, float] = Field(default_factory=dict)

    @field_validator("device")
    @classmethod
    def _stays(cls, device: str) -> str:
        if device.partition(":")[0] in WANDERING:
            raise ValueError(
                f"{device} may move to another device while it runs, which golden frames would "
                "then say nothing about; name one, such as CPU, GPU, NPU or HETERO:GPU,CPU"
            )
        return device


def tuning_file(bundle: Path) -> Path:
    """Where a bundle's tuning lies: beside its folder, for it is the box's, not the bundle's."""
    return bundle.parent / f"{bundle.name}.tuning.json"


def load_tuning(bundle: Path) -> Tuning:
    """The tuning beside a bundle's folder; the defaults where there is none.

    Raises
    ------
    ConfigError
        If the file is not what `edge-doctor tune` writes.
    """
    file = tuning_file(bundle)
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return Tuning()
    try:
        return Tuning.model_validate_json(raw)
    except ValidationError as error:
        raise ConfigError(
            f"{file}: {problems(error)}; correct it, or remove it and run `edge-doctor tune` again"
        ) from None
