"""What peers.py keeps between runs, each under a digest of what it was made of.

A recipe, a model or code that has changed gives another one, so that no time stands beside an AUROC
of something else.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["digest_of", "own_code", "peers_code"]

ROOT = Path(__file__).resolve().parent.parent
# In a folder's name.
DIGITS = 12
ROOMS = ("config", "processes", "camera", "runtime", "compile")


def digest_of(*parts: Any) -> str:
    """A name for what consists of such parts, strings, numbers, lists or tables."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:DIGITS]


@cache
def own_code() -> str:
    """A digest of all that compiles bundles and judges with them."""
    return _code([file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))])


@cache
def peers_code() -> str:
    """A digest of what makes the peers' networks and asks them, and of the versions they have."""
    folder = ROOT / "benchmarks" / "peers"
    return _code([*sorted(folder.glob("*.py")), folder / "requirements.txt"])


def _code(files: list[Path]) -> str:
    return digest_of([[str(file.relative_to(ROOT)), file.read_text()] for file in files])
