"""Recordings of a camera: one plain image file a frame, and all that is known of it inside.

docs/recording.md describes the format for whoever writes a reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.capture import Capture, LineCounts
from kenpin.camera.files.checksums import KIND, checksum, read_checksums
from kenpin.camera.frame import Frame, LostFrame, Pixels
from kenpin.camera.loss import Loss
from kenpin.camera.source import CameraError

__all__ = [
    "LABEL",
    "VERSION",
    "RecordingEntry",
    "RecordingError",
    "encode_frame",
    "encode_loss",
    "entry_name",
    "is_recording",
    "list_entries",
    "missing_from",
    "read_entry",
    "whole",
]

# The file that makes a folder a recording, and the version of what stands in it.
LABEL = "recording.json"
VERSION = 1
_MARK = "# kenpin "
_NAME = re.compile(r"^(\d{12})\.(pgm|ppm|lost\.json)$")
# A header holds a line of metadata; much longer ones are not ours.
_LONGEST_HEADER = 16384


class RecordingError(CameraError):
    """A recording that cannot be read or written."""


@dataclass(frozen=True)
class RecordingEntry:
    """One file of a recording: a frame, or a note that frames were lost.

    checksum  CRC-32 of its bytes; None where none was recorded
    listed    False: the recording has checksums, and has lost the one of this entry
    """

    number: int
    path: Path
    checksum: int | None = None
    listed: bool = True

    @property
    def lost(self) -> bool:
        """Whether it only says what was lost."""
        return self.path.suffix == ".json"


def entry_name(number: int, suffix: str) -> str:
    """The file name of the entry with this number; suffix `pgm`, `ppm` or `lost.json`."""
    return f"{number:012d}.{suffix}"


def encode_frame(frame: Frame) -> tuple[str, bytes, memoryview]:
    """A frame as the parts of its file: suffix, header, pixels.

    Netpbm: P5 for (H, W), P6 for (H, W, 3); 16-bit samples high byte first. What
    is known of the frame stands in a comment of the header, which every reader skips.
    """
    pixels = frame.pixels
    known = {
        "index": frame.index,
        "captured_ns": frame.captured_ns,
        "name": frame.name,
        **asdict(frame.capture),
    }
    height, width = pixels.shape[:2]
    kind, suffix = (b"P5", "pgm") if pixels.ndim == 2 else (b"P6", "ppm")
    comment = _MARK.encode() + json.dumps(known).encode()
    top = 255 if pixels.dtype == np.uint8 else 65535
    header = b"%s\n%s\n%d %d\n%d\n" % (kind, comment, width, height, top)
    wire: NDArray[Any] = pixels if pixels.dtype == np.uint8 else pixels.astype(">u2")
    return suffix, header, np.ascontiguousarray(wire).reshape(-1).view(np.uint8).data


def encode_loss(lost: LostFrame) -> bytes:
    """The file that says what was lost."""
    return (json.dumps({**asdict(lost), "loss": lost.loss.value}) + "\n").encode()


def is_recording(folder: Path) -> bool:
    """Whether a folder is one."""
    return (folder / LABEL).is_file()


def list_entries(folder: Path) -> list[RecordingEntry]:
    """All entries of a recording in order, the unfinished last one left out.

    Raises
    ------
    RecordingError
        If the folder is no recording, or of another version.
    """
    try:
        label = json.loads((folder / LABEL).read_text())
        version = label["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{folder}: is no recording ({error}); it has no {LABEL}") from None
    if version != VERSION:
        raise RecordingError(
            f"{folder}: a recording of version {version}, this reader knows {VERSION}; update it"
        )
    entries = _entries(folder)
    if label.get("checksums") == KIND:
        entries = _proven(entries, ended="entries" in label)
    # Only what was being written when the power went may be torn: the last ones.
    while entries and not whole(entries[-1]):
        entries.pop()
    return entries


def _entries(folder: Path) -> list[RecordingEntry]:
    found = [
        RecordingEntry(int(name[1]), path)
        for path in folder.glob("*/*")
        if (name := _NAME.fullmatch(path.name)) and path.is_file()
    ]
    return sorted(found, key=lambda entry: entry.number)


def _proven(entries: list[RecordingEntry], *, ended: bool) -> list[RecordingEntry]:
    """The entries with their checksums; what was being written at a power cut may have none."""
    known = {
        folder / name: value
        for folder in {entry.path.parent for entry in entries}
        for name, value in read_checksums(folder).items()
    }
    last = max((entry.number for entry in entries if entry.path in known), default=-1)
    return [
        replace(
            entry,
            checksum=known.get(entry.path),
            listed=entry.path in known or (not ended and entry.number > last),
        )
        for entry in entries
    ]


def missing_from(folder: Path, entries: Sequence[RecordingEntry]) -> list[str]:
    """What a recording once held and no longer does, a sentence each; empty if it is whole.

    Parameters
    ----------
    entries
        As `list_entries` gives them, at least one.
    """
    found = []
    first, last = entries[0].number, entries[-1].number
    if first:
        found.append(f"its first {first} entries are missing: dropped as the oldest, or removed")
    held = {entry.number for entry in entries}
    between = [number for number in range(first, last) if number not in held]
    if between:
        found.append(f"{len(between)} entries from {between[0]} on are missing; look at the disk")
    torn = _entries(folder)[-1].number - last
    label = json.loads((folder / LABEL).read_text())
    count = label.get("entries")
    if torn:
        why = "they were being written at a power cut" if count is None else "copy it again"
        found.append(f"its last {torn} entries are torn or altered: {why}")
    if "checksums" not in label:
        found.append("it is older and has no checksums: pixels altered since go unnoticed")
    elif unproven := sum(entry.checksum is None and entry.listed for entry in entries):
        found.append(f"its last {unproven} entries were written without their checksums")
    if count is None:
        found.append("it was never ended, so what came last may be missing")
    elif count > last + torn + 1:
        found.append(f"its last {count - last - torn - 1} entries are missing; copy it again")
    return found


def whole(entry: RecordingEntry) -> bool:
    """Whether `read_entry` can read it."""
    try:
        read_entry(entry)
    except RecordingError:
        return False
    return True


def read_entry(entry: RecordingEntry) -> Frame | LostFrame:
    """The frame or the loss in a file, bit for bit as it was recorded.

    Raises
    ------
    RecordingError
        If the file is torn or altered.
    """
    try:
        raw = entry.path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{entry.path}: cannot be read ({error})") from None
    if not entry.listed:
        raise RecordingError(f"{entry.path}: its checksum is missing; copy the recording again")
    if entry.checksum is not None and (found := checksum([raw])) != entry.checksum:
        raise RecordingError(
            f"{entry.path}: torn or altered (CRC-32 {found:08x}, recorded {entry.checksum:08x})"
        )
    try:
        return _loss(raw) if entry.lost else _frame(raw)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RecordingError(f"{entry.path}: torn or altered ({error})") from None


def _frame(raw: bytes) -> Frame:
    lines = raw[:_LONGEST_HEADER].split(b"\n", 4)
    kind, comment, size, top = lines[0], lines[1].decode(), lines[2], int(lines[3])
    if kind not in (b"P5", b"P6") or not comment.startswith(_MARK):
        raise ValueError("it is not as kenpin writes it")
    known = json.loads(comment[len(_MARK) :])
    width, height = map(int, size.split())
    dtype = np.dtype(np.uint8 if top == 255 else ">u2")
    shape = (height, width) if kind == b"P5" else (height, width, 3)
    start = sum(len(line) + 1 for line in lines[:4])
    expected = int(np.prod(shape)) * dtype.itemsize
    if len(raw) - start != expected:
        raise ValueError(f"{len(raw) - start} bytes of pixels, expected {expected}")
    sent: NDArray[Any] = np.frombuffer(raw, dtype, offset=start).reshape(shape)
    pixels: Pixels = sent if top == 255 else sent.astype(np.uint16)
    index, captured_ns, name = (known.pop(key) for key in ("index", "captured_ns", "name"))
    counts = known.pop("encoder_lines", None)
    if counts is not None:
        known["encoder_lines"] = LineCounts(
            tuple(counts["lines"]), tuple(counts["counts"]), counts["within"]
        )
    return Frame(pixels, captured_ns, index, name, Capture(**known))


def _loss(raw: bytes) -> LostFrame:
    fields = json.loads(raw)
    return LostFrame(**{**fields, "loss": Loss(fields["loss"])})
