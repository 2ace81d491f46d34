"""sd_notify on a real datagram socket, and a stand-in for the manager that restarts a hung loop."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.service.systemd import Manager
from running_line import PATIENCE_S, RunningLine, line_toml

pytestmark = pytest.mark.clock

# It is fed three times as often; a busy machine may hold it up for two of them.
WATCHDOG_S = 1.5


class Systemd:
    """The manager's side: what it was told, and when it would lose patience."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.told: list[str] = []
        self._heard: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._listen, daemon=True)

    def listen(self) -> None:
        """Read all that comes from now on: ten datagrams that nobody reads are all that fit."""
        if not self._reader.is_alive():
            self._reader.start()

    def _listen(self) -> None:
        while text := self.socket.recv(4096).decode():
            for line in text.split("\n"):
                self._heard.put(line)

    def close(self) -> None:
        """Nothing more is read."""
        self.socket.shutdown(socket.SHUT_RD)
        if self._reader.is_alive():
            self._reader.join(PATIENCE_S)
        self.socket.close()

    def until(self, wanted: str) -> None:
        """Wait until it is told something that begins so."""
        silent = self.silent_for(wanted, PATIENCE_S)
        assert not silent, f"waited {PATIENCE_S} s for {wanted}; told: {self.told[-5:]}"

    def silent_for(self, wanted: str, seconds: float) -> bool:
        """Whether nothing that begins so comes for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self.told.append(self._heard.get(timeout=left))
                if self.told[-1].startswith(wanted):
                    return False
        return True


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    manager = Systemd(tmp_path)
    yield manager
    manager.close()


def start(bundle: Bundle, folder: Path, systemd: Systemd, **settings: str) -> RunningLine:
    systemd.listen()
    environ = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": f"{WATCHDOG_S * 1e6:.0f}"}
    return RunningLine(line_toml(folder, bundle.folder, **settings), environ=environ)


def test_ready_comes_after_the_golden_test_and_a_hung_loop_is_restarted(
    patchcore: Bundle, tmp_path: Path, systemd: Systemd
) -> None:
    line = start(patchcore, tmp_path, systemd)
    with line:
        systemd.until("READY=1")
        before = systemd.told[: systemd.told.index("READY=1")]
        assert any(text.startswith("EXTEND_TIMEOUT_USEC=") for text in before)
        line.logs('"golden": 4')
        systemd.until("WATCHDOG=1")
        systemd.until("STATUS=operational.continuous")
        # The loop hangs: nothing feeds the watchdog, so the manager acts.
        os.kill(line.process.pid, signal.SIGSTOP)
        while not systemd.silent_for("WATCHDOG=1", 0.1):
            pass  # what was already under way
        assert systemd.silent_for("WATCHDOG=1", 0.8 * WATCHDOG_S)
        line.process.kill()
        line.process.wait(PATIENCE_S)
    with start(patchcore, tmp_path, systemd) as again:
        systemd.until("READY=1")
        assert again.verdict()["seq"] >= 1
        assert again.stop() == 0
        systemd.until("STOPPING=1")


def test_the_watchdog_is_fed_while_an_inspection_is_replaced(
    patchcore: Bundle, tmp_path: Path, systemd: Systemd
) -> None:
    """The service heals itself: the manager must not shoot the doctor."""
    with start(patchcore, tmp_path, systemd) as line:
        line.verdict(lambda m: m["verdict"] == 1)
        os.kill(line.child(), signal.SIGSTOP)
        # It takes a second to be declared dead, and some to be replaced.
        for _ in range(6):
            assert not systemd.silent_for("WATCHDOG=1", WATCHDOG_S)
        line.verdict(lambda m: m["verdict"] == 1)


@pytest.mark.thorough
def test_an_inspection_that_hangs_at_the_start_is_never_ready(
    patchcore: Bundle, tmp_path: Path, systemd: Systemd
) -> None:
    # The next one must come up within the same time, also on a busy machine.
    with start(patchcore, tmp_path, systemd, watchdog="start_s = 6") as line:
        os.kill(line.child(), signal.SIGSTOP)
        systemd.until("EXTEND_TIMEOUT_USEC=")
        systemd.until("READY=1")
        assert "READY=1" in systemd.told
        line.logs("no sign of life")


def test_without_a_manager_nothing_is_sent() -> None:
    manager = Manager({})
    assert manager.watchdog_ns is None
    assert not manager.ready("here")
    manager.close()


def test_a_watchdog_meant_for_another_process_is_not_ours() -> None:
    assert Manager({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, pid=2).watchdog_ns is None
    assert Manager({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "2"}, pid=2).watchdog_ns == 1_000_000


@pytest.mark.parametrize("environ", [{"NOTIFY_SOCKET": "x"}, {"WATCHDOG_USEC": "0"}])
def test_an_impossible_environment_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Manager(environ)


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path: Path, systemd: Systemd) -> None:
    manager = Manager({"NOTIFY_SOCKET": systemd.address})
    sent = sum(manager.alive() for _ in range(5000))
    assert 0 < sent < 5000
    assert manager.refused == 5000 - sent
    manager.close()
    gone = Manager({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert not gone.status("two\nlines")
    gone.close()


def test_an_abstract_address_is_understood() -> None:
    name = f"kenpin-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
        theirs.bind("\0" + name)
        theirs.settimeout(PATIENCE_S)
        manager = Manager({"NOTIFY_SOCKET": "@" + name})
        assert manager.status("one\nline")
        assert theirs.recv(100) == b"STATUS=one line"
        manager.close()
