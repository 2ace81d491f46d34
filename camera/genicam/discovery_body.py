"""The process that looks for cameras, or tries one: a producer may hang in it, or crash it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from kenpin.camera.genicam.discovery_messages import Answers, CameraList, NoCamera, Probe
from kenpin.camera.source import CameraError, own_fault
from kenpin.config.camera import GenicamSpec
from kenpin.processes.channel import Channel, Stop

__all__ = ["answer", "list_all", "try_one"]


def answer(
    question: Callable[[GenicamSpec], CameraList | Probe],
    spec: GenicamSpec,
    channel: Channel[Answers, Stop],
) -> None:
    """Answer a question, and end at once."""
    try:
        channel.send(question(spec))
    except CameraError as error:
        channel.send(NoCamera(str(error)))
    except Exception as error:
        # Whoever asked would take the silence for the producer's crash.
        channel.send(NoCamera(own_fault(error)))
        traceback.print_exc()
        raise
    finally:
        channel.close()
        # A producer that crashes while it is unloaded has already answered.
        os._exit(0)


def list_all(spec: GenicamSpec) -> CameraList:
    """The cameras that the producers list; CameraError as of `GenicamDriver`."""
    from kenpin.camera.genicam.device import GenicamDriver

    driver = GenicamDriver(spec)
    try:
        return CameraList(tuple(driver.devices()))
    finally:
        driver.close()


def try_one(spec: GenicamSpec) -> Probe:
    """What a camera says once it is configured; CameraError if it cannot be had."""
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
