"""The archive's folder: quotas, order, what an interrupted write leaves, disks that refuse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kenpin.config.line import ArchiveSpec
from kenpin.runtime.service.sides.archive_folder import ArchiveStore, Kind, NoRoomError

BLOCK = 4096
MANY = 10**12
FREE = 0


def spec(folder: Path, *, max_bytes: int = MANY, max_files: int = 10**6) -> ArchiveSpec:
    """Without the limits that settings have for people."""
    return ArchiveSpec.model_construct(
        folder=folder, max_bytes=max_bytes, max_files=max_files, min_free_bytes=FREE, ok_every=1
    )


def entry(size: int = 10) -> dict[str, bytes]:
    return {"png": b"p" * size, "npy": b"n", "json": b"{}"}


def stems(folder: Path, kind: str) -> list[int]:
    """Entries on the disk, by number."""
    return sorted(int(path.stem) for path in (folder / kind).glob("*/*.json"))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_entry_is_its_files_under_one_number(tmp_path: Path) -> None:
    store = ArchiveStore(spec(tmp_path))
    stem = store.keep("ng", entry())
    assert stem == tmp_path / "ng" / "000000000" / "000000000001"
    assert {p.name for p in files_in(tmp_path)} == {
        "000000000001.png",
        "000000000001.npy",
        "000000000001.json",
    }
    assert (store.bytes, store.files) == (3 * BLOCK, 3)


@given(
    st.lists(st.tuples(st.sampled_from(["ng", "ok"]), st.integers(1, 5)), max_size=40),
    st.integers(4, 40),
    st.integers(3, 40),
)
def test_quotas_hold_and_the_oldest_ok_goes_first_then_the_oldest_ng(
    tmp_path_factory: pytest.TempPathFactory,
    offered: list[tuple[Kind, int]],
    blocks: int,
    files: int,
) -> None:
    """Against a slow twin that only knows the rule."""
    folder = tmp_path_factory.mktemp("archive")
    store = ArchiveStore(spec(folder, max_bytes=blocks * BLOCK, max_files=files))
    kept: dict[str, deque[tuple[int, int]]] = {"ng": deque(), "ok": deque()}
    number = 0

    def room(size: int) -> bool:
        held = [*kept["ng"], *kept["ok"]]
        return sum(s for _, s in held) + size <= blocks and 3 * len(held) + 3 <= files

    for kind, size in offered:
        whole = size + 2
        victims = ["ok"] if kind == "ok" else ["ok", "ng"]
        possible = whole <= blocks and files >= 3
        while possible and not room(whole):
            victim = next((v for v in victims if kept[v]), None)
            if victim is None:
                break
            kept[victim].popleft()
        if possible and room(whole):
            number += 1
            kept[kind].append((number, whole))
            store.keep(kind, entry(size * BLOCK))
        else:
            with pytest.raises(NoRoomError):
                store.keep(kind, entry(size * BLOCK))
        for each in ("ng", "ok"):
            assert stems(folder, each) == [n for n, _ in kept[each]]
        assert store.bytes == BLOCK * sum(s for q in kept.values() for _, s in q)
        assert store.files == len(files_in(folder))
    store.close()
    shutil.rmtree(folder)


def test_a_new_start_counts_what_is_there_and_goes_on_with_the_numbers(tmp_path: Path) -> None:
    first = ArchiveStore(spec(tmp_path))
    for kind in ("ng", "ok", "ng"):
        first.keep(kind, entry(5000))
    first.close()
    again = ArchiveStore(spec(tmp_path))
    assert again.counts == first.counts
    assert again.keep("ok", entry()).name == "000000000004"


def test_what_an_interrupted_write_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    first = ArchiveStore(spec(tmp_path))
    whole = first.keep("ng", entry())
    first.close()
    folder = whole.parent
    torn = [
        folder / "000000000002.png.part",
        folder / "000000000002.json.part",
        folder / "000000000003.png",
        folder / "000000000003.npy",
        folder / "000000000004.json",
    ]
    foreign = [tmp_path / "notes.txt", folder / "000000000002.jpg", folder / "readme.part"]
    for path in [*torn, *foreign]:
        path.write_bytes(b"x")
    again = ArchiveStore(spec(tmp_path))
    assert not any(path.exists() for path in torn)
    assert all(path.exists() for path in foreign)
    assert again.leftovers == len(torn)
    assert stems(tmp_path, "ng") == [1]
    assert again.keep("ng", entry()).name == "000000000005"


def test_smaller_quotas_take_effect_at_the_next_start(tmp_path: Path) -> None:
    first = ArchiveStore(spec(tmp_path))
    for kind in ("ng", "ok", "ok", "ng", "ng"):
        first.keep(kind, entry())
    first.close()
    again = ArchiveStore(spec(tmp_path, max_files=6))
    assert stems(tmp_path, "ok") == []
    assert stems(tmp_path, "ng") == [4, 5]
    assert again.files == 6


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    """Where a disk should be mounted, the system's own would be filled."""
    with pytest.raises(FileNotFoundError):
        ArchiveStore(spec(tmp_path / "mnt"))
    assert not (tmp_path / "mnt").exists()


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    first = ArchiveStore(spec(tmp_path))
    with pytest.raises(OSError, match="another process"):
        ArchiveStore(spec(tmp_path))
    first.close()
    ArchiveStore(spec(tmp_path)).close()


ON_A_DISK = """
import errno, json, sys
from pathlib import Path
from kenpin.config.line import ArchiveSpec
from kenpin.runtime.service.sides.archive_folder import ArchiveStore, NoRoomError
folder, floor, read_only = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "ro"
spec = ArchiveSpec.model_construct(
    folder=folder, max_bytes=10**12, max_files=10**6, min_free_bytes=floor, ok_every=1
)
store = ArchiveStore(spec)
outcomes = []
if read_only:
    import subprocess
    store.keep("ng", {"png": b"p" * 9000, "json": b"{}"})
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
for number in range(60):
    try:
        store.keep("ok" if number % 2 else "ng", {"png": b"p" * 60_000, "json": b"{}"})
        outcomes.append("kept")
    except NoRoomError as error:
        outcomes.append("no_room")
    except OSError as error:
        outcomes.append(errno.errorcode[error.errno])
import os
disk = os.statvfs(folder)
parts = [str(path) for path in folder.rglob("*.part")]
print(json.dumps({"outcomes": outcomes, "counts": store.counts, "parts": parts,
                  "free": disk.f_bavail * disk.f_frsize, "free_files": disk.f_favail}))
"""


def on_a_small_disk(
    folder: Path, options: str, floor: int = 0, how: str = "rw"
) -> dict[str, object]:
    """Sixty entries of 64 KiB onto a tmpfs in a mount namespace of its own."""
    script = folder / "script.py"
    script.write_text(ON_A_DISK)
    disk = folder / "disk"
    disk.mkdir()
    mounted = f"mount -t tmpfs -o {options} none {disk} || exit 77; "
    run = [sys.executable, str(script), str(disk), str(floor), how]
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mounted} exec "$@"', "sh", *run],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if ran.returncode == 77 or "unshare failed" in ran.stderr:
        pytest.skip(f"mounting is not permitted here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def test_on_a_full_disk_ok_entries_give_way_to_ng_ones(tmp_path: Path) -> None:
    found = on_a_small_disk(tmp_path, "size=1m")
    counts = found["counts"]
    assert isinstance(counts, dict)
    assert counts["evicted_ok"] > 0
    assert counts["ok"] == 0
    assert counts["ng"] >= 12
    outcomes = found["outcomes"]
    assert isinstance(outcomes, list)
    # Each NG entry found its room; OK ones did as long as no NG had to go for them.
    assert set(outcomes[::2]) == {"kept"}
    assert outcomes[-1] == "no_room"
    assert found["parts"] == []


def test_the_floor_of_free_space_holds(tmp_path: Path) -> None:
    found = on_a_small_disk(tmp_path, "size=1m", floor=600_000)
    assert isinstance(found["free"], int)
    assert 600_000 <= found["free"] < 750_000


def test_a_disk_without_free_inodes_loses_old_entries_not_new_ones(tmp_path: Path) -> None:
    found = on_a_small_disk(tmp_path, "size=100m,nr_inodes=40")
    outcomes, counts = found["outcomes"], found["counts"]
    assert isinstance(outcomes, list)
    assert isinstance(counts, dict)
    assert set(outcomes[::2]) == {"kept"}
    assert counts["evicted_ng"] > 0


def test_a_read_only_disk_refuses_each_entry_and_stays_as_it_is(tmp_path: Path) -> None:
    found = on_a_small_disk(tmp_path, "size=8m", how="ro")
    counts = found["counts"]
    assert isinstance(counts, dict)
    assert found["outcomes"] == ["EROFS"] * 60
    assert counts["ng"] == 1
