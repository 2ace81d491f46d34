"""The report of a build and of an evaluation: true figures, one file, shown by a browser."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg

import browser
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.files.listing import list_images, name_in
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.good_images.clusters import Cluster
from kenpin.compile.metrics.pixels import aupro, pro_curve
from kenpin.compile.metrics.scores import auroc, roc_curve
from kenpin.compile.operating_point.good_scores import GoodScores
from kenpin.compile.reporting.advice import Advice, advise
from kenpin.compile.reporting.page import write_report
from kenpin.compile.reporting.pictures import pictured, shrunk
from kenpin.compile.reporting.seen import look_at_ng
from kenpin.config.exits import Exit
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.manifest import GoodScore, Manifest, TwinScores
from kenpin.runtime.bundles.operating_point import below_95, proportion_95
from kenpin.runtime.judging.join import ScoreMap

needs_axe = pytest.mark.skipif(browser.axe() is None, reason=browser.NO_AXE)
needs_chromium = pytest.mark.skipif(browser.find() is None, reason="no Chromium on this machine")
RNG = np.random.default_rng(0)


def beside(bundle: Bundle, end: str) -> Path:
    return bundle.folder.with_name(bundle.folder.name + end)


def good_of(manifest: Manifest, **changes: object) -> GoodScores:
    records = manifest.good_scores
    plain = GoodScores(records, [(n, 0) for n in range(len(records))], [], None)
    return replace(plain, **changes)  # type: ignore[arg-type]


def says(found: list[Advice], *words: str) -> list[Advice]:
    return [one for one in found if all(word in str(one) for word in words)]


def test_a_build_leaves_a_page_and_its_numbers_beside_the_bundle(patchcore: Bundle) -> None:
    told = json.loads(beside(patchcore, ".report.json").read_text())
    manifest = patchcore.manifest
    assert told["threshold"]["ok"] == manifest.threshold.ok
    assert len(told["good"]["scores"]) == len(manifest.good_scores)
    assert told["images"]["count"] == 16
    assert told["speed"]["lines_per_s"] == pytest.approx(
        128 / told["speed"]["median_ms"] * 1000, rel=1e-6
    )
    assert len(told["positions"]["mean"][0]) == len(told["positions"]["spread"][0])
    for gallery in ("highest", "missed", "faintest", "samples"):
        assert told["pictures"][gallery], gallery
    (inspected,) = told["pictures"]["inspected"]
    assert inspected == {"name": "000.png", "score": None, "note": "the whole frame is inspected"}
    assert "base64" not in json.dumps(told)
    assert told["curve"][0]["threshold"] >= told["curve"][-1]["threshold"]
    highest = told["pictures"]["highest"][0]["score"]
    assert highest == max(one.score for one in manifest.good_scores)


def test_the_page_is_one_file_that_runs_only_its_own_script(patchcore: Bundle) -> None:
    page = beside(patchcore, ".report.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert "unsafe" not in policy[1]
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "{{" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_what_names_hold_cannot_end_the_script(tmp_path: Path) -> None:
    shown = pictured("</script><img src=x>", 1.0, np.zeros((8, 8), np.uint8))
    write_report(tmp_path / "a.html", {"name": "<b>", "kind": "build"}, {"highest": [shown]})
    page = (tmp_path / "a.html").read_text()
    assert page.count("</script>") == 2
    assert "<b>" not in page


def test_what_is_inspected_is_drawn_beside_the_bundle_and_into_the_report(
    patchcore: Bundle,
) -> None:
    page = beside(patchcore, ".report.html").read_text()
    data = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert data is not None
    (shown,) = json.loads(data[1])["pictures"]["inspected"]
    drawn = read_pixels(beside(patchcore, ".inspected.png"))
    plain = simplejpeg.decode_jpeg(base64.b64decode(shown["plain"].partition(",")[2]))
    assert np.abs(plain.astype(int) - drawn).mean() < 3


def test_pictures_keep_their_shape_and_show_the_map(tmp_path: Path) -> None:
    strip = np.full((40, 3000), 90, np.uint8)
    values = np.zeros((5, 375), np.float32) + 0.1
    values[2, 100] = 9
    shown = pictured("strip", 9.0, strip, ScoreMap(values, 8, strip.shape), 1.0)
    assert shown.heat is not None
    assert shown.heat != shown.plain
    assert shrunk(np.zeros((100, 1280, 3), np.uint8)).shape == (50, 640, 3)
    assert shrunk(np.zeros((10, 20, 3), np.uint8)).shape == (10, 20, 3)


def test_few_images_are_told_how_many_more_are_needed(patchcore: Bundle) -> None:
    found = advise(patchcore.manifest, good_of(patchcore.manifest), [])
    (one,) = says(found, "extrapolated")
    assert "photograph 83 more" in one.do
    assert one.level == "look"


def test_what_is_weak_comes_first_and_says_what_to_do(patchcore: Bundle) -> None:
    manifest = patchcore.manifest
    faint = [TwinScores(kind="spot", size_px=12, contrast=100, scores=[0.0] * 10)]
    odd = GoodScore(name="7.png", part="7", score=99.0, odd=True)
    weak = manifest.model_copy(
        update={
            "twin_scores": faint,
            "good_scores": [*manifest.good_scores, odd],
            "quantization": manifest.quantization.model_copy(update={"separation": {"fp32": 0.7}}),
        }
    )
    cluster = Cluster(0, 8, 0, 8, 12, 12)
    found = advise(weak, good_of(weak, likeness=1.4), [cluster])
    levels = [one.level for one in found]
    assert levels == sorted(levels, key=("weak", "look", "know").index)
    assert says(found, "spots of 100 grey levels", "0 % are found")
    assert says(found, "AUROC 0.700")
    assert says(found, "1.40 times", "images.group")
    assert says(found, "7.png", "images.exclude")
    assert says(found, "12 of the 12 highest")
    assert all(one.do for one in found)


def test_a_smallest_speck_that_is_missed_makes_no_bundle_weak(patchcore: Bundle) -> None:
    twins = [TwinScores(kind="spot", size_px=3, contrast=100, scores=[0.0] * 10)]
    twins += [TwinScores(kind="spot", size_px=12, contrast=100, scores=[99.0] * 10)]
    calm = patchcore.manifest.model_copy(update={"twin_scores": twins})
    found = advise(calm, good_of(calm), [])
    assert not [one for one in found if one.level == "weak"]
    assert says(found, "spots of 3 px")


def test_curves_have_the_areas_that_are_told() -> None:
    scores, bad = RNG.normal(size=200), RNG.random(200) < 0.3
    scores[bad] += 1
    x, y = np.array([(0.0, 0.0), *roc_curve(scores, bad)]).T
    assert np.trapezoid(y, x) == pytest.approx(auroc(scores, bad), abs=1e-9)
    masks = [np.zeros((40, 60), bool) for _ in range(3)]
    maps = [RNG.random((40, 60)).astype(np.float32) for _ in masks]
    for mask, values in zip(masks, maps, strict=True):
        mask[5:15, 10:20] = mask[30:35, 40:50] = True
        values[mask] += 0.4
    x, y = np.array(pro_curve(maps, masks, points=301)).T
    assert np.trapezoid(y, x) / 0.3 == pytest.approx(aupro(maps, masks), abs=0.005)


def test_ng_images_of_any_name_are_shown(tmp_path: Path) -> None:
    """A build of an hour ended with "no such file" at a name that is no UTF-8."""
    mask = np.zeros((16, 16), np.float32)

    class Flat:
        def measure(self, pixels: np.ndarray) -> SimpleNamespace:
            return SimpleNamespace(score_map=SimpleNamespace(values=mask))

    write_png(tmp_path / "plain.png", np.zeros((64, 64), np.uint8))
    shutil.copy(tmp_path / "plain.png", os.fsencode(tmp_path) + b"/\xff.png")
    scores = {name_in(tmp_path, file): 1.0 for file in list_images(tmp_path)}
    low, _ = look_at_ng(Flat(), tmp_path, scores, read_pixels, 1.0, 4)  # type: ignore[arg-type]
    assert sorted(one.name for one in low) == ["\\xff.png", "plain.png"]


@pytest.fixture(scope="module")
def evaluated(workshop, patchcore: Bundle, tmp_path_factory) -> Path:
    page = tmp_path_factory.mktemp("eval") / "eval.html"
    code = edge_compile(["eval", str(patchcore.folder), str(workshop.data), "--report", str(page)])
    assert code == Exit.DONE
    return page


def test_an_evaluation_writes_the_same_page_with_its_own_figures(evaluated: Path) -> None:
    told = json.loads(evaluated.with_suffix(".json").read_text())
    dataset = told["dataset"]
    assert told["kind"] == "evaluation"
    assert read_bundle(Path(told["folder"])).label == told["bundle"]
    assert dataset["images"]["good"] + dataset["images"]["ng"] == len(told["labelled"])
    assert dataset["images"]["roc"][-1] == [1.0, 1.0]
    assert dataset["pixels"]["pro"][0][0] == 0
    ng = [one["score"] for one in told["labelled"] if one["kind"] != "good"]
    assert told["pictures"]["ng_low"][0]["score"] == min(ng)


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    workshop, patchcore: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", str(patchcore.folder), str(workshop.data), "--report"]
    assert edge_compile([*command, str(tmp_path / "a.pdf")]) == Exit.FILES
    assert "ends in .html" in capsys.readouterr().err
    assert edge_compile([*command, str(tmp_path / "none" / "a.html")]) == Exit.FILES


@pytest.mark.real
@needs_chromium
@pytest.mark.parametrize("size", [(1024, 768), (390, 844)])
def test_a_browser_shows_the_report_and_moves_the_threshold(patchcore: Bundle, size) -> None:
    with browser.Browser(browser.find() or "", *size) as page:
        page.open(beside(patchcore, ".report.html"))
        assert page.complaints() == []
        assert [url.split(":")[0] for url in page.requests() if url[:5] != "data:"] == ["file"]
        page.until_it_fits()
        assert page.value("report.limit()") == patchcore.manifest.threshold.ok
        text = "document.querySelector('.effect').innerText"
        assert "No verdict changes" in page.value(text)
        # One threshold, one bound: what the build told of it, counted or extrapolated.
        told = page.value(f"report.percent({patchcore.manifest.threshold.at_most})")
        assert f"at most {told} of all good ones" in page.value(text)
        assert f"≤ {told}" in page.value("document.querySelector('.cards').innerText")
        # Low enough, and every good image is rejected; the command to keep it is told.
        page.value("report.setLimit(0.001)")
        assert "16 of 16 good images rejected" in page.value(text)
        assert "16 verdicts would become NG" in page.value(text)
        assert "--ok 0.001" in page.value(text)
        page.value("[...document.querySelectorAll('button')].find(b=>b.innerText=='reset').click()")
        assert "No verdict changes" in page.value(text)
        # The line follows the pointer.
        page.value("document.getElementById('threshold').scrollIntoView()")
        box = page.value(
            "(r => [r.left, r.top, r.width])(document.querySelector('svg.drag')"
            ".getBoundingClientRect())"
        )
        x, y = box[0] + 0.9 * box[2], box[1] + 60
        page.mouse("mousePressed", x, y, button="left", clickCount=1)
        page.mouse("mouseReleased", x, y, button="left", clickCount=1)
        assert page.value("report.limit()") > patchcore.manifest.threshold.ok


@pytest.mark.real
@needs_chromium
def test_long_names_and_folders_do_not_widen_the_page(patchcore: Bundle, tmp_path: Path) -> None:
    own, page = beside(patchcore, ".report.html"), tmp_path / "long.html"
    told = json.loads(own.with_suffix(".json").read_text())
    folder, long = told["images"]["folder"], "/" + 80 * "M"
    text = own.read_text()
    assert folder in text
    assert told["bundle"] in text
    page.write_text(text.replace(folder, folder + long).replace(told["bundle"], long))
    with browser.Browser(browser.find() or "", 390, 844) as phone:
        phone.open(page)
        phone.until_it_fits()
        assert long in phone.value("document.getElementById('material').innerText")


@pytest.mark.real
@needs_chromium
def test_the_page_counts_confidence_as_the_build_does(patchcore: Bundle) -> None:
    with browser.Browser(browser.find() or "") as page:
        page.open(beside(patchcore, ".report.html"))
        for found, count in ((0, 16), (3, 40), (16, 16), (7, 780)):
            assert page.value(f"report.between({found}, {count})") == pytest.approx(
                proportion_95(found, count), abs=1e-7
            )
            assert page.value(f"report.below({found}, {count})") == pytest.approx(
                below_95(found, count), abs=1e-7
            )


@pytest.mark.real
@needs_chromium
def test_a_browser_shows_the_evaluation(evaluated: Path) -> None:
    with browser.Browser(browser.find() or "") as page:
        page.open(evaluated)
        assert page.complaints() == []
        assert "ROC of images" in page.value("document.body.innerText")
        page.value("report.setLimit(12340)")
        command = page.value("document.querySelector('.effect .command').innerText")
        folder = json.loads(evaluated.with_suffix(".json").read_text())["folder"]
        assert command == f"edge-compile threshold {folder} --ok 12340"
        assert page.value("document.querySelectorAll('#curves svg').length") == 2


@pytest.mark.real
@needs_chromium
def test_many_kinds_with_long_names_are_all_counted_and_no_figure_is_broken(
    evaluated: Path, tmp_path: Path
) -> None:
    told = json.loads(evaluated.with_suffix(".json").read_text())
    ng = [one for one in told["labelled"] if one["kind"] != "good"]
    kinds = told["dataset"]["images"]["kinds"]
    long = {one["name"]: "a_kind_with_a_name_of_many_letters_" + one["name"][-9:-4] for one in ng}
    for one in ng:
        kinds[long[one["name"]]] = kinds[one["kind"]]
        one["kind"] = long[one["name"]]
    page = tmp_path / "many.html"
    write_report(page, told, {})
    assert len(ng) > 5
    with browser.Browser(browser.find() or "", 390, 844) as phone:
        phone.open(page)
        phone.until_it_fits()
        assert phone.complaints() == []
        # The histogram counts every image, whatever its kind.
        texts = phone.value("[...document.querySelectorAll('svg.drag text')].map(e => e.innerHTML)")
        assert texts[texts.index("NG, of the labelled set") + 1] == str(len(ng))
        assert phone.value("document.querySelectorAll('.gauge').length") == 1 + len(ng)
        lines = """[...document.querySelectorAll('#kinds td:not(:first-child)')].map(e => {
            const range = document.createRange(); range.selectNodeContents(e);
            return range.getClientRects().length; })"""
        assert set(phone.value(lines)) == {1}
        assert phone.value("document.querySelector('#kinds td').clientWidth") > 90


@pytest.mark.real
@needs_chromium
@needs_axe
@pytest.mark.parametrize("scheme", browser.SCHEMES)
@pytest.mark.parametrize("size", [(1280, 1000), (390, 844)])
def test_axe_finds_no_serious_fault_in_either_report(
    patchcore: Bundle, web_bundle: Bundle, evaluated: Path, size, scheme
) -> None:
    builds = [beside(bundle, ".report.html") for bundle in (patchcore, web_bundle)]
    with browser.Browser(browser.find() or "", *size) as page:
        page.prefer(scheme)
        for file in (*builds, evaluated):
            page.open(file)
            page.until_it_fits()
            assert page.serious_faults() == {}, file.name
            page.value("document.querySelector('figure button').click()")
            assert page.serious_faults() == {}, f"{file.name}, a picture enlarged"


@pytest.mark.real
@needs_chromium
def test_the_report_of_a_web_is_shown_too(web_bundle: Bundle) -> None:
    with browser.Browser(browser.find() or "") as page:
        page.open(beside(web_bundle, ".report.html"))
        assert page.complaints() == []
        assert "px across the web" in page.value(
            "document.body.innerText.concat(document.getElementById('places').innerHTML)"
        )
