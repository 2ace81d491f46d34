"""What stands for lines past the ends of a web: the web itself, so that it goes on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kenpin.runtime.judging.tiling import reflect
from kenpin.runtime.web.ends import SEAM_LINES, SHORTEST_SHIFT, Ends


@given(st.floats(5, 23), st.integers(0, 99), st.integers(60, 200))
def test_a_weave_goes_on_thread_by_thread(period: float, seed: int, lines: int) -> None:
    rng = np.random.default_rng(seed)
    at, phase = np.arange(-40, lines + 40), rng.uniform(0, 6, 64)
    cloth = 100 + 50 * np.sin(2 * np.pi * at[:, None] / period + phase)
    web = cloth[40:-40]
    ends = Ends(web, web)
    shown = web[ends.index(at, lines)]
    # Within half a line of a period; mirrored, some columns run against themselves.
    worst = np.abs(shown - cloth).mean()
    assert worst <= 50 * np.pi / period
    assert worst < 0.5 * np.abs(web[reflect(at, lines)] - cloth).mean() + 1


@given(st.integers(1, 400), st.integers(1, 90), st.integers(0, 20))
def test_every_line_past_an_end_is_one_that_is_held_there(
    lines: int, reach: int, seed: int
) -> None:
    web = np.random.default_rng(seed).integers(0, 255, (lines, 9), np.uint8)
    index = Ends(web[:reach], web[-reach:]).index(np.arange(-300, lines + 300), lines)
    assert (index[300:-300] == np.arange(lines)).all()
    assert index.min() >= 0
    assert index.max() < lines
    if min(reach, lines) >= SEAM_LINES + 2 * SHORTEST_SHIFT:
        assert index[:300].max() < min(reach, lines)
        assert index[-300:].min() >= lines - min(reach, lines)
