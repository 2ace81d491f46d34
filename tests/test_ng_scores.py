"""Scores of the NG images that a recipe names, where they are recordings of a web."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.compile.operating_point.ng_scores import ng_scores
from kenpin.compile.progress import Steps
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.web.stages import WebStages
from web_lines import cut, some_web, spoiled


@pytest.fixture(scope="module")
def stages(web_bundle: Bundle) -> WebStages:
    return WebPipeline(web_bundle).recipe_stages


def ng_of(folder: Path, stages: WebStages, *, joined: bool) -> dict[str, float]:
    images = SimpleNamespace(ng=folder, joined=joined)
    with Steps(Console(file=io.StringIO())) as steps:
        task: Any = SimpleNamespace(
            recipe=SimpleNamespace(images=images),
            bench=SimpleNamespace(load=read_pixels),
            steps=steps,
        )
        return ng_scores(task, stages)


def test_an_ng_recording_counts_once_by_its_highest_strip(
    stages: WebStages, tmp_path: Path
) -> None:
    webs = {"a.png": spoiled(some_web(700), (400, 60, 20, 20)), "b.png": some_web(450)}
    for name, pixels in webs.items():
        write_png(tmp_path / name, pixels)
    found = ng_of(tmp_path, stages, joined=False)
    assert found == {name: max(stages.scores([pixels])) for name, pixels in webs.items()}
    assert found["a.png"] > 2 * found["b.png"]


def test_of_blocks_of_one_web_that_is_ng_in_which_the_defect_lies(
    stages: WebStages, tmp_path: Path
) -> None:
    web = spoiled(some_web(700), (450, 60, 20, 20))
    for number, block in enumerate(cut(web, [100] * 7)):
        write_png(tmp_path / f"{number}.png", block)
    found = ng_of(tmp_path, stages, joined=True)
    assert list(found) == [f"{n}.png" for n in range(7)]
    assert max(found, key=lambda name: found[name]) == "4.png"
    assert found["4.png"] == max(stages.scores([web]))
    assert max(found[f"{n}.png"] for n in (0, 1, 2, 6)) < found["4.png"] / 2
