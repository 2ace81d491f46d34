"""Real fabric as one web: strips turned, laid end to end, cut into frames, mapped as a roll.

    python benchmarks/web_fabric.py OUT [--picture FILE.png]

Compiles config/fabric03-web.toml, writes the test strips of AITEX fabric 03 as
frames of irregular heights, replays them with edge-replay, and compares the
defects found with the masks that people drew. Says too which drawn defects are found by size,
and how often good strips are flagged at their ends.

The photographs show a blank, white table for a quarter of their length, then the
selvedge: both are cut off first, from good strips and test strips alike.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from web_figures import by_size, flagged_ends

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.files.listing import list_images
from kenpin.compile.cli import main as edge_compile
from kenpin.runtime.replay import main as edge_replay

REPOSITORY = Path(__file__).resolve().parent.parent
FABRIC = REPOSITORY.parent / "shared" / "data" / "aitex_fabric03"
HEIGHTS = (500, 1024, 64, 777, 2048)
# Of a photograph, from the blank table on.
SELVEDGE_PX = 192
# A defect is found if a region comes this close to its mask.
NEAR_PX = 16
WEBS, WEBS_EACH, WEB_LINES = 40, 7, 900


def fabric_of(pixels: Any) -> int:
    """The column at which plain cloth begins."""
    cloth = (pixels < 250).mean(axis=0) > 0.5
    return int(cloth.argmax()) + SELVEDGE_PX


def fabric_web() -> tuple[Any, Any, list[int]]:
    """The web, (lines, 256); its mask; and the lines at which strips were laid together."""
    webs, masks, seams = [], [], [0]
    for folder in sorted((FABRIC / "test").iterdir()):
        for file in list_images(folder):
            strip = read_pixels(file)
            start = fabric_of(strip)
            pixels = np.rot90(strip[:, start:], -1)
            mask_file = FABRIC / "ground_truth" / folder.name / f"{file.stem}_mask.png"
            mask = np.zeros(pixels.shape, bool)
            if mask_file.is_file():
                drawn = read_pixels(mask_file)
                drawn = drawn if drawn.ndim == 2 else drawn.max(axis=2)
                mask = np.rot90(drawn[:, start:], -1) > 0
            webs.append(pixels)
            masks.append(mask)
            seams.append(seams[-1] + len(pixels))
    return np.concatenate(webs), np.concatenate(masks), seams[1:-1]


def good_webs() -> list[Any]:
    """WEBS webs of WEB_LINES lines, cut from good strips that no statistics saw."""
    found = []
    for file in list_images(FABRIC / "test" / "good"):
        strip = read_pixels(file)
        cloth = np.rot90(strip[:, fabric_of(strip) :], -1)
        # They overlap; no two begin or end at the same line.
        starts = np.linspace(0, len(cloth) - WEB_LINES, WEBS_EACH).astype(int)
        found += [np.ascontiguousarray(cloth[at : at + WEB_LINES]) for at in starts]
    return found[:WEBS]


def marked(mask: Any) -> list[tuple[int, int, int, int]]:
    """(first line, end line, left, right) of every defect that people drew.

    Parts of one drawing less than 64 px apart are one defect.
    """
    import cv2

    joined = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((65, 65), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    return [
        (int(t), int(t + h), int(x), int(x + w))
        for x, t, w, h, _ in (stats[label] for label in range(1, count))
    ]


def main(argv: list[str] | None = None) -> int:
    """Run it; prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--picture", type=Path, help="photograph the roll map with Chromium")
    options = parser.parse_args(argv)
    out: Path = options.out
    frames = out / "frames"
    shutil.rmtree(frames, ignore_errors=True)
    frames.mkdir(parents=True)
    recipe = REPOSITORY / "config" / "fabric03-web.toml"
    good = out / "good"
    good.mkdir(exist_ok=True)
    for file in list_images(FABRIC / "train" / "good"):
        strip = read_pixels(file)
        write_png(good / file.name, np.ascontiguousarray(strip[:, fabric_of(strip) :]))
    change = ["--set", f"images.good={good.resolve()}"]
    if code := edge_compile(["build", str(recipe), "-o", str(out / "store"), *change]):
        return code
    web, mask, seams = fabric_web()
    at = 0
    for number, height in enumerate(itertools.cycle(HEIGHTS)):
        if at >= len(web):
            break
        write_png(frames / f"{number:05d}.png", np.ascontiguousarray(web[at : at + height]))
        at += height
    said = io.StringIO()
    with redirect_stdout(said):
        code = edge_replay(
            [str(frames), "--bundle", str(out / "store"), "--rolls", str(out / "rolls"),
             "--roll-name", "aitex-fabric-03"]
        )  # fmt: skip
    print(said.getvalue().splitlines()[-1])
    if code:
        return code
    report(out / "rolls" / "aitex-fabric-03.jsonl", mask, seams)
    by_size(out / "store")
    flagged_ends(out / "store", good_webs())
    if options.picture:
        photograph(out / "rolls" / "aitex-fabric-03.html", options.picture)
    return 0


def report(lines: Path, mask: Any, seams: list[int]) -> None:
    """How the defects found lie to those that people drew."""
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    found = [d for d in records if d["type"] == "defect" and not d["open"]]
    drawn = marked(mask)

    def touches(d: dict[str, Any], box: tuple[int, int, int, int]) -> bool:
        return (
            d["first_line"] - NEAR_PX < box[1]
            and box[0] - NEAR_PX < d["end_line"]
            and d["left_px"] - NEAR_PX < box[3]
            and box[2] - NEAR_PX < d["right_px"]
        )

    hit = sum(any(touches(d, box) for d in found) for box in drawn)
    true = [d for d in found if any(touches(d, box) for box in drawn)]
    rest = [d for d in found if d not in true]
    seam = [d for d in rest if any(d["first_line"] - 48 <= s <= d["end_line"] + 48 for s in seams)]
    print(
        f"{len(mask)} lines; {len(drawn)} defects drawn by people, {hit} found; "
        f"{len(found)} regions: {len(true)} on those defects, {len(seam)} at the "
        f"{len(seams)} places where strips were laid together, {len(rest) - len(seam)} elsewhere"
    )
    summary = records[-1]
    for lane in summary["lanes"]:
        print(f"lane {lane['name']}: good length {100 * lane['yield']:.2f} %")


def photograph(page: Path, picture: Path) -> None:
    """The page as Chromium shows it."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    import browser

    path = browser.find()
    if path is None:
        raise SystemExit("no Chromium on this machine; set KENPIN_CHROMIUM")
    with browser.Browser(path, 1280, 900) as view:
        view.open(page)
        view.picture(picture, whole=False)


if __name__ == "__main__":
    sys.exit(main())
