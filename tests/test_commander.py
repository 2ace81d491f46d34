"""Bundles that a process beside the line asks for: proven first, and only if still meant."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kenpin.runtime.service.audit_entry import Who
from kenpin.runtime.service.commands import Commander
from kenpin.runtime.service.inspection.changeover import Change, Changeover
from kenpin.runtime.service.ledger import Owner
from kenpin.runtime.wire.commands import Reset, RollStart, RollStop


class Inspections:
    """The one that judges, and the one that is being proven."""

    def __init__(self, store: Path) -> None:
        self.facts: Any = self.of(store / "web-aaaaaaaaaaaa")
        self.prepared: Any = None

    @staticmethod
    def of(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(label="@".join(folder.name.rsplit("-", 1)), folder=folder)

    def prepare(self, folder: Path) -> None:
        self.prepared = self.of(folder)

    def activate(self) -> Any:
        if self.prepared is None:
            return None
        self.facts, self.prepared = self.prepared, None
        return self.facts

    def discard(self, _why: str) -> None:
        self.prepared = None

    ready = True
    restarts = 0

    def restart(self, _why: str) -> None:
        self.restarts += 1


class RollsOfALine:
    """Notes what it is told."""

    running = True

    def __init__(self) -> None:
        self.told: list[tuple[str | None, int]] = []

    def start(self, name: str, line: int) -> bool:
        self.told.append((name, line))
        return True

    def stop(self, line: int) -> bool:
        self.told.append((None, line))
        return True


class Line:
    """A commander, and what it tells whom."""

    def __init__(self, store: Path) -> None:
        for name in ("web-aaaaaaaaaaaa", "web-bbbbbbbbbbbb", "other-cccccccccccc"):
            (store / name).mkdir()
        self.inspections = Inspections(store)
        self.changes: list[Change] = []
        self.in_force: list[Who] = []
        self.rolls = RollsOfALine()
        silent = SimpleNamespace(note=lambda *_: None)
        self.answered: list[Owner] = []
        announcer = SimpleNamespace(
            sessions=None,
            changed=lambda _: None,
            roll_runs=lambda *_: None,
            resetting=self.answered.append,
        )
        # 1,200 lines have come; the inspection may have judged fewer.
        self.coordinator: Any = SimpleNamespace(lines=1200, refusal=None)
        parts: Any = SimpleNamespace(
            coordinator=self.coordinator,
            supervisor=self.inspections,
            changeover=Changeover(self.inspections, store / "web-aaaaaaaaaaaa", 1 << 20),  # type: ignore[arg-type]
            announcer=announcer,
            alarms=silent,
        )
        self.commander = Commander(
            parts,
            rolls=self.rolls,  # type: ignore[arg-type]
            begin_selftest=lambda: False,
            in_force=self.in_force.append,
            on_change=self.changes.append,
        )

    @property
    def judging(self) -> str:
        return str(self.inspections.facts.folder.name)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(one.step, one.detail) for one in self.changes]


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_a_bundle_that_was_asked_for_judges_once_it_is_proven(line: Line) -> None:
    line.commander.take("page", "web-bbbbbbbbbbbb", "web-aaaaaaaaaaaa")
    assert line.judging == "web-aaaaaaaaaaaa"
    line.commander.report_change(Change("page", "prepared", "web@bbbbbbbbbbbb"))
    assert line.judging == "web-bbbbbbbbbbbb"
    assert line.in_force == [Who("page")]
    assert [step for step, _ in line.told] == ["preparing", "prepared", "active"]


@pytest.mark.parametrize("when", ["before it was asked for", "while it was proven"])
def test_another_products_bundle_is_not_replaced_by_it(line: Line, when: str) -> None:
    other = line.inspections.of(line.inspections.facts.folder.with_name("other-cccccccccccc"))
    if when == "before it was asked for":
        line.inspections.facts = other
    line.commander.take("page", "web-bbbbbbbbbbbb", "web-aaaaaaaaaaaa")
    line.inspections.facts = other
    line.commander.report_change(Change("page", "prepared", "web@bbbbbbbbbbbb"))
    assert line.judging == "other-cccccccccccc"
    assert line.inspections.prepared is None, "somebody else's ACTIVATE would take it"
    assert line.in_force == []
    step, detail = line.told[-1]
    assert step == "failed"
    assert "other-cccccccccccc came into force instead of web-aaaaaaaaaaaa meanwhile" in detail


def test_one_that_dies_as_it_is_proven_costs_the_line_nothing(line: Line) -> None:
    line.commander.take("page", "web-bbbbbbbbbbbb", "web-aaaaaaaaaaaa")
    line.inspections.prepared = None
    line.commander.report_change(Change("page", "prepared", "web@bbbbbbbbbbbb"))
    assert line.judging == "web-aaaaaaaaaaaa"
    assert line.told[-1][0] == "failed"


def test_reset_begins_anew_after_a_failure_and_leaves_a_line_that_works_alone(line: Line) -> None:
    owner: Any = ("plc", "session")
    for refusal, ready, begun in ((None, True, 0), ("self-test", True, 1), (None, False, 2)):
        line.coordinator.refusal, line.inspections.ready = refusal, ready
        line.commander._obey(owner, Reset(v=1, type="reset"))
        assert line.inspections.restarts == begun
    assert line.answered == [owner] * 3


def test_rolls_begin_and_end_with_lines_that_came_judged_or_not(line: Line) -> None:
    owner: Any = ("plc", "session")
    line.commander._obey(owner, RollStart(v=1, type="roll_start", name="coil"))
    line.commander._obey(owner, RollStop(v=1, type="roll_stop"))
    assert line.rolls.told == [("coil", 1200), (None, 1200)]
