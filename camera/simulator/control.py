"""Tell a running simulated camera what to do, through its Unix socket: one command a line."""

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kenpin.camera.source import CameraError

__all__ = ["Control", "SimulatorError", "SimulatorGoneError"]

REPLY_LIMIT = 65536


class SimulatorError(CameraError):
    """The simulated camera did not obey."""


class SimulatorGoneError(SimulatorError):
    """No process has the simulated camera loaded, or it ended while it was told."""


class Control:
    """One connection to one producer, in whatever process it lives.

    docs/simulator.md lists the commands.
    """

    def __init__(self, path: Path | str, *, timeout_s: float = 5.0) -> None:
        self.path = Path(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._rest = b""
        try:
            self._socket.connect(str(self.path))
        except OSError as error:
            self._socket.close()
            raise SimulatorGoneError(
                f"{self.path}: no simulated camera listens here ({error}); "
                "it listens while a process has the producer loaded"
            ) from error

    def tell(self, command: str) -> str:
        """Send a command; what was answered after `ok`.

        Raises
        ------
        SimulatorError
            If it was refused, or nobody answered.
        """
        if "\n" in command:
            raise ValueError(f"one command at a time, got {command!r}")
        try:
            self._socket.sendall(command.encode() + b"\n")
            while b"\n" not in self._rest:
                more = self._socket.recv(REPLY_LIMIT)
                if not more:
                    raise SimulatorGoneError(f"{self.path}: the producer went away at {command!r}")
                self._rest += more
        except OSError as error:
            raise SimulatorGoneError(
                f"{self.path}: {command!r} was not answered: {error}"
            ) from error
        line, self._rest = self._rest.split(b"\n", 1)
        reply = line.decode()
        if reply != "ok" and not reply.startswith("ok "):
            raise SimulatorError(f"{command!r}: {reply.removeprefix('error: ')}")
        return reply[3:]

    def status(self, camera: int = 0) -> dict[str, Any]:
        """Counters and settings of one camera."""
        found: dict[str, Any] = json.loads(self.tell(f"@{camera} status"))
        return found

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()
