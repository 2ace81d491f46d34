"""ACTIVATE puts the bundle into force that its client means, or none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kenpin.runtime.service.inspection.changeover import Changeover, ChangeoverError
from kenpin.runtime.service.inspection.messages import Gone, Phase, PhaseChanged

A, B = "web-aaaaaaaaaaaa", "web-bbbbbbbbbbbb"


class Staff:
    """Proves whatever it is given at once."""

    def __init__(self) -> None:
        self.prepared: Any = None
        self.in_force: list[str] = []

    def prepare(self, folder: Path) -> None:
        self.prepared = SimpleNamespace(
            label="@".join(folder.name.rsplit("-", 1)), folder=folder, frame=(1, 1, 1)
        )

    def activate(self) -> Any:
        found, self.prepared = self.prepared, None
        if found is not None:
            self.in_force.append(found.folder.name)
        return found


@pytest.fixture
def staff() -> Staff:
    return Staff()


@pytest.fixture
def changeover(staff: Staff, tmp_path: Path) -> Changeover:
    for name in (A, B):
        (tmp_path / name).mkdir()
    return Changeover(staff, tmp_path / A, 100)


def test_activate_without_a_name_is_refused_where_clients_prepared_different_bundles(
    changeover, staff
):
    changeover.prepare("hmi", A)
    changeover.prepare("mes", B)
    with pytest.raises(ChangeoverError, match=r"name the one that is meant.*`bundle`"):
        changeover.activate("hmi")
    with pytest.raises(ChangeoverError, match=f"'{A}' is not prepared, web@bbbbbbbbbbbb is"):
        changeover.activate("hmi", A)
    assert staff.in_force == []
    assert changeover.activate("mes", "web@bbbbbbbbbbbb").bundle == "web@bbbbbbbbbbbb"
    assert staff.in_force == [B]


def test_one_client_alone_and_clients_that_agree_need_no_name(changeover, staff):
    changeover.prepare("hmi", A)
    changeover.activate("mes")
    changeover.prepare("hmi", B)
    changeover.prepare("mes", "web@bbbbbbbbbbbb")
    changeover.activate("hmi")
    assert staff.in_force == [A, B]


def test_what_was_prepared_before_a_bundle_came_into_force_is_forgotten(changeover, staff):
    changeover.prepare("hmi", A)
    changeover.prepare("mes", B)
    changeover.activate("mes", B)
    changeover.prepare("hmi", A)
    changeover.activate("hmi")
    assert staff.in_force == [B, A]


def test_whoever_is_superseded_is_told_and_nobody_else(changeover):
    assert [c.step for c in changeover.prepare("hmi", A)] == ["preparing"]
    first, second = changeover.prepare("mes", B)
    assert (first.owner, first.step, first.bundle) == ("hmi", "failed", A)
    assert "superseded" in first.detail
    assert (second.owner, second.step) == ("mes", "preparing")
    gone = changeover.event(Gone("it crashed", ()))
    assert (gone.owner, gone.step) == ("mes", "failed")
    assert [c.owner for c in changeover.prepare("hmi", A)] == ["hmi"], "it had been told already"


def test_a_bundle_that_is_prepared_and_waits_is_superseded_too(changeover, staff):
    changeover.prepare("hmi", A)
    ready = PhaseChanged(Phase.READY, staff.prepared)
    assert changeover.event(ready).step == "prepared"
    assert [c.step for c in changeover.prepare("mes", B)] == ["failed", "preparing"]
