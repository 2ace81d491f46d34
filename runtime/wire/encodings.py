"""The encodings that a line can speak: what it says to bytes, and commands out of bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel

from kenpin.runtime.wire.commands import KINDS, Command
from kenpin.runtime.wire.field_types import MAX_TRIG_CHARS
from kenpin.runtime.wire.map_encoding import Encoding, command_fields, decode_command, encode
from kenpin.runtime.wire.struct_encoding import pack_message, unpack, unpack_command
from kenpin.runtime.wire.verdict_messages import WireError

__all__ = ["CODECS", "Codec"]


@dataclass(frozen=True, slots=True)
class Codec:
    """One encoding.

    write    the bytes of a message; WireError if it is too long
    command  the command in a client's bytes; WireError if there is none
    about    type and trigger's id of what is no command, each None if it cannot be told
    """

    write: Callable[[BaseModel], bytes]
    command: Callable[[bytes], Command]
    about: Callable[[bytes], tuple[str | None, str | None]]


def _about(
    read: Callable[[bytes], Mapping[str, object]], payload: bytes
) -> tuple[str | None, str | None]:
    try:
        found = read(payload)
    except WireError:
        return None, None
    kind, trig = found.get("type"), found.get("trig")
    known = kind if isinstance(kind, str) and kind in KINDS else None
    short = isinstance(trig, str) and 0 < len(trig) <= MAX_TRIG_CHARS
    return known, str(trig) if short else None


CODECS: Mapping[str, Codec] = {
    encoding.value: Codec(
        partial(encode, encoding=encoding),
        partial(decode_command, encoding=encoding),
        partial(_about, partial(command_fields, encoding=encoding)),
    )
    for encoding in Encoding
} | {"struct": Codec(pack_message, unpack_command, partial(_about, unpack))}
