"""A bridge between the simulated PLC and the line: driven, struck, and compared with the line."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from kenpin.config.bridges import BRIDGES, BridgeSettings
from kenpin.config.errors import ConfigError
from kenpin.config.line import Line
from kenpin.config.registry import load_object
from kenpin.processes.child import name_in_ps
from kenpin.runtime.bridges.process import BridgedLine, facts_of
from kenpin.runtime.plc.faults import BETWEEN, Fault
from kenpin.runtime.plc.limits import PlcLimits
from kenpin.runtime.plc.listener import pid_of_listener
from kenpin.runtime.wire.client import Heard, LineClient, LineSilentError, WireOptions
from kenpin.runtime.wire.errors import WireError
from kenpin.runtime.wire.link import Keys

__all__ = ["Bridge", "PlcClient", "bridge_of", "child_of_service"]

_FOUND_S = 5.0
# Messages of the line taken between two looks at the bridge.
_PORTION = 200


class PlcClient(Protocol):
    """How the simulated PLC speaks with a line: a `LineClient`, or one through a bridge."""

    def say(self, kind: str, *, within_s: float = 5.0, **fields: Any) -> None:
        """Send a command; LineSilentError if it cannot be sent."""
        ...

    def say_raw(self, *parts: bytes, within_s: float = 5.0) -> None:
        """Send what makes no sense."""
        ...

    def receive(self, timeout_s: float = 0.0) -> Heard | None:
        """The next message, or None; WireError if it makes no sense."""
        ...

    def close(self) -> None:
        """Let go. Closing twice is harmless."""
        ...


class Bridge:
    """A bridge of a line, from outside.

    settings  its table
    facts     of its line
    listener  hears what the line itself publishes
    find      its process on this computer
    """

    def __init__(
        self,
        settings: BridgeSettings,
        facts: BridgedLine,
        listener: LineClient,
        find: Callable[[], int],
        poll_s: float,
    ) -> None:
        kind = BRIDGES.find(settings.kind)
        if kind.plc is None:
            raise ConfigError(f"bridge {settings.called}: edge-plc does not speak {settings.kind}")
        self._kind = kind
        self._open: Callable[..., PlcClient] = load_object(kind.plc)
        self._reduced: Callable[[Mapping[str, Any]], dict[str, Any]] = load_object(kind.reduced)
        self._settings = settings
        self._facts = facts
        self._find = find
        self._listener = listener
        self._poll_s = poll_s
        self._stood_still: int | None = None

    def connect(self, session: str) -> PlcClient:
        """A PLC that talks through it."""
        return self._open(self._settings, self._facts, session, self._poll_s)

    def answers(self) -> bool:
        """Whether somebody lets us in."""
        try:
            self._open(self._settings, self._facts, "1", self._poll_s).close()
        except LineSilentError:
            return False
        return True

    def directly(self) -> Iterator[dict[str, Any]]:
        """Verdicts that the line has published meanwhile, in the bridge's words."""
        for _ in range(_PORTION):
            try:
                heard = self._listener.receive(0.0)
            except WireError:
                continue
            if heard is None:
                return
            if heard.kind == "verdict":
                yield self._reduced(heard.fields)

    def limits(self, limits: PlcLimits) -> PlcLimits:
        """With what polling costs on top: a look may come just before what it should see.

        A trigger waits for one look, its verdict for another; a result that is not
        acknowledged stays for `hold_ms` beyond its deadline, because a PLC polls.
        """
        look_ns, hold_ms = round(2 * self._poll_s * 1e9), getattr(self._settings, "hold_ms", 0)
        stale_ns = max(limits.stale_ns, self._kind.handed_on_ms * 1_000_000)
        return replace(
            limits,
            slack_ns=limits.slack_ns + look_ns,
            stale_ns=stale_ns + look_ns,
            resend_slack_ns=limits.resend_slack_ns + look_ns + round(hold_ms * 1e6),
            history_ns=self._kind.history_ms * 1_000_000,
            beats_a_look=3,
        )

    def stall(self) -> Callable[[], None]:
        """Somebody who asks and never reads; returns what ends him."""
        stall: Callable[[BridgeSettings], Callable[[], None]] = load_object(self._kind.stall)
        return stall(self._settings)

    def close(self) -> None:
        """Listen no more, and leave nobody standing still."""
        self.go_on()
        self._listener.close()

    # -- blows -----------------------------------------------------------------------------

    def kill(self) -> None:
        """End its process; the line starts it again."""
        os.kill(self._find(), signal.SIGKILL)

    @property
    def faults(self) -> frozenset[Fault]:
        """What can go wrong between us and the line."""
        return BETWEEN if self._kind.broker else BETWEEN - {Fault.BROKER_AWAY}

    def stand_still(self, *, broker: bool = False) -> None:
        """Stop its process, or its broker's, until `go_on`."""
        if broker:
            self._stood_still = pid_of_listener(getattr(self._settings, "port", 0))
        else:
            self._stood_still = self._find()
        os.kill(self._stood_still, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        if self._stood_still is not None:
            os.kill(self._stood_still, signal.SIGCONT)
            self._stood_still = None


def child_of_service(toml: Path, name: str, others: Iterable[str] = ()) -> int:
    """The process of that name beside the line with these settings, on this computer.

    Parameters
    ----------
    others
        What else is beside that line, by name.

    Raises
    ------
    ConfigError
        If there is none, or one of the others could be taken for it.
    """
    wanted, toml = name_in_ps(name), toml.resolve()
    alike = sorted(other for other in others if name_in_ps(other) == wanted)
    if alike:
        raise ConfigError(
            f"{toml}: the processes of {', '.join([name, *alike])} are all {wanted} on this "
            "computer; give them names that differ in their first 8 characters"
        )
    end_s = time.monotonic() + _FOUND_S
    while time.monotonic() < end_s:
        for pid, called, parent in _processes():
            if called == wanted and _reads(parent, toml):
                return pid
        time.sleep(0.05)
    raise ConfigError(
        f"no process {wanted} of {toml} on this computer; run edge-plc beside edge-run, as the "
        "same user"
    )


def _reads(pid: int, toml: Path) -> bool:
    """Whether a process was started with these settings."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        folder = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False
    return any((folder / os.fsdecode(word)).resolve() == toml for word in words if word)


def _processes() -> Iterator[tuple[int, str, int]]:
    """Number, name and parent of every process."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        yield int(folder.name), name, int(rest.split()[1])


def bridge_of(line: Line, toml: Path, name: str, poll_s: float, keys: Keys | None = None) -> Bridge:
    """The bridge of that name, or else the only one of that kind.

    Parameters
    ----------
    keys
        Of whoever hears beside it what the line publishes, for a line that asks for them.

    Raises
    ------
    ConfigError
        If the line has none.
    """
    found = [b for b in line.bridges if b.called == name] or [
        b for b in line.bridges if b.kind == name
    ]
    if len(found) != 1:
        names = ", ".join(b.called for b in line.bridges) or "none"
        raise ConfigError(f"{toml}: no bridge {name}; expected one of [[bridges]]: {names}")
    wire = line.wire
    listener = LineClient(
        None,
        wire.pub,
        line=line.name,
        options=WireOptions(wire.pub_encoding or wire.encoding, keys=keys),
    )
    called = found[0].called
    beside = [side.called for side in line.sides] + [one.called for one in line.bridges]
    others = [name for name in beside if name != called]
    find = partial(child_of_service, toml, called, others)
    return Bridge(found[0], facts_of(line), listener, find, poll_s)
