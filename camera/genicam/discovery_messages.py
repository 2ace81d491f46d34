"""What a process that looks for cameras, or tries one, answers."""

from __future__ import annotations

import math

import numpy as np

from kenpin.camera.genicam.device_record import DeviceRecord
from kenpin.processes.channel import Message

__all__ = ["Answers", "CameraList", "NoCamera", "Probe"]


class Probe(Message, frozen=True):
    """What a camera says of itself once it is configured.

    size, dtype   of its frames
    """

    label: str
    transport: str
    size: tuple[int, ...]
    dtype: str
    pixel_format: str
    line_rate_hz: float | None
    packet_bytes: int | None

    @property
    def frame_bytes(self) -> int:
        """Of a frame's pixels."""
        return math.prod(self.size) * np.dtype(self.dtype).itemsize


class CameraList(Message, frozen=True):
    """The cameras that the producers list."""

    found: tuple[DeviceRecord, ...]


class NoCamera(Message, frozen=True):
    """Why there is no answer, in a sentence."""

    why: str


# All that such a process may say.
Answers = CameraList | Probe | NoCamera
