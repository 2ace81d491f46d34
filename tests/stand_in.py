"""A stand-in for systemd that does to a service what its unit says, as far as restarting goes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sandbox import Unit

__all__ = ["StandIn"]


class StandIn:
    """Starts a command, listens to its notify socket, and follows the unit's rules.

    Type=notify, WatchdogSec, TimeoutStartSec with EXTEND_TIMEOUT_USEC, Restart=always
    with RestartSec and RestartPreventExitStatus, KillMode=mixed. A watchdog that
    bites sends SIGABRT to the main process, and later SIGKILL to all of them.

    watchdog_s  instead of the unit's, so that a test need not wait so long
    events      what happened, in order
    """

    def __init__(
        self, unit: Unit, command: Sequence[str], environ: dict[str, str], watchdog_s: float
    ) -> None:
        assert unit.the("Type") == "notify"
        assert unit.the("Restart") == "always"
        assert unit.the("KillMode") == "mixed"
        assert float(unit.the("WatchdogSec")) > watchdog_s
        self._restart_s = float(unit.the("RestartSec"))
        self._prevented = {int(word) for word in unit.the("RestartPreventExitStatus").split()}
        self._start_s = float(unit.the("TimeoutStartSec"))
        self._stop_s = float(unit.the("TimeoutStopSec"))
        self._watchdog_s = watchdog_s
        self._command, self._environ = command, environ
        self._stopping = threading.Event()
        self.events: list[str] = []
        self._signs = 0
        self.main: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def until(self, wanted: str, count: int = 1, patience_s: float = 40) -> None:
        """Wait until something has happened so many times."""
        end = time.monotonic() + patience_s
        while self.events.count(wanted) < count:
            assert time.monotonic() < end, f"waited for {wanted}: {self.events}"
            time.sleep(0.02)

    def until_alive(self, signs: int, patience_s: float = 40) -> None:
        """Wait for so many more signs of life."""
        wanted, end = self._signs + signs, time.monotonic() + patience_s
        while self._signs < wanted:
            assert time.monotonic() < end, f"no sign of life: {self.events}"
            time.sleep(0.02)

    def until_given_up(self, patience_s: float = 40) -> None:
        """Wait until it has decided not to start the service again."""
        self._thread.join(patience_s)
        assert not self._thread.is_alive(), f"not given up: {self.events}"

    def _run(self) -> None:
        again = True
        while again and not self._stopping.is_set():
            self.events.append("start")
            code = self._once()
            self.events.append(f"ended {code}")
            again = code not in self._prevented and not self._stopping.wait(self._restart_s)

    def _once(self) -> int:
        name = f"\0kenpin-stand-in-{os.getpid()}-{len(self.events)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(name)
            notify.settimeout(0.05)
            told = {
                "NOTIFY_SOCKET": "@" + name[1:],
                "WATCHDOG_USEC": str(round(self._watchdog_s * 1e6)),
            }
            self.main = subprocess.Popen(
                self._command, env=os.environ | self._environ | told, start_new_session=True
            )
            try:
                self._listen(self.main, notify)
                return self.main.wait()
            finally:
                self._kill_the_rest(self.main.pid)

    def _listen(self, main: subprocess.Popen[bytes], notify: socket.socket) -> None:
        ready, due = False, time.monotonic() + self._start_s
        while main.poll() is None:
            if self._stopping.is_set():
                self._end(main, signal.SIGTERM)
                return
            if time.monotonic() > due:
                self.events.append("watchdog" if ready else "start timeout")
                self._end(main, signal.SIGABRT if ready else signal.SIGTERM)
                return
            try:
                lines = notify.recv(4096).decode().split("\n")
            except TimeoutError:
                continue
            for line in lines:
                key, _, value = line.partition("=")
                if key == "READY":
                    ready = True
                    self.events.append("ready")
                self._signs += key == "WATCHDOG"
                if key in ("READY", "WATCHDOG"):
                    due = time.monotonic() + self._watchdog_s
                elif key == "EXTEND_TIMEOUT_USEC" and not ready:
                    due = max(due, time.monotonic() + int(value) / 1e6)

    def _end(self, main: subprocess.Popen[bytes], number: int) -> None:
        main.send_signal(number)
        try:
            main.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            self.events.append("killed")
            main.kill()

    @staticmethod
    def _kill_the_rest(group: int) -> None:
        # The control group, for a stand-in: children stay in the session they were born into.
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.getsid(int(entry.name)) == group:
                    os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue
