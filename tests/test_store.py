"""A bundle store after a power cut: the old bundle or the new, whole, whatever the moment."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import power_cut
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.durable import point
from kenpin.runtime.bundles.layout import MANIFEST
from kenpin.runtime.bundles.manifest import BundleError, canonical, content_hash
from kenpin.runtime.bundles.pack import by_hand, rethreshold, seal
from kenpin.runtime.bundles.store import Store, StoredBundle, StoreError
from power_cut import Disk, Operation, Operations, act, write_left
from running_line import line_toml

ACTIONS = [
    "install",
    pytest.param("first install", marks=pytest.mark.thorough),
    pytest.param("install again", marks=pytest.mark.thorough),
    pytest.param("repair", marks=pytest.mark.thorough),
    "rollback",
    "switch",
]


@pytest.fixture(scope="module")
def trio(patchcore: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Three bundles, small and alike: the oldest, the one in force and the new one."""
    folder = tmp_path_factory.mktemp("trio")
    threshold = patchcore.manifest.threshold
    return [
        rethreshold(patchcore, by_hand(threshold, threshold.ok * (1 + k / 8), None), folder)
        for k in range(3)
    ]


class Case:
    """A folder with a store, and something to do to it.

    allowed  what may be in force after a power cut; None: nothing ever was
    """

    def __init__(self, root: Path, action: str, trio: list[Bundle]) -> None:
        oldest, old, new = trio
        self.root, self.words = root, (action.split()[-1], str(new.folder))
        store = root / "bundles"
        root.mkdir()
        self.allowed: set[str | None] = {old.folder.name, new.folder.name}
        self.after = new.folder.name
        if action == "first install":
            self.words, self.allowed = ("install", str(new.folder)), {None, new.folder.name}
            return
        for bundle in (oldest, old):
            shutil.copytree(bundle.folder, store / bundle.folder.name)
        point(store / "previous", store / oldest.folder.name)
        point(store / "current", store / old.folder.name)
        if action == "install again":
            # Where an earlier install was cut off, and somebody copied half of it by hand.
            self.words = ("install", str(new.folder))
            shutil.copytree(new.folder, store / ".incoming-abc" / new.folder.name)
            (store / f".current.{os.getpid()}").symlink_to("nowhere")
        elif action == "repair":
            self.words = ("install", str(new.folder))
            shutil.copytree(new.folder, store / new.folder.name)
            with (store / new.folder.name / "bank.npy").open("r+b") as stream:
                stream.truncate(100)
        elif action == "rollback":
            self.words, self.after = ("rollback",), oldest.folder.name
        elif action == "switch":
            self.words, self.after = ("switch", oldest.folder.name), oldest.folder.name
        self.allowed = {old.folder.name, self.after}

    def act(self, root: Path) -> None:
        act(root / "bundles", *self.words)

    def check(self, root: Path, *, done: bool = False) -> str | None:
        """That what is in force is whole and may be in force; which it is."""
        found = in_force(root / "bundles")
        assert found in ({self.after} if done else self.allowed)
        previous = Store(root / "bundles").previous
        if previous is not None:
            read_bundle(root / "bundles" / previous)
        return found

    def check_repeated(self, root: Path) -> None:
        """That the same command, given again, brings it about and leaves nothing behind."""
        store = Store(root / "bundles")
        if store.current != self.after:
            self.act(root)
        if self.words[0] == "install":
            self.act(root)
            names = {item.name for item in store.folder.iterdir()}
            links = {"current", "previous"}
            assert names - links == {entry.name for entry in store.entries()}
        self.check(root, done=True)


def in_force(store: Path) -> str | None:
    """The folder name of the store's current bundle, every byte verified."""
    if not (store / "current").is_symlink():
        return None
    return read_bundle(store).folder.name


@pytest.fixture(params=ACTIONS)
def case(request: pytest.FixtureRequest, trio: list[Bundle], tmp_path: Path) -> Case:
    return Case(tmp_path / "root", request.param, trio)


def copy(root: Path, target: Path) -> Path:
    return Path(shutil.copytree(root, target, symlinks=True))


# Of all, an install has most operations; `make test` tries it with power cuts.
@pytest.mark.parametrize(
    "case", [pytest.param("install", marks=pytest.mark.thorough), *ACTIONS[1:]], indirect=True
)
def test_a_process_killed_at_any_operation_leaves_the_old_or_the_new(
    case: Case, tmp_path: Path
) -> None:
    scratch = tmp_path / "killed"
    scratch.mkdir()
    command = [sys.executable, power_cut.__file__, str(case.root), str(scratch), "bundles"]
    # One thread, so that it may fork; Python 3.12 warns otherwise.
    single = {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([*command, *case.words], env=os.environ | single, check=False)
    assert ended.returncode == 0, "9: an operation was not counted"
    count = len(list(scratch.iterdir()))
    assert count > (4 if case.words[0] != "install" else 40)
    found = [case.check(scratch / str(k), done=k == count - 1) for k in range(count)]
    assert found == sorted(found, key=lambda name: name == case.after), "it went back"
    assert len(set(found)) == 2
    for k in range(0, count, 4):
        case.check_repeated(scratch / str(k))


def record(case: Case, root: Path) -> tuple[Disk, list[Operation]]:
    """The case's operations, and the disk before them."""
    disk = Disk(root)
    operations = Operations()
    with operations.watching():
        case.act(root)
    return disk, operations.log


# How much of what was not synced a power cut leaves: nothing, all, or by the toss of a coin.
LUCK = [(0.0, 0), (1.0, 0), (0.5, 1), (0.5, 2), (0.8, 3), (0.2, 4)]


def test_a_power_cut_at_any_operation_leaves_the_old_or_the_new(case: Case, tmp_path: Path) -> None:
    disk, log = record(case, copy(case.root, tmp_path / "live"))
    seen = set()
    for k, operation in enumerate([*log, None]):
        for chance, seed in LUCK:
            left = disk.cut(chance, 1000 * k + seed)
            # Where all is synced every luck leaves the same.
            found = frozenset(left.items()), operation is None
            if found in seen:
                continue
            seen.add(found)
            folder = write_left(left, tmp_path / "left")
            case.check(folder, done=operation is None)
            if len(seen) % 16 == 1:
                case.check_repeated(folder)
            shutil.rmtree(folder)
        if operation is not None:
            disk.apply(operation)


def copied_by_hand(bundle: Bundle, store: Path) -> None:
    """Copy a bundle into a store as `cp -r` does: nothing is synced."""
    folder = store / bundle.folder.name
    folder.mkdir()
    for name in ("manifest.json", *bundle.manifest.files):
        if not (folder / name).parent.is_dir():
            (folder / name).parent.mkdir()
        handle = os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(handle, (bundle.folder / name).read_bytes())
        os.close(handle)


def test_the_forgetful_disk_finds_what_is_wrong_with_a_plain_copy(
    trio: list[Bundle], tmp_path: Path
) -> None:
    """A check of the check: a copy and a renamed link look right until the power goes."""
    case = Case(tmp_path / "root", "install", trio)
    live = copy(case.root, tmp_path / "live")
    disk = Disk(live)
    operations = Operations()
    with operations.watching():
        copied_by_hand(trio[2], live / "bundles")
        point(live / "bundles" / "current", live / "bundles" / case.after)
    assert in_force(live / "bundles") == case.after
    for operation in operations.log:
        disk.apply(operation)
    left = write_left(disk.cut(0.0), tmp_path / "left")
    with pytest.raises((BundleError, AssertionError)):
        case.check(left)


@pytest.mark.parametrize("words", ["install", "switch"])
def test_a_bundle_that_was_copied_by_hand_is_synced_before_it_is_in_force(
    trio: list[Bundle], tmp_path: Path, words: str
) -> None:
    case = Case(tmp_path / "root", "install", trio)
    live = copy(case.root, tmp_path / "live")
    disk = Disk(live)
    operations = Operations()
    with operations.watching():
        copied_by_hand(trio[2], live / "bundles")
        act(live / "bundles", words, str(trio[2].folder) if words == "install" else case.after)
    for operation in operations.log:
        disk.apply(operation)
    case.check(write_left(disk.cut(0.0), tmp_path / "left"), done=True)


def test_a_bundle_that_was_brought_without_switching_is_on_the_disk(
    trio: list[Bundle], tmp_path: Path
) -> None:
    case = Case(tmp_path / "root", "install", trio)
    disk = Disk(case.root)
    operations = Operations()
    with operations.watching():
        Store(case.root / "bundles").install(trio[2].folder, switch=False)
    for operation in operations.log:
        disk.apply(operation)
    left = write_left(disk.cut(0.0), tmp_path / "left")
    assert read_bundle(left / "bundles" / case.after).sha256 == trio[2].sha256
    assert in_force(left / "bundles") == trio[1].folder.name


def fail_at(number: int, code: int) -> Callable[[Operation, int], None]:
    def before(operation: Operation, count: int) -> None:
        if count == number:
            raise OSError(code, os.strerror(code), operation.path)

    return before


@pytest.mark.thorough
@pytest.mark.parametrize(
    "code",
    [pytest.param(errno.ENOSPC, id="full"), pytest.param(errno.EIO, id="failing")],
)
def test_a_disk_that_fails_at_any_operation_costs_the_install_and_nothing_else(
    trio: list[Bundle], tmp_path: Path, code: int
) -> None:
    case = Case(tmp_path / "root", "install", trio)
    number = 0
    while True:
        root = copy(case.root, tmp_path / "run")
        operations = Operations(fail_at(number, code))
        try:
            with operations.watching():
                case.act(root)
            told = ""
        except StoreError as error:
            told = str(error)
        case.check(root, done=not told)
        if told:
            assert ("make room" if code == errno.ENOSPC else "kernel's log") in told
        elif len(operations.tried) == number:
            break
        if number % 4 == 0:
            case.check_repeated(root)
        shutil.rmtree(root)
        number += 1
    assert number > 40


def test_install_rollback_and_list_do_what_they_say(trio: list[Bundle], tmp_path: Path) -> None:
    oldest, old, new = (bundle.folder.name for bundle in trio)
    store = Store(tmp_path / "line" / "bundles")
    with pytest.raises(StoreError, match="give the folder"):
        store.entries()
    for bundle in trio:
        assert store.install(bundle.folder).sha256 == bundle.sha256
    assert (store.current, store.previous) == (new, old)
    assert store.rollback() == old
    assert store.entries() == sorted(
        [
            StoredBundle(oldest, False, False),
            StoredBundle(old, True, False),
            StoredBundle(new, False, True),
        ],
        key=lambda entry: entry.name,
    )
    assert store.rollback() == new
    store.switch(oldest)
    assert (store.current, store.previous) == (oldest, new)
    store.install(trio[0].folder)
    assert (store.current, store.previous) == (oldest, new), "the same bundle again: no change"
    store.install(trio[1].folder, switch=False)
    assert (store.current, store.previous) == (oldest, new)
    with pytest.raises(StoreError, match="install the bundle first"):
        store.switch("gone-0123456789ab")


def test_there_is_nothing_to_roll_back_to_after_one_install(
    trio: list[Bundle], tmp_path: Path
) -> None:
    store = Store(tmp_path / "bundles")
    store.install(trio[0].folder)
    with pytest.raises(StoreError, match="no earlier bundle"):
        store.rollback()
    assert store.current == trio[0].folder.name


def test_a_damaged_bundle_or_one_that_fails_its_proof_never_enters(
    own_bundle: Path, trio: list[Bundle], tmp_path: Path
) -> None:
    store = Store(tmp_path / "bundles")
    store.install(trio[0].folder)

    def refuse(bundle: Bundle) -> None:
        raise BundleError(f"{bundle.label}: golden frame scores 2, expected 1")

    with pytest.raises(BundleError, match="golden frame"):
        store.install(trio[1].folder, prove=refuse)
    with (own_bundle / "bank.npy").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match="SHA-256"):
        store.install(own_bundle)
    assert [entry.name for entry in store.entries()] == [trio[0].folder.name]
    assert (store.current, store.previous) == (trio[0].folder.name, None)


def test_everyone_may_read_what_a_careful_person_installs(
    trio: list[Bundle], tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        bundle = Store(tmp_path / "bundles").install(trio[0].folder)
    finally:
        os.umask(before)
    for item in bundle.folder.rglob("*"):
        assert item.stat().st_mode & 0o777 == (0o755 if item.is_dir() else 0o644), item


def test_two_who_install_at_once_both_get_what_they_want(
    trio: list[Bundle], tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from kenpin.runtime.bundles.store import Store\n"
        "for _ in range(5):\n"
        "    for source in sys.argv[2:]: Store(Path(sys.argv[1])).install(Path(source))\n"
    )
    names = [str(bundle.folder) for bundle in trio]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "bundles"), *words], env=environ
        )
        for words in (names, names[::-1])
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    assert in_force(tmp_path / "bundles") in {bundle.folder.name for bundle in trio}
    assert len(Store(tmp_path / "bundles").entries()) == 3


def edge_run(*words: str | Path) -> int:
    from kenpin.runtime.service.cli import main

    return main(["bundles", *map(str, words)])


def test_the_command_installs_lists_and_rolls_back(
    trio: list[Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = trio[1].folder, trio[2].folder
    toml = line_toml(tmp_path, tmp_path / "bundles")
    nice = os.nice(0)
    assert edge_run("install", toml, old, "--files-only") == 0
    assert edge_run("install", toml, new, "--files-only") == 0
    assert edge_run("list", toml, "--verify") == 0
    told = capsys.readouterr().out
    assert f"{new.name}  current, whole\n" in told
    assert f"{old.name}  previous, whole\n" in told
    assert edge_run("rollback", tmp_path / "bundles") == 0
    assert f"current   {old.name}\nprevious  {new.name}\n" in capsys.readouterr().out
    assert edge_run("use", toml, new.name) == 0
    assert in_force(tmp_path / "bundles") == new.name
    assert edge_run("use", toml, "gone") == 5
    assert os.nice(0) == nice
    with (tmp_path / "bundles" / old.name / "bank.npy").open("ab") as stream:
        stream.write(b"x")
    assert edge_run("list", toml, "--verify") == 5
    assert "DAMAGED" in capsys.readouterr().out
    assert edge_run("install", line_toml(tmp_path, new), old, "--files-only") == 3
    assert "is one bundle" in capsys.readouterr().err


@pytest.mark.parametrize("held", [True, False])
def test_a_build_that_is_cut_off_leaves_what_the_store_held_before(
    patchcore: Bundle, tmp_path: Path, held: bool
) -> None:
    store = tmp_path / "store"
    if held:
        shutil.copytree(patchcore.folder, store / patchcore.folder.name)
        point(store / "current", store / patchcore.folder.name)
    shutil.copytree(patchcore.folder, store / ".again")

    def cut_off(_: Bundle) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seal(store / ".again", patchcore.manifest, store, cut_off)
    left = [patchcore.folder.name] if held else []
    assert [entry.name for entry in Store(store).entries()] == left
    assert Store(store).current == (left[0] if held else None)


def test_the_command_proves_the_golden_frames_on_this_box(
    trio: list[Bundle], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "kenpin.runtime.service.cli", "bundles", "install"]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    before = altered_golden(trio[1], tmp_path / "altered")
    for bundle, code in ((trio[1].folder, 0), (before, 5)):
        ended = subprocess.run(
            [*command, str(tmp_path / "bundles"), str(bundle)],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == code, ended.stderr
    assert "golden frame golden/good-0.png scores" in ended.stderr
    assert in_force(tmp_path / "bundles") == trio[1].folder.name


def altered_golden(bundle: Bundle, folder: Path) -> Path:
    """A whole bundle that remembers other scores than it gives."""
    golden = [g.model_copy(update={"score": 1.5 * g.score}) for g in bundle.manifest.golden]
    raw = canonical(bundle.manifest.model_copy(update={"golden": golden}))
    target = folder / f"{bundle.manifest.name}-{content_hash(raw)[:12]}"
    shutil.copytree(bundle.folder, target)
    (target / MANIFEST).write_bytes(raw)
    return target
