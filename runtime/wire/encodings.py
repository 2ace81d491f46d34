"""The encodings that a line can speak, on both sides: messages and commands, to bytes and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel

from kenpin.runtime.wire.commands import KINDS, Command
from kenpin.runtime.wire.errors import WireError
from kenpin.runtime.wire.field_types import MAX_TRIG_CHARS
from kenpin.runtime.wire.map_encoding import (
    Encoding,
    command_fields,
    decode,
    decode_command,
    encode,
    message_fields,
    pack_fields,
)
from kenpin.runtime.wire.struct_encoding import pack, pack_message, unpack, unpack_command

__all__ = ["CODECS", "Codec"]


@dataclass(frozen=True, slots=True)
class Codec:
    """One encoding. Another one is another entry of `CODECS`; what cannot be read is a WireError.

    The line's side:

    write    the bytes of a message; WireError if it is too long
    command  the command in a client's bytes
    about    type and trigger's id of what is no command, each None if it cannot be told

    A client's side:

    pack     the bytes of a command, of its fields, whatever they are
    unpack   the fields in a line's bytes
    check    refuses a verdict or a state that breaks its schema
    """

    write: Callable[[BaseModel], bytes]
    command: Callable[[bytes], Command]
    about: Callable[[bytes], tuple[str | None, str | None]]
    pack: Callable[[Mapping[str, Any]], bytes]
    unpack: Callable[[bytes], dict[str, Any]]
    check: Callable[[bytes], object]


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


# Encodings by the name that settings give them.
CODECS: Mapping[str, Codec] = {
    encoding.value: Codec(
        partial(encode, encoding=encoding),
        partial(decode_command, encoding=encoding),
        partial(_about, partial(command_fields, encoding=encoding)),
        partial(pack_fields, encoding=encoding),
        partial(message_fields, encoding=encoding),
        partial(decode, encoding=encoding),
    )
    for encoding in Encoding
} | {
    # Less is said in it: no text for `Heard.verdict`, and a boot of hex digits.
    "struct": Codec(pack_message, unpack_command, partial(_about, unpack), pack, unpack, unpack)
}
