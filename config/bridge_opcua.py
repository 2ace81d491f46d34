"""The OPC UA bridge: what may be set of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from kenpin.config.bridges import BridgeKind, BridgeSettings, Ip, in_numbers, is_loopback

__all__ = ["OpcuaSettings"]


class OpcuaSettings(BridgeSettings):
    """An OPC UA server, for one PLC and any number of readers; docs/bridges/opcua.md has its nodes.

    address          in numbers. One that is not local needs certificate, private_key,
                     trusted and users
    port             4840 is the protocol's own
    certificate, private_key
                     the server's own: edge-run keys certificate. With them nothing but
                     SignAndEncrypt is offered
    trusted          folder with the certificates of those who may connect
    users            file of names and passwords: edge-run keys user
    nodeset          the official Opc.Ua.MachineVision.NodeSet2.xml, in place of our own nodes
    hold_ms          so long beyond its deadline a result may still be fetched
    recipes          labels of bundles that a client may prepare
    max_connections  with one more, the newest is refused
    """

    kind: Literal["opcua"]
    address: Ip = "127.0.0.1"
    port: int = Field(default=4840, ge=1, le=65535)
    certificate: Path | None = None
    private_key: Path | None = None
    trusted: Path | None = None
    users: Path | None = None
    nodeset: Path | None = None
    hold_ms: float = Field(default=100, ge=20, le=10_000)
    recipes: tuple[str, ...] = Field(default=(), max_length=1000)
    max_connections: int = Field(default=8, ge=1, le=64)

    @property
    def admitting(self) -> Mapping[str, Path]:
        """Who may connect, and under which name."""
        named = {"trusted": self.trusted, "users": self.users}
        return {key: path for key, path in named.items() if path is not None}

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        return in_numbers(value)

    @model_validator(mode="after")
    def _strangers_are_kept_out(self) -> Self:
        needed = ("certificate", "private_key", "trusted", "users")
        missing = [name for name in needed if getattr(self, name) is None]
        if missing and not is_loopback(self.address):
            raise ValueError(
                f"address {self.address} can be reached from outside, and {', '.join(missing)} "
                "not set: anybody could trigger and read; set them, or use 127.0.0.1"
            )
        own = [name for name in needed[:3] if getattr(self, name) is None]
        if 0 < len(own) < len(needed[:3]):
            raise ValueError(
                f"{', '.join(own)} not set: certificate, private_key and trusted go together"
            )
        if self.users is not None and own:
            raise ValueError("users without a certificate: passwords would travel in the clear")
        return self


OPCUA = BridgeKind(
    OpcuaSettings,
    "kenpin.runtime.bridges.opcua.server:serve",
    ("asyncua", "opcua"),
    plc="kenpin.runtime.bridges.opcua.plc:open_plc",
    reduced="kenpin.runtime.bridges.opcua.plc:reduced",
    stall="kenpin.runtime.bridges.opcua.plc:stall",
    handed_on_ms=300,
)
