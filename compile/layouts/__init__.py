"""Data sets as people have them: which layouts are known, and how one is recognised."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from kenpin.camera.files.listing import list_images, printable
from kenpin.compile.fingerprint import fingerprint
from kenpin.compile.layouts.archives import is_archive, unpack
from kenpin.compile.layouts.base import DatasetLayout
from kenpin.compile.layouts.spread import spread
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe
from kenpin.config.registry import Registry

__all__ = ["ANY", "LAYOUTS", "cache_folder", "counts_in", "laid_out", "recipe_with_images"]

# The order is that of recognising: lists say what they are, folders may look like several.
LAYOUTS: Final = Registry(
    "kenpin.layouts",
    "layout",
    DatasetLayout,
    {
        "csv": "kenpin.compile.layouts.csv_list:CSV_LIST",
        "coco": "kenpin.compile.layouts.coco:COCO",
        "cvat": "kenpin.compile.layouts.cvat:CVAT",
        "labelme": "kenpin.compile.layouts.labelme:LABELME",
        "visa": "kenpin.compile.layouts.visa:VISA",
        "mtd": "kenpin.compile.layouts.mtd:MTD",
        "kolektorsdd2": "kenpin.compile.layouts.kolektor:KOLEKTOR",
        "mvtec": "kenpin.compile.layouts.mvtec:MVTEC",
        "btad": "kenpin.compile.layouts.mvtec:BTAD",
        "pairs": "kenpin.compile.layouts.pairs:PAIRS",
        "folders": "kenpin.compile.layouts.pairs:FOLDERS",
    },
)
# Recognise it.
ANY: Final = "auto"
# An archive holds a folder that holds the data set, or a folder more.
_DEEPEST = 3
# A table in a data set is passed over where folders or annotations say what is good; images/ and
# masks/ are also what people put beside a list.
_LIST, _BESIDE_A_LIST = "csv", "pairs"
_PLACES = ("train", "ng", "test")


def cache_folder() -> Path:
    """Where data sets are unpacked and laid out; it may be deleted at any time."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "kenpin" / "datasets"


def laid_out(
    source: Path, layout: str = ANY, category: str | None = None, cache: Path | None = None
) -> Path:
    """A data set in kenpin's own layout: links to its images, masks linked or drawn.

    Parameters
    ----------
    source
        A folder, an archive, or a list of images.
    layout
        One of `LAYOUTS`, or `ANY`.
    category
        One of the products in it, if it has several.
    cache
        Below which it is laid out; by default `cache_folder`.

    Returns
    -------
    A folder with train/good/, test/good/, test/<defect>/, ground_truth/<defect>/, and
    ng/<defect>/ of defects that are for training. The same data set gives the same folder.

    Raises
    ------
    ConfigError, ImageError
        If the source is not there, not of the layout, or of several at once.
    """
    cache = cache or cache_folder()
    if is_archive(source):
        source = _unpacked(source, cache)
    elif not source.exists():
        raise ConfigError(f"{printable(source)}: there is no such folder or file")
    name, root = _recognised(source, layout)
    return spread(LAYOUTS.find(name).read(root, category), cache, f"{root.name}-{name}")


def counts_in(folder: Path) -> dict[str, int]:
    """Images of each folder of a data set that is laid out: "test/hole" to 12."""
    places = sorted(place for name in _PLACES for place in folder.glob(f"{name}/*"))
    return {place.relative_to(folder).as_posix(): len(list_images(place)) for place in places}


def recipe_with_images(recipe: Recipe) -> Recipe:
    """A recipe whose good images lie in a folder: one with `images.layout` has them laid out."""
    images = recipe.images
    if images.layout is None:
        return recipe
    folder = laid_out(images.good, images.layout, images.category)
    plain = images.model_copy(
        update={"good": folder / "train" / "good", "layout": None, "category": None}
    )
    return recipe.model_copy(update={"images": plain})


def _unpacked(archive: Path, cache: Path) -> Path:
    digest = hashlib.sha256(os.fsencode("".join(fingerprint(archive)))).hexdigest()
    folder = cache / f"{archive.name.partition('.')[0]}-{digest[:16]}"
    if not folder.is_dir():
        unpack(archive, folder)
    return folder


def _recognised(source: Path, layout: str) -> tuple[str, Path]:
    """The layout's name, and where in the source it begins."""
    names = list(LAYOUTS.names()) if layout == ANY else [layout]
    for root in _roots(source):
        found = [name for name in names if LAYOUTS.find(name).looks_like(root)]
        if _LIST in found and not {_LIST, _BESIDE_A_LIST}.issuperset(found):
            found.remove(_LIST)
        if len(found) == 1:
            return found[0], root
        if found:
            raise ConfigError(
                f"{printable(root)}: looks like {' and like '.join(found)}; say which it is "
                "(images.layout, or --layout)"
            )
    expected = "; ".join(f"{name}: {LAYOUTS.find(name).expected}" for name in names)
    raise ConfigError(f"{printable(source)}: is not laid out as expected. {expected}")


def _roots(source: Path) -> list[Path]:
    """The source, and as long as it holds one folder and nothing else, that one."""
    roots = [source]
    while len(roots) < _DEEPEST and roots[-1].is_dir():
        inside = [path for path in roots[-1].iterdir() if path.name[0] != "."]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        roots.append(inside[0])
    return roots
