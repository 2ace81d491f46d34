"""The gateway: one thread, one poll loop, which answers whatever else happens.

It loads neither numpy nor OpenVINO, opens no file once it runs, and waits for
nobody: what may hang lives in another process.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
import zmq

from kenpin.camera.acquisition.events import CameraChanged, CameraState
from kenpin.config.exits import Exit, ending_signals
from kenpin.processes.memory import keep_what_is_loaded
from kenpin.runtime.judging.verdict import Reason, Verdict
from kenpin.runtime.service.all_sides import AllSides
from kenpin.runtime.service.audit_entry import Who
from kenpin.runtime.service.commands import Commander
from kenpin.runtime.service.coordinator import CAMERA_WORKS
from kenpin.runtime.service.inspection.messages import (
    Drifted,
    Failed,
    Gone,
    InspectionEvent,
    Phase,
    PhaseChanged,
    SelftestEnded,
    TookOver,
)
from kenpin.runtime.service.inspection.supervisor import Role
from kenpin.runtime.service.ledger import Answer, LedgerEntry
from kenpin.runtime.service.line_parts import LineParts
from kenpin.runtime.service.realtime import claim_priority, lock_memory
from kenpin.runtime.service.states import LineFacts, state_of
from kenpin.runtime.service.systemd import Manager
from kenpin.runtime.service.uninspected import Uninspected

__all__ = ["Gateway"]

_MS = 1_000_000
# A deadline so near is waited for in naps; whatever comes meanwhile waits for a nap's end.
_CLOSE_NS = 2 * _MS
_NAP_NS = _MS // 5
HEARTBEAT_NS = 100 * _MS
# Silence is looked for at least so often.
_LOOK_NS = 25 * _MS
_STATUS_NS = 1000 * _MS
# So long the processes beside the line may write down what they were told; systemd ends all
# after 10 s. At a recording's end nobody waits for the box.
_GRACE_S, _PLAYED_GRACE_S = 4.0, 60.0
_CAMERA_FAULTS = frozenset({CameraState.STALLED, CameraState.LOST, CameraState.FAILED})


@dataclass(slots=True)
class _Timer:
    """`act` is called at `due_ns`, and says how long until the next time."""

    due_ns: int
    act: Callable[[int], int]


class Gateway:
    """A line at work, from its start to SIGTERM.

    parts      what it is made of
    manager    who started us
    until_end  stop when a recording has been played and answered
    """

    def __init__(
        self, parts: LineParts, *, manager: Manager | None = None, until_end: bool = False
    ) -> None:
        self._line, self._log_queue, self._clock_ns = parts.line, parts.log, parts.clock_ns
        self._ring, self._ledger = parts.ring, parts.ledger
        self._acquisition, self._supervisor = parts.acquisition, parts.supervisor
        self._sockets, self._announcer = parts.sockets, parts.announcer
        self._coordinator, self._changeover = parts.coordinator, parts.changeover
        self._alarms, self._audit, self._sides = parts.alarms, parts.audit, AllSides(parts)
        self._manager = manager or Manager()
        self._until_end, self._played = until_end, False
        self._log = structlog.get_logger()
        self._commander = Commander(
            parts,
            rolls=self._sides.rolls,
            begin_selftest=self._begin_selftest,
            in_force=self._in_force,
            on_change=self._sides.changed,
        )
        self._uninspected = Uninspected(self._line.uninspected)
        self._coordinator.on_verdict.append(self._watch_rate)
        self._exit: int | None = None
        self._proven = False
        self._selftesting = False
        self._beats = 0
        now = self._clock_ns()
        self._timers: dict[str, _Timer] = {
            "look": _Timer(now, self._on_look),
            "heartbeat": _Timer(now, self._on_heartbeat),
            "status": _Timer(now, self._on_status),
            "watchdog": _Timer(now, self._on_watchdog),
        }
        if self._line.selftest.every_s:
            first = now + round(self._line.selftest.every_s * 1000 * _MS)
            self._timers["selftest"] = _Timer(first, self._on_selftest)
        self._poller = zmq.Poller()
        self._polled: tuple[Any, ...] = ()

    # -- life ------------------------------------------------------------------------------

    def run(self) -> int:
        """Until a signal asks it to end, or until the line can never run; the exit code."""
        with self._signals() as wake:
            try:
                self._claim()
                self._supervisor.start()
                self._sides.start()
                # Not before: a line that nobody has started yet would be in state ERROR.
                self._announce()
                # A full collection would look through it for milliseconds, while a verdict is due.
                keep_what_is_loaded()
                while self._exit is None:
                    self._wait(wake)
                    self._turn(wake)
                self._shut_down()
            finally:
                # A child ignores the terminal's signals: leave none behind.
                self._supervisor.close()
                self._acquisition.stop(0.5)
                self._changeover.close()
                self._sides.stop(_PLAYED_GRACE_S if self._played else _GRACE_S)
                self._audit.close()
                self._sockets.close()
                self._manager.close()
                self._ring.close()
        return self._exit

    def _claim(self) -> None:
        """Come before other work of the box, if the kernel lets us."""
        asked = self._line.gateway
        refused = [claim_priority(asked.realtime_priority)]
        refused += [lock_memory()] if asked.lock_memory else []
        why = "; ".join(text for text in refused if text)
        if why and not self._manager.present:
            # By hand nobody promised it.
            self._log.info("no_priority", detail=why)
        else:
            self._alarms.note("priority", why, bool(why))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """A socket that becomes readable when the service is asked to stop."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        handled = ending_signals()
        before = [signal.signal(number, lambda *_: None) for number in handled]
        wake = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(wake)
            for number, handler in zip(handled, before, strict=True):
                signal.signal(number, handler)
            ours.close()
            theirs.close()

    def _wait(self, wake: socket.socket) -> None:
        """Until something has come or something is due."""
        self._watch(wake)
        now = self._clock_ns()
        due = min(timer.due_ns for timer in self._timers.values())
        resend = self._ledger.next_resend_ns()
        if resend is not None:
            due = min(due, resend)
        deadline = self._ledger.next_deadline_ns()
        if deadline is not None and deadline <= due:
            self._until(deadline)
        else:
            self._poller.poll(max(0, -(-(due - now) // _MS)))

    def _until(self, deadline_ns: int) -> None:
        """Until something has come, or exactly until then.

        ZeroMQ counts whole milliseconds by a clock that may be one behind: its poll was seen
        to wake up to 1.4 ms late. So it is left in time, and the rest is passed in naps.
        """
        while (left := deadline_ns - self._clock_ns()) > 0:
            whole = (left - _CLOSE_NS) // _MS
            if self._poller.poll(max(0, whole)):
                return
            if whole <= 0:
                left = deadline_ns - self._clock_ns()
                time.sleep(max(0, min(left, _NAP_NS)) / 1e9)

    def _watch(self, wake: socket.socket) -> None:
        """Poll whoever can say something now; children come and go."""
        camera = self._acquisition.fileno()
        sources: tuple[Any, ...] = (
            wake.fileno(),
            *self._sockets.polled,
            *([] if camera is None else [camera]),
            *self._supervisor.filenos(),
            *self._sides.filenos(),
        )
        if sources != self._polled:
            self._poller = zmq.Poller()
            for source in sources:
                self._poller.register(source, zmq.POLLIN)
            self._polled = sources

    def _turn(self, wake: socket.socket) -> None:
        """One round of the loop. What is due comes first, and again after the longer parts."""
        self._coordinator.expire()
        if self._asked_to_stop(wake):
            # Before anything else is heard: a box that goes down takes cameras with it, and
            # what is under way ends because of the stop.
            self._exit = Exit.DONE
            return
        self._camera()
        self._coordinator.expire()
        self._inspection()
        self._coordinator.expire()
        self._announcer.greet_newcomers()
        self._sockets.receive(self._commander.obey, self._announcer.refuse)
        self._sides.poll()
        for part, bundle, instead_of in self._sides.wanted():
            self._commander.take(part, bundle, instead_of)
        now = self._clock_ns()
        for entry in self._ledger.resends(now):
            self._announcer.remind(entry)
        self._run_timers(now)
        self._announce()

    def _asked_to_stop(self, wake: socket.socket) -> bool:
        with contextlib.suppress(BlockingIOError):
            if wake.recv(64):
                self._log.info("stopping", why="asked to")
                return True
        return False

    def _shut_down(self) -> None:
        self._manager.stopping()
        self._coordinator.shut_down()
        self._announce()

    # -- what the others tell --------------------------------------------------------------

    def _camera(self) -> None:
        events = self._acquisition.events(self._coordinator.slots.held)
        for event in events:
            if isinstance(event, CameraChanged):
                faulty = event.state in _CAMERA_FAULTS
                say = self._log.error if faulty else self._log.info
                say("camera", state=event.state, detail=event.detail)
                if faulty:
                    self._alarms.note("camera", event.detail or event.state, True)
                elif event.state in CAMERA_WORKS:
                    self._alarms.note("camera", "", False)
        self._coordinator.camera(events)
        ended = self._acquisition.state is CameraState.ENDED
        busy = self._ledger.open or self._coordinator.web_ending or self._coordinator.tell_losses()
        if self._until_end and ended and not busy:
            self._exit, self._played = Exit.DONE, True

    def _inspection(self) -> None:
        for role, event in self._supervisor.poll(self._clock_ns()):
            if role is Role.CANDIDATE:
                self._candidate(event)
            else:
                self._coordinator.inspection(event)
                if role is Role.LINE:
                    self._line_event(event)

    def _line_event(self, event: InspectionEvent) -> None:
        if isinstance(event, PhaseChanged) and event.phase is Phase.READY:
            assert event.facts is not None
            self._log.info("ready", bundle=event.facts.label, golden=event.facts.golden)
            self._in_force(Who("service"))
            if not self._proven:
                self._proven = True
                # Only now: a frame that nobody can judge yet would be NG for nothing.
                self._acquisition.start()
                self._manager.ready(f"{event.facts.label} is proven; the camera is being opened")
        elif isinstance(event, SelftestEnded):
            self._selftested(event)
        elif isinstance(event, Drifted):
            self._alarms.note("drift", event.detail, bool(event.cause))
        elif isinstance(event, TookOver):
            stuck = f"the inspection keeps niceness {event.niceness}; set LimitNICE=+0 in the unit"
            self._alarms.note("niceness", stuck, event.niceness > 0)
        elif isinstance(event, Failed):
            self._log.error("bundle_failed", reason=event.reason, detail=event.detail)
            self._alarms.note("bundle", event.detail, True)
            if not self._supervisor.restarting:
                self._coordinator.refusal = Answer.ng(event.reason, event.detail)
                if not self._proven:
                    self._exit = Exit.BUNDLE
        elif isinstance(event, Gone):
            self._log.error("inspection_gone", detail=event.detail)
            self._alarms.note("inspection", event.detail, True)
            self._forget_selftest()

    def _in_force(self, who: Who) -> None:
        """A bundle has proven itself and judges from now on: what was said before is void."""
        self._coordinator.refusal = None
        self._forget_selftest()
        # Each of these was about a process that judges no more, or that has proven itself anew.
        for part in ("inspection", "selftest", "niceness"):
            self._alarms.note(part, "", False)
        # It counts from its own first frame.
        self._alarms.note("drift", "", False)
        facts = self._supervisor.facts
        if facts:
            for refused in facts.refused:
                self._log.warning("box_refuses", detail=refused)
            self._sides.in_force(facts)
            judged = {"bundle": facts.label, "ok": facts.thresholds.ok, "ng": facts.thresholds.ng}
            self._audit.note(who, "bundle", self._line.name, judged)
        gap_ms = facts.longest_gap_us / 1e3 if facts else 0.0
        limit_ms = self._line.watchdog.hung_ms
        slow = f"silent for {gap_ms:.0f} ms while judging; raise watchdog.hung_ms {limit_ms:g}"
        self._alarms.note("progress", slow, gap_ms > limit_ms / 2)
        older = "the newer bundle failed, the one before it runs"
        self._alarms.note("bundle", older, self._supervisor.rolled_back)

    def _forget_selftest(self) -> None:
        """Its process is no longer the one that judges: whoever waits for it is told."""
        if self._selftesting:
            self._selftesting = False
            self._commander.report_selftest(False, "the inspection was replaced; ask again")

    def _selftested(self, event: SelftestEnded) -> None:
        self._selftesting = False
        self._log.info("selftest", passed=event.passed, detail=event.detail)
        self._alarms.note("selftest", event.detail, not event.passed)
        self._commander.report_selftest(event.passed, event.detail)
        if not event.passed:
            self._coordinator.refusal = Answer.ng(Reason.SELFTEST_FAILED, event.detail)

    def _candidate(self, event: InspectionEvent) -> None:
        change = self._changeover.event(event)
        if change is not None:
            self._commander.report_change(change)

    def _watch_rate(self, _entry: LedgerEntry, verdict: Verdict) -> None:
        why = self._uninspected.note(verdict.reason)
        self._alarms.note("uninspected", why, bool(why))

    # -- time ------------------------------------------------------------------------------

    def _run_timers(self, now: int) -> None:
        for timer in self._timers.values():
            if now >= timer.due_ns:
                period = timer.act(now)
                # From the due time, to keep the pace; but no burst after a pause.
                after = timer.due_ns + period
                timer.due_ns = after if after > now else now + period

    def _on_look(self, _now: int) -> int:
        return _LOOK_NS  # the turn itself looked

    def _on_heartbeat(self, now: int) -> int:
        line = self._supervisor.line
        if line is not None and self._supervisor.alive(now) and line.progress.count != self._beats:
            self._beats = line.progress.count
            self._announcer.heartbeat(
                in_flight=self._ledger.open, cam_ok=self._acquisition.state in CAMERA_WORKS
            )
        return HEARTBEAT_NS

    def _on_status(self, _now: int) -> int:
        for note in self._sockets.access.notes():
            self._log.warning("turned_away", detail=note)
        refused = self._sockets.access.alarm
        self._alarms.note("access", refused, bool(refused))
        dispute = self._announcer.sessions.dispute
        self._alarms.note("clients", dispute, bool(dispute))
        undone = "the store's link could not be set: a restart would run the bundle before"
        self._alarms.note("store", undone, self._changeover.failed_to_remember())
        unlogged = self._audit.failed
        self._alarms.note("audit", unlogged, bool(unlogged))
        lost = self._log_queue.alarm if self._log_queue else ""
        self._alarms.note("log", lost, bool(lost))
        if not self._proven and self._supervisor.restarting:
            self._manager.more_time(5)
        state, camera = self._announcer.state, self._acquisition.state
        seen = "" if camera in CAMERA_WORKS else f", camera {camera}"
        self._manager.status(f"{state}{seen}: {self._ledger.last_seq} verdicts")
        return _STATUS_NS

    def _on_watchdog(self, now: int) -> int:
        if self._healthy(now):
            self._manager.alive()
        return (self._manager.watchdog_ns or 2 * _STATUS_NS) // 3

    def _healthy(self, now: int) -> bool:
        """Whether this process still does what it can: nobody hangs who should be dead by now."""
        return self._supervisor.overdue_ns(now) < 2000 * _MS

    def _on_selftest(self, _now: int) -> int:
        self._begin_selftest()
        return round(self._line.selftest.every_s * 1000 * _MS)

    def _begin_selftest(self) -> bool:
        line = self._supervisor.line
        if line is None or line.phase is not Phase.READY or not line.selftest():
            return False
        self._selftesting = True
        return True

    # -- what is said ----------------------------------------------------------------------

    def _announce(self) -> None:
        now = self._clock_ns()
        facts = self._supervisor.facts
        state = state_of(
            LineFacts(
                proven=self._proven,
                inspecting=self._supervisor.alive(now),
                restarting=self._supervisor.restarting,
                refusal=self._coordinator.refusal is not None,
                camera=self._acquisition.state,
                triggered=self._line.trigger.mode == "software",
                accepts=self._ledger.open < self._line.trigger.max_in_flight,
                stopping=self._exit is not None,
            )
        )
        self._announcer.stand(state, facts, self._selftesting, bool(self._alarms))
