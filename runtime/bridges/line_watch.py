"""What a bridge knows of its line from what the line says. No socket; times are passed in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kenpin.runtime.wire.client import Heard
from kenpin.runtime.wire.struct_encoding import STATE_NUMBERS
from kenpin.runtime.wire.verdict_messages import State

__all__ = ["LineWatch", "hash_number"]

# Three heartbeats; the line sends one every 100 ms.
_SILENT_NS = 300_000_000
_WELL = frozenset({State.READY, State.SINGLE, State.CONTINUOUS})
_HASH = re.compile(r"@([0-9a-f]{12})$")


class LineWatch:
    """The line as its bridge sees it.

    beats      the number of its newest heartbeat
    session    of ours that it has in force; empty: none
    alarms     those that are open, by source
    refusal    why it does not let us in; empty if it does
    """

    def __init__(self) -> None:
        self.boot = ""
        self.state = ""
        self.bundle = ""
        self.bundle_since_ns = 0
        self.beats = self.beat_at_ns = self.last_seq = 0
        self.session = ""
        self.alarms: dict[str, Mapping[str, Any]] = {}
        self.sim = self.degraded = self.selftest = self.cam_ok = False
        self.refusal = ""

    def heard(self, heard: Heard, now_ns: int) -> bool:
        """Note a message; whether it is of another boot than those before."""
        fields = heard.fields
        boot = fields.get("boot", self.boot)
        restarted, self.boot = bool(self.boot) and boot != self.boot, boot
        if restarted:
            self.session, self.alarms, self.state = "", {}, ""
            self.bundle_since_ns = 0
        if heard.kind == "state":
            self._state(fields, to_us=not heard.topic)
        elif heard.kind == "hb":
            self._beat(fields, now_ns)
        elif heard.kind == "alarm":
            if fields["active"]:
                self.alarms[fields["source"]] = fields
            else:
                self.alarms.pop(fields["source"], None)
        elif heard.kind == "active":
            self._in_force(fields)
        return restarted

    def _state(self, fields: Any, *, to_us: bool) -> None:
        self.state, self.last_seq = fields["state"], fields["last_seq"]
        self.sim, self.degraded = fields["sim"], fields["degraded"]
        self.selftest = fields["selftest"]
        self._in_force(fields)
        if to_us:
            self.session, self.refusal = fields.get("session") or "", ""

    def _in_force(self, fields: Any) -> None:
        if (fields["bundle"] and fields["bundle"] != self.bundle) or not self.bundle_since_ns:
            self.bundle, self.bundle_since_ns = fields["bundle"], fields["t_mono_ns"]

    def _beat(self, fields: Any, now_ns: int) -> None:
        # One that waited somewhere for so long says nothing of the present.
        if now_ns - fields["t_mono_ns"] > _SILENT_NS:
            return
        self.beats, self.beat_at_ns = fields["hb_seq"], fields["t_mono_ns"]
        self.state, self.last_seq = fields["state"], fields["last_seq"]
        self.cam_ok = fields["cam_ok"]

    def refused(self, why: str) -> None:
        """It does not let us in."""
        self.session, self.refusal = "", why

    def well(self, now_ns: int) -> bool:
        """Whether it judges, by its own word and by its heartbeat."""
        return self.state in _WELL and now_ns - self.beat_at_ns <= _SILENT_NS

    def error(self, now_ns: int) -> bool:
        """Whether it says that it cannot, or is silent where it should not be."""
        return self.state == State.ERROR or self.state_number(now_ns) == 0

    def state_number(self, now_ns: int) -> int:
        """As in `STATE_NUMBERS`; 0 if it is not heard."""
        if self.state in _WELL and not self.well(now_ns):
            return 0
        return STATE_NUMBERS.get(self.state, 0)

    @property
    def accepts(self) -> bool:
        """Whether one more trigger may come."""
        return self.state == State.READY

    @property
    def bundle_hash(self) -> int:
        """Of the bundle in force, as a number; 0: none."""
        return hash_number(self.bundle)

    @property
    def boot_number(self) -> int:
        """The first 8 hex digits of its boot."""
        return int(self.boot[:8] or "0", 16)


def hash_number(label: str) -> int:
    """The 12 hex digits at the end of a bundle's label, as a number; 0 if there are none."""
    found = _HASH.search(label)
    return int(found[1], 16) if found else 0
