"""A depot: many boxes fetch what is ordered for them, from a folder or a bucket, and no other."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kenpin.compile.cli import main as edge_compile
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.durable import hold
from kenpin.runtime.bundles.pack import by_hand, rethreshold
from kenpin.runtime.bundles.store import Store
from kenpin.runtime.service.bundles_cli import main as edge_run_bundles
from moto_bucket import moto_bucket


@dataclass(frozen=True)
class Plant:
    """Three bundles that differ by their thresholds, keys, and a box that trusts them."""

    bundles: list[Path]
    key: Path
    trust: Path
    box: Path

    def publish(self, number: int, depot: str, *more: str) -> int:
        bundle = str(self.bundles[number])
        return edge_compile(
            ["publish", bundle, depot, "--line", "web-1", "--key", str(self.key), *more]
        )

    def pull(self, depot: str) -> int:
        return edge_run_bundles(
            ["pull", str(self.box), depot, "--line", "web-1", "--trust", str(self.trust),
             "--files-only"]
        )  # fmt: skip

    @property
    def held(self) -> tuple[str | None, str | None, int]:
        store = Store(self.box)
        return store.current, store.previous, len(store.entries())


@pytest.fixture
def plant(patchcore: Bundle, tmp_path: Path) -> Plant:
    made = tmp_path / "made"
    made.mkdir()
    old = patchcore.manifest.threshold
    bundles = [
        rethreshold(patchcore, by_hand(old, old.ok * times, None), made).folder
        for times in (1.1, 1.2, 1.3)
    ]
    key, trust = tmp_path / "plant.pem", tmp_path / "trust"
    trust.mkdir()
    assert edge_compile(["key", str(key)]) == 0
    shutil.copy(key.with_suffix(".pub"), trust)
    return Plant(bundles, key, trust, tmp_path / "box")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of moto's server, and the environment that S3's clients look at."""
    with moto_bucket("plant") as made:
        yield made


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.thorough)])
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "depot")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def test_a_box_runs_what_is_ordered_and_keeps_the_last_two(plant: Plant, depot: str) -> None:
    names = [bundle.name for bundle in plant.bundles]
    for number in range(3):
        assert plant.publish(number, depot) == 0
        assert plant.pull(depot) == 0
        read_bundle(plant.box, plant.trust)
    assert plant.held == (names[2], names[1], 2)
    # An older one is ordered again: it is fetched once more.
    assert plant.publish(0, depot) == 0
    assert plant.pull(depot) == 0
    assert plant.held == (names[0], names[2], 2)
    assert plant.pull(depot) == 0
    assert plant.held == (names[0], names[2], 2)


def test_whoever_goes_back_is_not_overruled_before_the_next_order(
    plant: Plant, tmp_path: Path
) -> None:
    depot, names = str(tmp_path / "depot"), [bundle.name for bundle in plant.bundles]
    for number in (0, 1):
        plant.publish(number, depot)
        plant.pull(depot)
    assert Store(plant.box).rollback() == names[0]
    # As every ten minutes.
    assert plant.pull(depot) == plant.pull(depot) == 0
    assert plant.held == (names[0], names[1], 2)
    plant.publish(1, depot)
    assert plant.pull(depot) == 0
    assert plant.held == (names[1], names[0], 2)


def test_a_bundle_that_a_line_judges_with_stays(plant: Plant, tmp_path: Path) -> None:
    depot = str(tmp_path / "depot")
    plant.publish(0, depot)
    plant.pull(depot)
    line = hold(plant.box / plant.bundles[0].name)
    try:
        for number in (1, 2):
            plant.publish(number, depot)
            plant.pull(depot)
        assert (plant.box / plant.bundles[0].name).is_dir()
    finally:
        os.close(line)
    plant.pull(depot)
    assert not (plant.box / plant.bundles[0].name).exists()


def test_neither_a_foreign_order_nor_an_old_one_is_carried_out(
    plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depot = tmp_path / "depot"
    order = depot / "lines" / "web-1.json"
    plant.publish(0, str(depot))
    first = order.read_bytes()
    plant.publish(1, str(depot))
    assert plant.pull(str(depot)) == 0
    before = plant.held
    capsys.readouterr()

    order.write_bytes(first)
    assert plant.pull(str(depot)) == 5
    assert "number 1, and number 2 was carried out before" in capsys.readouterr().err
    tree = json.loads(first)
    tree["order"]["serial"] = 9
    order.write_text(json.dumps(tree))
    assert plant.pull(str(depot)) == 5
    assert "signature by plant.pub is not of this content" in capsys.readouterr().err
    order.write_text(json.dumps({"order": tree["order"]}))
    assert plant.pull(str(depot)) == 5
    assert "none of them trusted here" in capsys.readouterr().err
    assert plant.held == before


def test_a_bundle_that_was_altered_in_the_depot_is_not_taken(
    plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depot = tmp_path / "depot"
    plant.publish(0, str(depot))
    there = depot / "bundles" / plant.bundles[0].name
    data = (there / "bank.npy").read_bytes()
    (there / "bank.npy").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert plant.pull(str(depot)) == 5
    assert "bank.npy does not have the recorded SHA-256" in capsys.readouterr().err
    (there / "bank.npy").unlink()
    assert plant.pull(str(depot)) == 5
    assert "is not whole there" in capsys.readouterr().err
    (there / "manifest.json").write_bytes(b"{}")
    assert plant.pull(str(depot)) == 5
    assert plant.held == (None, None, 0)


def test_a_signed_order_is_not_replaced_by_one_that_nobody_signed(
    plant: Plant, depot: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plant.publish(0, depot) == 0
    bare = ["publish", str(plant.bundles[1]), depot, "--line", "web-1"]
    assert edge_compile(bare) != 0
    assert "is signed, and boxes that trust its key" in capsys.readouterr().err
    assert plant.pull(depot) == 0
    assert plant.held[0] == plant.bundles[0].name


def test_a_second_pull_takes_nothing_from_the_first(
    plant: Plant, depot: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Timers begin one every ten minutes; a large bundle may take longer."""
    assert plant.publish(0, depot) == 0
    plant.box.mkdir(parents=True, exist_ok=True)
    fetching = plant.box / ".fetching"
    fetching.mkdir()
    half = fetching / "half-fetched"
    half.mkdir()
    handle = hold(fetching)
    try:
        assert plant.pull(depot) != 0
        assert "another pull is under way" in capsys.readouterr().err
        assert half.is_dir()
    finally:
        os.close(handle)
    assert plant.pull(depot) == 0
    assert not half.exists()


def test_what_is_not_there_is_said(
    plant: Plant, depot: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plant.pull(depot) == 5
    assert "has no order for a line 'web-1'" in capsys.readouterr().err
    assert plant.pull("nowhere://depot") == 3
    assert "nowhere" in capsys.readouterr().err
