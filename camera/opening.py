"""From a camera's settings to the source that the acquisition process opens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kenpin.camera.acquisition.handle import Opener
from kenpin.config.camera import SOURCES, CameraSettings, GenicamSpec, RecordedSpec, SyntheticSpec
from kenpin.config.registry import load_object

if TYPE_CHECKING:  # they load numpy, which the process that hands this out must not
    from kenpin.camera.genicam.source import GenicamSource
    from kenpin.camera.live_adapter import LiveAdapter
    from kenpin.camera.source import LiveSource, OpenSource

__all__ = [
    "first_size",
    "open_genicam",
    "open_recorded",
    "open_synthetic",
    "opener_of",
    "synthetic_frame_bytes",
]


def opener_of(camera: CameraSettings, *, triggered: bool = False) -> Opener:
    """Makes the source, in the acquisition process.

    triggered   frames of a recording or of the synthetic web are taken when
                asked for; a real camera has its own triggers

    Raises
    ------
    ConfigError
        If no such kind of camera is installed.
    """
    return partial(_open, SOURCES.find(camera.kind).open, camera, triggered)


def _open(path: str, camera: CameraSettings, triggered: bool) -> LiveSource:
    open_source: OpenSource = load_object(path)
    return open_source(camera, triggered=triggered)


def first_size(camera: CameraSettings) -> tuple[int, int] | None:
    """Height and width of the first frame of a recording or a simulation.

    None if its first frame was lost, or if it is a real camera, which is its line's alone.

    Raises
    ------
    Whatever the source does if it cannot be opened or read.
    """
    if camera.origin == "camera":
        return None
    import numpy as np

    from kenpin.camera.frame import Frame

    source = opener_of(camera)()
    try:
        source.connect()
        found = source.grab_into(np.empty, timeout_s=1.0)
    finally:
        source.close()
    if not found or not isinstance(found[-1], Frame):
        return None
    height, width = found[-1].pixels.shape[:2]
    return height, width


# Each imports its own: who plays recorded frames needs no Harvesters, and the process that
# hands out an opener loads none of it.


def open_genicam(camera: GenicamSpec, *, triggered: bool) -> GenicamSource:  # noqa: ARG001
    """See `OpenSource`. A GenICam camera has triggers of its own."""
    from kenpin.camera.genicam.source import GenicamSource

    return GenicamSource(camera)


def open_recorded(camera: RecordedSpec, *, triggered: bool) -> LiveAdapter:
    """See `OpenSource`."""
    from kenpin.camera.files.folder_source import open_folder
    from kenpin.camera.live_adapter import LiveAdapter

    source = open_folder(
        camera.folder, as_timed=camera.as_timed, rate_hz=camera.rate_hz, loop=camera.loop
    )
    return LiveAdapter(source, triggered=triggered)


def open_synthetic(camera: SyntheticSpec, *, triggered: bool) -> LiveAdapter:
    """See `OpenSource`."""
    from kenpin.camera.live_adapter import LiveAdapter
    from kenpin.camera.synthetic import SyntheticSource, SyntheticWeb

    web = SyntheticWeb(camera.height_px, camera.width_px, camera.seed)
    frames = SyntheticSource(web, count=camera.count, rate_hz=camera.rate_hz)
    return LiveAdapter(frames, triggered=triggered)


def synthetic_frame_bytes(camera: SyntheticSpec) -> int:
    """Of a frame of the synthetic web."""
    return camera.height_px * camera.width_px
