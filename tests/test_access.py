"""Who gets in: real sockets, real keys, wrong ones, none, revoked ones, and hostile callers."""

from __future__ import annotations

import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from kenpin.runtime.service.ctl import ControlSocket
from kenpin.runtime.service.error_limit import MISTAKES, PAUSE_NS
from kenpin.runtime.service.refusal import Refusal
from kenpin.runtime.wire.authentication import AccessControl, Connection
from kenpin.runtime.wire.commands import Command
from kenpin.runtime.wire.encodings import CODECS
from kenpin.runtime.wire.endpoints import EndpointError, check_endpoint
from kenpin.runtime.wire.keys import ClientKeys, new_client, new_line, read_client, revoke
from kenpin.runtime.wire.map_encoding import (
    MAX_COMMAND_BYTES,
    MAX_MESSAGE_BYTES,
    Encoding,
    WireError,
)
from kenpin.runtime.wire.sockets import VerdictPublisher
from kenpin.runtime.wire.subscriber import VerdictSubscriber

PATIENCE_S = 20.0
LOOPBACK = "tcp://127.0.0.1:*"
HELLO = msgpack.packb({"v": 1, "type": "hello"})

pytestmark = [pytest.mark.clock, pytest.mark.timeout(90)]


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now


class House:
    """A door with the two sockets of a line behind it, and clients of all kinds."""

    def __init__(self, keys: Path | None, endpoint: str = LOOPBACK) -> None:
        self.clock = Clock()
        self.access = AccessControl(keys, clock_ns=self.clock)
        try:
            self.publisher = VerdictPublisher(endpoint, access=self.access)
            self.control = ControlSocket(self.access, endpoint, CODECS["msgpack"], self.clock)
        except EndpointError:
            self.access.close()
            raise
        self.commands: list[tuple[bytes, Command]] = []
        self.notes: list[str] = []
        self.outside: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.callers: list[zmq.Socket[bytes]] = []

    def turn(self) -> None:
        """One round of a loop, as the gateway makes them."""
        poller = zmq.Poller()
        for source in (self.publisher.socket, self.control.socket, *self.access.sockets):
            poller.register(source, zmq.POLLIN)
        poller.poll(10)
        self.publisher.serve_subscriptions()
        self.hear()
        self.clock.now += 20_000_000_000
        self.notes += self.access.notes()

    def _obey(self, client: bytes, _connection: Connection | None, command: Command) -> None:
        self.commands.append((client, command))
        self.control.send(client, msgpack.packb({"type": "heard"}))

    def _refuse(self, client: bytes, refusal: Refusal) -> None:
        self.control.send(client, msgpack.packb({"type": "error"} | asdict(refusal)))

    def hear(self) -> None:
        """Only the commands."""
        self.control.receive(self._obey, self._refuse)

    def until(self, wanted: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if wanted():
                return True
            self.turn()
        return wanted()

    def client(
        self, kind: int, keys: ClientKeys | None = None, name: bytes = b"plc"
    ) -> zmq.Socket[bytes]:
        made = self.outside.socket(kind)
        self.callers.append(made)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.RECONNECT_IVL, 20)
        if keys:
            keys.on(made)
        if kind == zmq.SUB:
            made.subscribe(b"v1/")
            made.connect(self.publisher.endpoint)
        else:
            made.setsockopt(zmq.IDENTITY, name)
            made.connect(self.control.endpoint)
        return made

    def close(self) -> None:
        self.outside.destroy(linger=0)
        self.control.socket.close(linger=0)
        self.publisher.close()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    new_line(folder)
    new_client(folder, "plc", tmp_path / "plc")
    return folder


@pytest.fixture
def plc(keys: Path) -> ClientKeys:
    return read_client(keys.parent / "plc")


@pytest.fixture
def hmi(keys: Path) -> ClientKeys:
    """Admitted too; name it before `house`, which reads the list."""
    new_client(keys, "hmi", keys.parent / "hmi")
    return read_client(keys.parent / "hmi")


@pytest.fixture
def house(keys: Path) -> Iterator[House]:
    opened = House(keys)
    yield opened
    opened.close()


@pytest.fixture
def open_house() -> Iterator[House]:
    opened = House(None)
    yield opened
    opened.close()


def stranger(of: ClientKeys) -> ClientKeys:
    """Who knows the line's public key, and is not admitted."""
    public, secret = zmq.curve_keypair()
    return ClientKeys(public, secret, of.line)


def misled(of: ClientKeys) -> ClientKeys:
    """Who is admitted, and takes another line for this one."""
    return ClientKeys(of.public, of.secret, zmq.curve_keypair()[0])


def test_an_admitted_client_commands_and_reads(house: House, plc: ClientKeys) -> None:
    reader = house.client(zmq.SUB, plc)
    commander = house.client(zmq.DEALER, plc)
    commander.send(HELLO)
    assert house.until(lambda: bool(house.commands) and house.publisher.subscribers() > 0)
    house.publisher.publish("v1/x", b"payload")
    assert reader.poll(round(PATIENCE_S * 1000))
    assert reader.recv_multipart() == [b"v1/x", b"payload"]
    assert msgpack.unpackb(commander.recv())["type"] == "heard"
    assert not house.notes


@pytest.mark.parametrize(
    ("caller", "told"),
    [
        (stranger, "whose key is not admitted"),
        (misled, "holds another public key of this line"),
        (lambda _: None, "without keys"),
    ],
    ids=["a wrong key", "another line's key", "no key"],
)
def test_nobody_else_is_heard_or_hears_and_it_is_told(
    house: House, plc: ClientKeys, caller: Callable[[ClientKeys], ClientKeys | None], told: str
) -> None:
    found = caller(plc)
    reader, commander = house.client(zmq.SUB, found), house.client(zmq.DEALER, found)
    commander.send(HELLO)
    assert house.until(lambda: any(told in note for note in house.notes))
    assert "turned away" in house.access.alarm
    admitted = house.client(zmq.DEALER, plc, name=b"admitted")
    admitted.send(HELLO)
    assert house.until(lambda: bool(house.commands))
    assert {client for client, _ in house.commands} == {b"admitted"}
    assert house.publisher.subscribers() == 0
    house.publisher.publish("v1/x", b"secret")
    assert not reader.poll(200)


def test_a_stranger_is_told_by_key_and_address(house: House, plc: ClientKeys) -> None:
    found = stranger(plc)
    house.client(zmq.DEALER, found)
    assert house.until(lambda: bool(house.notes))
    assert f"{found.public.decode()} from 127.0.0.1" in house.notes[0]


def test_who_calls_again_and_again_is_told_of_at_most_every_ten_seconds(
    house: House, plc: ClientKeys
) -> None:
    caller = house.client(zmq.DEALER, misled(plc))
    assert house.until(lambda: bool(house.notes))
    started, house.notes = house.clock.now, []
    calls = caller.get_monitor_socket(zmq.EVENT_CONNECTED)
    poller = zmq.Poller()
    for source in (calls, *house.access.sockets):
        poller.register(source, zmq.POLLIN)
    called, end = 0, time.monotonic() + PATIENCE_S
    # With the fourth call it knows that the three before were in vain.
    while called < 4 and time.monotonic() < end:
        poller.poll(20)
        house.access.serve()
        house.notes += house.access.notes()
        while calls.poll(0):
            recv_monitor_message(calls)
            called += 1
    assert called >= 4
    assert house.clock.now == started
    assert not house.notes
    house.clock.now += 10_000_000_000
    house.notes += house.access.notes()
    assert len(house.notes) == 1
    assert "times: at tcp://" in house.notes[0]


def test_a_complaint_ends_a_minute_after_the_last_caller(house: House, plc: ClientKeys) -> None:
    caller = house.client(zmq.DEALER, stranger(plc))
    assert house.until(lambda: bool(house.access.alarm))
    caller.close(linger=0)
    for _ in range(5):
        house.turn()
    house.clock.now += 61_000_000_000
    assert house.access.alarm == ""


def test_a_revoked_client_is_hung_up_on_and_not_let_in_again(
    hmi: ClientKeys, house: House, keys: Path, plc: ClientKeys
) -> None:
    reader, commander = house.client(zmq.SUB, plc), house.client(zmq.DEALER, plc)
    other = house.client(zmq.SUB, hmi)
    commander.send(HELLO)
    assert house.until(lambda: bool(house.commands) and house.publisher.subscribers() == 2)
    revoke(keys, "plc")
    assert house.until(lambda: house.publisher.subscribers() == 1)
    assert house.until(lambda: any("not admitted" in note for note in house.notes))
    heard = len(house.commands)
    # Between two of its vain calls it has nobody to send to, and would wait for ever.
    with suppress(zmq.Again):
        commander.send(HELLO, zmq.NOBLOCK)
    house.publisher.publish("v1/x", b"secret")
    assert other.poll(round(PATIENCE_S * 1000))
    assert not reader.poll(200)
    for _ in range(10):
        house.turn()
    assert len(house.commands) == heard


def test_a_command_between_revocation_and_hanging_up_is_not_obeyed(
    house: House, keys: Path, plc: ClientKeys
) -> None:
    commander = house.client(zmq.DEALER, plc)
    commander.send(HELLO)
    assert house.until(lambda: bool(house.commands))
    commander.recv()
    revoke(keys, "plc")
    allowed = house.access._list
    assert allowed is not None
    # No turn of the loop meanwhile, so nobody was hung up on.
    end = time.monotonic() + PATIENCE_S
    while allowed.now.names and time.monotonic() < end:
        assert not commander.poll(10)
    commander.send(HELLO)
    assert house.control.socket.poll(round(PATIENCE_S * 1000))
    house.hear()
    assert (len(house.commands), house.control.refused) == (1, 1)


def test_a_client_admitted_while_the_line_runs_gets_in(
    house: House, keys: Path, tmp_path: Path
) -> None:
    new_client(keys, "late", tmp_path / "late")
    commander = house.client(zmq.DEALER, read_client(tmp_path / "late"))

    def heard() -> bool:
        nonlocal commander
        if not house.commands and house.notes:
            # libzmq does not call again once it was turned away.
            house.notes.clear()
            commander.close(linger=0)
            commander = house.client(zmq.DEALER, read_client(tmp_path / "late"))
        # While it is not connected, or no longer, there is nobody to send to.
        with suppress(zmq.Again):
            commander.send(HELLO, zmq.NOBLOCK)
        return bool(house.commands)

    assert house.until(heard)


def test_without_anybody_who_answers_for_the_list_nobody_is_admitted(
    house: House, plc: ClientKeys
) -> None:
    assert house.access._zap is not None
    house.access._zap.close(linger=0)
    house.access._zap = None
    commander = house.client(zmq.DEALER, plc)
    commander.send(HELLO)
    assert not house.until(lambda: bool(house.commands), seconds=0.5)


def test_a_subscriber_with_keys_reads_and_one_without_is_told_why(
    house: House, plc: ClientKeys
) -> None:
    with VerdictSubscriber(house.publisher.endpoint, Encoding.MSGPACK, keys=plc):
        assert house.until(lambda: house.publisher.subscribers() == 1)
    for found in (stranger(plc), misled(plc), None):
        with VerdictSubscriber(house.publisher.endpoint, Encoding.MSGPACK, keys=found) as reader:
            faults: list[str] = []

            def turned_away(reader: VerdictSubscriber = reader, faults: list[str] = faults) -> bool:
                try:
                    reader.receive(0.01)
                except WireError as error:
                    faults.append(str(error))
                return bool(faults)

            assert house.until(turned_away)
            assert "turns this reader away" in faults[0]


# -- addresses -------------------------------------------------------------------------------

PUBLIC = ["tcp://0.0.0.0:5556", "tcp://*:*", "tcp://192.168.0.7:5556", "tcp://[::]:5556"]


@pytest.mark.parametrize("endpoint", PUBLIC)
def test_a_public_address_needs_keys(endpoint: str) -> None:
    with pytest.raises(EndpointError, match=r"needs keys: edge-run keys new"):
        check_endpoint(endpoint)
    check_endpoint(endpoint, keys=True)


@pytest.mark.parametrize("endpoint", ["tcp://box.local:5556", "tcp://eth0:5556", "tcp://1.2.3:5"])
def test_a_name_is_no_address_even_with_keys(endpoint: str) -> None:
    with pytest.raises(EndpointError, match="in numbers"):
        check_endpoint(endpoint, keys=True)


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:1", "tcp://127.9.9.9:*", "tcp://[::1]:5556", "ipc:///run/x"]
)
def test_this_computer_needs_none(endpoint: str) -> None:
    check_endpoint(endpoint)


def test_a_public_address_without_any_admitted_client_is_refused(keys: Path) -> None:
    revoke(keys, "plc")
    with pytest.raises(EndpointError, match="no client is admitted"):
        House(keys, "tcp://0.0.0.0:*")


def test_at_a_public_address_keys_are_asked_for(keys: Path, plc: ClientKeys) -> None:
    house = House(keys, "tcp://0.0.0.0:*")
    try:
        house.client(zmq.DEALER, None, name=b"plain").send(HELLO)
        assert house.until(lambda: any("without keys" in note for note in house.notes))
        house.client(zmq.DEALER, plc).send(HELLO)
        assert house.until(lambda: bool(house.commands))
        assert {client for client, _ in house.commands} == {b"plc"}
    finally:
        house.close()


@pytest.mark.parametrize(("group", "mode"), [(False, 0o600), (True, 0o660)])
def test_an_ipc_socket_is_for_its_user_and_by_choice_the_group(
    tmp_path: Path, group: bool, mode: int
) -> None:
    access = AccessControl(ipc_group=group)
    with VerdictPublisher(f"ipc://{tmp_path}/pub", access=access):
        assert stat.S_IMODE((tmp_path / "pub").stat().st_mode) == mode


# -- hostile callers -------------------------------------------------------------------------


def dealer(house: House, name: bytes) -> zmq.Socket[bytes]:
    made = house.client(zmq.DEALER, name=name)
    made.send(HELLO)
    assert house.until(lambda: any(client == name for client, _ in house.commands))
    made.recv()
    return made


def test_a_message_above_the_cap_never_gets_in_and_costs_only_its_sender(
    open_house: House,
) -> None:
    big, other = dealer(open_house, b"big"), dealer(open_house, b"other")
    open_house.commands.clear()
    big.send(b"x" * (MAX_MESSAGE_BYTES + 1))
    other.send(HELLO)
    assert open_house.until(lambda: bool(open_house.commands))
    assert open_house.control.refused == 0
    assert not big.poll(200)


def test_a_command_above_its_own_cap_is_refused_before_it_is_taken_apart(
    open_house: House,
) -> None:
    client = dealer(open_house, b"client")
    client.send(b"\x90" * (MAX_COMMAND_BYTES + 1))
    assert open_house.until(lambda: open_house.control.refused == 1)
    assert f"at most {MAX_COMMAND_BYTES}" in msgpack.unpackb(client.recv())["detail"]


def test_a_message_of_a_million_parts_is_cut_short(open_house: House) -> None:
    endless, other = dealer(open_house, b"endless"), dealer(open_house, b"other")
    open_house.commands.clear()
    for _ in range(100_000):
        endless.send(b"", zmq.SNDMORE)
    endless.send(b"")
    assert open_house.until(lambda: open_house.control.refused == 1)
    longest = 0.0
    other.send(HELLO)
    end = time.monotonic() + PATIENCE_S
    while not open_house.commands and time.monotonic() < end:
        started = time.thread_time()
        open_house.turn()
        longest = max(longest, time.thread_time() - started)
    assert open_house.commands
    # All of them at once took 26 to 40 ms; a portion takes less than one.
    assert longest < 0.02


def test_garbage_on_the_wire_disturbs_nobody(open_house: House) -> None:
    other = dealer(open_house, b"other")
    port = int(open_house.control.endpoint.rpartition(":")[2])
    for text in (
        b"GET / HTTP/1.1\r\n\r\n" * 10,
        b"\xff" * 1000,
        b"\xff" + b"\0" * 8 + b"\x7f" * 99,
    ):
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(text)
    open_house.commands.clear()
    other.send(HELLO)
    assert open_house.until(lambda: bool(open_house.commands))


def test_a_trigger_in_the_pause_after_mistakes_is_told_how_long_it_lasts(
    open_house: House,
) -> None:
    wild = dealer(open_house, b"wild")
    trigger = msgpack.packb({"v": 1, "type": "trigger", "trig": "7"})
    too_long = msgpack.packb({"v": 1, "type": "trigger", "trig": "8", "recipe": "x" * 4000})
    sent = [b"\xc1"] * MISTAKES + [trigger, too_long, HELLO]
    for message in sent:
        wild.send(message)
    open_house.commands.clear()
    end = time.monotonic() + PATIENCE_S
    while open_house.control.refused < len(sent) and time.monotonic() < end:
        open_house.control.socket.poll(10)
        open_house.hear()
    answers: list[Any] = []
    while len(answers) <= MISTAKES and wild.poll(round(PATIENCE_S * 1000)):
        answers.append(msgpack.unpackb(wild.recv()))
    told = answers[-1]
    assert (told["about"], told["trig"], told["reason"]) == ("trigger", "7", "paused")
    assert told["pause_ms"] == PAUSE_NS // 1_000_000
    assert "1000 ms" in told["detail"][:48], "as much of it as a struct holds"
    assert not wild.poll(100), "nothing else is explained"
    assert open_house.commands == []


def test_who_makes_too_many_mistakes_is_not_listened_to_for_a_second(open_house: House) -> None:
    wild, other = dealer(open_house, b"wild"), dealer(open_house, b"other")
    open_house.commands.clear()
    for _ in range(MISTAKES + 5):
        wild.send(b"\xc1")
    frozen = open_house.clock.now
    end = time.monotonic() + PATIENCE_S
    while open_house.control.refused < MISTAKES + 5 and time.monotonic() < end:
        open_house.control.socket.poll(10)
        open_house.hear()
    answers: list[Any] = []
    while len(answers) < MISTAKES and wild.poll(round(PATIENCE_S * 1000)):
        answers.append(msgpack.unpackb(wild.recv()))
    assert not wild.poll(100), "whoever is not listened to gets no answer"
    assert len(answers) == MISTAKES
    assert "nothing is listened to" in answers[-1]["detail"]
    assert [answer["reason"] for answer in answers[-2:]] == [None, "paused"]
    wild.send(HELLO)
    other.send(HELLO)
    assert open_house.control.socket.poll(round(PATIENCE_S * 1000))
    while not open_house.commands or open_house.control.refused < MISTAKES + 6:
        open_house.control.socket.poll(10)
        open_house.hear()
    assert [client for client, _ in open_house.commands] == [b"other"]
    assert open_house.clock.now == frozen
    open_house.clock.now += PAUSE_NS
    wild.send(HELLO)
    assert open_house.until(lambda: b"wild" in [client for client, _ in open_house.commands])
