"""Changed copies of good images: within the recipe's limits, and the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundles import Workshop
from kenpin.compile.good_images.augment import variants
from kenpin.config.augment import AugmentSpec
from kenpin.runtime.bundles.bundle import Bundle

PIXELS = np.random.default_rng(0).integers(20, 200, (40, 60), np.uint8)


def copies(name: str = "a.png", **settings: object) -> list[np.ndarray]:
    spec = AugmentSpec.model_validate(settings)
    first, *rest = variants(PIXELS, Path(name), spec, 0)
    assert first is PIXELS
    return rest


def test_nothing_asked_for_is_the_image_alone() -> None:
    assert len(list(variants(PIXELS, Path("a.png"), None, 0))) == 1


def test_flips_are_mirror_images() -> None:
    np.testing.assert_array_equal(copies(flip="across")[0], PIXELS[:, ::-1])
    np.testing.assert_array_equal(copies(flip="along")[0], PIXELS[::-1])
    ways = {one.tobytes() for one in copies(flip="both", copies=16)}
    expected = [PIXELS[:, ::-1], PIXELS[::-1], PIXELS[::-1, ::-1]]
    assert ways == {np.ascontiguousarray(one).tobytes() for one in expected}


def test_shifts_stay_within_their_limit() -> None:
    for moved in copies(shift_px=3, copies=16):
        places = [
            (dy, dx)
            for dy in range(-3, 4)
            for dx in range(-3, 4)
            if np.array_equal(moved[3:-3, 3:-3], PIXELS[3 + dy : 37 + dy, 3 + dx : 57 + dx])
        ]
        assert len(places) == 1


def test_brightness_stays_within_its_limit_and_changes() -> None:
    gains = [float(one.mean() / PIXELS.mean()) for one in copies(brightness=0.1, copies=16)]
    assert 0.895 < min(gains) < 0.97
    assert 1.03 < max(gains) < 1.105


def test_each_file_draws_its_own_changes_and_always_the_same() -> None:
    settings = {"flip": "both", "shift_px": 5, "brightness": 0.2, "copies": 3}
    once, again, other = copies(**settings), copies(**settings), copies("b.png", **settings)
    for one, two in zip(once, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(once[0], other[0])


def test_copies_that_change_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="give flip, shift_px or brightness"):
        AugmentSpec(copies=2)


@pytest.mark.thorough
def test_a_bundle_learns_from_the_copies_and_scores_the_photographs(
    workshop: Workshop, patchcore: Bundle, tmp_path: Path
) -> None:
    more = workshop.build(tmp_path, "images.augment={flip='across'}").bundle
    assert more.sha256 != patchcore.sha256
    assert more.manifest.data == patchcore.manifest.data
    scored = [one.name for one in more.manifest.good_scores]
    assert scored == [one.name for one in patchcore.manifest.good_scores]
