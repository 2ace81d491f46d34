"""Maps as numbers: every pixel's score, and lists that other tools read."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import Workshop
from kenpin.camera.files.images import encode_float_tiff, read_pixels, write_png
from kenpin.camera.frame import Frame
from kenpin.compile.cli import main as edge_compile
from kenpin.config.exits import Exit
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.replay import main as edge_replay


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


@pytest.mark.parametrize("kind", ["tiff", "npy"])
def test_a_replay_writes_the_map_of_each_frame_and_what_was_said_of_it(
    workshop: Workshop, patchcore: Bundle, tmp_path: Path, kind: str
) -> None:
    frames, maps = next(p for p in (workshop.data / "test").iterdir() if p.name != "good"), tmp_path
    command = [str(frames), "--bundle", str(patchcore.folder), "--maps", str(maps)]
    assert edge_replay([*command, "--maps-as", kind]) == Exit.DONE
    scores, boxes = rows(maps / "scores.csv"), rows(maps / "boxes.csv")
    assert len(scores) == len(list(maps.glob(f"*.{kind}"))) > 0
    pipeline = Pipeline(patchcore)
    for row in scores:
        pixels = read_pixels(frames / row["name"])
        judged = pipeline.judge(Frame(pixels, 0, 0))
        assert judged.score_map is not None
        file = maps / row["map"]
        stored = np.load(file) if kind == "npy" else cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        assert stored.dtype == np.float32
        squares, stride = judged.score_map.values, judged.score_map.stride_px
        whole = np.repeat(np.repeat(squares, stride, axis=0), stride, axis=1)
        np.testing.assert_array_equal(stored, whole[: pixels.shape[0], : pixels.shape[1]])
        verdict = judged.verdict
        # Whoever holds the map against the threshold comes to the same verdict, and place.
        peak = stored[int(row["peak_y_px"]), int(row["peak_x_px"])]
        assert float(row["score"]) == verdict.score == stored.max() == peak
        assert float(row["threshold_ok"]) == pipeline.thresholds.ok
        assert (row["verdict"], row["reason"]) == (verdict.outcome.name, verdict.reason or "")
        own = [box for box in boxes if box["name"] == row["name"]]
        assert len(own) == int(row["n_defects"]) == verdict.n_defects
        for box, defect in zip(own, verdict.defects, strict=True):
            assert int(box["left_px"]) == defect.left_px
            assert int(box["bottom_px"]) == defect.bottom_px
            assert float(box["peak"]) == defect.peak
    assert boxes


def test_a_frame_without_a_map_has_its_row_all_the_same(
    workshop: Workshop, patchcore: Bundle, tmp_path: Path
) -> None:
    frames, maps = tmp_path / "frames", tmp_path / "maps"
    frames.mkdir()
    cv2.imwrite(str(frames / "small.png"), np.full((9, 9), 100, np.uint8))
    command = [str(frames), "--bundle", str(patchcore.folder), "--maps", str(maps)]
    assert edge_replay(command) == Exit.DONE
    (row,) = rows(maps / "scores.csv")
    assert (row["map"], row["score"], row["reason"]) == ("", "", "recipe_mismatch")
    assert "9 x 9" in row["detail"]


def test_an_evaluation_writes_the_same_maps(
    workshop: Workshop, patchcore: Bundle, tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    command = ["eval", str(patchcore.folder), str(workshop.data), "--maps", str(maps)]
    assert edge_compile(command) == Exit.DONE
    scores = rows(maps / "scores.csv")
    assert {row["name"].partition("/")[0] for row in scores} >= {"good"}
    assert len(list(maps.glob("*.tiff"))) == len(scores)


def test_an_image_that_cannot_be_read_has_its_row_in_an_evaluation_as_in_a_replay(
    workshop: Workshop, patchcore: Bundle, tmp_path: Path
) -> None:
    kinds = ("good", "hole")
    for kind in kinds:
        (tmp_path / "set" / "test" / kind).mkdir(parents=True)
        for number in range(2):
            image = workshop.data / "test" / "good" / f"{number:03d}.png"
            write_png(tmp_path / "set" / "test" / kind / image.name, read_pixels(image))
    cut = tmp_path / "set" / "test" / "hole" / "000.png"
    cut.write_bytes(cut.read_bytes()[:900])
    command = ["eval", str(patchcore.folder), str(tmp_path / "set"), "--maps", str(tmp_path / "e")]
    assert edge_compile(command) == Exit.REFUSED
    scores = rows(tmp_path / "e" / "scores.csv")
    names = [f"{kind}/{number:03d}.png" for kind in kinds for number in range(2)]
    assert [row["name"] for row in scores] == names
    command = [str(cut.parent), "--bundle", str(patchcore.folder), "--maps", str(tmp_path / "r")]
    assert edge_replay(command) == Exit.DONE
    played = rows(tmp_path / "r" / "scores.csv")[0]
    told = ("map", "verdict", "reason", "score", "threshold_ok", "detail")
    assert [scores[2][name] for name in told] == [played[name] for name in told]
    assert (played["verdict"], played["reason"]) == ("NG", "incomplete_frame")


def test_a_float_tiff_keeps_every_bit() -> None:
    values = np.array([[0, 1e-30, -3.5], [np.nan, np.inf, 7]], np.float32)
    encoded = np.frombuffer(encode_float_tiff(values), np.uint8)
    found = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert found.tobytes() == values.tobytes()
