"""Labelme's annotations (Wada): a JSON beside each image with shapes drawn in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kenpin.camera.files.images import decode_pixels
from kenpin.camera.files.listing import list_files, list_images, name_in, printable
from kenpin.compile.layouts.annotated import kind_of_labels, read_json
from kenpin.compile.layouts.base import DatasetLayout, LabelledImage, category_in, split_in
from kenpin.compile.layouts.shapes import Drawing, Ellipse, Polygon, Polyline, Runs, Shape, box
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
    files = {file.with_suffix(""): file for file in _annotations(root)}
    for image in list_images(root):
        file = files.get(image.with_suffix(""))
        split = split_in(image.relative_to(root).parts)
        if file is None:
            yield LabelledImage(image, name_in(root, image), kind_of_labels([]), split)
            continue
        try:
            items = read_json(file)["shapes"]
            drawn = Drawing(tuple(_shape(item, file) for item in items))
            kind = kind_of_labels(str(item["label"]) for item in items)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{printable(file)}: is not as Labelme has it ({type(error).__name__}: {error}); "
                "expected shapes, each with label, points and shape_type"
            ) from None
        yield LabelledImage(image, name_in(root, image), kind, split, drawn if items else None)


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


LABELME = DatasetLayout("images, each with a .json of its name that holds shapes", _is_one, _read)
