"""Why a frame that was started never reached its reader."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Loss"]


class Loss(StrEnum):
    """The values are the reasons that its verdict will carry."""

    OVERRUN = "overrun"  # nobody had room for it
    INCOMPLETE = "incomplete_frame"  # packets or lines are missing, or it is not what was asked for
    CAMERA = "camera_lost"  # the camera took it, or should have; the box never saw it
    NONE = "no_frame"  # a trigger to which the camera gave nothing
