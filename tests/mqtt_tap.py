"""Between a client and its broker: every packet of the client is kept, and the way can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field

__all__ = ["Packet", "Session", "Tap"]

CONNECT, PUBLISH, SUBSCRIBE, DISCONNECT = 1, 3, 8, 14


@dataclass(frozen=True)
class Packet:
    """Of MQTT 3.1.1: what a client published, or subscribed to; `kind` is the protocol's number."""

    kind: int
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    clean: bool = False


@dataclass
class Session:
    """One connection's packets, in their order."""

    data: bytearray = field(default_factory=bytearray)

    def packets(self) -> list[Packet]:
        """Those of these kinds, whole ones only."""
        found, at = [], 0
        while at < len(self.data):
            size, shift, start = 0, 0, at + 1
            while start < len(self.data):
                byte = self.data[start]
                size |= (byte & 0x7F) << shift
                shift, start = shift + 7, start + 1
                if byte < 0x80:
                    break
            body = bytes(self.data[start : start + size])
            if len(body) < size:
                break
            found += _read(self.data[at], body)
            at = start + size
        return found


def _read(head: int, body: bytes) -> list[Packet]:
    kind = head >> 4
    if kind == PUBLISH:
        topic, rest = _taken(body)
        qos = head >> 1 & 3
        return [Packet(kind, topic.decode(), rest[2:] if qos else rest, qos, bool(head & 1))]
    if kind == SUBSCRIBE:
        topics, rest = [], body[2:]
        while rest:
            topic, rest = _taken(rest)
            topics.append(Packet(kind, topic.decode(), b"", rest[0]))
            rest = rest[1:]
        return topics
    if kind == CONNECT:
        _, rest = _taken(body)
        flags, rest = rest[1], rest[4:]
        _, rest = _taken(rest)
        topic, rest = _taken(rest)
        will, _ = _taken(rest)
        how = {"qos": flags >> 3 & 3, "retain": bool(flags & 0x20), "clean": bool(flags & 2)}
        return [Packet(kind, topic.decode() if flags & 4 else "", will, **how)]
    return [Packet(kind)] if kind == DISCONNECT else []


def _taken(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:2], "big")
    return data[2 : 2 + size], data[2 + size :]


class Tap:
    """Use it in a `with`; clients connect to `port`."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sessions: list[Session] = []
        self._open: list[socket.socket] = []

    def __enter__(self) -> Tap:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End what is connected, without a word."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
                session = Session()
                self.sessions.append(session)
                self._open += [client, broker]
                for pair in ((client, broker, session.data), (broker, client, bytearray())):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
