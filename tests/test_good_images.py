"""Good images as people bring them: copies, lens caps, folders; masks; where scores crowd."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import Workshop
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.good_images.clusters import crowded_tiles, describe
from kenpin.compile.good_images.grey_limits import unusual
from kenpin.compile.good_images.inspected import read_mask
from kenpin.compile.operating_point.good_scores import peak_of
from kenpin.config.exits import Exit
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.tiling import TileGrid

Said = pytest.CaptureFixture[str]


@pytest.fixture
def good(workshop: Workshop, tmp_path: Path) -> Path:
    """The workshop's 16 good frames, to spoil."""
    return Path(shutil.copytree(workshop.data / "train" / "good", tmp_path / "good"))


def check(workshop: Workshop, good: Path, *more: str) -> int:
    arguments = ["check", str(workshop.recipe), "--set", f"images.good={good}"]
    for change in more:
        arguments += ["--set", change] if not change.startswith("--") else change.split("=", 1)
    return edge_compile(arguments)


def flat(text: str) -> str:
    return text.replace("\n", "")


def test_copies_constant_images_and_lens_caps_are_told_by_name(
    workshop: Workshop, good: Path, capsys: Said
) -> None:
    shutil.copy(good / "003.png", good / "again.png")
    write_png(good / "cap.png", np.random.default_rng(0).integers(0, 4, (128, 320), np.uint8))
    write_png(good / "empty.png", np.full((128, 320), 110, np.uint8))
    assert check(workshop, good) == Exit.DONE
    out = flat(capsys.readouterr().out)
    assert "1 images are copies of others, again.png of 003.png first" in out
    assert "cap.png has mean 1 and contrast" in out
    assert "empty.png has one grey level, 110, all over" in out


def test_few_images_are_told_with_the_number_that_the_asked_rate_takes(
    workshop: Workshop, good: Path, capsys: Said
) -> None:
    assert check(workshop, good) == Exit.DONE
    out = flat(capsys.readouterr().out)
    assert "16 good scores are too few to have seen one in 100" in out
    assert "99 are enough" in out
    assert check(workshop, good, "threshold.false_rejects=0.1") == Exit.DONE
    assert "16 good images are few, expected 50 or more" in flat(capsys.readouterr().out)


def test_images_in_folders_are_learned_from_and_counted(
    workshop: Workshop, good: Path, capsys: Said
) -> None:
    for number in range(4, 10):
        day = good / ("monday" if number % 2 else "tuesday")
        day.mkdir(exist_ok=True)
        (good / f"{number:03d}.png").rename(
            day / "same.png" if number < 6 else day / f"{number}.png"
        )
    assert check(workshop, good) == Exit.DONE
    out = flat(capsys.readouterr().out)
    assert "6 of the 16 images lie in 2 folders below" in out
    assert "16 good images" in out


# Where each layout has the images of which nothing bad is said.
PLACES = {
    "csv": "photos",
    "coco": "images",
    "cvat": "images",
    "labelme": "photos",
    "visa": "Data/Images/Normal",
    "mvtec": "train/good",
    "btad": "train/ok",
    "pairs": "images",
    "folders": "good",
}


def annotate(root: Path, layout: str, names: list[str], frame: Path) -> None:
    """What else makes a data set of this layout of images below `root`."""
    places = [f"{PLACES[layout]}/{name}" for name in names]
    if layout == "csv":
        rows = "\n".join(f"{place},good,train" for place in places)
        (root / "list.csv").write_text(f"image,kind,split\n{rows}\n")
    elif layout == "coco":
        listed = [{"id": number, "file_name": name} for number, name in enumerate(names)]
        (root / "all.json").write_text(json.dumps({"images": listed, "annotations": []}))
    elif layout == "cvat":
        listed = "".join(f'<image name="{name}"/>' for name in names)
        (root / "annotations.xml").write_text(f"<annotations>{listed}</annotations>")
    elif layout == "labelme":
        tree = {"imagePath": Path(places[0]).name, "shapes": []}
        (root / places[0]).with_suffix(".json").write_text(json.dumps(tree))
    else:
        bad = {"visa": "Data/Images/Anomaly", "folders": "hole", "pairs": "masks/tuesday"}
        place = root / bad.get(layout, "test/hole")
        place.mkdir(parents=True)
        shutil.copy(frame, place / Path(names[0]).name)


@pytest.mark.parametrize("layout", PLACES)
def test_of_a_data_set_that_kenpin_lays_out_no_folder_is_doubted(
    layout: str,
    workshop: Workshop,
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Said,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root, names = tmp_path / "set", []
    for number, file in enumerate(sorted(good.iterdir())):
        names.append(f"{'monday' if number % 2 else 'tuesday'}/{file.name}")
        place = root / PLACES[layout] / names[-1]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    annotate(root, layout, names, good / "000.png")
    for named in (layout, "auto"):
        assert check(workshop, root, f"images.layout={named}") == Exit.DONE
        out = flat(capsys.readouterr().out)
        assert "good images are few" in out or "good scores are too few" in out
        assert " lie in " not in out
    # Laid out by hand, and named as a folder.
    monkeypatch.chdir(tmp_path)
    assert edge_compile(["data", "set", "-o", str(tmp_path / "out")]) == Exit.DONE
    folder = Path(capsys.readouterr().out.strip())
    assert check(workshop, folder / "train" / "good") == Exit.DONE
    assert " lie in " not in flat(capsys.readouterr().out)


def test_a_whole_dataset_is_not_learned_from_as_if_all_of_it_were_good(
    workshop: Workshop, capsys: Said
) -> None:
    assert check(workshop, workshop.data) == Exit.CONFIG
    assert "holds a folder ground_truth/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("images.mask={folder}/missing.png", Exit.IMAGES, "missing.png: no such file"),
        ("images.mask={folder}/black.png", Exit.CONFIG, "its highest value is 1"),
        ("images.mask={folder}/small.png", Exit.CONFIG, "mask of 64 x 320 px, expected the frame"),
        ("images.ng={folder}/nowhere", Exit.IMAGES, "nowhere: no such folder"),
        ("images.ng={folder}/colour", Exit.CONFIG, "frame has 3 channels"),
    ],
)
def test_check_finds_what_build_would_stumble_over(
    workshop: Workshop, good: Path, change: str, code: Exit, said: str, capsys: Said
) -> None:
    folder = good.parent
    write_png(folder / "black.png", np.ones((128, 320), np.uint8))
    write_png(folder / "small.png", np.full((64, 320), 255, np.uint8))
    (folder / "colour").mkdir()
    write_png(folder / "colour" / "0.png", np.zeros((128, 320, 3), np.uint8))
    assert check(workshop, good, change.format(folder=folder)) == code
    assert said in capsys.readouterr().err


def test_an_image_that_is_good_and_ng_at_once_is_named_and_refused(
    workshop: Workshop, good: Path, capsys: Said
) -> None:
    ng = good.parent / "rejects"
    ng.mkdir()
    for name, source in (("sound.png", "003.png"), ("twice.png", "001.png")):
        (ng / name).write_bytes((good / source).read_bytes())
    write_png(ng / "hole.png", np.zeros((128, 320), np.uint8))
    assert check(workshop, good, f"images.ng={ng}") == Exit.CONFIG
    said = capsys.readouterr().err
    assert "2 of the 3 images in images.ng are among the good ones, too" in said
    assert f"{ng}/sound.png as {good}/003.png first" in said
    left_out = 'images.exclude=["001.png", "003.png"]'
    assert check(workshop, good, f"images.ng={ng}", left_out) == Exit.DONE


def test_check_draws_what_is_not_inspected(workshop: Workshop, good: Path, capsys: Said) -> None:
    mask = np.full((128, 320), 255, np.uint8)
    mask[:, :80] = 0
    write_png(good.parent / "mask.png", mask)
    picture = good.parent / "picture.png"
    changes = (f"images.mask={good.parent}/mask.png", f"--picture={picture}")
    assert check(workshop, good, *changes) == Exit.DONE
    assert "75% of the frame is inspected" in capsys.readouterr().out
    first = read_pixels(good / "000.png")
    drawn = read_pixels(picture)
    assert drawn.shape == (128, 320, 3)
    np.testing.assert_array_equal(drawn[:, 84:, 0], first[:, 84:])
    assert (drawn[:, :76, 0] != first[:, :76]).mean() > 0.9


@given(st.integers(9, 40), st.integers(9, 40), st.sampled_from([4, 8]), st.integers(0, 2**32 - 1))
def test_every_white_pixel_of_a_mask_is_inspected_and_no_place_without_one(
    height: int, width: int, px: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    white = rng.random((height, width)) < rng.choice([0.01, 0.1, 0.9])
    white[rng.integers(height), rng.integers(width)] = True
    joiner = Joiner(TileGrid(height, width, 16, 0, 16), px)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mask.png")
        write_png(file, np.where(white, 255, 0).astype(np.uint8))
        mask = read_mask(file, joiner)
    assert mask.shape == joiner.shape
    for row, col in np.ndindex(mask.shape):
        place = white[row * px : (row + 1) * px, col * px : (col + 1) * px]
        assert mask[row, col] == place.any()


def test_a_black_frame_among_the_good_widens_no_limit() -> None:
    grey = [(100.0 + n % 5, 20.0 + n % 3) for n in range(20)]
    assert not unusual(grey, 40, 0.25).any()
    odd = unusual([*grey, (0.0, 0.0), (101.0, 2.0), (255.0, 20.0)], 40, 0.25)
    assert odd.tolist() == [False] * 20 + [True] * 3


def test_parts_in_two_shades_are_all_usual() -> None:
    grey = [(60.0 + n % 4, 20.0) for n in range(10)] + [(190.0 + n % 4, 25.0) for n in range(10)]
    assert not unusual(grey, 40, 0.25).any()


def test_scores_that_crowd_at_the_edges_of_a_web_are_placed() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(3, 0.2, 100)
    peaks = [(float(x), float(y)) for x, y in rng.random((100, 2))]
    for number in range(25):
        scores[number] += 5
        if number < 20:
            peaks[number] = (0.01 if number % 2 else 0.99, 0.5)
    found = crowded_tiles(scores, peaks, (256, 4096), web=True)
    assert {(one.left_px, one.right_px) for one in found} == {(0, 256), (3840, 4096)}
    said = describe(found, web=True)
    assert "of the 25 highest scores of good images lie at 0 to 256 px across and at" in said
    assert "web.ignore" in said


def test_scores_that_crowd_in_a_corner_of_parts_are_placed() -> None:
    rng = np.random.default_rng(1)
    peaks = [(float(x), float(y)) for x, y in rng.random((60, 2))]
    peaks[:14] = [(0.97, 0.02)] * 14
    scores = [9.0] * 14 + [1.0] * 46
    found = crowded_tiles(scores, peaks, (800, 1600), web=False)
    corner = max(found, key=lambda one: one.peaks)
    assert (corner.left_px, corner.right_px, corner.top_px, corner.bottom_px) == (
        1400,
        1600,
        0,
        100,
    )
    assert "images.mask" in describe(found, web=False)


@pytest.mark.parametrize("web", [False, True])
def test_scores_that_lie_anywhere_crowd_nowhere(web: bool) -> None:
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        peaks = [(float(x), float(y)) for x, y in rng.random((60, 2))]
        alarms += bool(crowded_tiles(rng.random(60).tolist(), peaks, (256, 4096), web=web))
    assert alarms <= 2


def test_a_few_scores_are_no_crowd() -> None:
    assert crowded_tiles([1.0] * 11, [(0.5, 0.5)] * 11, (64, 64), web=True) == []


@pytest.mark.parametrize("web", [False, True])
@pytest.mark.parametrize("higher", [0, 3])
def test_equal_scores_crowd_nowhere_whichever_comes_first(web: bool, higher: int) -> None:
    corner = [(0.01, 0.01)] * 60
    scores = [2.0] * higher + [0.0] * (60 - higher)
    assert crowded_tiles(scores, corner, (256, 256), web=web) == []
    assert crowded_tiles([0.0] * 12, corner[:12], (256, 256), web=web) == []
    # Those that are higher than all others count, as far as they go.
    found = crowded_tiles([2.0] * 13 + [0.0] * 47, corner, (256, 256), web=web)
    assert {one.of for one in found} == {13}


def test_images_whose_peak_is_everywhere_crowd_nowhere() -> None:
    scores = [9.0] * 15 + [1.0] * 45
    few = [(0.01, 0.01)] * 4 + [None] * 56
    assert crowded_tiles(scores, few, (256, 256), web=False) == []


@pytest.mark.parametrize(
    ("equal", "peak"),
    [
        ([(0, 0)], (0.5 / 32, 0.5 / 16)),
        ([(15, 31)], (31.5 / 32, 15.5 / 16)),
        # A defect of some places, where a network's numbers end.
        ([(8, 20), (8, 21), (9, 20)], (20.5 / 32, 8.5 / 16)),
        ([(0, 0), (0, 31)], None),
        ([(0, 3), (15, 3)], None),
        ([], None),
    ],
)
def test_a_maps_peak_is_one_place_or_none(
    equal: list[tuple[int, int]], peak: tuple[float, float] | None
) -> None:
    values = np.zeros((16, 32), np.float32)
    for place in equal:
        values[place] = 1
    assert peak_of(values) == peak
