"""Rolls: where they start and end, what they come to, and a page that a browser shows."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import browser
from kenpin.camera.files.images import write_png
from kenpin.camera.frame import Capture, Frame, LostFrame
from kenpin.config.web import WebSpec
from kenpin.processes.channel import Channel
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.replay import main as edge_replay
from kenpin.runtime.service.sides.messages import (
    AddDefects,
    AddFindings,
    FromRolls,
    OpenBook,
    StartRoll,
    StopRoll,
    ToRolls,
)
from kenpin.runtime.service.sides.rolls_body import RollKeeper
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.web.roll import RollBook
from web_lines import WIDTH, cut, some_web, spoiled

SPEC = {
    "mm_per_px": 0.5,
    "along": {"line_pitch_mm": 0.5, "encoder": {"counts_per_mm": 10, "bits": 32}},
    "lanes": [
        {"name": "left", "left_px": 0, "right_px": 72},
        {"name": "right", "left_px": 88, "right_px": 160},
    ],
    "ignore": [{"left_px": 40, "right_px": 48}],
}
PERIOD, SPOTS = 330, 9


def web_with_a_damaged_roller() -> Any:
    spots = [(150 + k * PERIOD, 104, 6, 6) for k in range(SPOTS)]
    others = [(260, 10, 30, 12), (1333, 60, 12, 8), (2000, 20, 400, 4), (2950, 140, 10, 10)]
    return spoiled(some_web(3200), *spots, *others)


def play(
    bundle: Bundle,
    folder: Path,
    pixels: Any,
    *,
    height: int = 100,
    lost: int | None = None,
    commands: dict[int, str | None] | None = None,
    counts: Callable[[int], int] = lambda line: 70 + 5 * line,
    **changes: Any,
) -> tuple[list[Path], list[Any]]:
    """Judge a web frame by frame under a roll book; its pages and the findings."""
    web = WebSpec.model_validate({**SPEC, **changes})
    pipeline = WebPipeline(bundle, web=web)
    book = RollBook(folder, web, WIDTH, {"bundle": bundle.label}, lambda: "2026-01-02 03:04:05")
    commands = {0: "test"} if commands is None else commands
    pages, found = [], []
    blocks = cut(pixels, itertools.repeat(height))
    for i, block in enumerate(blocks):
        if i in commands:
            name = commands[i]
            book.stop() if name is None else book.start(name)
        capture = Capture(encoder=counts(height * i))
        frame = Frame(block.copy(), 0, i, capture=capture)
        judged = pipeline.judge(
            LostFrame(0, i, "lost", lines=len(block)) if i == lost else frame,
            last=i == len(blocks) - 1,
        )
        assert judged.verdict.web is not None
        found.append(judged.verdict.web)
        pages += book.add(judged.verdict.web)
    return pages + book.close(), found


def told(page: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in page.with_suffix(".jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def roll(web_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rolls")
    pages, _ = play(web_bundle, folder, web_with_a_damaged_roller(), lost=17)
    assert [page.name for page in pages] == ["test.html"]
    return pages[0]


def test_a_roll_is_told_line_by_line_and_summed_up(roll: Path) -> None:
    lines = told(roll)
    assert [lines[0]["type"], lines[-1]["type"]] == ["roll", "summary"]
    kinds = {line["type"] for line in lines}
    assert kinds == {"roll", "defect", "gap", "summary"}
    summary = lines[-1]
    assert (summary["lines"], summary["length"]) == (3200, pytest.approx(1600))
    final = [line for line in lines if line["type"] == "defect" and not line["open"]]
    assert summary["n_defects"] == len(final) >= SPOTS
    assert sum(sum(lane["defects_by_size"]) for lane in summary["lanes"]) == len(final)
    assert {gap["cause"] for gap in summary["gaps"]} == {"lost", "context"}
    # 100 lines lost, and the tile rows that reach into them.
    lost = sum(g["end_line"] - g["first_line"] for g in summary["gaps"])
    assert summary["not_inspected"] == pytest.approx(0.5 * lost)
    assert 100 < lost <= 100 + 4 * 64 + 64


def test_the_yield_of_a_lane_is_the_share_of_its_lines_without_a_fault(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    pages, found = play(web_bundle, tmp_path, web_with_a_damaged_roller(), lost=17)
    summary = told(pages[0])[-1]
    for k, lane in enumerate(summary["lanes"]):
        bad = np.zeros(3200, bool)
        for findings in found:
            for gap in findings.gaps:
                bad[gap.first_line : gap.end_line] = True
            for first, end in findings.lanes[k].ng_runs:
                bad[first:end] = True
        assert lane["yield"] == pytest.approx(1 - bad.mean())
    assert summary["lanes"][0]["yield"] < summary["lanes"][1]["yield"] < 1


def test_a_damaged_roller_is_found_and_its_period_named(roll: Path) -> None:
    (repeat,) = told(roll)[-1]["repeats"]
    assert repeat["period"] == pytest.approx(PERIOD / 2, abs=1)
    assert repeat["name"].startswith("every 16")
    assert repeat["found"] >= SPOTS - 3
    assert repeat["roller_mm"] == pytest.approx(PERIOD / 2 / np.pi, abs=0.5)
    assert repeat["lanes"] == ["right"]


def test_joints_of_even_pieces_are_told_apart_from_a_rollers_marks(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    joints = [(200 + 500 * k, 0, 6, WIDTH) for k in range(6)]
    marks = [(150 + k * PERIOD, 104, 6, 6) for k in range(SPOTS)]
    # One mark on a place of the joints' series, in the middle of the web as they are.
    odd = (3200 - 24, 76, 6, 8)
    (page,), _ = play(web_bundle, tmp_path, spoiled(some_web(3200), *joints, *marks, odd))
    repeats = {repeat["whole_width"]: repeat for repeat in told(page)[-1]["repeats"]}
    assert repeats[False]["period"] == pytest.approx(PERIOD / 2, abs=1)
    assert repeats[True]["period"] == pytest.approx(250, abs=1)
    assert repeats[True]["found"] == len(joints)
    assert len(told(page)[-1]["repeats"]) == 2


def test_rolls_start_and_stop_by_command(web_bundle: Bundle, tmp_path: Path) -> None:
    commands = {4: "one", 9: "two", 15: None, 20: "../th ree"}
    pages, found = play(
        web_bundle, tmp_path, web_with_a_damaged_roller(), commands=commands, ignore=[]
    )
    assert [p.name for p in pages] == ["one.html", "two.html", "th-ree.html"]
    bounds = [(told(p)[-1]["first_line"], told(p)[-1]["end_line"]) for p in pages]
    # At the line that came next, though verdicts are about lines before.
    assert bounds == [(400, 900), (900, 1500), (2000, 3200)]
    assert found[8].end_line < found[8].came_line == 900
    assert all(page.parent == tmp_path for page in pages)


@pytest.mark.parametrize("height", [100, pytest.param(1500, marks=pytest.mark.thorough)])
def test_rolls_of_a_length_end_on_the_line_wherever_frames_do(
    web_bundle: Bundle, tmp_path: Path, height: int
) -> None:
    pages, _ = play(
        web_bundle, tmp_path, web_with_a_damaged_roller(), height=height, roll={"length_mm": 515}
    )
    ends = [told(p)[-1] for p in pages]
    assert [(s["first_line"], s["end_line"]) for s in ends] == [
        (0, 1030), (1030, 2060), (2060, 3090), (3090, 3200)
    ]  # fmt: skip
    # A defect across the end belongs to the roll on which it began, and is whole there.
    (long,) = [
        line for p in pages for line in told(p)
        if line["type"] == "defect" and not line["open"] and line["end_line"] > 2380 > 2030
        and line["first_line"] < 2060
    ]  # fmt: skip
    assert long in told(pages[1])


def true_mm(line: int) -> float:
    """Half as fast from line 1,200 on; 600 to 800 mm are seen twice, for the web backs up."""
    for first, end, mm, speed in (
        (0, 1200, 0.0, 0.5), (1200, 2000, 600.0, 0.25), (2000, 2400, 800.0, -0.5),
        (2400, 3200, 600.0, 0.5),
    ):  # fmt: skip
        if line <= end:
            return mm + speed * (line - first)
    raise ValueError(f"line {line}: the web ends at 3200")


@pytest.mark.parametrize("height", [100, 400])
def test_a_defect_is_where_the_tape_measure_finds_it_and_what_is_seen_twice_counts_once(
    web_bundle: Bundle, tmp_path: Path, height: int
) -> None:
    lines = (200, 1450, 1900, 2700)
    pixels = spoiled(some_web(3200), *((line, 120, 8, 8) for line in lines))
    (page,), _ = play(
        web_bundle, tmp_path, pixels, height=height, lost=600 // height,
        counts=lambda line: 1000 + round(10 * true_mm(line)),
    )  # fmt: skip
    summary = told(page)[-1]
    data = page.read_text().split('id="data">')[1].split("</script>")[0]
    drawn = json.loads(data)["defects"]
    assert len(drawn) == len(lines)
    for line, row in zip(lines, sorted(drawn), strict=True):
        # A region reaches further than the spot, as evenly as patches of 8 lines allow.
        assert row[10] + row[11] / 2 == pytest.approx(true_mm(line + 4), abs=6)
    for defect in (line for line in told(page) if line["type"] == "defect"):
        places = [true_mm(line) for line in range(defect["first_line"], defect["end_line"] + 1)]
        first, end = defect["web_mm"], defect["web_mm"] + defect["length_mm"]
        within = defect["within_mm"] + 1e-6
        assert first - within <= min(places)
        assert max(places) <= end + within
        # Beside the first of the tall frames a count is lost, and nobody knew the next one.
        if height == 100 or defect["first_line"] > 800:
            # At its full speed the web cannot have moved otherwise between two counts; at half
            # of it, it may have run and stood still: three eighths of a frame's length.
            full = not 1200 - height < defect["first_line"] < 2000 + height
            assert within < (0.5 if full else height * 0.5 * 0.375 + 60)
    assert summary["length"] == pytest.approx(1000, abs=1)
    assert (summary["start"], summary["end"]) == pytest.approx((0, 1000), abs=1)
    assert summary["not_inspected"] < height / 2 + 200
    for lane in summary["lanes"]:
        assert lane["length"] == summary["length"]


def test_what_was_lost_and_then_seen_as_the_web_backed_up_was_inspected(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    # Lines 2000 to 2100, 750 to 800 mm.
    (page,), _ = play(
        web_bundle, tmp_path, some_web(3200), lost=20,
        counts=lambda line: 1000 + round(10 * true_mm(line)),
    )  # fmt: skip
    assert {line["cause"] for line in told(page) if line["type"] == "gap"} == {"lost", "context"}
    summary = told(page)[-1]
    assert summary["not_inspected"] == pytest.approx(0, abs=1e-3)
    assert summary["gaps"] == []
    assert [lane["yield"] for lane in summary["lanes"]] == pytest.approx([1, 1])


def test_lines_that_came_before_a_stop_and_whose_context_never_does_are_told(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    web = WebSpec.model_validate(SPEC)
    pipeline, book = WebPipeline(web_bundle, web=web), RollBook(tmp_path, web, WIDTH, {}, str)
    book.start("stood")
    for i, block in enumerate(cut(some_web(1000), itertools.repeat(100))):
        judged = pipeline.judge(Frame(block.copy(), 0, i, capture=Capture(encoder=500 * i)))
        assert judged.verdict.web is not None
        assert book.add(judged.verdict.web) == []
    covered = judged.verdict.web.end_line
    book.stop()
    assert book.waits
    (page,) = book.settle()
    assert not book.waits
    summary = told(page)[-1]
    assert (summary["first_line"], summary["end_line"]) == (0, 1000)
    assert summary["length"] == pytest.approx(500)
    assert summary["not_inspected"] == pytest.approx((1000 - covered) / 2)
    (gap,) = summary["gaps"]
    assert (gap["first_line"], gap["end_line"], gap["cause"]) == (covered, 1000, "context")
    # Were the web to go on, nothing of it would belong to the roll.
    assert book.close() == []


def test_rolls_start_and_stop_at_counts(web_bundle: Bundle, tmp_path: Path) -> None:
    pages, _ = play(
        web_bundle, tmp_path, web_with_a_damaged_roller(), commands={},
        roll={"start_count": 70 + 5 * 480, "stop_count": 70 + 5 * 2222},
    )  # fmt: skip
    (summary,) = (told(p)[-1] for p in pages)
    assert (summary["first_line"], summary["end_line"]) == (480, 2222)
    assert summary["length"] == pytest.approx(0.5 * (2222 - 480))


def test_a_roll_has_all_defects_however_tall_the_frames_and_small_the_verdicts(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    maps = []
    for height, most in ((100, 64), (1600, 2)):
        pages, found = play(
            web_bundle, tmp_path / str(height), web_with_a_damaged_roller(), height=height,
            counts=lambda line: 70 + 5 * line, defects={"most_per_frame": most},
        )  # fmt: skip
        assert max(len(web.defects) for web in found) <= most
        assert told(pages[0])[-1]["not_on_map"] == 0
        final = [d for d in told(pages[0]) if d["type"] == "defect" and not d["open"]]
        maps.append(sorted((d["first_line"], d["end_line"], d["left_px"]) for d in final))
    assert maps[0] == maps[1]
    assert len(maps[0]) > 2 * 2


def test_what_is_told_in_pieces_is_one_verdict_to_the_roll_book(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    ours, theirs = Channel.pair(ToRolls, FromRolls)
    for end in (2, 3):
        (folder := tmp_path / str(end)).mkdir()
        spec = WebSpec.model_validate({**SPEC, "defects": {"most_per_frame": 1}})
        pipeline = WebPipeline(web_bundle, web=spec)
        web = pipeline.judge(Frame(web_with_a_damaged_roller(), 0, 0), last=True).verdict.web
        assert web is not None
        keeper = RollKeeper(folder, "line", theirs)
        keeper.obey(OpenBook(spec, WIDTH, start=True))
        keeper.obey(AddFindings(replace(web, further=()), "bundle"))
        pieces = [web.further[k : k + 5] for k in range(0, len(web.further), 5)]
        # All of them; or the last was lost on the way.
        for piece in pieces if end < 3 else pieces[:-1]:
            keeper.obey(AddDefects(piece))
        keeper.settle_in_time(10.0)
        keeper.settle_in_time(20.0)
        keeper.close()
        summary = told(folder / "roll-0001.html")[-1]
        assert summary["n_defects"] == web.n_defects
        assert summary["not_on_map"] == (0 if end < 3 else len(pieces[-1]))
    assert ours.receive()
    ours.close()
    theirs.close()


def test_what_came_before_a_stop_and_is_judged_after_it_belongs_to_the_roll_that_ends(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    spec = WebSpec.model_validate(SPEC)
    pipeline = WebPipeline(web_bundle, web=spec)
    ours, theirs = Channel.pair(ToRolls, FromRolls)
    keeper = RollKeeper(tmp_path, "line", theirs)
    keeper.obey(OpenBook(spec, WIDTH, start=False))
    keeper.obey(StartRoll("ends", 0))
    web = spoiled(some_web(1000), (450, 104, 12, 12))
    for i, block in enumerate(cut(web, itertools.repeat(100))):
        frame = Frame(block.copy(), 0, i, capture=Capture(encoder=500 * i))
        found = pipeline.judge(frame, last=i == 9).verdict.web
        assert found is not None
        if i == 3:
            # By now two more frames are on their way through the inspection.
            keeper.obey(StopRoll(600))
            keeper.obey(StartRoll("begins", 600))
        keeper.obey(AddFindings(found, "bundle"))
    keeper.close()
    ends, begins = (told(tmp_path / f"{name}.html")[-1] for name in ("ends", "begins"))
    assert (ends["first_line"], ends["end_line"]) == (0, 600)
    assert (begins["first_line"], begins["end_line"]) == (600, 1000)
    assert (ends["n_defects"], begins["n_defects"]) == (1, 0)
    assert ours.receive()
    ours.close()
    theirs.close()


def test_a_roll_keeps_the_highest_defects_and_counts_the_rest(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    pages, _ = play(
        web_bundle, tmp_path, web_with_a_damaged_roller(), roll={"most_defects": 3},
        defects={"most_per_frame": 1},
    )  # fmt: skip
    whole, _ = play(web_bundle, tmp_path / "whole", web_with_a_damaged_roller())
    few, all_of_it = told(pages[0])[-1], told(whole[0])[-1]
    assert few["n_defects"] == all_of_it["n_defects"]
    assert few["not_on_map"] == few["n_defects"] - 3


def test_recorded_frames_of_a_web_are_replayed_into_a_roll_map(
    web_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, block in enumerate(cut(web_with_a_damaged_roller(), itertools.cycle([90, 7, 400]))):
        (tmp_path / "frames").mkdir(exist_ok=True)
        write_png(tmp_path / "frames" / f"{i:03d}.png", np.ascontiguousarray(block))
    command = [str(tmp_path / "frames"), "--bundle", str(web_bundle.folder)]
    assert edge_replay([*command, "--rolls", str(tmp_path / "rolls")]) == 0
    said = capsys.readouterr().out
    assert "lines [0, " in said
    assert "roll-0001.html" in said
    summary = told(tmp_path / "rolls" / "roll-0001.html")[-1]
    assert (summary["lines"], summary["unit"]) == (3200, "lines")
    assert edge_replay([*command, "--overlays", str(tmp_path / "pictures")]) == 3
    assert "use --rolls" in capsys.readouterr().err


# The page.


def test_the_page_holds_its_data_and_fetches_nothing(roll: Path) -> None:
    page = roll.read_text()
    assert "{{" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    data = page.split('id="data">')[1].split("</script>")[0]
    assert len(json.loads(data)["defects"]) == told(roll)[-1]["n_defects"]


def test_a_name_cannot_break_out_of_the_page(web_bundle: Bundle, tmp_path: Path) -> None:
    web = WebSpec()
    book = RollBook(
        tmp_path, web, WIDTH, {"line": "</script><script>alert(1)</script>"}, lambda: "now"
    )
    book.start("x")
    judged = WebPipeline(web_bundle).judge(Frame(some_web(200), 0, 0), last=True)
    assert judged.verdict.web is not None
    book.add(judged.verdict.web)
    (page,) = book.close()
    assert "alert(1)</script>" not in page.read_text()


needs_chromium = pytest.mark.skipif(
    browser.find() is None,
    reason="no Chromium on this machine: install one, or set KENPIN_CHROMIUM",
)


@pytest.mark.real
@needs_chromium
@pytest.mark.skipif(browser.axe() is None, reason=browser.NO_AXE)
@pytest.mark.parametrize("scheme", browser.SCHEMES)
@pytest.mark.parametrize("size", [(1280, 1000), (390, 844)])
def test_axe_finds_no_serious_fault_in_a_rolls_page(roll: Path, size, scheme) -> None:
    with browser.Browser(browser.find() or "", *size) as page:
        page.prefer(scheme)
        page.open(roll)
        page.until_it_fits()
        assert page.serious_faults() == {}


@pytest.mark.real
@needs_chromium
def test_a_browser_shows_the_map_and_zooms_into_it(roll: Path, tmp_path: Path) -> None:
    summary = told(roll)[-1]
    with browser.Browser(browser.find() or "") as page:
        page.open(roll)
        assert page.complaints() == []
        assert [url.split(":")[0] for url in page.requests()] == ["file"]
        assert page.value("document.title") == "Roll test"
        assert page.value("rollMap.view()") == [0, 1600]
        assert page.value("document.querySelectorAll('#list tr').length") == summary["n_defects"]
        assert "every 16" in page.value("document.getElementById('repeats').innerText")
        assert "never came" in page.value("document.getElementById('gaps').innerText")
        assert page.value("document.querySelectorAll('#lanes tr').length") == 3
        page.until_it_fits()

        # Every defect can be seen: something that is not the web is drawn where it lies.
        page.picture(tmp_path / "page.png", whole=False)
        picture = cv2.imread(str(tmp_path / "page.png"))
        assert picture is not None
        number = [line for line in told(roll) if line["type"] == "defect"][1]["number"]
        x, y = page.value(f"rollMap.at({number})")
        blue, _, red = (int(v) for v in picture[round(y), round(x)])
        assert red > blue + 60

        # The wheel zooms around the pointer, and a click chooses the defect under it.
        page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-400)
        first, end = page.value("rollMap.view()")
        assert end - first < 1600 / 2
        x, y = page.value(f"rollMap.at({number})")
        page.mouse("mouseMoved", x, y)
        assert f"defect {number}" in page.value("document.getElementById('tip').innerText")
        page.click(x, y)
        assert page.value("rollMap.chosen()") == number
        assert page.value("document.querySelectorAll('#list tr.on').length") == 1
        # Dragging moves, the button shows all again.
        page.mouse("mousePressed", x, y, button="left", clickCount=1)
        page.mouse("mouseMoved", x - 120, y, button="left", buttons=1)
        page.mouse("mouseReleased", x - 120, y, button="left", clickCount=1)
        assert page.value("rollMap.view()")[0] > first
        page.value("document.getElementById('fit').click()")
        assert page.value("rollMap.view()") == [0, 1600]
        # A row of the list is chosen by the keyboard, too, and the map goes there.
        page.value("document.querySelector('#list tr:not(.on)').focus()")
        listed = page.value("Number(document.activeElement.cells[0].innerText)")
        for kind in ("keyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter")
        assert page.value("rollMap.chosen()") == listed
        assert page.value("rollMap.view()") != [0, 1600]
        assert page.complaints() == []


@pytest.mark.real
@needs_chromium
def test_on_a_phone_two_fingers_zoom_and_everything_fits(roll: Path) -> None:
    with browser.Browser(browser.find() or "", 390, 900) as page:
        page.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
        page.open(roll)
        page.until_it_fits()
        page.value("document.getElementById('name').innerText = 'M'.repeat(80)")
        page.until_it_fits()
        hints = "[...document.querySelectorAll('em')].filter(e => e.offsetWidth)"
        assert page.value(f"{hints}.map(e => e.innerText)") == [
            "Pinch zooms, drag moves, tap on a defect finds it in the list."
        ]
        page.value("document.getElementById('map').scrollIntoView()")
        y = page.value("document.getElementById('map').getBoundingClientRect().top") + 100

        def touch(kind: str, *xs: float) -> None:
            points = [{"x": x, "y": y, "id": k} for k, x in enumerate(xs)]
            page.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

        # What was under the fingers stays under them: twice as far apart, half as much.
        touch("touchStart", 180, 240)
        touch("touchMove", 150, 270)
        touch("touchEnd")
        first, end = page.value("rollMap.view()")
        assert end - first == pytest.approx(800)
        assert 300 < first < 500
        assert page.complaints() == []


@pytest.mark.real
@needs_chromium
def test_an_empty_roll_is_shown_too(web_bundle: Bundle, tmp_path: Path) -> None:
    book = RollBook(tmp_path, WebSpec(), WIDTH, {}, lambda: "now")
    book.start("good")
    judged = WebPipeline(web_bundle).judge(Frame(some_web(300), 0, 0), last=True)
    assert judged.verdict.web is not None
    book.add(judged.verdict.web)
    with browser.Browser(browser.find() or "") as page:
        page.open(book.close()[0])
        assert page.complaints() == []
        assert "every line of the roll was judged" in page.value("document.body.innerText")


def test_findings_are_frozen(web_bundle: Bundle) -> None:
    judged = WebPipeline(web_bundle).judge(Frame(some_web(300), 0, 0), last=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        judged.verdict.web.first_line = 3  # type: ignore[misc,union-attr]
