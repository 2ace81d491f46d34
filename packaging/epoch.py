"""The date of what is built: of the source, not of the clock."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["source_date_epoch"]

ROOT = Path(__file__).resolve().parents[1]


def source_date_epoch() -> int:
    """Seconds since 1970: SOURCE_DATE_EPOCH, or the date of the last commit.

    https://reproducible-builds.org/specs/source-date-epoch/
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        log = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
        found = subprocess.run(log, capture_output=True, text=True, check=False)
        if found.returncode:
            raise SystemExit("no repository here: say the source's date by SOURCE_DATE_EPOCH")
        epoch = found.stdout.strip()
    return int(epoch)
