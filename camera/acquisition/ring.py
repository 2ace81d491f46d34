"""Frames in shared memory: who owns which slot, and what lies in it.

The pixels are touched by `ring_frames.py`. This file needs no numpy, so that the
process which answers triggers can hand slots on without loading any.

A slot is FREE until the acquisition process begins to write it, and FILLED
until the process that made the ring sets it free. Each state has one process
that may end it, so there is no lock that a killed process could keep.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from kenpin.camera.capture import MOST_KNOTS, Capture, LineCounts
from kenpin.processes.shared_memory import SharedMemory

__all__ = ["FrameRing", "MapHeader", "SlotHeader", "StaleTicketError", "Ticket"]

_FREE, _WRITING, _FILLED = 0, 1, 2

_PAGE = 4096
_STATE = struct.Struct("<B")
_GENERATION = struct.Struct("<Q")
# index, captured_ns, which of the next four are known; first_line, frame_id,
# device_ns, encoder; lines_expected, height, width, channels, bytes a sample; name
_FRAME = struct.Struct("<QqQ qqqq IIIII H250s")
# rows, columns, stride_px, frame height, frame width; rows 0: no map
_MAP = struct.Struct("<5I")
# How many knots of the lines' encoder counts, and how far off the others; then the knots.
_COUNTS = struct.Struct("<Id")
_KNOT = struct.Struct("<Iq")
_GENERATION_AT = 8
_FRAME_AT = 16
_MAP_AT = 512
_COUNTS_AT = 1024
_NAME_BYTES = 250


class StaleTicketError(LookupError):
    """The slot has been set free, and may hold another frame by now."""


class Ticket(NamedTuple):
    """A claim to what lies in a slot; worthless once the slot is filled anew."""

    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class SlotHeader:
    """What a slot says about its pixels.

    height, width, channels  as in the frame; channels is 1 for (H, W)
    sample_bytes             1 for uint8, 2 for uint16
    """

    index: int
    captured_ns: int
    height: int
    width: int
    channels: int
    sample_bytes: int
    name: str
    capture: Capture

    @property
    def pixel_bytes(self) -> int:
        """Size of the pixels."""
        return self.height * self.width * self.channels * self.sample_bytes


@dataclass(frozen=True, slots=True)
class MapHeader:
    """What a slot says about the map of scores beside its pixels."""

    rows: int
    columns: int
    stride_px: int
    frame_height: int
    frame_width: int


class FrameRing:
    """A fixed number of slots, each for one frame and its map of scores.

    Pickles to a child that is being spawned. `reserve`, `commit` and `abandon`
    belong to the one process that fills it, `release` and `reclaim` to the one
    that made it; anybody may look.

    slots        how many frames it holds
    pixel_bytes  of the largest frame
    map_bytes    of the largest map
    """

    def __init__(self, slots: int, pixel_bytes: int, map_bytes: int = 0) -> None:
        if slots < 1 or pixel_bytes < 1 or map_bytes < 0:
            raise ValueError(
                f"a ring of {slots} slots of {pixel_bytes} + {map_bytes} bytes; expected at "
                "least one slot with room for a frame"
            )
        self.slots = slots
        self.pixel_bytes = pixel_bytes
        self.map_bytes = map_bytes
        self._pixels_at = _PAGE
        self._map_at = _PAGE + _whole_pages(pixel_bytes)
        self._stride = self._map_at + _whole_pages(map_bytes)
        self._memory = SharedMemory(slots * self._stride, populate=True)
        self._next = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_next": 0}

    # -- the process that fills it ---------------------------------------------------------

    def reserve(self) -> Ticket | None:
        """A free slot to write into, the one longest free first; None if all are in use."""
        for step in range(self.slots):
            slot = (self._next + step) % self.slots
            if self._state(slot) == _FREE:
                self._next = (slot + 1) % self.slots
                ticket = Ticket(slot, self._generation(slot) + 1)
                self._set_state(slot, _WRITING)
                _GENERATION.pack_into(
                    self._memory.view, self._base(slot, _GENERATION_AT), ticket.generation
                )
                _MAP.pack_into(self._memory.view, self._base(slot, _MAP_AT), 0, 0, 0, 0, 0)
                return ticket
        return None

    def commit(self, ticket: Ticket, header: SlotHeader) -> None:
        """Make a written frame visible.

        Raises
        ------
        ValueError
            If the frame is larger than a slot.
        """
        if header.pixel_bytes > self.pixel_bytes:
            raise ValueError(
                f"a frame of {header.height} x {header.width} x {header.channels} x "
                f"{header.sample_bytes} bytes does not fit a slot of {self.pixel_bytes} bytes"
            )
        c = header.capture
        optional = (c.first_line, c.frame_id, c.device_ns, c.encoder)
        known = sum(1 << bit for bit, value in enumerate(optional) if value is not None)
        name = header.name.encode("utf-8", "replace")[-_NAME_BYTES:]
        _FRAME.pack_into(
            self._memory.view,
            self._base(ticket.slot, _FRAME_AT),
            header.index,
            header.captured_ns,
            known,
            *(value or 0 for value in optional),
            c.lines_expected,
            header.height,
            header.width,
            header.channels,
            header.sample_bytes,
            len(name),
            name,
        )
        self._put_counts(ticket.slot, c.encoder_lines)
        self._set_state(ticket.slot, _FILLED)

    def abandon(self, ticket: Ticket) -> None:
        """Give a slot back that nobody was told of: unwritten, or not announced."""
        self._set_state(ticket.slot, _FREE)

    # -- the process that made it ----------------------------------------------------------

    def release(self, ticket: Ticket) -> None:
        """Set a slot free. A ticket that no longer holds its slot changes nothing."""
        if self.valid(ticket):
            self._set_state(ticket.slot, _FREE)

    def reclaim(self, held: Iterable[Ticket] = ()) -> int:
        """Free every slot but the held ones; how many there were.

        Only while no process fills the ring: after the acquisition process died,
        half-written frames and frames it never told of lie in it.
        """
        kept = {ticket.slot for ticket in held if self.valid(ticket)}
        lost = [s for s in range(self.slots) if s not in kept and self._state(s) != _FREE]
        for slot in lost:
            self._set_state(slot, _FREE)
        return len(lost)

    # -- anybody ---------------------------------------------------------------------------

    def valid(self, ticket: Ticket) -> bool:
        """Whether the slot still holds the frame that the ticket is for."""
        return (
            0 <= ticket.slot < self.slots
            and self._state(ticket.slot) == _FILLED
            and self._generation(ticket.slot) == ticket.generation
        )

    @property
    def free(self) -> int:
        """How many slots are free just now."""
        return sum(self._state(slot) == _FREE for slot in range(self.slots))

    def header(self, ticket: Ticket) -> SlotHeader:
        """What the slot says about its frame.

        Raises
        ------
        StaleTicketError
            If the slot no longer holds it.
        """
        self.check(ticket)
        fields = _FRAME.unpack_from(self._memory.view, self._base(ticket.slot, _FRAME_AT))
        index, captured_ns, known = fields[:3]
        first_line, frame_id, device_ns, encoder = (
            value if known & (1 << bit) else None for bit, value in enumerate(fields[3:7])
        )
        lines_expected, height, width, channels, sample_bytes, length, name = fields[7:]
        return SlotHeader(
            index,
            captured_ns,
            height,
            width,
            channels,
            sample_bytes,
            name[:length].decode("utf-8", "replace"),
            Capture(
                first_line,
                lines_expected,
                frame_id,
                device_ns,
                encoder,
                encoder_lines=self._counts(ticket.slot),
            ),
        )

    def map_header(self, ticket: Ticket) -> MapHeader | None:
        """What the slot says about its map; None if there is none."""
        self.check(ticket)
        fields = _MAP.unpack_from(self._memory.view, self._base(ticket.slot, _MAP_AT))
        return MapHeader(*fields) if fields[0] else None

    def set_map_header(self, ticket: Ticket, header: MapHeader) -> None:
        """Say that a map lies beside the pixels; the judging process only."""
        self.check(ticket)
        _MAP.pack_into(
            self._memory.view,
            self._base(ticket.slot, _MAP_AT),
            header.rows,
            header.columns,
            header.stride_px,
            header.frame_height,
            header.frame_width,
        )

    def check(self, ticket: Ticket) -> None:
        """Refuse a ticket that no longer holds its slot.

        Raises
        ------
        StaleTicketError
        """
        if not self.valid(ticket):
            raise StaleTicketError(
                f"slot {ticket.slot} has been set free since {ticket}; let it go"
            )

    def pixels(self, slot: int) -> memoryview:
        """The bytes for pixels of a slot."""
        start = self._base(slot, self._pixels_at)
        return self._memory.view[start : start + self.pixel_bytes]

    def map(self, slot: int) -> memoryview:
        """The bytes for the map of a slot."""
        start = self._base(slot, self._map_at)
        return self._memory.view[start : start + self.map_bytes]

    def close(self) -> None:
        """Let go of the memory. Closing twice is harmless."""
        self._memory.close()

    def _put_counts(self, slot: int, counts: LineCounts | None) -> None:
        at, view = self._base(slot, _COUNTS_AT), self._memory.view
        if counts is None:
            _COUNTS.pack_into(view, at, 0, 0.0)
            return
        if len(counts.lines) > MOST_KNOTS:
            raise ValueError(f"{len(counts.lines)} knots of line counts, at most {MOST_KNOTS}")
        _COUNTS.pack_into(view, at, len(counts.lines), counts.within)
        knots = zip(counts.lines, counts.counts, strict=True)
        for k, (line, count) in enumerate(knots):
            _KNOT.pack_into(view, at + _COUNTS.size + k * _KNOT.size, line, count)

    def _counts(self, slot: int) -> LineCounts | None:
        at, view = self._base(slot, _COUNTS_AT), self._memory.view
        number, within = _COUNTS.unpack_from(view, at)
        if not number:
            return None
        start = at + _COUNTS.size
        knots = list(_KNOT.iter_unpack(view[start : start + number * _KNOT.size]))
        lines, counts = zip(*knots, strict=True)
        return LineCounts(lines, counts, within)

    def _base(self, slot: int, offset: int) -> int:
        return slot * self._stride + offset

    def _state(self, slot: int) -> int:
        return int(_STATE.unpack_from(self._memory.view, self._base(slot, 0))[0])

    def _set_state(self, slot: int, state: int) -> None:
        _STATE.pack_into(self._memory.view, self._base(slot, 0), state)

    def _generation(self, slot: int) -> int:
        at = self._base(slot, _GENERATION_AT)
        return int(_GENERATION.unpack_from(self._memory.view, at)[0])


def _whole_pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE
