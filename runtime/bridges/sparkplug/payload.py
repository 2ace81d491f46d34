"""Sparkplug B's payloads as bytes: the part of the published protobuf that is used here. Pure.

Field numbers and data types are those of `sparkplug_b.proto`, which the Eclipse Foundation
publishes; the wire format is protobuf's. Properties and metadata are stepped over, DataSets and
Templates refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Metric", "MetricType", "Payload", "PayloadError", "decode", "encode", "signed"]

Value = bool | int | float | str | bytes | None
_U64 = (1 << 64) - 1
_U32 = (1 << 32) - 1
_MOST_VARINT_BYTES = 10

# protobuf's wire types
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class PayloadError(ValueError):
    """Bytes that are no payload, or one that says what is not read here."""


class MetricType(IntEnum):
    """Those of the specification's data types that are used; the numbers are its own."""

    INT32 = 3
    INT64 = 4
    UINT64 = 8
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14


@dataclass(frozen=True, slots=True)
class Metric:
    """One value under its name.

    timestamp   ms since 1970 UTC
    datatype    as it is encoded; None where a reader was not told
    value       None: null
    historical  it was, and is no more: nobody's present value
    """

    name: str
    value: Value = None
    datatype: MetricType | None = None
    timestamp: int | None = None
    historical: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """What one message says.

    timestamp  ms since 1970 UTC, when it was sent
    seq        0 to 255; None in NDEATH and in commands
    """

    metrics: tuple[Metric, ...] = ()
    timestamp: int | None = None
    seq: int | None = None


# -- to bytes ------------------------------------------------------------------------------------


def encode(payload: Payload, *, with_types: bool) -> bytes:
    """The payload's bytes.

    with_types  each metric tells its data type, as births must, and data should not

    Raises
    ------
    PayloadError
        If a value is none of its type.
    """
    out = bytearray()
    if payload.timestamp is not None:
        out += _number(1, payload.timestamp)
    for metric in payload.metrics:
        out += _bytes(2, _metric(metric, with_types=with_types))
    if payload.seq is not None:
        out += _number(3, payload.seq)
    return bytes(out)


def _metric(metric: Metric, *, with_types: bool) -> bytes:
    out = bytearray(_bytes(1, metric.name.encode()))
    if metric.timestamp is not None:
        out += _number(3, metric.timestamp)
    if with_types and metric.datatype is not None:
        out += _number(4, metric.datatype)
    if metric.historical:
        out += _number(5, 1)
    if metric.value is None:
        return bytes(out + _number(7, 1))
    return bytes(out + _value(metric))


def _value(metric: Metric) -> bytes:
    value, kind = metric.value, metric.datatype
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is MetricType.BOOLEAN and isinstance(value, bool):
        return _number(14, int(value))
    if kind is MetricType.INT32 and whole:
        return _number(10, int(value) & _U32)  # type: ignore[arg-type]
    if kind in (MetricType.INT64, MetricType.UINT64, MetricType.DATETIME) and whole:
        return _number(11, int(value) & _U64)  # type: ignore[arg-type]
    if kind is MetricType.DOUBLE and isinstance(value, int | float):
        return _varint(13 << 3 | _FIXED64) + struct.pack("<d", value)
    if kind in (MetricType.STRING, MetricType.TEXT) and isinstance(value, str):
        return _bytes(15, value.encode())
    raise PayloadError(f"{metric.name}: {value!r} is no {kind.name if kind else 'value'}")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


# -- from bytes ----------------------------------------------------------------------------------


def decode(data: bytes) -> Payload:
    """What the bytes say. Fields that are not known here are stepped over, as protobuf asks.

    A negative number is known for one where its metric tells the type, as births do; elsewhere
    whoever knows the type calls `signed`.

    Raises
    ------
    PayloadError
        If they are no payload.
    """
    metrics, timestamp, seq = [], None, None
    for field, wire, found in _fields(data):
        if field == 1:
            timestamp = _whole(found, wire, "timestamp")
        elif field == 2:
            metrics.append(_read_metric(_content(found, wire, "metrics")))
        elif field == 3:
            seq = _whole(found, wire, "seq")
    return Payload(tuple(metrics), timestamp, seq)


def _read_metric(data: bytes) -> Metric:
    name, value, datatype, timestamp = "", None, None, None
    historical = null = False
    for field, wire, found in _fields(data):
        if field == 1:
            name = _text(found, wire, "name")
        elif field == 3:
            timestamp = _whole(found, wire, "timestamp")
        elif field == 4:
            datatype = _datatype(_whole(found, wire, "datatype"))
        elif field == 5:
            historical = bool(_whole(found, wire, "is_historical"))
        elif field == 7:
            null = bool(_whole(found, wire, "is_null"))
        elif 10 <= field <= 19:
            value = _VALUES[field](found, wire, "value")
    value = None if null else signed(value, datatype)
    return Metric(name, value, datatype, timestamp, historical)


def signed(value: Value, datatype: MetricType | None) -> Value:
    """A number as its type means it: protobuf has them all without a sign."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    for kind, bits in ((MetricType.INT32, 32), (MetricType.INT64, 64)):
        if datatype is kind and value >> (bits - 1):
            return value - (1 << bits)
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Each field's number, its wire type, and its number or content."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        field, wire = key >> 3, key & 7
        if not 1 <= field < 1 << 29:
            raise PayloadError(f"a field has the number {field}, which there is not")
        if wire == _VARINT:
            number, at = _read_varint(data, at)
            yield field, wire, number
            continue
        if wire == _BYTES:
            size, at = _read_varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise PayloadError(f"wire type {wire} is not used by Sparkplug B")
        if size > len(data) - at:
            raise PayloadError(f"field {field} has {size} bytes, only {len(data) - at} are left")
        yield field, wire, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(data[at : at + _MOST_VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number & _U64, at + place + 1
    raise PayloadError("a number does not end")


def _whole(found: int | bytes, wire: int, what: str) -> int:
    if wire != _VARINT or not isinstance(found, int):
        raise PayloadError(f"{what}: found wire type {wire}, expected a number")
    return found


def _content(found: int | bytes, wire: int, what: str) -> bytes:
    if wire != _BYTES or not isinstance(found, bytes):
        raise PayloadError(f"{what}: found wire type {wire}, expected a length and its bytes")
    return found


def _text(found: int | bytes, wire: int, what: str) -> str:
    try:
        return _content(found, wire, what).decode()
    except UnicodeDecodeError:
        raise PayloadError(f"{what}: expected UTF-8") from None


def _boolean(found: int | bytes, wire: int, what: str) -> bool:
    return bool(_whole(found, wire, what))


def _uint32(found: int | bytes, wire: int, what: str) -> int:
    return _whole(found, wire, what) & _U32


def _floating(fixed: int, code: str) -> Callable[[int | bytes, int, str], float]:
    def read(found: int | bytes, wire: int, what: str) -> float:
        if wire != fixed or not isinstance(found, bytes):
            raise PayloadError(f"{what}: found wire type {wire}, expected {fixed}")
        number: float = struct.unpack(code, found)[0]
        return number

    return read


def _refused(_found: int | bytes, _wire: int, what: str) -> Value:
    raise PayloadError(f"{what}: a DataSet, Template or extension, which is not read here")


def _datatype(number: int) -> MetricType | None:
    return _DATATYPES.get(number)


_DATATYPES = {int(kind): kind for kind in MetricType}
_VALUES: dict[int, Callable[[int | bytes, int, str], Value]] = {
    10: _uint32,
    11: _whole,
    12: _floating(_FIXED32, "<f"),
    13: _floating(_FIXED64, "<d"),
    14: _boolean,
    15: _text,
    16: _content,
    17: _refused,
    18: _refused,
    19: _refused,
}
