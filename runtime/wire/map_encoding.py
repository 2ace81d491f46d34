"""Messages as bytes, msgpack or JSON, 64 KiB at most. The third way: `struct_encoding.py`.

Verdicts and states are in `verdict_messages.py` and can be imported from here, whatever
else a line says is in `line_messages.py`, what clients command in `commands.py`.
`tests/vectors/` holds messages with their bytes, good and bad, for whoever writes
a reader in another language; `schemas.py` prints the JSON Schema of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

import msgpack
from pydantic import BaseModel, ValidationError

from kenpin.config.text import brief
from kenpin.runtime.wire.commands import COMMANDS, Command
from kenpin.runtime.wire.errors import WireError, explain, explain_command
from kenpin.runtime.wire.field_types import Frozen
from kenpin.runtime.wire.line_messages import PUBLISHED, REPLIES
from kenpin.runtime.wire.verdict_messages import (
    MAX_DETAIL_CHARS,
    MAX_NAME_CHARS,
    AcquisitionClock,
    ClockSync,
    Counts,
    Identity,
    Message,
    State,
    StateMessage,
    VerdictMessage,
    topic,
    verdict_message,
)

__all__ = [
    "MAX_COMMAND_BYTES",
    "MAX_DETAIL_CHARS",
    "MAX_MESSAGE_BYTES",
    "MAX_NAME_CHARS",
    "AcquisitionClock",
    "ClockSync",
    "Counts",
    "Encoding",
    "Identity",
    "Message",
    "State",
    "StateMessage",
    "VerdictMessage",
    "WireError",
    "command_fields",
    "decode",
    "decode_any",
    "decode_command",
    "encode",
    "message_fields",
    "pack_fields",
    "topic",
    "verdict_message",
]

# 64 KiB of empty msgpack arrays take 5 ms to unpack, 1 MB of them 171 ms: the cap bounds what a
# stranger can cost a reader.
MAX_MESSAGE_BYTES = 64 * 1024
# The longest command, a trigger whose every character is escaped, has 4.7 KiB.
MAX_COMMAND_BYTES = 8 * 1024

_MODELS: Mapping[str, type[VerdictMessage] | type[StateMessage]] = {
    "verdict": VerdictMessage,
    "state": StateMessage,
}
_ALL: Mapping[str, type[Frozen]] = {**PUBLISHED, **REPLIES}


class Encoding(StrEnum):
    """How a message becomes bytes; both say exactly the same."""

    MSGPACK = "msgpack"
    JSON = "json"


def encode(message: BaseModel, encoding: Encoding) -> bytes:
    """The bytes of a message: a msgpack or JSON map, keys in the order of the schema.

    Raises
    ------
    WireError
        If they are more than MAX_MESSAGE_BYTES.
    """
    if encoding is Encoding.JSON:
        payload = message.model_dump_json().encode()
    else:
        payload = cast(bytes, msgpack.packb(message.model_dump(mode="json")))
    if len(payload) > MAX_MESSAGE_BYTES:
        kind = getattr(message, "type", type(message).__name__)
        raise WireError(
            f"a {kind} message of {len(payload)} bytes, at most {MAX_MESSAGE_BYTES} "
            "are allowed; shorten lat_us or the reasons"
        )
    return payload


def decode(payload: bytes, encoding: Encoding) -> Message:
    """The verdict or state in the bytes of a stranger. Keys it does not know are ignored.

    Raises
    ------
    WireError
        If the payload is too long, is not one map of plain values with unique
        string keys, is of another version or type, or breaks the schema.
    """
    return cast(Message, _read(payload, encoding, _MODELS))


def decode_any(payload: bytes, encoding: Encoding) -> Frozen:
    """Anything that a line says, as `decode`."""
    return _read(payload, encoding, _ALL)


def decode_command(payload: bytes, encoding: Encoding) -> Command:
    """The command of a client. Keys it does not know are refused.

    Raises
    ------
    WireError
        As `decode`.
    """
    plain, fields = _plain(payload, encoding, MAX_COMMAND_BYTES)
    _check_version(fields)
    try:
        return COMMANDS.validate_json(plain)
    except ValidationError as error:
        raise WireError(explain_command(error)) from error


def command_fields(payload: bytes, encoding: Encoding) -> Mapping[str, object]:
    """The map in a client's bytes, whatever it says.

    Raises
    ------
    WireError
        If there is none, or it is too long.
    """
    return _plain(payload, encoding, MAX_COMMAND_BYTES)[1]


def message_fields(payload: bytes, encoding: Encoding) -> dict[str, Any]:
    """The map in a line's bytes, whatever it says.

    Raises
    ------
    WireError
        If there is none, or it is too long.
    """
    return _plain(payload, encoding)[1]


def pack_fields(fields: Mapping[str, Any], encoding: Encoding) -> bytes:
    """The bytes of a map, whatever it says: a command, or what a line must refuse."""
    if encoding is Encoding.JSON:
        return json.dumps(fields).encode()
    return cast(bytes, msgpack.packb(fields))


def _read(payload: bytes, encoding: Encoding, models: Mapping[str, type[Frozen]]) -> Frozen:
    plain, fields = _plain(payload, encoding)
    _check_version(fields)
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in models:
        raise WireError(f"found type {brief(kind)}, expected one of {', '.join(models)}")
    try:
        return models[kind].model_validate_json(plain)
    except ValidationError as error:
        raise WireError(f"{kind} message breaks its schema: {explain(error)}") from error


def _check_version(fields: Mapping[str, object]) -> None:
    version = fields.get("v")
    if type(version) is not int or version != 1:
        raise WireError(f"found v {brief(version)}, this reader knows v 1; update the reader")


def _plain(
    payload: bytes, encoding: Encoding, limit: int = MAX_MESSAGE_BYTES
) -> tuple[str, dict[str, Any]]:
    """The map in the payload, as JSON and as it was read."""
    if len(payload) > limit:
        raise WireError(f"{len(payload)} bytes, at most {limit} are allowed")
    try:
        fields = _unpack(payload) if encoding is Encoding.MSGPACK else _parse(payload)
        # One validation for both encodings: JSON's. It also finds what msgpack can
        # say and JSON cannot, at any depth: NaN, bytes, timestamps, extension types.
        plain = json.dumps(fields, allow_nan=False)
    except WireError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        # msgpack's complaint about deep nesting has a name but no words.
        why = str(error) or type(error).__name__
        raise WireError(f"not a {encoding} map of plain values: {why}") from error
    if not isinstance(fields, dict):
        raise WireError(f"found {type(fields).__name__}, expected a map")
    return plain, fields


def _unpack(payload: bytes) -> object:
    fields: object = msgpack.unpackb(
        payload, raw=False, strict_map_key=True, object_pairs_hook=_unique
    )
    return fields


def _parse(payload: bytes) -> object:
    # Decoded here because json.loads would also accept UTF-16 and UTF-32.
    fields: object = json.loads(payload.decode("utf-8"), object_pairs_hook=_unique)
    return fields


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    # Of two `verdict` keys one reader would take the first, another the last.
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise WireError("a key occurs twice; send each once")
    return fields
