"""What asyncua reads from strangers, bounded: a few bytes must not fill the memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary

__all__ = ["bound_decoding"]

_READ = Buffer.read


def _forward(data: Buffer, size: int) -> bytes:
    """The next bytes.

    asyncua goes back by a length below zero: so an element of an array takes no bytes at all, and
    the array may hold 2 ** 31 - 1 of them.

    Raises
    ------
    UaError
        If the length is below zero.
    """
    if size < 0:
        raise ua.UaError(f"a text or an array of {size} bytes")
    found: bytes = _READ(data, size)
    return found


class _NothingMany:
    """Arrays of null, which have no bytes: six of them would make a list of 2 ** 31 - 1."""

    @staticmethod
    def pack_array(_array: Sequence[None] | None) -> bytes:
        """No array."""
        return b"\xff\xff\xff\xff"

    @staticmethod
    def unpack_array(_data: Any, length: int) -> list[None]:
        """An empty one.

        Raises
        ------
        UaError
            If it is said to hold anything.
        """
        if length > 0:
            raise ua.UaError(f"an array of {length} nulls; an element has at least a byte")
        return []


def _flat(array: Any, dimensions: Sequence[int] | None) -> Any:
    """An array of one dimension: no method of ours takes more.

    asyncua fills up whatever is missing to a million of lists, for each variant of some 20 bytes.

    Raises
    ------
    UaError
        If it has more, or says that it is longer than it is.
    """
    if not isinstance(array, list | tuple) or list(dimensions or ()) != [len(array)]:
        raise ua.UaError("only arrays of one dimension, of the length that they have, are taken")
    return array


def bound_decoding() -> None:
    """For everything that this process reads from now on."""
    Buffer.read = _forward
    ua_binary.Primitives1.Null = _NothingMany
    ua_binary._reshape = _flat
    # They may have been asked before.
    for made in ("_create_uatype_array_deserializer", "create_uatype_array_serializer"):
        getattr(ua_binary, made).cache_clear()
