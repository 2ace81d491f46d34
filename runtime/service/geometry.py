"""How large frames and maps will be, before anything is loaded that could hang."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kenpin.config.camera import CameraSettings

__all__ = ["HEIGHT_UNKNOWN", "Geometry", "NoBundleError", "geometry_of"]

# Why the frames' memory cannot be sized.
HEIGHT_UNKNOWN = (
    "ring.pixel_bytes: nobody says how high the blocks of the web are; give it here "
    "(lines x width), or camera.lines_per_frame"
)


class NoBundleError(Exception):
    """There is no bundle whose manifest says anything: only a person can help."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Of the frames that a bundle judges; `map_bytes` is never too small."""

    height_px: int
    width_px: int
    channels: int
    map_bytes: int
    sample_bytes: int = 1

    @property
    def frame_bytes(self) -> int:
        """The largest frame that the bundle takes as it comes from a camera."""
        return self.height_px * self.width_px * self.channels * self.sample_bytes


def geometry_of(bundles: Path, camera: CameraSettings | None = None) -> Geometry:
    """What the manifest of a bundle, or of a store's current one, says.

    Where the current one says nothing, the previous one does: it will have to run.
    Only for sizing memory: the inspection process reads the manifest again, and
    verifies it. Blocks of a web are as high as the camera makes them; where
    nobody says how high, `height_px` is 0.

    Raises
    ------
    NoBundleError
        If there is no manifest, or none that says it.
    """
    try:
        if (bundles / "manifest.json").exists():
            return _said_by(bundles / "manifest.json", camera)
        try:
            return _said_by(bundles / "current" / "manifest.json", camera)
        except (OSError, ValueError):
            if not (bundles / "previous" / "manifest.json").exists():
                raise
            return _said_by(bundles / "previous" / "manifest.json", camera)
    except FileNotFoundError:
        raise NoBundleError(
            f"{bundles}: holds no bundle; install one by edge-run bundles install LINE.toml BUNDLE"
        ) from None
    except (OSError, ValueError) as error:
        raise NoBundleError(f"{error}; install the bundle again") from error


def _said_by(file: Path, camera: CameraSettings | None) -> Geometry:
    raw = file.read_bytes()
    try:
        tree: Any = json.loads(raw)
        frame, stride = tree["frame"], int(tree["features"]["patch_stride_px"])
        web = frame.get("geometry") == "continuous"
        width, channels = (int(frame[k]) for k in ("width_px", "channels"))
        # Colour that becomes grey, and more than 8 bits, take their room in the ring.
        channels = 3 if frame.get("to_grey") else channels
        sample_bytes = 2 if int(frame.get("bits", 8)) > 8 else 1
        height = (camera.frame_lines or 0 if camera else 0) if web else int(frame["height_px"])
        if min(width, channels, stride) < 1 or height < (not web):
            raise ValueError("a size below 1")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: does not say how large frames are ({error})") from None
    # A web's map also has rows of lines that the frames before had left waiting.
    waiting = 2 * (int(tree["tiles"]["size_px"])) if web else 0
    rows, columns = -(-(height + waiting) // stride) + 1, -(-width // stride) + 1
    return Geometry(height, width, channels, 4 * rows * columns, sample_bytes)
