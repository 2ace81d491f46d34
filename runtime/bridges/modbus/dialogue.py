"""Between the PLC's registers and the line's messages: no socket, times are passed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kenpin.config.bridges import ModbusSettings
from kenpin.runtime.bridges.link import Unsaid
from kenpin.runtime.bridges.modbus.registers import CONTROL, CONTROL_AT, CONTROL_BITS, bits_of
from kenpin.runtime.bridges.modbus.result_words import result_words
from kenpin.runtime.bridges.modbus.shown import Shown, session_name
from kenpin.runtime.bridges.process import BridgedLine
from kenpin.runtime.bridges.refusal import TriggerRefusal, refusal_of
from kenpin.runtime.bridges.results import act_until_ns
from kenpin.runtime.wire.client import Heard

__all__ = ["ModbusDialogue"]

# Triggers whose deadline is remembered; the line has eight under way at most.
_REMEMBERED = 64


_COMMANDS: Mapping[int, str] = {
    1: "reset",
    2: "selftest",
    3: "prepare",
    4: "activate",
    5: "roll_start",
    6: "roll_stop",
}
_ANSWERS: Mapping[str, frozenset[str]] = {
    "reset": frozenset({"resetting"}),
    "selftest": frozenset({"selftest_done"}),
    "prepare": frozenset({"prepared", "failed"}),
    "activate": frozenset({"active", "failed"}),
    "roll_start": frozenset({"roll_ack"}),
    "roll_stop": frozenset({"roll_ack"}),
}


class ModbusDialogue:
    """What is done when the PLC writes registers, and when the line speaks.

    say    a command to the line; `hello` opens the session that it names
    shown  what the PLC reads
    """

    def __init__(
        self, facts: BridgedLine, settings: ModbusSettings, say: Callable[..., None]
    ) -> None:
        self._facts = facts
        self._settings = settings
        self._say = say
        self._low_first = settings.words == "low_first"
        self.shown = Shown(facts, low_first=self._low_first)
        # A toggle is not known before it was written: a restart of ours is no trigger.
        self._trigger: bool | None = None
        self._execute: bool | None = None
        self._deadlines: OrderedDict[str, int] = OrderedDict()

    # -- what the PLC does -----------------------------------------------------------------

    def written(self, address: int, words: Sequence[int]) -> None:
        """The PLC wrote registers of the control block."""
        shown, start = self.shown, address - CONTROL_AT
        shown.control[start : start + len(words)] = words
        wants = CONTROL.decode(shown.control, low_first=self._low_first)
        bits = bits_of(CONTROL_BITS, wants["control"])
        if wants["session"] != shown.session:
            shown.session = wants["session"]
            self._forget()
            self.greet_again()
        if wants["ack"]:
            self._acknowledge(wants["ack"])
        trigger, self._trigger = self._trigger, bits["trigger"]
        if trigger is None:
            shown.handshake.trigger_ack = bits["trigger"]
        elif trigger != bits["trigger"]:
            self._pull(wants, bits)
        execute, self._execute = self._execute, bits["execute"]
        if execute is None:
            shown.handshake.execute_ack = bits["execute"]
        elif execute != bits["execute"]:
            self._run(wants)

    def greet_again(self) -> None:
        """Say HELLO, where the line has not taken the PLC's session yet."""
        if self.shown.session and not self.shown.in_force:
            self._say("hello", session=session_name(self.shown.session))

    def _forget(self) -> None:
        self.shown.forget()
        self._deadlines.clear()

    def _acknowledge(self, number: int) -> None:
        kept = self.shown.results.acknowledge(number)
        if kept is not None and self._facts.triggered:
            self._say("ack", seq=kept.verdict["seq"])

    def _pull(self, wants: Mapping[str, Any], bits: Mapping[str, bool]) -> None:
        number, under_way = wants["trigger_id"], self.shown.under_way
        why = self._obstacle(number, bits)
        if why is not None:
            self._refuse(number, why)
            return
        # The part's own id goes along, so that it is known after a restart of ours, and to
        # everybody who reads the line's books.
        trig = f"{number}-{wants['part_id']}" if wants["part_id"] else str(number)
        under_way[trig] = bits["trigger"]
        if len(under_way) > _REMEMBERED:
            under_way.popitem(last=False)
        fields = {"budget_us": wants["budget_us"]} if wants["budget_us"] else {}
        self._say("trigger", trig=trig, session=session_name(self.shown.session), **fields)

    def _obstacle(self, number: int, bits: Mapping[str, bool]) -> TriggerRefusal | None:
        if not self.shown.session:
            return TriggerRefusal.NO_SESSION
        if not bits["trigger_enable"] or bits["set_offline"]:
            return TriggerRefusal.DISABLED
        return None if number else TriggerRefusal.NO_ID

    def _refuse(self, number: int, why: TriggerRefusal) -> None:
        handshake = self.shown.handshake
        handshake.count("refusals")
        handshake.refusal, handshake.refused_id, handshake.refused = why, number, True
        handshake.trigger_ack = self._trigger

    def _run(self, wants: Mapping[str, Any]) -> None:
        kind = _COMMANDS.get(wants["command"], "")
        recipes, recipe = self._settings.recipes, wants["recipe"]
        fields: dict[str, Any] = {}
        if kind in ("prepare", "activate"):
            if not 1 <= recipe <= len(recipes):
                kind = ""
            else:
                fields["bundle"] = recipes[recipe - 1]
        if not kind or self.shown.command:
            self._ran(failed=True)
            return
        self.shown.command = kind
        self.shown.handshake.command_done = self.shown.handshake.command_failed = False
        self._say(kind, **fields)

    def _ran(self, *, failed: bool) -> None:
        handshake = self.shown.handshake
        handshake.command_done, handshake.command_failed = not failed, failed
        handshake.count("commands")
        handshake.execute_ack = self._execute
        self.shown.command = ""

    # -- what the line says ----------------------------------------------------------------

    def heard(self, message: Heard | Unsaid, now_ns: int) -> None:
        """A message of the line, or a command that it was not told."""
        if isinstance(message, Unsaid):
            self._unsaid(message)
            return
        if self.shown.line.heard(message, now_ns):
            self._restarted()
        if message.topic:
            if message.kind == "verdict" and not self._facts.triggered:
                self._keep(message.fields, None)
        else:
            self._heard_of(message.kind, message.fields)

    def _heard_of(self, kind: str, fields: Mapping[str, Any]) -> None:
        ours = self.shown.session and fields.get("session") == session_name(self.shown.session)
        if kind == "verdict" and ours:
            self._verdict(fields)
        elif kind == "trigger_ack" and ours:
            self._acked(fields)
        elif kind == "acquired" and ours:
            self.shown.acquired(_ids(fields["trig"])[0], fields["frame"])
        elif kind == "error":
            self._error(fields)
        elif kind in _ANSWERS.get(self.shown.command, ()):
            self._ran(failed=kind == "failed" or fields.get("passed") is False)

    def _restarted(self) -> None:
        """Another boot of the line: it knows nothing of what was before."""
        self._forget()
        if self.shown.command:
            self._ran(failed=True)
        self.greet_again()

    def _unsaid(self, unsaid: Unsaid) -> None:
        if unsaid.kind == "trigger":
            trig = unsaid.fields["trig"]
            self.shown.under_way.pop(trig, None)
            self._refuse(_ids(trig)[0], TriggerRefusal.AWAY)
        elif unsaid.kind == self.shown.command:
            self._ran(failed=True)

    def _acked(self, fields: Mapping[str, Any]) -> None:
        trig, handshake = fields["trig"], self.shown.handshake
        self._deadlines[trig] = fields["deadline_ns"]
        if len(self._deadlines) > _REMEMBERED:
            self._deadlines.popitem(last=False)
        handshake.trigger_ack = self.shown.under_way.get(trig, self._trigger)
        handshake.count("triggers")
        handshake.trigger_id = _ids(trig)[0]
        handshake.fresh, handshake.overrun = fields["fresh"], fields["overrun"]
        handshake.refused, handshake.acquiring = False, fields["fresh"]
        handshake.budget_us = (fields["deadline_ns"] - fields["t_mono_ns"]) // 1000

    def _verdict(self, fields: Mapping[str, Any]) -> None:
        if self.shown.results.taken(fields["seq"]):
            self._say("ack", seq=fields["seq"])
        else:
            self._keep(fields, self._deadlines.get(fields["trig"]))

    def _keep(self, fields: Mapping[str, Any], deadline_ns: int | None) -> None:
        shown = self.shown
        until_ns = act_until_ns(fields, deadline_ns, self._settings.hold_ms)
        kept = shown.results.add(fields, until_ns)
        if kept is None:
            return
        shown.under_way.pop(fields["trig"] or "", None)
        trigger, part = _ids(fields["trig"])
        session = shown.session if self._facts.triggered else 0
        words = result_words(kept.number, fields, trigger, part, session, self._low_first)
        shown.keep(kept, words)
        if not shown.buffering and self._facts.triggered:
            self._say("ack", seq=fields["seq"])

    def _error(self, fields: Mapping[str, Any]) -> None:
        about = fields["about"]
        if about == "trigger":
            trig = fields["trig"] or ""
            self.shown.under_way.pop(trig, None)
            self._refuse(_ids(trig)[0], refusal_of(fields))
        elif about == "hello":
            self.shown.line.refused(fields["detail"])
        elif about and about == self.shown.command:
            self._ran(failed=True)


def _ids(trig: str | None) -> tuple[int, int]:
    """The PLC's trigger and part ids, from the line's id of a part."""
    trigger, _, part = (trig or "0").partition("-")
    return int(trigger) if trigger.isdecimal() else 0, int(part) if part.isdecimal() else 0
