"""Everything that a line says and a client commands, against committed bytes in each encoding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kenpin.runtime.wire.commands import COMMANDS
from kenpin.runtime.wire.encodings import CODECS
from kenpin.runtime.wire.line_messages import PUBLISHED, REPLIES
from kenpin.runtime.wire.map_encoding import Encoding, WireError, decode_any, decode_command
from kenpin.runtime.wire.schemas import json_schemas
from kenpin.runtime.wire.struct_encoding import pack, unpack, unpack_command
from kenpin.runtime.wire.struct_layouts import LAYOUTS
from vector_maker import read

HERE = Path(__file__).parent
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (HERE / "vectors/messages.json").read_text(encoding="utf-8")
)
BOTH = pytest.mark.parametrize("encoding", list(Encoding))
SCHEMAS = {kind: Draft202012Validator(schema) for kind, schema in json_schemas().items()}


def each(*groups: str) -> pytest.MarkDecorator:
    vectors = [vector for group in groups for vector in VECTORS[group]]
    return pytest.mark.parametrize("vector", vectors, ids=lambda v: v["what"])


def payload(vector: dict[str, Any], encoding: Encoding) -> bytes:
    if encoding is Encoding.MSGPACK:
        return bytes.fromhex(vector["msgpack_hex"])
    return str(vector["json"]).encode()


def test_there_is_a_vector_for_every_message() -> None:
    kinds = {v["message"]["type"] for group in ("told", "commanded") for v in VECTORS[group]}
    assert kinds == set(LAYOUTS)


def test_every_message_has_a_schema_and_a_struct_of_its_own_number() -> None:
    names = {kind.removeprefix("command.") for kind in json_schemas()}
    assert names == set(LAYOUTS)
    assert len({layout.number for layout in LAYOUTS.values()}) == len(LAYOUTS)


@BOTH
@each("told")
def test_what_a_line_says_reads_as_its_message_and_writes_the_same_bytes(vector, encoding) -> None:
    message = decode_any(payload(vector, encoding), encoding)
    assert message.model_dump(mode="json") == vector["message"]
    assert CODECS[encoding].write(message) == payload(vector, encoding)


@BOTH
@each("commanded")
def test_a_command_reads_as_its_message_and_writes_the_same_bytes(vector, encoding) -> None:
    command = decode_command(payload(vector, encoding), encoding)
    assert command.model_dump(mode="json") == vector["message"]
    assert CODECS[encoding].write(command) == payload(vector, encoding)


@each("told", "commanded")
def test_every_vector_obeys_its_schema(vector) -> None:
    kind = vector["message"]["type"]
    SCHEMAS.get(kind, SCHEMAS.get(f"command.{kind}")).validate(vector["message"])


@each("told", "commanded")
def test_every_struct_has_these_bytes_and_says_what_it_says(vector) -> None:
    packed = bytes.fromhex(vector["struct_hex"])
    assert pack(vector["message"]) == packed
    assert unpack(packed) == vector["struct_says"]


@each("commanded")
def test_a_command_survives_the_struct_whole(vector) -> None:
    command = unpack_command(bytes.fromhex(vector["struct_hex"]))
    assert command.model_dump(mode="json") == vector["message"]


@each("refused_structs")
def test_a_refused_struct_is_refused(vector) -> None:
    with pytest.raises(WireError):
        unpack(bytes.fromhex(vector["struct_hex"]))


@each("tolerated_structs")
def test_a_tolerated_struct_reads_as_the_message_it_names(vector) -> None:
    named = next(v for v in VECTORS["told"] if v["what"] == vector["reads_as"])
    assert unpack(bytes.fromhex(vector["struct_hex"])) == named["struct_says"]


@BOTH
@each("refused_commands")
def test_a_refused_command_is_refused(vector, encoding) -> None:
    with pytest.raises(WireError):
        decode_command(payload(vector, encoding), encoding)


@each("refused_commands")
def test_the_schemas_refuse_those_commands_too(vector) -> None:
    fields = json.loads(vector["json"] or "null")
    if vector["what"] != "a key twice":  # gone once it is parsed
        commands = [schema for kind, schema in SCHEMAS.items() if kind.startswith("command.")]
        assert not any(schema.is_valid(fields) for schema in commands)


def test_what_a_line_says_may_gain_keys_and_what_a_client_says_may_not() -> None:
    told = VECTORS["told"][11]["message"]
    assert read(told | {"disk_ok": True}) == read(told)
    with pytest.raises(ValueError, match="extra"):
        COMMANDS.validate_python({"v": 1, "type": "hello", "name": "plc"})


def test_the_models_cover_each_type_once() -> None:
    assert not set(PUBLISHED) & set(REPLIES)
