"""What clients command, and how it is obeyed."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from kenpin.runtime.service.alarms import Alarms
from kenpin.runtime.service.announcer import Announcer
from kenpin.runtime.service.coordinator import Coordinator
from kenpin.runtime.service.inspection.changeover import Change, Changeover, ChangeoverError
from kenpin.runtime.service.inspection.supervisor import Supervisor
from kenpin.runtime.service.ledger import TriggerConflictError
from kenpin.runtime.service.sides.rolls import Rolls
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
    in_force        called when another bundle judges from now on
    """

    def __init__(
        self,
        coordinator: Coordinator,
        supervisor: Supervisor,
        changeover: Changeover,
        announcer: Announcer,
        alarms: Alarms,
        *,
        rolls: Rolls | None,
        begin_selftest: Callable[[], bool],
        in_force: Callable[[], None],
    ) -> None:
        self._coordinator = coordinator
        self._supervisor = supervisor
        self._changeover = changeover
        self._announcer = announcer
        self._alarms = alarms
        self._rolls = rolls
        self._begin_selftest = begin_selftest
        self._in_force = in_force
        self._testers: list[bytes] = []
        self._log = structlog.get_logger()

    def obey(self, client: bytes, command: Command) -> None:
        """Do what a client says, or tell it why not."""
        try:
            self._obey(client, command)
        except (ChangeoverError, RollsError, TriggerConflictError) as error:
            trig = command.trig if isinstance(command, Trigger) else None
            self._announcer.refuse(client, str(error), command.type, trig)

    def _obey(self, client: bytes, command: Command) -> None:
        if isinstance(command, Trigger):
            self._trigger(client, command)
        elif isinstance(command, Ack):
            self._coordinator.ledger.acknowledge(client, command.seq)
        elif isinstance(command, Hello):
            self._announcer.greet(client)
        elif isinstance(command, Status):
            self._announcer.say_state(client)
        elif isinstance(command, Prepare):
            self.tell_change(self._changeover.prepare(client, command.bundle))
        elif isinstance(command, Activate):
            self.tell_change(self._changeover.activate(client))
            self._in_force()
        elif isinstance(command, Selftest):
            self._testers.append(client)
            if not self._begin_selftest():
                self.tell_testers(False, "no inspection is ready")
        elif isinstance(command, RollStart | RollStop):
            self._roll(client, command)
        else:
            self._reset()
            self._announcer.resetting(client)

    def _trigger(self, client: bytes, command: Trigger) -> None:
        budget_ns = None if command.budget_us is None else command.budget_us * 1000
        entry, fresh = self._coordinator.trigger(client, command.trig, command.recipe, budget_ns)
        self._announcer.accepted(entry, fresh)
        if fresh:
            self._coordinator.start(entry)
        elif entry.answer is not None:
            self._announcer.again(entry)

    def _roll(self, client: bytes, command: RollStart | RollStop) -> None:
        if self._rolls is None:
            raise RollsError("this line keeps no rolls; give it a table [rolls]")
        if isinstance(command, RollStart):
            done, why = self._rolls.start(command.name), "no bundle for webs is in force"
        else:
            done, why = self._rolls.stop(), "no roll is running"
        if not done:
            raise RollsError(f"{command.type}: {why}, or the roll book does not listen")
        self._announcer.roll_runs(client, bool(self._rolls.running))

    def _reset(self) -> None:
        """Begin anew after a failure: another process proves the bundle once more."""
        self._log.info("reset")
        if self._coordinator.refusal is not None or not self._supervisor.ready:
            self._supervisor.restart("RESET")

    def tell_change(self, change: Change) -> None:
        """Tell whoever asked for another bundle how far that has come."""
        self._log.info("changeover", step=change.step, bundle=change.bundle, detail=change.detail)
        self._alarms.note("changeover", change.detail, change.step == "failed")
        self._announcer.changed(change)

    def tell_testers(self, passed: bool, detail: str) -> None:
        """Tell whoever asked for a self-test how it ended."""
        for client in self._testers:
            self._announcer.selftested(client, passed, detail)
        self._testers.clear()
