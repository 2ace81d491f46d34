"""What benchmarks promise of their figures: drawn orders, and nothing old beside something new."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """A benchmark as a module; those of the service take SIGTERM for Ctrl-C."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def loaded(name: str) -> ModuleType:
        before = signal.getsignal(signal.SIGTERM)
        module = importlib.import_module(name)
        signal.signal(signal.SIGTERM, before)
        return module

    return loaded


def test_a_network_and_its_frame_are_timed_in_both_orders(load: Load) -> None:
    cheaper = load("cheaper")
    asked: list[tuple[str, str]] = []

    def arm(name: str) -> object:
        return cheaper.Arm(
            name, 0.9, lambda: asked.append((name, "floor")), lambda: asked.append((name, "frame"))
        )

    spent = cheaper.timed([arm("one"), arm("other")], 20)
    pairs = list(zip(asked[::2], asked[1::2], strict=True))
    for name in ("one", "other"):
        own = {(first[1], second[1]) for first, second in pairs if first[0] == second[0] == name}
        assert own == {("floor", "frame"), ("frame", "floor")}
        assert [len(spent[name][kind]) for kind in ("floor", "frame")] == [20, 20]


def test_a_machine_is_told_with_what_it_is_kept_to(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert " kept to AVX2, " in load("edge_run").machine()


def test_scores_are_kept_under_what_was_asked_and_where(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = load("peers")
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)

    def measured(bundle: str, name: str = "kenpin gabor") -> str:
        kept: str = peers.Contestant(name, "frame", ["python", bundle], True).measured
        return kept

    here = measured("gabor-0123")
    assert here == measured("gabor-0123")
    others = {measured("gabor-4567"), measured("gabor-0123", "anomalib padim")}
    with monkeypatch.context() as patch:
        patch.setattr(peers, "own_code", lambda: "another version")
        others.add(measured("gabor-0123"))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    others.add(measured("gabor-0123"))
    assert len(others - {here}) == 4


def test_verdicts_near_a_threshold_are_counted_apart(load: Load) -> None:
    processors = load("processors")

    def side(*judged: tuple[float, str]) -> dict[str, np.ndarray]:
        scores, outcomes = zip(*judged, strict=True)
        return {
            "scores": np.array(scores),
            "outcomes": np.array(outcomes),
            "seconds": np.array(1.0),
        }

    good, defect, dark = (1.0, "OK "), (3.0, "NG defect"), (np.nan, "NG image_quality")
    here = side(good, (2.001, "NG defect"), defect, dark)
    near = side(good, (1.999, "OK "), defect, dark)
    found = processors.compared("AVX2", here, near, [2.0])
    assert (found.near, found.near_that_differ, found.others_that_differ) == (1, 1, 0)
    assert found.holds
    far = side(good, (2.001, "NG defect"), good, dark)
    found = processors.compared("AVX2", here, far, [2.0])
    assert (found.near_that_differ, found.others_that_differ) == (0, 1)
    assert not found.holds
    assert not processors.compared("AVX2", here, side(*[(np.nan, "NG ")] * 4), [2.0]).holds
