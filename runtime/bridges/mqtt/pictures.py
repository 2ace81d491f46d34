"""Pictures of NG parts for whoever asks: the newest, so many bytes of them."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kenpin.runtime.bridges.process import Bridged
from kenpin.runtime.wire.errors import explain

__all__ = ["Pictures", "asked_for", "collect"]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    seq: int | None = Field(default=None, ge=1)


class Pictures:
    """By the number of their verdict; the oldest make room.

    room_bytes  0: none are kept
    """

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        self.used_bytes = 0
        self._boot = ""
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def add(self, boot: str, seq: int, picture: bytes) -> None:
        """Keep one; another boot's are nobody's any more, as its numbers begin at 1 again."""
        if boot != self._boot:
            self._boot, self.used_bytes = boot, 0
            self._kept.clear()
        self.used_bytes += len(picture) - len(self._kept.pop(seq, b""))
        self._kept[seq] = picture
        while self.used_bytes > self.room_bytes:
            self.used_bytes -= len(self._kept.popitem(last=False)[1])

    def find(self, seq: int | None) -> tuple[int, bytes] | None:
        """That of a verdict, or the newest; None if it is not kept."""
        number = next(reversed(self._kept), None) if seq is None else seq
        picture = self._kept.get(number) if number is not None else None
        return None if picture is None or number is None else (number, picture)

    def why_not(self, seq: int | None) -> str:
        """Why there is none, for whoever asked."""
        if not self.room_bytes:
            return "this bridge keeps no pictures; set picture_bytes in its table, and wire.img"
        kept = f"{min(self._kept)} to {max(self._kept)}" if self._kept else "none yet"
        wanted = "no picture" if seq is None else f"no picture of verdict {seq}"
        return f"{wanted}: kept are {kept}; the painter shows what it has time for"


def asked_for(payload: bytes) -> tuple[int | None, str]:
    """The number of the verdict whose picture is wanted, None: the newest; and what is wrong."""
    try:
        return _Asked.model_validate_json(payload or b"{}").seq, ""
    except ValidationError as error:
        return None, explain(error)


async def collect(bridged: Bridged, pictures: Pictures) -> None:
    """Keep what the line shows, for ever."""
    topic = f"v1/img/{bridged.facts.line}".encode()
    with bridged.pictures(topic) as socket:
        while True:
            parts = await socket.recv_multipart()
            if len(parts) < 3 or parts[0] != topic:
                continue
            head: dict[str, Any] = json.loads(parts[1])
            if head["verdict"] != 1:
                pictures.add(head["boot"], head["seq"], parts[2])
