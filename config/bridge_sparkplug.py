"""What may be set of a Sparkplug bridge."""

from __future__ import annotations

from typing import Literal

from kenpin.config.bridge_mqtt import BrokerSettings, Level
from kenpin.config.bridges import BridgeKind

__all__ = ["SPARKPLUG", "SparkplugSettings"]


class SparkplugSettings(BrokerSettings):
    """An edge node of Sparkplug B 3.0, with the line as its device; docs/bridges/sparkplug.md.

    group  its Group ID
    node   its Edge Node ID, another one for each bridge of the plant; empty: BOX-LINE
    """

    kind: Literal["sparkplug"]
    group: Level = "kenpin"
    node: Level | Literal[""] = ""

    def node_of(self, box: str, line: str) -> str:
        """The Edge Node ID of a line's bridge."""
        return self.node or f"{box}-{line}"


# The bridge of the kind `sparkplug`.
SPARKPLUG = BridgeKind(
    SparkplugSettings,
    "kenpin.runtime.bridges.sparkplug.bridge:serve",
    ("aiomqtt", "mqtt"),
    plc="kenpin.runtime.bridges.sparkplug.plc:open_plc",
    stall="kenpin.runtime.bridges.mqtt.plc:stall",
    broker=True,
    handed_on_ms=300,
    history_ms=5000,
)
