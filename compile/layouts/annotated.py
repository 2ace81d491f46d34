"""What annotation tools' files have in common: images found, shapes that cannot be, labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kenpin.camera.files.listing import printable
from kenpin.compile.layouts.shapes import Drawing, Shape
from kenpin.compile.words import DEFECT, GOOD, kind_of, names_good
from kenpin.config.errors import ConfigError

__all__ = ["image_beside", "read_json", "shown", "size_in"]


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises
    ------
    ConfigError
        If it cannot be read or is something else.
    """
    try:
        tree = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{printable(file)}: cannot be read as JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{printable(file)}: holds a {type(tree).__name__}, expected an object")
    return tree


def image_beside(file: Path, name: str, split: str = "") -> Path:
    """Where the image is that an annotation file names.

    Raises
    ------
    ConfigError
        If it is at none of the usual places.
    """
    # Tools of other systems write other separators.
    wanted = Path(name.replace("\\", "/"))
    above = file.parent.parent
    folders = [file.parent, file.parent / "images", above / "images", above]
    folders += [folder / split for folder in (*folders, above / "images") if split]
    places = [folder / part for folder in folders for part in (wanted, Path(wanted.name))]
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(
        f"{printable(file)}: names the image {name}, which is not beside it, nor in images/; put "
        "the images where the annotations expect them"
    )


def shown(
    drawn: Iterable[tuple[str, Sequence[Shape]]],
    labels: Iterable[str] = (),
    size: tuple[int, int] | None = None,
) -> tuple[str, Drawing | None]:
    """What an image shows, and where.

    Parameters
    ----------
    drawn
        Shapes and their label. What is called good is no defect, and is left out.
    labels
        Of the whole image.
    size
        (height, width) of the image that was drawn in; None where nobody said.

    Returns
    -------
    The kinds in order, joined by +, and their shapes; "good" and None if there are none.
    """
    bad = [(label.strip(), shapes) for label, shapes in drawn if not names_good(label)]
    # What is drawn is a defect whatever number it is called by; a whole image is not.
    kinds = {_kind_drawn(label) for label, _ in bad}
    kinds |= {kind_of(label) for label in labels} - {GOOD}
    if not kinds:
        return GOOD, None
    shapes = tuple(shape for _, own in bad for shape in own)
    return "+".join(sorted(kinds)), Drawing(shapes, size) if shapes else None


def _kind_drawn(label: str) -> str:
    kind = kind_of(label)
    return (label or DEFECT) if kind == GOOD else kind


def size_in(item: Mapping[str, Any], height: str, width: str) -> tuple[int, int] | None:
    """(height, width) that annotations give for their image; None if they do not."""
    found = int(item.get(height) or 0), int(item.get(width) or 0)
    return found if min(found) > 0 else None
