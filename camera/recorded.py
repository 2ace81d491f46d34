"""Recorded frames played back, flat out or at the pace of a line."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kenpin.camera.frame import Frame, LostFrame, Pixels
from kenpin.camera.images import ImageError, in_order, is_image, list_files, read_pixels
from kenpin.camera.source import FrameSource

__all__ = ["PacedFrames", "RecordedFrames"]

_NEVER_ON_THE_LINE = ("train", "ground_truth")


class PacedFrames(FrameSource, ABC):
    """A `FrameSource` whose frames are made on demand and handed out on time.

    The first frame is due when it is first asked for, and sets the pace: frame k
    is due k periods later, however long its readers take. `captured_ns` is that
    time, so for a reader that falls behind it lies in the past, and the latency
    counts from when a camera would have delivered.

    A frame is made in `grab`, before it is due: a reader that returns early
    enough meets it at its due time.

    count     frames until it is exhausted; None for ever
    rate_hz   frames per second; None hands each out as soon as it is made,
              captured at that moment
    clock_ns  monotonic clock, ns
    sleep     waits for so many seconds of that clock

    Raises
    ------
    ValueError
        If the rate is not above 0, or the count below 0.
    """

    def __init__(
        self,
        count: int | None,
        rate_hz: float | None,
        clock_ns: Callable[[], int],
        sleep: Callable[[float], None],
    ) -> None:
        if rate_hz is not None and not rate_hz > 0:
            raise ValueError(f"rate_hz is {rate_hz}, expected more than 0; None plays flat out")
        if count is not None and count < 0:
            raise ValueError(f"count is {count}, expected 0 or more; None goes on for ever")
        self._count = count
        self._rate_hz = rate_hz
        self._clock_ns = clock_ns
        self._sleep = sleep
        self._closed = False
        self._index = 0
        self._first_due_ns: int | None = None
        self._made: tuple[Pixels | None, str, str] | None = None

    @property
    def exhausted(self) -> bool:
        """True after the last frame, or once closed."""
        return self._closed or self._index == self._count

    def grab(self, timeout_s: float) -> Frame | LostFrame | None:
        """The next frame, or None if it is not due within `timeout_s` seconds."""
        if self.exhausted:
            return None
        deadline_ns = self._clock_ns() + round(timeout_s * 1e9)
        if self._made is None:
            self._made = self._make(self._index)
        now_ns = self._clock_ns()
        due_ns = self._due_ns(now_ns)
        until_ns = min(due_ns, deadline_ns)
        if until_ns > now_ns:
            self._sleep((until_ns - now_ns) / 1e9)
        # Making the frame may have used up the timeout: it is still handed out if due.
        if due_ns > max(deadline_ns, now_ns):
            return None
        (pixels, detail, name), index = self._made, self._index
        self._made, self._index = None, index + 1
        if pixels is None:
            return LostFrame(due_ns, index, detail, name)
        return Frame(pixels, due_ns, index, name)

    def close(self) -> None:
        """Hand out no more frames."""
        self._closed = True
        self._made = None

    @abstractmethod
    def _make(self, index: int) -> tuple[Pixels | None, str, str]:
        """Frame `index`: its pixels, or None and what happened to it; and its name."""

    def _due_ns(self, now_ns: int) -> int:
        if self._rate_hz is None:
            return now_ns
        if self._first_due_ns is None:
            self._first_due_ns = now_ns
        # From the first frame each time: adding up periods would add up rounding.
        return self._first_due_ns + round(self._index * 1e9 / self._rate_hz)


class RecordedFrames(PacedFrames):
    """Image files as a `FrameSource`: each file once, in order.

    A file that cannot be read is handed out as a `LostFrame`: it was recorded,
    so it is owed a verdict. Files are read one by one, as they fall due.

    recording  a folder: its images and those of the folders below it, in the
               order of their relative paths, which name the frames. Beside a
               folder `test`, as in MVTec-like trees, `train` and `ground_truth`
               are left out: they are not what the line saw. Or paths, in the
               order given, which name the frames
    rate_hz    frames per second; None plays flat out; see `PacedFrames`
    loop       begin again after the last file; indices go on counting
    ignored    what else lies among the images of the folder, for a warning

    Raises
    ------
    ImageError
        If the folder is missing or no image is in it.
    ValueError
        If the list of paths is empty, or the rate is not above 0.
    """

    def __init__(
        self,
        recording: Path | Sequence[Path],
        *,
        rate_hz: float | None = None,
        loop: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.ignored: tuple[Path, ...] = ()
        if isinstance(recording, Path):
            files, self.ignored = _recorded_in(recording)
            self._files = [(path, path.relative_to(recording).as_posix()) for path in files]
        else:
            self._files = [(path, path.as_posix()) for path in recording]
        if not self._files:
            raise ValueError("no paths given, expected at least one; name a file or a folder")
        super().__init__(None if loop else len(self._files), rate_hz, clock_ns, sleep)

    def __len__(self) -> int:
        """The number of files: of frames, when it does not loop."""
        return len(self._files)

    def _make(self, index: int) -> tuple[Pixels | None, str, str]:
        path, name = self._files[index % len(self._files)]
        try:
            return read_pixels(path), "", name
        except ImageError as error:
            return None, str(error), name


def _recorded_in(folder: Path) -> tuple[list[Path], tuple[Path, ...]]:
    """The images in a folder and below, in order, and what else lies among them."""
    files = [path for inner in _folders_from(folder, frozenset()) for path in list_files(inner)]
    images = [path for path in files if is_image(path)]
    if not images:
        found = f"no image in it or below, {len(files)} other files"
        raise ImageError(folder, found, "name the folder of a recording")
    return in_order(images), tuple(in_order(path for path in files if not is_image(path)))


def _folders_from(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """The folder and those below it, through links too, but never in a circle."""
    here = folder.resolve()
    if here in above:
        return
    yield folder
    inner = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    tested = any(path.name == "test" for path in inner)
    for path in inner:
        if not (tested and path.name in _NEVER_ON_THE_LINE):
            yield from _folders_from(path, above | {here})
