"""Pictures that no longer look as the good images did: counted, named, told; and no others."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.drift import independent
from kenpin.config.drift import DriftSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError, canonical
from kenpin.runtime.drift.look import DETAIL, LIGHT, QUANTITIES, look_at
from kenpin.runtime.drift.material import Material
from kenpin.runtime.drift.reference import COLUMNS, MATERIAL, Reference
from kenpin.runtime.drift.votes import outside_at_most, votes_needed
from kenpin.runtime.drift.watch import DriftCause, DriftWatch
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.service.sides.messages import DriftFacts
from kenpin.runtime.service.sides.metrics import LineMetrics
from kenpin.runtime.web.pipeline import open_pipeline
from page_server import counts
from running_line import EDGE_RUN, RunningLine, line_toml

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

HEIGHT, WIDTH, GOOD = 64, 96, 60
# Few features, in which material is seen and light is not.
FEATURES = 6
# A window that is full after few frames, and an alarm that comes soon.
QUICK = DriftSpec(window=60, alarms_per_look=1e-4)


def cloth(number: int) -> U8:
    """A good picture: grain, and light that wanders a little."""
    rng = np.random.default_rng(number)
    grain = cv2.GaussianBlur(rng.normal(0, 30, (HEIGHT, WIDTH)), (0, 0), 0.8)
    return np.rint(np.clip((120 + grain) * rng.normal(1, 0.01), 0, 255)).astype(np.uint8)


def features_of(number: int) -> F32:
    """(1, 2, 2, FEATURES) of a good picture."""
    rng = np.random.default_rng([7, number])
    return rng.normal(1, 0.1, (1, 2, 2, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> Reference:
    looks = [look_at(cloth(number)) for number in range(GOOD)]
    values = np.array([look.values for look in looks])
    columns = np.array([look.columns for look in looks])
    means = np.array([features_of(number).reshape(-1, FEATURES).mean(0) for number in range(GOOD)])
    material = Material.fitted(means, np.eye(FEATURES, dtype=np.float32)[:1])
    return Reference(
        values.min(axis=0),
        np.median(values, axis=0),
        values.max(axis=0),
        np.array([columns.min(axis=0), columns.max(axis=0)]),
        material,
        max(material.distance(mean) for mean in means) * 1.1,
        {name: float(GOOD) for name in (*QUANTITIES, COLUMNS, MATERIAL)},
    )


def streaked(pixels: U8) -> U8:
    dirty = pixels.copy()
    dirty[:, 40:43] = dirty[:, 40:43] * 0.8
    return dirty


def halved(pixels: U8) -> U8:
    fade = np.interp(np.arange(WIDTH), [0, WIDTH / 2, WIDTH], [0.8, 1, 1.2])
    return np.rint(pixels * fade).astype(np.uint8)


WORSE: dict[str, tuple[DriftCause, Callable[[U8], Any], str]] = {
    "a lamp that fades": (DriftCause.LAMP, lambda p: (p * 0.85).astype(np.uint8), "darker"),
    "a lamp turned up": (DriftCause.LAMP, lambda p: cv2.convertScaleAbs(p, alpha=1.2), "brighter"),
    "half a lamp": (DriftCause.LAMP, halved, r"% (darker \(left|brighter \(right) quarter"),
    "a blur": (DriftCause.FOCUS, lambda p: cv2.GaussianBlur(p, (0, 0), 1.0), "weaker"),
    "a streak": (DriftCause.DIRT, streaked, "columns 40 to 42 of 96 are 1[0-9]% darker"),
}


def seen(
    watch: DriftWatch, pictures: Iterable[Any], features: Callable[[int], F32] = features_of
) -> DriftCause | None:
    """What is named after some frames; it was named as soon as enough lay outside."""
    with watch.looking():
        for number, pixels in enumerate(pictures):
            watch.pixels(pixels)
            watch.features(features(1000 + number))
            watch.standing()
    return watch.standing().cause


@pytest.mark.parametrize("name", WORSE)
def test_what_changed_is_named_and_where(reference: Reference, name: str) -> None:
    cause, worse, words = WORSE[name]
    watch = DriftWatch(reference, QUICK, None)
    assert seen(watch, (worse(cloth(1000 + k)) for k in range(60))) is cause
    detail = watch.standing().detail
    assert detail.startswith(f"{cause.value}: ")
    assert re.search(words, detail), detail


def test_another_material_is_named_even_if_it_is_darker_and_smoother(reference: Reference) -> None:
    watch = DriftWatch(reference, QUICK, None)

    def others(number: int) -> F32:
        return features_of(number) + np.float32(0.5)

    smooth = (cv2.GaussianBlur(cloth(1000 + k), (0, 0), 1.0) // 2 for k in range(60))
    assert seen(watch, smooth, others) is DriftCause.MATERIAL
    assert "other material" in watch.standing().detail


def test_what_is_noticed_a_little_later_may_still_be_the_cause(reference: Reference) -> None:
    """The good images vouch for fewer kinds of material than of focus: it takes more frames."""
    slower = replace(reference, independent={**reference.independent, MATERIAL: 8.0})
    watch = DriftWatch(slower, QUICK, None)

    def others(number: int) -> F32:
        return features_of(number) + np.float32(0.5)

    smooth = [cv2.GaussianBlur(cloth(1000 + k), (0, 0), 1.0) for k in range(60)]
    assert seen(watch, smooth[:25], others) is DriftCause.FOCUS
    assert seen(watch, smooth[25:], others) is DriftCause.MATERIAL
    assert re.search("focus.* may follow from it", watch.standing().detail)


def test_what_lamp_and_focus_do_to_features_is_no_other_material(reference: Reference) -> None:
    watch = DriftWatch(reference, QUICK, None)
    moved = np.eye(FEATURES, dtype=np.float32)[0] * 3
    assert seen(watch, map(cloth, range(1000, 1060)), lambda k: features_of(k) + moved) is None


def test_where_lamp_and_focus_move_all_of_the_features_there_is_no_distance() -> None:
    """A network that was trained here, or brought, often has one feature: its map."""
    means = np.linspace(0.9, 1.1, GOOD, dtype=np.float32)[:, None]
    blind = Material.fitted(means, np.ones((3, 1), np.float32))
    assert {blind.distance(mean) for mean in (*means, means[0] * 7)} == {0.0}
    unmoved = Material.fitted(means, np.zeros((3, 1), np.float32))
    assert unmoved.distance(means[0] * 7) > 10 * unmoved.distance(means[0])


def test_good_frames_raise_nothing_and_a_mended_lamp_ends_the_alarm(reference: Reference) -> None:
    watch = DriftWatch(reference, QUICK, None)
    assert seen(watch, map(cloth, range(1000, 1300))) is None
    assert seen(watch, (cloth(k) // 2 for k in range(60))) is DriftCause.LAMP
    assert seen(watch, map(cloth, range(2000, 2060))) is None
    assert watch.standing().detail == ""


def test_the_sentence_and_the_first_cause_stay_while_it_gets_worse(reference: Reference) -> None:
    watch = DriftWatch(reference, QUICK, None)
    assert seen(watch, ((cloth(k) * 0.9).astype(np.uint8) for k in range(90))) is DriftCause.LAMP
    detail = watch.standing().detail
    blurred = (cv2.GaussianBlur(cloth(k), (0, 0), 2.0) // 2 for k in range(60))
    assert seen(watch, blurred) is DriftCause.LAMP
    assert watch.standing().detail == detail


def test_golden_frames_and_changes_below_the_slack_do_not_count(reference: Reference) -> None:
    watch = DriftWatch(reference, QUICK, None)
    for number in range(60):
        watch.pixels(cloth(number) // 2)
        watch.features(features_of(number) * 9)
    assert watch.standing().looks == 0
    lenient = DriftWatch(reference, DriftSpec(window=60, slack=0.5), None)
    assert seen(lenient, ((cloth(k) * 0.8).astype(np.uint8) for k in range(60))) is None


def test_too_few_good_images_watch_nothing_and_say_so(reference: Reference) -> None:
    few = replace(reference, independent=dict.fromkeys(reference.independent, 1.5))
    watch = DriftWatch(few, QUICK, None)
    assert watch.watched == []
    assert seen(watch, (cloth(k) // 2 for k in range(60))) is None


def test_lines_of_a_web_are_looked_at_in_blocks_however_they_come(reference: Reference) -> None:
    whole, cut = (DriftWatch(reference, QUICK, HEIGHT) for _ in range(2))
    for number in range(20):
        pixels = cloth(number) // 2
        with whole.looking(), cut.looking():
            whole.pixels(pixels)
            for part in (pixels[:10], pixels[10:50], pixels[50:]):
                cut.pixels(part)
    assert whole.standing().shares == cut.standing().shares
    assert whole.standing().looks == cut.standing().looks == 20


# -- the rule ----------------------------------------------------------------------------------


@given(st.integers(2, 60), st.floats(0.01, 0.9), st.floats(1e-6, 0.05))
def test_votes_are_the_fewest_that_chance_explains_too_seldom(window, share, chance) -> None:
    def tail(votes: int) -> float:
        ways = [math.comb(window, k) for k in range(votes, window + 1)]
        return sum(
            way * share**k * (1 - share) ** (window - k)
            for way, k in zip(ways, range(votes, window + 1), strict=True)
        )

    votes = votes_needed(window, share, chance)
    if votes is None:
        assert tail(window) > chance * (1 - 1e-9)
    else:
        assert tail(votes) <= chance * (1 + 1e-9)
        assert votes == 0 or tail(votes - 1) > chance * (1 - 1e-9)


@pytest.mark.parametrize("tails", [1, 2])
@pytest.mark.parametrize("images", [3, 10, 40])
def test_further_images_lie_outside_no_more_often_than_said(images: int, tails: int) -> None:
    """Of many sets of uniform numbers 5 % have a range that leaves more out."""
    drawn = np.random.default_rng(0).random((20_000, images))
    outside = 1 - drawn.max(axis=1) + (drawn.min(axis=1) if tails == 2 else 0)
    share = outside_at_most(images, tails, 0.05)
    assert float((outside > share).mean()) == pytest.approx(0.05, abs=0.006)


def test_neighbours_that_resemble_each_other_count_as_fewer() -> None:
    noise = np.random.default_rng(0).normal(size=400)
    slow = np.convolve(noise, np.ones(20) / 20, mode="valid")
    assert independent(noise) > 200
    assert 8 < independent(slow) < 40
    assert independent(np.ones(20)) == 1


def test_a_look_tells_light_from_focus() -> None:
    plain, darker = look_at(cloth(1)), look_at(cv2.convertScaleAbs(cloth(1), alpha=0.7))
    soft = look_at(cv2.GaussianBlur(cloth(1), (0, 0), 1.0))
    of = {name: number for number, name in enumerate(QUANTITIES)}
    for name in (*LIGHT[1:], *DETAIL):
        assert darker.values[of[name]] == pytest.approx(plain.values[of[name]], abs=0.03)
    assert darker.values[of["brightness"]] == pytest.approx(
        plain.values[of["brightness"]] + math.log(0.7), abs=0.01
    )
    for name in DETAIL:
        assert soft.values[of[name]] < plain.values[of[name]] - 0.3
    in_colour = look_at(np.dstack([cloth(1)] * 3))
    np.testing.assert_allclose(in_colour.values, plain.values, atol=1e-4)
    np.testing.assert_allclose(in_colour.columns, plain.columns, atol=1e-5)


# -- the bundle, and the line ------------------------------------------------------------------


def test_a_compiled_bundle_knows_its_good_images_and_takes_further_ones(patchcore: Bundle) -> None:
    record = patchcore.manifest.drift
    assert record is not None
    assert record.looks == 16
    known = Reference.of(patchcore)
    assert known is not None
    watch = DriftWatch(known, DriftSpec(), None)
    assert set(watch.watched) >= {DriftCause.FOCUS, DriftCause.DIRT, DriftCause.MATERIAL}
    pipeline = open_pipeline(
        patchcore, execution=Execution(overhear=watch.features), oversee=watch.pixels
    )
    web = SyntheticWeb(128, 320, 3)
    with watch.looking():
        for number in range(40, 80):
            pipeline.judge(Frame(web.frame(number).pixels, 0, number))
    standing = watch.standing()
    assert (standing.cause, standing.looks) == (None, 40)
    assert standing.shares["focus"] < 0.5


def test_frames_too_dark_to_judge_are_looked_at(patchcore: Bundle) -> None:
    known = Reference.of(patchcore)
    assert known is not None
    watch = DriftWatch(known, DriftSpec(), None)
    pipeline = open_pipeline(patchcore, oversee=watch.pixels)
    with watch.looking():
        judged = pipeline.judge(Frame(np.zeros((128, 320), np.uint8), 0, 0))
    assert judged.verdict.reason == "image_quality"
    assert watch.standing().looks == 1


def test_a_web_looks_at_its_lines_and_tile_rows(web_bundle: Bundle) -> None:
    known = Reference.of(web_bundle)
    assert known is not None
    watch = DriftWatch(known, DriftSpec(), 64)
    pipeline = open_pipeline(
        web_bundle, execution=Execution(overhear=watch.features), oversee=watch.pixels
    )
    web = SyntheticWeb(100, 160, 11)
    with watch.looking():
        for number in range(50, 60):
            pipeline.judge(Frame(web.frame(number).pixels, 0, number))
    standing = watch.standing()
    assert standing.cause is None
    assert standing.looks == 10
    assert standing.shares.keys() >= {"focus", "dirt", "material"}


def test_a_bundle_from_before_keeps_its_name_and_is_not_watched(patchcore: Bundle) -> None:
    old = patchcore.manifest.model_copy(update={"drift": None})
    assert b'"drift"' not in canonical(old)
    assert b'"drift"' in canonical(patchcore.manifest)
    assert Reference.of(replace(patchcore, manifest=old)) is None


@pytest.mark.parametrize("name", ["mean", "scale", "known", "axes", "spread", "columns"])
def test_damaged_statistics_are_refused(patchcore: Bundle, name: str) -> None:
    arrays = dict(patchcore.arrays)
    del arrays[f"drift_{name}"]
    with pytest.raises(BundleError, match=f"drift_{name}"):
        Reference.of(replace(patchcore, arrays=arrays))
    if name == "spread":
        arrays["drift_spread"] = patchcore.arrays["drift_spread"] * 0
        with pytest.raises(BundleError, match="no spread"):
            Reference.of(replace(patchcore, arrays=arrays))


def samples(told: DriftFacts | None) -> dict[tuple[str, str], float]:
    metrics = LineMetrics("web-1", 0.06)
    metrics.stand(structs.replace(counts(), drift=told))
    return {
        (sample.name, sample.labels["cause"]): sample.value
        for family in text_string_to_metric_families(metrics.page().decode())
        for sample in family.samples
        if "cause" in sample.labels
    }


def test_metrics_name_the_cause_and_say_what_is_not_watched() -> None:
    found = samples(DriftFacts("focus", {"lamp": 0.01, "focus": 0.9}, 400))
    assert found["edge_drift", "focus"] == 1
    assert found["edge_drift", "lamp"] == 0
    assert found["edge_drift_outside", "focus"] == 0.9
    assert found["edge_drift_watched", "dirt"] == 0
    assert ("edge_drift_outside", "dirt") not in found
    unwatched = samples(None)
    assert {value for (name, _), value in unwatched.items()} == {0}


@pytest.mark.clock
def test_a_line_tells_that_its_lens_is_dirty_and_that_it_was_cleaned(
    patchcore: Bundle, workshop: Any, tmp_path: Path
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    good = sorted((workshop.data / "train" / "good").glob("*.png"))
    for number, file in enumerate(good * 13):
        pixels = read_pixels(file).copy()
        if number < 100:
            pixels[:, 100:104] = pixels[:, 100:104] * 0.6
        write_png(frames / f"{number:03d}.png", pixels)
    toml = line_toml(
        tmp_path,
        patchcore.folder,
        camera=f'kind = "recorded", folder = "{frames}"',
        trigger='mode = "software", budget_ms = 20000',
        drift="window = 60, alarms_per_look = 0.09",
    )
    line = RunningLine(toml, command=EDGE_RUN)
    try:
        line.state("operational.ready")
        # One after the other, however slow: each of them is judged, and counts.
        plc = line.client()
        for number in range(len(good) * 13):
            assert plc.ask(str(number))["reason"] in (None, "defect", "unsure")
        raised = line.until(lambda m: m["type"] == "alarm" and m["source"] == "drift")
        assert raised["active"]
        assert raised["detail"].startswith("dirt: columns 10")
        over = line.until(lambda m: m["type"] == "alarm" and m["source"] == "drift")
        assert not over["active"]
    finally:
        line.close()
