"""Bridges: the protocols by which a line is reached that speak no ZeroMQ, and their settings.

A kind of bridge is what may be set of it in `[[bridges]]`, and the function that is its
process. A `BridgeKind` names both. Further kinds are brought by installed packages.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, StringConstraints, field_validator, model_validator

from kenpin.config.errors import ConfigError
from kenpin.config.registry import Registry, settings_by
from kenpin.config.settings import Listening

__all__ = [
    "BRIDGES",
    "BridgeKind",
    "BridgeSettings",
    "BridgeSpec",
    "Ip",
    "ModbusSettings",
    "in_numbers",
    "is_loopback",
]


class BridgeSettings(Listening):
    """What every table of `[[bridges]]` has.

    kind  the protocol; each has a table of its own keys below
    name  tells several of one kind apart, in alarms, to the line and, by its first 8 characters,
          in ps; by default the kind
    keys  file of the bridge's own keys, for a line that asks its clients for them:
          edge-run keys client
    """

    kind: str
    name: str = Field(default="", pattern=r"^[a-z0-9_-]{0,32}$")
    keys: Path | None = None

    @property
    def called(self) -> str:
        """By what name it is known."""
        return self.name or self.kind

    @property
    def admitting(self) -> Mapping[str, Path]:
        """Files and folders that say who may come, by their keys: the audit log knows of each."""
        return {}

    @property
    def wants_pictures(self) -> bool:
        """Whether the line must show pictures."""
        return False


@dataclass(frozen=True, slots=True)
class BridgeKind:
    """A kind of bridge.

    settings  the class of its table; its module should import nothing heavy
    work      a `BridgeWork` as "package.module:object", which is the process
    needs     the package that it imports, and the extra of kenpin that brings it
    plc       makes a simulated PLC that talks through the bridge, for edge-plc
    reduced   cuts a verdict of the line to what the bridge can say, to compare both
    stall     makes a client of the bridge that asks and never reads
    broker    it needs one, which can go away
    handed_on_ms
              how old what it sends may be when it arrives; whoever hears drops what is older
    history_ms
              within so much a verdict that was held up in it is told after all, for books
    """

    settings: type[BridgeSettings]
    work: str
    needs: tuple[str, str] | None = None
    plc: str | None = None
    reduced: str = "builtins:dict"
    stall: str = ""
    broker: bool = False
    handed_on_ms: int = 0
    history_ms: int = 0

    def check_installed(self) -> None:
        """Refuse a bridge whose library is not there.

        Raises
        ------
        ConfigError
            With the command that installs it.
        """
        if self.needs is not None and find_spec(self.needs[0]) is None:
            package, extra = self.needs
            raise ConfigError(
                f"{package} is not installed; pip install 'kenpin[{extra}]', or take the bridge "
                "out of [[bridges]]"
            )


# An address in numbers, IPv4 or IPv6.
Ip = Annotated[str, StringConstraints(max_length=64)]


class ModbusSettings(BridgeSettings):
    """A Modbus TCP server, for one PLC; docs/bridges/modbus.md has its registers.

    address          in numbers
    port             502, the protocol's own, needs a right that the service lacks
    allow            addresses or networks that may connect, such as 192.168.0.10 or
                     192.168.0.0/29; a must for an address that is not local, because Modbus
                     knows neither users nor encryption
    words            which half of a longer number comes first
    hold_ms          so long beyond its deadline a result may still be acted on: the PLC must
                     poll more often
    recipes          labels of bundles; the PLC's recipe 1 is the first
    max_connections  with one more, the one that was silent longest is closed
    idle_s           a connection that says nothing for so long is closed
    """

    kind: Literal["modbus"]
    address: Ip = "127.0.0.1"
    port: int = Field(default=5020, ge=1, le=65535)
    allow: tuple[Ip, ...] = ()
    words: Literal["high_first", "low_first"] = "high_first"
    hold_ms: float = Field(default=250, ge=20, le=10_000)
    recipes: tuple[str, ...] = Field(default=(), max_length=1000)
    max_connections: int = Field(default=8, ge=1, le=64)
    idle_s: float = Field(default=60, ge=1, le=86_400)

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        return in_numbers(value)

    @field_validator("allow")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            try:
                ipaddress.ip_network(entry)
            except ValueError as error:
                raise ValueError(
                    f"{error}; expected addresses or networks, such as 192.168.0.10"
                ) from None
        return value

    @model_validator(mode="after")
    def _strangers_are_kept_out(self) -> Self:
        if not self.allow and not is_loopback(self.address):
            raise ValueError(
                f"address {self.address} can be reached from outside, and Modbus asks nobody who "
                "he is; list the PLC's address in `allow`, or use 127.0.0.1"
            )
        return self


def in_numbers(address: str) -> str:
    """The address, if it is one; a validator."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(
            f"found {address!r}, expected an address in numbers: a name may mean another one "
            "tomorrow"
        ) from None
    return address


def is_loopback(address: str) -> bool:
    """Whether only this computer reaches it."""
    return ipaddress.ip_address(address).is_loopback


MODBUS = BridgeKind(
    ModbusSettings,
    "kenpin.runtime.bridges.modbus.server:serve",
    ("pymodbus", "modbus"),
    plc="kenpin.runtime.bridges.modbus.plc:open_plc",
    reduced="kenpin.runtime.bridges.modbus.reduced:reduced",
    stall="kenpin.runtime.bridges.modbus.requests:stall",
)

# Every kind of bridge; further ones are entry points in the group kenpin.bridges.
BRIDGES: Registry[BridgeKind] = Registry(
    "kenpin.bridges",
    "bridge",
    BridgeKind,
    {
        "modbus": "kenpin.config.bridges:MODBUS",
        "mqtt": "kenpin.config.bridge_mqtt:MQTT",
        "opcua": "kenpin.config.bridge_opcua:OPCUA",
        "sparkplug": "kenpin.config.bridge_sparkplug:SPARKPLUG",
    },
)

# A table of `[[bridges]]`: of the class that belongs to its kind.
BridgeSpec = Annotated[SerializeAsAny[BridgeSettings], settings_by("kind", BRIDGES)]
