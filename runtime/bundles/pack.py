"""Writing a bundle: a folder named by what it holds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from kenpin.config.threshold import ThresholdSpec
from kenpin.config.tuning import tuning_file
from kenpin.runtime.bundles.bundle import Bundle, file_hash, read_bundle
from kenpin.runtime.bundles.durable import adopt, replace_file
from kenpin.runtime.bundles.layout import MANIFEST
from kenpin.runtime.bundles.manifest import (
    NAME_DIGITS,
    Manifest,
    ThresholdRecord,
    canonical,
    content_hash,
)
from kenpin.runtime.bundles.staging import staging_folder
from kenpin.runtime.bundles.store import Store

__all__ = ["by_hand", "file_hashes", "keep_tuning", "rethreshold", "seal"]


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a staging folder, by relative name."""
    return {
        file.relative_to(folder).as_posix(): file_hash(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }


def seal(
    folder: Path,
    manifest: Manifest,
    store: Path,
    prove: Callable[[Bundle], None] = lambda _: None,
    *,
    current: bool = True,
) -> Bundle:
    """Write the manifest, give the folder its name, and make it the store's current one.

    Parameters
    ----------
    current
        False leaves the store's link as it is.
    prove
        Looks at the bundle before it becomes the current one; if it raises, the bundle
        is removed, unless the store held it before: it may be in force.

    Raises
    ------
    BundleError
        If what was written does not read back as a whole bundle.
    StoreError
        If the store cannot be switched to it: somebody else is changing it, for one.
    """
    raw = canonical(manifest)
    (folder / MANIFEST).write_bytes(raw)
    target = store / f"{manifest.name}-{content_hash(raw)[:NAME_DIGITS]}"
    held = target.exists()
    adopt(folder, target)
    bundle = read_bundle(target)
    try:
        prove(bundle)
    except BaseException:
        if not held:
            shutil.rmtree(target)
        raise
    if current:
        Store(store).switch(target.name)
    return bundle


def by_hand(old: ThresholdRecord, ok: float, ng: float | None) -> ThresholdRecord:
    """Thresholds set by a person on a finished bundle."""
    settings = ThresholdSpec(method="fixed", ok=ok, ng=ng)
    return ThresholdRecord(
        ok=ok,
        ng=ok if ng is None else ng,
        source=f"set by hand; before: {old.ok:.6g} and {old.ng:.6g}, {old.source}",
        settings=settings,
        usual=old.usual,
    )


def rethreshold(
    bundle: Bundle, record: ThresholdRecord, store: Path, *, current: bool = True
) -> Bundle:
    """The same bundle with other thresholds: a new folder, for its content is new."""
    with staging_folder(store) as folder:
        for name in bundle.manifest.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.folder / name, folder / name)
        # What has a threshold of its own lies in the arrays, and stays.
        each = bundle.manifest.threshold.settings.each
        settings = record.settings.model_copy(update={"each": each})
        record = record.model_copy(update={"settings": settings})
        manifest = bundle.manifest.model_copy(update={"threshold": record})
        made = seal(folder, manifest, store, current=current)
    keep_tuning(bundle, made)
    return made


def keep_tuning(before: Bundle, made: Bundle) -> None:
    """What is fastest on this box for a bundle holds for one of the same network beside it."""
    file = tuning_file(before.folder)
    if before.folder.parent.resolve() == made.folder.parent.resolve() and file.is_file():
        replace_file(tuning_file(made.folder), file.read_bytes())
