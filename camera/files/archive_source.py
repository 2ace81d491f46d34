"""A line's archive as a `FrameSource`: what it kept, here or in a bucket, and what it said then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kenpin.camera.files.images import decode_pixels
from kenpin.camera.files.listing import ImageError
from kenpin.camera.files.places import open_place
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.paced_source import PacedSource

__all__ = ["ArchiveCut", "ArchiveSource", "Then"]

# As an entry names them, and as the wire does.
_OUTCOMES = {"OK": 1, "NG": 2, 1: 1, 2: 2}


@dataclass(frozen=True, slots=True)
class Then:
    """What an entry says of its frame's verdict.

    verdict  as on the wire: 1 is OK, 2 is NG
    reason   empty where it was OK
    bundle   that judged it
    """

    verdict: int
    reason: str
    bundle: str


class ArchiveSource(PacedSource):
    """The whole entries of an archive in the order of their numbers; see `PacedSource`.

    where   the archive's folder: a path, or a URL such as s3://bucket/line

    Raises
    ------
    ImageError
        If it holds no whole entry.
    ConfigError
        If it cannot be listed, or its kind of place needs what is not installed.
    """

    def __init__(
        self,
        where: str,
        *,
        rate_hz: float | None = None,
        loop: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        names = set(open_place(where).names())
        whole = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        # Numbers rise over both folders, whose names come first.
        self._names = sorted(
            (name for name in whole if f"{name}.png" in names), key=lambda name: name.split("/")[-1]
        )
        if not self._names:
            raise ImageError(
                Path(where), "no whole entry of an archive in it", "name the folder of ok/ and ng/"
            )
        self._where = where
        super().__init__(None if loop else len(self._names), rate_hz, clock_ns, sleep)

    def __len__(self) -> int:
        """The number of entries: of frames, when it does not loop."""
        return len(self._names)

    def cuts(self, size: int) -> Iterator[ArchiveCut]:
        """The entries in pieces of that size, each of which others can play; once."""
        for first in range(0, len(self._names), size):
            yield ArchiveCut(self._where, first, tuple(self._names[first : first + size]))

    def then(self, frame_name: str) -> Then | None:
        """See `ArchiveCut`."""
        return ArchiveCut(self._where, 0, ()).then(frame_name)

    def _make(self, position: int) -> Frame | LostFrame:
        name = self._names[position % len(self._names)]
        (frame,) = ArchiveCut(self._where, position, (name,)).frames()
        return frame


@dataclass(frozen=True, slots=True)
class ArchiveCut:
    """A piece of an `ArchiveSource`, to be read elsewhere.

    first  number of its first frame
    names  of its entries, below `where` and without their suffix
    """

    where: str
    first: int
    names: tuple[str, ...]

    def frames(self) -> Iterator[Frame | LostFrame]:
        """The same frames that the source would have handed out, captured at no time."""
        place = open_place(self.where)
        for number, name in enumerate(self.names, self.first):
            file = f"{name}.png"
            try:
                yield Frame(decode_pixels(Path(file), place.read(file)), 0, number, file)
            except ImageError as error:
                yield LostFrame(0, number, str(error), file)
            except FileNotFoundError:
                # The line goes on and makes room meanwhile.
                yield LostFrame(0, number, f"{file} has gone from the archive since", file)

    def then(self, frame_name: str) -> Then | None:
        """What the line said of a frame; None where its entry does not tell."""
        entry = f"{frame_name.removesuffix('.png')}.json"
        try:
            verdict = json.loads(open_place(self.where).read(entry))["verdict"]
            return Then(
                _OUTCOMES[verdict["verdict"]], verdict["reason"] or "", str(verdict["bundle"])
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
