"""The named weights in an ONNX file, without ONNX: its container is plain protobuf."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["initializers"]

# Numbers of fields and of types in onnx.proto3.
GRAPH, INITIALIZER = 7, 5
DIMS, TYPE, FLOAT_DATA, NAME, RAW_DATA, LOCATION = 1, 2, 4, 8, 9, 14
EXTERNAL = 1
DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Value = int | memoryview


def initializers(raw: bytes) -> dict[str, NDArray[np.float32]]:
    """All weights in floating point, by name; others, such as shapes, are left out.

    Raises
    ------
    ValueError
        If it is no ONNX file, or weights lie in another file beside it.

    References
    ----------
    onnx.proto3; protobuf's encoding of messages.
    """
    found = {}
    for number, graph in _fields(memoryview(raw)):
        if number != GRAPH or isinstance(graph, int):
            continue
        for inner, tensor in _fields(graph):
            if inner == INITIALIZER and not isinstance(tensor, int):
                name, values = _tensor(tensor)
                if values is not None:
                    found[name] = values
    if not found:
        raise ValueError("no ONNX file, or one without weights")
    return found


def _tensor(raw: memoryview) -> tuple[str, NDArray[np.float32] | None]:
    name, kind, dims = "", 0, list[int]()
    data: memoryview | None = None
    listed: list[memoryview] = []
    for number, value in _fields(raw):
        if isinstance(value, int):
            if number == DIMS:
                dims.append(value)
            elif number == TYPE:
                kind = value
            elif number == LOCATION and value == EXTERNAL:
                raise ValueError("its weights lie in another file beside it; export them inside")
        elif number == DIMS:
            dims += _packed(value)
        elif number == NAME:
            name = bytes(value).decode()
        elif number == RAW_DATA:
            data = value
        elif number == FLOAT_DATA:
            listed.append(value)
    if kind not in DTYPES:
        return name, None
    whole = b"".join(listed) if data is None else data
    return name, np.frombuffer(whole, DTYPES[kind]).astype(np.float32).reshape(dims)


def _fields(raw: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == VARINT:
            value: Value
            value, at = _varint(raw, at)
        elif kind in (FIXED64, FIXED32, BYTES):
            size = {FIXED64: 8, FIXED32: 4}.get(kind)
            if size is None:
                size, at = _varint(raw, at)
            if at + size > len(raw):
                raise ValueError("no ONNX file, or one that was cut off")
            value, at = raw[at : at + size], at + size
        else:
            raise ValueError("no ONNX file")
        yield tag >> 3, value


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next field begins."""
    value = 0
    for place in range(10):
        if at + place >= len(raw):
            break
        byte = raw[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("no ONNX file, or one that was cut off")


def _packed(raw: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(raw):
        number, at = _varint(raw, at)
        numbers.append(number)
    return numbers
