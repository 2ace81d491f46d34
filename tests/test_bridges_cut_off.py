"""A broker that stands still and goes: every verdict that it did not take is kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kenpin.config.bridge_mqtt import MqttSettings
from kenpin.config.bridge_sparkplug import SparkplugSettings
from kenpin.runtime.bridges.mqtt.bridge import MqttBridge
from kenpin.runtime.bridges.mqtt.broker import UNDER_WAY
from kenpin.runtime.bridges.sparkplug.bridge import SparkplugBridge
from kenpin.runtime.wire.client import Heard
from running_line import PATIENCE_S
from wire_samples import verdict_message

SENT = 30


class Bridged:
    """A line's own side of a bridge."""

    facts = SimpleNamespace(line="web-1", box="b", img="")

    def __init__(self) -> None:
        self.hear: Any = None

    def tell(self, **_: Any) -> None:
        """Where it has come to is told to nobody."""

    def link(self, hear: Any, **_: Any) -> Any:
        self.hear = hear
        return SimpleNamespace(say=lambda *_, **__: None, close=lambda: None)


class StandingStill:
    """A broker that takes some and then answers nothing: so many wait for it."""

    def __init__(self, takes: int) -> None:
        self.taken: list[bytes] = []
        self.waiting = 0
        self._takes = takes
        self.messages = self

    def __aiter__(self) -> StandingStill:
        return self

    async def __anext__(self) -> Any:
        await asyncio.sleep(3600)

    async def subscribe(self, *_: Any, **__: Any) -> None:
        return None

    async def publish(self, topic: str, payload: bytes, *_: Any) -> None:
        if topic.endswith("/health") or topic.endswith("/NDEATH"):
            return
        if len(self.taken) >= self._takes:
            self.waiting += 1
            await asyncio.sleep(3600)
        self.taken.append(json.loads(payload)["seq"])


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not happened():
            await asyncio.sleep(0)


async def _cut_off(
    bridge: MqttBridge | SparkplugBridge,
    client: StandingStill,
    hear: Callable[[Heard], None],
    waiting: int,
) -> list[int]:
    """The numbers of the verdicts that are kept when the broker goes, and so many wait for it."""
    talk = asyncio.create_task(bridge.talk(client))  # type: ignore[arg-type]
    await _until(lambda: bridge._connected)
    for number in range(SENT):
        said = verdict_message().model_dump(mode="json") | {"t_mono_ns": time.monotonic_ns()}
        hear(Heard("verdict", said | {"seq": number}, said["t_mono_ns"], "v1/verdict/web-1"))
    await _until(lambda: client.waiting == waiting)
    talk.cancel()
    await asyncio.wait([talk], timeout=5)
    assert talk.done()
    bridge.lost()
    assert bridge.store.lost == 0
    kept = []
    while bridge.store:
        kept.append(json.loads(bridge.store.take())["seq"])
    return kept


@pytest.mark.parametrize("takes", [0, 3, 25])
def test_mqtt_keeps_what_a_broker_did_not_take(takes: int) -> None:
    bridge = MqttBridge(MqttSettings(kind="mqtt", host="127.0.0.1"), Bridged())  # type: ignore[arg-type]
    client = StandingStill(takes)
    waiting = min(UNDER_WAY, SENT - takes)
    kept = asyncio.run(_cut_off(bridge, client, bridge.heard, waiting))
    assert sorted([*client.taken, *kept]) == list(range(SENT))


def test_sparkplug_keeps_what_a_broker_did_not_take() -> None:
    bridged = Bridged()
    settings = SparkplugSettings(kind="sparkplug", host="127.0.0.1")
    bridge = SparkplugBridge(settings, bridged)  # type: ignore[arg-type]
    # It stands still at the node's birth, when the first verdict has been taken up.
    kept = asyncio.run(_cut_off(bridge, StandingStill(0), bridged.hear, 1))
    assert sorted(kept) == list(range(SENT))
