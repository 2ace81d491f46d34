"""What one command wrote is not taken for something else by the next."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bundles import HEIGHT, SEED, WIDTH
from kenpin.camera.files.images import write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.cli import main as edge_compile
from kenpin.config.exits import Exit
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.store import Store
from kenpin.runtime.replay import main as edge_replay
from kenpin.runtime.service.audit import store_audit
from kenpin.runtime.service.bundles_cli import main as edge_run_bundles


@pytest.fixture
def store(patchcore: Bundle, tmp_path: Path) -> Path:
    made = tmp_path / "store"
    assert edge_run_bundles(["install", str(made), str(patchcore.folder), "--files-only"]) == 0
    return made


def test_a_bundle_is_no_store_and_stays_whole(
    patchcore: Bundle, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    current, source = str(store / "current"), str(patchcore.folder)
    for command in (["install", current, source], ["list", current], ["rollback", current]):
        assert edge_run_bundles(command) == Exit.CONFIG, command
        assert f"such as {store}" in capsys.readouterr().err
    for more in (["threshold", source, "--ok", "3", "-o", current],):
        assert edge_compile(more) == Exit.CONFIG, more
    read_bundle(store / "current")


def test_a_threshold_that_is_set_in_a_store_leaves_a_way_back_and_a_line_in_its_log(
    patchcore: Bundle, store: Path
) -> None:
    assert edge_compile(["threshold", str(store / "current"), "--ok", "3"]) == Exit.DONE
    made, previous = Store(store).current, Store(store).previous
    assert previous == patchcore.folder.name != made
    last = store_audit(store).entries()[-1]
    assert (last.item, last.before, last.after) == ("current", previous, made)
    assert edge_run_bundles(["rollback", str(store)]) == 0
    assert Store(store).current == patchcore.folder.name


def test_a_folders_recipe_is_used_again_for_that_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders called alike, and those without a letter of ASCII, share a recipe's name."""
    monkeypatch.chdir(tmp_path)
    web = SyntheticWeb(HEIGHT, WIDTH, SEED)
    for place in ("monday/good", "tuesday/good", "検品", "布地"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        for number in range(5):
            write_png(folder / f"{number}.png", web.frame(number).pixels)
    for first, second in (("monday/good", "tuesday/good"), ("検品", "布地")):
        assert edge_compile(["check", first]) == Exit.DONE
        capsys.readouterr()
        assert edge_compile(["check", second]) == Exit.CONFIG
        said = capsys.readouterr().err
        assert f"is the recipe for {tmp_path / first}, not for {second}" in said
        assert edge_compile(["check", first]) == Exit.DONE


@pytest.mark.parametrize("option", ["--maps", "--overlays"])
def test_what_a_replay_writes_is_not_replayed_the_next_time(
    patchcore: Bundle, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    write_png(frames / "0.png", SyntheticWeb(HEIGHT, WIDTH, SEED).frame(0).pixels)
    for place in (frames, frames / "below"):
        command = [str(frames), "--bundle", str(patchcore.folder), option, str(place)]
        assert edge_replay(command) == Exit.FILES
        assert "lies within the frames" in capsys.readouterr().err
    assert [path.name for path in frames.iterdir()] == ["0.png"]


def test_a_key_is_made_whole_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge_compile(["key", str(tmp_path / "site.pub")]) == Exit.CONFIG
    (tmp_path / "o.pub").write_text("somebody's")
    assert edge_compile(["key", str(tmp_path / "o.pem")]) == Exit.CONFIG
    assert "never overwritten" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.pub"]
    assert edge_compile(["key", str(tmp_path / "none" / "o.pem")]) == Exit.FILES
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    assert edge_compile(["key", str(tmp_path / "p.pem")]) == Exit.DONE
