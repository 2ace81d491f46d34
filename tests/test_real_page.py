"""The live page in a real Chromium: all languages, panel and phone, and a real line behind it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

import browser
from kenpin.config.page import LANGUAGES
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.service.reviews import Reviews
from kenpin.runtime.service.sides.messages import DriftFacts
from kenpin.runtime.service.sides.page.accounts import Accounts
from page_server import Served, counts, fill, served, stretch, verdict
from running_line import RunningLine, line_toml
from test_learning import reviewed
from test_reviews import archive as entries

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(browser.find() is None, reason="no Chromium on this machine"),
]
SIZES = {"panel": (1024, 768), "phone": (390, 844)}
TABS = ("live", "threshold", "review", "production", "health", "rolls")
READY = "typeof line != 'undefined' && line && !document.getElementById('tab_{}').hidden"
# The page gives up what learns for longer.
LEARNING_S = 900
needs_axe = pytest.mark.skipif(browser.axe() is None, reason=browser.NO_AXE)


@pytest.fixture(scope="module")
def page(patchcore: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    store = folder / "store"
    store.mkdir()
    shutil.copytree(patchcore.folder, store / patchcore.folder.name)
    (store / "current").symlink_to(patchcore.folder.name)
    with served(folder, store, archive=entries(folder / "archive")) as one:
        fill(one.live, bundle=patchcore.label)
        one.live.counts(counts(patchcore.label, camera="the camera is warm"))
        yield one


def opened(page: Served, tab: str, chromium: browser.Browser) -> None:
    chromium.visit(f"{page.url}#{tab}")
    chromium.until(READY.format(tab))
    if tab == "threshold":
        chromium.until("document.querySelector('#histogram svg') != null")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_tab_fits_and_speaks_in_every_language(page: Served, language, size) -> None:
    with browser.Browser(browser.find() or "", *SIZES[size]) as chromium:
        chromium.visit(page.url)
        chromium.value(f"localStorage.setItem('language', '{language}')")
        for tab in TABS:
            opened(page, tab, chromium)
            assert chromium.value("document.documentElement.lang") == language
            assert chromium.value(browser.FITS), tab
            # A key that no catalogue holds would be shown as it is.
            text = chromium.value("document.body.innerText")
            assert not {word for word in text.split() if word.count("_") and "/" not in word}, tab
            assert not {"null", "undefined", "NaN"} & set(text.split()), tab
        assert chromium.complaints() == [], chromium.complaints()
        asked = {url.split("/")[2] for url in chromium.requests() if url.startswith("http")}
        assert asked == {f"127.0.0.1:{page.port}"}


def test_long_names_do_not_widen_the_page(tmp_path: Path) -> None:
    long = "M" * 80
    with served(tmp_path) as one, browser.Browser(browser.find() or "", *SIZES["phone"]) as phone:
        fill(one.live, bundle=f"{long}@0123456789ab")
        one.live.counts(counts(f"{long}@0123456789ab", camera=f"/dev/{long}"))
        for tab, shown in (("live", f"/dev/{long}"), ("threshold", f"{long}-0123")):
            phone.visit(f"{one.url}#{tab}")
            phone.until(READY.format(tab))
            phone.until(f"document.body.innerText.includes('{shown}')")
            phone.until_it_fits()


@needs_axe
@pytest.mark.parametrize("scheme", browser.SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_no_serious_fault(page: Served, size, scheme) -> None:
    with browser.Browser(browser.find() or "", *SIZES[size]) as chromium:
        chromium.prefer(scheme)
        for tab in TABS:
            opened(page, tab, chromium)
            assert chromium.serious_faults() == {}, tab
        # What opens over the page.
        opened(page, "live", chromium)
        chromium.value("document.querySelector('#strip button').click()")
        chromium.until("document.getElementById('large').open")
        assert chromium.serious_faults() == {}, "enlarged"
        opened(page, "review", chromium)
        chromium.until("document.querySelector('.archived button') != null")
        chromium.value("document.querySelector('.archived button').click()")
        chromium.until("document.getElementById('judge').open")
        assert chromium.serious_faults() == {}, "judged"


@needs_axe
@pytest.mark.parametrize("scheme", browser.SCHEMES)
def test_the_notice_stands_before_the_login_and_axe_finds_no_fault_there(
    tmp_path: Path, scheme
) -> None:
    people = tmp_path / "people.json"
    Accounts(people).set("jana", "a long password", "look")
    notice = "For staff of plant 2.\nWhat is changed here is recorded."
    with (
        served(tmp_path, accounts=people, notice=notice) as one,
        browser.Browser(browser.find() or "", *SIZES["phone"]) as phone,
    ):
        phone.prefer(scheme)
        phone.visit(one.url)
        phone.until("document.getElementById('notice').getClientRects().length > 0")
        assert phone.value("document.getElementById('notice').innerText") == notice
        assert phone.value(
            "document.getElementById('notice').getBoundingClientRect().top"
            " < document.querySelector('#login input').getBoundingClientRect().top"
        )
        assert phone.serious_faults() == {}


def test_a_stranger_sees_why_the_last_part_was_rejected(page: Served) -> None:
    with browser.Browser(browser.find() or "", *SIZES["panel"]) as chromium:
        opened(page, "live", chromium)
        why = chromium.value("document.getElementById('why').innerText")
        assert why == (
            "It does not look like good material at the top: the score of 2.5 is 2.5 times the "
            "threshold."
        )
        chromium.until("document.getElementById('ng').naturalWidth > 0")
        chromium.until("document.getElementById('good').naturalWidth > 0")
        # All of it without scrolling.
        for name in ("why", "ng", "good", "n_ng"):
            low = f"document.getElementById('{name}').getBoundingClientRect().bottom"
            assert chromium.value(low) < SIZES["panel"][1], name
        assert chromium.value("document.querySelectorAll('#strip button').length") == 40
        assert chromium.value("document.querySelectorAll('#strip button.ng').length") == 4


def test_what_was_refused_is_said_and_stays(page: Served, patchcore: Bundle) -> None:
    with browser.Browser(browser.find() or "") as chromium:
        opened(page, "threshold", chromium)
        chromium.value("document.getElementById('reason').value = 'a trial'")
        chromium.value("document.getElementById('back').disabled = false")
        chromium.value("document.getElementById('back').click()")
        shown = "!document.getElementById('trouble').hidden"
        chromium.until(shown)
        assert "not changed it" in chromium.value("document.getElementById('trouble').innerText")
        # What the line tells afterwards does not wipe it away.
        before = chromium.value("line.now")
        page.live.counts(counts(patchcore.label))
        chromium.until(f"line.now > {before}")
        assert chromium.value(shown)


def test_a_threshold_is_moved_applied_and_taken_back_on_a_running_line(
    patchcore: Bundle, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    shutil.copytree(patchcore.folder, store / patchcore.folder.name)
    (store / "current").symlink_to(patchcore.folder.name)
    toml = line_toml(tmp_path, store, page="port = 0", trigger='mode = "free", budget_ms = 2000')
    with RunningLine(toml) as line, browser.Browser(browser.find() or "") as chromium:
        chromium.visit(f"{line.page()}/#threshold")
        chromium.until("typeof scores != 'undefined' && scores && scores.seen.length > 0")
        assert chromium.value("scores.ok") == patchcore.manifest.threshold.ok
        chromium.value("setLimit(0.0123)")
        assert "frames would become NG" in chromium.value(
            "document.getElementById('effect').innerText"
        )
        chromium.value(
            "document.getElementById('reason').value = 'a trial';"
            "document.getElementById('apply').requestSubmit()"
        )
        changed = line.until(
            lambda m: m.get("type") == "verdict" and m["bundle"] != patchcore.label
        )
        assert changed["thr"] == pytest.approx(0.0123)
        assert read_bundle(store / "-".join(changed["bundle"].rsplit("@", 1)))
        chromium.until("document.getElementById('change').innerText.includes('in force')")
        chromium.until("!document.getElementById('back').disabled")
        chromium.value("document.getElementById('back').click()")
        line.until(lambda m: m.get("type") == "verdict" and m["bundle"] == patchcore.label)
    entries = [json.loads(one) for one in (store / "audit.jsonl").read_text().splitlines()]
    whys = [(one["what"], one["why"]) for one in entries if one["why"]]
    assert whys == [("threshold", "a trial"), ("bundle", "a trial")]


def test_a_finger_draws_a_box_that_is_kept_and_shown_again(tmp_path: Path) -> None:
    with (
        served(tmp_path, archive=entries(tmp_path / "archive", (7,), kind="ok")) as one,
        browser.Browser(browser.find() or "", *SIZES["panel"]) as chromium,
    ):
        opened(one, "review", chromium)
        chromium.until("!document.getElementById('archive_empty').hidden")
        # It passed, and somebody says that it should not have.
        chromium.value("$('archive_kind').value = 'ok'")
        chromium.value("$('archive_kind').dispatchEvent(new Event('change'))")
        card = "document.querySelector('.archived button')"
        chromium.until(f"{card} != null")
        chromium.value(f"{card}.click()")
        chromium.until("$('judged').complete && $('judged').naturalWidth > 0")
        left, top, width, height = chromium.value(
            "(r => [r.left, r.top, r.width, r.height])($('judged').getBoundingClientRect())"
        )
        for kind, share in (("mousePressed", 0.25), ("mouseMoved", 0.75), ("mouseReleased", 0.75)):
            at = left + share * width, top + share * height
            chromium.mouse(kind, *at, button="left", buttons=1, clickCount=1)
        chromium.value("$('words').value = 'hole'; $('judge_form').requestSubmit()")
        chromium.until("!$('judge').open")
        (said,) = Reviews(tmp_path / "archive").newest().values()
        assert (said.number, said.says, said.word) == (7, "defect", "hole")
        assert said.region == pytest.approx((0.25, 0.25, 0.75, 0.75), abs=0.02)
        assert "hole" in chromium.value("document.querySelector('.archived').innerText")
        chromium.value(f"{card}.click()")
        chromium.until("$('judge').open && !$('box').hidden")
        assert chromium.value("$('words').value") == "hole"
        assert chromium.value("region") == list(said.region)


def test_the_running_roll_zooms_and_keeps_its_place_while_it_runs(page: Served) -> None:
    try:
        for number in range(40):
            page.live.verdict(1000 + number, verdict(True, 0.5, web=stretch(number)))
        with browser.Browser(browser.find() or "", *SIZES["phone"]) as chromium:
            opened(page, "rolls", chromium)
            box = "document.querySelector('#running .scroll')"
            chromium.until(f"{box} != null")
            assert chromium.value(f"{box}.scrollWidth <= {box}.clientWidth + 1")
            assert chromium.value("document.querySelectorAll('#running .spot').length") == 4
            lanes = "[...document.querySelectorAll('#running .lanes b')].map(e => e.innerText)"
            assert chromium.value(lanes) == ["left", "right"]
            # By the keyboard, on the map itself.
            chromium.value(f"{box}.focus()")
            for kind in ("keyDown", "keyUp"):
                chromium.call("Input.dispatchKeyEvent", type=kind, text="+", key="+")
            chromium.until(f"{box}.scrollWidth > 1.4 * {box}.clientWidth")
            chromium.value("$('zoom').value = 8; draw()")
            assert chromium.value(f"{box}.scrollLeft + {box}.clientWidth > {box}.scrollWidth - 8")
            chromium.value(f"{box}.scrollLeft = 100")
            page.live.verdict(2000, verdict(True, 0.5, web=stretch(40)))
            chromium.until("line.web.end_line == 41 * 256")
            assert 60 < chromium.value(f"{box}.scrollLeft") < 140
            assert chromium.value("document.activeElement.className") == "scroll"
            # The page itself does not move sideways.
            assert chromium.value("document.documentElement.scrollWidth") <= SIZES["phone"][0]
    finally:
        fill(page.live, bundle=page.live.tree()["bundle"])


@pytest.mark.timeout(LEARNING_S + 300)
def test_the_button_learns_from_what_was_reviewed_on_a_running_line(
    patchcore: Bundle, tmp_path: Path
) -> None:
    store, archive = tmp_path / "store", reviewed(tmp_path / "archive", 8, 1)
    store.mkdir()
    shutil.copytree(patchcore.folder, store / patchcore.folder.name)
    (store / "current").symlink_to(patchcore.folder.name)
    reviews = Reviews(archive)
    for number in range(1, 9):
        reviews.say(number, "good", "jana")
    toml = line_toml(
        tmp_path,
        store,
        page="port = 0",
        archive=f'folder = "{archive}", min_free_bytes = 0, ok_every = 0',
        camera='kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 5',
        trigger='mode = "free", budget_ms = 4000, max_in_flight = 8',
    )
    with RunningLine(toml) as line, browser.Browser(browser.find() or "") as chromium:
        chromium.visit(f"{line.page()}/#review")
        # A page that opens before it is told what judges has nothing to learn for yet.
        chromium.until(f"{READY.format('review')} && line.bundle")
        chromium.value(
            "document.getElementById('learn_reason').value = 'a new loom';"
            "document.getElementById('learn').requestSubmit()"
        )
        # It learns at the lowest priority: beside other work that takes minutes.
        deadline = time.monotonic() + LEARNING_S
        step, trouble = "line.change.step", "document.getElementById('trouble').innerText"
        while chromium.value(step) not in ("active", "refused") and time.monotonic() < deadline:
            assert not chromium.value(trouble), chromium.value(trouble)
            line.listen(0.2)
        assert chromium.value(step) == "active", chromium.value("line.change.detail")
        chromium.until("document.getElementById('learnt').innerText.includes('in force')")
        learnt = line.until(lambda m: m.get("type") == "verdict" and m["bundle"] != patchcore.label)
    made = read_bundle(store / "-".join(learnt["bundle"].rsplit("@", 1)))
    assert made.manifest.update is not None
    assert len(made.manifest.update.frames) == 8


def test_health_says_what_has_drifted_in_the_readers_words(page: Served, patchcore: Bundle) -> None:
    told = counts(patchcore.label)
    try:
        with browser.Browser(browser.find() or "") as chromium:
            opened(page, "health", chromium)
            sentence = "document.getElementById('drift_told').innerText"
            chromium.until(f"{sentence}.startsWith('Nothing is watched')")
            # While nothing judges, nobody is told to compile.
            page.live.counts(structs.replace(told, state="preoperational"))
            chromium.until(f"{sentence}.startsWith('Not known')")
            drift = DriftFacts("dirt", {"lamp": 0.1, "dirt": 0.9}, 300)
            page.live.counts(structs.replace(told, drift=drift))
            chromium.until(f"{sentence}.startsWith('There is dirt on lens')")
            cells = "[...document.querySelectorAll('#drift td')].map(e => e.innerText)"
            assert chromium.value(cells) == ["Light", "10%", "Dirt on lens or sensor", "90%"]
    finally:
        page.live.counts(told)
