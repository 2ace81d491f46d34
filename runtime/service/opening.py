"""From a line's settings to what the acquisition process opens. Loads no numpy itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from kenpin.camera.acquisition import Opener
from kenpin.config.camera import CameraSpec, GenicamSpec, RecordedSpec

__all__ = ["opener_of"]


def opener_of(camera: CameraSpec) -> Opener:
    """Makes the source, in the acquisition process."""
    return partial(_open, camera)


def _open(camera: CameraSpec) -> Any:
    if isinstance(camera, GenicamSpec):
        raise NotImplementedError
    if isinstance(camera, RecordedSpec):
        from kenpin.camera.recorded import RecordedFrames

        return RecordedFrames(camera.folder, rate_hz=camera.rate_hz, loop=camera.loop)
    from kenpin.camera.synthetic import SyntheticFrames, SyntheticWeb

    web = SyntheticWeb(camera.height_px, camera.width_px, camera.seed)
    return SyntheticFrames(web, count=camera.count, rate_hz=camera.rate_hz)
