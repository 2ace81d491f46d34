"""Sparkplug without a broker: payloads against protobuf's own library, certificates, commands."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.config.bridge_sparkplug import SparkplugSettings
from kenpin.runtime.bridges.sparkplug.metrics import COMMANDS, METRICS, SAID, TO, metrics_of
from kenpin.runtime.bridges.sparkplug.node import REBIRTH, EdgeNode, asks_rebirth, commands_of
from kenpin.runtime.bridges.sparkplug.payload import (
    Metric,
    MetricType,
    Payload,
    PayloadError,
    decode,
    encode,
    signed,
)
from sparkplug_proto import payload_class
from wire_samples import verdict_message

THEIRS = payload_class()
U64 = st.integers(0, 2**64 - 1)
_VALUES: dict[MetricType, st.SearchStrategy[Any]] = {
    MetricType.INT32: st.integers(-(2**31), 2**31 - 1),
    MetricType.INT64: st.integers(-(2**63), 2**63 - 1),
    MetricType.UINT64: U64,
    MetricType.DOUBLE: st.floats(allow_nan=False),
    MetricType.BOOLEAN: st.booleans(),
    MetricType.STRING: st.text(),
    MetricType.DATETIME: U64,
    MetricType.TEXT: st.text(),
}
_WHERE = {
    MetricType.INT32: "int_value", MetricType.INT64: "long_value", MetricType.UINT64: "long_value",
    MetricType.DOUBLE: "double_value", MetricType.BOOLEAN: "boolean_value",
    MetricType.STRING: "string_value", MetricType.TEXT: "string_value",
    MetricType.DATETIME: "long_value",
}  # fmt: skip


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    datatype = draw(st.sampled_from(MetricType))
    value = draw(st.none() | _VALUES[datatype])
    stamp = draw(st.none() | U64)
    return Metric(draw(st.text()), value, datatype, stamp, draw(st.booleans()))


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    found = tuple(draw(st.lists(metrics(), max_size=4)))
    return Payload(found, draw(st.none() | U64), draw(st.none() | U64))


@given(payloads(), st.booleans())
def test_protobufs_own_library_reads_what_we_write(payload: Payload, typed: bool) -> None:
    theirs = THEIRS.FromString(encode(payload, with_types=typed))
    assert (theirs.timestamp if theirs.HasField("timestamp") else None) == payload.timestamp
    assert (theirs.seq if theirs.HasField("seq") else None) == payload.seq
    assert len(theirs.metrics) == len(payload.metrics)
    for found, metric in zip(theirs.metrics, payload.metrics, strict=True):
        assert found.name == metric.name
        assert (found.timestamp if found.HasField("timestamp") else None) == metric.timestamp
        assert found.is_historical == metric.historical
        assert found.HasField("datatype") == typed
        assert found.is_null == (metric.value is None)
        field = found.WhichOneof("value")
        assert metric.datatype is not None
        assert field == (None if metric.value is None else _WHERE[metric.datatype])
        if field is not None:
            assert signed(getattr(found, field), metric.datatype) == metric.value


@given(payloads())
def test_we_read_what_protobufs_own_library_writes(payload: Payload) -> None:
    theirs = THEIRS()
    for name in ("timestamp", "seq"):
        if getattr(payload, name) is not None:
            setattr(theirs, name, getattr(payload, name))
    for metric in payload.metrics:
        assert metric.datatype is not None
        one = theirs.metrics.add(name=metric.name, datatype=int(metric.datatype), alias=7)
        if metric.timestamp is not None:
            one.timestamp = metric.timestamp
        one.is_historical = metric.historical
        if metric.value is None:
            one.is_null = True
        else:
            bits = {"int_value": 32, "long_value": 64}.get(_WHERE[metric.datatype])
            value = metric.value
            value = value % (1 << bits) if bits and isinstance(value, int) else value
            setattr(one, _WHERE[metric.datatype], value)
    theirs.uuid = "what is not known here is stepped over"
    assert decode(theirs.SerializeToString()) == payload


@given(st.binary(max_size=300))
def test_whatever_bytes_come_are_a_payload_or_none(data: bytes) -> None:
    for read in (decode, asks_rebirth, commands_of):
        with contextlib.suppress(PayloadError):
            read(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x08", "does not end"),
        (b"\x08" + b"\xff" * 11, "does not end"),
        (b"\x12\x7f", "only 0 are left"),
        (b"\x0b", "wire type 3"),
        (b"\x00", "number 0"),
        (b"\x12\x03\x0a\x01\xff", "expected UTF-8"),
        (b"\x12\x03\x8a\x01\x00", "DataSet"),
        (b"\x0a\x00", "timestamp: found wire type 2"),
        (b"\x12\x02\x68\x01", "expected 1"),
    ],
)
def test_what_is_no_payload_is_refused_by_name(data: bytes, why: str) -> None:
    with pytest.raises(PayloadError, match=why):
        decode(data)


def test_a_value_of_another_type_is_not_written() -> None:
    for metric in (Metric("a", 1, MetricType.STRING), Metric("a", True, MetricType.INT32)):
        with pytest.raises(PayloadError, match="a: "):
            encode(Payload((metric,)), with_types=True)


# -- the node --------------------------------------------------------------------------------------


def verdict(**more: Any) -> dict[str, Any]:
    return verdict_message(17).model_dump(mode="json") | more


def test_numbers_go_from_0_to_255_and_begin_with_each_birth() -> None:
    node = EdgeNode("plant", "box", "line")
    node.will()
    node.connected()
    assert decode(node.birth(5)).seq == 0
    assert decode(node.device_birth(5)).seq == 1
    numbers = [decode(node.data(verdict(), 6, to_all=True)).seq for _ in range(300)]
    assert numbers == [number % 256 for number in range(2, 302)]
    assert decode(node.birth(7)).seq == 0
    assert not node.born


def test_each_session_has_a_number_that_its_will_names() -> None:
    node = EdgeNode("plant", "box", "line")
    seen = []
    for _ in range(258):
        will = decode(node.will())
        assert decode(node.will()) == will, "no session has begun under it"
        node.connected()
        birth = decode(node.birth(1))
        seen.append(will.metrics[0].value)
        assert (birth.metrics[0].name, birth.metrics[0].value) == ("bdSeq", seen[-1])
        assert decode(node.death()) == will
        assert will.seq is None
    assert seen == [number % 256 for number in range(258)]


def test_a_birth_tells_every_metric_and_no_verdict_again() -> None:
    node = EdgeNode("plant", "box", "line")
    node.note(verdict())
    node.note({"type": "hb", "hb_seq": 8, "last_seq": 17, "cam_ok": True})
    found = {metric.name: metric for metric in decode(node.device_birth(5)).metrics}
    assert {name: metric.datatype for name, metric in found.items()} == dict(METRICS)
    assert found["Line/Heartbeat"].value == 8
    assert all(found[name].value is None for name in METRICS if not name.startswith("Line/"))
    lower = [name.lower() for name in METRICS]
    assert len(lower) == len(set(lower))


def test_a_verdict_as_metrics_says_what_the_line_said() -> None:
    fields = verdict(verdict=2, reason="own", code=-7)
    metrics = metrics_of(fields, 0, to_all=True, historical=True)
    found = {
        metric.name: metric for metric in decode(encode(Payload(metrics), with_types=False)).metrics
    }
    assert signed(found["Verdict/Code"].value, METRICS["Verdict/Code"]) == -7
    assert found["Verdict/Outcome"].value == 2
    assert found["Verdict/Score"].value == fields["score"]
    assert found["Verdict/Seq"].timestamp == fields["t_wall_ns"] // 10**6
    assert json.loads(str(found[SAID].value)) == fields
    assert all(metric.historical for metric in found.values())
    told = metrics_of(fields, 0, to_all=False)
    assert {metric.name for metric in told} == {SAID, TO}, "a gate's host is told once"


def test_the_defects_of_a_part_and_of_a_webs_lines_are_counted() -> None:
    for fields, count in (
        (verdict(verdict=2, reason="defect", n_defects=3), 3),
        (verdict(verdict=2, reason="defect", web={"n_defects": 7}), 7),
        (verdict(), 0),
    ):
        told = {metric.name: metric.value for metric in metrics_of(fields, 0, to_all=True)}
        assert told["Verdict/Defects"] == count


def command(**written: Any) -> bytes:
    metrics = tuple(
        Metric(f"Command/{name}", value, METRICS[f"Command/{name}"])
        for name, value in written.items()
    )
    return encode(Payload(metrics, 1), with_types=False)


def test_a_host_commands_the_line() -> None:
    assert commands_of(command(Session="77")) == [("hello", {"session": "77"}, "")]
    trigger = command(Session="77", Trigger="p-1")
    assert commands_of(trigger) == [("trigger", {"trig": "p-1", "session": "77"}, "")]
    assert commands_of(command(Acknowledge=9)) == [("ack", {"seq": 9}, "")]
    assert commands_of(command(Prepare="b@0123456789ab"))[0][0] == "prepare"
    assert commands_of(command(Reset=True, Selftest=True)) == [
        ("reset", {}, ""), ("selftest", {}, ""),
    ]  # fmt: skip
    assert {kind for kind, _ in COMMANDS.values()} >= {"hello", "trigger", "ack"}


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (command(Trigger="p-1"), "without a session"),
        (command(Session="a b"), "session"),
        (command(Acknowledge=0), "seq"),
        (command(Reset=False), "write true"),
        (
            encode(Payload((Metric("Verdict/Outcome", 1, MetricType.INT32),)), with_types=True),
            "writ",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_reason(payload: bytes, why: str) -> None:
    ((_, fields, told),) = commands_of(payload)
    assert fields is None
    assert why in told


def test_only_true_asks_for_a_rebirth() -> None:
    for value, wanted in ((True, True), (False, False), (None, False)):
        metric = Metric(REBIRTH, value, MetricType.BOOLEAN)
        assert asks_rebirth(encode(Payload((metric,)), with_types=False)) is wanted
    with pytest.raises(PayloadError, match="at most 8192"):
        asks_rebirth(bytes(8193))


def test_ids_hold_none_of_what_topics_are_made_of() -> None:
    for text in ("a/b", "a+", "#", "a b"):
        with pytest.raises(ValueError, match="pattern"):
            SparkplugSettings.model_validate({"kind": "sparkplug", "group": text})
    assert SparkplugSettings(kind="sparkplug").node_of("box-7", "web-1") == "box-7-web-1"
    assert EdgeNode("g", "n", "d").topic("DDATA") == "spBv1.0/g/DDATA/n/d"
    assert EdgeNode("g", "n", "d").topic("NCMD") == "spBv1.0/g/NCMD/n"
