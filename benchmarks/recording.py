"""What a recording's checksums cost, beside a recording without them, interleaved.

    python benchmarks/recording.py FOLDER

Frames of 4096 x 256 pixels, as fast as they can be written; FOLDER lies on the disk in question.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from kenpin.camera.files import recording_writer
from kenpin.camera.frame import Frame

_SHAPE = (256, 4096)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=200, help="of one recording (200)")
    parser.add_argument("--turns", type=int, default=7, help="recordings of each kind (7)")
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    frame = Frame(rng.integers(0, 256, _SHAPE, dtype=np.uint8), 0, 0)
    plain, summed = [], []
    for _ in range(options.turns):
        with mock.patch.object(recording_writer, "checksum", return_value=0):
            plain.append(_ms_per_frame(options.folder, frame, options.frames))
        summed.append(_ms_per_frame(options.folder, frame, options.frames))
    for name, found in (("without checksums", plain), ("with checksums", summed)):
        low, middle, high = (np.percentile(found, share) for share in (25, 50, 75))
        rate = frame.pixels.nbytes / middle / 1e3
        sys.stdout.write(
            f"{name:<18} {middle:.3f} ms a frame (IQR {low:.3f}-{high:.3f}), {rate:.0f} MB/s, "
            f"{_SHAPE[0] / middle:.0f} thousand lines a second\n"
        )
    ratios = [after / before for before, after in zip(plain, summed, strict=True)]
    sys.stdout.write(
        f"ratio {statistics.median(ratios):.2f}, {min(ratios):.2f}-{max(ratios):.2f}\n"
    )
    return 0


def _ms_per_frame(folder: Path, frame: Frame, count: int) -> float:
    place = folder / "benchmark-recording"
    with recording_writer.RecordingWriter(place, max_bytes=10**12) as writer:
        began = time.perf_counter()
        for _ in range(count):
            assert writer.write(frame), writer.fault
        spent = time.perf_counter() - began
    shutil.rmtree(place)
    return spent / count * 1e3


if __name__ == "__main__":
    sys.exit(main())
