"""Access to a line's sockets: who may come in, and who was turned away.

Every TCP socket is locked with CURVE where the line has keys. libzmq asks for
each new connection whether its key is admitted (ZAP, ZeroMQ RFC 27), and tells
of every failed handshake (socket monitor). Both arrive on sockets of their own,
so the poll loop of their owner answers them; nothing here waits.
"""

from __future__ import annotations

import os
import socket as sockets
import stat
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from kenpin.runtime.wire.allow_list import AllowList
from kenpin.runtime.wire.endpoints import EndpointError, check_endpoint, ipc_path, is_local
from kenpin.runtime.wire.keys import Admitted, LineKeys, read_line

__all__ = ["AccessControl", "Connection"]

_ZAP = "inproc://zeromq.zap.01"
_DOMAIN = b"kenpin"
# A client that does not come to an end with its greeting gives its place away.
_HANDSHAKE_MS = 5000
# What one call may take on; the rest waits for the next.
_REQUESTS_PER_CALL = 32
_EVENTS_PER_CALL = 200
_NOTE_NS = 10_000_000_000
# So long is a caller without a valid key complained of.
_FORGIVEN_NS = 60_000_000_000

_FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_COMINGS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
_WHY: dict[int, str] = {
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "came without keys, or with keys where none are",
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "holds another public key of this line",
}


@dataclass(slots=True, eq=False)
class Connection:
    """One connection to one of the sockets, from its making to its end.

    number  libzmq's, which a later one may have again
    ended   the other side has gone, or no longer answers
    label   where it comes from; empty before anything came over it
    key     the public key that it showed; empty without keys
    """

    number: int
    ended: bool = False
    label: str = ""
    key: str = ""


class AccessControl:
    """The context of a line's sockets, and the lock of each.

    keys       folder of the line's keys; None: nobody is asked, local addresses only
    ipc_group  the files of ipc sockets have mode 660 instead of 600

    Use it from one thread; close it, which closes every socket of its context.

    Raises
    ------
    KeysError
        If there are no keys, or others could read or change them.
    """

    def __init__(
        self,
        keys: Path | None = None,
        *,
        ipc_group: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock_ns = clock_ns
        self._ipc_mode = 0o660 if ipc_group else 0o600
        self._folder = keys
        self._keys: LineKeys | None = None if keys is None else read_line(keys)
        self._list = None if keys is None else AllowList(keys)
        self._seen = self._list.now if self._list else Admitted({})
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._zap: zmq.Socket[bytes] | None = None
        if self._list:
            # Before any bind: from then on libzmq asks here.
            self._zap = self.context.socket(zmq.ROUTER)
            self._zap.setsockopt(zmq.LINGER, 0)
            self._zap.bind(_ZAP)
        self._monitors: list[tuple[str, zmq.Socket[bytes]]] = []
        # By the endpoint, because each tells for itself, and by libzmq's number, which it gives
        # to a later one again.
        self._present: dict[tuple[str, int], Connection] = {}
        self._connections: dict[int, bytes] = {}
        self._bound: set[Any] = set()
        self._turned_away: Counter[str] = Counter()
        self._last_stranger = ""
        self._next_note_ns = 0
        self._last_note = ""
        self._noted_ns = 0

    @property
    def sockets(self) -> tuple[zmq.Socket[bytes], ...]:
        """What to poll; `serve` when one of them is readable."""
        zap = () if self._zap is None else (self._zap,)
        return (*zap, *(monitor for _, monitor in self._monitors))

    @property
    def locked(self) -> bool:
        """Whether keys are asked for at all."""
        return self._list is not None

    @property
    def alarm(self) -> str:
        """What is wrong with the keys, or who lately called without a valid one; or empty."""
        if self._list and self._list.now.problems:
            return self._list.now.problems[0]
        forgiven = self._clock_ns() - self._noted_ns > _FORGIVEN_NS
        return "" if forgiven else self._last_note

    # -- a socket's lock -------------------------------------------------------------------

    def bind(self, socket: zmq.Socket[bytes], endpoint: str) -> str:
        """Bind a socket and lock it; the real endpoint, also when any free port was asked for.

        Raises
        ------
        EndpointError
            If the address is not allowed without keys, or cannot be bound.
        """
        check_endpoint(endpoint, keys=self.locked)
        path = ipc_path(endpoint)
        if not is_local(endpoint) and not self._seen.names:
            raise EndpointError(
                f"endpoint {endpoint!r}: reachable from outside, yet no client is admitted; "
                f"make keys for one: edge-run keys client NAME {self._folder}"
            )
        if self._keys and path is None:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self._keys.secret)
            socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
            # Without anybody who answers for the list, nobody is admitted.
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        if "[" in endpoint:
            socket.setsockopt(zmq.IPV6, 1)
        monitor = socket.get_monitor_socket(_FAILURES | _COMINGS)
        try:
            _bind(socket, endpoint, path, self._ipc_mode)
        except (zmq.ZMQError, OSError) as error:
            raise EndpointError(
                f"cannot bind {endpoint}: {error}; choose another, or stop what uses it"
            ) from error
        real = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._monitors.append((real, monitor))
        self._bound.add(str(path) if path else int(real.rpartition(":")[2]))
        return real

    def admits(self, frame: zmq.Frame) -> bool:
        """Whether whoever sent this frame is still admitted; if not, it is hung up on."""
        if self._list is None:
            return True
        try:
            key = str(frame.get("User-Id")).encode()
            connection = int(frame.get("__fd"))
        except zmq.ZMQError:
            return True  # of an ipc socket, or of libzmq itself
        self._connections[connection] = key
        if key in self._list.now.names:
            return True
        self._hang_up(connection)
        return False

    def cut(self, frame: zmq.Frame) -> None:
        """Hang up on whoever sent this frame. It may call again."""
        try:
            connection = int(frame.get("__fd"))
        except zmq.ZMQError:
            return
        self._hang_up(connection)

    def hang_up(self, connection: Connection) -> None:
        """End a connection, if it lasts. Whoever made it may call again."""
        if not connection.ended:
            self._hang_up(connection.number)

    def connection(self, endpoint: str, frame: zmq.Frame) -> Connection | None:
        """Over which connection to an endpoint a frame came; None if libzmq does not say.

        A connection is told of before anything can come over it.
        """
        try:
            number = int(frame.get("__fd"))
        except zmq.ZMQError:
            return None
        self.listen()
        found = self._present.get((endpoint, number))
        if found is not None and not found.label:
            found.label = _said(frame, "Peer-Address") or "this box"
            found.key = _said(frame, "User-Id")
        return found

    # -- what goes on at it ----------------------------------------------------------------

    def serve(self) -> None:
        """Let in or turn away whoever has called, and hang up on who was revoked."""
        if self._list and self._list.now is not self._seen:
            self._seen = self._list.now
            for connection, key in list(self._connections.items()):
                if key not in self._seen.names:
                    self._hang_up(connection)
        for _ in range(_REQUESTS_PER_CALL):
            if self._zap is None or not self._answer(self._zap):
                break
        self.listen()

    def listen(self) -> None:
        """Note who has come, who has gone and who was turned away."""
        for endpoint, monitor in self._monitors:
            for _ in range(_EVENTS_PER_CALL):
                try:
                    event, value = struct.unpack("=HI", monitor.recv_multipart(zmq.NOBLOCK)[0])
                except zmq.Again:
                    break
                if event & _COMINGS:
                    self._came_or_went((endpoint, value), event)
                else:
                    self._failed(endpoint, event, value)

    def _came_or_went(self, where: tuple[str, int], event: int) -> None:
        gone = self._present.pop(where, None)
        if gone is not None:
            gone.ended = True
        if event == zmq.EVENT_ACCEPTED:
            self._present[where] = Connection(where[1])

    def notes(self) -> Iterator[str]:
        """Who was turned away since the last note, in a sentence; at most one in ten seconds."""
        now = self._clock_ns()
        if not self._turned_away or now < self._next_note_ns:
            return
        self._next_note_ns = now + _NOTE_NS
        callers = (
            f"{count} times: {why}" if count > 1 else why
            for why, count in self._turned_away.most_common(3)
        )
        self._last_note = "turned away " + "; ".join(callers)
        self._noted_ns = now
        self._turned_away.clear()
        yield self._last_note

    def _answer(self, zap: zmq.Socket[bytes]) -> bool:
        """One request of RFC 27; False if there is none."""
        try:
            frames = zap.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        # Routing id, empty, version, request id, domain, address, identity, mechanism, key.
        head, (version, request, domain, address) = frames[:2], frames[2:6]
        known, key = False, b""
        if frames[7:8] == [b"CURVE"] and len(frames) == 9 and len(frames[8]) == 32:
            key = z85.encode(frames[8])
            known = domain == _DOMAIN and key in self._seen.names
            self._last_stranger = f"{key.decode()} from {address.decode(errors='replace')}"
        verdict = (b"200", b"OK", key) if known else (b"400", b"not admitted", b"")
        zap.send_multipart([*head, version, request, *verdict, b""], zmq.NOBLOCK)
        return True

    def _failed(self, endpoint: str, event: int, value: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            why = f"a client whose key is not admitted, lately {self._last_stranger}"
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            fault = _WHY.get(value, f"speaks another protocol (ZMTP fault {value:#x})")
            why = f"a client that {fault}"
        elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            # Whoever finds that this line asks for keys may hang up before we see that it has none.
            why = "a client that broke off its greeting, as those without keys may"
        else:
            return  # the monitor itself has ended
        self._turned_away[f"at {endpoint} {why}"] += 1

    def _hang_up(self, connection: int) -> None:
        """Shut a client's connection down, which libzmq has no call for.

        The number may belong to something else by now, which must not be
        harmed: what is shut down is a copy that was proven to be a connection
        of one of our own addresses.
        """
        self._connections.pop(connection, None)
        try:
            if not stat.S_ISSOCK(os.fstat(connection).st_mode):
                return
            with sockets.socket(fileno=os.dup(connection)) as copy:
                if copy.family in (sockets.AF_INET, sockets.AF_INET6):
                    ours = copy.getsockname()[1] in self._bound
                else:
                    ours = copy.getsockname() in self._bound
                if ours:
                    copy.shutdown(sockets.SHUT_RDWR)
        except OSError:
            return  # it has gone by itself

    def close(self, linger_ms: int = 0) -> None:
        """Send what is queued, so long at most, and close every socket. Twice is harmless."""
        if self._list:
            self._list.close()
        self.context.destroy(linger=linger_ms)


def _said(frame: zmq.Frame, name: str) -> str:
    try:
        return str(frame.get(name))
    except zmq.ZMQError:
        return ""


def _bind(socket: zmq.Socket[bytes], endpoint: str, path: Path | None, mode: int) -> None:
    if path is None:
        socket.bind(endpoint)
        return
    # With the mask the file never has a wider mode, not for a moment.
    before = os.umask(0o777 & ~mode)
    try:
        socket.bind(endpoint)
    finally:
        os.umask(before)
    path.chmod(mode)
