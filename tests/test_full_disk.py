"""A disk that is full half-way: the file that it refused is named, and nothing half is left."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from kenpin.camera.files.images import write_png
from kenpin.camera.files.places import open_place
from kenpin.compile.cli import main
from kenpin.config.errors import OutputError
from kenpin.config.exits import Exit, run


@contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """No file that this process writes grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_copy_that_finds_no_room_names_the_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "whole").write_bytes(bytes(100_000))

    def copy() -> int:
        with files_of_at_most(10_000):
            shutil.copyfile(tmp_path / "whole", tmp_path / "copy")
        return Exit.DONE

    assert run(copy, {}, debug=False) == Exit.FILES
    assert f"error: {tmp_path / 'copy'}: File too large" in capsys.readouterr().err


def test_a_depot_that_finds_no_room_keeps_no_part_of_a_file(tmp_path: Path) -> None:
    place = open_place(str(tmp_path))
    with files_of_at_most(10_000), pytest.raises(OutputError, match="File too large"):
        place.write("bundles/a/weights.bin", bytes(100_000))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_first_recipe_that_finds_no_room_leaves_neither_recipe_nor_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    draw = np.random.default_rng(1)
    for number in range(12):
        pixels = draw.integers(0, 256, (96, 160), np.uint8)
        write_png(photographs / f"{number:02}.png", pixels)
    recipe = tmp_path / "recipe.toml"
    with files_of_at_most(12_000):
        assert main(["init", str(photographs), "-o", str(recipe)]) == Exit.FILES
    assert "recipe.contact-sheet.png: File too large" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]
    assert main(["init", str(photographs), "-o", str(recipe)]) == Exit.DONE
