"""Power cuts: the file operations of a program, one by one, and a disk that forgets.

`Operations` sees every call that changes files and can let one of them fail or
be the process's last. `Disk` replays a recording as a disk would keep it: what
was not synced may be there, or not, or in part, in any combination.

    python power_cut.py ROOT SCRATCH STORE ACTION...     kills itself at every operation
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["Disk", "Left", "Operation", "Operations", "act", "write_left"]

# What is there after a power cut: folder, link or file by path, outer ones first, and its content.
Left = dict[Path, tuple[str, bytes]]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Operation:
    """One call that changes files; paths are absolute."""

    name: str
    path: str
    other: str = ""
    data: bytes = b""


class Operations:
    """Counts the calls below os that change files, while `watching`.

    before  called with the operation and its number before it happens
    tried   all of them
    log     those that succeeded
    """

    NAMES = ("open", "write", "fchmod", "fsync", "mkdir", "chmod", "rename", "replace", "symlink")
    NAMES += ("unlink", "remove", "rmdir", "link", "truncate", "ftruncate")

    def __init__(self, before: Callable[[Operation, int], None] = lambda *_: None) -> None:
        self.log: list[Operation] = []
        self.tried: list[Operation] = []
        self.before = before

    @contextmanager
    def watching(self) -> Iterator[Operations]:
        real = {name: getattr(os, name) for name in self.NAMES}
        try:
            for name, call in real.items():
                setattr(os, name, self._wrapped(name, call))
            yield self
        finally:
            for name, call in real.items():
                setattr(os, name, call)

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **more: Any) -> Any:
            operation = self._described(name, args, more)
            if operation is None:
                return call(*args, **more)
            self.tried.append(operation)
            self.before(operation, len(self.tried) - 1)
            # 5 ms each; the kernel forgets nothing here, whoever is killed.
            result = None if name == "fsync" else call(*args, **more)
            self.log.append(operation)
            return result

        return wrapper

    def _described(self, name: str, args: Any, more: Any) -> Operation | None:
        if name == "open":
            if not args[1] & _WRITING:
                return None
            assert args[1] & os.O_EXCL, f"{args[0]} is opened over what was there"
            return Operation("create", self._path(args[0], more))
        if name in ("write", "fsync", "fchmod", "ftruncate"):
            path = str(Path(f"/proc/self/fd/{args[0]}").readlink())
            return Operation(name, path, data=bytes(args[1]) if name == "write" else b"")
        if name in ("rename", "replace", "link"):
            return Operation(name, self._path(args[0], more), self._path(args[1], more))
        if name == "symlink":
            return Operation(name, self._path(args[1], more), str(args[0]))
        return Operation("unlink" if name == "remove" else name, self._path(args[0], more))

    @staticmethod
    def _path(path: Any, more: Any) -> str:
        folder = more.get("dir_fd")
        base = Path.cwd() if folder is None else Path(f"/proc/self/fd/{folder}").readlink()
        return str(base / os.fsdecode(path))


@dataclass(eq=False)
class _Node:
    """A file, a folder or a link: what it is now, and what of it is surely on the disk."""

    kind: str
    data: bytes = b""
    kept: bytes = b""
    entries: dict[str, _Node] = field(default_factory=dict)
    kept_entries: dict[str, _Node] = field(default_factory=dict)


@dataclass(frozen=True)
class _Change:
    """Names that come and go together; kept by a sync of any of the folders."""

    names: tuple[tuple[_Node, str, _Node | None], ...]


class Disk:
    """What a disk holds after operations on a folder, and what a power cut may leave of it.

    Data of a file is kept by its fsync, names by the fsync of their folder, and
    where a link leads by that, too, for a link has no fsync of its own.
    Anything else is kept, or not, in any combination; a file may keep its
    length and lose its content. No file system in use forgets more.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._top = self._load(root)
        self._pending: list[_Change] = []

    def _load(self, path: Path) -> _Node:
        if path.is_symlink():
            text = os.fsencode(path.readlink())
            return _Node("link", text, text)
        if path.is_dir():
            found = {item.name: self._load(item) for item in path.iterdir()}
            return _Node("folder", entries=found, kept_entries=dict(found))
        data = path.read_bytes()
        return _Node("file", data, data)

    def _find(self, path: str) -> tuple[_Node, str]:
        parts = Path(path).relative_to(self._root).parts
        node = self._top
        for part in parts[:-1]:
            node = node.entries[part]
        return node, parts[-1] if parts else ""

    def apply(self, operation: Operation) -> None:
        """An operation that took place."""
        folder, name = self._find(operation.path)
        node = folder.entries.get(name) if name else self._top
        if operation.name in ("create", "mkdir", "symlink"):
            kind = {"create": "file", "mkdir": "folder", "symlink": "link"}[operation.name]
            text = operation.other.encode()
            self._name((folder, name, _Node(kind, text)))
        elif operation.name == "write":
            assert node is not None
            node.data += operation.data
        elif operation.name == "fsync":
            assert node is not None
            self._keep(node)
        elif operation.name in ("rename", "replace"):
            self._name((folder, name, None), (*self._find(operation.other), node))
        elif operation.name in ("unlink", "rmdir"):
            self._name((folder, name, None))
        else:
            assert operation.name in ("chmod", "fchmod"), f"no model of {operation.name}"

    def _name(self, *names: tuple[_Node, str, _Node | None]) -> None:
        _put(names, "entries")
        self._pending.append(_Change(names))

    def _keep(self, node: _Node) -> None:
        node.kept = node.data
        for inner in node.entries.values():
            if inner.kind == "link":
                inner.kept = inner.data
        for change in [c for c in self._pending if any(n[0] is node for n in c.names)]:
            _put(change.names, "kept_entries")
            self._pending.remove(change)

    def cut(self, chance: float, seed: int = 0) -> Left:
        """What a power cut now leaves; each unsynced piece stays with that chance."""
        luck = Random(seed)
        kept: dict[_Node, dict[str, _Node]] = {}
        for change in self._pending:
            if luck.random() < chance:
                for folder, name, node in change.names:
                    entries = kept.setdefault(folder, dict(folder.kept_entries))
                    entries.pop(name, None)
                    if node is not None:
                        entries[name] = node

        found: Left = {}

        def look(node: _Node, path: Path) -> None:
            found[path] = node.kind, b""
            if node.kind == "folder":
                for name, inner in kept.get(node, node.kept_entries).items():
                    look(inner, path / name)
            elif node.kind == "link":
                whole = node.data == node.kept or luck.random() < chance
                found[path] = node.kind, node.data if whole else b"lost"
            else:
                found[path] = node.kind, _left(node, luck, chance)

        look(self._top, Path())
        return found


def write_left(left: Left, target: Path) -> Path:
    """Write what was left of a disk, as a folder."""
    for path, (kind, data) in left.items():
        if kind == "folder":
            (target / path).mkdir()
        elif kind == "link":
            (target / path).symlink_to(os.fsdecode(data))
        else:
            (target / path).write_bytes(data)
    return target


def _left(node: _Node, luck: Random, chance: float) -> bytes:
    if node.data == node.kept or luck.random() < chance:
        return node.data
    hole = bytes(len(node.data))
    return luck.choice([node.kept, node.data[: luck.randrange(len(node.data) + 1)], hole])


def _put(names: tuple[tuple[_Node, str, _Node | None], ...], where: str) -> None:
    for folder, name, node in names:
        entries = getattr(folder, where)
        entries.pop(name, None)
        if node is not None:
            entries[name] = node


def act(store: Path, action: str, *words: str) -> None:
    """What is done to a store while the power is cut."""
    from kenpin.runtime.bundles.store import Store

    if action == "install":
        Store(store).install(Path(words[0]))
    elif action == "switch":
        Store(store).switch(words[0])
    else:
        assert action == "rollback"
        Store(store).rollback()


def _kill_at(number: int) -> Callable[[Operation, int], None]:
    def before(_operation: Operation, count: int) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return before


# What Python itself reports of changes to files: nothing may escape the counting.
_AUDITED = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link"}
_AUDITED |= {"os.truncate", "os.chmod"}


def _audit(seen: list[str], root: str) -> Callable[[str, Any], None]:
    def hook(event: str, args: Any) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & _WRITING
        if event in _AUDITED or (writes and str(args[0]).startswith(root)):
            seen.append(event)

    return hook


def main(root: str, scratch: str, store: str, action: str, *words: str) -> None:
    """Do it once for each operation, each time in a process that is killed there.

    Leaves SCRATCH/0, SCRATCH/1, ... as the kills left them. The last one lives.
    """
    import kenpin.runtime.bundles.bundle  # noqa: F401  once, not in every child

    number = 0
    while True:
        folder = Path(scratch) / str(number)
        shutil.copytree(root, folder, symlinks=True)
        pid = os.fork()
        if pid == 0:
            operations = Operations(_kill_at(number))
            seen: list[str] = []
            sys.addaudithook(_audit(seen, str(folder)))
            with operations.watching():
                act(folder / store, action, *words)
            unseen = ("write", "fsync", "fchmod")
            counted = [op.name for op in operations.tried if op.name not in unseen]
            os._exit(0 if len(counted) == len(seen) - _fchmods(operations) else 9)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != -signal.SIGKILL:
            sys.exit(status)
        number += 1


def _fchmods(operations: Operations) -> int:
    # Python reports fchmod as os.chmod.
    return sum(op.name == "fchmod" for op in operations.tried)


if __name__ == "__main__":
    main(*sys.argv[1:])
