"""A bundle told of frames that it falsely rejected: learnt, gated, and its history written down."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import web_lines
from bundles import HEIGHT, SEED, WIDTH
from kenpin.camera.files.images import write_png
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.config.drift import DriftSpec
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.manifest import BundleError, canonical
from kenpin.runtime.bundles.signature import make_key, sign
from kenpin.runtime.drift.reference import Reference
from kenpin.runtime.drift.watch import DriftCause, DriftWatch
from kenpin.runtime.judging.coreset import covering_radius, farthest_first
from kenpin.runtime.judging.gaussian_sums import GaussianSums
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.learning.challenge import Known
from kenpin.runtime.learning.learner import CannotLearnError
from kenpin.runtime.learning.padim import learn_padim
from kenpin.runtime.learning.update import Updated, update
from kenpin.runtime.selftest import open_tested
from kenpin.runtime.service.cli import main as edge_run
from kenpin.runtime.service.lessons import lessons_in
from kenpin.runtime.service.reviews import Reviews
from kenpin.runtime.web.pipeline import open_pipeline
from page_server import counts, served

WEB = SyntheticWeb(HEIGHT, WIDTH, SEED)


def streaked(
    number: int, height: int = HEIGHT, width: int = WIDTH, levels: int = 16
) -> NDArray[np.uint8]:
    """Good cloth of another loom: narrow pale stripes along it, nowhere in the good images."""
    web = WEB if (height, width) == (HEIGHT, WIDTH) else SyntheticWeb(height, width, SEED)
    wave = levels * np.clip(np.sin(np.arange(width) / 3.0) * 3, 0, 1)
    lifted = web.frame(500 + number).pixels.astype(np.int32) + wave.astype(np.int32)
    return np.clip(lifted, 0, 255).astype(np.uint8)


def spotted(number: int) -> NDArray[np.uint8]:
    pixels = WEB.frame(800 + number).pixels.copy()
    pixels[40:64, 200:224] = 255
    return pixels


def known(name: str, pixels: NDArray[np.uint8], *, bad: bool, **more: Any) -> Known:
    sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Known(name, sha256, bad, pixels.copy, by="jana", **more)


def lessons(count: int = 8) -> list[Known]:
    return [known(f"{n}.png", streaked(n), bad=False) for n in range(count)]


def scores(bundle: Bundle, frames: Sequence[NDArray[np.uint8]]) -> list[float]:
    pipeline = open_tested(bundle)
    found = [pipeline.judge_single(Frame(one.copy(), 0, 0)).verdict.score for one in frames]
    assert None not in found
    return [one for one in found if one is not None]


def updated(bundle: Bundle, store: Path, known_ones: Sequence[Known] = (), **more: Any) -> Updated:
    return update(bundle, more.pop("lessons", lessons()), known_ones, store, **more)


@pytest.fixture(scope="module")
def learnt(patchcore: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Updated:
    found = updated(
        patchcore, tmp_path_factory.mktemp("learnt"), [known("hole", spotted(0), bad=True)]
    )
    assert found.refused == []
    return found


def test_what_was_falsely_rejected_is_learnt_and_defects_are_still_found(
    patchcore: Bundle, learnt: Updated
) -> None:
    assert learnt.bundle is not None
    unseen = [streaked(100 + n) for n in range(4)]
    limit = patchcore.manifest.threshold.ok
    assert min(scores(patchcore, unseen)) > limit
    assert max(scores(learnt.bundle, unseen)) < min(scores(patchcore, unseen)) / 1.2
    assert max(scores(learnt.bundle, unseen)) <= learnt.threshold.ok
    assert scores(learnt.bundle, [spotted(1)])[0] > learnt.threshold.ok


def test_the_network_is_the_same_and_the_manifest_says_where_it_came_from(
    patchcore: Bundle, learnt: Updated
) -> None:
    assert learnt.bundle is not None
    fresh = read_bundle(learnt.bundle.folder)
    record = fresh.manifest.update
    assert record is not None
    assert record.bases == [patchcore.label]
    assert record.base_sha256 == patchcore.sha256
    assert [one.name for one in record.frames] == [f"{n}.png" for n in range(8)]
    assert {one.by for one in record.frames} == {"jana"}
    assert record.compiled_rows == patchcore.arrays["bank"].shape[1]
    assert record.challenge.found[0] <= record.challenge.found[1]
    same = {"features.xml", "features.bin", "centre.npy"}
    assert {n: fresh.manifest.files[n] for n in same} == {
        n: patchcore.manifest.files[n] for n in same
    }
    open_tested(fresh)  # its golden frames score what it says


def test_what_was_learnt_is_no_drift_any_more(patchcore: Bundle, learnt: Updated) -> None:
    assert learnt.bundle is not None
    frames = [streaked(number) for number in range(8)]

    def told(bundle: Bundle) -> DriftCause | None:
        reference = Reference.of(bundle)
        assert reference is not None
        watch = DriftWatch(reference, DriftSpec(window=40, alarms_per_look=0.01), None)
        pipeline = open_pipeline(
            bundle, execution=Execution(overhear=watch.features), oversee=watch.pixels
        )
        with watch.looking():
            for number in range(40):
                pipeline.judge(Frame(frames[number % 8], 0, number))
        return watch.standing().cause

    assert told(patchcore) is not None
    assert told(read_bundle(learnt.bundle.folder)) is None


def test_rows_join_the_bank_as_the_coreset_was_chosen(patchcore: Bundle, learnt: Updated) -> None:
    assert learnt.bundle is not None
    old, new = patchcore.arrays["bank"][0], learnt.bundle.arrays["bank"][0]
    np.testing.assert_array_equal(new[: len(old)], old)
    assert len(old) < len(new) <= 1.2 * len(old)
    radius = covering_radius(np.array(old))
    for number in range(len(old), len(new)):
        gap = np.linalg.norm(new[:number] - new[number], axis=1).min()
        assert gap >= radius * 0.999


def test_what_was_learnt_is_not_learnt_again(learnt: Updated, tmp_path: Path) -> None:
    assert learnt.bundle is not None
    with pytest.raises(CannotLearnError, match="learnt from all of them already"):
        updated(learnt.bundle, tmp_path)


def test_a_defect_that_was_learnt_as_good_is_named_with_the_way_back(
    patchcore: Bundle, learnt: Updated, tmp_path: Path
) -> None:
    """Judged with what it learnt, it would be an OK for ever, and no challenge would miss it."""
    assert learnt.bundle is not None
    mistaken = known("reviewed twice", streaked(3), bad=True)
    with pytest.raises(CannotLearnError, match=f"reviewed twice.* go back to {patchcore.label},"):
        updated(learnt.bundle, tmp_path, [mistaken], lessons=[known("n", streaked(90), bad=False)])
    # Learnt two updates ago, of which only its name is left.
    hashed = [replace(one, name=f"good/{one.sha256[:8]}-{one.sha256[:8]}") for one in lessons()]
    first = updated(patchcore, tmp_path, lessons=hashed)
    assert first.bundle is not None
    more = [known(f"n{n}", streaked(100 + n), bad=False) for n in range(8)]
    second = updated(first.bundle, tmp_path, lessons=more)
    assert second.bundle is not None
    with pytest.raises(CannotLearnError, match=f"go back to {patchcore.label},"):
        updated(second.bundle, tmp_path, [mistaken], lessons=lessons(9)[8:])


def test_a_chain_of_updates_is_written_down_and_the_bank_stops_growing(
    patchcore: Bundle, learnt: Updated, tmp_path: Path
) -> None:
    assert learnt.bundle is not None
    again = updated(learnt.bundle, tmp_path, lessons=[known("new", streaked(50), bad=False)])
    assert again.record.bases == [patchcore.label, learnt.bundle.label]
    assert again.record.compiled_rows == patchcore.arrays["bank"].shape[1]
    full = replace(
        learnt.bundle,
        manifest=learnt.bundle.manifest.model_copy(
            update={"update": learnt.record.model_copy(update={"compiled_rows": 200})}
        ),
    )
    with pytest.raises(CannotLearnError, match="may not grow further"):
        updated(full, tmp_path, lessons=[known("new", streaked(50), bad=False)])


def test_an_update_that_loses_a_known_defect_is_refused_and_says_which(
    patchcore: Bundle, tmp_path: Path
) -> None:
    """Whoever calls a defect good teaches it, and the defect that is known speaks against it."""
    wrong = [known(f"{n}.png", spotted(n), bad=False) for n in range(6)]
    found = updated(patchcore, tmp_path, [known("hole-7", spotted(30), bad=True)], lessons=wrong)
    assert found.bundle is None
    assert any("hole-7" in why and "no longer found" in why for why in found.refused)
    assert list(tmp_path.glob("small-*")) == []
    assert list(tmp_path.iterdir()) == []  # no scratch, no half a bundle


@pytest.mark.thorough
def test_padim_is_told_of_more_patches(padim: Bundle, tmp_path: Path) -> None:
    found = updated(padim, tmp_path)
    assert found.bundle is not None, found.refused
    unseen = [streaked(100 + n) for n in range(3)]
    assert max(scores(found.bundle, unseen)) < min(scores(padim, unseen))
    support = found.bundle.arrays["support"][0] - padim.arrays["support"][0]
    assert support == found.record.added > 0


@pytest.mark.thorough
def test_a_web_learns_from_its_blocks(web_bundle: Bundle, tmp_path: Path) -> None:
    width = web_lines.WIDTH
    blocks = [known(f"{n}.png", streaked(n, 200, width, 6), bad=False) for n in range(4)]
    hole = web_lines.spoiled(web_lines.some_web(200), (90, 60, 30, 30))
    found = updated(web_bundle, tmp_path, [known("hole", hole, bad=True)], lessons=blocks)
    assert found.bundle is not None, found.refused
    unseen = [streaked(60, 200, width, 6)]
    assert scores(found.bundle, unseen)[0] < scores(web_bundle, unseen)[0]
    assert found.record.challenge.found == (found.record.challenge.found[0],) * 2


def test_a_web_frame_that_cannot_be_judged_teaches_nothing(
    web_bundle: Bundle, tmp_path: Path
) -> None:
    width = web_lines.WIDTH
    good = [known(f"{n}.png", streaked(n, 200, width, 6), bad=False) for n in range(2)]
    dark = known("dark.png", np.full((200, width), 2, np.uint8), bad=False)
    alone = updated(web_bundle, tmp_path / "alone", lessons=good)
    beside = updated(web_bundle, tmp_path / "beside", lessons=[good[0], dark, good[1]])
    assert [one.partition(":")[0] for one in beside.unjudged] == ["dark.png"]
    assert beside.frames == alone.frames
    assert beside.record.added == alone.record.added > 0
    assert beside.threshold == alone.threshold
    assert alone.bundle is not None
    assert beside.bundle is not None
    assert beside.bundle.manifest.drift == alone.bundle.manifest.drift
    for name, array in alone.bundle.arrays.items():
        np.testing.assert_array_equal(beside.bundle.arrays[name], array)


def test_rows_of_a_web_that_fail_their_check_are_heard_by_nobody(web_bundle: Bundle) -> None:
    heard: list[int] = []

    def rows_heard(pixels: NDArray[np.uint8]) -> int:
        heard.clear()
        pipeline = open_pipeline(
            web_bundle, execution=Execution(overhear=lambda found, _: heard.append(len(found)))
        )
        frame = Frame(pixels, time.monotonic_ns(), 0, "block")
        verdict = pipeline.judge_single(frame).verdict
        assert verdict.score is not None
        return len(heard)

    core = TileGrid.of(web_bundle.manifest.frame, web_bundle.manifest.tiles).core
    web = web_lines.some_web(4 * core)
    dark = web.copy()
    dark[core : 2 * core] = 2
    assert rows_heard(dark) == rows_heard(web) - 1


def test_a_padim_bundle_from_before_says_why_it_cannot(padim: Bundle, tmp_path: Path) -> None:
    arrays = {name: array for name, array in padim.arrays.items() if name != "support"}
    grid = TileGrid.of(padim.manifest.frame, padim.manifest.tiles)
    with pytest.raises(CannotLearnError, match="compile it again"):
        learn_padim(replace(padim, arrays=arrays), grid, tmp_path)


def test_sums_come_back_from_what_they_became() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(3, 60, 8)).astype(np.float32) for _ in range(2))
    whole = GaussianSums(3, 8)
    whole.add(first)
    mean, white = whole.mean().astype(np.float32), whole.whitening(0, 3, 0.01).astype(np.float32)
    back = GaussianSums.of(mean, white, 0.01, 60)
    for sums in (whole, back):
        sums.add(second)
    np.testing.assert_allclose(back.mean(), whole.mean(), atol=1e-6)
    np.testing.assert_allclose(back.covariance(0, 3), whole.covariance(0, 3), atol=2e-5)


def test_the_radius_is_what_a_greedy_choice_left_uncovered() -> None:
    points = np.random.default_rng(1).normal(size=(400, 6)).astype(np.float32)
    gap = np.square(points - points[0]).sum(axis=1)
    bank = points[np.concatenate([[0], farthest_first(points, gap, 0.0, 60)])]
    left = np.sqrt(((points[:, None] - bank[None]) ** 2).sum(axis=2)).min(axis=1).max()
    assert left <= covering_radius(bank) < 1.3 * left


@pytest.mark.thorough
def test_a_bundle_that_was_altered_meanwhile_is_not_copied(
    patchcore: Bundle, tmp_path: Path
) -> None:
    own = read_bundle(Path(shutil.copytree(patchcore.folder, tmp_path / patchcore.folder.name)))
    data = bytearray((own.folder / "centre.npy").read_bytes())
    data[-1] ^= 1
    (own.folder / "centre.npy").write_bytes(data)
    with pytest.raises(Exception, match="centre\\.npy does not have the recorded"):
        updated(own, tmp_path / "store")


# -- on a line ----------------------------------------------------------------------------


def reviewed(folder: Path, good: int, defects: int) -> Path:
    """An archive whose frames somebody has looked at."""
    for number in range(1, good + defects + 1):
        stem = folder / "ng" / "000000000" / f"{number:012d}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_png(stem.with_suffix(".png"), streaked(number) if number <= good else spotted(number))
        stem.with_suffix(".json").write_text(json.dumps({"image": {"shape": [HEIGHT, WIDTH]}}))
    return folder


def line_with(folder: Path, patchcore: Bundle) -> Path:
    store = folder / "store"
    shutil.copytree(patchcore.folder, store / patchcore.folder.name)
    (store / "current").symlink_to(patchcore.folder.name)
    archive = reviewed(folder / "archive", 8, 1)
    reviews = Reviews(archive)
    for number in range(1, 9):
        reviews.say(number, "good", "jana")
    reviews.say(9, "defect", "otto", "spot", (0.6, 0.25, 0.75, 0.55))
    toml = folder / "line.toml"
    toml.write_text(
        f'name = "web-1"\nbox = "b"\nbundles = "{store}"\narchive = {{ folder = "{archive}" }}\n'
        "trigger = { budget_ms = 60 }\n"
        'camera = { kind = "synthetic", height_px = 128, width_px = 320, seed = 3, rate_hz = 25 }\n'
    )
    return toml


def test_reviewed_frames_are_kept_when_the_archive_lets_them_go(
    patchcore: Bundle, tmp_path: Path
) -> None:
    line_with(tmp_path, patchcore)
    archive = tmp_path / "archive"
    shutil.rmtree(archive / "ng")
    found = lessons_in(archive, patchcore.manifest.name)
    assert len(found.wrong) == 8
    assert {one.by for one in found.wrong} == {"jana"}
    (defect,) = found.known
    assert (defect.bad, defect.by, defect.region) == (True, "otto", (0.6, 0.25, 0.75, 0.55))
    np.testing.assert_array_equal(defect.load(), spotted(9))


def test_a_frame_that_is_judged_anew_is_kept_as_what_it_is_now(
    patchcore: Bundle, tmp_path: Path
) -> None:
    line_with(tmp_path, patchcore)
    Reviews(tmp_path / "archive").say(3, "defect", "otto", "band")
    found = lessons_in(tmp_path / "archive", patchcore.manifest.name)
    assert (len(found.wrong), len(found.known)) == (7, 2)


@pytest.mark.thorough
def test_the_command_learns_switches_and_is_logged_and_rollback_takes_it_back(
    patchcore: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = line_with(tmp_path, patchcore)
    assert edge_run(["bundles", "update", str(toml), "--why", "a new loom"]) == 0
    assert "learnt from 8 frames" in capsys.readouterr().out
    current = (tmp_path / "store" / "current").resolve().name
    assert current != patchcore.folder.name
    entries = [json.loads(x) for x in (tmp_path / "store/audit.jsonl").read_text().splitlines()]
    assert [(one["what"], one["item"]) for one in entries] == [
        ("bundle", "web-1: learnt"),
        ("bundle", "current"),
    ]
    assert entries[0]["after"]["bundle"] == current
    assert len(entries[0]["after"]["learnt"]) == 8
    assert edge_run(["bundles", "rollback", str(toml)]) == 0
    assert (tmp_path / "store" / "current").resolve().name == patchcore.folder.name


@pytest.mark.thorough
def test_the_page_logs_reviews_learns_beside_itself_and_asks_for_the_bundle(
    patchcore: Bundle, tmp_path: Path
) -> None:
    line_with(tmp_path, patchcore)
    with served(tmp_path, tmp_path / "store", archive=str(tmp_path / "archive")) as page:
        page.live.counts(counts(patchcore.label))
        page.visit()
        said = {"number": 9, "says": "defect", "word": "hole", "region": None}
        assert page.ask("/api/review", said)[0] == 200
        assert page.ask("/api/learn", {"of": patchcore.label, "why": "a new loom"})[0] == 200
        # One change at a time.
        assert page.ask("/api/learn", {"of": patchcore.label, "why": "a new loom"})[0] == 409
        deadline = time.monotonic() + 120
        while page.changes.state["step"] == "learning" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert page.changes.state["step"] == "preparing", page.changes.state
    (made,) = page.wanted
    assert read_bundle(tmp_path / "store" / made).manifest.update is not None
    review, learnt = [json.loads(x) for x in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert (review["what"], review["item"]) == ("review", "web-1: frame 9")
    assert (review["before"]["word"], review["after"]["word"]) == ("spot", "hole")
    assert (learnt["what"], learnt["why"]) == ("bundle", "a new loom")
    assert learnt["after"]["bundle"] == made


@pytest.mark.thorough
def test_where_bundles_are_signed_what_was_learnt_waits_for_a_signature(
    patchcore: Bundle, tmp_path: Path
) -> None:
    line_with(tmp_path, patchcore)
    store, keys, private = tmp_path / "store", tmp_path / "keys", tmp_path / "plant.pem"
    keys.mkdir()
    shutil.copy(make_key(private), keys)
    sign(store / patchcore.folder.name, canonical(patchcore.manifest), private)
    archive = str(tmp_path / "archive")
    with served(tmp_path, store, archive=archive, trust=keys) as page:
        page.live.counts(counts(patchcore.label))
        page.visit()
        assert page.ask("/api/learn", {"of": patchcore.label, "why": "a new loom"})[0] == 200
        deadline = time.monotonic() + 120
        while page.changes.state["step"] == "learning" and time.monotonic() < deadline:
            time.sleep(0.05)
        told = page.changes.state
        assert told["step"] == "proposed", told
        # Nothing is asked of the line, and nothing is in its store.
        assert page.wanted == []
        assert sorted(item.name for item in store.iterdir()) == ["current", patchcore.folder.name]
        # Another change may follow.
        assert (
            page.ask("/api/threshold", {"ok": 9.0, "of": patchcore.label, "why": "meanwhile"})[0]
            == 200
        )
    proposal = tmp_path / "proposals" / told["bundle"]
    with pytest.raises(BundleError, match="sign"):
        read_bundle(proposal, keys)
    sign(proposal, canonical(read_bundle(proposal).manifest), private)
    assert read_bundle(proposal, keys).manifest.update is not None
    learnt, _ = [json.loads(x) for x in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert (learnt["what"], learnt["after"]["bundle"]) == ("bundle", told["bundle"])
