"""Looking for cameras and trying one, in processes of their own: a producer may hang or crash."""

from __future__ import annotations

import math
import os
import select
import traceback
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from kenpin.camera.genicam.device_record import DeviceRecord
from kenpin.camera.source import CameraError, own_fault
from kenpin.config.camera import GenicamSpec
from kenpin.processes.channel import Channel, Message, Stop
from kenpin.processes.child import Body, Child

__all__ = ["Probe", "frame_bytes", "list_cameras", "probe"]


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


class _Cameras(Message, frozen=True):
    found: tuple[DeviceRecord, ...]


class _Refused(Message, frozen=True):
    why: str


_Answers = _Cameras | Probe | _Refused
_Answer = TypeVar("_Answer", _Cameras, Probe)
# Whoever has answered may take so long to unload its producers.
_UNLOAD_S = 1.0


def list_cameras(spec: GenicamSpec, timeout_s: float = 20.0) -> tuple[DeviceRecord, ...]:
    """The cameras that the producers list.

    Raises
    ------
    CameraError
        If a producer cannot be loaded, crashes, or does not answer in time.
    """
    return _apart(_list, spec, timeout_s, _Cameras).found


def probe(spec: GenicamSpec, timeout_s: float = 30.0) -> Probe:
    """Open and configure a camera, ask what its frames are, and let it go.

    Raises
    ------
    CameraError
        If it cannot be had or configured.
    """
    return _apart(_probe, spec, timeout_s, Probe)


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
    answer: type[_Answer],
) -> _Answer:
    body = Body("kenpin-discover", _answer, (question, spec), called="the process that asked")
    child = Child(body, Stop, _Answers)
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
    if isinstance(found, _Refused):
        raise CameraError(found.why)
    assert isinstance(found, answer), "the child answers what it was asked"
    return found


def _answer(
    question: Callable[[GenicamSpec], _Cameras | Probe],
    spec: GenicamSpec,
    channel: Channel[_Answers, Stop],
) -> None:
    try:
        channel.send(question(spec))
    except CameraError as error:
        channel.send(_Refused(str(error)))
    except Exception as error:
        # Whoever asked would take the silence for the producer's crash.
        channel.send(_Refused(own_fault(error)))
        traceback.print_exc()
        raise
    finally:
        channel.close()
        # A producer that crashes while it is unloaded has already answered.
        os._exit(0)


def _list(spec: GenicamSpec) -> _Cameras:
    from kenpin.camera.genicam.device import GenicamDriver

    driver = GenicamDriver(spec)
    try:
        return _Cameras(tuple(driver.devices()))
    finally:
        driver.close()


def _probe(spec: GenicamSpec) -> Probe:
    from kenpin.camera.genicam.source import GenicamSource

    source = GenicamSource(spec)
    try:
        source.connect()
        size, dtype, pixel_format = source.shape
        return Probe(
            label=source.label,
            transport=source.transport,
            size=tuple(size),
            dtype=dtype,
            pixel_format=pixel_format,
            line_rate_hz=source.line_rate_hz,
            packet_bytes=source.packet_bytes,
        )
    finally:
        source.close()
