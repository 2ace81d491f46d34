"""Who judges when a bundle fails: the one before it, if it was made for the same product."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kenpin.runtime.judging.verdict import Thresholds
from kenpin.runtime.service.assembly import fallback_of
from kenpin.runtime.service.inspection.messages import BundleFacts, InspectorSpec, Phase
from kenpin.runtime.service.inspection.supervisor import HangLimits, Supervisor

GEAR, GEAR_2, LENS = (
    f"{name}-{12 * digit}" for name, digit in (("gear", "a"), ("gear", "b"), ("lens", "c"))
)


def facts(name: str) -> BundleFacts:
    recipe = name.rpartition("-")[0]
    return BundleFacts(name, recipe, Path("/store") / name, (8, 8, 1), Thresholds(1, 1), 1, 1)


class Process(SimpleNamespace):
    """An inspection that does what it is told."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


class Inspected(Supervisor):
    """Its processes are none."""

    def __init__(self, name: str) -> None:
        super().__init__(InspectorSpec(Path("/store") / name), None, HangLimits())  # type: ignore[arg-type]
        self.spawned: list[str] = []
        self.line = Process(phase=Phase.READY, facts=facts(name))  # type: ignore[assignment]
        self.facts = facts(name)

    def _spawn(self, spec: InspectorSpec) -> Any:
        self.spawned.append(spec.bundle.name)
        return Process(phase=Phase.STARTING, facts=None)

    def change_over(self, name: str) -> None:
        self.candidate = Process(phase=Phase.READY, facts=facts(name))  # type: ignore[assignment]
        assert self.activate() is not None

    def dies(self) -> None:
        dead = self.line
        self._buried(dead, 0)  # type: ignore[arg-type]
        self.start()


@pytest.mark.parametrize(
    ("newer", "judges"), [(GEAR_2, [GEAR_2, GEAR_2, GEAR, GEAR]), (LENS, [LENS] * 4)]
)
def test_a_bundle_that_fails_again_and_again_gives_way_to_one_of_the_same_product_only(
    newer: str, judges: list[str]
) -> None:
    line = Inspected(GEAR)
    line.change_over(newer)
    for _ in range(4):
        line.dies()
    assert line.spawned == judges
    assert line.rolled_back == (GEAR in judges)


def test_so_it_is_after_a_way_over_another_product() -> None:
    line = Inspected(GEAR)
    for name in (LENS, GEAR_2):
        line.change_over(name)
    for _ in range(4):
        line.dies()
    assert set(line.spawned) == {GEAR_2}


@pytest.mark.parametrize(("now", "before", "taken"), [(GEAR_2, GEAR, GEAR), (LENS, GEAR, None)])
def test_at_a_start_what_ran_before_is_taken_only_for_the_same_product(
    tmp_path: Path, now: str, before: str, taken: str | None
) -> None:
    for link, name in (("current", now), ("previous", before)):
        (tmp_path / name).mkdir()
        (tmp_path / link).symlink_to(name)
    found = fallback_of(tmp_path)
    assert found == (taken and (tmp_path / taken).resolve())
    (tmp_path / "previous").unlink()
    assert fallback_of(tmp_path) is None
