"""Labelme's annotations (Wada): a JSON beside each image with shapes drawn in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kenpin.camera.files.images import decode_pixels
from kenpin.camera.files.listing import list_files, list_images, name_in, printable
from kenpin.compile.layouts.annotated import read_json, shown, size_in
from kenpin.compile.layouts.base import DatasetLayout, LabelledImage, category_in, split_in
from kenpin.compile.layouts.shapes import Ellipse, Polygon, Polyline, Runs, Shape, box
from kenpin.config.errors import ConfigError

__all__ = ["LABELME"]


def _annotations(root: Path) -> list[Path]:
    return [file for file in list_files(root) if file.suffix.lower() == ".json"]


def _is_one(root: Path) -> bool:
    if not root.is_dir():
        return False
    files = _annotations(root)
    return bool(files) and {"shapes", "imagePath"} <= read_json(files[0]).keys()


def _read(root: Path, category: str | None) -> Iterator[LabelledImage]:
    root = category_in(root, category, _is_one)
    images = list_images(root)
    trees = _by_image(root, images)
    for image in images:
        name, split = name_in(root, image), split_in(image.relative_to(root).parts)
        file, tree = trees.get(image, (image, {"shapes": []}))
        try:
            drawn = [(str(item["label"]), [_shape(item, file)]) for item in tree["shapes"]]
            flags = [str(flag) for flag, on in (tree.get("flags") or {}).items() if on]
            size = size_in(tree, "imageHeight", "imageWidth")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{printable(file)}: is not as Labelme has it ({type(error).__name__}: {error}); "
                "expected shapes, each with label, points and shape_type"
            ) from None
        kind, mask = shown(drawn, flags, size)
        yield LabelledImage(image, name, kind, split, mask)


def _by_image(root: Path, images: list[Path]) -> dict[Path, tuple[Path, dict[str, Any]]]:
    """Each image's annotations and their file: beside it, or where they name it."""
    named: dict[Path, Path] = {image.with_suffix(""): image for image in images}
    known = {image.resolve(): image for image in images}
    found: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for file in _annotations(root):
        tree = read_json(file)
        if not {"shapes", "imagePath"} <= tree.keys():
            continue
        there = file.parent / str(tree["imagePath"]).replace("\\", "/")
        image = named.get(file.with_suffix("")) or known.get(there.resolve())
        if image is None:
            raise ConfigError(
                f"{printable(file)}: is of the image {tree['imagePath']}, which is not there; put "
                "it where the annotations expect it, or beside them"
            )
        if image in found:
            raise ConfigError(
                f"{printable(file)}: is of the image {printable(image)}, as is "
                f"{printable(found[image][0])}; keep one of them"
            )
        found[image] = file, tree
    return found


def _shape(item: dict[str, Any], file: Path) -> Shape:
    points = tuple((float(x), float(y)) for x, y in item["points"])
    kind = item.get("shape_type") or "polygon"
    if kind == "polygon" and len(points) > 2:
        return Polygon(points)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        return box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    if kind == "circle":
        (x, y), (over_x, over_y) = points
        radius = max(0.5, float(np.hypot(over_x - x, over_y - y)))
        return Ellipse((x, y), (radius, radius))
    if kind == "mask":
        return _runs(item["mask"], points[0], file)
    if kind in ("line", "linestrip", "point", "points", "polygon"):
        return Polyline(points)
    raise ValueError(f"shape_type {kind!r} is not known")


def _runs(encoded: str, corner: tuple[float, float], file: Path) -> Runs:
    """A mask that Labelme keeps as a picture of its window."""
    window = decode_pixels(file, base64.b64decode(encoded, validate=True))
    marked = (window if window.ndim == 2 else window.max(axis=2)).ravel() > 0
    ends = np.flatnonzero(np.diff(marked)) + 1
    counts = np.diff([0, *ends, marked.size]).tolist()
    counts = [0, *counts] if marked[0] else counts
    height, width = window.shape[:2]
    return Runs(
        tuple(counts), (height, width), (round(corner[0]), round(corner[1])), by_columns=False
    )


# The layout of the name `labelme`.
LABELME = DatasetLayout("images, each with a .json of its name that holds shapes", _is_one, _read)
