"""What clients command, and how it is obeyed."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import structlog

from kenpin.runtime.bundles.layout import folder_name
from kenpin.runtime.service.audit_entry import Who
from kenpin.runtime.service.inspection.changeover import Change, ChangeoverError
from kenpin.runtime.service.ledger import Owner, TriggerConflictError
from kenpin.runtime.service.line_parts import LineParts
from kenpin.runtime.service.refusal import Refusal
from kenpin.runtime.service.sessions import DuplicateClientError, StaleError
from kenpin.runtime.service.sides.rolls import Rolls
from kenpin.runtime.wire.authentication import Connection
from kenpin.runtime.wire.commands import (
    Ack,
    Activate,
    Command,
    Hello,
    Prepare,
    RollStart,
    RollStop,
    Selftest,
    Status,
    Trigger,
)

__all__ = ["Commander"]


class RollsError(ValueError):
    """No roll can be started or stopped now."""


class Commander:
    """Obeys one command at a time, and answers whoever gave it.

    rolls           keeps the rolls of a web; None if the line keeps none
    begin_selftest  asks the inspection for it; False if nobody can be asked
    in_force        called when another bundle judges from now on, with who wanted it
    on_change       called, too, with how far a bundle has come that somebody asked for
    """

    def __init__(
        self,
        parts: LineParts,
        *,
        rolls: Rolls | None,
        begin_selftest: Callable[[], bool],
        in_force: Callable[[Who], None],
        on_change: Callable[[Change], None],
    ) -> None:
        self._coordinator = parts.coordinator
        self._supervisor = parts.supervisor
        self._changeover = parts.changeover
        self._announcer = parts.announcer
        self._alarms = parts.alarms
        self._rolls = rolls
        self._begin_selftest = begin_selftest
        self._in_force = in_force
        self._on_change = on_change
        self._testers: list[Owner] = []
        # Instead of which bundle another one is to judge that a part waits for.
        self._takes: dict[str, str] = {}
        self._sessions = parts.announcer.sessions
        self._log = structlog.get_logger()

    def obey(self, client: bytes, connection: Connection | None, command: Command) -> None:
        """Do what a client says, or tell it why not."""
        trig = command.trig if isinstance(command, Trigger) else None
        session = command.session if isinstance(command, Hello | Trigger) else None
        try:
            hello = isinstance(command, Hello)
            owner = self._sessions.hear(
                client, connection, session, hello=hello, trigger=trig is not None
            )
            self._obey(owner, command)
        except (DuplicateClientError, StaleError) as error:
            self._announcer.refuse(client, Refusal(str(error), command.type, trig, error.reason))
        except (ChangeoverError, RollsError, TriggerConflictError) as error:
            self._announcer.refuse(client, Refusal(str(error), command.type, trig))
        self._alarms.note("clients", self._sessions.dispute, bool(self._sessions.dispute))

    def _obey(self, client: Owner, command: Command) -> None:
        if isinstance(command, Trigger):
            self._trigger(client, command)
        elif isinstance(command, Ack):
            self._coordinator.ledger.acknowledge(client, command.seq)
        elif isinstance(command, Hello):
            self._announcer.greet(client)
        elif isinstance(command, Status):
            self._announcer.say_state(client)
        elif isinstance(command, Prepare):
            for change in self._changeover.prepare(client, command.bundle):
                self.report_change(change)
        elif isinstance(command, Activate):
            who = Who("ctl", key=self._sessions.caller(client))
            self._activate(client, command.bundle, who)
        elif isinstance(command, Selftest):
            self._testers.append(client)
            if not self._begin_selftest():
                self.report_selftest(False, "no inspection is ready")
        elif isinstance(command, RollStart | RollStop):
            self._roll(client, command)
        else:
            self._reset()
            self._announcer.resetting(client)

    def _activate(self, owner: Hashable, bundle: str | None, who: Who) -> None:
        self.report_change(self._changeover.activate(owner, bundle))
        self._in_force(who)

    def _trigger(self, client: Owner, command: Trigger) -> None:
        if not self._sessions.named(client) and self._coordinator.ledger.stale(
            client, command.trig
        ):
            raise StaleError(
                f"stale: id {command.trig!r} was used before this connection; say HELLO with a "
                "session of a new name, or choose another id"
            )
        budget_ns = None if command.budget_us is None else command.budget_us * 1000
        entry, fresh = self._coordinator.trigger(client, command.trig, command.recipe, budget_ns)
        self._announcer.accepted(entry, fresh)
        if fresh:
            self._coordinator.start(entry)
        elif entry.answer is not None:
            self._announcer.again(entry)

    def _roll(self, client: Owner, command: RollStart | RollStop) -> None:
        if self._rolls is None:
            raise RollsError("this line keeps no rolls; give it a table [rolls]")
        # Frames may be on their way through the inspection: their lines came before the command.
        line = self._coordinator.lines
        if isinstance(command, RollStart):
            done, why = self._rolls.start(command.name, line), "no bundle for webs is in force"
        else:
            done, why = self._rolls.stop(line), "no roll is running"
        if not done:
            raise RollsError(f"{command.type}: {why}, or the roll book does not listen")
        self._announcer.roll_runs(client, bool(self._rolls.running))

    def _reset(self) -> None:
        """Begin anew after a failure: another process proves the bundle once more."""
        self._log.info("reset")
        if self._coordinator.refusal is not None or not self._supervisor.ready:
            self._supervisor.restart("RESET")

    def take(self, part: str, bundle: str, instead_of: str) -> None:
        """Prove a bundle of the store that a process beside the line wants; it judges once it is
        proven, without ACTIVATE, if the one that it is meant to follow still does."""
        try:
            for change in self._changeover.prepare(part, bundle):
                self.report_change(change)
            self._takes[part] = instead_of
        except ChangeoverError as error:
            self.report_change(Change(part, "failed", bundle, str(error)))

    def report_change(self, change: Change) -> None:
        """Tell whoever asked for another bundle how far that has come."""
        self._on_change(change)
        base = None
        if change.step in ("prepared", "failed"):
            base = self._takes.pop(str(change.owner), None)
        if base is not None and change.step == "prepared":
            self._take_over(change, base)
            return
        self._log.info("changeover", step=change.step, bundle=change.bundle, detail=change.detail)
        self._alarms.note("changeover", change.detail, change.step == "failed")
        self._announcer.changed(change)

    def _take_over(self, change: Change, instead_of: str) -> None:
        """Let a proven bundle judge that nobody needs to ACTIVATE, if it is still meant."""
        facts = self._supervisor.facts
        now = folder_name(facts.label) if facts else "no bundle"
        try:
            if now != instead_of:
                raise ChangeoverError(
                    f"{now} came into force instead of {instead_of} meanwhile; begin again"
                )
            self._activate(change.owner, change.bundle, Who(str(change.owner)))
        except ChangeoverError as error:
            self.report_change(self._changeover.drop(change, str(error)))

    def report_selftest(self, passed: bool, detail: str) -> None:
        """Tell whoever asked for a self-test how it ended."""
        for client in self._testers:
            self._announcer.selftested(client, passed, detail)
        self._testers.clear()
