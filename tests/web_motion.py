"""True motions of a web, and the wheel and the frames through which kenpin sees them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from kenpin.camera.genicam.line_counts import straightened
from kenpin.config.web import AlongSpec, WebEncoderSpec
from kenpin.runtime.web.position import Along

__all__ = [
    "BITS",
    "HEIGHTS",
    "HOW",
    "PER_MM",
    "PITCH",
    "ROUND",
    "SIGN",
    "Counter",
    "encoder",
    "frames_of",
    "motions",
]

# A true motion of the web: mm of travel at each line, as the web stops, creeps, speeds up,
# backs up or runs. Never faster than a pitch a line.
PITCH, PER_MM, BITS = 0.1, 20.0, 16
# Sums of tenths are no tenths.
ROUND = 1e-6


def encoder(counts_per_mm: float = 20, bits: int = 16) -> Along:
    """Places by a wheel of so many counts, at a pitch of PITCH mm."""
    return Along(
        AlongSpec(
            line_pitch_mm=PITCH, encoder=WebEncoderSpec(counts_per_mm=counts_per_mm, bits=bits)
        )
    )


@st.composite
def motions(draw: st.DrawFn) -> NDArray[np.float64]:
    """(n + 1,) mm at the start of each line and at the end of the last."""
    speeds: list[NDArray[np.float64]] = []
    speed = draw(st.sampled_from([0.0, 0.5, 1.0]))
    for _ in range(draw(st.integers(1, 6))):
        lines = draw(st.integers(1, 4000))
        towards = draw(st.sampled_from([0.0, 0.02, 0.5, 1.0, -0.3, -1.0]))
        # At once, or evenly over the stretch.
        ramp = np.linspace(speed, towards, lines) if draw(st.booleans()) else towards
        speeds.append(np.broadcast_to(ramp, lines))
        speed = towards
    return np.concatenate([[0.0], np.cumsum(PITCH * np.concatenate(speeds))])


def frames_of(rng: np.random.Generator, usual: int, lines: int) -> list[tuple[int, int]]:
    """First and end lines of frames of a height, some shorter; at most 500 of them."""
    starts: list[int] = []
    at = 0
    while at < lines and len(starts) < 500:
        starts.append(at)
        at += max(1, usual // int(rng.choice([1, 1, 1, 2, usual])))
    return list(zip(starts, [*starts[1:], min(at, lines)], strict=True))


HEIGHTS = st.sampled_from([1, 7, 64, 256, 2000, 4000]) | st.integers(1, 4000)


class Counter:
    """A wheel on a web that moves so: what it shows, with so many bits, at a line."""

    def __init__(self, true_mm: NDArray[np.float64], sign: int, rng: np.random.Generator) -> None:
        self._true_mm, self._per_mm = true_mm, sign * PER_MM
        self._start = int(rng.integers(1 << BITS))

    def passed(self, mm: float) -> int:
        """Its unwrapped count once the web has come so far, counted from the first line."""
        return int(np.floor(self._per_mm * mm))

    def at(self, lines: slice | int) -> NDArray[np.int64]:
        """What it shows at some lines."""
        count = self._start + np.floor(self._per_mm * self._true_mm[lines]).astype(np.int64)
        shown: NDArray[np.int64] = count % (1 << BITS)
        return shown

    def tell(
        self, along: Along, frame: tuple[int, int], how: str, rng: np.random.Generator
    ) -> None:
        """Anchor a frame's lines: its first, some within, or all as a camera tells them."""
        first, end = frame
        if how == "all lines":
            along.lines(first, straightened(self.at(slice(first, end))))
            return
        for line in range(first, end, int(rng.integers(1, 60))) if how == "some" else (first,):
            along.anchor(line, int(self.at(line)))


HOW = st.sampled_from(["first lines", "some", "all lines"])
SIGN = st.sampled_from([1, -1])
