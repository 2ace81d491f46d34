from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from kenpin.runtime.judging.verdict import REASON_CODES, Outcome, Reason
from kenpin.runtime.wire.map_encoding import (
    MAX_DETAIL_CHARS,
    MAX_MESSAGE_BYTES,
    MAX_NAME_CHARS,
    Encoding,
    Message,
    VerdictMessage,
    WireError,
    decode,
    decode_command,
    encode,
    pack_fields,
    topic,
)
from kenpin.runtime.wire.schemas import json_schemas
from wire_samples import (
    NG_VERDICT,
    OK_VERDICT,
    identity,
    state_message,
    verdict_message,
    verdicts,
)

HERE = Path(__file__).parent
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (HERE / "vectors/wire.json").read_text(encoding="utf-8")
)
SCHEMAS = {kind: Draft202012Validator(schema) for kind, schema in json_schemas().items()}
BOTH = pytest.mark.parametrize("encoding", list(Encoding))


def payload(vector: dict[str, Any], encoding: Encoding) -> bytes:
    if encoding is Encoding.MSGPACK:
        return bytes.fromhex(vector["msgpack_hex"])
    return str(vector["json"]).encode()


def each(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", VECTORS[kind], ids=lambda v: v["what"])


@pytest.mark.parametrize("kind", list(json_schemas()))
def test_the_schema_on_disk_is_the_schema_of_the_code(kind: str) -> None:
    on_disk = HERE.parent / f"docs/wire/{kind}.v1.schema.json"
    assert json.loads(on_disk.read_text(encoding="utf-8")) == json_schemas()[kind]
    Draft202012Validator.check_schema(json_schemas()[kind])


def test_no_schema_lies_on_disk_that_the_code_does_not_know() -> None:
    on_disk = {path.name for path in (HERE.parent / "docs/wire").glob("*.schema.json")}
    assert on_disk == {f"{kind}.v1.schema.json" for kind in json_schemas()}


@BOTH
@each("canonical")
def test_a_canonical_vector_reads_as_its_message_and_writes_the_same_bytes(
    vector: dict[str, Any], encoding: Encoding
) -> None:
    message = decode(payload(vector, encoding), encoding)
    assert message.model_dump(mode="json") == vector["message"]
    assert encode(message, encoding) == payload(vector, encoding)


@each("canonical")
def test_a_canonical_vector_obeys_its_schema(vector: dict[str, Any]) -> None:
    SCHEMAS[vector["message"]["type"]].validate(vector["message"])


@BOTH
@each("tolerated")
def test_a_tolerated_vector_reads_as_the_canonical_one(
    vector: dict[str, Any], encoding: Encoding
) -> None:
    canonical = VECTORS["canonical"][vector["reads_as"]]
    message = decode(payload(vector, encoding), encoding)
    assert message.model_dump(mode="json") == canonical["message"]


@BOTH
@each("refused")
def test_a_refused_vector_is_refused(vector: dict[str, Any], encoding: Encoding) -> None:
    with pytest.raises(WireError):
        decode(payload(vector, encoding), encoding)


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS["refused"] if vector["schema"] is not None],
    ids=lambda v: v["what"],
)
def test_the_schema_refuses_what_a_vector_says_it_does(vector: dict[str, Any]) -> None:
    fields = json.loads(vector["json"])
    assert SCHEMAS.get(fields["type"], SCHEMAS["verdict"]).is_valid(fields) is not vector["schema"]


@BOTH
@given(verdict=verdicts(), seq=st.integers(1, 2**64 - 1))
def test_every_verdict_can_be_sent_and_comes_back_the_same(encoding, verdict, seq) -> None:
    message = verdict_message(seq, verdict)
    assert decode(encode(message, encoding), encoding) == message
    SCHEMAS["verdict"].validate(message.model_dump(mode="json"))
    assert message.verdict is verdict.outcome


@BOTH
@given(payload=st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_a_wire_error(encoding, payload) -> None:
    with pytest.raises(WireError):
        decode(payload, encoding)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**64 - 1) | st.text()
    | st.binary() | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(), inner),
    max_leaves=10,
)  # fmt: skip


@given(name=st.sampled_from(sorted(VerdictMessage.model_fields)), value=_VALUES)
def test_any_value_in_any_field_is_read_or_raises_a_wire_error(name, value) -> None:
    fields = verdict_message().model_dump(mode="json") | {name: value}
    read_or_refuse(msgpack.packb(fields), Encoding.MSGPACK)


@BOTH
@given(data=st.data())
def test_a_damaged_message_is_read_or_raises_a_wire_error(encoding, data) -> None:
    intact = encode(verdict_message(), encoding)
    at = data.draw(st.integers(0, len(intact) - 1))
    read_or_refuse(intact[:at] + data.draw(st.binary(max_size=3)) + intact[at + 1 :], encoding)


def read_or_refuse(payload: bytes, encoding: Encoding) -> None:
    try:
        message = decode(payload, encoding)
    except WireError:
        return
    assert isinstance(message, Message)


@pytest.mark.parametrize(
    ("payload", "encoding"),
    [
        (b"\x91" * MAX_MESSAGE_BYTES, Encoding.MSGPACK),
        (b"[" * MAX_MESSAGE_BYTES, Encoding.JSON),
        (b'{"a":' * 9000, Encoding.JSON),
        (b"\xdf\xff\xff\xff\xff", Encoding.MSGPACK),
        (b"9" * 9000, Encoding.JSON),
        (verdict_message().model_dump_json().encode("utf-16"), Encoding.JSON),
    ],
    ids=["nested msgpack", "nested lists", "nested maps", "bomb", "long number", "utf-16"],
)
def test_a_hostile_payload_raises_a_wire_error(payload: bytes, encoding: Encoding) -> None:
    with pytest.raises(WireError):
        decode(payload, encoding)


@pytest.mark.parametrize(
    "value",
    [
        msgpack.Timestamp(1, 0),
        msgpack.ExtType(5, b"x"),
        b"bytes",
        math.nan,
        {b"k": 1},
        {1: "k"},
    ],
)
def test_what_json_cannot_say_is_refused_even_in_a_key_that_is_not_known(value: object) -> None:
    fields = verdict_message().model_dump(mode="json") | {"lanes": [value]}
    with pytest.raises(WireError):
        decode(msgpack.packb(fields), Encoding.MSGPACK)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"v": 2}, "found v 2, this reader knows v 1; update the reader"),
        ({"v": True}, "found v True"),
        ({"type": "hb"}, "found type 'hb', expected one of verdict, state"),
        ({"type": ["verdict"]}, "found type"),
        ({"seq": "1"}, r"seq: Input should be a valid integer \(found '1'\)"),
        ({"lat_us": {"x" * 9000: -1}}, r"lat_us\.x{73}: Input"),
    ],
    ids=["version", "true", "type", "list", "field", "long key"],
)
def test_a_refusal_says_what_was_found_and_stays_short(
    change: dict[str, Any], complaint: str
) -> None:
    fields = verdict_message().model_dump(mode="json") | change
    with pytest.raises(WireError, match=complaint) as refused:
        decode(json.dumps(fields).encode(), Encoding.JSON)
    assert len(str(refused.value)) < 500


@BOTH
def test_a_long_payload_is_refused_before_it_is_read(encoding: Encoding) -> None:
    with pytest.raises(WireError, match="65537 bytes, at most 65536"):
        decode(b"\xff" * (MAX_MESSAGE_BYTES + 1), encoding)


@BOTH
def test_a_long_message_is_not_sent(encoding: Encoding) -> None:
    stages = {f"stage_{number:05}": 1 for number in range(6000)}
    message = verdict_message(verdict=replace(OK_VERDICT, stages_us=stages))
    with pytest.raises(WireError, match="at most 65536"):
        encode(message, encoding)


def test_a_long_text_is_cut_and_does_not_void_the_verdict() -> None:
    verdict = replace(
        NG_VERDICT, detail="begin" + "x" * 100_000, frame_name="d/" * 100_000 + "1.png"
    )
    message = verdict_message(verdict=verdict)
    assert len(message.detail) == MAX_DETAIL_CHARS
    assert message.detail.startswith("begin")
    assert message.detail.endswith("…")
    assert len(message.name) == MAX_NAME_CHARS
    assert message.name.startswith("…")
    assert message.name.endswith("/1.png")


def test_a_text_of_just_the_allowed_length_is_left_alone() -> None:
    detail = "x" * MAX_DETAIL_CHARS
    assert verdict_message(verdict=replace(NG_VERDICT, detail=detail)).detail == detail


def test_a_file_name_that_is_not_utf8_does_not_void_the_verdict() -> None:
    verdict = replace(OK_VERDICT, frame_name=b"web\xff.png".decode("utf-8", "surrogateescape"))
    assert verdict_message(verdict=verdict).name == "web\\udcff.png"


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, None])
def test_a_score_that_is_not_finite_becomes_null(score: float | None) -> None:
    verdict = replace(NG_VERDICT, reason=Reason.NONFINITE, score=score)
    assert verdict_message(verdict=verdict).score is None


def test_numbers_from_numpy_do_not_void_the_verdict() -> None:
    # A map's peak and score come out of numpy, whose integers are not Python's.
    peak: Any = (np.int64(17), np.int64(3))
    score: Any = np.float32(0.25)
    assert verdict_message(verdict=replace(OK_VERDICT, peak_xy=peak, score=score)).peak == (17, 3)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_travels_with_its_code_and_its_flag(reason: Reason) -> None:
    message = verdict_message(verdict=replace(NG_VERDICT, reason=reason))
    assert (message.verdict, message.reason) == (Outcome.NG, reason.value)
    assert message.code == REASON_CODES[reason] > 0
    assert message.unsure is (reason is Reason.UNSURE)
    assert message.late is (reason is Reason.LATE)
    assert message.partial is (reason is Reason.INCOMPLETE_FRAME)


@pytest.mark.parametrize(
    "change",
    [
        {"reason": Reason.DEFECT},
        {"score": 0.51},
        {"score": math.nan},
        {"score": None},
        {"thresholds": None},
    ],
    ids=str,
)
def test_an_ok_that_is_not_proven_is_not_sent(change: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="OK"):
        verdict_message(verdict=replace(OK_VERDICT, **change))


def test_an_ng_without_a_reason_is_not_sent() -> None:
    with pytest.raises(WireError, match="say why"):
        verdict_message(verdict=replace(NG_VERDICT, reason=None))


def test_the_total_is_measured_when_nobody_else_did() -> None:
    message = verdict_message(verdict=replace(OK_VERDICT, stages_us={"infer": 5}))
    assert message.lat_us == {"total": 18_200, "infer": 5}


def test_a_clock_that_ran_backwards_does_not_void_the_verdict() -> None:
    verdict = replace(OK_VERDICT, judged_ns=0, stages_us={"infer": -1})
    assert verdict_message(verdict=verdict).lat_us == {"total": 0, "infer": 0}


def test_a_frame_lost_before_any_bundle_is_answered_in_the_name_of_the_one_in_force() -> None:
    assert verdict_message(verdict=replace(NG_VERDICT, bundle="")).bundle == identity().bundle


@pytest.mark.parametrize("line", ["", "a/b", "web 1", "x" * 65, "web-1\n"])
def test_a_line_that_would_spoil_its_topic_is_refused(line: str) -> None:
    with pytest.raises(ValidationError, match="line"):
        identity(line=line)


def test_topics_carry_the_version_the_type_and_the_line() -> None:
    assert topic("verdict", "web-1") == "v1/verdict/web-1"
    assert topic("state", "web-1") == "v1/state/web-1"


@pytest.mark.parametrize("message", [verdict_message(), state_message()], ids=lambda m: m.type)
def test_a_message_cannot_be_edited(message: Message) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        message.line = "other"


@BOTH
def test_ids_that_never_come_again_are_not_kept_in_memory(encoding: Encoding) -> None:
    def read(start: int, count: int) -> None:
        for number in range(start, start + count):
            trig = f"part-{number:012d}"
            decode_command(
                pack_fields({"v": 1, "type": "trigger", "trig": trig}, encoding), encoding
            )
            told = verdict_message().model_copy(update={"trig": trig})
            decode(encode(told, encoding), encoding)

    read(0, 100)
    tracemalloc.start()
    try:
        read(100, 1500)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A cache of strings would hold 70 bytes of each.
    assert kept < 40_000
