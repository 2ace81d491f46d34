"""What people say of archived frames: kept, told, exported, and refused where it means nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.compile.evaluation.dataset import read_dataset
from kenpin.config.errors import ConfigError
from kenpin.config.line import ArchiveSpec
from kenpin.runtime.service.cli import main as edge_run
from kenpin.runtime.service.lessons import lessons_in
from kenpin.runtime.service.reviews import Reviews, export_reviews, frames, last_reviewed
from kenpin.runtime.service.sides.archive_folder import ArchiveStore
from page_server import served

SIZE = (64, 160)


def archive(folder: Path, numbers=(1, 2, 3, 1001), kind: str = "ng") -> Path:
    """Entries as the archive writes them."""
    for number in numbers:
        stem = folder / kind / f"{number // 1000:09d}" / f"{number:012d}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_png(stem.with_suffix(".png"), np.full(SIZE, 50 + number % 100, np.uint8))
        values = np.zeros((8, 20), np.float32)
        values[4, 10] = 3
        np.save(stem.with_suffix(".npy"), values)
        entry = {
            "image": {"shape": list(SIZE)},
            "map": {"rows": 8, "columns": 20, "stride_px": 8},
            "written": "2026-01-01T00:00:00",
            "verdict": {"reason": "defect", "score": 3.0, "thr": 1.0, "bundle": "b", "web": None},
        }
        stem.with_suffix(".json").write_text(json.dumps(entry))
    return folder


def test_the_newest_saying_counts_and_older_ones_stay(tmp_path: Path) -> None:
    reviews = Reviews(archive(tmp_path), now=iter([1.0, 2.0]).__next__)
    assert reviews.newest() == {}
    reviews.say(2, "defect", "jana", "scratch", (0.1, 0.2, 0.5, 0.6))
    reviews.say(2, "good", "otto")
    (one,) = reviews.newest().values()
    assert (one.number, one.says, one.user, one.at) == (2, "good", "otto", 2.0)


@pytest.mark.parametrize(
    ("saying", "why"),
    [
        ((9, "good", "a"), "holds no frame 9"),
        ((2, "defect", "a", "ugly"), "no word for a defect"),
        ((2, "good", "a", "scratch"), "needs no word"),
        ((2, "defect", "a", "spot", (0.5, 0.0, 0.4, 1.0)), "left < right"),
    ],
)
def test_what_means_nothing_is_refused(tmp_path: Path, saying, why) -> None:
    with pytest.raises(ConfigError, match=why):
        Reviews(archive(tmp_path)).say(*saying)


def test_frames_are_listed_from_the_newest_over_folders(tmp_path: Path) -> None:
    archive(tmp_path)
    assert [one.number for one in frames(tmp_path, "ng", None, 3)] == [1001, 3, 2]
    assert [one.number for one in frames(tmp_path, "ng", 3, 9)] == [2, 1]
    assert frames(tmp_path, "ok", None, 9) == []


def test_reviewed_frames_become_a_dataset(tmp_path: Path) -> None:
    store = archive(tmp_path / "archive")
    reviews = Reviews(store)
    reviews.say(1, "good", "jana")
    reviews.say(2, "defect", "jana", "scratch", (0.25, 0.5, 0.5, 1.0))
    reviews.say(3, "defect", "jana", "hole")
    reviews.say(1001, "good", "jana")
    (store / "ng" / "000000001" / "000000001001.json").unlink()
    (store / "known" / "good" / "000000001001.png").unlink()
    # What the archive let go, but was kept because it was reviewed.
    (store / "ng" / "000000000" / "000000000002.json").unlink()
    made = export_reviews(store, tmp_path / "out")
    assert made == {"gone": 1, "regions": 0, "test/good": 1, "test/scratch": 1, "test/hole": 1}
    mask = read_pixels(tmp_path / "out/ground_truth/scratch/000000000002_mask.png")
    assert mask.shape == SIZE
    assert (mask[32:, 40:80] == 255).all()
    assert mask.sum() == 255 * 32 * 40
    dataset = read_dataset(tmp_path / "out")
    assert {item.kind for item in dataset.images} == {"good", "scratch", "hole"}
    with pytest.raises(ConfigError, match="not empty"):
        export_reviews(store, tmp_path / "out")
    # Of two scratches one without a region: neither has a mask, for the other would count as none.
    reviews.say(1, "defect", "jana", "scratch")
    reviews.say(3, "good", "jana")
    assert export_reviews(store, tmp_path / "mixed")["regions"] == 1
    mixed = read_dataset(tmp_path / "mixed").images
    assert [(item.kind, item.mask) for item in mixed if item.kind != "good"] == [
        ("scratch", None),
        ("scratch", None),
    ]


def test_frames_of_several_products_are_told_apart(tmp_path: Path) -> None:
    """What is good of one product may be a defect of another: no bundle learns of both."""
    store = archive(tmp_path / "archive", (1, 2, 3))
    archive(store, (7, 8), kind="ok")
    for number, label in (
        (1, "gear@aa"),
        (2, "lens@bb"),
        (3, "gear@cc"),
        (7, "gear@aa"),
        (8, "lens@bb"),
    ):
        (file,) = store.glob(f"*/000000000/{number:012d}.json")
        told = json.loads(file.read_text())
        told["verdict"]["bundle"] = label
        file.write_text(json.dumps(told))
    reviews = Reviews(store)
    reviews.say(1, "good", "jana")
    reviews.say(2, "good", "jana")
    reviews.say(3, "defect", "jana", "spot")
    # The archive lets its own go; what was said keeps the product.
    (store / "ng" / "000000000" / "000000000002.json").unlink()
    for product, wrong, defects, good in (("gear", 1, 1, 1), ("lens", 1, 0, 1), ("cup", 0, 0, 0)):
        found = lessons_in(store, product)
        assert len(found.wrong) == wrong
        assert sum(one.bad for one in found.known) == defects
        assert sum(not one.bad for one in found.known) == good
    with pytest.raises(ConfigError, match="reviews of gear, lens; name one of them"):
        export_reviews(store, tmp_path / "out")
    assert export_reviews(store, tmp_path / "out", "lens") == {
        "gone": 0, "regions": 0, "test/good": 1,
    }  # fmt: skip


def test_reviews_from_before_products_were_kept_are_read_and_added_to(tmp_path: Path) -> None:
    store = archive(tmp_path)
    with closing(sqlite3.connect(store / "reviews.sqlite")) as base, base:
        base.execute(
            "CREATE TABLE reviews (id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL, "
            "says TEXT NOT NULL, word TEXT NOT NULL, region TEXT, user TEXT NOT NULL, "
            "at REAL NOT NULL)"
        )
        base.execute(
            "INSERT INTO reviews (number, says, word, user, at) VALUES (1,'good','','a',1)"
        )
    assert Reviews(store).newest()[1].shows("anything")
    Reviews(store).say(2, "good", "jana")
    assert Reviews(store).newest()[2].bundle == "b"


def test_what_was_said_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    archive(tmp_path)
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from kenpin.runtime.service.reviews import Reviews;"
        f"Reviews(Path({str(tmp_path)!r})).say(1, 'good', 'jana');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert Reviews(tmp_path).newest()[1].says == "good"


def test_an_archive_that_was_emptied_gives_no_number_a_second_time(tmp_path: Path) -> None:
    Reviews(archive(tmp_path)).say(3, "good", "jana")
    for folder in ("ng", "ok"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    with closing(ArchiveStore(ArchiveSpec(folder=tmp_path, min_free_bytes=0))) as store:
        store.keep("ng", {"png": b"another", "json": b"{}"})
    (kept,) = (tmp_path / "ng").rglob("*.json")
    assert int(kept.stem) == 4


def test_what_damages_the_reviews_is_said_and_costs_no_frame(tmp_path: Path) -> None:
    (archive(tmp_path) / "reviews.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match=r"reviews\.sqlite.*move a damaged file away"):
        Reviews(tmp_path).say(1, "good", "jana")
    assert last_reviewed(tmp_path) == 0
    with served(tmp_path, archive=tmp_path) as one:
        one.visit()
        status, told, _ = one.ask("/api/archive")
        assert (status, "reviews.sqlite" in told["error"]) == (409, True)


def test_the_page_lists_shows_and_takes_reviews(tmp_path: Path) -> None:
    store = archive(tmp_path / "archive")
    with served(tmp_path, archive=store) as one:
        one.visit()
        listed = one.ask("/api/archive")[1]["frames"]
        assert [frame["number"] for frame in listed] == [1001, 3, 2, 1]
        assert one.ask("/api/archive?before=3")[1]["frames"][0]["number"] == 2
        assert one.ask("/api/archive?before=x")[0] == 400
        assert one.ask("/api/archive?kind=..%2f..")[0] == 400
        plain, heat = (one.ask(f"/api/archived/3/{which}")[1] for which in ("plain", "heat"))
        assert plain[:2] == heat[:2] == b"\xff\xd8"
        assert plain != heat
        assert one.ask("/api/archived/77/plain")[0] == 404
        body = {"number": 3, "says": "defect", "word": "spot", "region": [0.1, 0.1, 0.2, 0.3]}
        assert one.ask("/api/review", body)[0] == 200
        assert one.ask("/api/review", {**body, "word": "ugly"})[0] == 409
        assert one.ask("/api/review", {**body, "region": [0, 1]})[0] == 400
        assert one.ask("/api/review", {**body, "says": "maybe"})[0] == 400
        assert one.ask("/api/review", {**body, "number": 9})[0] == 409
        assert one.ask("/api/archive")[1]["frames"][1]["review"]["word"] == "spot"
    with served(tmp_path, archive=store, local_role="look") as one:
        one.visit()
        assert one.ask("/api/review", body)[0] == 403
    with served(tmp_path) as one:
        one.visit()
        assert "no archive" in one.ask("/api/archive")[1]["error"]


def test_the_command_lists_and_exports(tmp_path: Path, capsys) -> None:
    store = archive(tmp_path / "archive")
    Reviews(store).say(3, "defect", "jana", "hole")
    toml = tmp_path / "line.toml"
    toml.write_text(
        'name = "a"\nbox = "b"\nbundles = "store"\ntrigger = { budget_ms = 60 }\n'
        'camera = { kind = "synthetic", height_px = 128, width_px = 320, rate_hz = 5 }\n'
        'archive = { folder = "archive" }\n'
    )
    assert edge_run(["reviews", str(toml)]) == 0
    assert capsys.readouterr().out == "3\tdefect\thole\tjana\n"
    assert edge_run(["reviews", str(toml), "export", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "test" / "hole" / "000000000003.png").exists()
