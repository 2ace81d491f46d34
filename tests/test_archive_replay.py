"""A line's archive, here or in a bucket, against another bundle: which verdicts would be others."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from bundles import Workshop
from dask_cluster import dask_cluster
from kenpin.camera.files.archive_source import ArchiveSource, Then
from kenpin.camera.frame import Frame, LostFrame
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.replay import main
from moto_bucket import moto_bucket


@pytest.fixture
def archive(workshop: Workshop, tmp_path: Path) -> Path:
    """Eight frames of the test set as a line would have kept them, each told as NG.

    That a line does keep them so: `tests/test_service_archive.py`.
    """
    folder = tmp_path / "archive"
    files = sorted((workshop.data / "test").rglob("*.png"))[:8]
    for number, file in enumerate(files):
        entry = folder / ("ng" if number % 2 else "ok") / "000000000" / f"{number:012d}"
        entry.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, entry.with_suffix(".png"))
        told = {"verdict": "NG", "reason": "defect", "bundle": "old@0123", "frame": 99}
        entry.with_suffix(".json").write_text(json.dumps({"version": 1, "verdict": told}))
    # What was being written when the power went.
    shutil.copy(files[0], folder / "ng" / "000000000" / "000000000077.png")
    return folder


def test_an_archive_is_its_whole_entries_in_the_order_of_their_numbers(archive: Path) -> None:
    source = ArchiveSource(str(archive))
    frames = [frame for cut in source.cuts(3) for frame in cut.frames()]
    assert [frame.index for frame in frames] == list(range(8))
    assert [Path(frame.name).stem for frame in frames] == [f"{n:012d}" for n in range(8)]
    assert source.then(frames[3].name) == Then(2, "defect", "old@0123")
    while not source.exhausted:
        frame = source.grab(0)
        assert isinstance(frame, Frame)
        same = frames[frame.index]
        assert isinstance(same, Frame)
        assert (frame.pixels == same.pixels).all()


def test_an_entry_that_has_gone_or_was_damaged_meanwhile_is_a_lost_frame(archive: Path) -> None:
    source = ArchiveSource(str(archive))
    entries = sorted(archive.rglob("*.png"), key=lambda path: path.name)
    entries[0].unlink()
    entries[1].write_bytes(b"\x89PNG")
    found = [frame for cut in source.cuts(8) for frame in cut.frames()]
    assert [isinstance(frame, LostFrame) for frame in found[:3]] == [True, True, False]
    assert isinstance(found[0], LostFrame)
    assert "has gone from the archive" in found[0].detail


@pytest.mark.parametrize(
    "where",
    [
        "folder",
        pytest.param("bucket", marks=pytest.mark.thorough),
        pytest.param("bucket by workers", marks=pytest.mark.thorough),
    ],
)
def test_replay_says_which_verdicts_would_be_others(
    where: str,
    archive: Path,
    patchcore: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ExitStack() as stack:
        command = ["--bundle", str(patchcore.folder), "--archive", str(archive)]
        if where != "folder":
            import fsspec

            command[-1] = f"{stack.enter_context(moto_bucket('plant'))}/web-1"
            fsspec.filesystem("s3").put(str(archive), command[-1], recursive=True)
            # What lies here is not what is read.
            shutil.rmtree(archive)
        if where.endswith("workers"):
            (tmp_path / "dask").mkdir()
            # Started now, they know the bucket's server.
            command += ["--dask", stack.enter_context(dask_cluster(tmp_path / "dask", 1)).address]
        assert main(command) == 0
    out = capsys.readouterr().out
    changed = re.findall(r"^ *\d+  OK .*  was NG defect$", out, re.MULTILINE)
    assert changed
    assert f"8 archived verdicts: {len(changed)} that were NG are OK" in out
    same = re.findall(r"^ *\d+  NG .*$", out, re.MULTILINE)
    assert len(changed) + len(same) == 8
    assert not any("was" in line for line in same)


def test_entries_that_do_not_say_what_their_verdict_was_are_counted(
    archive: Path, patchcore: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = sorted(archive.rglob("*.json"))
    first.write_text(json.dumps({"version": 1, "verdict": {"verdict": "MAYBE"}}))
    second.write_text(second.read_text().replace('"NG"', "2"))  # as the wire says it
    assert main(["--archive", str(archive), "--bundle", str(patchcore.folder)]) == 0
    out = capsys.readouterr().out
    assert "7 archived verdicts" in out
    assert out.rstrip().endswith("; 1 entries do not say what theirs was")


def test_a_webs_archive_is_refused_and_an_empty_folder_too(
    archive: Path, web_bundle: Bundle, patchcore: Bundle, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["--archive", str(archive), "--bundle", str(web_bundle.folder)]) == 3
    assert "cannot be judged without those beside them" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    command = ["--archive", str(tmp_path / "empty"), "--bundle", str(patchcore.folder)]
    assert main(command) == 4
    assert "no whole entry of an archive" in capsys.readouterr().err
