"""The frame ring: what goes in comes out, and every slot has one owner."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.camera.acquisition.ring import FrameRing, StaleTicketError, Ticket
from kenpin.camera.acquisition.ring_frames import frame_in, map_in, put_frame, put_map
from kenpin.camera.capture import Capture, LineCounts
from kenpin.camera.frame import Frame
from kenpin.processes.channel import Channel, Message, Stop


def a_frame(seed: int = 0, shape: tuple[int, ...] = (8, 12), dtype=np.uint8, **known) -> Frame:
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)
    return Frame(pixels, captured_ns=1_000 + seed, index=seed, **known)


optional = st.none() | st.integers(-(2**63), 2**63 - 1)
knots = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**63 - 1)),
    min_size=1,
    max_size=128,
)
line_counts = st.builds(
    lambda of, within: LineCounts(tuple(at for at, _ in of), tuple(n for _, n in of), within),
    knots,
    st.floats(0, 1e6),
)


@given(
    shape=st.tuples(st.integers(1, 8), st.integers(1, 12))
    | st.tuples(st.integers(1, 8), st.integers(1, 12), st.just(3)),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    name=st.text(max_size=60).filter(lambda text: text.isprintable()),
    capture=st.builds(
        Capture,
        first_line=optional,
        lines_expected=st.integers(0, 2**32 - 1),
        frame_id=optional,
        device_ns=optional,
        encoder=optional,
        encoder_lines=st.none() | line_counts,
    ),
)
def test_a_frame_comes_out_as_it_went_in(shape, dtype, name, capture):
    ring = FrameRing(2, 8 * 12 * 3 * 2)
    frame = a_frame(7, shape, dtype, name=name, capture=capture)
    ticket = put_frame(ring, frame)
    assert ticket is not None
    seen = frame_in(ring, ticket)
    np.testing.assert_array_equal(seen.pixels, frame.pixels)
    assert seen.pixels.dtype == frame.pixels.dtype
    assert (seen.index, seen.captured_ns, seen.name) == (7, 1_007, name)
    assert seen.capture == capture


def test_what_is_seen_is_the_slot_itself_and_read_only():
    ring = FrameRing(1, 96)
    ticket = put_frame(ring, a_frame())
    one, other = frame_in(ring, ticket), frame_in(ring, ticket)
    assert np.shares_memory(one.pixels, other.pixels)
    with pytest.raises(ValueError, match="read-only"):
        one.pixels[0, 0] = 1


def test_a_full_ring_takes_no_frame_until_a_slot_is_set_free():
    ring = FrameRing(2, 96)
    first, second = put_frame(ring, a_frame(1)), put_frame(ring, a_frame(2))
    assert ring.free == 0
    assert put_frame(ring, a_frame(3)) is None
    ring.release(first)
    third = put_frame(ring, a_frame(3))
    assert frame_in(ring, third).index == 3
    assert frame_in(ring, second).index == 2


def test_a_ticket_is_worthless_once_its_slot_is_set_free_and_filled_anew():
    ring = FrameRing(1, 96)
    old = put_frame(ring, a_frame(1))
    ring.release(old)
    for look in (frame_in, map_in):
        with pytest.raises(StaleTicketError):
            look(ring, old)
    new = put_frame(ring, a_frame(2))
    with pytest.raises(StaleTicketError):
        frame_in(ring, old)
    ring.release(old)
    assert frame_in(ring, new).index == 2, "an old ticket freed somebody else's frame"


def test_a_frame_that_is_too_large_is_refused_and_its_slot_stays_free():
    ring = FrameRing(1, 95)
    with pytest.raises(ValueError, match="96 bytes"):
        put_frame(ring, a_frame())
    assert ring.free == 1


def test_reclaiming_frees_all_but_what_is_held():
    ring = FrameRing(3, 96)
    held, untold = put_frame(ring, a_frame(1)), put_frame(ring, a_frame(2))
    assert ring.reserve() is not None  # half-written by a process that died
    assert ring.reclaim([held]) == 2
    assert ring.free == 2
    assert frame_in(ring, held).index == 1
    assert not ring.valid(untold)


def test_a_map_lies_beside_its_own_frame_only():
    ring = FrameRing(1, 96, map_bytes=4 * 6)
    ticket = put_frame(ring, a_frame())
    assert map_in(ring, ticket) is None
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert put_map(ring, ticket, values, 4, (8, 12))
    seen, header = map_in(ring, ticket)
    np.testing.assert_array_equal(seen, values)
    assert (header.stride_px, header.frame_height, header.frame_width) == (4, 8, 12)
    assert not put_map(ring, ticket, np.zeros((3, 3), np.float32), 4, (8, 12)), "found no room"
    ring.release(ticket)
    assert map_in(ring, put_frame(ring, a_frame(2))) is None


def test_an_invented_ticket_is_refused():
    ring = FrameRing(1, 96)
    for ticket in (Ticket(0, 0), Ticket(0, 1), Ticket(1, 1), Ticket(-1, 1)):
        with pytest.raises(StaleTicketError):
            frame_in(ring, ticket)


class Filled(Message, frozen=True):
    ticket: Ticket


def _fill(ring: FrameRing, channel: Channel[Filled, Stop]) -> None:
    channel.send(Filled(put_frame(ring, a_frame(5))))


def test_a_spawned_child_writes_where_its_parent_reads():
    ring = FrameRing(2, 96)
    ours, theirs = Channel.pair(Stop, Filled)
    child = multiprocessing.get_context("spawn").Process(target=_fill, args=(ring, theirs))
    child.start()
    theirs.close()
    assert ours.wait(30)
    (message,) = ours.receive(1)
    ours.close()
    ticket = message.ticket
    np.testing.assert_array_equal(frame_in(ring, ticket).pixels, a_frame(5).pixels)
    child.join()
    ring.release(ticket)
    assert ring.free == 2
