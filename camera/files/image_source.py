"""Image files played back as frames, flat out or at the pace of a line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import ImageError, is_image, list_files, name_in, printable
from kenpin.camera.frame import Frame, LostFrame
from kenpin.camera.paced_source import PacedSource

__all__ = ["ImageCut", "ImageSource"]

_NEVER_ON_THE_LINE = ("train", "ground_truth")


class ImageSource(PacedSource):
    """Image files as a `FrameSource`: each file once, in order.

    A file that cannot be read is handed out as a `LostFrame`: it was recorded,
    so it is owed a verdict. Files are read one by one, as they fall due.

    recording  a folder: its images and those of the folders below it, in the
               order of their relative paths, which name the frames. Beside a
               folder `test`, as in MVTec-like trees, `train` and `ground_truth`
               are left out: they are not what the line saw. Or paths, in the
               order given, which name the frames
    rate_hz    frames per second; None plays flat out; see `PacedSource`
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
            self._files = [(path, name_in(recording, path)) for path in files]
        else:
            self._files = [(path, printable(path)) for path in recording]
        if not self._files:
            raise ValueError("no paths given, expected at least one; name a file or a folder")
        super().__init__(None if loop else len(self._files), rate_hz, clock_ns, sleep)

    def __len__(self) -> int:
        """The number of files: of frames, when it does not loop."""
        return len(self._files)

    def cuts(self, size: int) -> Iterator[ImageCut]:
        """The files in pieces of that size, each of which others can play; once, not in a loop."""
        for first in range(0, len(self._files), size):
            yield ImageCut(first, tuple(self._files[first : first + size]))

    def _make(self, position: int) -> Frame | LostFrame:
        path, name = self._files[position % len(self._files)]
        return _read(path, name, position)


@dataclass(frozen=True, slots=True)
class ImageCut:
    """A piece of an `ImageSource`, to be read elsewhere.

    first  number of its first frame
    files  each with the name of its frame
    """

    first: int
    files: tuple[tuple[Path, str], ...]

    def frames(self) -> Iterator[Frame | LostFrame]:
        """The same frames that the source would have handed out, captured at no time."""
        for number, (path, name) in enumerate(self.files):
            yield _read(path, name, self.first + number)


def _read(path: Path, name: str, index: int) -> Frame | LostFrame:
    try:
        return Frame(read_pixels(path), 0, index, name)
    except ImageError as error:
        return LostFrame(0, index, str(error), name)


def _recorded_in(folder: Path) -> tuple[list[Path], tuple[Path, ...]]:
    """The images in a folder and below, in order, and what else lies among them."""
    files = [path for path in list_files(folder) if not _never_seen(folder, path)]
    images = [path for path in files if is_image(path)]
    if not images:
        found = f"no image in it or below, {len(files)} other files"
        raise ImageError(folder, found, "name the folder of a recording")
    return images, tuple(path for path in files if not is_image(path))


def _never_seen(folder: Path, file: Path) -> bool:
    """Whether a file lies in a part of a dataset that was never before the camera."""
    inner = file.relative_to(folder).parts[:-1]
    return any(
        name in _NEVER_ON_THE_LINE and folder.joinpath(*inner[:depth], "test").is_dir()
        for depth, name in enumerate(inner)
    )
