"""Messages as bytes: msgpack or JSON, never more than 64 KiB, and their schema.

The messages themselves are in `messages.py` and can be imported from here. The
schemas in `docs/wire/` are printed by

    python -m kenpin.runtime.wire verdict > docs/wire/verdict.v1.schema.json
    python -m kenpin.runtime.wire state > docs/wire/state.v1.schema.json

and `tests/vectors/wire.json` holds messages with their bytes, good and bad, for
whoever writes a reader in another language.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

import msgpack
from pydantic import ValidationError

from kenpin.runtime.messages import (
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
    WireError,
    brief,
    explain,
    topic,
    verdict_message,
)

__all__ = [
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
    "decode",
    "encode",
    "json_schema",
    "plain_map",
    "topic",
    "verdict_message",
]

# 64 KiB of empty msgpack arrays take 5 ms to unpack, 1 MB of them 171 ms
# (notes/operations.md §3.4): the cap bounds what a stranger can cost a reader.
MAX_MESSAGE_BYTES = 64 * 1024

_MODELS: Mapping[str, type[VerdictMessage] | type[StateMessage]] = {
    "verdict": VerdictMessage,
    "state": StateMessage,
}


class Encoding(StrEnum):
    """How a message becomes bytes; both say exactly the same."""

    MSGPACK = "msgpack"
    JSON = "json"


def encode(message: Message, encoding: Encoding) -> bytes:
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
        raise WireError(
            f"a {message.type} message of {len(payload)} bytes, at most {MAX_MESSAGE_BYTES} "
            "are allowed; shorten lat_us or the reasons"
        )
    return payload


def decode(payload: bytes, encoding: Encoding) -> Message:
    """The message in the bytes of a stranger. Keys it does not know are ignored.

    Raises
    ------
    WireError
        If the payload is too long, is not one map of plain values with unique
        string keys, is of another version or type, or breaks the schema.
    """
    fields, plain = plain_map(payload, encoding)
    kind, version = fields.get("type"), fields.get("v")
    if type(version) is not int or version != 1:
        raise WireError(f"found v {brief(version)}, this reader knows v 1; update the reader")
    if not isinstance(kind, str) or kind not in _MODELS:
        raise WireError(f"found type {brief(kind)}, expected one of {', '.join(_MODELS)}")
    try:
        return _MODELS[kind].model_validate_json(plain)
    except ValidationError as error:
        raise WireError(f"{kind} message breaks its schema: {explain(error)}") from error


def plain_map(
    payload: bytes, encoding: Encoding, limit: int = MAX_MESSAGE_BYTES
) -> tuple[dict[str, Any], str]:
    """The map in the bytes of a stranger, and the same as JSON in plain ASCII.

    Raises
    ------
    WireError
        If the payload has more than `limit` bytes, or is not one map of plain
        values with unique string keys.
    """
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
    return fields, plain


def json_schema() -> dict[str, dict[str, Any]]:
    """JSON Schema (draft 2020-12) of each message type, by the type's name."""
    return {
        kind: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:kenpin:wire:{kind}:v1",
            # Serialisation, because every field is always sent.
            **model.model_json_schema(mode="serialization"),
        }
        for kind, model in _MODELS.items()
    }


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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema()[sys.argv[1]], indent=2, ensure_ascii=False) + "\n")
