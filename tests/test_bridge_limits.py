"""What a bridge keeps is bounded, and nothing that a client says deafens it or ends it."""

from __future__ import annotations

import asyncio
import gc
import struct
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary, variant_to_binary

from kenpin.config.bridges import ModbusSettings
from kenpin.processes.channel import Channel, Stop
from kenpin.processes.memory import keep_what_is_loaded, tidy_up
from kenpin.runtime.bridges.link import LineLink, Unsaid
from kenpin.runtime.bridges.modbus.dialogue import ModbusDialogue
from kenpin.runtime.bridges.mqtt.backlog import Backlog
from kenpin.runtime.bridges.mqtt.hub import Hub
from kenpin.runtime.bridges.mqtt.pictures import Pictures
from kenpin.runtime.bridges.opcua.decoding import bound_decoding
from kenpin.runtime.bridges.opcua.dialogue import OpcuaDialogue
from kenpin.runtime.bridges.opcua.structures import define_structures
from kenpin.runtime.bridges.process import Bridged, BridgedLine, BridgeReport
from kenpin.runtime.bridges.sparkplug.node import EdgeNode
from kenpin.runtime.wire.client import Heard, LineClient
from lying_line import LyingLine
from test_hostile_bytes import targets
from wire_samples import BOOT, verdict_message

FACTS = BridgedLine("box-7", "web-1", True, 100, "", "", "msgpack", "msgpack")
# More than any bridge remembers.
MANY = 1100


@pytest.fixture
def few_objects() -> Iterator[None]:
    """What the tests have loaded is not looked at again and again."""
    keep_what_is_loaded()
    yield
    gc.unfreeze()


def modbus() -> Callable[[Heard], None]:
    dialogue = ModbusDialogue(FACTS, ModbusSettings(kind="modbus"), lambda *_, **__: None)
    dialogue.written(0, [1, 0, 0, 77])
    return lambda message: dialogue.heard(message, message.at_ns)


def mqtt() -> Callable[[Heard], None]:
    hub = Hub(lambda _: False, lambda *_: targets.Deaf(), Backlog(10_000), 2, Pictures(0))
    return lambda message: hub.published(message, message.at_ns)


def opcua() -> Callable[[Heard], None]:
    def away(kind: str, **fields: Any) -> None:
        dialogue.heard(Unsaid(kind, fields, ""), 0)

    dialogue = OpcuaDialogue(FACTS, (), 100, away, lambda _: None, lambda _: True)
    asyncio.run(dialogue.open_session(dialogue, "77"))
    return lambda message: dialogue.heard(message, message.at_ns)


def sparkplug() -> Callable[[Heard], None]:
    node = EdgeNode("kenpin", "box-7", "web-1")

    def hear(message: Heard) -> None:
        node.note(message.fields)
        node.data(message.fields, message.at_ns, to_all=bool(message.topic))

    return hear


def part(number: int) -> Iterator[Heard]:
    """All that is said of one, whose PLC asks twice and acknowledges nothing."""
    about: Mapping[str, Any] = {"boot": BOOT, "session": "77", "trig": str(number)}
    taken = {"type": "trigger_ack", "t_mono_ns": number, "fresh": False, "overrun": True}
    yield Heard("trigger_ack", {**about, **taken, "deadline_ns": number + 5}, number)
    told = verdict_message(number).model_dump(mode="json") | about
    yield Heard("verdict", told, number)
    yield Heard("verdict", told, number, "v1/verdict/web-1")
    # Of a part whose verdict never comes.
    lost = {**about, **taken, "trig": f"{number}x", "deadline_ns": number + 5}
    yield Heard("trigger_ack", lost, number)


@pytest.mark.parametrize("bridge", [modbus, mqtt, opcua, sparkplug])
def test_a_bridge_holds_no_more_after_many_parts_than_before(
    bridge: Callable[[], Callable[[Heard], None]], few_objects: None
) -> None:
    hear, held = bridge(), []
    for begin in (1, 1 + MANY):
        for number in range(begin, begin + MANY):
            for message in part(number):
                hear(message)
        tidy_up()
        # Strings and numbers are no objects to the collector, their holders' sizes tell.
        held.append(len(gc.get_objects()) + sum(_length(one) for one in gc.get_objects()))
    assert held[1] - held[0] < MANY // 10, "something is kept of each part"


def _length(one: object) -> int:
    return len(one) if isinstance(one, dict | list | set) else 0


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


def test_a_bridge_that_is_reached_keeps_what_it_loaded_and_tidies_up_what_it_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kenpin.runtime.bridges.process._TIDY_S", 0.0)
    monkeypatch.setattr("kenpin.runtime.bridges.process.ALIVE_S", 0.001)
    ours, theirs = Channel.pair(BridgeReport, Stop)

    async def live() -> None:
        bridged = Bridged(FACTS, None, "modbus", ours)
        assert gc.get_freeze_count() == before
        bridged.tell(address="modbus://127.0.0.1:502")
        assert gc.get_freeze_count() > before + 1000
        ring = weakref.ref(Ring())
        life = asyncio.create_task(bridged.until_end())
        while ring() is not None:
            await asyncio.sleep(0)
        theirs.close()
        await life

    before = gc.get_freeze_count()
    gc.disable()
    try:
        asyncio.run(asyncio.wait_for(live(), 20))
    finally:
        gc.enable()
        gc.unfreeze()
        ours.close()


class Broken:
    """A client of the line with a mistake in it."""

    def receive(self, *_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    def close(self) -> None:
        """Nothing was open."""


@pytest.mark.clock
def test_a_link_that_breaks_says_so_and_what_cannot_be_said_breaks_none(tmp_path: Path) -> None:
    async def live(line: LyingLine) -> list[Heard | Unsaid]:
        loop, heard = asyncio.get_running_loop(), asyncio.Queue[Heard | Unsaid]()
        broken: asyncio.Future[Exception] = loop.create_future()
        faulty: Any = Broken()
        LineLink(faulty, heard.put_nowait, broken.set_result, loop).close()
        assert isinstance(await broken, ZeroDivisionError)
        unbroken: asyncio.Queue[Exception] = asyncio.Queue()
        link = LineLink(LineClient(line.ctl), heard.put_nowait, unbroken.put_nowait, loop)
        link.say("trigger", trig="\udc80", session="77")
        link.say("ack", seq=2**70)
        link.begin("77")
        found = [await heard.get() for _ in range(3)]
        link.close()
        assert unbroken.empty()
        return found

    with LyingLine(tmp_path) as line:
        found = asyncio.run(asyncio.wait_for(live(line), 20))
    assert [message.kind for message in found] == ["trigger", "ack", "state"]
    assert [isinstance(message, Unsaid) for message in found] == [True, True, False]


class Talkative:
    """A client that hears of one state after the other."""

    def receive(self, *_: Any, **__: Any) -> Heard:
        return Heard("state", {}, 0)

    def close(self) -> None:
        """Nothing was open."""


def test_a_bridge_whose_loop_stood_still_ends_rather_than_miss_a_message() -> None:
    async def live() -> None:
        loop, heard = asyncio.get_running_loop(), list[Heard | Unsaid]()
        broken: asyncio.Future[Exception] = loop.create_future()
        talkative: Any = Talkative()
        link = LineLink(talkative, heard.append, broken.set_result, loop)
        link._thread.join(20)  # this is the loop's thread
        assert "the event loop stood still" in str(await broken)
        assert len(heard) == 2000
        link.close()

    asyncio.run(asyncio.wait_for(live(), 30))


def test_no_client_of_opcua_ends_its_bridge_by_what_it_gives() -> None:
    made = define_structures(2)
    for given in (
        # Python refuses to read a number of more than 4,300 digits.
        made["ResultIdDataType"](Id=f"{BOOT}:{'9' * 5000}"),
        made["ResultIdDataType"](Id=f"{BOOT}:99999999999999999999"),
        # Bytes that are no text reach a method as half a character.
        made["MeasIdDataType"](Id="\udc80"),
        made["RecipeIdExternalDataType"](Id="\udc80"),
    ):
        variant = variant_to_binary(ua.Variant(given, ua.VariantType.ExtensionObject))
        for method in range(16):
            for count in (1, 2, 5, 6, 12):
                targets.TARGETS["opcua"](bytes([method]) + variant * count)


@pytest.mark.parametrize(
    "said",
    [
        # Texts and bytes that end before they begin.
        b"\x0c" + struct.pack("<i", -5) + b"77",
        b"\x8c" + struct.pack("<ii", 1000, -4),
        b"\x0f" + struct.pack("<i", -2),
        # An array of a thousand nulls, and one of a byte that is said to have 1000 by 100.
        b"\x80" + struct.pack("<i", 1000),
        b"\xc3" + struct.pack("<i", 1) + b"7" + struct.pack("<iii", 2, 1000, 100),
        b"\xc3" + struct.pack("<i", 1) + b"7" + struct.pack("<ii", 1, 1000),
        b"\x43" + b"7" + struct.pack("<ii", 1, 1000),
    ],
)
def test_a_few_bytes_of_opcua_make_no_large_array(said: bytes) -> None:
    bound_decoding()
    with pytest.raises(ua.UaError, match="array"):
        variant_from_binary(Buffer(said))
    whole = variant_from_binary(
        Buffer(b"\xc3" + struct.pack("<i", 2) + b"78" + struct.pack("<ii", 1, 2))
    )
    assert list(whole.Value) == [55, 56]
