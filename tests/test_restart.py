"""A line under a manager that follows the unit: what hangs or dies comes back."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from importlib import resources
from pathlib import Path

import pytest
import zmq

from kenpin.runtime.bundles.bundle import Bundle
from running_line import PATIENCE_S, SERVE_LINE, line_toml
from sandbox import Unit
from stand_in import StandIn

pytestmark = pytest.mark.clock


@pytest.fixture
def unit() -> Unit:
    return Unit(Path(str(resources.files("kenpin.systemd") / "kenpin@.service")))


def stand_in(unit: Unit, toml: Path) -> StandIn:
    environ = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return StandIn(unit, [*SERVE_LINE, str(toml)], environ, watchdog_s=1.5)


def a_verdict(folder: Path) -> bool:
    """Whether a verdict is published before our patience ends."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        subscriber = context.socket(zmq.SUB)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"v1/verdict/")
        subscriber.connect(f"ipc://{folder}/pub")
        return bool(subscriber.poll(PATIENCE_S * 1000))
    finally:
        context.destroy(linger=0)


@pytest.mark.thorough
def test_a_hung_loop_is_shot_by_the_watchdog_and_comes_back(
    patchcore: Bundle, tmp_path: Path, unit: Unit
) -> None:
    with stand_in(unit, line_toml(tmp_path, patchcore.folder)) as manager:
        manager.until("ready")
        assert a_verdict(tmp_path)
        # A sign of life comes three times in a watchdog's period: whoever works is left alone.
        manager.until_alive(7)
        assert manager.events == ["start", "ready"]
        assert manager.main is not None
        first = manager.main.pid
        manager.main.send_signal(signal.SIGUSR1)  # serve_line.py loops for ever, holding the GIL
        manager.until("ready", 2)
        assert manager.events[2:] == ["watchdog", "ended -6", "start", "ready"]
        assert a_verdict(tmp_path)
        assert manager.main.pid != first
    assert manager.events[-1] == "ended 0"


@pytest.mark.thorough
def test_a_killed_service_comes_back_and_its_children_do_not_stay(
    patchcore: Bundle, tmp_path: Path, unit: Unit
) -> None:
    with stand_in(unit, line_toml(tmp_path, patchcore.folder)) as manager:
        manager.until("ready")
        assert manager.main is not None
        manager.main.kill()
        manager.until("ready", 2)
        assert manager.events[2:4] == ["ended -9", "start"]
        assert a_verdict(tmp_path)


def test_a_line_without_a_usable_bundle_is_not_started_again(
    patchcore: Bundle, tmp_path: Path, unit: Unit
) -> None:
    shutil.copytree(patchcore.folder, tmp_path / "bundles" / patchcore.folder.name)
    bundle = tmp_path / "bundles" / patchcore.folder.name
    with (bundle / "bank.npy").open("ab") as stream:
        stream.write(b"x")
    with stand_in(unit, line_toml(tmp_path, bundle)) as manager:
        manager.until("ended 5")
        manager.until_given_up()
        assert manager.events == ["start", "ended 5"]
