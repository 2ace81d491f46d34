"""Data sets as people have them: read, divided, drawn, and laid out in one way."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kenpin.camera.files.images import encode_png, read_pixels, write_png
from kenpin.camera.files.listing import list_images
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.evaluation.dataset import dataset_folder, read_dataset
from kenpin.compile.layouts import LAYOUTS, counts_in, laid_out, recipe_with_images
from kenpin.compile.layouts.shapes import (
    Drawing,
    Ellipse,
    Polygon,
    Polyline,
    Runs,
    box,
    decoded_counts,
)
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe

H, W = 16, 20
GREY = np.full((H, W), 90, np.uint8)
# What every data set here marks in its one image with a hole.
HOLE = np.zeros((H, W), np.uint8)
HOLE[4:8, 6:12] = 255
CORNERS = [(6, 4), (12, 4), (12, 8), (6, 8)]
RECIPE: dict[str, Any] = {
    "name": "candle",
    "frame": {"height_px": H, "width_px": W},
    "method": {"name": "baseline"},
}


def put(path: Path, pixels: np.ndarray = GREY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each is another, so that no link can lead to the wrong one unseen.
    own = pixels.copy()
    if pixels is GREY:
        own[-1] = sum(str(path.name).encode()) % 200
    write_png(path, own)
    return path


def mvtec(root: Path) -> None:
    for number in range(3):
        put(root / f"bottle/train/good/{number}.png")
    put(root / "bottle/test/good/3.png")
    put(root / "bottle/test/hole/4.png")
    put(root / "bottle/ground_truth/hole/4_mask.png", HOLE)


def btad(root: Path) -> None:
    for number in range(3):
        put(root / f"01/train/ok/{number}.png")
    put(root / "01/test/ok/3.png")
    put(root / "01/test/ko/4.png")
    put(root / "01/ground_truth/ko/4.png", HOLE)


def visa(root: Path) -> None:
    images = "candle/Data/Images"
    rows = ["object,split,label,image,mask"]
    for number in range(4):
        put(root / images / f"Normal/{number}.png")
        split = "test" if number == 3 else "train"
        rows.append(f"candle,{split},normal,{images}/Normal/{number}.png,")
    put(root / images / "Anomaly/4.png")
    put(root / "candle/Data/Masks/Anomaly/4.png", HOLE // 255)
    rows.append(f"candle,test,anomaly,{images}/Anomaly/4.png,candle/Data/Masks/Anomaly/4.png")
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(rows) + "\n")


def kolektor(root: Path) -> None:
    for split, numbers in (("train", (0, 1, 2)), ("test", (3, 4))):
        for number in numbers:
            put(root / f"{split}/{number}.png")
            put(root / f"{split}/{number}_GT.png", HOLE if number == 4 else np.zeros_like(HOLE))


def mtd(root: Path) -> None:
    for number in range(12):
        put(root / f"MT_Free/Imgs/exp1_num_{number}.bmp".replace(".bmp", ".png"))
    for file in (root / "MT_Free/Imgs").iterdir():
        pixels = read_pixels(file)
        cv2.imwrite(str(file.with_suffix(".jpg")), pixels)
        write_png(file, np.zeros_like(pixels))
    (root / "MT_Hole/Imgs").mkdir(parents=True)
    cv2.imwrite(str(root / "MT_Hole/Imgs/exp1_num_99.jpg"), GREY)
    put(root / "MT_Hole/Imgs/exp1_num_99.png", HOLE)


def pairs(root: Path) -> None:
    for number in range(12):
        put(root / f"images/{number}.png")
    put(root / "images/99.png")
    put(root / "masks/99.png", HOLE)
    put(root / "masks/3.png", np.zeros_like(HOLE))


def folders(root: Path) -> None:
    for number in range(12):
        put(root / f"OK/{number}.png")
    put(root / "hole/99.png")
    put(root / "masks/hole/99.png", HOLE)


def coco(root: Path) -> None:
    images = [{"id": n, "file_name": f"{n}.png", "height": H, "width": W} for n in range(13)]
    for item in images:
        put(root / "images" / str(item["file_name"]))
    hole = {"image_id": 12, "category_id": 1, "segmentation": [[x for c in CORNERS for x in c]]}
    tree = {"images": images, "annotations": [hole], "categories": [{"id": 1, "name": "hole"}]}
    (root / "annotations").mkdir()
    (root / "annotations/all.json").write_text(json.dumps(tree))


def labelme(root: Path) -> None:
    for number in range(13):
        put(root / f"{number}.png")
    shape = {"label": "hole", "points": CORNERS, "shape_type": "polygon"}
    (root / "12.json").write_text(json.dumps({"imagePath": "12.png", "shapes": [shape]}))
    (root / "3.json").write_text(json.dumps({"imagePath": "3.png", "shapes": []}))


def cvat(root: Path) -> None:
    for number in range(13):
        put(root / f"images/{number}.png")
    shape = '<box label="hole" xtl="6" ytl="4" xbr="12" ybr="8"/>'
    rows = [
        f'<image name="{n}.png" width="{W}" height="{H}">{shape if n == 12 else ""}</image>'
        for n in range(13)
    ]
    (root / "annotations.xml").write_text(f"<annotations>{''.join(rows)}</annotations>")


def csv_list(root: Path) -> None:
    rows = ["image;kind;split;mask"]
    for number in range(4):
        put(root / f"photos/{number}.png")
        rows.append(f"photos/{number}.png;ok;{'test' if number == 3 else 'train'};")
    put(root / "photos/4.png")
    put(root / "drawn/4.png", HOLE)
    (root / "list.csv").write_text("\n".join([*rows, "photos/4.png;hole;test;drawn/4.png"]))


# Where the reader begins, what makes the data set, and what its defect is called.
MADE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "mvtec": ("", mvtec, "hole"),
    "btad": ("", btad, "defect"),
    "visa": ("", visa, "defect"),
    "kolektorsdd2": ("", kolektor, "defect"),
    "mtd": ("", mtd, "hole"),
    "pairs": ("", pairs, "defect"),
    "folders": ("", folders, "hole"),
    "coco": ("", coco, "hole"),
    "labelme": ("", labelme, "hole"),
    "cvat": ("", cvat, "hole"),
    "csv": ("list.csv", csv_list, "hole"),
}


def source(folder: Path, name: str) -> Path:
    root = folder / "set"
    root.mkdir()
    begins, make, _ = MADE[name]
    make(root)
    return root / begins if begins else root


def test_every_built_in_layout_is_tried_here() -> None:
    assert sorted(MADE) == LAYOUTS.names()


@pytest.mark.parametrize("name", MADE)
def test_a_data_set_is_recognised_and_laid_out_with_its_mask(tmp_path: Path, name: str) -> None:
    begins = source(tmp_path, name)
    folder = laid_out(begins, cache=tmp_path / "cache")
    assert folder == laid_out(begins, name, cache=tmp_path / "cache")
    dataset = read_dataset(folder)
    kind = MADE[name][2]
    (bad,) = (item for item in dataset.images if item.kind != "good")
    assert bad.kind == kind
    assert bad.mask is not None
    np.testing.assert_array_equal(read_pixels(bad.mask) > 0, HOLE > 0)
    counts = counts_in(folder)
    assert set(counts) == {"train/good", "test/good", f"test/{kind}"}
    good = list_images(folder / "train/good") + list_images(folder / "test/good")
    assert len(good) == (12 if counts["train/good"] > 3 else 4)
    assert bad.file.resolve().stem not in {file.resolve().stem for file in good}


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("csv", "pairs")])
def test_tables_in_a_data_set_of_another_layout_change_nothing(tmp_path: Path, name: str) -> None:
    root = source(tmp_path, name)
    before = laid_out(root, cache=tmp_path / "cache")
    (root / "noise.csv").write_bytes(bytes(range(256)) * 400)
    (root / "scores.csv").write_text("number,score\n1,0.5\n")
    (root / "list.csv").write_text("image,kind\n1.png,good\n")
    assert laid_out(root, cache=tmp_path / "cache") == before


def test_a_list_beside_images_and_masks_is_not_passed_over(tmp_path: Path) -> None:
    root = source(tmp_path, "pairs")
    before = laid_out(root, cache=tmp_path / "cache")
    (root / "scores.csv").write_text("image,score\n1.png,0.5\n")
    assert laid_out(root, cache=tmp_path / "cache") == before
    rows = [f"images/{number}.png,good" for number in range(12)]
    (root / "list.csv").write_text("\n".join(["image,kind", *rows, "images/99.png,hole"]))
    with pytest.raises(ConfigError, match="looks like csv and like pairs; say which"):
        laid_out(root, cache=tmp_path / "cache")
    assert laid_out(root, "pairs", cache=tmp_path / "cache") == before
    listed = laid_out(root, "csv", cache=tmp_path / "cache")
    assert counts_in(listed)["test/hole"] == 1


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_an_archive_is_unpacked_once_and_read_as_the_folder_in_it(
    tmp_path: Path, suffix: str
) -> None:
    root = source(tmp_path, "mvtec") / "bottle"
    archive = tmp_path / f"bottle{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for file in root.rglob("*.*"):
                packed.write(file, Path("deep") / file.relative_to(root.parent))
    else:
        with tarfile.open(archive, f"w:{suffix.removeprefix('.tar').removeprefix('.')}") as tar:
            tar.add(root, "deep/bottle")
    cache = tmp_path / "cache"
    folder = laid_out(archive, cache=cache)
    assert counts_in(folder) == {"train/good": 3, "test/good": 1, "test/hole": 1}
    before = sorted(cache.iterdir())
    assert laid_out(archive, cache=cache) == folder
    assert sorted(cache.iterdir()) == before


def test_a_list_is_found_in_its_folder_and_in_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = source(tmp_path, "csv").parent
    packed = [tmp_path / "flat.zip", tmp_path / "deep.zip", tmp_path / "deep.tar"]
    for archive in packed[:2]:
        root = folder if archive.stem == "flat" else folder.parent
        with zipfile.ZipFile(archive, "w") as file:
            for path in folder.rglob("*.*"):
                file.write(path, path.relative_to(root))
    with tarfile.open(packed[2], "w") as tar:
        tar.add(folder, "set")
    for place in (folder, *packed):
        for layout in ("auto", "csv"):
            images = {"good": place, "layout": layout}
            recipe = recipe_with_images(Recipe.model_validate({**RECIPE, "images": images}))
            counts = counts_in(recipe.images.good.parents[1])
            assert counts == {"train/good": 3, "test/good": 1, "test/hole": 1}


def test_an_archive_that_reaches_outside_of_itself_is_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for number, name in enumerate(("../evil.png", "/tmp/evil.png", "a/../../evil.png")):
        archive = tmp_path / f"{number}.tar"
        with tarfile.open(archive, "w") as tar:
            member = tarfile.TarInfo(name)
            data = encode_png(GREY)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        with pytest.raises(ConfigError, match="outside of itself; refused"):
            laid_out(archive, cache=cache)
    assert list(cache.iterdir()) == []
    link = tmp_path / "link.tar"
    with tarfile.open(link, "w") as tar:
        member = tarfile.TarInfo("link.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(ConfigError, match="is a link to /etc/passwd, which the archive does not"):
        laid_out(link, cache=cache)
    (tmp_path / "torn.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        laid_out(tmp_path / "torn.zip", cache=cache)


def test_good_images_are_divided_by_part_and_more_of_them_move_none(tmp_path: Path) -> None:
    root = source(tmp_path, "mtd")
    first = laid_out(root, cache=tmp_path / "cache")
    tested = {file.name for file in list_images(first / "test/good")}
    for number in range(6):
        # The same tiles under another lamp.
        cv2.imwrite(str(root / f"MT_Free/Imgs/exp4_num_{number}.jpg"), GREY)
    again = laid_out(root, cache=tmp_path / "cache")
    now = {file.name for file in list_images(again / "test/good")}
    assert tested <= now
    parts = [{n.split("num_")[1] for n in names} for names in (now, tested)]
    assert {int(p.split(".")[0]) for p in parts[0]} == {int(p.split(".")[0]) for p in parts[1]}


def test_defects_for_training_are_kept_apart_for_thresholds(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    kolektor(root)
    put(root / "train/8.png")
    put(root / "train/8_GT.png", HOLE)
    counts = counts_in(laid_out(root, cache=tmp_path / "cache"))
    assert counts == {"train/good": 3, "ng/defect": 1, "test/good": 1, "test/defect": 1}


def test_a_recipe_names_a_data_set_and_learns_from_its_good_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = source(tmp_path, "visa")
    tree = {**RECIPE, "images": {"good": root, "layout": "visa", "category": "candle"}}
    recipe = recipe_with_images(Recipe.model_validate(tree))
    assert [file.name for file in list_images(recipe.images.good)] == ["0.png", "1.png", "2.png"]
    assert recipe_with_images(recipe) == recipe
    with pytest.raises(ValueError, match="no layout is given"):
        Recipe.model_validate({**tree, "images": {"good": root, "category": "candle"}})


def test_what_is_no_known_data_set_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    def refused(match: str, path: Path, **named: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            laid_out(path, **named, cache=tmp_path / "cache")

    refused("no such folder or file", tmp_path / "none")
    put(tmp_path / "loose/1.png")
    refused("mvtec: train/good/", tmp_path / "loose")
    refused("layout 'mvtech' is not known", tmp_path / "loose", layout="mvtech")
    root = source(tmp_path, "mvtec")
    put(root / "cable/train/good/0.png")
    put(root / "cable/test/good/1.png")
    refused("holds the categories bottle, cable; name one", root)
    refused("has no category 'nut'; it holds bottle, cable", root, category="nut")
    assert "train/good" in counts_in(laid_out(root, category="bottle", cache=tmp_path / "cache"))
    assert dataset_folder(root / "bottle") == root / "bottle"
    # Laid out as folders of kinds, four good ones of five would be for training.
    assert dataset_folder(root / "bottle" / "test") == root / "bottle"
    listed = tmp_path / "broken.csv"
    listed.write_text("image,kind\nnone.png,ok\n")
    refused("line 2: there is no file", listed)
    listed.write_text("image,kind\nnone.png\n")
    refused("line 2 has 1 columns, expected 2", listed)
    listed.write_text("photo,kind\nnone.png,ok\n")
    refused("line 2 names no image", listed)
    listed.write_text(f"image,kind\n{root / 'bottle/test/hole/4.png'},hole\n")
    refused("none of which is good", listed)
    xml = tmp_path / "bomb.xml"
    xml.write_text('<!DOCTYPE a [<!ENTITY b "b">]><annotations><image/></annotations>')
    refused("declares entities", xml)
    torn = tmp_path / "torn.json"
    torn.write_text('{"images": [{}], "annotations": [{"image_id": 1}]}')
    refused("is not as COCO has it", torn)


def test_shapes_are_drawn_as_their_tools_mean_them() -> None:
    def drawn(*shapes: Any) -> np.ndarray:
        return Drawing(shapes).mask(H, W) > 0

    np.testing.assert_array_equal(drawn(box(6, 4, 12, 8)), HOLE > 0)
    flat = (HOLE > 0).T.ravel()
    runs = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size])
    np.testing.assert_array_equal(drawn(Runs(tuple(runs.tolist()), (H, W))), HOLE > 0)
    window = Runs((0, 24), (4, 6), (6, 4), by_columns=False)
    np.testing.assert_array_equal(drawn(window), HOLE > 0)
    # A ring: even and odd crossings.
    ring = Polygon(((0, 0), (8, 0), (8, 8), (0, 8), (0, 0), (2, 2), (6, 2), (6, 6), (2, 6), (2, 2)))
    assert drawn(ring).sum() == 64 - 16
    # Thinner than a pixel, and beyond the border.
    assert drawn(Polygon(((3.1, 2.1), (9.2, 2.2), (9.1, 2.3)))).sum() >= 6
    assert drawn(Polyline(((W, H),)))[-1, -1]
    assert drawn(box(-5, -5, 2, 2)).sum() == 4
    assert 45 <= drawn(Ellipse((8, 8), (4, 4))).sum() <= 55
    with pytest.raises(ValueError, match="which has 24"):
        Runs((3, 4), (4, 6))


# Written by pycocotools 2.0.11 for HOLE and for a chequered board.
@pytest.mark.parametrize(
    ("text", "mask"), json.loads((Path(__file__).parent / "vectors/coco_runs.json").read_text())
)
def test_cocos_runs_are_read_as_its_own_tools_write_them(text: str, mask: list[str]) -> None:
    expected = np.array([[c == "1" for c in row] for row in mask])
    found = Drawing((Runs(decoded_counts(text), expected.shape),)).mask(*expected.shape) > 0
    np.testing.assert_array_equal(found, expected)


def test_annotations_of_every_kind_of_shape_are_read(tmp_path: Path) -> None:
    root = source(tmp_path, "labelme")
    png = base64.b64encode(encode_png(np.full((4, 6), 255, np.uint8))).decode()
    shapes = [
        {"label": "a", "points": [[6, 4], [12, 8]], "shape_type": "rectangle"},
        {"label": "b", "points": [[6, 4], [12, 8]], "shape_type": "mask", "mask": png},
        {"label": "a", "points": [[8, 6], [9, 6]], "shape_type": "circle"},
        {"label": "a", "points": [[7, 5], [10, 7]], "shape_type": "line"},
    ]
    (root / "11.json").write_text(json.dumps({"imagePath": "11.png", "shapes": shapes}))
    found = read_dataset(laid_out(root, cache=tmp_path / "cache"))
    (item,) = (one for one in found.images if one.kind == "a+b")
    assert item.mask is not None
    np.testing.assert_array_equal(read_pixels(item.mask) > 0, HOLE > 0)


def test_the_command_says_what_is_in_a_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = source(tmp_path, "cvat")
    assert edge_compile(["data", str(root), "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "test/hole: 1 images" in said.err
    assert (Path(said.out.strip()) / "train/good").is_dir()
