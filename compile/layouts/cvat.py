"""CVAT's annotations ("CVAT for images 1.1"): one XML that names images and their shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from kenpin.camera.files.listing import printable
from kenpin.compile.layouts.annotated import image_beside, kind_of_labels
from kenpin.compile.layouts.base import GOOD, DatasetLayout, LabelledImage, kind_of, split_in
from kenpin.compile.layouts.shapes import (
    Drawing,
    Ellipse,
    Polygon,
    Polyline,
    Runs,
    Shape,
    box,
    points_of,
)
from kenpin.config.errors import ConfigError

__all__ = ["CVAT"]

Element = ElementTree.Element


def _file(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() == ".xml" else None
    return next(iter(sorted(root.glob("*.xml"))), None)


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
    file = _file(root)
    if file is None:
        return False
    found = _parsed(file)
    return found.tag == "annotations" and found.find("image") is not None


def _read(root: Path, category: str | None) -> Iterator[LabelledImage]:
    if category is not None:
        raise ConfigError(
            f"{printable(root)}: CVAT's annotations have no products; remove the name"
        )
    file = _file(root)
    assert file is not None
    for image in _parsed(file).iter("image"):
        name, subset = image.get("name", ""), image.get("subset", "")
        try:
            shapes = tuple(_DRAWN[part.tag](part) for part in image if part.tag in _DRAWN)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{printable(file)}: image {name}: a shape is not as CVAT has it "
                f"({type(error).__name__}: {error})"
            ) from None
        kind = _kind(image)
        drawn = Drawing(shapes) if shapes and kind != GOOD else None
        split = split_in([subset, *Path(name).parts])
        yield LabelledImage(image_beside(file, name, subset), name, kind, split, drawn)


def _kind(image: Element) -> str:
    """The labels of its shapes; of an image without shapes those of its tags."""
    labels = [part.get("label", "") for part in image if part.tag in _DRAWN]
    return kind_of_labels(labels) if labels else kind_of(_tags(image))


def _tags(image: Element) -> str:
    return "+".join(sorted(part.get("label", "") for part in image.iter("tag")))


def _points(part: Element) -> tuple[tuple[float, float], ...]:
    numbers = part.attrib["points"].replace(";", ",").split(",")
    return points_of(float(number) for number in numbers)


def _number(part: Element, name: str) -> float:
    return float(part.attrib[name])


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
    "box": lambda part: box(*(_number(part, name) for name in ("xtl", "ytl", "xbr", "ybr"))),
    "ellipse": lambda part: Ellipse(
        (_number(part, "cx"), _number(part, "cy")), (_number(part, "rx"), _number(part, "ry"))
    ),
    "mask": _runs,
}

CVAT = DatasetLayout("annotations.xml of CVAT for images 1.1; images beside it", _is_one, _read)
