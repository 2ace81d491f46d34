"""The commands in the places where people run them: odd names, full disks, half-read images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bundles import Workshop
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.compile.cli import main as edge_compile
from kenpin.config.exits import Exit, run
from kenpin.config.output import stays_there
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.staging import staging_folder, sweep
from kenpin.runtime.bundles.store import Store
from kenpin.runtime.replay import main as edge_replay

# A name that is no UTF-8, as a memory card of another decade brings it.
ODD_NAME = os.fsdecode(b"m\xfcll[red]:smile:.png")
AS_SHOWN = r"m\xfcll[red]:smile:.png"


@pytest.fixture
def labelled(workshop: Workshop, tmp_path: Path) -> Path:
    """A dataset of 4 good images, and 4 more that show no defect at all, saved in colour."""
    for number in range(4):
        good = workshop.data / "test" / "good" / f"{number:03d}.png"
        for kind in ("good", "hole"):
            (tmp_path / "set" / "test" / kind).mkdir(parents=True, exist_ok=True)
        pixels = read_pixels(good)
        write_png(tmp_path / "set" / "test" / "good" / good.name, pixels)
        colour = np.repeat(pixels[..., None], 3, axis=2)
        write_png(tmp_path / "set" / "test" / "hole" / good.name, colour)
    return tmp_path / "set"


def test_eval_counts_no_refused_image_as_a_defect_that_was_found(
    padim: Bundle, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = labelled / "figures.json"
    code = edge_compile(["eval", str(padim.folder), str(labelled), "--json", str(target)])
    assert code == Exit.REFUSED
    out = capsys.readouterr().out
    assert "refused" in out
    assert "3 channels" in out
    figures = json.loads(target.read_text())
    assert figures["images"]["auroc"] is None
    assert (figures["images"]["good"], figures["images"]["ng"]) == (4, 0)
    assert len(figures["refused"]) == 4
    assert figures["refused"][0]["why"].startswith("recipe_mismatch: frame has 3 channels")


def test_eval_leaves_out_what_cannot_be_read_and_measures_the_rest(
    padim: Bundle, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holes = sorted((labelled / "test" / "hole").iterdir())
    for hole in holes[:3]:
        grey = read_pixels(hole)[..., 0].copy()
        grey[40:60, 40:60] = 255
        write_png(hole, grey)
    holes[3].write_bytes(holes[3].read_bytes()[:900])
    target = labelled / "figures.json"
    code = edge_compile(["eval", str(padim.folder), str(labelled), "--json", str(target)])
    assert code == Exit.REFUSED
    assert "warning: hole: no masks" in capsys.readouterr().out
    figures = json.loads(target.read_text())
    assert (figures["images"]["ng"], figures["images"]["auroc"]) == (3, 1.0)
    assert [item["name"] for item in figures["refused"]] == ["hole/003.png"]


def test_names_that_are_no_text_are_judged_drawn_and_told(
    padim: Bundle, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = labelled / "test" / "good"
    (good / "000.png").rename(good / ODD_NAME)
    (good / "001.png").rename(good / "検品.png")
    arguments = [str(good), "--bundle", str(padim.folder), "--overlays", str(tmp_path / "p")]
    assert edge_replay(arguments) == Exit.DONE
    out = capsys.readouterr().out
    assert AS_SHOWN in out
    assert "検品.png" in out
    assert len(list((tmp_path / "p").iterdir())) == 4


@pytest.mark.thorough
def test_a_recipe_learns_from_names_that_are_no_text(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a[b]c[/b]"
    folder.mkdir(parents=True)
    for file in (workshop.data / "train" / "good").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "000.png").rename(folder / ODD_NAME)
    (folder / "no[te].txt").write_text("")
    result = workshop.build(tmp_path / "out[x]", f"images.good='{folder}'").bundle
    data = result.manifest.data
    assert AS_SHOWN in data.fitted
    arguments = ["check", str(workshop.recipe), "--set", f"images.good={folder}"]
    assert edge_compile(arguments) == Exit.DONE
    assert f"{folder}/no[te].txt is no image" in capsys.readouterr().out.replace("\n", "")


def test_a_terminal_that_cannot_print_a_name_is_no_error(padim: Bundle, labelled: Path) -> None:
    good = labelled / "test" / "good"
    (good / "000.png").rename(good / "検品.png")
    done = subprocess.run(
        [sys.executable, "-m", "kenpin.runtime.replay", good, "--bundle", padim.folder],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == Exit.DONE, done.stderr
    assert rb"\u691c\u54c1.png" in done.stdout


def no_folder(place: Path) -> Path:
    place.write_text("")
    return place


def below_a_file(place: Path) -> Path:
    place.write_text("")
    return place / "inner"


@pytest.mark.parametrize("spoil", [no_folder, below_a_file])
def test_build_tries_its_output_before_the_work(
    workshop: Workshop,
    tmp_path: Path,
    spoil: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = spoil(tmp_path / "out")
    assert edge_compile(["build", str(workshop.recipe), "-o", str(place)]) == Exit.FILES
    shown = capsys.readouterr()
    assert shown.out == ""
    assert str(tmp_path / "out") in shown.err


@pytest.mark.parametrize("target", ["/dev/full", "{folder}", "{folder}/missing/figures.json"])
def test_eval_says_so_when_its_figures_cannot_be_written(
    padim: Bundle, labelled: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = target.format(folder=labelled)
    code = edge_compile(["eval", str(padim.folder), str(labelled), "--json", place])
    assert code == Exit.FILES
    shown = capsys.readouterr()
    assert "defect of kenpin" not in shown.err
    # A full disk shows only when it is written to; all else before the work.
    assert (shown.out == "") == (target != "/dev/full")


def test_eval_hands_its_figures_to_a_pipe_and_writes_nothing_beside_it(
    padim: Bundle, labelled: Path
) -> None:
    pipe = labelled / "figures.json"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        told = reader.submit(pipe.read_text)
        code = edge_compile(["eval", str(padim.folder), str(labelled), "--json", str(pipe)])
        figures = json.loads(told.result())
    assert code == Exit.REFUSED
    assert len(figures["trade"]) == 5
    assert {path.name for path in labelled.iterdir()} == {"test", "figures.json"}


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/dev/figures.json"])
def test_a_name_of_an_open_file_has_no_others_beside_it(name: str) -> None:
    # Even where it leads to a plain file, as behind "> figures.json".
    assert not stays_there(Path(name))


def test_eval_tries_all_that_it_writes_beside_its_figures_before_the_work(
    padim: Bundle, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (labelled / "figures.trade.png").mkdir()
    target = labelled / "figures.json"
    code = edge_compile(["eval", str(padim.folder), str(labelled), "--json", str(target)])
    assert code == Exit.FILES
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "figures.trade.png: is a folder" in shown.err
    assert not target.exists()


@pytest.mark.parametrize(
    ("report", "figures"),
    [("eval.html", "eval.json"), ("eval.trade.html", "eval.json"), ("a.html", "b/../a.json")],
)
def test_eval_writes_no_file_of_its_report_over_one_of_its_figures(
    padim: Bundle, labelled: Path, report: str, figures: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (labelled / "b").mkdir()
    command = ["eval", str(padim.folder), str(labelled), "--report", str(labelled / report)]
    assert edge_compile([*command, "--json", str(labelled / figures)]) == Exit.FILES
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "would be written by --report and by --json" in shown.err
    assert list(labelled.glob("*.json")) == []


@pytest.mark.parametrize("option", ["--overlays", "--rolls"])
def test_replay_tries_its_folders_before_the_work(
    padim: Bundle,
    web_bundle: Bundle,
    labelled: Path,
    option: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = web_bundle if option == "--rolls" else padim
    place = labelled / "taken"
    place.write_text("")
    arguments = [str(labelled / "test" / "good"), "--bundle", str(bundle.folder)]
    assert edge_replay([*arguments, option, str(place)]) == Exit.FILES
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{place}: is a file" in shown.err


def test_a_full_disk_is_no_defect_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    def fill() -> int:
        Path("/dev/full").write_text("x")
        return 0

    assert run(fill, {}, debug=False) == Exit.FILES
    assert "No space left on device" in capsys.readouterr().err


def test_sigterm_leaves_nothing_half_made(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from kenpin.runtime.bundles.staging import staging_folder\n"
        "from kenpin.config.exits import run\n"
        "def work():\n"
        "    with staging_folder(Path(sys.argv[1])):\n"
        "        print('at work', flush=True)\n"
        "        time.sleep(60)\n"
        "sys.exit(run(work, {}, debug=False))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"at work\n"
        # Somebody else at work takes nothing away from it.
        (begun,) = tmp_path.iterdir()
        with staging_folder(tmp_path):
            assert begun.is_dir()
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_maker_left_goes_with_the_next(tmp_path: Path) -> None:
    for clean in (sweep, lambda store: Store(store).prune()):
        left = tmp_path / ".staging-left"
        (left / "golden").mkdir(parents=True)
        (left / "golden" / "0.png").write_bytes(b"half")
        clean(tmp_path)
        assert not left.exists()


@pytest.mark.parametrize(("mode", "code"), [(0o777, 0), (0o555, Exit.FILES)])
def test_a_folder_that_may_only_be_read_is_refused_before_the_work(
    tmp_path: Path, mode: int, code: int
) -> None:
    tmp_path.chmod(mode)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from kenpin.config.exits import run\n"
        "from kenpin.config.output import folder_to_write\n"
        "def work():\n"
        "    folder_to_write(Path())\n"
        "    return 0\n"
        # Root may write anywhere: be nobody.
        "if os.geteuid() == 0:\n"
        "    os.seteuid(65534)\n"
        "sys.exit(run(work, {}, debug=False))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    tmp_path.chmod(0o700)
    assert done.returncode == code, done.stderr
    assert ("cannot be written (Permission denied)" in done.stderr) == bool(code)
