"""What is odd about the good images before anything is learned from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from kenpin.camera.files.listing import name_in, printable
from kenpin.compile.good_images.grey_limits import unusual
from kenpin.compile.good_images.images import GoodImages
from kenpin.compile.laid_out import is_laid_out
from kenpin.config.recipe import Recipe
from kenpin.runtime.bundles.operating_point import scores_needed

__all__ = ["doubts_about"]

# Below this many nothing about a rate of a few per cent can be said.
ASKED_FOR = 50


def doubts_about(images: GoodImages, recipe: Recipe) -> Iterator[str]:
    """Each in a sentence: what was found, and what to do."""
    for file in images.others:
        yield f"{printable(file)} is no image and is left out"
    if not is_laid_out(images.folder):
        yield from _folders(images)
    yield from _count(images, recipe)
    yield from _copies(images)
    yield from _dull(images, recipe)


def _folders(images: GoodImages) -> Iterator[str]:
    inner = [file for file in images.files if file.parent != images.folder]
    if inner:
        folders = len({file.parent for file in inner})
        yield (
            f"{len(inner)} of the {len(images.files)} images lie in {folders} folders below "
            f"{printable(images.folder)}, and are learned from"
        )


def _count(images: GoodImages, recipe: Recipe) -> Iterator[str]:
    # Of webs each tile row has a score.
    count, rate = len(images.grey), recipe.threshold.false_rejects
    needed = scores_needed(rate)
    if recipe.threshold.method == "false_rejects" and count < needed:
        yield (
            f"{count} good scores are too few to have seen one in {1 / rate:.0f}, so the threshold "
            f"will be extrapolated; {needed} are enough"
        )
    elif not images.strips and count < ASKED_FOR:
        yield f"{count} good images are few, expected {ASKED_FOR} or more; photograph more"


def _copies(images: GoodImages) -> Iterator[str]:
    same = defaultdict(list)
    for file, content in zip(images.files, images.contents, strict=True):
        same[content].append(name_in(images.folder, file))
    copies = [names for names in same.values() if len(names) > 1]
    if copies:
        extra = sum(len(names) - 1 for names in copies)
        yield (
            f"{extra} images are copies of others, {copies[0][1]} of {copies[0][0]} first: they "
            "teach nothing and make the count look better than it is; remove them"
        )


def _dull(images: GoodImages, recipe: Recipe) -> Iterator[str]:
    """Images of one grey, and those that the limits of brightness leave out."""
    quality = recipe.image_quality
    odd = unusual(images.grey, quality.grey_margin, quality.contrast_share)
    if images.strips:
        if odd.any():
            yield (
                f"{np.count_nonzero(odd)} of {len(odd)} tile rows are so dark, bright or flat "
                "beside the others that they do not count for the limits of brightness"
            )
        return
    names = [name_in(images.folder, file) for file in images.files]
    for name, (mean, contrast), out in zip(names, images.grey, odd, strict=True):
        if contrast == 0:
            yield f"{name} has one grey level, {mean:.0f}, all over: is it an image? Remove it"
        elif out:
            yield (
                f"{name} has mean {mean:.0f} and contrast {contrast:.1f}, far from the others: it "
                "does not count for the limits of brightness, and such a frame will be refused; "
                "remove it if it is not good"
            )
