"""A web under the service: every line covered once, whatever happens to the inspection."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kenpin.camera.files.images import write_png
from kenpin.config.exits import Exit
from kenpin.processes.channel import Channel
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.verdict import Cause, Gap, WebFindings, WebGate
from kenpin.runtime.service.cli import main as edge_run
from kenpin.runtime.service.inspection.messages import (
    AT_ONCE,
    AlsoFound,
    FromInspection,
    Judged,
    ToInspection,
)
from kenpin.runtime.service.web_lines import WebLines
from kenpin.runtime.wire.map_encoding import Encoding, decode, encode
from kenpin.runtime.wire.verdict_messages import VerdictMessage
from kenpin.runtime.wire.web_limits import MOST_GATES, fewer_gates, fitted, with_open
from kenpin.runtime.wire.web_messages import web_part
from running_line import EDGE_RUN, PATIENCE_S, RunningLine, line_toml
from web_lines import SEED, WIDTH, cut, some_web, spoiled
from wire_samples import NG_VERDICT, a_defect, everything_found, verdict_message

pytestmark = pytest.mark.clock

CAMERA = f'kind = "synthetic", height_px = 100, width_px = {WIDTH}, seed = {SEED}, rate_hz = 25'
LANES = (
    "along = { line_pitch_mm = 0.5 }, mm_per_px = 0.5, offset_to_gate_mm = 2000, lanes = ["
    '{ name = "left", left_px = 0, right_px = 72, threshold_times = 3.0 }, '
    '{ name = "right", left_px = 88, right_px = 160 }]'
)


def started(web_bundle: Bundle, tmp_path: Path, rolls: str = "") -> RunningLine:
    toml = line_toml(
        tmp_path,
        web_bundle.folder,
        camera=CAMERA,
        web=LANES,
        # What counts here is that no line is left out, however busy the machine is.
        trigger='mode = "free", budget_ms = 5000, max_in_flight = 8',
        ring="slots = 16",
        watchdog="hung_ms = 2000, kill_ms = 4000",
        rolls=f'folder = "{tmp_path}/rolls"{rolls}',
    )
    return RunningLine(toml, command=EDGE_RUN)


@pytest.fixture
def line(web_bundle: Bundle, tmp_path: Path) -> Iterator[RunningLine]:
    running = started(web_bundle, tmp_path)
    yield running
    running.close()


def covered(line: RunningLine) -> list[dict[str, Any]]:
    """The parts about the web, in time or late, which must follow each other without a hole."""
    told = [m for _, _, m in line.topics if m["type"] in ("verdict", "late")]
    parts = [m["web"] for m in told if m.get("web") is not None]
    parts.sort(key=lambda part: (part["first_line"], part["end_line"]))
    for a, b in itertools.pairwise(parts):
        assert a["end_line"] == b["first_line"], "a line is covered by no verdict, or by two"
    return parts


def judged_to(line: RunningLine, end_line: int) -> dict[str, Any]:
    """What comes about the web, in time or late, once that many of its lines have been covered.

    On a busy machine a frame may have its verdict long before: NG, as nobody could take it in.
    """
    return line.until(lambda m: (m.get("web") or {}).get("end_line", 0) >= end_line, "its lines")


def test_every_line_is_covered_once_with_its_lanes_and_millimetres(line: RunningLine) -> None:
    judged_to(line, 2500)
    parts = covered(line)
    assert parts[0]["first_line"] == 0
    assert {lane["name"] for part in parts for lane in part["lanes"]} == {"left", "right"}
    ends = [(part["end_line"], part["end_mm"]) for part in parts]
    assert all(mm == pytest.approx(lines / 2) for lines, mm in ends)
    for message in line.verdicts:
        VerdictMessage.model_validate_json(json.dumps(message))
    assert any(m["verdict"] == 1 for m in line.verdicts)


@pytest.mark.thorough
def test_lines_that_waited_in_a_dead_inspection_are_reported_and_never_ok(
    line: RunningLine,
) -> None:
    line.verdict(lambda m: m["frame"] >= 10)
    os.kill(line.child(), signal.SIGKILL)
    line.verdict(lambda m: "web" not in m)
    after = line.verdict(lambda m: "web" in m)
    judged_to(line, after["web"]["end_line"] + 1000)
    parts = covered(line)
    # Millimetres go on, and a web under way is not continued as if it began there.
    assert all(part["end_mm"] == pytest.approx(part["end_line"] / 2) for part in parts)
    assert not any(part["defects"] for part in parts)
    assert {g["cause"] for g in after["web"]["gaps"]} == {"lost", "context"}
    gaps = [gap for part in parts for gap in part["gaps"]]
    assert gaps[0]["cause"] == "lost"
    assert after["verdict"] == 2
    assert after["web"]["gaps"][0]["first_line"] == after["web"]["first_line"]
    assert sum(g["end_line"] - g["first_line"] for g in gaps if g["cause"] == "lost") >= 100


def test_rolls_start_and_stop_by_command_and_are_written_aside(
    line: RunningLine, tmp_path: Path
) -> None:
    client = line.client()
    line.verdict(lambda m: m["frame"] >= 8)
    client.say("roll_start", name="coil 7")
    assert client.of_kind("roll_ack")["running"] is True
    first = line.until(lambda m: m["type"] == "roll", "the first roll's page")
    assert Path(first["page"]).name == "roll-0001.html"
    judged_to(line, covered(line)[-1]["end_line"] + 2200)
    client.say("roll_stop")
    assert client.of_kind("roll_ack")["running"] is False
    page = Path(line.until(lambda m: m["type"] == "roll", "the page")["page"])
    assert page == tmp_path / "rolls" / "coil-7.html"
    told = [json.loads(text) for text in page.with_suffix(".jsonl").read_text().splitlines()]
    assert told[-1]["type"] == "summary"
    assert told[-1]["lines"] >= 2000
    assert told[0]["facts"]["bundle"] == line.verdicts[-1]["bundle"]
    client.say("roll_stop")
    assert "no roll is running" in client.of_kind("error")["detail"]


@pytest.mark.thorough
def test_a_roll_book_that_dies_leaves_a_hole_and_another_takes_over(
    line: RunningLine, tmp_path: Path
) -> None:
    begun = tmp_path / "rolls" / "roll-0001.jsonl"
    line.until(lambda _: begun.is_file(), "a roll that has begun")
    os.kill(line.child("kenpin-rolls"), signal.SIGKILL)
    line.until(lambda m: m["type"] == "alarm" and "kenpin-rolls ended" in m["detail"])
    other = tmp_path / "rolls" / "roll-0001-2.jsonl"
    line.until(lambda _: other.is_file(), "another roll book")
    judged_to(line, covered(line)[-1]["end_line"] + 2000)
    frames = sorted(m["frame"] for m in line.verdicts)
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    covered(line)
    # A roll with holes is complained of until it ends.
    line.client().say("roll_stop")
    line.until(lambda m: m["type"] == "alarm" and m["source"] == "rolls" and not m["active"])
    line.process.send_signal(signal.SIGTERM)
    assert line.process.wait(PATIENCE_S) == 0
    pages = sorted(path.name for path in (tmp_path / "rolls").iterdir())
    assert pages == ["roll-0001-2.html", "roll-0001-2.jsonl", "roll-0001.jsonl"]


def test_a_roll_that_a_client_began_goes_on_in_another_roll_book(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "rolls"
    with started(web_bundle, tmp_path, ", start = false") as line:
        client = line.client()
        line.verdict()
        client.say("roll_start", name="coil")
        client.of_kind("roll_ack")
        line.until(lambda _: (folder / "coil.jsonl").is_file(), "a roll that has begun")
        before = line.child("kenpin-rolls")
        os.kill(before, signal.SIGKILL)
        line.until(lambda m: m["type"] == "alarm" and m["source"] == "rolls" and m["active"])
        line.until(lambda _: (folder / "coil-2.jsonl").is_file(), "the roll goes on")
        client.say("roll_stop")
        line.until(lambda m: m["type"] == "roll")
        line.until(lambda m: m["type"] == "alarm" and m["source"] == "rolls" and not m["active"])
        assert (folder / "coil-2.html").is_file()


def test_a_web_is_judged_to_its_last_line_when_the_recording_ends(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    # Two to a frame, of which a verdict may tell one.
    spots = [(line, x, 12, 8) for line in (160, 360, 560) for x in (20, 124)]
    for i, block in enumerate(cut(spoiled(some_web(730), *spots), itertools.repeat(100))):
        write_png(tmp_path / "frames" / f"{i:03d}.png", block.copy())
    toml = line_toml(
        tmp_path,
        web_bundle.folder,
        web="defects = { most_per_frame = 1 }",
        # Over before the roll book's process has read its libraries.
        camera=f'kind = "recorded", folder = "{tmp_path}/frames", rate_hz = 20',
        ring=f"pixel_bytes = {100 * WIDTH}, slots = 16",
        # All eight may wait at once: a busy machine loses none of them.
        trigger='mode = "free", budget_ms = 20000, max_in_flight = 8',
        watchdog="hung_ms = 5000, kill_ms = 10000",
        rolls=f'folder = "{tmp_path}/rolls"',
    )
    ran = subprocess.run([*EDGE_RUN, str(toml), "--until-end"], timeout=180, check=False)
    assert ran.returncode == 0
    told = (tmp_path / "rolls" / "roll-0001.jsonl").read_text().splitlines()
    summary = json.loads(told[-1])
    assert (summary["first_line"], summary["end_line"]) == (0, 730)
    assert summary["not_inspected"] == 0
    assert summary["n_defects"] == len(spots)
    assert summary["not_on_map"] == 0, "defects beyond the verdict's did not reach the roll"


def test_check_knows_webs(web_bundle: Bundle, tmp_path: Path, capsys: Any) -> None:
    patient = 'mode = "free", budget_ms = 5000'
    toml = line_toml(tmp_path, web_bundle.folder, camera=CAMERA, web=LANES, trigger=patient)
    assert edge_run(["check", str(toml)]) == 0, capsys.readouterr().out
    recorded = f'kind = "recorded", folder = "{tmp_path}"'
    toml = line_toml(tmp_path, web_bundle.folder, camera=recorded, rolls='folder = "none"')
    assert edge_run(["check", str(toml)]) == Exit.CONFIG
    said = capsys.readouterr().out
    assert "ring.pixel_bytes: nobody says how high" in said
    assert "rolls.folder" in said


def test_whatever_is_found_fits_into_a_message() -> None:
    found = everything_found()
    told = fitted(found)
    kept = [defect.peak for defect in told.defects]
    assert kept, "not one defect is told"
    assert min(kept) > max(d.peak for d in found.defects) - len(kept)
    assert told.gaps[-1].end_line == found.gaps[-1].end_line
    assert all(lane.ng_runs[-1][1] == found.lanes[0].ng_runs[-1][1] for lane in told.lanes)
    assert {gate.lane for gate in told.gates} == {lane.name for lane in found.lanes}
    verdict = replace(NG_VERDICT, web=found)
    message = verdict_message(verdict=verdict)
    assert message.web == web_part(found)
    for encoding in Encoding:
        assert decode(encode(message, encoding), encoding) == message
    assert fitted(told) == told
    # What waits to be told to the gates takes no defect's place.
    assert told.pending == found.pending
    assert told.defects == fitted(replace(found, pending=())).defects
    # With what must outlive the inspection; and more of both than there can be.
    many = replace(found, defects=found.defects * 2, further=found.defects)
    parted = with_open(fitted(many), found.defects)
    assert parted.going_on
    assert parted.pending == found.pending
    assert not parted.further
    inspection, gateway = Channel.pair(FromInspection, ToInspection)
    for message in (
        Judged(3, replace(NG_VERDICT, web=parted)),
        AlsoFound(found.defects[:AT_ONCE]),
    ):
        assert inspection.send(message)
        assert gateway.receive() == [message]
    inspection.close()
    gateway.close()


def test_the_one_action_that_stands_for_too_many_takes_in_where_a_web_backed_up() -> None:
    """They come in the order of their lines; the web went on by 70 mm, and back by 90."""
    places = [*range(0, 70, 10), *range(60, -30, -10)]
    actions = [
        WebGate(
            name, 500.0 + mm, 502.0 + mm, per_mm * (500 + mm), per_mm * (502 + mm), 7, 7, late=False
        )
        for name, per_mm in (("a", 20), ("b", -20), ("c", 20), ("d", 20), ("e", 20))
        for mm in places
    ]
    actions[-1] = replace(actions[-1], late=True)
    told = {action.lane: action for action in fewer_gates(actions)}
    assert len(actions) > MOST_GATES >= len(told) == 5
    for name in "abcde":
        assert (told[name].from_mm, told[name].to_mm) == (480.0, 562.0)
    assert (told["a"].from_count, told["a"].to_count) == (20 * 480, 20 * 562)
    assert (told["b"].from_count, told["b"].to_count) == (-20 * 480, -20 * 562)
    assert [told[name].late for name in "de"] == [False, True]


def test_a_verdict_on_a_web_reaches_the_gateway_as_it_was() -> None:
    told = Judged(3, replace(NG_VERDICT, web=fitted(everything_found())))
    inspection, gateway = Channel.pair(FromInspection, ToInspection)
    assert inspection.send(told)
    assert gateway.receive() == [told]
    inspection.close()
    gateway.close()


def test_defects_open_when_their_inspection_dies_are_told_as_far_as_they_were_seen() -> None:
    def web(first: int, end: int, defects: Any = (), going_on: Any = ()) -> WebFindings:
        return WebFindings(
            first_line=first, end_line=end, first_mm=None, end_mm=None, lanes=(),
            defects=defects, n_defects=len(defects), gaps=(), gates=(), map_line=None,
            going_on=going_on,
        )  # fmt: skip

    lines = WebLines()
    lines.follow(web(0, 80, (a_defect(1),), (a_defect(2), a_defect(4))), 5)
    told, _ = lines.follow(web(80, 160, (a_defect(3),), (a_defect(4),)), 5)
    assert [d.number for d in told.defects] == [3], "what is followed is not told yet"
    # It dies; the next one counts from 1.
    told, _ = lines.follow(web(160, 240, (a_defect(1),), (a_defect(2),)), 9)
    assert [d.number for d in told.defects] == [4, 5]
    assert told.n_defects == 2
    assert told.going_on == ()
    # So does the last one, and the web ends with it.
    left = lines.ended()
    assert left is not None
    assert [d.number for d in left.defects] == [6]
    assert (left.first_line, left.end_line, left.gaps) == (240, 240, ())
    assert lines.ended() is None


@pytest.mark.parametrize("seed", range(20))
def test_lines_between_two_inspections_become_a_gap_and_defects_keep_their_numbers(
    seed: int,
) -> None:
    rng = random.Random(seed)
    lines, at, seen, numbers = WebLines(), 0, 0, []
    for inspection in (5, 9, 17):
        for number in range(1, rng.randrange(2, 7)):
            end = at + rng.randrange(80)
            found = WebFindings(
                first_line=at, end_line=end, first_mm=None, end_mm=None, lanes=(),
                defects=(a_defect(number),), n_defects=1, gaps=(), gates=(), map_line=None,
            )  # fmt: skip
            web, missing = lines.follow(found, inspection)
            assert web.first_line == seen
            assert bool(missing) == (at > seen) == bool(web.gaps)
            numbers.append(web.defects[0].number)
            seen = at = end
        at += rng.randrange(3) * 40
    assert numbers == list(range(1, len(numbers) + 1))


def test_lines_that_came_before_the_webs_end_and_were_never_told_of_are_a_gap() -> None:
    def web(first: int, end: int) -> WebFindings:
        return WebFindings(
            first_line=first, end_line=end, first_mm=first / 2, end_mm=end / 2, lanes=(),
            defects=(), n_defects=0, gaps=(), gates=(), map_line=None, came_line=end,
        )  # fmt: skip

    lines = WebLines()
    lines.came(0, 100)
    lines.follow(web(0, 80), 1)
    lines.came(100, 200)
    left = lines.ended()
    assert left is not None
    assert left.gaps == (Gap(80, 200, Cause.LOST),)
    assert (left.first_line, left.end_line) == (80, 200)
    assert (left.first_mm, left.end_mm) == pytest.approx((40, 100))
    # What comes is another web.
    assert lines.resume(2, 200) is None
    lines.came(200, 300)
    lines.follow(web(200, 300), 1)
    assert lines.ended() is None
