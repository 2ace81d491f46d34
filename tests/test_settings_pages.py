"""The reference of settings: as the code has them, and none without a meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, StringConstraints

from kenpin.config import settings_pages
from kenpin.config.bridges import BRIDGES
from kenpin.config.camera import SOURCES
from kenpin.config.meanings import meanings_of, prose_of
from kenpin.config.methods import METHODS
from kenpin.config.setting_words import default_of, takes
from kenpin.config.settings import Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_every_setting_is_in_the_reference_as_the_code_has_it() -> None:
    reference = DOCS / "reference"
    assert (reference / "recipe.md").read_text("utf-8") == settings_pages.as_recipe_page()
    assert (reference / "line.md").read_text("utf-8") == settings_pages.as_line_page()


def test_a_setting_without_a_meaning_and_a_meaning_without_a_setting_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Unsaid(Settings):
        """A table.

        height_px  of a frame
        depth_px   of none
        """

        height_px: int = 1
        width_px: int = 1

    monkeypatch.setattr(settings_pages, "Recipe", Unsaid)
    with pytest.raises(settings_pages.UnsaidError, match=r"\['width_px'\].*\['depth_px'\]"):
        settings_pages.as_recipe_page()


class Shelf(Settings):
    """Where frames stand.

    Nobody sits on it.

    width_px, height_px
               of a frame
    name       by which
               it is called
    """

    width_px: int = Field(ge=16, le=65536)
    height_px: int | None = Field(default=None, gt=0)
    share: float = Field(default=0.5, ge=0, lt=1)
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")] = "shelf"
    mode: Literal["free", "hardware"] | None = None
    folders: tuple[Path, ...] = ()
    sides: Literal["auto"] | tuple[Annotated[float, Field(ge=1)], ...] = "auto"
    span: tuple[int, int] = (12_000, 20)


def test_what_a_setting_takes_and_its_default_are_plain_words() -> None:
    schema = Shelf.model_json_schema()
    told = {
        key: (takes(shape), default_of(shape, required=key in schema["required"]))
        for key, shape in schema["properties"].items()
    }
    assert told == {
        "width_px": ("whole number, 16 to 65_536", "must be given"),
        "height_px": ("whole number, more than 0", "not set"),
        "share": ("number, 0 or more, less than 1", "`0.5`"),
        "name": ("text of a-z 0-9 _ -, up to 32 long", '`"shelf"`'),
        "mode": ('`"free"` or `"hardware"`', "not set"),
        "folders": ("list of paths", "`[]`"),
        "sides": ('`"auto"` or list of numbers, 1 or more', '`"auto"`'),
        "span": ("two whole numbers", "`[12_000, 20]`"),
    }


def test_a_docstring_is_prose_and_a_table_of_keys() -> None:
    assert prose_of(Shelf) == ["Where frames stand.", "Nobody sits on it."]
    assert meanings_of(Shelf) == {
        "width_px": "of a frame",
        "height_px": "of a frame",
        "name": "by which it is called",
    }


def test_every_method_camera_and_bridge_has_a_section() -> None:
    recipe, line = settings_pages.as_recipe_page(), settings_pages.as_line_page()
    assert [name for name in METHODS.builtin if f"\n## `[method]` {name}\n" not in recipe] == []
    assert [kind for kind in SOURCES.builtin if f"\n## `[camera]` {kind}\n" not in line] == []
    assert [kind for kind in BRIDGES.builtin if f"\n## `[[bridges]]` {kind}\n" not in line] == []
