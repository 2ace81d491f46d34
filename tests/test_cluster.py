"""Work on a cluster: the same to the last bit as on one machine, whoever dies meanwhile."""

from __future__ import annotations

import csv
import operator
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pytest
from distributed import Client
from rich.console import Console

from bundles import PADIM, Workshop
from dask_cluster import PATIENCE_S, DaskCluster, dask_cluster
from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.frame import Frame, LostFrame
from kenpin.compile.build import build
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.evaluation.dataset import read_dataset
from kenpin.compile.evaluation.evaluate import Evaluation, evaluate
from kenpin.compile.progress import Steps
from kenpin.config.recipe import load_recipe
from kenpin.processes import cluster as cluster_module
from kenpin.processes.cluster import ClusterError, Workers, open_cluster
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Verdict
from kenpin.runtime.replay import main
from kenpin.runtime.spread import replayed

R = TypeVar("R")


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask"), 2) as made:
        yield made


def told(verdict: Verdict) -> tuple[object, ...]:
    """All of a verdict that is no time."""
    return (
        verdict.frame_index,
        verdict.frame_name,
        verdict.outcome,
        verdict.reason,
        verdict.score,
        verdict.peak_xy,
        verdict.defects,
        verdict.bundle,
    )


def test_verdicts_are_the_same_and_none_is_lost_or_double_where_a_worker_is_killed(
    dask: DaskCluster, workshop: Workshop, patchcore: Bundle
) -> None:
    files = sorted((workshop.data / "test").rglob("*.png")) * 6
    one_machine, source, expected = (
        Pipeline(patchcore, execution=Execution(threads=1)),
        ImageSource(files),
        [],
    )
    frames: list[Frame | LostFrame] = [f for cut in source.cuts(len(files)) for f in cut.frames()]
    expected = [told(one_machine.judge(frame).verdict) for frame in frames]
    found = []
    with open_cluster(dask.address) as cluster:
        for one in replayed(cluster, patchcore, source.cuts(2), pictures=False):
            found.append(told(one.verdict))
            if len(found) == 5:
                dask.workers[0].kill()
    dask.worker()
    assert len(expected) > 50
    assert found == expected


@pytest.mark.thorough
def test_replay_prints_what_it_prints_on_one_machine(
    dask: DaskCluster,
    workshop: Workshop,
    patchcore: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [str(workshop.data / "test"), "--bundle", str(patchcore.folder), "--overlays"]
    assert main([*command, str(tmp_path / "here")]) == 0
    here = capsys.readouterr().out
    assert main([*command, str(tmp_path / "there"), "--dask", dask.address, "--debug"]) == 0
    there = capsys.readouterr()
    assert untimed(there.out) == untimed(here)
    assert "workers of" in there.err
    pictures = [
        {f.name: f.read_bytes() for f in (tmp_path / w).iterdir()} for w in ("here", "there")
    ]
    assert len(pictures[0]) > 10
    assert pictures[0] == pictures[1]


def untimed(text: str) -> str:
    return re.sub(r"[0-9.]+ ms", "ms", re.sub(r" +", " ", text))


def test_a_worker_of_another_version_is_named(
    dask: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "version", lambda name: "1.0")
    monkeypatch.setattr(cluster_module, "versions", cluster_module.versions.__wrapped__)
    with (
        pytest.raises(ClusterError, match=r"worker tcp://.* runs .*numpy \S+ instead of 1\.0"),
        open_cluster(dask.address),
    ):
        pass


def test_without_any_worker_the_command_ends_and_says_so(
    dask: DaskCluster, workshop: Workshop, patchcore: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "ALONE_S", 0.2)
    monkeypatch.setattr(cluster_module, "LOOK_S", 0.1)
    source = ImageSource(sorted((workshop.data / "test").rglob("*.png")))
    with open_cluster(dask.address) as cluster:
        verdicts = replayed(cluster, patchcore, source.cuts(1), pictures=False)
        next(verdicts)
        dask.kill_workers()
        with pytest.raises(ClusterError, match="its workers have gone"):
            list(verdicts)
    for _ in range(2):
        dask.worker()


@pytest.mark.timeout(100)
def test_results_that_died_with_the_last_worker_are_not_waited_for_for_ever(
    dask: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler hears of the deaths only after the client has asked for what was done."""
    monkeypatch.setattr(cluster_module, "AHEAD", 1000)
    scheduler, end = dask.processes[0], time.monotonic() + PATIENCE_S

    def all_done(dask_scheduler: Any) -> bool:
        return {task.state for task in dask_scheduler.tasks.values()} == {"memory"}

    with open_cluster(dask.address) as cluster, Client(dask.address) as spectator:
        sums = cluster.in_order(operator.add, cluster.send(1), range(20))
        assert next(sums) == 1
        while not spectator.run_on_scheduler(all_done):
            assert time.monotonic() < end
        monkeypatch.setattr(cluster_module, "ALONE_S", 0.5)
        monkeypatch.setattr(cluster_module, "LOOK_S", 0.1)
        scheduler.send_signal(signal.SIGSTOP)
        dask.kill_workers()
        waking = threading.Timer(1.0, scheduler.send_signal, (signal.SIGCONT,))
        waking.start()
        with pytest.raises(ClusterError, match="its workers have gone"):
            list(sums)
        waking.join()
    for _ in range(2):
        dask.worker()


@pytest.mark.thorough
def test_an_evaluation_on_a_cluster_has_the_same_figures(
    dask: DaskCluster, workshop: Workshop, padim: Bundle
) -> None:
    dataset = read_dataset(workshop.data)

    def figures(cluster: Workers | None) -> Evaluation:
        pipeline = Pipeline(padim, execution=Execution(threads=1))
        return evaluate(pipeline, dataset, lambda _done, _total: None, cluster=cluster)

    with open_cluster(dask.address) as cluster:
        assert asdict(figures(cluster)) == asdict(figures(None))


@pytest.mark.thorough
def test_a_build_on_a_cluster_is_the_same_bundle(
    dask: DaskCluster, workshop: Workshop, patchcore: Bundle, padim: Bundle, tmp_path: Path
) -> None:
    with open_cluster(dask.address) as cluster:
        for here, changes in ((patchcore, ()), (padim, (PADIM,))):
            recipe = load_recipe(workshop.recipe, changes)
            with Steps(Console(quiet=True)) as steps:
                there = build(recipe, tmp_path, steps, lowest=False, cluster=cluster)
            assert there.bundle.sha256 == here.sha256


BENCH = """
[recipe]
tiles = {{ size_px = 64, halo_px = 16 }}
frame = {{ height_px = 128, width_px = 320 }}
quantize = {{ precision = "fp32", guard_tiles = 8 }}
report = {{ twins_each = 0, speed_s = 0.1 }}

[[sets]]
name = "cloth"
source = "{data}"

[[methods]]
name = "padim"
recipe.method = {{ name = "padim", dimensions = 4, granularity = "single" }}

[[backbones]]
name = "gabor"
"""


@pytest.mark.thorough
def test_a_bench_on_a_cluster_has_the_same_figures(
    dask: DaskCluster, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grid.toml").write_text(BENCH.format(data=workshop.data))
    spread: list[str] = []
    in_order = Workers.in_order

    def counted(self: Workers, work: Callable[..., R], sent: Any, pieces: Any) -> Iterator[R]:
        spread.append(work.__name__)
        return in_order(self, work, sent, pieces)

    monkeypatch.setattr(Workers, "in_order", counted)
    rows = []
    for place, more in (("here", []), ("there", ["--dask", dask.address])):
        folder = tmp_path / place
        command = ["bench", str(tmp_path / "grid.toml"), "-o", str(folder), *more]
        assert edge_compile(command) == 0
        (row,) = csv.DictReader((folder / "bench.csv").read_text().splitlines())
        rows.append({k: v for k, v in row.items() if k not in ("frame_ms", "seconds")})
    assert rows[0]["auroc"]
    assert rows[0] == rows[1]
    assert len(set(spread)) == 3, "features, images left out, and test images"


@pytest.mark.parametrize("flag", [["--budget-ms", "5"], ["--loop"], ["--rate-hz", "3"]])
def test_what_is_of_one_machine_is_refused_on_many(
    flag: list[str], workshop: Workshop, patchcore: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = str(workshop.data / "test")
    assert main([frames, "--bundle", str(patchcore.folder), "--dask", "local", *flag]) == 3
    assert f"{flag[0]} is of one machine" in capsys.readouterr().err
