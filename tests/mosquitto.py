"""A real broker for tests: Debian's mosquitto, on a port of its own, killed at the end."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

__all__ = ["MOSQUITTO", "Mosquitto"]

# Debian puts servers where only root's path looks.
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
_START_S = 10.0


class Mosquitto:
    """Use it in a `with`; it forgets everything when it stops."""

    def __init__(self, folder: Path, port: int, *lines: str) -> None:
        self.port = port
        self._config = folder / "mosquitto.conf"
        own = (f"listener {port} 127.0.0.1", "persistence false", "log_type none")
        own = (*own, "set_tcp_nodelay true")
        self._config.write_text("\n".join([*own, *(lines or ("allow_anonymous true",))]) + "\n")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        assert MOSQUITTO is not None
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end_s = time.monotonic() + _START_S
        while time.monotonic() < end_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"{MOSQUITTO} does not listen on {self.port}")

    def stop(self) -> None:
        """End it, whatever it does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
