"""A line's bundle told of what people said of its frames: for a command, and for the page.

    python -m kenpin.runtime.service.relearn STORE BUNDLE ARCHIVE [TRUST]

makes it at the lowest priority and prints one line of JSON: how the page has it done, in a
process of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kenpin.config.errors import ConfigError
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.bundles.layout import PROPOSALS
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.learning.update import Updated, update
from kenpin.runtime.service.lessons import lessons_in

__all__ = ["main", "relearn", "summary_of"]


def relearn(
    bundle: Path, archive: Path, trust: Path | None, *, say: Callable[[str], None] = lambda _: None
) -> Updated:
    """A bundle that has learnt from the reviews beside the line's archive.

    It lies in the store, or among the proposals where bundles must be signed.

    Parameters
    ----------
    bundle
        The one to begin with, or a store, whose current one is meant.
    trust
        Where bundles must be signed: keys, one of which has signed this one.

    Raises
    ------
    ConfigError
        If there are no reviews, or the bundle cannot learn from them.
    BundleError
        If the bundle is damaged, or this box does not compute what it should.
    """
    base = read_bundle(bundle, trust)
    found = lessons_in(archive, base.manifest.name)
    store = base.folder.parent
    into = store if trust is None else store.parent / PROPOSALS
    return update(base, found.wrong, found.known, into, say=say)


def summary_of(found: Updated) -> dict[str, Any]:
    """What became of it, in words and for the audit log."""
    record = found.record
    challenge = record.challenge
    base = record.bases[-1]
    after: dict[str, Any] = {
        "learnt": [f"{one.name} ({one.by})" if one.by else one.name for one in record.frames],
        "challenge": challenge.model_dump(mode="json"),
        "ok": found.threshold.ok,
        "ng": found.threshold.ng,
    }
    lines = [
        f"learnt from {len(found.frames)} frames in {found.seconds:.0f} s; OK up to "
        f"{found.threshold.ok:.6g}, before {record.ok_before:.6g}",
        f"{challenge.found[1]} of {challenge.defects} known defects are found, before "
        f"{challenge.found[0]}; {challenge.rejected[1]} of {challenge.good} known good frames are "
        f"rejected, before {challenge.rejected[0]}",
        *(f"left alone: {text}" for text in found.unjudged),
    ]
    if found.bundle is None:
        after["refused"] = found.refused
        lines += ["REFUSED, and nothing was made:", *(f"  {why}" for why in found.refused)]
    else:
        after["bundle"] = found.bundle.folder.name
        lines.append(str(found.bundle.folder))
    return {"base": base, "after": after, "text": "\n".join(lines)}


def main(argv: list[str]) -> None:
    """See the module."""
    os.nice(19)
    store, name, archive, *trust = map(Path, argv)
    summary: dict[str, Any]
    try:
        found = relearn(store / name, archive, trust[0] if trust else None)
        summary = summary_of(found)
    except (ConfigError, BundleError, OSError) as error:
        summary = {"error": str(error)}
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
