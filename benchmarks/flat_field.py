"""What a flat-field correction costs, beside the copy into the ring that it takes the place of.

    python benchmarks/flat_field.py

One core, interleaved; the share is of the time in which an 80 kHz camera makes the frame.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from kenpin.camera.flat_field import FlatField

ROUNDS = 60
LINE_RATE_HZ = 80_000


def main() -> None:
    rng = np.random.default_rng(1)
    sys.stdout.write("| frame | copy, ms | corrected, ms | more, ms | share of its time |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- |\n")
    for height, width in ((256, 1024), (256, 4096), (1024, 8192)):
        offset = rng.uniform(0, 8, width).astype(np.float32)
        field = FlatField(offset, rng.uniform(0.9, 1.3, width).astype(np.float32))
        frame = rng.integers(0, 256, (height, width), np.uint8)
        out = np.empty_like(frame)
        copied, corrected = [], []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            np.copyto(out, frame)
            copied.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            field.apply(frame, out)
            corrected.append(time.perf_counter() - begun)
        a, b = np.median(copied) * 1e3, np.median(corrected) * 1e3
        low, high = np.percentile(corrected, [10, 90]) * 1e3
        share = (b - a) / (height / LINE_RATE_HZ * 1e3)
        sys.stdout.write(
            f"| {width} x {height} | {a:.2f} | {b:.2f} ({low:.2f}-{high:.2f}) | {b - a:.2f} "
            f"| {share:.0%} |\n"
        )


if __name__ == "__main__":
    main()
