"""sd_notify: what the service tells its manager, over a unix datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

__all__ = ["Manager"]


class Manager:
    """The service manager that started us, or nobody.

    Sending never waits: a manager that does not read must not hold up a verdict.

    watchdog_ns  how often it wants a sign of life; None if it wants none

    Raises
    ------
    ValueError
        If NOTIFY_SOCKET or WATCHDOG_USEC is set to something impossible.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, pid: int | None = None) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        if address and address[0] not in "/@":
            raise ValueError(f"NOTIFY_SOCKET is {address!r}, expected a path or @name")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            if address
            else None
        )
        if self._socket is not None:
            self._socket.setblocking(False)
        self.refused = 0
        self.watchdog_ns: int | None = None
        usec, whom = environ.get("WATCHDOG_USEC"), environ.get("WATCHDOG_PID")
        # WATCHDOG_PID: the variables may have been inherited from a parent they were meant for.
        if usec is not None and (not whom or int(whom) == (pid or os.getpid())):
            if int(usec) <= 0:
                raise ValueError(f"WATCHDOG_USEC is {usec}, expected more than 0")
            self.watchdog_ns = int(usec) * 1000

    @property
    def present(self) -> bool:
        """Whether anybody started us who wants to hear."""
        return self._socket is not None

    def tell(self, *lines: str) -> bool:
        """Send assignments such as `READY=1`; False if there is no manager or no room."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            # Gone, or its queue is full. It will miss us and restart us; counted meanwhile.
            self.refused += 1
            return False
        return True

    def ready(self, status: str) -> bool:
        """The golden frames have been judged: triggers are welcome."""
        return self.tell("READY=1", f"STATUS={_line(status)}")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self.tell(f"STATUS={_line(text)}")

    def alive(self) -> bool:
        """Feed the watchdog."""
        return self.tell("WATCHDOG=1")

    def stopping(self) -> bool:
        """We end because we were asked to."""
        return self.tell("STOPPING=1")

    def more_time(self, seconds: float) -> bool:
        """Starting or stopping takes longer; count anew from here."""
        return self.tell(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def close(self) -> None:
        """Let go of the socket. Closing twice is harmless."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


# systemctl status shows no more of it.
_LINE_CHARS = 300


def _line(text: str) -> str:
    return text.replace("\n", " ")[:_LINE_CHARS]
