"""The live page's settings: the table [page] of a line."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from kenpin.config.settings import Listening

__all__ = ["LANGUAGES", "ROLES", "Language", "PageSpec", "Role"]

# Languages of the page.
Language = Literal["en", "de", "ja", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "de", "ja", "zh")
# Each may do what those before it may.
Role = Literal["look", "review", "set", "admin"]
ROLES: tuple[Role, ...] = ("look", "review", "set", "admin")

Clock = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class PageSpec(Listening):
    """The live page, for people on the floor.

    address         where it is served
    port            0: a free one, which the log tells
    hosts           further names that browsers call it by
    accounts        the file of people and their roles, see `edge-run page`; a must for an
                    address that is not loopback. Without one, whoever sits at the box
                    may do what `local_role` may
    local_role      of whoever sits at the box, where there are no accounts; each role may do
                    what those before it may
    certificate, private_key
                    TLS, as PEM files; a must for an address that is not loopback
    notice          who may use it and what is recorded, say: shown to whoever is to log in
    language        until the reader chooses another
    shifts          when they begin, by the box's clock
    pictures_per_s  of good frames, at most; the last NG is always shown
    """

    address: str = "127.0.0.1"
    port: int = Field(default=8470, ge=0, le=65535)
    hosts: tuple[str, ...] = ()
    accounts: Path | None = None
    local_role: Role = "set"
    certificate: Path | None = None
    private_key: Path | None = None
    notice: str = Field(default="", max_length=1000)
    language: Language = "en"
    shifts: tuple[Clock, ...] = ("06:00", "14:00", "22:00")
    pictures_per_s: float = Field(default=2.0, gt=0, le=10)

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.address).is_loopback
        except ValueError:
            return self.address == "localhost"

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together; give both or neither")
        if self.loopback:
            return self
        missing = [
            name
            for name, value in (("accounts", self.accounts), ("certificate", self.certificate))
            if value is None
        ]
        if missing:
            raise ValueError(
                f"{self.address} is no loopback address and {' and '.join(missing)} is missing: "
                "the page shows pictures and changes thresholds; give accounts, certificate and "
                'private_key, or address = "127.0.0.1"'
            )
        return self
