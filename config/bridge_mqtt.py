"""Bridges to an MQTT broker: what may be set of them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from kenpin.config.bridges import BridgeKind, BridgeSettings

__all__ = ["BrokerSettings", "Level", "MqttSettings"]

# No wildcards, and no level that is empty: topics are made of it.
Level = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class BrokerSettings(BridgeSettings):
    """A client of an MQTT broker.

    host           of the broker. One that is not on this computer needs `ca`, `user` and
                   `password_file`: TLS, and a name to be let in under
    port           of the broker
    ca             certificates that the broker's must be signed by
    user           the name to be let in under
    password_file  its first line; for the service's user alone
    store_bytes    verdicts that are kept while the broker is away; with more, the oldest are lost
    """

    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")] = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65535)
    ca: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    store_bytes: int = Field(default=10_000_000, ge=0, le=1_000_000_000)

    @model_validator(mode="after")
    def _strangers_are_kept_out(self) -> Self:
        missing = [name for name in ("ca", "user", "password_file") if not getattr(self, name)]
        if missing and not _on_this_computer(self.host):
            raise ValueError(
                f"host {self.host} is another computer, and {', '.join(missing)} not set: anybody "
                "between could trigger and read; set them, or use a broker on 127.0.0.1"
            )
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together; set both or none")
        return self


class MqttSettings(BrokerSettings):
    """Topics of our own with JSON; docs/bridges/mqtt.md has them.

    prefix         every topic begins with it
    clients        who may trigger through the broker, each under a name of its own
    picture_bytes  of the newest pictures of NG parts, kept for whoever asks; 0: none. They are
                   those of wire.img
    """

    kind: Literal["mqtt"]
    prefix: Level = "kenpin"
    clients: int = Field(default=8, ge=1, le=64)
    picture_bytes: int = Field(default=0, ge=0, le=1_000_000_000)

    @property
    def wants_pictures(self) -> bool:
        """Whether the line must show pictures."""
        return self.picture_bytes > 0


def _on_this_computer(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


MQTT = BridgeKind(
    MqttSettings,
    "kenpin.runtime.bridges.mqtt.bridge:serve",
    ("aiomqtt", "mqtt"),
    plc="kenpin.runtime.bridges.mqtt.plc:open_plc",
    stall="kenpin.runtime.bridges.mqtt.plc:stall",
    broker=True,
    handed_on_ms=300,
    history_ms=5000,
)
