"""edge-run in a process of its own, with whoever listens to it: for tests of the whole service."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

from faulty_pipelines import inject
from kenpin.runtime.wire.client import LineClient, WireOptions
from kenpin.runtime.wire.keys import ClientKeys
from kenpin.runtime.wire.link import Keys

__all__ = [
    "EDGE_RUN",
    "PATIENCE_S",
    "SERVE_LINE",
    "UNHURRIED",
    "Client",
    "RunningLine",
    "check_undisturbed",
    "line_toml",
]

# Longer than anything takes on a busy machine; reached only by a failure.
PATIENCE_S = float(os.environ.get("KENPIN_TEST_PATIENCE_S", "120"))
HERE = Path(__file__).resolve().parent
_T = TypeVar("_T")
EDGE_RUN = (sys.executable, "-m", "kenpin.runtime.service.cli")
# The same with pipelines that can be made to fail.
SERVE_LINE = (sys.executable, str(HERE / "serve_line.py"))

# For a line beside which something hangs for two seconds and more. A machine that is busy with
# other work for a second costs such a line no verdict: eight frames wait, of six a second. A
# gateway that waited for what hangs would be late with a quarter of them.
UNHURRIED = {
    "camera": 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 6',
    "trigger": 'mode = "free", budget_ms = 1500, max_in_flight = 8',
    "ring": "slots = 14",
    "watchdog": "hung_ms = 3000, kill_ms = 6000",
}


def line_toml(folder: Path, bundles: Path, *, camera: str = "", **tables: str) -> Path:
    """Write a line's settings; `tables` are the contents of inline tables."""
    settings = {
        "trigger": 'mode = "free", budget_ms = 60',
        "wire": f'ctl = "ipc://{folder}/ctl", pub = "ipc://{folder}/pub"',
        "camera": camera
        or 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 25',
        "inspection": "threads = 1",
    } | tables
    text = f'name = "web-1"\nbox = "box-1"\nbundles = "{bundles}"\n'
    text += "".join(f"{key} = {{ {value} }}\n" for key, value in settings.items())
    path = folder / "line.toml"
    path.write_text(text)
    return path


def check_undisturbed(line: RunningLine) -> None:
    """One verdict for each frame, and nearly all of them the line's own: of an `UNHURRIED` line."""
    verdicts = line.verdicts
    assert [m["seq"] for m in verdicts] == list(range(1, len(verdicts) + 1))
    first = verdicts[0]["frame"]
    assert sorted(m["frame"] for m in verdicts) == list(range(first, first + len(verdicts)))
    reasons = [m["reason"] for m in verdicts]
    # At most eight are under way when it is told to end.
    assert "shutdown" not in reasons[:-16]
    spoilt = [why for why in reasons if why not in (None, "defect", "unsure", "shutdown")]
    assert set(spoilt) <= {"late", "overrun"}
    assert len(spoilt) <= 2 + len(verdicts) // 20, spoilt


class RunningLine:
    """A line's service as a child process, a subscriber to all it publishes, and its log.

    pub       where it publishes, if not beside its settings
    keys      of the subscriber, where the line asks for them
    command   what to run; by default edge-run with pipelines that can be made to fail

    Stop it, or use it in a `with`; only processes that it started are ever killed.
    """

    def __init__(
        self,
        toml: Path,
        *,
        environ: dict[str, str] | None = None,
        pub: str | None = None,
        keys: ClientKeys | None = None,
        command: Sequence[str] = SERVE_LINE,
    ) -> None:
        folder = toml.parent
        self.folder = folder
        self._clients: list[Client] = []
        self._fault = folder / "fault"
        self.topics: list[tuple[float, str, dict[str, Any]]] = []
        self.log: list[str] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.setsockopt(zmq.RCVHWM, 100_000)
        if keys:
            keys.on(self._socket)
        self._gone = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._socket.connect(pub or f"ipc://{folder}/pub")
        extra = {"KENPIN_TEST_FAULT": str(self._fault), "PYTHONPATH": _path()}
        self.process = subprocess.Popen(
            [*command, str(toml)],
            stderr=subprocess.PIPE,
            env=os.environ | extra | (environ or {}),
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.decode())

    # -- what it says --

    def listen(self, seconds: float = 0.0) -> list[tuple[float, str, dict[str, Any]]]:
        """What is published within so many seconds: (when seen, topic, message)."""
        found = []
        end = time.monotonic() + seconds
        while self._socket.poll(max(0, round((end - time.monotonic()) * 1000))):
            topic, payload = self._socket.recv_multipart()[:2]
            found.append((time.monotonic(), topic.decode(), msgpack.unpackb(payload)))
        self.topics += found
        return found

    def until(self, wanted: Callable[[dict[str, Any]], bool], what: str = "") -> dict[str, Any]:
        """The first message from now on that is wanted."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self._socket.poll(100):
                topic, payload = self._socket.recv_multipart()[:2]
                message = msgpack.unpackb(payload)
                self.topics.append((time.monotonic(), topic.decode(), message))
                if wanted(message):
                    return message
            elif self.process.poll() is not None:
                raise AssertionError(f"the service ended: {''.join(self.log[-5:])}")
        last = [m for _, _, m in self.topics[-3:]]
        raise AssertionError(f"waited {PATIENCE_S} s for {what or wanted}; last: {last}")

    def state(self, name: str) -> dict[str, Any]:
        """Wait until it says that it is in a state."""
        return self.until(lambda m: m["type"] == "state" and m["state"] == name, name)

    def verdict(self, wanted: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The next verdict that is wanted."""
        return self.until(lambda m: m["type"] == "verdict" and wanted(m), "a verdict")

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """All verdicts heard so far, in order."""
        return [m for _, topic, m in self.topics if m["type"] == "verdict" and "verdict" in topic]

    # -- what a client says to it --

    def client(self, name: str = "plc", *, ctl: str | None = None, **how: Any) -> Client:
        """Somebody who triggers; `how` as in `LineClient`."""
        self._clients.append(Client(ctl or f"ipc://{self.folder}/ctl", name, **how))
        return self._clients[-1]

    # -- what is done to it --

    def fault(self, what: str) -> None:
        """Let something go wrong in the next frame; see `faulty_pipelines.py`."""
        inject(self._fault, what)

    def begins_fault(self) -> None:
        """Wait until the frame that it was told for has met the fault."""
        self._until(lambda: not self._fault.exists(), "the fault was never met")

    def listen_until(self, wanted: Callable[[], _T], what: str) -> _T:
        """Hear what is published until something holds elsewhere, and give that."""
        end = time.monotonic() + PATIENCE_S
        while not (found := wanted()):
            assert time.monotonic() < end, f"waited {PATIENCE_S} s for {what}"
            self.listen(0.1)
        return found

    def page(self) -> str:
        """Where its newest page is."""

        def told() -> str:
            found = re.findall(r'"address": "(http[^"]+)", "event": "page"', "".join(self.log))
            return str(found[-1]) if found else ""

        return self.listen_until(told, "the page's address")

    def replaced(self, name: str, before: int) -> None:
        """Wait until another child of that name has taken its place."""

        def another() -> bool:
            return any(comm == name and pid != before for pid, comm in _children(self.process.pid))

        self.listen_until(another, f"another {name}")

    def logs(self, text: str) -> None:
        """Wait until its log has these words."""
        self._until(lambda: any(text in line for line in self.log), f"never logged: {text}")

    def _until(self, happened: Callable[[], bool], complaint: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < end, complaint
            time.sleep(0.01)

    def child(self, name: str = "kenpin-inspect") -> int:
        """The newest child process of that name."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = [pid for pid, comm in _children(self.process.pid) if comm == name]
            if found:
                return max(found)
            time.sleep(0.01)
        told = "".join(self.log[-12:])
        raise AssertionError(f"no child {name}: {told}")

    def children(self) -> list[int]:
        """All child processes."""
        return sorted(pid for pid, _ in _children(self.process.pid))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            while self._gone.poll(0):  # of a line before this one
                recv_monitor_message(self._gone)
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            # Its connection ends behind its last word.
            if self.topics:
                self._gone.poll(round(PATIENCE_S * 1000))
            self.listen()
            self.close()

    def close(self) -> None:
        """Kill what is left of it."""
        if self.process.poll() is None:
            children = [pid for pid, _ in _children(self.process.pid)]
            for pid in [self.process.pid, *children]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        for client in self._clients:
            client.close()
        self._context.destroy(linger=0)

    def __enter__(self) -> RunningLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client:
    """A client that keeps everything it is told, and when."""

    def __init__(
        self,
        endpoint: str,
        name: str,
        *,
        session: str | None = None,
        encoding: str = "msgpack",
        keys: Keys | None = None,
    ) -> None:
        options = WireOptions(encoding, keys=keys)
        self._line = LineClient(endpoint, name=name, session=session, options=options)
        self.encoding = encoding
        self.say_raw = self._line.say_raw
        self.heard: list[tuple[float, dict[str, Any]]] = []

    def say(self, kind: str, **fields: Any) -> None:
        """Send a command."""
        self._line.say(kind, within_s=PATIENCE_S, **fields)

    def hear(self, seconds: float) -> list[dict[str, Any]]:
        """What it is told within so many seconds."""
        before = len(self.heard)
        end = time.monotonic() + seconds
        while self._take(max(0.0, end - time.monotonic())) is not None:
            pass
        return [message for _, message in self.heard[before:]]

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message from now on that is wanted."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            message = self._take(end - time.monotonic())
            if message is not None and wanted(message):
                return message
        raise AssertionError(f"waited {PATIENCE_S} s; last: {self.heard[-3:]}")

    def of_kind(self, kind: str) -> dict[str, Any]:
        """The next message of a kind."""
        return self.until(lambda m: m["type"] == kind)

    def settled(self) -> list[dict[str, Any]]:
        """What it is told until the line has obeyed all that was said before."""
        before = len(self.heard)
        self.say("status")
        self.of_kind("state")
        return [message for _, message in self.heard[before:-1]]

    def ask(self, trig: str, **fields: Any) -> dict[str, Any]:
        """Trigger, and wait for the verdict."""
        self.say("trigger", trig=trig, **fields)
        return self.until(lambda m: m["type"] == "verdict" and m["trig"] == trig)

    def _take(self, seconds: float) -> dict[str, Any] | None:
        heard = self._line.receive(seconds)
        if heard is None:
            return None
        self.heard.append((heard.at_ns / 1e9, dict(heard.fields)))
        return self.heard[-1][1]

    def close(self) -> None:
        """Vanish."""
        self._line.close()


def _path() -> str:
    before = os.environ.get("PYTHONPATH")
    return str(HERE) + (os.pathsep + before if before else "")


def _children(parent: int) -> Iterator[tuple[int, str]]:
    # The kernel's own list: to look through all of /proc again and again takes a core.
    for listed in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in listed.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                yield int(child), Path(f"/proc/{child}/comm").read_text().rstrip("\n")
