"""Writes a recording: whole frames only, so many bytes at most, and never in anyone's way."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from kenpin.camera.files.checksums import KIND, ChecksumFile, checksum
from kenpin.camera.files.recording_format import (
    LABEL,
    VERSION,
    RecordingError,
    encode_frame,
    encode_loss,
    entry_name,
)
from kenpin.camera.frame import Frame, LostFrame

__all__ = ["RecordingWriter"]

# Frames in a folder: few enough for any file manager, many enough to be dropped at once.
_SEGMENT_FRAMES = 256
# A recording of this many segments is dropped by the oldest of them.
_SEGMENTS_AT_MOST = 8
# After so long a power cut costs nothing of what was written.
_SYNC_S = 0.5

WhenFull = Literal["stop", "drop_oldest"]


class RecordingWriter:
    """A recording being written. Use it from one thread, best in a process of its own.

    Frames that find the disk full, or come after the limit was reached, are
    counted and noted as lost in the recording; nothing here raises because of them.

    folder      made new; must not exist, or be empty
    max_bytes   of all files together
    when_full   end the recording there, or drop its oldest frames
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        when_full: WhenFull = "stop",
        about: dict[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if folder.exists() and any(folder.iterdir()):
            raise RecordingError(f"{folder}: is not empty; give a new folder for each recording")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._clock = clock
        self._number = 0
        self._segments: deque[tuple[Path, int]] = deque()
        self._segment_bytes = 0
        self._segment_frames = 0
        self._unsynced: list[int] = []
        self._checksums: ChecksumFile | None = None
        self._synced_s = clock()
        self._gap: LostFrame | None = None
        self.written = 0
        self.missed = 0
        self.bytes = 0
        self.full = False
        self.fault = ""
        self._label: dict[str, object] = {
            "kind": "kenpin recording",
            "version": VERSION,
            "checksums": KIND,
            "started_wall_ns": time.time_ns(),
            "started_monotonic_ns": time.monotonic_ns(),
            **(about or {}),
        }
        self._put_label()
        self._open_segment()

    def write(self, frame: Frame | LostFrame) -> bool:
        """Add a frame or a loss; False if it was missed, which `fault` or `full` explain."""
        if self.full:
            self.missed += 1
            return False
        try:
            self._put_gap()
            if isinstance(frame, LostFrame):
                done = self._put("lost.json", [encode_loss(frame)])
            else:
                suffix, header, pixels = encode_frame(frame)
                done = self._put(suffix, [header, pixels])
        except OSError as error:
            self.fault = f"{self._folder}: {error.strerror}"
            self._miss(frame, self.fault)
            return False
        self.written += done
        self.missed += not done
        return done

    def close(self) -> None:
        """Finish; everything written is on the disk after this. Closing twice is harmless."""
        try:
            self._put_gap()
            self._close_segment()
            # Who reads it can tell whether its end is there.
            self._label["entries"] = self._number
            self._put_label()
        except OSError as error:
            self.fault = f"{self._folder}: {error.strerror}"
            self._close_segment()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _miss(self, frame: Frame | LostFrame, why: str) -> None:
        count = frame.count if isinstance(frame, LostFrame) else 1
        self.missed += count
        lines = frame.lines if isinstance(frame, LostFrame) else len(frame.pixels)
        if self._gap is None:
            self._gap = LostFrame(
                frame.captured_ns, frame.index, f"not recorded: {why}", lines=lines, count=count
            )
            return
        known = lines is not None and self._gap.lines is not None
        self._gap = LostFrame(
            self._gap.captured_ns,
            self._gap.index,
            self._gap.detail,
            lines=(self._gap.lines or 0) + (lines or 0) if known else None,
            count=self._gap.count + count,
        )

    def _put_label(self) -> None:
        new = self._folder / f"{LABEL}.new"
        new.write_text(json.dumps(self._label, indent=1) + "\n")
        new.replace(self._folder / LABEL)

    def _put_gap(self) -> None:
        if self._gap is not None and self._put("lost.json", [encode_loss(self._gap)]):
            self._gap = None

    def _put(self, suffix: str, parts: list[bytes | memoryview]) -> bool:
        size = sum(len(part) for part in parts)
        name = entry_name(self._number, suffix)
        line = ChecksumFile.line(name, checksum(parts))
        if not self._room_for(size + len(line)):
            return False
        if self._segment_frames >= _SEGMENT_FRAMES or self._segment_bytes + size > self._share():
            self._open_segment()
        path = self._segments[-1][0] / name
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            written = os.writev(handle, parts)
            while written < size:  # a call may write a part; the disk may be full
                rest = b"".join(bytes(part) for part in parts)[written:]
                written += os.write(handle, rest)
            # Behind its entry: an entry without a line was being written at the very end.
            assert self._checksums is not None
            self._checksums.add(line)
        except OSError:
            os.close(handle)
            path.unlink()
            raise
        self._unsynced.append(handle)
        self._number += 1
        self._segment_frames += 1
        self._segment_bytes += size + len(line)
        self.bytes += size + len(line)
        self._segments[-1] = (path.parent, self._segment_bytes)
        if self._clock() - self._synced_s > _SYNC_S or len(self._unsynced) >= _SEGMENT_FRAMES:
            self._sync()
        return True

    def _room_for(self, size: int) -> bool:
        while self.bytes + size > self._max_bytes:
            if self._when_full == "stop" or len(self._segments) < 2:
                self.full = True
                return False
            oldest, freed = self._segments.popleft()
            shutil.rmtree(oldest)
            self.bytes -= freed
        return True

    def _share(self) -> int:
        return max(1, self._max_bytes // _SEGMENTS_AT_MOST)

    def _close_segment(self) -> None:
        self._sync()
        if self._checksums is not None:
            self._checksums.close()
            self._checksums = None

    def _open_segment(self) -> None:
        self._close_segment()
        path = self._folder / f"{self._number:012d}"
        path.mkdir()
        self._checksums = ChecksumFile(path)
        self._segments.append((path, 0))
        self._segment_bytes = self._segment_frames = 0

    def _sync(self) -> None:
        """Wait for the disk; where it cannot, `fault` says so: the entries are written."""
        handles, self._unsynced = self._unsynced, []
        self._synced_s = self._clock()
        for handle in handles:
            try:
                self._tried(os.fdatasync, handle)
            finally:
                os.close(handle)
        if handles and self._checksums is not None:
            self._tried(self._checksums.sync)
            folder = os.open(self._segments[-1][0], os.O_RDONLY)
            try:
                self._tried(os.fsync, folder)  # the names of the files
            finally:
                os.close(folder)

    def _tried(self, sync: Callable[..., object], *what: int) -> None:
        try:
            sync(*what)
        except OSError as error:
            self.fault = f"{self._folder}: {error.strerror}"
