"""What says that something is a defect and is not understood: refused, never learned as good."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.compile.good_images.first_look import find_good
from kenpin.compile.good_images.images import GoodImages, refuse_dataset
from kenpin.compile.layouts import counts_in, laid_out
from kenpin.config.errors import ConfigError
from kenpin.config.frame import FrameSpec
from kenpin.config.images import ImagesSpec
from kenpin.config.tiles import TileSpec
from kenpin.runtime.judging.tiling import TileGrid

H, W = 48, 64
GREY = np.full((H, W), 90, np.uint8)
CORNERS = [[6, 4], [12, 4], [12, 8], [6, 8]]


def images(folder: Path, count: int = 10) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = GREY.copy()
        pixels[-1] = number
        write_png(folder / f"{number}.png", pixels)


def counted(source: Path, **more: Any) -> dict[str, int]:
    return counts_in(laid_out(source, cache=source.parent / "cache", **more))


@pytest.mark.parametrize("good", ["Good", "normal", "OK", "pass"])
@pytest.mark.parametrize("bad", ["Scratch", "Abnormal", "NOK", "fail"])
def test_a_folder_called_good_beside_others_is_the_one_to_learn_from(
    good: str, bad: str, tmp_path: Path
) -> None:
    for name in (good, bad):
        images(tmp_path / name, 4)
    found, ng, _ = find_good(tmp_path)
    assert found == tmp_path / good
    assert ng == (None if bad == "Scratch" else tmp_path / bad)
    # Named by a recipe, it is no folder of good images either.
    with pytest.raises(ConfigError, match="would be learned as good"):
        refuse_dataset(tmp_path)


@pytest.mark.parametrize("name", ["0", "no", "False"])
@pytest.mark.parametrize("layout", ["folders", "mvtec"])
def test_what_means_good_as_a_label_only_is_not_learned_beside_a_folder_called_good(
    layout: str, name: str, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    others = ("", "") if layout == "folders" else ("train", "test")
    for place in {root / folder / "good" for folder in others} | {root / others[1] / "1"}:
        images(place, 4)
    assert counted(root)["test/defect"] == 4
    images(root / others[1] / name, 4)
    with pytest.raises(ConfigError, match=f"{name}: is called neither good nor as a defect is"):
        counted(root)


def test_two_folders_called_good_are_not_guessed_apart(tmp_path: Path) -> None:
    for name in ("good", "ok"):
        images(tmp_path / name, 4)
    with pytest.raises(ConfigError, match="holds good/ and ok/; name the one"):
        find_good(tmp_path)


@pytest.mark.parametrize("deep", ["a/defects", "2024/07/NOK", "line 3/masks"])
def test_defects_further_below_are_not_learned(deep: str, tmp_path: Path) -> None:
    images(tmp_path / "a", 4)
    images(tmp_path / deep, 2)
    for look in (find_good, refuse_dataset):
        with pytest.raises(ConfigError, match=f"{deep}/, whose images would be learned as good"):
            look(tmp_path)
    # Folders that are parts are as good as they were.
    images(tmp_path / "parts" / "1", 2)
    images(tmp_path / "parts" / "2", 2)
    assert find_good(tmp_path / "parts") == (tmp_path / "parts", None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,colour\n{0}.png,1\n", "nobody knows what its columns colour mean"),
        ("image\n{0}.png\n", "has the columns image, none of which says what is good; add one"),
        ("image,split\n{0}.png,train\n", "has the columns image, split, none of which says"),
        ("image;label\n{0}.png;good\n9.png;\n", "line 12 does not say what its image shows"),
        ("image,label,split\n{0}.png,good,holdout\n", "line 2: nobody knows what 'holdout' is for"),
        ("image,label,object\n{0}.png,good,nut\n9.png,good,bolt\n", "the categories bolt, nut;"),
    ],
)
def test_a_list_that_does_not_say_what_is_good_is_refused(
    text: str, said: str, tmp_path: Path
) -> None:
    images(tmp_path)
    head, row, *more = text.splitlines()
    rows = [row.format(number) for number in range(10)]
    (tmp_path / "list.csv").write_text("\n".join([head, *rows, *more]) + "\n")
    with pytest.raises(ConfigError, match=said):
        counted(tmp_path / "list.csv")


@pytest.mark.parametrize("absolute", [False, True])
def test_images_keep_the_folders_that_a_list_names_them_in(
    absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the list is named by its whole path, and whatever the folders are called."""
    rows, rng = ["image,kind,split"], np.random.default_rng(0)
    for folder in ("monday", "ok", "test"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(60, 120, (H, W), np.uint8)
            write_png(tmp_path / "set" / folder / f"{number}.png", pixels)
        rows += [f"{folder}/{number}.png,good,train" for number in range(8)]
    (tmp_path / "set" / "list.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    source = (tmp_path if absolute else Path()) / "set" / "list.csv"
    folder = laid_out(source, cache=tmp_path / "cache")
    assert counts_in(folder) == {"train/good": 24}
    good = folder / "train" / "good"
    assert {file.parent.name for file in good.rglob("*.png")} == {"monday", "ok", "test"}
    frame = FrameSpec(height_px=H, width_px=W)
    grid = TileGrid.of(frame, TileSpec(size_px=32, halo_px=8))
    found = GoodImages.check(ImagesSpec(good=good), frame, grid, lambda *_: None)
    assert len(found.files) == 24


def test_of_several_lists_in_a_folder_none_is_chosen(tmp_path: Path) -> None:
    images(tmp_path / "set")
    rows = "".join(f"{number}.png,good\n" for number in range(10))
    for name in ("first.csv", "second.TSV"):
        (tmp_path / "set" / name).write_text("image,kind\n" + rows)
    (tmp_path / "set" / "scores.csv").write_text("number,score\n")
    for layout in ("auto", "csv"):
        with pytest.raises(ConfigError, match=r"holds 2 lists of images, first\.csv, second\.TSV"):
            counted(tmp_path / "set", layout=layout)
    (tmp_path / "set" / "second.TSV").unlink()
    assert sum(counted(tmp_path / "set").values()) == 10


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("good for training", "{}0.png,scratch,test"),
        ("good for training", "{}./0.png,scratch,train"),
        ("good for training", "{}../set/0.png,good,test"),
        ("good for training", "{}soft.png,scratch,test"),
        ("good for training", "{}hard.png,good,val"),
        ("good for training", "{}0.png,good,train"),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_an_image_is_not_listed_as_two_things(
    said: str, again: str, absolute: bool, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    images(root)
    (root / "soft.png").symlink_to("0.png")
    (root / "hard.png").hardlink_to(root / "0.png")
    rows = [f"{number}.png,good,train" for number in range(10)]
    row = again.format(f"{root}/" if absolute else "")
    (root / "list.csv").write_text("\n".join(["image,kind,split", *rows, row]))
    for source in (root, root / "list.csv"):
        with pytest.raises(ConfigError, match=r"\(list\.csv, line 2\) and .* line 12\)") as refused:
            counted(source)
        assert f"png: is one image that is there twice, as {said}" in str(refused.value)


def test_links_to_an_image_among_its_like_are_copies(tmp_path: Path) -> None:
    root = tmp_path / "set"
    images(root)
    (root / "soft.png").symlink_to("0.png")
    rows = [f"{name}.png,good,train" for name in ("soft", *range(10))]
    (root / "list.csv").write_text("\n".join(["image,kind,split", *rows]))
    assert counted(root) == {"train/good": 11}


@pytest.mark.parametrize("layout", ["folders", "mvtec", "labelme"])
def test_a_link_does_not_make_a_defect_good(layout: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    split = "train" if layout == "mvtec" else ""
    good, bad = (root, root) if layout == "labelme" else (root / split / "good", root / "crack")
    if layout == "mvtec":
        bad = root / "test" / "crack"
    images(good)
    bad.mkdir(parents=True, exist_ok=True)
    (bad / "again.png").symlink_to(good / "7.png")
    if layout == "labelme":
        labelme(root, 7, shapes=[polygon("crack")])
    with pytest.raises(ConfigError, match=r"is one image that is there twice, as .*crack"):
        counted(root)


@pytest.mark.parametrize("column", ["target", "is_defect", "Anomaly", "defective"])
def test_a_list_says_it_in_a_column_of_another_name(column: str, tmp_path: Path) -> None:
    images(tmp_path)
    rows = [f"{number}.png,{int(number > 5)}" for number in range(10)]
    (tmp_path / "list.csv").write_text("\n".join([f"image,{column}", *rows]))
    assert counted(tmp_path / "list.csv")["test/defect"] == 4


def test_masks_and_labels_that_fit_no_image_are_refused(tmp_path: Path) -> None:
    images(tmp_path / "pairs" / "images")
    (tmp_path / "pairs" / "masks").mkdir()
    write_png(tmp_path / "pairs" / "masks" / "mask_7.png", GREY)
    with pytest.raises(ConfigError, match=r"mask_7.png: is the mask of no image"):
        counted(tmp_path / "pairs")
    # Boxes as YOLO writes them.
    images(tmp_path / "yolo" / "images")
    (tmp_path / "yolo" / "labels").mkdir()
    (tmp_path / "yolo" / "labels" / "7.txt").write_text("0 .5 .5 .1 .1\n")
    with pytest.raises(ConfigError, match="is not laid out as expected"):
        counted(tmp_path / "yolo")


def test_every_image_of_kolektorsdd2_has_its_mask(tmp_path: Path) -> None:
    for split in ("train", "test"):
        images(tmp_path / split, 4)
        for number in range(4):
            write_png(tmp_path / split / f"{number}_GT.png", np.zeros_like(GREY))
    bare = tmp_path / "test" / "2_GT.png"
    bare.unlink()
    with pytest.raises(ConfigError, match=r"2.png: has no mask 2_GT.png beside it"):
        counted(tmp_path, layout="kolektorsdd2")
    bare.with_name("7_GT.png").write_bytes((tmp_path / "test" / "1_GT.png").read_bytes())
    write_png(bare, GREY)
    with pytest.raises(ConfigError, match=r"7_GT.png: is the mask of no image"):
        counted(tmp_path, layout="kolektorsdd2")


def labelme(folder: Path, number: int, **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tree = {"imagePath": f"{number}.png", "shapes": [], "imageHeight": H, "imageWidth": W} | more
    (folder / f"{number}.json").write_text(json.dumps(tree))


def polygon(label: str) -> dict[str, Any]:
    return {"label": label, "points": CORNERS, "shape_type": "polygon"}


def test_labelmes_annotations_lie_elsewhere_and_flags_count(tmp_path: Path) -> None:
    images(tmp_path / "images")
    labelme(tmp_path / "json", 7, imagePath="../images/7.png", shapes=[polygon("crack")])
    labelme(tmp_path / "json", 8, imagePath="..\\images\\8.png", flags={"stain": True, "x": False})
    labelme(tmp_path / "json", 9, imagePath="../images/9.png", shapes=[polygon("ok")])
    found = counted(tmp_path)
    assert (found["test/crack"], found["test/stain"]) == (1, 1)
    assert found["train/good"] + found["test/good"] == 8
    labelme(tmp_path / "json", 20, shapes=[polygon("crack")])
    with pytest.raises(ConfigError, match=r"is of the image 20.png, which is not there"):
        counted(tmp_path)


def coco(root: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    images(root / "images")
    tree: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": H, "width": W} for n in range(10)],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [6, 4, 6, 4]}],
        "categories": [{"id": 1, "name": "hole"}],
    }
    change(tree)
    (root / "all.json").write_text(json.dumps(tree))
    return root


def test_cocos_annotations_reach_their_images_or_are_refused(tmp_path: Path) -> None:
    def text(tree: dict[str, Any]) -> None:
        tree["annotations"][0]["image_id"] = "7"

    def nowhere(tree: dict[str, Any]) -> None:
        tree["annotations"][0]["image_id"] = 70

    def good(tree: dict[str, Any]) -> None:
        tree["categories"][0]["name"] = "OK"

    def resized(tree: dict[str, Any]) -> None:
        tree["images"][7] |= {"height": 4 * H, "width": 4 * W}

    assert counted(coco(tmp_path / "a", text))["test/hole"] == 1
    with pytest.raises(ConfigError, match="the image with the id 70, which is not among"):
        counted(coco(tmp_path / "b", nowhere))
    assert set(counted(coco(tmp_path / "c", good))) <= {"train/good", "test/good"}
    with pytest.raises(ConfigError, match=r"7.png: has 48 x 64 px.* an image of 192 x 256"):
        counted(coco(tmp_path / "d", resized))


def test_coco_and_cvat_list_an_image_once(tmp_path: Path) -> None:
    def again(tree: dict[str, Any]) -> None:
        tree["images"].append({"id": 70, "file_name": "./7.png", "height": H, "width": W})

    twice = r"7\.png: is one image that is there twice, as hole for testing"
    with pytest.raises(ConfigError, match=twice + r" \(all\.json, image 7\) and as good .* 70\)"):
        counted(coco(tmp_path / "a", again))
    # Each of two files speaks of one kind of defect, and calls the other kind's images good.
    root = coco(tmp_path / "b", lambda tree: None)
    tree = json.loads((root / "all.json").read_text()) | {"annotations": []}
    (root / "more.json").write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match=r"\(all\.json, image 0\) .* \(more\.json, image 0\)"):
        counted(root)
    root = cvat(tmp_path / "c", '<tag label="hole"/>')
    text = (root / "annotations.xml").read_text()
    more = f'<image id="70" name="7.png" width="{W}" height="{H}"/></annotations>'
    (root / "annotations.xml").write_text(text.replace("</annotations>", more))
    with pytest.raises(ConfigError, match=twice + r" \(annotations\.xml, .* image 70\)"):
        counted(root)


def cvat(root: Path, shape: str) -> Path:
    images(root / "images")
    rows = [
        f'<image name="{n}.png" width="{W}" height="{H}">{shape if n == 7 else ""}</image>'
        for n in range(10)
    ]
    (root / "annotations.xml").write_text(f"<annotations>{''.join(rows)}</annotations>")
    return root


def test_cvats_shapes_are_turned_and_unknown_ones_refused(tmp_path: Path) -> None:
    lying = 'label="hole" xtl="20" ytl="22" xbr="44" ybr="26"'
    ellipse = 'label="hole" cx="32" cy="24" rx="12" ry="2"'
    for number, shape in enumerate(
        (f'<box {lying} rotation="90.0"/>', f'<ellipse {ellipse} rotation="90"/>')
    ):
        folder = laid_out(cvat(tmp_path / str(number), shape), cache=tmp_path / "cache")
        (mask,) = (folder / "ground_truth" / "hole").iterdir()
        rows, columns = np.nonzero(read_pixels(mask))
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 35, 30, 33)
    with pytest.raises(ConfigError, match="<cuboid> is not known"):
        counted(cvat(tmp_path / "c", '<cuboid label="hole" xtl1="1"/>'))
    tagged = f'<box {lying.replace("hole", "good")}/><tag label="scratch"/>'
    assert counted(cvat(tmp_path / "d", tagged))["test/scratch"] == 1


def test_two_images_of_one_name_do_not_share_a_mask(tmp_path: Path) -> None:
    root = coco(tmp_path / "set", lambda tree: None)
    tree = json.loads((root / "all.json").read_text())
    write_png(root / "images" / "again.png", GREY)
    (root / "images" / "again.png").rename(root / "images" / "7.PNG")
    tree["images"].append({"id": 70, "file_name": "7.PNG", "height": H, "width": W})
    tree["annotations"].append({"image_id": 70, "category_id": 1, "bbox": [30, 20, 6, 4]})
    (root / "all.json").write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match="the same name and another ending"):
        counted(root)


def test_links_in_an_archive_are_followed_and_never_left_out(tmp_path: Path) -> None:
    png = tmp_path / "one.png"
    write_png(png, GREY)

    def packed(name: str, *links: tuple[str, bytes, str]) -> Path:
        archive = tmp_path / name
        with tarfile.open(archive, "w") as tar:
            for place in ["good/0.png", "crack/1.png", *(f"good/{n}.png" for n in range(2, 9))]:
                member = tarfile.TarInfo(place)
                member.size = png.stat().st_size
                tar.addfile(member, io.BytesIO(png.read_bytes()))
            for place, kind, target in links:
                member = tarfile.TarInfo(place)
                member.type, member.linkname = kind, target
                tar.addfile(member)
        return archive

    both = (
        ("crack/hard.png", tarfile.LNKTYPE, "crack/1.png"),
        ("crack/soft.png", tarfile.SYMTYPE, "1.png"),
    )
    assert counted(packed("a.tar", *both))["test/crack"] == 3
    with pytest.raises(ConfigError, match=r"soft\.png: is a link to /etc/x\.png"):
        counted(packed("b.tar", ("crack/soft.png", tarfile.SYMTYPE, "/etc/x.png")))


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_an_archive_within_an_archive_is_not_left_out_unseen(tmp_path: Path, suffix: str) -> None:
    inner = tmp_path / f"more.{suffix}"
    inner.write_bytes(b"whatever it holds")
    outer = tmp_path / "outer.zip"
    with zipfile.ZipFile(outer, "w") as archive:
        # As macOS packs it, with its shadow.
        archive.write(inner, f"__MACOSX/._more.{suffix}")
        archive.write(inner, f"good/more.{suffix}")
    with pytest.raises(ConfigError, match=rf"good/more\.{suffix}: is an archive within"):
        counted(outer)
