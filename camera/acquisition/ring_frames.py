"""Frames and maps of scores as arrays in the slots of a ring."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.acquisition.ring import FrameRing, MapHeader, SlotHeader, Ticket
from kenpin.camera.frame import Frame, Pixels

__all__ = ["frame_in", "header_of", "map_in", "put_frame", "put_map", "slot_array"]


def slot_array(ring: FrameRing, ticket: Ticket, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """A reserved slot's memory as a writable array, for whoever fills the ring.

    Raises
    ------
    ValueError
        If a slot is too small for it.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size > ring.pixel_bytes:
        raise ValueError(f"{shape} {kind} is {size} bytes, a slot holds {ring.pixel_bytes}")
    return np.frombuffer(ring.pixels(ticket.slot), dtype=kind, count=math.prod(shape)).reshape(
        shape
    )


def header_of(frame: Frame) -> SlotHeader:
    """What a slot has to say about a frame."""
    pixels = frame.pixels
    height, width = pixels.shape[:2]
    return SlotHeader(
        frame.index,
        frame.captured_ns,
        height,
        width,
        pixels.shape[2] if pixels.ndim == 3 else 1,
        pixels.itemsize,
        frame.name,
        frame.capture,
    )


def put_frame(ring: FrameRing, frame: Frame) -> Ticket | None:
    """Copy a frame into a free slot; None if there is none.

    Raises
    ------
    ValueError
        If the frame is larger than a slot.
    """
    ticket = ring.reserve()
    if ticket is None:
        return None
    try:
        np.copyto(slot_array(ring, ticket, frame.pixels.shape, frame.pixels.dtype), frame.pixels)
        ring.commit(ticket, header_of(frame))
    except ValueError:
        ring.abandon(ticket)
        raise
    return ticket


def frame_in(ring: FrameRing, ticket: Ticket) -> Frame:
    """The frame in a slot, its pixels a read-only view that lives until the slot is set free.

    Raises
    ------
    StaleTicketError
        If the slot no longer holds it.
    """
    header = ring.header(ticket)
    shape: tuple[int, ...] = (header.height, header.width)
    if header.channels > 1:
        shape = (*shape, header.channels)
    dtype: Any = np.uint8 if header.sample_bytes == 1 else np.uint16
    pixels: Pixels = np.frombuffer(ring.pixels(ticket.slot), dtype=dtype, count=math.prod(shape))
    return Frame(
        pixels.reshape(shape), header.captured_ns, header.index, header.name, header.capture
    )


def put_map(
    ring: FrameRing,
    ticket: Ticket,
    values: NDArray[np.float32],
    stride_px: int,
    frame_size: tuple[int, int],
) -> bool:
    """Lay a map of scores beside the frame it belongs to; False if it finds no room there.

    Parameters
    ----------
    values : (rows, columns) float32
    stride_px
        Pixels from one value to the next.
    frame_size
        Height and width of the judged frame, in pixels.

    Raises
    ------
    StaleTicketError
        If the slot no longer holds the frame.
    """
    ring.check(ticket)
    if values.nbytes > ring.map_bytes:
        return False
    target = np.frombuffer(ring.map(ticket.slot), dtype=np.float32, count=values.size)
    np.copyto(target.reshape(values.shape), values)
    rows, columns = values.shape
    ring.set_map_header(ticket, MapHeader(rows, columns, stride_px, *frame_size))
    return True


def map_in(ring: FrameRing, ticket: Ticket) -> tuple[NDArray[np.float32], MapHeader] | None:
    """The map beside a frame, read-only, and what is said about it; None if there is none.

    Raises
    ------
    StaleTicketError
        If the slot no longer holds the frame.
    """
    header = ring.map_header(ticket)
    if header is None:
        return None
    shape = header.rows, header.columns
    values = np.frombuffer(ring.map(ticket.slot), dtype=np.float32, count=math.prod(shape))
    values.flags.writeable = False
    return values.reshape(shape), header
