"""What came of each cell: kept as it comes, so that a bench goes on where it ended."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from kenpin.config.errors import ConfigError
from kenpin.runtime.bundles.durable import replace_file

__all__ = ["UNEXPECTED", "BenchResults", "Result", "as_csv"]

# How a reason begins that is a defect of kenpin, and no refusal.
UNEXPECTED = "unexpected error: "


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one cell; those of a cell that was refused are None.

    auroc, f1        of images
    pixel_auroc, aupro  of pixels; None without masks
    false_rejects, escapes  at the bundle's threshold, out of `good` and `ng`
    frame_ms         a frame's median time on this machine
    bundle_mb        of all files of the bundle
    seconds          to compile and to judge
    why              a cell was refused; empty if it was not
    refused          test images that got no score, and count in no other figure
    """

    set: str
    method: str
    backbone: str
    seed: int
    auroc: float | None = None
    f1: float | None = None
    pixel_auroc: float | None = None
    aupro: float | None = None
    false_rejects: int | None = None
    good: int | None = None
    escapes: int | None = None
    ng: int | None = None
    threshold: float | None = None
    frame_ms: float | None = None
    bundle_mb: float | None = None
    seconds: float | None = None
    bundle: str = ""
    why: str = ""
    refused: int | None = None


class BenchResults:
    """The lines of `results.jsonl`: each is a cell's key and its figures."""

    def __init__(self, folder: Path) -> None:
        """Read what was found before.

        Raises
        ------
        ConfigError
            If a line is damaged; the last one may be torn, and is done again.
        """
        self._file = folder / "results.jsonl"
        self._found: dict[str, Result] = {}
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        whole: list[str] = []
        for number, line in enumerate(lines, 1):
            try:
                tree = json.loads(line)
                self._found[tree["key"]] = Result(**tree["result"])
            except (ValueError, KeyError, TypeError) as error:
                if number < len(lines):
                    raise ConfigError(
                        f"{self._file}: line {number} is damaged ({error}); remove that line"
                    ) from None
                # The machine stopped within it.
                replace_file(self._file, "".join(f"{kept}\n" for kept in whole).encode())
            else:
                whole.append(line)

    def find(self, key: str) -> Result | None:
        """The figures of a cell; None if it has none: what refused it may have been mended."""
        found = self._found.get(key)
        return None if found is None or found.why else found

    def add(self, key: str, result: Result) -> None:
        """Keep it."""
        self._found[key] = result
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "result": asdict(result)}) + "\n")


def as_csv(results: Iterable[Result]) -> str:
    """A row for each, under the names of its figures."""
    text = io.StringIO()
    names: Sequence[str] = [field.name for field in fields(Result)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for result in results:
        tree: dict[str, Any] = asdict(result)
        writer.writerow(["" if tree[name] is None else tree[name] for name in names])
    return text.getvalue()
