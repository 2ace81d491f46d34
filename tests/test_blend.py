"""Two maps made one: the join, its statistics, and what is never OK."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_brightness
from blends import SIGMAS_PX, alone, blended
from bundles import HEIGHT, SEED, WIDTH
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError, Manifest, canonical
from kenpin.runtime.judging.blend import Blend, join_maps, load_blend
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Cause, Outcome, Reason
from kenpin.runtime.web.pipeline import WebPipeline
from web_lines import some_web

JOINS = ("root", "maximum", "mean", "band")
places = st.floats(-20, 20, width=32)


def good() -> Frame:
    return Frame(SyntheticWeb(HEIGHT, WIDTH, SEED).frame(60).pixels.copy(), 0, 0)


@given(places, st.lists(places, min_size=1, max_size=3), st.sampled_from(JOINS))
def test_a_join_agrees_with_its_definition(network, bands, join):
    band = np.abs(np.array(bands, np.float32)).max()
    found = join_maps(np.float32([network]), np.float32([band]), join)
    assert float(found[0]) == pytest.approx(
        reference_brightness.joined(network, bands, join), rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_in_either_map_is_none_in_the_joined_one(join, bad):
    one, odd = np.ones(2, np.float32), np.float32([1, bad])
    assert not np.isfinite(join_maps(odd, one, join)).all()
    assert not np.isfinite(join_maps(one, odd, join)).all()


@pytest.mark.thorough
def test_a_frame_is_joined_square_by_square(padim: Bundle) -> None:
    bundle = blended(padim)
    frame = good()
    network_map, both = (Pipeline(b).judge(frame).score_map for b in (alone(padim), bundle))
    assert network_map is not None
    assert both is not None
    bands = reference_brightness.contrasts(frame.pixels, 8, SIGMAS_PX)
    a = bundle.arrays
    for row, col in np.ndindex(*both.values.shape):
        network = (network_map.values[row, col] - a["network_mean"][row, col]) * float(
            a["network_gain"][row, col]
        )
        own = [
            (bands[k, row, col] - a["band_mean"][k, row, col]) * float(a["band_gain"][k, row, col])
            for k in range(len(SIGMAS_PX))
        ]
        expected = reference_brightness.joined(network, own, "root")
        assert both.values[row, col] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_manifest_without_a_blend_keeps_the_bytes_it_had_before_there_were_bands(
    padim: Bundle,
) -> None:
    old = alone(padim).manifest
    old = old.model_copy(update={"score": old.score.model_validate({"smooth_sigma_px": 4.0})})
    raw = canonical(old)
    for name in (b"blend", b"bands_px", b"normalise", b"join"):
        assert name not in raw
    assert Manifest.model_validate_json(raw).blend is None
    assert canonical(Manifest.model_validate_json(raw)) == raw


@pytest.mark.parametrize(
    "name",
    [
        "network_mean",
        *(
            pytest.param(other, marks=pytest.mark.thorough)
            for other in ("network_gain", "band_mean", "band_gain")
        ),
    ],
)
def test_statistics_that_are_missing_misshapen_or_no_numbers_are_refused(
    padim: Bundle, name: str
) -> None:
    bundle = blended(padim)
    whole = np.array(bundle.arrays[name])
    nan = whole.copy()
    nan.reshape(-1)[3] = np.nan
    for array, told in ((whole[..., :-1], "the map needs"), (nan, "not finite")):
        with pytest.raises(BundleError, match=f"{name}.npy.*{told}"):
            Pipeline(blended(padim, **{name: array}))
    arrays = {key: value for key, value in bundle.arrays.items() if key != name}
    with pytest.raises(BundleError, match=f"{name}.npy are missing"):
        Pipeline(replace(bundle, arrays=arrays))


def test_a_nan_in_the_joined_map_is_nonfinite(padim: Bundle) -> None:
    pipeline = Pipeline(blended(padim))
    assert pipeline.judge(good()).verdict.outcome is Outcome.OK
    blend = pipeline._stages._look
    assert isinstance(blend, Blend)
    gain = blend.band_gain.copy()
    gain[0, 2, 3] = np.inf
    pipeline._stages._look = replace(blend, band_gain=gain)
    judged = pipeline.judge(good())
    assert (judged.verdict.outcome, judged.verdict.reason) == (Outcome.NG, Reason.NONFINITE)


def test_lines_of_a_web_whose_joined_map_is_no_number_are_not_inspected(web_bundle: Bundle) -> None:
    bundle = blended(web_bundle)
    pipeline = WebPipeline(bundle)
    shape = (1, bundle.arrays["network_mean"].shape[1])
    blend = load_blend(bundle.arrays, bundle.manifest.blend, shape, 8)
    assert blend is not None
    gain = blend.band_gain.copy()
    gain[1, 0, 4] = np.inf
    web = pipeline.stages.network
    pipeline.stages.network = replace(web, look=replace(blend, band_gain=gain))
    judged = pipeline.judge(Frame(some_web(300), 0, 0), last=True)
    assert (judged.verdict.outcome, judged.verdict.reason) == (Outcome.NG, Reason.NONFINITE)
    assert judged.verdict.web is not None
    assert {gap.cause for gap in judged.verdict.web.gaps} == {Cause.NONFINITE}
    assert sum(gap.lines for gap in judged.verdict.web.gaps) == 300


def test_a_stain_without_texture_is_seen_by_the_band(padim: Bundle) -> None:
    frame = good()
    stained = frame.pixels.copy()
    stained[40:90, 100:160] = stained[40:90, 100:160] * 0.8
    pipeline = Pipeline(blended(padim, "band", band_gain=np.full((2, 1, 1), 5, np.float32)))
    clean = pipeline.judge(frame)
    found = pipeline.judge(Frame(stained, 0, 1))
    assert clean.score_map is not None
    assert found.score_map is not None
    assert found.score_map.values.max() > 1.5 * clean.score_map.values.max()


def test_what_is_inspected_is_never_0_in_a_map() -> None:
    """0 is what is not inspected, and is drawn so."""
    shape = (2, 3)
    flat = np.zeros((1, *shape), np.float32)
    for sigmas, bands in (((), flat[:0]), ((4.0,), flat)):
        for join in JOINS:
            own, gain = np.ones(shape, np.float32), np.ones(shape, np.float32)
            blend = Blend(sigmas, 8, join, own, gain, bands, bands)
            assert (blend.rows(np.zeros(shape, np.float32), bands) > 0).all()
