"""Who has been given which result: what a tracker missed it gets the next time."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from kenpin.compile.bench.track import Run, Tracker
from kenpin.config.errors import kind_and_words

__all__ = ["Tracked"]


class Tracked:
    """Gives each result to each tracker once, over all runs of a bench.

    failed  the trackers that could not take one, with the reason; they get no more of this run
    """

    def __init__(
        self, folder: Path, trackers: Mapping[str, Tracker], say: Callable[[str], None]
    ) -> None:
        """Read what was given before.

        Parameters
        ----------
        folder
            Of the bench; `tracked.txt` in it has a line for each result and tracker.
        trackers
            By what `--track` says of them.
        """
        self._file = folder / "tracked.txt"
        self._trackers, self._say = trackers, say
        known = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        # The machine may have stopped within the last one: then it is given once more.
        self._given = set(known.split("\n")[:-1])
        if known and not known.endswith("\n"):
            self._file.write_text(known.rpartition("\n")[0] + "\n", encoding="utf-8")
        self.failed: dict[str, str] = {}

    def give(self, key: str, run: Run) -> None:
        """Give a result to those that have not had it; the bench goes on without one that fails."""
        for name, tracker in self._trackers.items():
            line = f"{key} {name}"
            if line in self._given or name in self.failed:
                continue
            try:
                tracker(run)
            except Exception as error:  # noqa: BLE001 libraries of others; figures are kept already
                traceback.print_exc()
                self.failed[name] = kind_and_words(error)
                self._say(f"--track {name}: {self.failed[name]}; the bench goes on without it")
                continue
            self._given.add(line)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
