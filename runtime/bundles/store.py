"""The store: bundles side by side, and the links `current` and `previous`.

    STORE/web-0123456789ab/      a bundle, named by its content, never edited
    STORE/current, previous      links to two of them
    STORE/.incoming-*            a copy under way, or what a power cut left of one

Whoever changes a store holds a lock on its folder; whoever reads it needs none.
Nothing of numpy is imported until a bundle is verified: the gateway's clerk
moves links with this module.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kenpin.runtime.bundles.durable import (
    adopt,
    copy_file,
    lock,
    make_folder,
    point,
    replace_file,
    sync,
    sync_tree,
)
from kenpin.runtime.bundles.layout import MANIFEST, SIGNATURES
from kenpin.runtime.bundles.staging import sweep

if TYPE_CHECKING:
    from kenpin.runtime.bundles.bundle import Bundle

__all__ = ["Store", "StoreError", "StoredBundle"]

_INCOMING = ".incoming-"
# The service's clerk holds the lock for a few fsyncs, an install for a copy.
_LOCK_WAIT_S = 60.0


class StoreError(Exception):
    """The store cannot be changed as asked: says what was found and what to do."""


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A bundle of the store, by its folder's name."""

    name: str
    current: bool
    previous: bool


class Store:
    """The bundles of a line.

    folder  where they lie; made by the first install
    trust   a folder of public keys, one of which must have signed what is installed
    """

    def __init__(self, folder: Path, trust: Path | None = None) -> None:
        self.folder = folder
        self.trust = trust

    # -- looking -------------------------------------------------------------------------

    @property
    def current(self) -> str | None:
        """The folder name of the bundle in force; None if there is none."""
        return self._named_by("current")

    @property
    def previous(self) -> str | None:
        """The folder name of the bundle that was in force before; None if there is none."""
        return self._named_by("previous")

    def _named_by(self, link: str) -> str | None:
        path = self.folder / link
        # A link to somewhere else was made by hand; it is no name of ours.
        target = path.resolve() if path.is_symlink() else None
        ours = target is not None and target.parent == self.folder.resolve() and target.is_dir()
        return target.name if target is not None and ours else None

    def entries(self) -> list[StoredBundle]:
        """The bundles, by name.

        Raises
        ------
        StoreError
            If the folder cannot be read.
        """
        with _explained(self.folder):
            names = sorted(
                item.name
                for item in self.folder.iterdir()
                if not item.is_symlink() and (item / MANIFEST).is_file()
            )
        return [StoredBundle(name, name == self.current, name == self.previous) for name in names]

    # -- changing ------------------------------------------------------------------------

    def install(
        self,
        source: Path,
        *,
        prove: Callable[[Bundle], object] | None = None,
        switch: bool = True,
    ) -> Bundle:
        """Copy a bundle into the store and let `current` lead to it, durably.

        A power cut at any moment leaves the bundle that was in force before, or
        the new one, whole. What an interrupted install left is removed by the next.

        Parameters
        ----------
        source
            The bundle's folder, or a store, whose current one is meant.
        prove
            Called with the verified bundle before anything is copied; its
            exceptions end the install. The golden frames, for one.
        switch
            False leaves `current` as it is.

        Raises
        ------
        BundleError
            If the bundle, or the copy of it, is not whole.
        StoreError
            If the store cannot be written, or somebody else is changing it.
        """
        from kenpin.runtime.bundles.bundle import read_bundle
        from kenpin.runtime.bundles.manifest import BundleError

        bundle = read_bundle(source, self.trust)
        if prove is not None:
            prove(bundle)
        target = self.folder / bundle.folder.name
        with _explained(self.folder), self._made(), self._alone():
            self._sweep()
            try:
                whole = target.exists() and bool(read_bundle(target))
            except BundleError:
                whole = False
            if whole:
                self._sign_alike(bundle.folder, target)
            else:
                self._bring(bundle, target)
            installed = read_bundle(target, self.trust)
            if switch:
                self._switch(target.name)
        return installed

    def switch(self, name: str) -> None:
        """Let `current` lead to a bundle of the store, and `previous` to the one before it.

        Raises
        ------
        StoreError
            If there is no such bundle, or the store cannot be written.
        """
        if name not in [entry.name for entry in self.entries()]:
            raise StoreError(f"{self.folder} holds no {name}; install the bundle first")
        with _explained(self.folder), self._alone():
            self._switch(name)

    def rollback(self) -> str:
        """Exchange `current` and `previous`; the name of the bundle now in force.

        Raises
        ------
        StoreError
            If there is nothing to go back to, or the store cannot be written.
        """
        with _explained(self.folder), self._alone():
            before, now = self.previous, self.current
            if before is None or before == now:
                raise StoreError(
                    f"{self.folder}: no earlier bundle is known; choose one of them with "
                    "edge-run bundles use"
                )
            # The link that decides comes first: a power cut after it finds the
            # rollback done. The other way round it could not be repeated.
            point(self.folder / "current", self.folder / before)
            if now is not None:
                point(self.folder / "previous", self.folder / now)
        return before

    def prune(self) -> list[str]:
        """Remove all bundles but `current` and `previous`; the names of those that went.

        One that a running line judges with stays, whatever the links say by now.

        Raises
        ------
        StoreError
            If the store cannot be written, or somebody else is changing it.
        """
        gone = []
        with _explained(self.folder), self._alone():
            self._sweep()
            for entry in self.entries():
                folder = self.folder / entry.name
                if entry.current or entry.previous or not _free(folder):
                    continue
                # Under another name it is no bundle, so that nobody finds half of one.
                leaving = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self.folder))
                folder.rename(leaving / entry.name)
                shutil.rmtree(leaving)
                gone.append(entry.name)
        return gone

    def _switch(self, name: str) -> None:
        now = self.current
        if now == name:
            return
        # A folder that somebody copied here by hand may be in memory only.
        sync_tree(self.folder / name)
        # `previous` first: after a power cut in between the old bundle is in force,
        # and the same command finishes the change.
        if now is not None:
            point(self.folder / "previous", self.folder / now)
        point(self.folder / "current", self.folder / name)

    def _bring(self, bundle: Bundle, target: Path) -> None:
        """Copy, verify the copy, give it its name."""
        from kenpin.runtime.bundles.bundle import read_bundle

        staging = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self.folder))
        try:
            # Its own name inside, for a bundle is only whole under its name.
            copy = staging / target.name
            copy.mkdir()
            copy.chmod(0o755)
            for name in [*sorted(bundle.manifest.files), MANIFEST]:
                _make_parents(copy, name)
                copy_file(bundle.folder / name, copy / name)
            if (bundle.folder / SIGNATURES).exists():
                copy_file(bundle.folder / SIGNATURES, copy / SIGNATURES)
            read_bundle(copy, self.trust)
            if target.exists():
                # Damaged, or it would have been used. A process that has it mapped keeps it.
                target.rename(staging / "damaged")
            adopt(copy, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _sign_alike(self, source: Path, target: Path) -> None:
        """Bring the signatures of a bundle that was signed after it was installed."""
        theirs = source / SIGNATURES
        data = theirs.read_bytes() if theirs.exists() else None
        ours = (target / SIGNATURES).read_bytes() if (target / SIGNATURES).exists() else None
        if data is not None and data != ours:
            replace_file(target / SIGNATURES, data)

    def _sweep(self) -> None:
        """Remove what interrupted installs left. Only under the lock: it could be under way.

        What killed makers of bundles left goes, too.
        """
        sweep(self.folder)
        for item in self.folder.iterdir():
            if item.name.startswith(_INCOMING):
                shutil.rmtree(item)
            elif item.is_symlink() and item.name.startswith((".current.", ".previous.")):
                item.unlink()

    @contextmanager
    def _made(self) -> Iterator[None]:
        if not self.folder.is_dir():
            make_folder(self.folder)
            sync(self.folder.parent)
        yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the store's lock, which ends with the process whatever happens to it."""
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not lock(handle, _LOCK_WAIT_S):
                raise StoreError(
                    f"{self.folder}: somebody else has been changing it for "
                    f"{_LOCK_WAIT_S:.0f} s; wait for that install, or end it"
                )
            yield
        finally:
            os.close(handle)


def _free(folder: Path) -> bool:
    """Whether no running line holds a bundle."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return lock(handle, 0)
    finally:
        os.close(handle)


def _make_parents(folder: Path, name: str) -> None:
    for parent in reversed(Path(name).parents[:-1]):
        if not (folder / parent).is_dir():
            (folder / parent).mkdir()
            (folder / parent).chmod(0o755)


_REMEDIES = {
    errno.ENOSPC: "make room, or remove bundles that are no longer needed",
    errno.EACCES: "run it as root, or as the owner of the store",
    errno.EPERM: "run it as root, or as the owner of the store",
    errno.EROFS: "the file system is mounted read-only",
    errno.ENOENT: "give the folder that holds the bundles",
    errno.EIO: "the disk fails; look at the kernel's log",
}


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """What the system says about the store, for people."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "nothing was switched")
        where = error.filename or folder
        raise StoreError(f"{where}: {error.strerror}; {remedy}") from error
