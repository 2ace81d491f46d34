"""What the registers show, at any moment. No socket; times are passed in."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kenpin.runtime.bridges.line_watch import LineWatch
from kenpin.runtime.bridges.modbus.registers import (
    ACQUISITIONS,
    CONTROL,
    CONTROL_AT,
    CONTROL_BITS,
    EMPTY_RESULT,
    END,
    FLAG_BITS,
    IDENTITY,
    MAP_VERSION,
    SLOTS,
    STATUS,
    STATUS_AT,
    STATUS_BITS,
    WINDOW_AT,
    bits_of,
    next_number,
    word_of,
)
from kenpin.runtime.bridges.process import BridgedLine
from kenpin.runtime.bridges.results import Kept, Results

__all__ = ["Handshake", "Shown", "session_name"]

_VALID_AT = 2
_WORD = 0x10000


@dataclass(slots=True)
class Handshake:
    """What became of triggers and commands; counters are modulo 65536, names as in the registers.

    trigger_ack, execute_ack
             as the PLC's toggles, once they are dealt with; None before the first
    instance another one at each start of the bridge
    """

    instance: int = field(default_factory=lambda: 1 + secrets.randbelow(_WORD - 1))
    trigger_ack: bool | None = None
    execute_ack: bool | None = None
    triggers: int = 0
    acquired: int = 0
    refusals: int = 0
    refusal: int = 0
    trigger_id: int = 0
    refused_id: int = 0
    budget_us: int = 0
    commands: int = 0
    acquiring: bool = False
    refused: bool = False
    completed: bool = False
    overrun: bool = False
    command_done: bool = False
    command_failed: bool = False
    fresh: bool = False

    def count(self, name: str) -> None:
        """One more."""
        setattr(self, name, (getattr(self, name) + 1) % _WORD)


class Shown:
    """Everything that can be read, and the control block as it was written.

    line       the line as it is known
    results    its verdicts, until they are acknowledged
    under_way  the line's ids of parts without a verdict, and the toggle that triggered each
    command    under way; empty: none
    session    that the PLC asks for; 0: none
    """

    def __init__(self, facts: BridgedLine, *, low_first: bool) -> None:
        self._triggered = facts.triggered
        self._low_first = low_first
        self.control = [0] * CONTROL.size
        self.line = LineWatch()
        self.results = Results(next_number)
        self.handshake = Handshake()
        self.session = 0
        self.command = ""
        self.under_way: OrderedDict[str, bool] = OrderedDict()
        self._slots: list[tuple[Kept, list[int]] | None] = [None] * SLOTS
        self._acquisitions = {register.name: 0 for register in ACQUISITIONS.registers}
        self._identity = IDENTITY.encode(
            {"map_version": MAP_VERSION, "box": facts.box, "line": facts.line}
        )

    def forget(self) -> None:
        """Another session, or another boot of the line: nothing of before is anybody's."""
        self.results.forget()
        self.under_way.clear()
        self._slots = [None] * SLOTS
        self.handshake.overrun = self.handshake.acquiring = False

    def keep(self, kept: Kept, words: list[int]) -> None:
        """Show a result in its slot."""
        self._slots[(kept.number - 1) % SLOTS] = kept, words
        self.handshake.completed = not self.handshake.completed
        self.handshake.acquiring = False

    def acquired(self, trigger_id: int, frame: int) -> None:
        """A part may move."""
        place = self.handshake.acquired % SLOTS
        self._acquisitions[f"trigger_id_{place}"] = trigger_id
        self._acquisitions[f"frame_{place}"] = frame % 2**32
        self.handshake.count("acquired")
        self.handshake.acquiring = False

    @property
    def buffering(self) -> bool:
        """Whether results wait to be acknowledged."""
        return bits_of(CONTROL_BITS, self.control[0])["buffer_results"]

    @property
    def in_force(self) -> bool:
        """Whether the line serves the session that the PLC asks for."""
        return bool(self.session) and self.line.session == session_name(self.session)

    # -- as it is read ---------------------------------------------------------------------

    def image(self, now_ns: int) -> list[int]:
        """All registers, as they are read now."""
        words = [0] * END
        words[CONTROL_AT : CONTROL_AT + CONTROL.size] = self.control
        slots, mask = self._shown_slots(now_ns)
        window = self._window(slots)
        status = self._status(mask, window, now_ns)
        words[STATUS_AT : STATUS_AT + STATUS.size] = STATUS.encode(
            status, low_first=self._low_first
        )
        acquired = ACQUISITIONS.encode(self._acquisitions, low_first=self._low_first)
        results = [word for result in (window, *slots) for word in result]
        words[WINDOW_AT:] = [*results, *acquired, *self._identity]
        return words

    def _shown_slots(self, now_ns: int) -> tuple[list[list[int]], int]:
        """What each slot shows, and the word that says which may be acted on."""
        shown, mask = [], 0
        # Where numbers wrap one is given up before its slot is used again.
        kept_ones = {kept.number for kept in self.results.kept}
        for place, found in enumerate(self._slots):
            if found is None or found[0].acknowledged or found[0].number not in kept_ones:
                shown.append(EMPTY_RESULT)
                continue
            kept, words = found
            overdue = now_ns > kept.until_ns
            mask |= 1 << (place + SLOTS * overdue)
            shown.append([*words[:_VALID_AT], 1 + overdue, *words[_VALID_AT + 1 :]])
        return shown, mask

    def _window(self, slots: Sequence[list[int]]) -> list[int]:
        # Of all: with the newest taken, the one before it would look like the next.
        shown = self.results.waiting[:1] if self.buffering else self.results.kept[-1:]
        return slots[(shown[0].number - 1) % SLOTS] if shown else EMPTY_RESULT

    def _status(self, mask: int, window: Sequence[int], now_ns: int) -> Mapping[str, Any]:
        line = self.line
        return asdict(self.handshake) | {
            "status": self._status_word(window, now_ns),
            "flags": self._flags_word(),
            "state": line.state_number(now_ns),
            "heartbeat": line.beats % 2**32,
            "newest": self.results.newest,
            "slots": mask,
            "session": self.session if self.in_force else 0,
            "bundle": line.bundle_hash,
            "bundle_since_ns": line.bundle_since_ns,
            "now_ns": line.beat_at_ns,
            "boot": line.boot_number,
            "alarms": len(line.alarms),
        }

    def _status_word(self, window: Sequence[int], now_ns: int) -> int:
        handshake, line = self.handshake, self.line
        control = bits_of(CONTROL_BITS, self.control[0])
        well, wanted = line.well(now_ns), control["trigger_enable"] and self.in_force
        online = well and wanted and not control["set_offline"]
        return word_of(
            STATUS_BITS,
            trigger_ready=online and line.accepts and self._triggered,
            trigger_ack=bool(handshake.trigger_ack),
            acquiring=handshake.acquiring,
            refused=handshake.refused,
            offline_enable=not wanted,
            offline_plc=control["set_offline"],
            offline_line=not well,
            online=online,
            busy=bool(self.under_way),
            completed=handshake.completed,
            overrun=handshake.overrun if self._triggered else self.results.overrun,
            results_valid=window[_VALID_AT] == 1,
            executing=bool(self.command),
            command_done=handshake.command_done,
            command_failed=handshake.command_failed,
            error=line.error(now_ns),
        )

    def _flags_word(self) -> int:
        handshake, line = self.handshake, self.line
        return word_of(
            FLAG_BITS,
            fresh=handshake.fresh,
            degraded=line.degraded,
            sim=line.sim,
            selftest=line.selftest,
            cam_ok=line.cam_ok,
            execute_ack=bool(handshake.execute_ack),
            triggered=self._triggered,
        )


def session_name(session: int) -> str:
    """What the line calls the PLC's session."""
    # Not a bare number: those from 32768 on are the line's own.
    return f"plc-{session}"
