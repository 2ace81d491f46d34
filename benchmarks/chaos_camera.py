"""A camera for chaos.py: it records each frame before it shows it, and fails when it is told to.

Found by the line as an installed package's. `away`, `silent` and `broken` in its folder are the
faults: no camera, no frame, and a frame without its last lines.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kenpin.config.camera import CameraSettings, Source

if TYPE_CHECKING:
    from kenpin.camera.frame import Frame, LostFrame
    from kenpin.camera.source import Place


class ChaosSettings(CameraSettings):
    """`[camera]` with kind = "chaos".

    folder  shown/ has the images; frames/ gets what was shown, frames.log when
    """

    kind: Literal["chaos"]
    folder: Path

    @property
    def frame_lines(self) -> int:
        """Scan lines of a frame."""
        return 128


class ChaosCamera:
    """A `kenpin.camera.source.LiveSource`. A real camera, as far as the line can know."""

    continuous = free_running = False
    triggered = True
    trigger_s = 0.3
    lines_per_frame = 128
    line_rate_hz: float | None = None
    stall_s: float | None = None
    exhausted = False

    def __init__(self, settings: ChaosSettings) -> None:
        self._folder = settings.folder
        self._images: list[Any] = []
        self._wanted = False

    def _is_on(self, fault: str) -> bool:
        return (self._folder / fault).exists()

    def connect(self) -> None:
        """As if it were plugged in."""
        import cv2

        self._look()
        if not self._images:
            files = sorted((self._folder / "shown").iterdir())
            self._images = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
        known = [int(file.stem) for file in (self._folder / "frames").glob("[0-9]*.png")]
        self._serial = max(known, default=0)
        self._log = os.open(self._folder / "frames.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def _look(self) -> None:
        from kenpin.camera.source import CameraError

        if self._is_on("away"):
            raise CameraError("the cable is out, on purpose")

    def fire(self) -> None:
        """Take a frame."""
        self._wanted = True

    def flush(self) -> None:
        """None is wanted any more."""
        self._wanted = False

    def grab_into(self, place: Place, timeout_s: float) -> list[Frame | LostFrame]:
        """The frame that was asked for, recorded first."""
        import numpy as np

        from kenpin.camera.frame import Capture, Frame, LostFrame
        from kenpin.camera.loss import Loss

        self._look()
        if not self._wanted or self._is_on("silent"):
            time.sleep(timeout_s)
            return []
        self._wanted = False
        began_ns = time.monotonic_ns()
        name, image = self._record(began_ns)
        image = image[:100] if self._is_on("broken") else image
        pixels = place(image.shape, image.dtype)
        now = time.monotonic_ns()
        if pixels is None:
            return [LostFrame(now, self._serial, "nobody had room", name, loss=Loss.OVERRUN)]
        np.copyto(pixels, image)
        capture = Capture(lines_expected=128, began_ns=began_ns)
        return [Frame(pixels, now, self._serial, name, capture)]

    def _record(self, began_ns: int) -> tuple[str, Any]:
        """A frame like no other before, on the disk."""
        import cv2
        import numpy as np

        self._serial += 1
        rng = np.random.default_rng(self._serial)
        base = self._images[int(rng.integers(len(self._images)))]
        image = np.clip(base + rng.normal(0, 1.0, base.shape), 0, 255).astype(np.uint8)
        name, frames = f"{self._serial:06d}.png", self._folder / "frames"
        cv2.imwrite(str(frames / f".{name}"), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        (frames / f".{name}").rename(frames / name)
        os.write(self._log, f"{name} {began_ns}\n".encode())
        return name, image

    def close(self) -> None:
        """Nothing to let go of."""


def open_chaos(settings: ChaosSettings, *, triggered: bool) -> ChaosCamera:  # noqa: ARG001
    """See `kenpin.camera.source.OpenSource`."""
    return ChaosCamera(settings)


CHAOS = Source(ChaosSettings, "chaos_camera:open_chaos")
