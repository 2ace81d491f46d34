from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.wire.feed import VerdictFeed
from kenpin.runtime.wire.map_encoding import (
    MAX_MESSAGE_BYTES,
    Counts,
    Encoding,
    State,
    StateMessage,
    WireError,
    encode,
)
from kenpin.runtime.wire.sockets import (
    EndpointError,
    VerdictPublisher,
    check_endpoint,
    check_libzmq,
)
from kenpin.runtime.wire.subscriber import VerdictSubscriber
from wire_samples import BOOT, NG_VERDICT, OK_VERDICT, Clock, identity, state_message, verdicts

# Longer than any of this takes on a busy machine; reached only by a failure.
PATIENCE_S = 20.0

pytestmark = pytest.mark.timeout(60)

OTHER_BOOT = "00000000-0000-4000-8000-000000000000"
LOOPBACK = "tcp://127.0.0.1:*"
VERDICTS = "v1/verdict/web-1"


@pytest.fixture
def publisher() -> Iterator[VerdictPublisher]:
    with VerdictPublisher(LOOPBACK) as opened:
        yield opened


@pytest.fixture
def raw() -> Iterator[Callable[[int], zmq.Socket[bytes]]]:
    """Sockets of whoever does not use kenpin to connect."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    opened: list[zmq.Socket[bytes]] = []

    def make(kind: int) -> zmq.Socket[bytes]:
        opened.append(context.socket(kind))
        return opened[-1]

    yield make
    context.destroy(linger=0)


def feed_of(publisher: VerdictPublisher, boot: str = BOOT) -> VerdictFeed:
    return VerdictFeed(identity(boot=boot), publisher, mono_ns=Clock(), wall_ns=Clock())


def reader_of(publisher: VerdictPublisher) -> VerdictSubscriber:
    return VerdictSubscriber(publisher.endpoint, Encoding.MSGPACK)


def wait_until_subscribed(publisher: VerdictPublisher, number: int) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while publisher.subscribers() != number and time.monotonic() < end_s:
        publisher.serve_subscriptions(0.1)
    assert publisher.subscribers() == number


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://0.0.0.0:5556",
        "tcp://*:5556",
        "tcp://192.168.0.7:5556",
        "tcp://localhost:5556",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:5556\n",
        "tcp://127.0.0.1:5556;tcp://0.0.0.0:5556",
        "tcp://[::]:5556",
        "ipc://",
        "ipc://*",
        "ipc://relative/path",
        "ipc:///tmp/a\0b",
        "inproc://verdicts",
        "epgm://eth0;239.192.1.1:5555",
        "",
    ],
)
def test_an_address_that_strangers_could_reach_is_refused(endpoint: str) -> None:
    with pytest.raises(EndpointError, match="expected tcp://127"):
        VerdictPublisher(endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:65535", "ipc:///run/kenpin/web-1.sock"])
def test_a_local_address_is_allowed(endpoint: str) -> None:
    check_endpoint(endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0"])
def test_any_free_port_is_found_and_told(endpoint: str) -> None:
    with VerdictPublisher(endpoint) as publisher:
        assert int(publisher.endpoint.removeprefix("tcp://127.0.0.1:")) > 0


def test_a_taken_port_is_refused(publisher: VerdictPublisher) -> None:
    with pytest.raises(EndpointError, match="stop what uses it"):
        VerdictPublisher(publisher.endpoint)


def test_a_taken_ipc_path_is_refused_and_not_taken_over(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/web-1.sock"
    with VerdictPublisher(endpoint) as publisher:
        with pytest.raises(EndpointError, match="another publisher"):
            VerdictPublisher(endpoint)
        with reader_of(publisher):
            assert publisher.wait_for_subscriber(PATIENCE_S)


def test_a_socket_left_behind_by_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "web-1.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    assert path.exists()
    with VerdictPublisher(f"ipc://{path}") as publisher, reader_of(publisher):
        assert publisher.wait_for_subscriber(PATIENCE_S)


def test_a_file_in_the_way_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(EndpointError, match="no socket"):
        VerdictPublisher(f"ipc://{path}")
    assert path.read_text() == "mine"


def test_an_ipc_path_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="cannot bind"):
        VerdictPublisher(f"ipc://{tmp_path}/missing/web-1.sock")


def test_an_old_libzmq_is_refused() -> None:
    check_libzmq((4, 3, 5))
    with pytest.raises(RuntimeError, match="expected"):
        check_libzmq((4, 3, 4))


def test_publishing_to_nobody_is_no_stall(publisher: VerdictPublisher) -> None:
    for _ in range(10):
        publisher.publish(VERDICTS, b"x")
    assert publisher.stalls == 0
    assert not publisher.wait_for_subscriber(0.0)


def test_only_a_subscription_that_gets_the_verdicts_is_waited_for(
    publisher: VerdictPublisher, raw: Callable[[int], zmq.Socket[bytes]]
) -> None:
    reader = raw(zmq.SUB)
    reader.connect(publisher.endpoint)
    reader.subscribe(b"v1/state/")
    assert publisher.wait_for_subscriber(PATIENCE_S)
    assert not publisher.wait_for_subscriber(0.0, VERDICTS)
    reader.subscribe(b"v1/verdict/")
    assert publisher.wait_for_subscriber(PATIENCE_S, VERDICTS)


def test_a_second_reader_is_seen_and_one_that_left_is_forgotten(
    publisher: VerdictPublisher,
) -> None:
    with reader_of(publisher):
        with reader_of(publisher):
            wait_until_subscribed(publisher, 2)
        wait_until_subscribed(publisher, 1)
    wait_until_subscribed(publisher, 0)


def test_a_flood_of_joins_is_served_in_parts(
    publisher: VerdictPublisher, raw: Callable[[int], zmq.Socket[bytes]]
) -> None:
    reader = raw(zmq.SUB)
    reader.connect(publisher.endpoint)
    for number in range(1000):
        reader.subscribe(f"v1/{number}".encode())
    served: list[int] = []
    while sum(served) < 1000:
        served.append(publisher.serve_subscriptions(PATIENCE_S))
    assert max(served) <= 100


def test_a_stalled_reader_neither_blocks_the_publisher_nor_starves_another(
    tmp_path: Path, raw: Callable[[int], zmq.Socket[bytes]]
) -> None:
    # ipc, because the kernel's TCP buffers would hide a stall for megabytes. The mark
    # is high enough that the live reader cannot fill its own queue between two looks.
    with VerdictPublisher(f"ipc://{tmp_path}/p.sock", hwm=300) as publisher:
        stalled, alive = raw(zmq.SUB), raw(zmq.SUB)
        stalled.setsockopt(zmq.RCVHWM, 1)
        for reader in (stalled, alive):
            reader.connect(publisher.endpoint)
            reader.subscribe(b"v1/")
        wait_until_subscribed(publisher, 2)
        for number in range(900):
            publisher.publish(VERDICTS, number.to_bytes(2, "big") + bytes(60_000))
            assert alive.poll(PATIENCE_S * 1000), f"message {number} never came"
            assert alive.recv_multipart()[1][:2] == number.to_bytes(2, "big")
        assert publisher.stalls >= 1
        # With its queue still full, the reader that does not read cannot delay the end.
        began_s = time.monotonic()
    assert time.monotonic() - began_s < PATIENCE_S


def test_closing_twice_is_harmless() -> None:
    publisher = VerdictPublisher(LOOPBACK)
    publisher.close()
    publisher.close()


def test_a_full_queue_still_arrives_after_closing(
    raw: Callable[[int], zmq.Socket[bytes]],
) -> None:
    reader = raw(zmq.SUB)
    with VerdictPublisher(LOOPBACK) as publisher:
        reader.connect(publisher.endpoint)
        reader.subscribe(b"v1/")
        assert publisher.wait_for_subscriber(PATIENCE_S)
        for _ in range(900):
            publisher.publish(VERDICTS, bytes(20_000))
    for number in range(900):
        assert reader.poll(PATIENCE_S * 1000), f"message {number} never came"
        reader.recv_multipart()


def test_a_peer_that_sends_more_than_64_kib_is_disconnected(
    publisher: VerdictPublisher, raw: Callable[[int], zmq.Socket[bytes]]
) -> None:
    peer = raw(zmq.XSUB)
    with peer.get_monitor_socket(zmq.EVENT_DISCONNECTED) as hangups:
        peer.connect(publisher.endpoint)
        peer.send(b"\x02" * (MAX_MESSAGE_BYTES + 1))
        assert hangups.poll(PATIENCE_S * 1000)
        peer.disable_monitor()


def test_a_publisher_that_sends_more_than_64_kib_is_disconnected_and_found_again(
    raw: Callable[[int], zmq.Socket[bytes]],
) -> None:
    stranger = raw(zmq.XPUB)
    stranger.setsockopt(zmq.XPUB_VERBOSE, 1)
    stranger.bind("tcp://127.0.0.1:*")
    endpoint = stranger.getsockopt_string(zmq.LAST_ENDPOINT)
    with VerdictSubscriber(endpoint, Encoding.MSGPACK) as reader:
        for _ in range(2):
            while not stranger.poll(0) or stranger.recv() != b"\x01v1/":
                assert reader.receive(0.01) is None
            stranger.send_multipart([VERDICTS.encode(), bytes(MAX_MESSAGE_BYTES + 1)])
        while not stranger.poll(0) or stranger.recv() != b"\x01v1/":
            assert reader.receive(0.01) is None
        state = state_message()
        stranger.send_multipart([b"v1/state/web-1", encode(state, Encoding.MSGPACK)])
        assert reader.receive(PATIENCE_S) == state


def test_a_late_reader_gets_the_state_of_now_and_no_past_verdict(
    publisher: VerdictPublisher,
) -> None:
    feed = feed_of(publisher)
    feed.state(State.CONTINUOUS, degraded=True)
    feed.verdict(OK_VERDICT)
    feed.verdict(NG_VERDICT)
    with reader_of(publisher) as reader:
        assert feed.wait_for_subscriber(PATIENCE_S)
        newest = feed.verdict(OK_VERDICT)
        state = reader.receive(PATIENCE_S)
        assert isinstance(state, StateMessage)
        assert (state.state, state.degraded) == (State.CONTINUOUS, True)
        assert state.last_seq == 2
        assert state.counts == Counts(frames=2, ok=1, ng=1, reasons={"defect": 1})
        assert reader.receive(PATIENCE_S) == newest
        assert newest.seq == 3


def test_a_reader_that_joins_between_two_verdicts_is_greeted_without_further_ado(
    publisher: VerdictPublisher,
) -> None:
    feed = feed_of(publisher)
    with reader_of(publisher) as reader:
        for _ in range(10_000):
            feed.verdict(OK_VERDICT)
            message = reader.receive(0.0)
            while message is not None and not isinstance(message, StateMessage):
                message = reader.receive(0.0)
            if message is not None:
                break
        assert isinstance(message, StateMessage)


def test_a_publisher_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/p.sock"
    with VerdictSubscriber(endpoint, Encoding.MSGPACK) as reader:
        for boot in (BOOT, OTHER_BOOT):
            with VerdictPublisher(endpoint) as publisher:
                feed = feed_of(publisher, boot)
                while not feed.serve_subscriptions(0.01):
                    assert reader.receive(0.01) is None
                state = reader.receive(PATIENCE_S)
                assert isinstance(state, StateMessage)
                assert state.boot == boot


def test_every_reader_that_joins_gets_the_state(publisher: VerdictPublisher) -> None:
    feed = feed_of(publisher)
    with reader_of(publisher) as first:
        assert feed.wait_for_subscriber(PATIENCE_S)
        assert isinstance(first.receive(PATIENCE_S), StateMessage)
        with reader_of(publisher) as second:
            wait_until_subscribed(publisher, 2)
            assert isinstance(second.receive(PATIENCE_S), StateMessage)


def test_a_change_of_state_is_told_at_once(publisher: VerdictPublisher) -> None:
    feed = feed_of(publisher)
    with reader_of(publisher) as reader:
        assert feed.wait_for_subscriber(PATIENCE_S)
        first = reader.receive(PATIENCE_S)
        assert isinstance(first, StateMessage)
        assert first.state is State.PREOPERATIONAL
        feed.state(State.INITIALIZED, selftest=True)
        second = reader.receive(PATIENCE_S)
        assert isinstance(second, StateMessage)
        assert (second.state, second.selftest) == (State.INITIALIZED, True)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_verdicts_arrive_as_they_were_given(publisher: VerdictPublisher, encoding) -> None:
    feed = VerdictFeed(identity(), publisher, encoding, mono_ns=Clock(), wall_ns=Clock())
    with VerdictSubscriber(publisher.endpoint, encoding, "web-1") as reader:
        assert feed.wait_for_subscriber(PATIENCE_S)
        assert isinstance(reader.receive(PATIENCE_S), StateMessage)
        given = [feed.verdict(verdict, 40_000) for verdict in (OK_VERDICT, NG_VERDICT)]
        assert [reader.receive(PATIENCE_S) for _ in given] == given
        assert [message.deadline_us for message in given] == [40_000, 40_000]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(some=st.lists(verdicts(), max_size=8))
def test_every_frame_is_answered_once_numbered_and_counted(
    publisher: VerdictPublisher, some: list[Verdict]
) -> None:
    feed = feed_of(publisher)
    given = [feed.verdict(verdict) for verdict in some]
    assert [message.seq for message in given] == list(range(1, len(some) + 1))
    assert feed.last_seq == feed.counts.frames == len(some)
    assert feed.counts.ok == sum(verdict.outcome is Outcome.OK for verdict in some)


def test_a_verdict_that_cannot_be_sent_leaves_no_gap(publisher: VerdictPublisher) -> None:
    feed = feed_of(publisher)
    contradiction = Verdict(
        **{name: getattr(OK_VERDICT, name) for name in OK_VERDICT.__slots__} | {"score": 9.0}
    )
    with pytest.raises(WireError):
        feed.verdict(contradiction)
    assert feed.last_seq == 0
    message = feed.verdict(OK_VERDICT)
    assert (message.seq, message.boot) == (1, BOOT)


PUSHED_ASIDE = """
import sys, time, zmq
from kenpin.runtime.service.ctl import ControlSocket
from kenpin.runtime.wire.authentication import AccessControl
from kenpin.runtime.wire.encodings import CODECS

line = ControlSocket(AccessControl(), sys.argv[1], CODECS["msgpack"])

def client():
    made = zmq.Context.instance().socket(zmq.DEALER)
    made.setsockopt(zmq.ROUTING_ID, b"twins")
    made.setsockopt(zmq.LINGER, 0)
    made.connect(sys.argv[1])
    return made

def heard(count):
    for _ in range(count):
        assert line.socket.poll(10_000), "nothing was heard"
        line.socket.recv_multipart()

first = client()
first.send(b"one")
heard(1)
second = client()
second.send(b"two")
heard(1)
# Nobody can take this any more, and then its sender goes: once all of it is on its way.
for _ in range(5):
    first.send(b"more")
first.close(10_000)
# As long as pings would take to come.
time.sleep(0.7)
second.send(b"still here")
heard(1)
"""


def test_a_client_that_was_pushed_aside_and_goes_does_not_end_the_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PUSHED_ASIDE, f"ipc://{tmp_path}/ctl"]
    done = subprocess.run(command, capture_output=True, timeout=60, text=True)
    assert done.returncode == 0, done.stderr
