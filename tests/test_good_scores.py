"""Which good images and webs are typical, and what their strips are called."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from kenpin.camera.files.images import write_png
from kenpin.compile.good_images.images import GoodImages
from kenpin.compile.methods.leave_out import LeftOut
from kenpin.compile.operating_point.good_scores import score_good, typical_webs
from kenpin.compile.progress import Steps
from kenpin.config.errors import ConfigError
from kenpin.config.frame import FrameSpec
from kenpin.config.images import ImagesSpec
from kenpin.runtime.judging.tiling import TileGrid

MAP = np.zeros((2, 3), np.float32)


def strips(web: int, odd: int, count: int = 15) -> list[LeftOut]:
    """Strips of a web, of which the first are odd."""
    scores = [9.0] * odd + [1 + n / 100 for n in range(count - odd)]
    return [
        LeftOut(
            web, n, web * count + n, n * 64, MAP, MAP[None], MAP == 0, np.ones(3, np.float32), score
        )
        for n, score in enumerate(scores)
    ]  # fmt: skip


def test_defects_are_drawn_into_webs_without_odd_strips() -> None:
    found = [one for web, odd in enumerate((0, 1, 0, 2)) for one in strips(web, odd)]
    assert typical_webs(found, 4) == [0, 2]


def test_webs_that_each_have_an_odd_strip_are_drawn_into_all_the_same() -> None:
    assert typical_webs(strips(0, 1), 1) == [0]
    found = [one for web, odd in enumerate((1, 2, 1, 1)) for one in strips(web, odd)]
    assert typical_webs(found, 4) == [0, 2, 3]


class JudgedBefore:
    """An `Unseen` that has judged one web already."""

    def __init__(self, found: list[LeftOut]) -> None:
        self._found = found

    def judge(self, progress: Any) -> list[LeftOut]:
        return self._found


def odd_of(folder: Path, *keep: str) -> list[str]:
    """Names of odd strips of a web in four blocks: of the third's first and the last's second."""
    if not folder.exists():
        folder.mkdir()
        for number in range(4):
            write_png(folder / f"{number}.png", np.full((256, 64), number + 90, np.uint8))
    spec = ImagesSpec(good=folder, joined=True, keep=keep)
    frame = FrameSpec(geometry="continuous", width_px=64)
    grid = TileGrid(64, 64, 64, 0, 64)
    images = GoodImages.check(spec, frame, grid, lambda *_: None)
    found = [
        LeftOut(0, n, 0, n * 64, MAP, MAP[None], MAP == 0, np.ones(3, np.float32), score)
        for n, score in enumerate(1 + np.arange(16) / 100)
    ]
    for odd in (8, 13):
        found[odd] = replace(found[odd], score=9.0)
    judged: Any = JudgedBefore(found)
    with Steps(Console(file=io.StringIO())) as steps:
        good = score_good(images, keep, judged, None, steps)
    return sorted(one.name for one, _ in good.odd)


def test_a_joined_webs_odd_strips_are_called_by_the_file_that_they_lie_in(tmp_path: Path) -> None:
    folder = tmp_path / "good"
    assert odd_of(folder) == ["2.png#0", "3.png#1"]
    # A file's name frees its own strips only, and a strip's name that strip.
    assert odd_of(folder, "2.png") == ["3.png#1"]
    assert odd_of(folder, "3.png#1") == ["2.png#0"]
    assert odd_of(folder, "0.png", "3.png#0") == ["2.png#0", "3.png#1"]
    with pytest.raises(ConfigError, match=r"images.keep: .* holds no image '7.png'"):
        odd_of(folder, "7.png#1")
