"""Writes client.json: the version of the page's client, and the SHA-256 of each of its files."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

__all__ = ["main"]

HERE = Path(__file__).parent


def main() -> None:
    """Write it anew, after a file was changed on purpose."""
    files = [file for name in ("client", "texts") for file in sorted((HERE / name).iterdir())]
    hashes = {
        file.relative_to(HERE).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }
    known = {"version": version("kenpin"), "libraries": {}, "files": hashes}
    (HERE / "client.json").write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
