"""A camera of the simplest kind: it shows the synthetic web, as a vendor's SDK would.

The gateway reads the settings, so nothing heavy is imported before `open_testcard` is called,
in the acquisition process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from kenpin.config.camera import CameraSettings, Origin, Source

if TYPE_CHECKING:
    from kenpin.camera.frame import Frame, LostFrame
    from kenpin.camera.source import Place


class TestcardSettings(CameraSettings):
    """What a line may say: `[camera]` with kind = "testcard".

    serial  which one; those that exist begin with "TC"
    """

    # Leave this out for a camera that shows real material.
    origin: ClassVar[Origin] = "simulation"

    kind: Literal["testcard"]
    height_px: int = Field(ge=64)
    width_px: int = Field(ge=64)
    rate_hz: float = Field(default=10.0, gt=0)
    serial: str = "TC1"

    @property
    def frame_lines(self) -> int:
        """Scan lines of a frame: the ring of a web is made for so many."""
        return self.height_px


class Testcard:
    """A `kenpin.camera.source.LiveSource`: the acquisition process calls all of this."""

    continuous = False  # frames show parts
    stall_s: float | None = None  # by default a few frames
    trigger_s = 1.0

    def __init__(self, settings: TestcardSettings, *, triggered: bool) -> None:
        self._settings = settings
        self.triggered = triggered
        self.free_running = not triggered
        self.lines_per_frame = settings.height_px
        self.line_rate_hz = settings.rate_hz * settings.height_px
        self._wanted = 0
        self._index = 0
        self._web: Any = None
        self._next_s = 0.0

    @property
    def exhausted(self) -> bool:
        """A camera never ends."""
        return False

    def connect(self) -> None:
        """Open the device. What `CameraError` says is shown, and it is tried again."""
        from kenpin.camera.source import CameraError
        from kenpin.camera.synthetic import SyntheticWeb

        s = self._settings
        if not s.serial.startswith("TC"):
            raise CameraError(f"no test card {s.serial!r}; expected a serial that begins with TC")
        self._web = SyntheticWeb(s.height_px, s.width_px, seed=3)
        self._next_s = time.monotonic()

    def fire(self) -> None:
        """Ask for a frame."""
        self._wanted += 1

    def flush(self) -> None:
        """Forget what was asked for."""
        self._wanted = 0

    def grab_into(self, place: Place, timeout_s: float) -> list[Frame | LostFrame]:
        """The next frame, if it comes in time, in the memory that `place` gives."""
        import numpy as np

        from kenpin.camera.capture import Capture
        from kenpin.camera.frame import Frame, LostFrame
        from kenpin.camera.loss import Loss
        from kenpin.camera.synthetic import DefectKind

        if not self._due(timeout_s):
            return []
        # Nothing of a frame is older than this; one that does not say so answers no trigger.
        began = time.monotonic_ns()
        index, self._index = self._index, self._index + 1
        # Now and then material is bad, here in every tenth frame.
        image = self._web.frame(index, DefectKind.DARK_BAND if index % 10 == 9 else None).pixels
        now = time.monotonic_ns()
        pixels = place(image.shape, image.dtype)
        if pixels is None:
            return [LostFrame(now, index, "nobody had room for the frame", loss=Loss.OVERRUN)]
        np.copyto(pixels, image)
        return [Frame(pixels, now, index, capture=Capture(began_ns=began))]

    def _due(self, timeout_s: float) -> bool:
        wait_s = 0.0 if self.triggered else self._next_s - time.monotonic()
        if (self.triggered and not self._wanted) or wait_s > timeout_s:
            time.sleep(timeout_s)
            return False
        time.sleep(max(0.0, wait_s))
        self._wanted = max(0, self._wanted - 1)
        self._next_s += 1 / self._settings.rate_hz
        return True

    def close(self) -> None:
        """Let go of the device."""
        self._web = None


def open_testcard(settings: TestcardSettings, *, triggered: bool) -> Testcard:
    """See `kenpin.camera.source.OpenSource`."""
    return Testcard(settings, triggered=triggered)


def frame_bytes(settings: TestcardSettings) -> int:
    """Of a frame, for `edge-run record`."""
    return settings.height_px * settings.width_px


TESTCARD = Source(
    TestcardSettings,
    "kenpin_example.camera:open_testcard",
    "kenpin_example.camera:frame_bytes",
)
