"""What `eval` counts: what was judged, and nothing that was refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kenpin.camera.files.images import write_png
from kenpin.compile.evaluation.dataset import Dataset, Labelled
from kenpin.compile.evaluation.evaluate import evaluate
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import some_web, spoiled


@pytest.mark.parametrize("kind", ["good", "spot"])
def test_a_web_of_which_lines_were_not_inspected_counts_in_no_figure(
    web_bundle: Bundle, tmp_path: Path, kind: str
) -> None:
    sound, dark = some_web(900), some_web(900)
    dark[300:620] = 0
    images = []
    for name, label, pixels in (
        ("sound", "good", sound),
        ("spoiled", "spot", spoiled(sound, (200, 80, 20, 12))),
        ("dark", kind, dark),
    ):
        write_png(tmp_path / f"{name}.png", pixels)
        images.append(Labelled(tmp_path / f"{name}.png", name, label, None))
    found = evaluate(WebPipeline(web_bundle), Dataset(images, []), lambda *_: None)
    assert [(one.name, one.kind) for one in found.refused] == [("dark", kind)]
    assert found.refused[0].why.startswith("image_quality: ")
    assert "lines were not inspected" in found.refused[0].why
    assert found.scores["dark"] is None
    assert (found.images["good"], found.images["ng"]) == (1, 1)
    assert (found.images["false_rejects"], found.images["escapes"]) == (0, 0)


def test_a_web_that_is_dark_in_lines_and_has_a_defect_in_others_is_refused_too(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    pixels = spoiled(some_web(900), (100, 80, 20, 12))
    pixels[400:720] = 0
    write_png(tmp_path / "0.png", np.ascontiguousarray(pixels))
    dataset = Dataset([Labelled(tmp_path / "0.png", "0.png", "spot", None)], [])
    found = evaluate(WebPipeline(web_bundle), dataset, lambda *_: None)
    assert (len(found.refused), found.ng, found.images["ng"]) == (1, [], 0)
