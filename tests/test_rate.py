"""How many lines a second a box holds, from the times of single frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from kenpin.camera.frame import Frame
from kenpin.compile.reporting.speed import FEWEST, measure_speed
from kenpin.config.exits import Exit
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.doctor import main as edge_doctor
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.rate import ENOUGH, fastest, measure, slowest, waited
from kenpin.runtime.selftest import golden_pixels
from kenpin.runtime.stretched import stretched
from kenpin.runtime.web.pipeline import open_pipeline

TIMES = st.lists(st.floats(0.1, 50), min_size=1, max_size=60).map(np.array)


@given(TIMES, st.floats(0.1, 60))
def test_frames_wait_for_those_before_them(spent_ms, every_ms):
    expected = reference.waited(spent_ms, every_ms)
    np.testing.assert_allclose(waited(spent_ms, every_ms), expected, rtol=1e-9, atol=1e-9)


@given(TIMES, st.floats(1, 100))
def test_the_rate_found_is_held_and_a_faster_one_is_not(spent_ms, budget_ms):
    rate = fastest(spent_ms, 256, budget_ms)
    if not rate:
        assert spent_ms.max() > budget_ms
        return
    every_ms = 256e3 / rate
    assert every_ms >= spent_ms.mean() * (1 - 1e-9)
    assert slowest(waited(spent_ms, every_ms)) <= budget_ms * (1 + 1e-9)
    faster = every_ms * 0.999
    assert faster < spent_ms.mean() or slowest(waited(spent_ms, faster)) > budget_ms


def test_the_slowest_thousandth_counts_and_of_few_frames_the_slowest():
    spent = np.full(2 * ENOUGH, 10.0)
    spent[ENOUGH] = 30.0
    assert fastest(spent, 100, budget_ms=20) > 0
    spent[ENOUGH : ENOUGH + 4] = 30.0
    assert fastest(spent, 100, budget_ms=20) == 0
    assert fastest(np.array([10.0, 30.0]), 100, budget_ms=20) == 0


def test_a_slow_frame_slows_the_line_only_as_far_as_the_budget_forgives():
    spent = np.full(2 * ENOUGH, 10.0)
    spent[::100] = spent[1::100] = 40.0
    tight, wide = (fastest(spent, 100, budget_ms) for budget_ms in (45.0, 1000.0))
    assert tight < wide
    assert wide == pytest.approx(100e3 / spent.mean(), rel=0.01)


@pytest.mark.parametrize("width_px", [96, 640, 1000])
@pytest.mark.parametrize("name", ["patchcore", "padim", "web_bundle"])
def test_a_stretched_bundle_judges_frames_of_its_width(name, width_px, request):
    bundle = request.getfixturevalue(name)
    wide = stretched(bundle, width_px)
    m = wide.manifest
    # However dark a part of the bundle's own frames may be.
    pixels = np.random.default_rng(0).integers(0, 20, (m.frame.height_px or 200, width_px))
    verdict = open_pipeline(wide).judge(Frame(pixels.astype(np.uint8), 0, 0)).verdict
    assert verdict.score is not None, verdict
    if m.frame.geometry == "indexed":
        assert len(TileGrid.of(m.frame, m.tiles)) == len(Pipeline(wide).grid)


def test_a_bundle_of_its_own_width_is_not_stretched(patchcore):
    assert stretched(patchcore, patchcore.manifest.frame.width_px) is patchcore


def with_frame(bundle, **changes):
    frame = bundle.manifest.frame.model_copy(update=changes)
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"frame": frame}))


def in_bright_light(bundle):
    """As if all good images had been nearly white."""
    grey = bundle.manifest.grey.model_copy(update={"mean_min": 250})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"grey": grey}))


@pytest.mark.parametrize("name", ["patchcore", "web_bundle"])
def test_frames_are_timed_as_a_camera_of_more_bits_gives_them(name, request):
    bundle = with_frame(request.getfixturevalue(name), bits=12, white=3000)
    (pace,) = measure(bundle, [bundle.manifest.frame.width_px], 1e6, seconds=0, threads=1)
    assert len(pace.spent_ms)
    seen = golden_pixels(bundle, bundle.manifest.golden[0].file)
    speed = measure_speed(bundle, [Path("a"), Path("b")], lambda _: seen, 0)
    assert speed.frames == FEWEST


@pytest.mark.parametrize("name", ["patchcore", "web_bundle"])
def test_a_frame_that_is_refused_says_nothing_of_the_speed(name, request):
    bundle = in_bright_light(request.getfixturevalue(name))
    with pytest.raises(BundleError, match=r"not judged \(image_quality: .*grey mean"):
        list(measure(bundle, [bundle.manifest.frame.width_px], 1e6, seconds=0, threads=1))
    seen = golden_pixels(bundle, bundle.manifest.golden[0].file)
    with pytest.raises(BundleError, match=r"judges none of 2 good images.*grey mean"):
        measure_speed(bundle, [Path("a"), Path("b")], lambda _: seen, 0)


def test_the_speed_of_a_bundle_is_that_of_the_images_that_it_judges(patchcore):
    seen = golden_pixels(patchcore, patchcore.manifest.golden[0].file)
    files = [Path("dark"), Path("dark"), Path("dark"), Path("dark"), Path("as usual")]
    speed = measure_speed(patchcore, files, lambda f: seen * (f.name != "dark"), 0)
    assert speed.frames == FEWEST
    assert speed.stages_ms["infer"] > 0


@pytest.mark.thorough
def test_a_wider_frame_has_more_tiles_and_takes_longer(patchcore):
    narrow, wide = measure(patchcore, [320, 2560], budget_ms=1e6, seconds=0, threads=1)
    assert (narrow.tiles, wide.tiles) == (3, 20)
    assert np.median(wide.spent_ms) > np.median(narrow.spent_ms)
    assert wide.lines == patchcore.manifest.frame.height_px
    assert wide.megapixels_s == pytest.approx(wide.lines_hz * 2560 / 1e6)


@pytest.mark.thorough
def test_the_doctor_prints_a_row_for_each_width(web_bundle, capsys):
    arguments = ["rate", str(web_bundle.folder), "--widths", "512", "--seconds", "0"]
    assert edge_doctor([*arguments, "--budget-ms", "1000"]) == Exit.DONE
    told = capsys.readouterr().out
    own = web_bundle.manifest.frame.width_px
    assert {str(own), "512"} <= {line.split()[1] for line in told.splitlines() if "│" in line}
    assert edge_doctor([*arguments, "--budget-ms", "0.001"]) == Exit.DONE
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert sum("none" in row for row in rows) == 2


@pytest.mark.parametrize("wrong", [["--widths", "3"], ["--lines", "2"]])
def test_what_no_line_has_is_refused(patchcore, wrong, capsys):
    assert edge_doctor(["rate", str(patchcore.folder), *wrong]) == Exit.CONFIG
    assert "expected" in capsys.readouterr().err
