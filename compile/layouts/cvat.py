"""CVAT's annotations ("CVAT for images 1.1"): one XML that names images and their shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from kenpin.camera.files.listing import printable
from kenpin.compile.layouts.annotated import image_beside, shown, size_in
from kenpin.compile.layouts.base import DatasetLayout, LabelledImage, split_in
from kenpin.compile.layouts.shapes import (
    Ellipse,
    Polygon,
    Polyline,
    Runs,
    Shape,
    box,
    points_of,
)
from kenpin.compile.words import GOOD
from kenpin.config.errors import ConfigError

__all__ = ["CVAT"]

Element = ElementTree.Element


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".xml" else []
    return sorted(root.glob("*.xml"))


def _parsed(file: Path) -> Element:
    data = file.read_bytes()
    # An entity may stand for billions of characters; CVAT writes none.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ConfigError(f"{printable(file)}: declares entities, which CVAT never does; refused")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise ConfigError(f"{printable(file)}: cannot be read as XML: {error}") from None


def _is_one(root: Path) -> bool:
    return any(_images(file) for file in _files(root))


def _images(file: Path) -> list[Element]:
    """What it says of images; nothing if it is some other XML."""
    found = _parsed(file)
    return list(found.iter("image")) if found.tag == "annotations" else []


def _read(root: Path, category: str | None) -> Iterator[LabelledImage]:
    if category is not None:
        raise ConfigError(
            f"{printable(root)}: CVAT's annotations have no products; remove the name"
        )
    for file in _files(root):
        yield from _samples(file)


def _samples(file: Path) -> Iterator[LabelledImage]:
    for image in _images(file):
        name, subset = image.get("name", ""), image.get("subset", "")
        try:
            drawn = [(part.get("label", ""), [_shape(part)]) for part in image if part.tag != "tag"]
            size = size_in(image.attrib, "height", "width")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{printable(file)}: image {name}: a shape is not as CVAT has it "
                f"({type(error).__name__}: {error})"
            ) from None
        kind, mask = shown(drawn, size=size)
        if kind == GOOD:
            # What is drawn says it better than what the image is tagged with.
            kind, mask = shown([], [part.get("label", "") for part in image.iter("tag")])
        split = split_in([subset, *Path(name).parts])
        place = image_beside(file, name, subset)
        told = f"{printable(file.name)}, image {image.get('id', name)}"
        yield LabelledImage(place, name, kind, split, mask, told=told)


def _shape(part: Element) -> Shape:
    draw = _DRAWN.get(part.tag)
    if draw is None:
        raise ValueError(f"<{part.tag}> is not known, expected {', '.join(_DRAWN)} or tag")
    return draw(part)


def _points(part: Element) -> tuple[tuple[float, float], ...]:
    numbers = part.attrib["points"].replace(";", ",").split(",")
    return points_of(float(number) for number in numbers)


def _number(part: Element, name: str) -> float:
    return float(part.attrib[name])


def _box(part: Element) -> Polygon:
    left, top, right, bottom = (_number(part, name) for name in ("xtl", "ytl", "xbr", "ybr"))
    return box(left, top, right, bottom, _turn(part))


def _turn(part: Element) -> float:
    return float(part.get("rotation", 0))


def _runs(part: Element) -> Runs:
    counts = tuple(int(number) for number in part.attrib["rle"].split(","))
    left, top, width, height = (
        int(_number(part, name)) for name in ("left", "top", "width", "height")
    )
    return Runs(counts, (height, width), (left, top), by_columns=False)


_DRAWN: dict[str, Callable[[Element], Shape]] = {
    "polygon": lambda part: Polygon(_points(part)),
    "polyline": lambda part: Polyline(_points(part)),
    "points": lambda part: Polyline(_points(part)),
    "box": _box,
    "ellipse": lambda part: Ellipse(
        (_number(part, "cx"), _number(part, "cy")),
        (_number(part, "rx"), _number(part, "ry")),
        _turn(part),
    ),
    "mask": _runs,
}

# The layout of the name `cvat`.
CVAT = DatasetLayout("annotations.xml of CVAT for images 1.1; images beside it", _is_one, _read)
