"""The encodings that a line can speak: what it says to bytes, and commands out of bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel

from kenpin.runtime.wire.commands import Command
from kenpin.runtime.wire.map_encoding import Encoding, decode_command, encode
from kenpin.runtime.wire.struct_encoding import pack_message, unpack_command

__all__ = ["CODECS", "Codec"]


@dataclass(frozen=True, slots=True)
class Codec:
    """One encoding.

    write    the bytes of a message; WireError if it is too long
    command  the command in a client's bytes; WireError if there is none
    """

    write: Callable[[BaseModel], bytes]
    command: Callable[[bytes], Command]


CODECS: Mapping[str, Codec] = {
    encoding.value: Codec(
        partial(encode, encoding=encoding), partial(decode_command, encoding=encoding)
    )
    for encoding in Encoding
} | {"struct": Codec(pack_message, unpack_command)}
