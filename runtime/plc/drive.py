"""The simulated PLC at work: triggers at a cadence, hears everything, does wrong when told to."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kenpin.runtime.plc.book import Promise
from kenpin.runtime.plc.faults import Fault, Faults
from kenpin.runtime.plc.parts import Part
from kenpin.runtime.plc.via import Bridge, PlcClient
from kenpin.runtime.plc.watch import Watch
from kenpin.runtime.wire.client import Heard, LineSilentError
from kenpin.runtime.wire.errors import WireError

__all__ = ["Drive", "Plan"]

_MS = 1_000_000
# Messages read before we look at the clock again.
_PORTION = 200
_LONGEST_WAIT_S = 0.02
_AWAY_S = 0.3
_STALLED_READERS = 20
# How long a bridge that was struck is watched, and how long it may take to come back.
_STRUCK_S = 0.45
_UNDER_WAY_S = 0.1
_MENDED_S = 30.0
# Parts before a change of the bundle, and after it.
_AROUND = 10
# More than any line forgives, and how long it may be deaf then, if it does not say.
_RUBBISH = 30
_DEAF_NS = 1500 * _MS
# A longer nap of ours cannot be told from a slow line.
_OVERSLEPT_NS = 3 * _MS


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    rate_hz    triggers a second; None: only listen
    count      triggers, or verdicts when listening; None: no end
    seconds    end after so long; None: no end
    recipe     asked for in every trigger; None: whichever is in force
    budget_us  asked for in every trigger; None: the line's own
    change     a bundle to PREPARE and ACTIVATE meanwhile; the run outlasts it
    prefix     digits that the ids of its triggers begin with
    """

    rate_hz: float | None
    count: int | None = None
    seconds: float | None = None
    recipe: str | None = None
    budget_us: int | None = None
    change: str | None = None
    prefix: str = ""


class Drive:
    """One run against one line.

    connect  makes a client; again after the PLC vanished
    stall    makes a subscriber that never reads, and returns what closes it
    bridge   what lies between us and the line, for faults of its own
    show     called now and then, to redraw
    """

    def __init__(
        self,
        connect: Callable[[], PlcClient],
        stall: Callable[[], Callable[[], None]],
        watch: Watch,
        plan: Plan,
        faults: Faults,
        *,
        bridge: Bridge | None = None,
        show: Callable[[], None] = lambda: None,
        show_every_s: float = math.inf,
    ) -> None:
        self._connect = connect
        self._stall = stall
        self._watch = watch
        self._plan = plan
        self._faults = faults
        self._bridge = bridge
        self._show = show
        self._show_every_s = show_every_s
        self._fields: dict[str, Any] = {}
        if plan.recipe is not None:
            self._fields["recipe"] = plan.recipe
        if plan.budget_us is not None:
            self._fields["budget_us"] = plan.budget_us
        self._withhold = 0
        self._withheld: list[Part] = []
        self._stalled: list[Callable[[], None]] = []
        self.struck: Counter[str] = Counter()
        self.unsent = 0
        self._commanded = ""
        self._changed_at: int | None = None
        self.longest_nap_ns = 0
        self._left_ns = 0  # when we last came from looking

    def run(self, client: PlcClient, ended: Callable[[], bool] = lambda: False) -> None:
        """Until the plan is done, or ended. The client is closed when no part is open any more."""
        self._client = client
        plan, watch = self._plan, self._watch
        begun = time.monotonic()
        end = begun + (math.inf if plan.seconds is None else plan.seconds)
        show_at = begun
        sent = 0
        try:
            with contextlib.suppress(KeyboardInterrupt):
                while (now := time.monotonic()) < end and not self._enough(sent) and not ended():
                    self._changing(sent)
                    due = math.inf if plan.rate_hz is None else begun + sent / plan.rate_hz
                    if now >= due:
                        if plan.rate_hz and now - due > 1 / plan.rate_hz:
                            begun += now - due  # no burst after a pause of ours
                        sent += 1
                        self._part(sent)
                        continue
                    self._hear(min(due, end, now + _LONGEST_WAIT_S) - now)
                    if now >= show_at:
                        show_at = now + self._show_every_s
                        self._show()
                self._drain()
            watch.finish(time.monotonic_ns())
        finally:
            for close in self._stalled:
                close()
            self._client.close()
            if self._bridge is not None:
                self._bridge.close()

    def _enough(self, sent: int) -> bool:
        if self._plan.count is None:
            return False
        return self._done(sent) >= self._plan.count and not self._changing(sent)

    def _done(self, sent: int) -> int:
        return self._watch.verdicts if self._plan.rate_hz is None else sent

    def _changing(self, sent: int) -> bool:
        """Lead the line through a change of its bundle; whether that goes on."""
        plan, step = self._plan, self._watch.change[0]
        if plan.change is None or step == "failed" or self._watch.error:
            return False
        if self._changed_at is None and step == "active":
            self._changed_at = self._done(sent)
        if not step and not self._commanded and self._done(sent) >= _AROUND:
            self._command("prepare", bundle=plan.change)
        elif step == "prepared" and self._commanded == "prepare":
            self._command("activate", bundle=plan.change)
        return self._changed_at is None or self._done(sent) < self._changed_at + _AROUND

    def _command(self, kind: str, **fields: Any) -> None:
        with contextlib.suppress(LineSilentError):
            self._client.say(kind, within_s=0, **fields)
            self._commanded = kind

    def _drain(self) -> None:
        """Hear what is under way, until it is overdue."""
        self._withhold = 0
        limits = self._watch.limits
        while self._watch.parts.open or self._withheld:
            last = (self._watch.parts.open or self._withheld)[-1]
            if time.monotonic_ns() > self._watch.parts.given_up_ns(last):
                break
            self._hear(_LONGEST_WAIT_S)
        # Whatever must not come any more has time to come.
        quiet_s = time.monotonic() + 2 * limits.slack_ns / 1e9
        while time.monotonic() < quiet_s:
            self._hear(_LONGEST_WAIT_S)

    # -- parts -----------------------------------------------------------------------------

    def _part(self, number: int) -> None:
        trig = f"{self._plan.prefix}{number:07}"
        fault = self._faults.next()
        if not self._trigger(trig):
            return
        if fault is None:
            return
        self.struck[fault] += 1
        if fault is Fault.DOUBLE:
            self._trigger(trig, repeated=True)
        elif fault is Fault.NO_ACK:
            self._withhold = max(self._withhold, self._faults.up_to(12))
        elif fault is Fault.SLOW_READER:
            if len(self._stalled) < _STALLED_READERS:
                self._stalled.append(self._stall())
        elif fault is Fault.RUBBISH:
            self._talk_rubbish()
        elif fault is Fault.VANISH:
            self._vanish()
        else:
            self._strike(fault)

    def _talk_rubbish(self) -> None:
        with contextlib.suppress(LineSilentError):
            for _ in range(_RUBBISH):
                self._client.say_raw(b"\xc1", within_s=0)
        if self._bridge is None:  # what lies between lets no rubbish through
            self._watch.paused(time.monotonic_ns() + _DEAF_NS)

    def _trigger(self, trig: str, *, repeated: bool = False) -> bool:
        now_ns = time.monotonic_ns()
        try:
            self._client.say("trigger", within_s=0, trig=trig, **self._fields)
        except LineSilentError as error:
            self.unsent += 1
            self._watch.book.check(Promise.ANSWER, False, now_ns, f"{trig}: {error}")
            return False
        self._watch.parts.triggered(trig, now_ns, repeated=repeated)
        return True

    def _vanish(self) -> None:
        self._client.close()
        time.sleep(_AWAY_S)
        self._come_back()

    def _strike(self, fault: Fault) -> None:
        """Let the bridge die or stand still: a PLC that hears nothing rejects, and comes back."""
        assert self._bridge is not None
        if fault is Fault.BRIDGE_KILLED:
            self._bridge.kill()
        else:
            self._bridge.stand_still(broker=fault is Fault.BROKER_AWAY)
        struck_s, talks = time.monotonic(), False
        while time.monotonic() < struck_s + _STRUCK_S:
            heard = self._listen()
            # What was said before the blow may still be on its way.
            talks |= heard is not None and heard.at_ns / 1e9 > struck_s + _UNDER_WAY_S
        self._watch.book.check(
            Promise.HEARTBEAT, not talks, time.monotonic_ns(), f"{fault}: the bridge still talks"
        )
        self._client.close()
        self._bridge.go_on()
        end_s = time.monotonic() + _MENDED_S
        while not self._bridge.answers() and time.monotonic() < end_s:
            time.sleep(_LONGEST_WAIT_S)
        self._come_back()

    def _listen(self) -> Heard | None:
        try:
            heard = self._client.receive(_LONGEST_WAIT_S)
        except WireError as error:
            self._watch.unreadable(str(error), time.monotonic_ns())
            return None
        if heard is not None:
            self._watch.heard(heard)
        return heard

    def _come_back(self) -> None:
        self._client = self._connect()
        self._watch.away(time.monotonic_ns())
        with contextlib.suppress(LineSilentError):
            self._client.say("hello", within_s=1)
        if self._bridge is not None:
            # Through a bridge a PLC waits until it reads "online", whatever it has to say.
            end_s = time.monotonic() + _MENDED_S
            while time.monotonic() < end_s:
                heard = self._listen()
                if heard is not None and heard.kind == "state" and not heard.topic:
                    break
        # What we do not know we ask again, under the same id: the part is not shot twice.
        for part in self._watch.parts.open:
            self._trigger(part.trig, repeated=True)

    # -- hearing ---------------------------------------------------------------------------

    def _hear(self, seconds: float) -> None:
        seconds = max(0.0, seconds)
        watch = self._watch
        for number in range(_PORTION):
            wait_s = seconds if number == 0 else 0.0
            before_ns, self._left_ns = self._left_ns, time.monotonic_ns()
            self._overslept(before_ns or self._left_ns, self._left_ns, 0.0)
            before_ns = self._left_ns
            try:
                heard = self._client.receive(wait_s)
            except WireError as error:
                watch.unreadable(str(error), time.monotonic_ns())
                continue
            now_ns = self._left_ns = time.monotonic_ns()
            self._overslept(before_ns, now_ns, wait_s)
            if heard is None:
                # Only now: nothing that has come is still unread.
                watch.tick(now_ns)
                break
            part = watch.heard(heard)
            if part is not None:
                self._acknowledge(part)
        if self._bridge is not None:
            for fields in self._bridge.directly():
                watch.directly(fields, time.monotonic_ns())
        self._late_acks(time.monotonic_ns())

    def _overslept(self, before_ns: int, now_ns: int, wait_s: float) -> None:
        nap_ns = now_ns - before_ns - round(wait_s * 1e9)
        self.longest_nap_ns = max(self.longest_nap_ns, nap_ns)
        if nap_ns > _OVERSLEPT_NS:
            watch = self._watch
            watch.clocks.held_up(before_ns, now_ns)

    def _acknowledge(self, part: Part) -> None:
        if self._withhold or time.monotonic_ns() < self._watch.deaf_until_ns:
            self._withhold = max(0, self._withhold - 1)
            self._withheld.append(part)
            return
        self._ack(part)

    def _late_acks(self, now_ns: int) -> None:
        """Verdicts withheld from their ACK get it once the last of them is overdue."""
        if self._withhold or not self._withheld:
            return
        last = self._withheld[-1]
        if now_ns < self._watch.deaf_until_ns:
            return  # it would be thrown away
        if now_ns > last.sent_ns + last.budget_ns + self._watch.limits.slack_ns:
            for part in self._withheld:
                self._ack(part)
            self._withheld.clear()

    def _ack(self, part: Part) -> None:
        assert part.verdict is not None
        with contextlib.suppress(LineSilentError):
            self._client.say("ack", within_s=0, seq=part.verdict["seq"])
            self._watch.parts.acknowledged(part.trig, time.monotonic_ns())
