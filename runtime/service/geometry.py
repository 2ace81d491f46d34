"""How large frames and maps will be, before anything is loaded that could hang."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Geometry", "geometry_of"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Of the frames that a bundle judges; `map_bytes` is never too small."""

    height_px: int
    width_px: int
    channels: int
    map_bytes: int

    @property
    def frame_bytes(self) -> int:
        """A frame of 8 bits a sample."""
        return self.height_px * self.width_px * self.channels


def geometry_of(bundles: Path) -> Geometry:
    """What the manifest of a bundle, or of a store's current one, says.

    Only for sizing memory: the inspection process reads the manifest again, and
    verifies it.

    Raises
    ------
    OSError
        If there is no manifest.
    ValueError
        If it does not say.
    """
    file = bundles / "manifest.json"
    if not file.exists():
        file = bundles / "current" / "manifest.json"
    raw = file.read_bytes()
    try:
        tree: Any = json.loads(raw)
        frame, stride = tree["frame"], int(tree["features"]["patch_stride_px"])
        height, width, channels = (int(frame[k]) for k in ("height_px", "width_px", "channels"))
        if min(height, width, channels, stride) < 1:
            raise ValueError("a size below 1")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: does not say how large frames are ({error})") from None
    rows, columns = -(-height // stride) + 1, -(-width // stride) + 1
    return Geometry(height, width, channels, 4 * rows * columns)
