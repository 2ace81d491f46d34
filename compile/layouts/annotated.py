"""What annotation tools' files have in common: images found, shapes that cannot be, labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kenpin.camera.files.listing import printable
from kenpin.compile.layouts.base import GOOD
from kenpin.config.errors import ConfigError

__all__ = ["image_beside", "kind_of_labels", "read_json"]


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


def kind_of_labels(labels: Iterable[str]) -> str:
    """What an image shows: the labels of its shapes, in order, joined by +."""
    found = sorted({label.strip() for label in labels} - {""})
    return "+".join(found) or GOOD
