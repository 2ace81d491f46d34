"""The table [images]: which photographs to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from kenpin.config.augment import AugmentSpec
from kenpin.config.settings import Settings

__all__ = ["ImagesSpec"]


class ImagesSpec(Settings):
    """Which photographs to learn from. Relative paths start at the recipe's folder.

    good      the folder of good images; with `layout` a whole data set: a folder, an
              archive, or a list
    layout    of that data set, such as mvtec, visa or csv; "auto" recognises it
    category  one of several products in it
    ng        a folder of NG images: never learned from; they stand in the table of
              thresholds and may choose one
    seed      of what is drawn by chance: tiles, copies and twins
    turn_deg  turns each photograph clockwise before anything else: recorded
              with the web running across, for example
    joined    continuous geometry only: the files, in the order of their names,
              are blocks of one web; otherwise each is a web of its own. Not with `group`
    mask      indexed geometry only: an image of the frame's size, white where
              the part is inspected
    augment   indexed geometry only: learns from changed copies of each, too
    group     which photographs show the same part: a regular expression whose match
              in the file's name, or whose first group, names the part; "folder": the
              folder it lies in. Without it, neighbours by name count as one part
    exclude   good images that are left out, by name: the report may ask to look at some
    keep      good images that are good however odd they look; of webs also single strips,
              "roll.png#3", as the report calls them
    """

    good: Path
    layout: str | None = None
    category: str | None = None
    ng: Path | None = None
    group: str | None = Field(default=None, min_length=1)
    exclude: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0)
    turn_deg: Literal[0, 90, 180, 270] = 0
    joined: bool = False
    mask: Path | None = None
    augment: AugmentSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_hold_out(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping) and "held_out" in tree:
            raise ValueError(
                "held_out is no more: every good image is scored as if its own part had never "
                "been seen, so none is held back; remove the line"
            )
        return tree

    @model_validator(mode="after")
    def _category_of_a_layout(self) -> Self:
        if self.category is not None and self.layout is None:
            raise ValueError(
                "category names a product of a data set, and no layout is given; set layout to "
                '"auto", or to the one it has'
            )
        return self
