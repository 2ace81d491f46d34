"""Maps as numbers a pixel, with lists of scores and boxes: for any tool that goes on from there."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from kenpin.camera.files.images import encode_float_tiff
from kenpin.config.output import MAP_FORMATS, folder_to_write
from kenpin.runtime.judging.join import at_pixels
from kenpin.runtime.judging.pipeline import Judgement
from kenpin.runtime.judging.verdict import Verdict

__all__ = ["MapFolder"]

_SCORES: Final = (
    "number", "name", "map", "verdict", "reason", "score", "threshold_ok", "threshold_ng",
    "peak_x_px", "peak_y_px", "n_defects", "first_line", "end_line", "map_line", "detail",
)  # fmt: skip
# Of a web, top and bottom are its lines.
_BOXES: Final = (
    "number", "name", "defect", "left_px", "top_px", "right_px", "bottom_px", "area_px", "peak",
)  # fmt: skip


class MapFolder:
    """A folder that takes the map of every frame that is judged.

    `scores.csv` has a row for each frame, also where there is no map, and `boxes.csv` one for
    each defect; each row is on the disk before the next frame is judged.
    """

    def __init__(self, folder: Path, kind: str = "tiff") -> None:
        """Make the folder, and begin both lists.

        Parameters
        ----------
        kind
            Of the maps' files: one of `MAP_FORMATS`.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        if kind not in MAP_FORMATS:
            raise ValueError(f"maps are written as {' or '.join(MAP_FORMATS)}, not as {kind!r}")
        folder_to_write(folder)
        self._folder, self._kind = folder, kind
        self._scores = _List(folder / "scores.csv", _SCORES)
        self._boxes = _List(folder / "boxes.csv", _BOXES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scores.close()
        self._boxes.close()

    def add(
        self, number: int, name: str, judged: Judgement, size: tuple[int, int] | None = None
    ) -> None:
        """Write what was said of a frame.

        Parameters
        ----------
        number, name
            Of the frame; both are in its file's name.
        size
            (height, width) of the image: the map gets a value for each of its pixels. None
            for a web, whose map has its own lines.
        """
        verdict, score_map = judged.verdict, judged.score_map
        file = ""
        if score_map is not None:
            stem = Path(name).with_suffix("").as_posix().strip("/").replace("/", "-")
            file = f"{number:06d}-{stem}.{self._kind}"
            self._write(file, at_pixels(score_map, *(size or score_map.frame_size)))
        self._scores.add(_row(number, name, file, verdict))
        for row in _boxes(verdict):
            self._boxes.add((number, name, *row))

    def _write(self, file: str, values: Any) -> None:
        if self._kind == "npy":
            np.save(self._folder / file, values)
        else:
            (self._folder / file).write_bytes(encode_float_tiff(values))


class _List:
    """A CSV file whose rows are written through."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="", buffering=1)
        self._writer = csv.writer(self._file, lineterminator="\n")
        self.add(columns)

    def add(self, row: Sequence[Any]) -> None:
        """The next row."""
        self._writer.writerow(row)

    def close(self) -> None:
        """No more rows follow."""
        self._file.close()


def _row(number: int, name: str, file: str, verdict: Verdict) -> tuple[Any, ...]:
    limits, peak, web = verdict.thresholds, verdict.peak_xy or ("", ""), verdict.web
    lines = (web.first_line, web.end_line, web.map_line) if web else ("", "", "")
    return (
        number, name, file, verdict.outcome.name, verdict.reason or "", verdict.score,
        limits.ok if limits else "", limits.ng if limits else "", *peak,
        verdict.defects_found, *lines, verdict.detail,
    )  # fmt: skip


def _boxes(verdict: Verdict) -> list[tuple[Any, ...]]:
    if verdict.web is not None:
        return [
            (d.number, d.left_px, d.first_line, d.right_px, d.end_line, d.area_px, d.peak)
            for d in verdict.web.defects
        ]
    return [
        (n, d.left_px, d.top_px, d.right_px, d.bottom_px, d.area_px, d.peak)
        for n, d in enumerate(verdict.defects, 1)
    ]
