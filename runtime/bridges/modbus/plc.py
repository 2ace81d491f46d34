"""A simulated PLC's side of the Modbus bridge: polls registers, and says what changed in them.

What it hears is told in the line's own words, so that whoever checks a line's promises
checks the bridge with it. It knows a result only by what the registers say of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from kenpin.config.bridges import ModbusSettings
from kenpin.runtime.bridges.modbus.registers import (
    ACQUISITIONS,
    ACQUISITIONS_AT,
    CONTROL,
    CONTROL_AT,
    CONTROL_BITS,
    FLAG_BITS,
    IDENTITY,
    IDENTITY_AT,
    RESULT,
    RESULT_BITS,
    SLOTS,
    SLOTS_AT,
    STATUS,
    STATUS_AT,
    STATUS_BITS,
    bits_of,
    next_number,
    word_of,
)
from kenpin.runtime.bridges.modbus.requests import Requests
from kenpin.runtime.bridges.nonsense import send_nonsense
from kenpin.runtime.bridges.process import BridgedLine
from kenpin.runtime.judging.verdict import REASON_CODES
from kenpin.runtime.wire.client import Heard, LineSilentError
from kenpin.runtime.wire.errors import WireError
from kenpin.runtime.wire.struct_encoding import STATE_NUMBERS

__all__ = ["ModbusPlc", "open_plc"]

_AGAIN_S = 0.1
_NO_ACK_S = 0.3
_STATES = {number: state for state, number in STATE_NUMBERS.items()}
_REASONS = {code: reason.value for reason, code in REASON_CODES.items()}
_COMMANDS = {"prepare": (3, "prepared"), "activate": (4, "active")}
_REFUSALS = {1: "stale", 2: "duplicate"}


def open_plc(
    settings: ModbusSettings, _facts: BridgedLine, session: str, poll_s: float
) -> ModbusPlc:
    """A PLC that talks with the line through this bridge; see `BridgeKind.plc`."""
    return ModbusPlc(settings, int(session), poll_s)


class ModbusPlc:
    """Like a `LineClient`, through registers.

    session  number of this start of the PLC's program
    poll_s   between two looks at the registers

    Raises
    ------
    LineSilentError
        If nobody listens there.
    """

    # What is published is counted by its number in the bridge.
    numbered = "result"

    def __init__(self, settings: ModbusSettings, session: int, poll_s: float) -> None:
        self._settings = settings
        self._low_first = settings.words == "low_first"
        self._session = session
        self._poll_s = poll_s
        self._next_s = 0.0
        self._heard: deque[Heard | WireError] = deque()
        self._wants: dict[str, Any] = {
            register.name: 0 for register in CONTROL.registers if register.name != "control"
        } | {"session": session}
        self._bits = {bit.name: False for bit in CONTROL_BITS} | {
            "trigger_enable": True, "buffer_results": True,
        }  # fmt: skip
        self._triggers: deque[Mapping[str, Any]] = deque()
        self._asked_s = 0.0
        self._asked = 0
        self._command = ""
        self._numbers: dict[int, int] = {}
        # The number of the result that was last seen in each slot.
        self._places: dict[int, int] = {}
        self._acknowledged: set[int] = set()
        self._parts: dict[int, int] = {}
        self._before: dict[str, Any] | None = None
        self._count = 0
        self._identity: dict[str, Any] = {}
        self._requests: Requests | None = None
        self._connect()

    # -- the connection --------------------------------------------------------------------

    def _connect(self) -> None:
        where = f"modbus://{self._settings.address}:{self._settings.port}"
        try:
            self._requests = Requests(self._settings.address, self._settings.port)
            there = CONTROL.decode(
                self._requests.read(CONTROL_AT, CONTROL.size), low_first=self._low_first
            )
        except OSError as error:
            self.close()
            raise LineSilentError(f"nobody answers at {where} ({error})") from None
        self._asked_s = 0.0
        if self._before is None:
            # The toggles stand where our program left them, before it lost its memory of them.
            left = bits_of(CONTROL_BITS, there["control"])
            self._bits |= {name: left[name] for name in ("trigger", "execute")}

    def close(self) -> None:
        """Let go. Closing twice is harmless."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None

    # -- saying ----------------------------------------------------------------------------

    def say(self, kind: str, *, within_s: float = 5.0, **fields: Any) -> None:  # noqa: ARG002
        """Do with registers what this command of the line's protocol does.

        Raises
        ------
        LineSilentError
            If the bridge cannot be reached.
        """
        if self._requests is None:
            raise LineSilentError("nobody answers at the bridge (not connected)")
        if kind == "trigger":
            self._triggers.append(fields)
        elif kind == "ack":
            self._wants["ack"] = self._numbers.get(fields["seq"], 0)
            self._acknowledged.add(self._wants["ack"])
        elif kind in _COMMANDS:
            number = self._recipe(fields["bundle"])
            self._wants |= {"command": _COMMANDS[kind][0], "recipe": number}
            self._bits["execute"] = not self._bits["execute"]
            self._command = kind
        try:
            if kind == "trigger":
                self._pull()
            else:
                self._write()
        except OSError:
            # Said all the same: outputs are levels, written again once the bridge answers.
            self.close()

    def say_raw(self, *parts: bytes, within_s: float = 5.0) -> None:
        """Bytes that are no request, over a connection of their own: ours would be cut."""
        send_nonsense(self._settings.address, self._settings.port, parts, within_s)

    def _recipe(self, label: str) -> int:
        try:
            return self._settings.recipes.index(label) + 1
        except ValueError:
            return 0

    def _write(self) -> None:
        if self._requests is None:
            raise OSError("not connected")
        control = word_of(CONTROL_BITS, **self._bits)
        values = {**self._wants, "control": control}
        self._requests.write(CONTROL_AT, CONTROL.encode(values, low_first=self._low_first))

    def _pull(self) -> None:
        """Trigger the next part, once the last trigger was taken note of."""
        if not self._triggers or time.monotonic() - self._asked_s < _NO_ACK_S:
            return
        fields = self._triggers.popleft()
        trigger = int(fields["trig"])
        part = trigger % 1000 + 1
        self._parts[trigger] = part
        self._wants |= {
            "trigger_id": trigger, "part_id": part, "budget_us": fields.get("budget_us", 0),
        }  # fmt: skip
        self._bits["trigger"] = not self._bits["trigger"]
        self._asked_s = time.monotonic()
        self._write()

    # -- hearing ---------------------------------------------------------------------------

    def receive(self, timeout_s: float = 0.0) -> Heard | None:
        """What changed in the registers, one at a time; None if nothing did in `timeout_s`.

        Raises
        ------
        WireError
            If what they say contradicts itself.
        """
        end_s = time.monotonic() + timeout_s
        while not self._heard:
            wait_s = self._next_s - time.monotonic()
            if wait_s > 0:
                time.sleep(max(0.0, min(wait_s, end_s - time.monotonic())))
            if time.monotonic() < self._next_s:
                return None
            self._look()
        found = self._heard.popleft()
        if isinstance(found, WireError):
            raise found
        return found

    def _look(self) -> None:
        self._next_s = time.monotonic() + self._poll_s
        try:
            if self._requests is None:
                self._connect()
                self._write()
            self._poll()
            self._pull()
        except (OSError, LineSilentError):
            # Silence: the PLC rejects, and tries again.
            self.close()
            self._next_s = time.monotonic() + _AGAIN_S

    def _poll(self) -> None:
        assert self._requests is not None
        words = self._requests.read(STATUS_AT, STATUS.size)
        at_ns = time.monotonic_ns()
        status = STATUS.decode(words, low_first=self._low_first)
        if status["session"] != self._session or (self._before is None and not status["state"]):
            return  # ours is not open yet, or the line is not heard
        before = self._before
        if before is None or before["boot"] != status["boot"]:
            self._identity = IDENTITY.decode(self._requests.read(IDENTITY_AT, IDENTITY.size))
        if before is None or before["instance"] != status["instance"]:
            self._begin(status, at_ns)
            return
        self._before = status
        self._states(before, status, at_ns)
        self._answers(before, status, at_ns)
        self._results(before, status, at_ns)
        # A line that is silent says nothing by its last heartbeat.
        if status["state"] and status["heartbeat"] != before["heartbeat"]:
            self._publish("hb", self._pulse(status), at_ns)

    def _begin(self, status: dict[str, Any], at_ns: int) -> None:
        """First look: whatever waits was told while we were not there."""
        self._before = status
        self._acknowledged.clear()
        self._state(status, at_ns)
        for place in range(SLOTS):
            if status["slots"] >> place & 0x101:
                self._tell("verdict", self._result(place), at_ns)

    def _states(self, before: dict[str, Any], status: dict[str, Any], at_ns: int) -> None:
        watched = ("state", "bundle", "boot")
        # A line that is silent has not said so: whoever waits for its heartbeat will see.
        if status["state"] and any(before[name] != status[name] for name in watched):
            self._state(status, at_ns)

    def _answers(self, before: dict[str, Any], status: dict[str, Any], at_ns: int) -> None:
        """What became of a trigger, or of a command."""
        flags = bits_of(FLAG_BITS, status["flags"])
        if status["triggers"] != before["triggers"]:
            self._asked_s = 0.0
            now_ns = status["now_ns"]
            answer = {
                "trig": str(status["trigger_id"]),
                "fresh": flags["fresh"],
                "overrun": bits_of(STATUS_BITS, status["status"])["overrun"],
                "t_mono_ns": now_ns,
                "deadline_ns": now_ns + status["budget_us"] * 1000,
            }
            self._tell("trigger_ack", answer, at_ns)
        if status["refusals"] != before["refusals"]:
            self._asked_s = 0.0
            answer = {
                "about": "trigger",
                "trig": str(status["refused_id"]),
                "reason": _REFUSALS.get(status["refusal"]),
                "detail": f"trigger {status['refused_id']} refused: {status['refusal']}",
            }
            self._tell("error", answer, at_ns)
        if status["commands"] != before["commands"] and self._command:
            failed = bits_of(STATUS_BITS, status["status"])["command_failed"]
            kind = "failed" if failed else _COMMANDS[self._command][1]
            answer = {"detail": "the bridge says that it failed" if failed else ""}
            answer |= {"bundle": f"{status['bundle']:012x}", "t_mono_ns": status["now_ns"]}
            self._tell(kind, answer, at_ns)

    def _results(self, before: dict[str, Any], status: dict[str, Any], at_ns: int) -> None:
        assert self._requests is not None
        steps = (status["acquired"] - before["acquired"]) % 0x10000
        if steps:
            words = self._requests.read(ACQUISITIONS_AT, ACQUISITIONS.size)
            there = ACQUISITIONS.decode(words, low_first=self._low_first)
            for n in range(before["acquired"], before["acquired"] + min(steps, SLOTS)):
                trig, frame = there[f"trigger_id_{n % SLOTS}"], there[f"frame_{n % SLOTS}"]
                self._tell("acquired", {"trig": str(trig), "frame": frame}, at_ns)
        number = before["newest"]
        new = set()
        while number != status["newest"]:
            number = next_number(number)
            new.add((number - 1) % SLOTS)
            fields = self._result((number - 1) % SLOTS, number)
            self._count += 1
            if fields is not None:
                self._publish("verdict", fields | {"result": self._count}, time.monotonic_ns())
                self._tell("verdict", fields, time.monotonic_ns())
        for place in range(SLOTS):
            if status["slots"] >> place & 1 and place not in new:
                # Not another one that has come since the status was read.
                fields = self._result(place, self._places.get(place, 0))
                if fields is not None and self._numbers[fields["seq"]] not in self._acknowledged:
                    self._tell("verdict", fields, time.monotonic_ns())

    def _result(self, place: int, number: int | None = None) -> dict[str, Any] | None:
        """What a slot says; None if it says nothing, or another result than was looked for."""
        assert self._requests is not None
        words = self._requests.read(SLOTS_AT + place * RESULT.size, RESULT.size)
        found = RESULT.decode(words, low_first=self._low_first)
        if found["valid"] == 0 or number not in (None, found["number"]):
            return None
        self._numbers[found["seq"]] = self._places[place] = found["number"]
        why = self._unsound(found)
        if why:
            self._heard.append(WireError(f"result {found['number']}: {why}"))
        return self._as_message(found)

    def _unsound(self, found: Mapping[str, Any]) -> str:
        """What in a result must not be; empty if it is well."""
        flags = bits_of(RESULT_BITS, found["flags"])
        part = self._parts.get(found["trigger_id"])
        if found["verdict"] not in (1, 2):
            return f"verdict {found['verdict']}"
        if part is not None and found["part_id"] != part:
            return f"part {found['part_id']}, triggered was {part}"
        if found["verdict"] == 2:
            return "" if found["code"] else "NG without a reason"
        if found["code"] or flags["unsure"] or flags["partial"] or flags["late"]:
            return f"OK, yet code {found['code']} and flags {found['flags']}"
        score, thr = found["score"], found["thr"]
        proven = score is not None and thr is not None and score <= thr
        return "" if proven else f"OK, yet score {score} and threshold {thr}"

    def _as_message(self, found: Mapping[str, Any]) -> dict[str, Any]:
        flags = bits_of(RESULT_BITS, found["flags"])
        trigger = found["trigger_id"]
        return {
            "seq": found["seq"],
            "trig": str(trigger) if trigger else None,
            "session": str(found["session"]) if trigger else None,
            "frame": found["frame"],
            "verdict": found["verdict"],
            "code": found["code"],
            "reason": _REASONS.get(found["code"]),
            "score": found["score"],
            "thr": found["thr"],
            "sim": flags["sim"],
            "n_defects": found["n_defects"],
            "peak": (found["peak_x"], found["peak_y"]) if flags["has_peak"] else None,
            "bundle": f"{found['bundle']:012x}",
            "t_mono_ns": found["now_ns"],
            "lat_us": {"total": found["lat_us"]},
            "deadline_us": found["deadline_us"] if flags["has_deadline"] else None,
        }

    def _state(self, status: Mapping[str, Any], at_ns: int) -> None:
        """Where the line stands, and since when which bundle is in force."""
        fields = self._pulse(status) | {
            "sim": bits_of(FLAG_BITS, status["flags"])["sim"],
            "bundle": f"{status['bundle']:012x}" if status["bundle"] else "",
        }
        self._tell("state", fields | {"t_mono_ns": status["bundle_since_ns"]}, at_ns)
        # Registers do not say when a state began, so it has no age.
        self._publish("state", fields | {"t_mono_ns": None}, at_ns)

    def _pulse(self, status: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "state": _STATES.get(status["state"], ""),
            "last_seq": self._count,
            "hb_seq": status["heartbeat"],
            "t_mono_ns": status["now_ns"],
        }

    def _head(self) -> dict[str, Any]:
        assert self._before is not None
        box, line = self._identity["box"], self._identity["line"]
        return {"box": box, "line": line, "boot": f"{self._before['boot']:08x}"}

    def _publish(self, kind: str, fields: dict[str, Any], at_ns: int) -> None:
        head = self._head()
        topic = f"v1/{kind}/{head['line']}"
        self._heard.append(Heard(kind, {"type": kind} | head | _acquired_at(fields), at_ns, topic))

    def _tell(self, kind: str, fields: dict[str, Any] | None, at_ns: int) -> None:
        if fields is not None:
            whole = {"type": kind} | self._head() | _acquired_at(fields)
            self._heard.append(Heard(kind, whole, at_ns))


def _acquired_at(fields: dict[str, Any]) -> dict[str, Any]:
    """With the moment of the last scan line, which registers say as a duration."""
    if "lat_us" not in fields:
        return fields
    return fields | {"t_acq_ns": fields["t_mono_ns"] - fields["lat_us"]["total"] * 1000}
