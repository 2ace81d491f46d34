"""Looking for cameras and trying one, in processes of their own: a producer may hang or crash."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TypeVar

from kenpin.camera.genicam.device_record import DeviceRecord
from kenpin.camera.genicam.discovery_body import answer, list_all, try_one
from kenpin.camera.genicam.discovery_messages import Answers, CameraList, NoCamera, Probe
from kenpin.camera.source import CameraError
from kenpin.config.camera import GenicamSpec
from kenpin.processes.channel import Stop
from kenpin.processes.child import Body, Child

__all__ = ["frame_bytes", "list_cameras", "probe"]

_Answer = TypeVar("_Answer", CameraList, Probe)
# Whoever has answered may take so long to unload its producers.
_UNLOAD_S = 1.0


def list_cameras(spec: GenicamSpec, timeout_s: float = 20.0) -> tuple[DeviceRecord, ...]:
    """The cameras that the producers list.

    Raises
    ------
    CameraError
        If a producer cannot be loaded, crashes, or does not answer in time.
    """
    return _apart(list_all, spec, timeout_s, CameraList).found


def probe(spec: GenicamSpec, timeout_s: float = 30.0) -> Probe:
    """Open and configure a camera, ask what its frames are, and let it go.

    Raises
    ------
    CameraError
        If it cannot be had or configured.
    """
    return _apart(try_one, spec, timeout_s, Probe)


def frame_bytes(spec: GenicamSpec) -> int:
    """Of a frame, as the camera says once it is configured.

    Raises
    ------
    CameraError
        As `probe`.
    """
    return probe(spec).frame_bytes


def _apart(
    question: Callable[[GenicamSpec], _Answer],
    spec: GenicamSpec,
    timeout_s: float,
    expected: type[_Answer],
) -> _Answer:
    body = Body("kenpin-discover", answer, (question, spec), called="the process that asked")
    child = Child(body, Stop, Answers)
    poller = select.poll()
    poller.register(child.fileno(), select.POLLIN)
    try:
        in_time = bool(poller.poll(timeout_s * 1000))
        messages = child.receive() if in_time else []
    finally:
        child.stop(_UNLOAD_S)
    if not in_time:
        raise CameraError(f"the GenTL producers did not answer within {timeout_s:g} s")
    if not messages:
        raise CameraError(
            f"a GenTL producer took its process down: {child.gone}; the camera's settings are "
            "not to blame: try the vendor's own viewer, or another version"
        )
    (found,) = messages
    if isinstance(found, NoCamera):
        raise CameraError(found.why)
    assert isinstance(found, expected), "the child answers what it was asked"
    return found
