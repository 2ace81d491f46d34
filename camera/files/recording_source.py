"""A recording as a `FrameSource`: the same frames, with the same gaps, in the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kenpin.camera.files.recording_format import (
    RecordingEntry,
    RecordingError,
    list_entries,
    missing_from,
    read_entry,
    whole,
)
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.paced_source import PacedSource

__all__ = ["RecordingCut", "RecordingSource"]


class RecordingSource(PacedSource):
    """Plays what `recording_writer.py` wrote; see `PacedSource`.

    Frames are read one by one, as they fall due. A file that was damaged since
    is handed out as a `LostFrame`, because the camera once delivered it.

    missing    what it no longer holds: see `missing_from`

    recording  the folder
    as_timed   each frame as long after the first as it was captured
    rate_hz    instead, so many a second; with neither, flat out

    Raises
    ------
    RecordingError
        If the folder is no recording, or holds not a single whole frame.
    """

    def __init__(
        self,
        recording: Path,
        *,
        as_timed: bool = False,
        rate_hz: float | None = None,
        loop: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._entries = list_entries(recording)
        if not self._entries:
            raise RecordingError(f"{recording}: holds no whole frame; record again")
        self.missing = missing_from(recording, self._entries)
        self._as_timed = as_timed and rate_hz is None
        self._read: tuple[int, Frame | LostFrame] | None = None
        self._first = self._entry(0)
        # Of one round, when it is played over and over.
        last = self._entry(len(self._entries) - 1)
        self._span = last.index + _count(last) - self._first.index
        self._span_ns = last.captured_ns - self._first.captured_ns
        super().__init__(None if loop else len(self._entries), rate_hz, clock_ns, sleep)

    def __len__(self) -> int:
        """The number of files."""
        return len(self._entries)

    def cuts(self, size: int) -> Iterator[RecordingCut]:
        """The entries in pieces of about that size, each of which others can play; once.

        Each begins with an entry that can be read now, for what is damaged gets its number
        from the one before.
        """
        first = 0
        while first < len(self._entries):
            end = first + size
            while end < len(self._entries) and not whole(self._entries[end]):
                end += 1
            yield RecordingCut(self._first.index, first, tuple(self._entries[first:end]))
            first = end

    def _make(self, position: int) -> Frame | LostFrame:
        rounds, place = divmod(position, len(self._entries))
        found = self._entry(place)
        return replace(found, index=found.index - self._first.index + rounds * self._span)

    def _after_first_ns(self, position: int) -> int | None:
        if not self._as_timed:
            return super()._after_first_ns(position)
        rounds, place = divmod(position, len(self._entries))
        pause_ns = self._span_ns // max(1, len(self._entries) - 1)
        captured_ns = self._entry(place).captured_ns
        return captured_ns - self._first.captured_ns + rounds * (self._span_ns + pause_ns)

    def _entry(self, place: int) -> Frame | LostFrame:
        if self._read is not None and self._read[0] == place:
            return self._read[1]
        found = _read_after(self._read[1] if self._read else None, self._entries[place], place)
        self._read = place, found
        return found


@dataclass(frozen=True, slots=True)
class RecordingCut:
    """A piece of a `RecordingSource`, to be read elsewhere.

    index    that the camera counted when the recording began
    first    place of its first entry in the recording
    """

    index: int
    first: int
    entries: tuple[RecordingEntry, ...]

    def frames(self) -> Iterator[Frame | LostFrame]:
        """The same frames that the source would have handed out."""
        found: Frame | LostFrame | None = None
        for number, entry in enumerate(self.entries):
            found = _read_after(found, entry, self.first + number)
            yield replace(found, index=found.index - self.index)


def _read_after(
    before: Frame | LostFrame | None, entry: RecordingEntry, place: int
) -> Frame | LostFrame:
    """An entry; where it is damaged, what was lost, by the entry before it."""
    try:
        return read_entry(entry)
    except RecordingError as error:
        index = before.index + _count(before) if before else place
        return LostFrame(before.captured_ns if before else 0, index, str(error))


def _count(entry: Frame | LostFrame) -> int:
    return entry.count if isinstance(entry, LostFrame) else 1
