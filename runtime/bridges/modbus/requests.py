"""A Modbus TCP client of the smallest kind, for the simulated PLC and for tests.

It shares no code with the server's library, so that neither hides the other's mistakes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Sequence

from kenpin.config.bridges import ModbusSettings

__all__ = ["MOST_READ", "ModbusError", "Requests", "stall"]

# Of one request, by the protocol.
MOST_READ = 125
_HEAD = struct.Struct(">HHHB")
_READ, _WRITE = 3, 16
_MANY = 10_000


class ModbusError(OSError):
    """The server refused, or its answer makes no sense."""


class Requests:
    """One connection: a request, its answer, the next.

    Raises
    ------
    OSError
        From the constructor and every method, if nobody answers within `timeout_s` seconds.
    """

    def __init__(self, address: str, port: int, timeout_s: float = 0.3) -> None:
        self._socket = socket.create_connection((address, port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0

    def read(self, address: int, count: int) -> list[int]:
        """The words of holding registers."""
        body = self._ask(struct.pack(">BHH", _READ, address, count))
        if len(body) != 2 + 2 * count or body[1] != 2 * count:
            raise ModbusError(f"{len(body)} bytes came for {count} registers")
        return list(struct.unpack(f">{count}H", body[2:]))

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write holding registers."""
        count = len(words)
        head = struct.pack(">BHHB", _WRITE, address, count, 2 * count)
        self._ask(head + struct.pack(f">{count}H", *words))

    def _ask(self, pdu: bytes) -> bytes:
        self._number = (self._number + 1) % 0x10000
        self._socket.sendall(_HEAD.pack(self._number, 0, len(pdu) + 1, 1) + pdu)
        number, protocol, length, _unit = _HEAD.unpack(self._exactly(_HEAD.size))
        body = self._exactly(length - 1)
        if (number, protocol) != (self._number, 0):
            raise ModbusError(f"answer {number} to request {self._number}")
        if body[0] != pdu[0]:
            raise ModbusError(f"function {pdu[0]} was refused with code {body[1]}")
        return body

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            more = self._socket.recv(count - len(found))
            if not more:
                raise ModbusError("the server has hung up")
            found += more
        return found

    def close(self) -> None:
        """Let go."""
        self._socket.close()


def stall(settings: ModbusSettings) -> Callable[[], None]:
    """Somebody who asks for as much as finds room, and never reads an answer; what ends him."""
    deaf = socket.create_connection((settings.address, settings.port), 1)
    deaf.setblocking(False)
    ask = _HEAD.pack(1, 0, 6, 1) + struct.pack(">BHH", _READ, 100, MOST_READ)
    with contextlib.suppress(BlockingIOError, ConnectionError):
        for _ in range(_MANY):
            deaf.send(ask)
    return deaf.close
