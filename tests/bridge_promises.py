"""What every bridge must show, whatever protocol it speaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kenpin.config.exits import Exit
from kenpin.runtime.plc.book import Promise
from kenpin.runtime.plc.watch import Watch
from running_line import RunningLine, line_toml
from test_plc import run_plc, told

__all__ = ["STILL", "check_every_promise", "check_real_line", "with_bridge"]

STILL = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 3'


def with_bridge(toml: Path, **settings: object) -> Path:
    """A line's settings with a bridge more."""
    lines = [f"{key} = {value}" for key, value in settings.items()]
    text = toml.read_text() + "\n[[bridges]]\n" + "\n".join(lines) + "\n"
    toml.write_text(text)
    return toml


def check_every_promise(watch: Watch, parts: int) -> None:
    """Each was looked at, none was broken, and every part was called OK."""
    assert told(watch) == [], told(watch)
    # The line's ring can only be known while no verdict is under way: on a busy machine, never.
    looked_at = {promise for promise in Promise if watch.book.checks[promise]}
    assert looked_at >= set(Promise) - {Promise.OVERRUN}
    assert watch.parts.sent == watch.reasons["ok"] == parts


def check_real_line(
    folder: Path, bundle: Path, kind: str, faults: Sequence[str], share: float, **settings: Any
) -> None:
    """`edge-plc` through a bridge of a line that runs: 40 parts, with each of the faults."""
    toml = line_toml(folder, bundle, trigger='mode = "software", budget_ms = 500', camera=STILL)
    with_bridge(toml, kind=f'"{kind}"', **settings)
    with RunningLine(toml) as running:
        running.state("operational.ready")
        running.child(f"kenpin-{kind}")
        code, found = run_plc(
            folder, "--via", kind, "--count", "40", "--rate-hz", "15",
            "--fault-share", str(share), *(word for fault in faults for word in ("--fault", fault)),
        )  # fmt: skip
        assert found["breaches"] == []
        assert (code, found["triggers"], found["open"]) == (Exit.DONE, 40, 0)
        assert set(found["faults"]) == set(faults)
        assert running.stop() == 0
