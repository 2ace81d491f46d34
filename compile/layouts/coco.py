"""COCO's annotations (Lin et al., ECCV 2014): one JSON of images, categories and shapes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kenpin.camera.files.listing import printable
from kenpin.compile.layouts.annotated import image_beside, read_json, shown, size_in
from kenpin.compile.layouts.base import DatasetLayout, LabelledImage, split_in
from kenpin.compile.layouts.shapes import (
    Polygon,
    Runs,
    Shape,
    box,
    decoded_counts,
    points_of,
)
from kenpin.compile.words import DEFECT
from kenpin.config.errors import ConfigError

__all__ = ["COCO"]


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" else []
    return sorted({*root.glob("*.json"), *root.glob("annotations/*.json")})


def _is_one(root: Path) -> bool:
    files = _files(root)
    return bool(files) and {"images", "annotations"} <= read_json(files[0]).keys()


def _read(root: Path, category: str | None) -> Iterator[LabelledImage]:
    if category is not None:
        raise ConfigError(
            f"{printable(root)}: COCO's annotations have no products; remove the name"
        )
    for file in _files(root):
        tree = read_json(file)
        try:
            yield from _samples(tree, file)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{printable(file)}: is not as COCO has it ({type(error).__name__}: {error}); "
                "expected images, categories, and annotations with a segmentation or a bbox"
            ) from None


def _samples(tree: dict[str, Any], file: Path) -> Iterator[LabelledImage]:
    # Some tools write a number as a number here and as a text there.
    names = {str(item["id"]): str(item["name"]) for item in tree.get("categories", [])}
    drawn: dict[str, list[tuple[str, list[Shape]]]] = defaultdict(list)
    for item in tree["annotations"]:
        label = names.get(str(item.get("category_id")), DEFECT)
        drawn[str(item["image_id"])].append((label, _shapes(item)))
    loose = drawn.keys() - {str(item["id"]) for item in tree["images"]}
    if loose:
        raise ConfigError(
            f"{printable(file)}: annotations are of the image with the id {min(loose)}, which is "
            "not among its images; export it again"
        )
    # instances_val.json says what its images are for, and so may a folder of images.
    words = file.stem.replace("-", "_").split("_")
    for item in tree["images"]:
        name = str(item["file_name"])
        split = split_in([*Path(name).parts, *words])
        image = image_beside(file, name, words[-1])
        size = size_in(item, "height", "width")
        kind, mask = shown(drawn[str(item["id"])], size=size)
        told = f"{printable(file.name)}, image {item['id']}"
        yield LabelledImage(image, name, kind, split, mask, told=told)


def _shapes(item: dict[str, Any]) -> list[Shape]:
    found = item.get("segmentation")
    if isinstance(found, dict):
        counts, (height, width) = found["counts"], found["size"]
        runs = decoded_counts(counts) if isinstance(counts, str) else tuple(map(int, counts))
        return [Runs(runs, (int(height), int(width)))]
    if found:
        return [Polygon(points_of(part)) for part in found]
    left, top, width, height = map(float, item["bbox"])
    return [box(left, top, left + width, top + height)]


# The layout of the name `coco`.
COCO = DatasetLayout(
    "a .json with images, categories, annotations; images beside it", _is_one, _read
)
