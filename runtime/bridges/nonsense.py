"""What a bridge must refuse, for its simulated PLC to send."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

__all__ = ["send_nonsense"]

# A connection takes some time even where nobody waits.
_LEAST_S = 0.1


def send_nonsense(address: str, port: int, parts: Iterable[bytes], within_s: float) -> None:
    """Send bytes that are no request, over a connection of their own, which the bridge may cut.

    Nothing is raised where nobody listens: whoever drives the PLC sees that by itself.
    """
    with (
        contextlib.suppress(OSError),
        socket.create_connection((address, port), max(within_s, _LEAST_S)) as connection,
    ):
        connection.sendall(b"".join(parts))
