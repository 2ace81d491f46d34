"""A grid of recipes into one table, which goes on where it ended."""

from __future__ import annotations

import csv
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from kenpin.camera.files.images import write_png
from kenpin.camera.files.listing import ImageError
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.bench.grid import Grid, cells_of, load_grid
from kenpin.compile.bench.page import as_page
from kenpin.compile.bench.results import BenchResults, Result
from kenpin.compile.bench.run import _key, bench
from kenpin.compile.bench.track import Run, tracker_of
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.fingerprint import fingerprint
from kenpin.config.errors import ConfigError, OutputError
from kenpin.config.exits import Exit
from kenpin.config.methods import tables_of
from kenpin.config.recipe import Recipe
from test_imported import with_spot

HEIGHT, WIDTH = 96, 160
GRID = """
seeds = [0, 1]

[recipe]
frame = { height_px = 96, width_px = 160 }
tiles = { size_px = 64, halo_px = 16 }
threshold = { false_rejects = 0.05 }
quantize = { precision = "fp32" }
report = { twins_each = 0 }

[[sets]]
name = "cloth"
source = "cloth"
layout = "folders"

[[methods]]
name = "baseline"

[[methods]]
name = "padim"
recipe.method = { name = "padim", dimensions = 4, granularity = "single" }

[[methods]]
name = "impossible"
recipe.method = { name = "padim", dimensions = 100000 }
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def grid_file(tmp_path: Path) -> Path:
    web = SyntheticWeb(HEIGHT, WIDTH, 3)
    for place, numbers in (("good", range(14)), ("spot", range(20, 23))):
        (tmp_path / "cloth" / place).mkdir(parents=True)
        for number in numbers:
            pixels = web.frame(number).pixels
            pixels = with_spot(pixels) if place == "spot" else pixels
            write_png(tmp_path / "cloth" / place / f"{number}.png", pixels)
    file = tmp_path / "grid.toml"
    file.write_text(GRID)
    return file


@pytest.mark.thorough
def test_a_bench_fills_its_table_and_goes_on_where_it_ended(
    grid_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bench"
    assert edge_compile(["bench", str(grid_file), "-o", str(folder)]) == Exit.DONE
    said = capsys.readouterr()
    assert said.out.strip() == str(folder / "bench.html")
    with (folder / "bench.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [(row["method"], row["backbone"], row["seed"]) for row in rows] == [
        ("baseline", "none", "0"), ("baseline", "none", "1"),
        ("padim", "gabor", "0"), ("padim", "gabor", "1"),
        ("impossible", "gabor", "0"), ("impossible", "gabor", "1"),
    ]  # fmt: skip
    for row in rows[:4]:
        assert float(row["auroc"]) > 0.9
        assert int(row["ng"]) == 3
        assert float(row["frame_ms"]) > 0
        assert row["why"] == ""
    assert "dimensions" in rows[4]["why"]
    assert rows[4]["auroc"] == ""
    assert "2 of 6 cells were refused" in said.err
    assert not (folder / ".cell").exists()
    # The machine stopped within the last line, and nothing else is measured again.
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    (folder / "results.jsonl").write_text("".join(lines[:-1]) + lines[-1][:40])
    assert edge_compile(["bench", str(grid_file), "-o", str(folder)]) == Exit.DONE
    # What was refused is tried again.
    assert "6 cells, 4 of them known from before" in capsys.readouterr().err
    again = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    assert again[:5] == lines[:5]
    assert len(again) == 7
    page = (folder / "bench.html").read_text()
    assert page.count('<td class="why">') == 6
    # Another recipe is another cell.
    grid_file.write_text(GRID.replace("size_px = 64", "size_px = 96").replace("[0, 1]", "[0]"))
    grid = load_grid(grid_file)
    told: list[str] = []
    bench(grid.model_copy(update={"methods": grid.methods[:1]}), folder, told.append)
    assert told[0] == "1 cells, 0 of them known from before"


def test_a_cell_is_another_when_a_file_that_it_names_has_changed(
    grid_file: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    weights, network = models / "w.pth", models / "n.onnx"
    table = f'{{ name = "resnet18", weights = "{weights}" }}'
    made = (f"recipe.backbone = {table}", f'recipe.model = {{ file = "{network}" }}')
    keys = []
    for file in (weights, network):
        file.write_bytes(b"1")
    # As ONNX names a file that weights lie in; what a bench writes beside them is none.
    named = b"j\x17\n\x08location\x12\x0bweights.bin"
    others = (models / "weights.bin", models / "bench" / "results.jsonl")
    others[1].parent.mkdir()
    for changed in (None, weights, network, *others):
        if changed:
            changed.write_bytes(b"of another training" + named)
        for line in made:
            grid_file.write_text(f'{GRID}\n[[backbones]]\nname = "own"\n{line}\n')
            grid = load_grid(grid_file)
            grid = grid.model_copy(update={"methods": grid.methods[1:2], "seeds": (0,)})
            (cell,) = cells_of(grid)
            keys.append(_key(cell))
    of_weights, of_network = keys[::2], keys[1::2]
    assert [a == b for a, b in pairwise(of_weights)] == [False, True, True, True]
    assert [a == b for a, b in pairwise(of_network)] == [True, False, False, True]


def test_a_network_is_another_when_a_file_of_its_weights_is(tmp_path: Path) -> None:
    long = "w" * 200
    (tmp_path / "deeper").mkdir()
    named = b"".join(
        b"\n\x08location\x12" + size + name.encode()
        for size, name in ((b"\x08", "deeper/a"), (b"\xc8\x01", long), (b"\x04", "none"))
    )
    for name in ("n.onnx", "m.ONNX", "i.xml", "i.bin", "deeper/a", long, "other"):
        (tmp_path / name).write_bytes(b"" if name == "m.ONNX" else named)

    def lines(name: str) -> list[str]:
        return [line.split()[0] for line in fingerprint(tmp_path / name)]

    beside = [str(tmp_path / name) for name in ("deeper/a", long)]
    assert lines("n.onnx") == [str(tmp_path / "n.onnx"), *beside]
    # An empty one names nothing, and is refused where it is read.
    assert lines("m.ONNX") == [str(tmp_path / "m.ONNX")]
    both = {str(tmp_path / name) for name in ("i.xml", "i.bin")}
    assert set(lines("i.xml")) == set(lines("i.bin")) == both
    assert lines("other") == [str(tmp_path / "other")]


def test_what_a_bench_has_not_made_stays_and_no_cell_ends_the_others(
    grid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "bench" / "bundles"
    mine.mkdir(parents=True)
    (mine / "of-my-line").write_text("kept")
    # Of a bench that was killed, with half a bundle in it.
    (tmp_path / "bench" / ".cell" / "half").mkdir(parents=True)
    ends = [
        ImageError(tmp_path / "torn.png", "is cut off", "mend it"),
        ValueError("of no kind"),
        None,
    ]
    tried: list[list[Path]] = []

    def build(recipe: Recipe, store: Path, *_: Any, **__: Any) -> None:
        tried.append(list(store.iterdir()))
        raise ends[len(tried) - 1] or ConfigError("no weights yet")

    monkeypatch.setattr("kenpin.compile.bench.run.build", build)
    grid_file.write_text(GRID.replace("[0, 1]", "[0]"))
    command = ["bench", str(grid_file), "-o", str(tmp_path / "bench")]
    assert edge_compile(command) == Exit.UNEXPECTED
    with (tmp_path / "bench" / "bench.csv").open(newline="") as text:
        whys = [row["why"] for row in csv.DictReader(text)]
    assert whys == [
        f"{tmp_path / 'torn.png'}: is cut off; mend it", "unexpected error: ValueError: of no kind",
        "no weights yet",
    ]  # fmt: skip
    assert [path.name for path in mine.iterdir()] == ["of-my-line"]
    # The cause may have gone by now; what a file of one cell refuses is no other's.
    locked = PermissionError(13, "Permission denied", str(tmp_path / "n.onnx"))
    ends += [locked, ConfigError("still none"), ConfigError("still none")]
    assert edge_compile(command) == Exit.DONE
    assert tried == [[]] * 6
    table = (tmp_path / "bench" / "bench.csv").read_text()
    assert f"{tmp_path / 'n.onnx'}: Permission denied; check the path and rights" in table
    # A disk that is full is.
    ends += [OSError(28, "No space left on device", str(tmp_path / "bench" / ".cell" / "x"))]
    assert edge_compile(command) == Exit.FILES
    assert len(tried) == 7


def test_a_bench_does_not_write_into_what_its_recipes_read(
    grid_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "exported").mkdir()
    grid_file.write_text(f'{GRID}\nrecipe.model = {{ file = "{tmp_path / "exported"}" }}\n')
    folder = tmp_path / "exported" / "bench"
    assert edge_compile(["bench", str(grid_file), "-o", str(folder)]) == Exit.CONFIG
    assert "which a recipe reads; name another folder" in capsys.readouterr().err


def test_a_tracker_gets_each_result_once_and_what_it_missed_the_next_time(
    grid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kenpin.compile.bench.run._measured",
        lambda cell, *_: Result(
            cell.set, cell.method, cell.backbone, cell.seed, auroc=0.5, seconds=1.0
        ),
    )
    names: dict[str, list[str]] = {"a": [], "b": []}
    full = [False, True]

    def take(of: str, run: Run) -> None:
        if of == "b" and len(names[of]) == 1 and full.pop():
            raise OSError(28, "No space left on device")
        names[of].append(run.name)

    grid, folder = load_grid(grid_file), tmp_path / "bench"
    folder.mkdir()
    every = [cell.label for cell in cells_of(grid)]
    both = {name: partial(take, name) for name in names}
    bench(grid, folder, print, {"a": both["a"]})
    assert names == {"a": every, "b": []}
    # Another one comes later, and then its disk is full.
    with pytest.raises(OutputError, match=r"--track b: OSError.*all figures are in .*bench\.csv"):
        bench(grid, folder, print, both)
    assert names == {"a": every, "b": every[:1]}
    full[:] = [False] * len(every)
    bench(grid, folder, print, both)
    assert names == {"a": every, "b": every}


def test_a_grid_says_what_is_wrong_with_it(tmp_path: Path, grid_file: Path) -> None:
    def refused(match: str, old: str, new: str) -> None:
        grid_file.write_text(GRID.replace(old, new))
        with pytest.raises(ConfigError, match=match):
            next(iter(cells_of(load_grid(grid_file)))).recipe  # noqa: B018 made when asked

    refused("sets: ", "[[sets]]", "[[datasets]]")
    refused("two are called the same", 'name = "padim"\n', 'name = "baseline"\n')
    refused("no such folder", 'source = "cloth"', 'source = "none"')
    refused("cloth, baseline, none, seed 0: tiles.size_px", "size_px = 64", "size_px = 1")


def test_a_seed_is_put_wherever_a_recipe_has_one(grid_file: Path) -> None:
    cells = list(cells_of(load_grid(grid_file)))
    padim = next(cell for cell in cells if cell.method == "padim" and cell.seed == 1)
    assert padim.recipe.images.seed == 1
    assert getattr(padim.recipe.method, "seed") == 1  # noqa: B009 padim has one
    assert isinstance(load_grid(grid_file), Grid)
    # Those of an ensemble learn by seeds of their own.
    both = '{ name = "ensemble", members = [{ name = "stfpm" }, { name = "fastflow" }] }'
    grid_file.write_text(f'{GRID}\n[[methods]]\nname = "both"\nrecipe.method = {both}\n')
    cell = next(c for c in cells_of(load_grid(grid_file)) if (c.method, c.seed) == ("both", 1))
    spec: Any = cell.recipe.method
    assert [spec.seed, *(member.method.seed for member in spec.members)] == [1, 1, 1]


def test_the_grid_of_all_methods_blurs_no_map_whose_highest_place_is_the_score() -> None:
    grid = load_grid(Path(__file__).parents[1] / "benchmarks" / "methods.toml")
    names = []
    for method in grid.methods:
        table = method.recipe.get("method", {"name": method.name})
        for name, keys in tables_of(table).items():
            said = {**grid.recipe, **method.recipe}[name]
            assert said == keys, method.name
            names.append(method.name)
    assert names == ["metric", "ganomaly", "metric in FP32"]


def test_the_page_marks_the_best_of_each_data_set_and_tells_the_spread() -> None:
    def result(method: str, seed: int, auroc: float, ms: float) -> Result:
        return Result("<set>", method, "gabor", seed, auroc=auroc, frame_ms=ms)

    page = as_page(
        "a & b", [result("x", 0, 0.9, 5), result("x", 1, 0.8, 5), result("y", 0, 0.7, 2)]
    )
    assert "<h1>a &amp; b</h1>" in page
    assert "&lt;set&gt;" in page
    assert '<td class="best">0.8500 ± 0.0500</td>' in page
    assert '<td class="best">2.00</td>' in page
    assert "<td>0.7000</td>" in page


def test_results_that_are_damaged_in_the_middle_are_named(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('torn\n{"key": "a", "result": {}}\n')
    with pytest.raises(ConfigError, match="line 1 is damaged"):
        BenchResults(tmp_path)


RUN = Run("cloth, padim, seed 0", {"tiles.size_px": "64"}, {"auroc": 0.97, "escapes": 1.0})


def test_a_tracker_that_is_not_known_or_not_installed_is_named(tmp_path: Path) -> None:
    for asked in ("tensorboard", "excel=there", "wandb="):
        with pytest.raises(ConfigError, match="expected KIND=FOLDER"):
            tracker_of(asked)


@pytest.mark.real
def test_tensorboard_reads_what_was_tracked(tmp_path: Path) -> None:
    reader: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker_of(f"tensorboard={tmp_path}")(RUN)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    found = reader.EventAccumulator(str(folder))
    found.Reload()
    assert found.Scalars("auroc")[0].value == pytest.approx(0.97)


class Callers(ThreadingHTTPServer):
    """Answers nobody, and counts who comes by: as a tracker's server and as everybody's proxy."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BaseHTTPRequestHandler)
        self.came: list[Any] = []

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.came.append(client_address)
        return False


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callers]:
    with Callers() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WANDB_BASE_URL"):
            monkeypatch.setenv(name, url)
            monkeypatch.setenv(name.lower(), url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        # What urlopen has once made of these is used until the process ends, else.
        monkeypatch.setattr("urllib.request._opener", None)
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.real
def test_mlflow_reads_what_was_tracked(tmp_path: Path) -> None:
    tracking: Any = pytest.importorskip("mlflow.tracking")
    track = tracker_of(f"mlflow={tmp_path / 'runs'}")
    track(RUN)
    track(RUN)
    client = tracking.MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())
    experiment = client.get_experiment_by_name("kenpin")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.data.metrics["auroc"] for run in runs] == [0.97, 0.97]
    assert runs[0].data.params == {"tiles.size_px": "64"}


@pytest.mark.real
def test_weights_and_biases_keeps_what_was_tracked_and_sends_nothing(
    tmp_path: Path, callers: Callers
) -> None:
    pytest.importorskip("wandb")
    tracker_of(f"wandb={tmp_path}")(RUN)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    end = time.monotonic() + 60
    # Its own process writes the file, on a busy machine after `finish` has returned.
    while b"auroc" not in file.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert callers.came == []
    # Whoever would send is seen.
    with pytest.raises((OSError, HTTPException)):
        urllib.request.urlopen("http://elsewhere.invalid")
    assert callers.came
