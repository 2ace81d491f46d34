"""`import kenpin` judges an image in three lines, without torch, and leaves arrays alone."""

from __future__ import annotations

import doctest
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import kenpin
from bundles import SEED, Workshop, with_patch
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile import offline
from kenpin.config.recipe import load_recipe
from kenpin.runtime import inspector as inspector_module
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import canonical, content_hash
from kenpin.runtime.web.pipeline import WebPipeline
from lying_line import LyingLine
from running_line import PATIENCE_S
from web_lines import some_web, spoiled

DOCS = Path(__file__).parents[1] / "docs"

ALONE = """
import json, sys
before = set(sys.modules)
import kenpin
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
loaded = sorted(loaded - sys.stdlib_module_names)

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "nncf"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTorch())
import numpy as np
verdict = kenpin.load(sys.argv[1]).judge(np.zeros((128, 320), np.uint8))
try:
    kenpin.build("recipe.toml", "bundles")
except ImportError as error:
    refusal = str(error)
print(json.dumps([loaded, verdict.reason.value, refusal]))
"""


@pytest.fixture(scope="module")
def inspector(patchcore: Bundle) -> kenpin.Inspector:
    return kenpin.load(patchcore.folder)


@pytest.fixture(scope="module")
def good() -> np.ndarray:
    return SyntheticWeb(128, 320, SEED).frame(40).pixels.copy()


def test_the_examples_in_the_documentation_are_true(
    patchcore: Bundle, web_bundle: Bundle, good: np.ndarray, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "current").symlink_to(patchcore.folder)
    (tmp_path / "bundles" / "web").symlink_to(web_bundle.folder)
    cv2.imwrite("part.png", with_patch(good))
    names = {"image": with_patch(good), "blocks": np.split(some_web(288), 3)}
    told = doctest.testfile(str(DOCS / "python.md"), module_relative=False, globs=dict(names))
    assert told.attempted > 10
    assert told.failed == 0
    told = doctest.testmod(inspector_module)
    assert told.attempted > 3
    assert told.failed == 0


class RealLine(LyingLine):
    """One whose verdicts are not simulated."""

    def _verdict(self, *about: object) -> dict[str, object]:
        return super()._verdict(*about) | {"sim": False}


@pytest.mark.parametrize(("line", "passed"), [(LyingLine, False), (RealLine, True)])
def test_the_example_of_a_client_passes_a_part_for_a_line_that_is_no_simulation(
    tmp_path: Path, line: type[LyingLine], passed: bool
) -> None:
    examples = doctest.DocTestParser().get_examples((DOCS / "python.md").read_text())
    (source,) = [one.source for one in examples if "def passes" in one.source]
    names = {name: getattr(kenpin, name) for name in ("LineSilentError", "RefusedError")}
    with line(tmp_path) as running:
        names["LineClient"] = lambda *_: kenpin.LineClient(running.ctl, running.pub)
        exec(source.replace("timeout_s=1)", f"timeout_s={PATIENCE_S})"), names)
        assert names["passes"]("part-4711") is passed


def test_the_example_of_the_readme_judges(
    patchcore: Bundle, good: np.ndarray, tmp_path: Path, monkeypatch, capsys
) -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "current").symlink_to(patchcore.folder)
    names = {"image": with_patch(good)}
    exec(code, names)
    verdict = names["verdict"]
    assert (verdict.ok, verdict.reason, len(verdict.defects)) == (False, kenpin.Reason.DEFECT, 1)
    assert capsys.readouterr().out.startswith(f"False {verdict.reason} {verdict.score} (Defect(")


@pytest.mark.thorough
def test_the_example_of_a_build_is_true(workshop: Workshop, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(workshop.recipe, "recipe.toml")
    told = doctest.testmod(offline)
    assert told.attempted == 3
    assert told.failed == 0


@pytest.fixture(scope="module")
def alone(patchcore: Bundle) -> list:
    """What a fresh interpreter says in which torch cannot be imported."""
    command = [sys.executable, "-c", ALONE, str(patchcore.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_kenpin_imports_nothing_else_before_it_is_used(alone: list) -> None:
    assert alone[0] == ["kenpin"]


def test_judging_needs_no_torch_and_compiling_says_that_it_does(alone: list) -> None:
    assert alone[1] == "image_quality"
    assert alone[2] == (
        "compiling needs torch, which is not installed; pip install 'kenpin[compile]'"
    )


def test_every_public_name_is_there_and_no_other() -> None:
    for name in kenpin.__all__:
        assert getattr(kenpin, name) is not None
    assert set(kenpin.__all__) <= set(dir(kenpin))
    with pytest.raises(AttributeError, match="module 'kenpin' has no attribute 'lod'"):
        kenpin.lod  # noqa: B018
    assert sys.modules["kenpin.compile"] is kenpin.compile


def test_the_callers_array_is_neither_frozen_nor_kept(
    inspector: kenpin.Inspector, good: np.ndarray
) -> None:
    image = good.copy()
    first = inspector.judge(image, name="left.png")
    assert first.ok
    assert first.frame_name == "left.png"
    values = first.score_map.values.copy()
    image[50:70, 100:120] = 255
    second = inspector.judge(image)
    assert not second.ok
    np.testing.assert_array_equal(first.score_map.values, values)
    with pytest.raises(ValueError, match="read-only"):
        first.score_map.values[0, 0] = 1
    with pytest.raises(AttributeError, match="cannot assign to field 'outcome'"):
        second.outcome = kenpin.Outcome.OK


def test_what_the_line_would_refuse_is_refused_with_the_same_reason(
    inspector: kenpin.Inspector, good: np.ndarray
) -> None:
    for image, reason in (
        (good[:, :100], "recipe_mismatch"),
        (good.astype(np.float32), "recipe_mismatch"),
        (np.stack([good] * 3, axis=2), "recipe_mismatch"),
        (np.zeros_like(good), "image_quality"),
    ):
        assert inspector.judge(image).reason.value == reason


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ([[1, 2]], TypeError, "a list, expected a numpy array"),
        (np.zeros(8, np.uint8), ValueError, r"shape \(8,\), expected \(H, W\) or"),
        (np.zeros((0, 320), np.uint8), ValueError, r"shape \(0, 320\), expected"),
    ],
)
def test_what_is_no_image_is_an_error_of_the_caller(
    inspector: kenpin.Inspector, image, error, message: str
) -> None:
    with pytest.raises(error, match=message):
        inspector.judge(image)


def test_a_web_is_judged_as_the_line_judges_it_and_two_webs_do_not_mix(web_bundle: Bundle) -> None:
    inspector = kenpin.load(web_bundle.folder)
    pipeline = WebPipeline(web_bundle)
    lines = spoiled(some_web(384), (100, 60, 10, 10))
    mine, other = inspector.web(), inspector.web()
    for number, block in enumerate(np.split(lines, 3)):
        last = number == 2
        expected = pipeline.judge(Frame(block.copy(), 0, number), last=last).verdict
        other.judge(block[::-1])
        found = mine.judge(block, last=last)
        assert (found.score, found.outcome, found.web) == (
            expected.score,
            expected.outcome,
            expected.web,
        )


def test_a_web_of_which_no_block_was_the_last_is_ended_by_finish(web_bundle: Bundle) -> None:
    inspector = kenpin.load(web_bundle.folder)
    lines = spoiled(some_web(384), (300, 60, 10, 10))
    told, asked = inspector.web(), inspector.web()
    assert asked.finish() is None
    blocks = np.split(lines, 3)
    whole = [told.judge(block, last=number == 2) for number, block in enumerate(blocks)]
    found = [asked.judge(block) for block in blocks]
    last = asked.finish()
    assert last is not None
    assert last.web.end_line == whole[-1].web.end_line == 384
    assert last.web.first_line == found[-1].web.end_line
    assert max(one.score for one in (*found, last)) == max(one.score for one in whole)
    # Another web begins at its own first line.
    assert asked.judge(blocks[0]).web == found[0].web


def test_a_bundle_for_parts_has_no_web(inspector: kenpin.Inspector) -> None:
    with pytest.raises(kenpin.BundleError, match="its frames show parts; give each to `judge`"):
        inspector.web()


def test_a_bundle_whose_golden_frames_score_otherwise_here_is_not_loaded(
    patchcore: Bundle, tmp_path: Path
) -> None:
    golden = [g.model_copy(update={"score": 2 * g.score}) for g in patchcore.manifest.golden]
    raw = canonical(patchcore.manifest.model_copy(update={"golden": golden}))
    folder = tmp_path / f"small-{content_hash(raw)[:12]}"
    shutil.copytree(patchcore.folder, folder)
    (folder / "manifest.json").write_bytes(raw)
    with pytest.raises(kenpin.BundleError, match=r"golden/good-0\.png scores"):
        kenpin.load(folder)


def test_a_recipe_is_a_file_with_changes_or_a_recipe_without(workshop: Workshop) -> None:
    """That it compiles, all tests of bundles say: `Workshop.build` is `kenpin.build`."""
    with pytest.raises(TypeError, match="changes are of a recipe file's settings"):
        kenpin.build(load_recipe(workshop.recipe), "bundles", changes=["tiles.size_px=256"])
    with pytest.raises(kenpin.ConfigError, match=r"nowhere\.toml: cannot be read"):
        kenpin.build("nowhere.toml", "bundles")


ENDING = """
import sys, threading
import cv2, numpy as np
import kenpin
inspector = kenpin.load(sys.argv[1], threads=2)
frame = cv2.imread(sys.argv[2], cv2.IMREAD_GRAYSCALE)
score, judging = inspector.judge(frame).score, threading.Event()
def judge_on():
    main = threading.main_thread()
    while sys.argv[3] == "daemon" or main.is_alive():
        inspector.judge(frame)
        judging.set()
    for _ in range(5):
        verdict = inspector.judge(frame)
        print(verdict.reason, verdict.score == score)
threading.Thread(target=judge_on, daemon=sys.argv[3] == "daemon").start()
judging.wait()
"""


def ended(bundle: Bundle, frame: Path, kind: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ENDING, str(bundle.folder), str(frame), kind],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_thread_that_outlives_the_main_one_judges_as_before(
    patchcore: Bundle, good: np.ndarray, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), good)
    done = ended(patchcore, tmp_path / "good.png", "thread")
    assert done.stdout.splitlines() == ["None True"] * 5, done.stderr
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_ends_in_order_while_a_daemon_thread_judges(
    patchcore: Bundle, good: np.ndarray, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), good)
    for _ in range(3):
        done = ended(patchcore, tmp_path / "good.png", "daemon")
        assert (done.returncode, done.stderr) == (0, "")


def test_a_fork_is_told_to_load_the_bundle_itself(
    inspector: kenpin.Inspector, good: np.ndarray
) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            inspector.judge(good)
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        assert select.select([reader], [], [], 60)[0], "it hangs"
        assert b"load it after the fork" in os.read(reader, 4096)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
