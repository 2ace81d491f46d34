"""From a camera's settings to the source that the acquisition process opens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kenpin.camera.acquisition.handle import Opener
from kenpin.config.camera import CameraSpec, GenicamSpec, RecordedSpec

if TYPE_CHECKING:  # it loads numpy, which the process that hands this out must not
    from kenpin.camera.source import LiveSource

__all__ = ["opener_of"]


def opener_of(camera: CameraSpec, *, triggered: bool = False) -> Opener:
    """Makes the source, in the acquisition process.

    triggered   frames of a recording or of the synthetic web are taken when
                asked for; a real camera has its own triggers
    """
    return partial(_open, camera, triggered)


def _open(camera: CameraSpec, triggered: bool) -> LiveSource:
    # Each in its own branch: who plays recorded frames needs no Harvesters, and the
    # process that hands this out loads none of it.
    if isinstance(camera, GenicamSpec):
        from kenpin.camera.genicam.source import GenicamSource

        return GenicamSource(camera)
    from kenpin.camera.as_live import PlayedSource

    if isinstance(camera, RecordedSpec):
        from kenpin.camera.files.playback import play

        played = play(
            camera.folder, as_timed=camera.as_timed, rate_hz=camera.rate_hz, loop=camera.loop
        )
        return PlayedSource(played, triggered=triggered)
    from kenpin.camera.synthetic import SyntheticFrames, SyntheticWeb

    web = SyntheticWeb(camera.height_px, camera.width_px, camera.seed)
    frames = SyntheticFrames(web, count=camera.count, rate_hz=camera.rate_hz)
    return PlayedSource(frames, triggered=triggered)
