"""An installed package adds one of each kind, a file each: examples/plugin."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import kenpin
from bundles import Workshop, made_once, with_patch
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.compile.backbones import BACKBONES
from kenpin.config.camera import SOURCES
from kenpin.config.exits import Exit
from kenpin.config.line import load_line
from kenpin.config.methods import METHODS
from kenpin.config.sides import SIDES, SideKind
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.verdict import Outcome, Reason
from kenpin.runtime.replay import main as edge_replay
from kenpin.runtime.service.cli import main as edge_run
from running_line import HERE, RunningLine, line_toml
from wire_samples import OK_VERDICT, everything_found

PLUGIN = HERE.parent / "examples" / "plugin"

CHANGES = (
    'backbone={name="edges",grid_px=8}',
    'method={name="zscore",share="column"}',
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the example."""
    # Built where it leaves nothing behind in the repository.
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(PLUGIN, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-build-isolation", "--no-index", "--target"]
    return made_once(
        tmp_path_factory,
        "site",
        lambda site: subprocess.run(
            [*pip, *alone, str(site), str(source)], check=True, timeout=120
        ),
    )


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example, to be found by this process and by those that it starts."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(HERE)]))
    return site


@pytest.fixture(scope="session")
def bundle(site: Path, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Compiled with the example's backbone and method."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        made = made_once(
            tmp_path_factory, "example", lambda folder: workshop.build(folder, *CHANGES)
        )
        return read_bundle(made)


@pytest.mark.usefixtures("installed")
def test_an_installed_package_is_found_by_name() -> None:
    assert "edges" in BACKBONES.names()
    assert METHODS.names() == [
        "baseline",
        "cflow",
        "dfm",
        "efficientad",
        "ensemble",
        "fastflow",
        "ganomaly",
        "imported",
        "metric",
        "padim",
        "patchcore",
        "reverse_distillation",
        "stfpm",
        "zscore",
    ]
    assert SIDES.names() == ["archive", "bridge", "journal", "page", "preview", "rolls", "status"]
    assert SOURCES.find("testcard").settings.__name__ == "TestcardSettings"


@pytest.mark.usefixtures("installed")
def test_its_backbone_and_method_are_compiled_and_judge(
    bundle: Bundle, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundle.manifest.features.backbone == "edges"
    assert bundle.manifest.method.model_dump()["least_deviation"] == 1e-3
    good = read_pixels(workshop.data / "test" / "good" / "000.png")
    inspector = kenpin.load(bundle.folder)
    assert inspector.judge(good).ok
    assert inspector.judge(with_patch(good)).reason is kenpin.Reason.DEFECT
    (tmp_path / "frames").mkdir()
    write_png(tmp_path / "frames" / "a.png", good)
    write_png(tmp_path / "frames" / "b.png", with_patch(good))
    assert edge_replay([str(tmp_path / "frames"), "--bundle", str(bundle.folder)]) == Exit.DONE
    assert "2 frames: 1 OK, 1 NG" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
def test_its_half_for_the_box_needs_no_torch(bundle: Bundle) -> None:
    script = (
        "import sys, kenpin; kenpin.load(sys.argv[1]); "
        "assert 'torch' not in sys.modules and 'kenpin_example.method' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(bundle.folder)], check=True, timeout=60)


def test_without_the_package_its_bundle_is_refused_by_name(bundle: Bundle) -> None:
    with pytest.raises(kenpin.BundleError, match="method 'zscore' is not known; expected one of"):
        kenpin.load(bundle.folder)


@pytest.fixture
def line(installed: Path, bundle: Bundle, tmp_path: Path) -> Path:
    """Settings of a line with the example's camera, bundle and side process."""
    camera = 'kind = "testcard", height_px = 128, width_px = 320, rate_hz = 25'
    toml = line_toml(tmp_path, bundle.folder, camera=camera)
    side = f'[[sides]]\nkind = "journal"\nname = "book"\nfile = "{tmp_path}/journal.txt"\n'
    toml.write_text(toml.read_text() + side)
    return toml


@pytest.mark.usefixtures("installed")
def test_its_journal_counts_the_defects_of_a_web_as_those_of_a_part() -> None:
    entry = import_module("kenpin_example.side").entry
    ng = replace(OK_VERDICT, outcome=Outcome.NG, reason=Reason.DEFECT, n_defects=3)
    web = replace(ng, n_defects=0, web=everything_found())
    for verdict, told in ((ng, "3 defects"), (web, "64 defects")):
        assert told in entry(SimpleNamespace(seq=1, verdict=verdict, frame=None))


def journal(folder: Path) -> dict[str, str]:
    """What the side process wrote, by the verdict's number."""
    written = (folder / "journal.txt").read_text().split("\n")[:-1]
    return dict(line.split(" ", 1) for line in written)


@pytest.mark.clock
def test_its_camera_its_bundle_and_its_side_process_run_a_line(
    line: Path, bundle: Bundle, tmp_path: Path
) -> None:
    environ = {"PYTHONPATH": os.environ["PYTHONPATH"]}
    with RunningLine(line, environ=environ) as running:
        told = running.verdict(lambda m: m["verdict"] == 1)
        assert told["sim"]
        assert told["bundle"] == bundle.label
        # Killed, it comes again, and costs no verdict.
        os.kill(running.child("kenpin-book"), signal.SIGKILL)
        running.until(lambda m: m["type"] == "alarm" and m["source"] == "book" and m["active"])
        running.until(lambda m: m["type"] == "alarm" and m["source"] == "book" and not m["active"])
        # On a busy machine it may be behind, and shown no frame with a verdict.
        while not any("NG defect" in e and "grey" in e for e in journal(tmp_path).values()):
            running.verdict(lambda m: m["reason"] == "defect")
        last = running.verdict(lambda m: m["reason"] == "defect")["seq"]
        assert running.stop() == 0
    verdicts = running.verdicts
    assert [m["seq"] for m in verdicts] == list(range(1, len(verdicts) + 1))
    entries = journal(tmp_path)
    heard = {str(m["seq"]): m for m in verdicts}
    assert str(last) in entries
    for seq, entry in entries.items():
        message = heard[seq]
        assert entry.startswith("OK - " if message["verdict"] == 1 else f"NG {message['reason']} ")
        assert f"{message.get('n_defects', 0)} defects" in entry


def test_a_side_process_is_checked_before_the_line_runs(
    line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_line(line).beside[-1][0] == "journal"
    for sides, complaint in (
        ('[{kind="journal"}]', "sides.0.file: is missing"),
        ('[{kind="status"}]', "sides.0: status is asked for by [status], not in [[sides]]"),
        ('[{kind="lamp"}]', "sides.0: side process 'lamp' is not known; expected one of: archive"),
        ('[{kind="journal",file="a",name="img"}]', "sides: img is what alarms call a part"),
    ):
        with pytest.raises(kenpin.ConfigError, match=re.escape(complaint)):
            load_line(line, [f"sides={sides}"])
    module = import_module("kenpin_example.side")
    nobody = SideKind(module.JournalSettings, "kenpin_example.side:gone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "JOURNAL", nobody)
        edge_run(["check", str(line)])
    assert "sides.book: kenpin_example.side:gone cannot be loaded" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
def test_its_camera_is_asked_for_frames_one_by_one() -> None:
    camera = import_module("kenpin_example.camera")
    settings = camera.TestcardSettings(kind="testcard", height_px=64, width_px=96)
    source = camera.open_testcard(settings, triggered=True)
    source.connect()
    place = import_module("numpy").empty
    assert source.grab_into(place, 0) == []
    fired_ns = time.monotonic_ns()
    source.fire()
    (frame,) = source.grab_into(place, 0)
    assert frame.pixels.shape == (64, 96)
    # Or it would be nobody's answer.
    assert frame.capture.began_ns >= fired_ns
    assert source.grab_into(place, 0) == []
    source.close()


@pytest.mark.parametrize("kind", ["backbone", "camera", "method", "side"])
def test_the_page_shows_the_example_as_it_is(kind: str) -> None:
    code = (PLUGIN / "kenpin_example" / f"{kind}.py").read_text(encoding="utf-8")
    page = HERE.parent / "docs" / "extending" / f"{kind}.md"
    assert f"```python\n{code}```" in page.read_text(encoding="utf-8")
