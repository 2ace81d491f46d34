"""Which good images and webs are typical, and what their strips are called."""

from __future__ import annotations

import numpy as np

from kenpin.compile.methods.leave_out import LeftOut
from kenpin.compile.operating_point.good_scores import typical_webs

MAP = np.zeros((2, 3), np.float32)


def strips(web: int, odd: int, count: int = 15) -> list[LeftOut]:
    """Strips of a web, of which the first are odd."""
    scores = [9.0] * odd + [1 + n / 100 for n in range(count - odd)]
    return [
        LeftOut(
            web, n, web * count + n, n * 64, MAP, MAP[None], MAP == 0, np.ones(3, np.float32), score
        )
        for n, score in enumerate(scores)
    ]  # fmt: skip


def test_defects_are_drawn_into_webs_without_odd_strips() -> None:
    found = [one for web, odd in enumerate((0, 1, 0, 2)) for one in strips(web, odd)]
    assert typical_webs(found, 4) == [0, 2]


def test_webs_that_each_have_an_odd_strip_are_drawn_into_all_the_same() -> None:
    assert typical_webs(strips(0, 1), 1) == [0]
    found = [one for web, odd in enumerate((1, 2, 1, 1)) for one in strips(web, odd)]
    assert typical_webs(found, 4) == [0, 2, 3]
