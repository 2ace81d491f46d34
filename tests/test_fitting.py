"""Images of any size, depth and colour to the frame that a recipe describes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import Workshop
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.frame import Frame
from kenpin.camera.genicam.pixel_formats import to_8_bit
from kenpin.compile.cli import main as edge_compile
from kenpin.config.exits import Exit
from kenpin.config.frame import FrameSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.fitting import at_depth, fitted, in_grey_levels, misfit, placed
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Outcome
from kenpin.runtime.service.geometry import geometry_of


def spec(**settings: object) -> FrameSpec:
    return FrameSpec.model_validate({"height_px": 64, "width_px": 96, **settings})


def noise(height: int = 64, width: int = 96, channels: int = 1, top: int = 256) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    kind = np.uint8 if top <= 256 else np.uint16
    return np.random.default_rng(1).integers(0, top, shape).astype(kind)


def test_the_highest_bits_are_those_that_the_camera_takes() -> None:
    deep = noise(top=1 << 12)
    seen = in_grey_levels(deep, spec(bits=12))
    np.testing.assert_array_equal(seen, to_8_bit(deep, 12))


@pytest.mark.parametrize("white", [256, 1000, 3999])
def test_white_is_255_and_below_it_grey_is_in_proportion(white: int) -> None:
    deep = np.array([[0, white // 2, white, 4095]], np.uint16)
    expected = np.minimum(np.floor(deep * 255.0 / white + 0.5), 255)
    np.testing.assert_array_equal(in_grey_levels(deep, spec(bits=12, white=white)), expected)


@given(st.integers(256, 65535))
def test_grey_levels_come_back_from_a_cameras_depth(white: int) -> None:
    levels = np.arange(256, dtype=np.uint8)[None]
    deep = at_depth(levels, spec(bits=16, white=white))
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(in_grey_levels(deep, spec(bits=16, white=white)), levels)
    assert at_depth(levels, spec()) is levels


@pytest.mark.parametrize("top", [256, 4096])
def test_colour_becomes_grey_as_the_recipe_says(top: int) -> None:
    colour = noise(channels=3, top=top)
    bits = 8 if top == 256 else 12
    high = colour.astype(int)
    weights = {
        "luma": [0.299, 0.587, 0.114],
        "mean": [1 / 3, 1 / 3, 1 / 3],
        "red": [1, 0, 0],
        "green": [0, 1, 0],
        "blue": [0, 0, 1],
    }
    for how, of_each in weights.items():
        grey = in_grey_levels(colour, spec(to_grey=how, bits=bits))
        assert grey.shape == (64, 96)
        expected = (high @ np.array(of_each)) / (1 << (bits - 8))
        np.testing.assert_allclose(grey, expected, atol=1.01)


@pytest.mark.parametrize("how", ["luma", "mean", "red"])
def test_grey_saved_in_colour_is_the_grey_it_was(how: str) -> None:
    grey = noise()
    colour = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(in_grey_levels(colour, spec(to_grey=how)), grey)


@pytest.mark.parametrize(
    ("pixels", "settings", "said"),
    [
        (noise(top=4096), {}, "set frame.bits = 12 in the recipe"),
        (noise(top=4096), {"bits": 10}, "which need 12 bits, expected 10; set frame.bits = 12"),
        (noise(), {"bits": 12, "white": 3000}, 'set camera.bits = "all"'),
        (noise(channels=3), {}, "frame has 3 channels, expected 1; set frame.to_grey"),
        (
            np.repeat(noise()[..., None], 3, axis=2),
            {},
            "all the same, grey that was saved in colour: set frame.to_grey",
        ),
        (noise(), {"channels": 3}, "frame has 1 channels, expected 3"),
        (noise().astype(np.float32), {}, "frame holds float32"),
        (noise(63), {}, "frame is 63 x 96 px, expected 64 x 96"),
        (noise(63), {"fit": "trim"}, "frame is 63 x 96 px, expected at least 64 x 96"),
        (noise(65), {"fit": "pad"}, "frame is 65 x 96 px, expected at most 64 x 96"),
    ],
)
def test_what_cannot_be_made_to_fit_names_the_setting_that_helps(
    pixels: np.ndarray, settings: dict[str, object], said: str
) -> None:
    assert said in misfit(pixels, spec(**settings))


@given(
    size=st.tuples(st.integers(16, 300), st.integers(16, 300)),
    fit=st.sampled_from(["exact", "resize", "trim", "pad"]),
)
def test_every_image_that_fits_comes_out_in_the_frames_size(
    size: tuple[int, int], fit: str
) -> None:
    pixels, expected = noise(*size), spec(fit=fit)
    if not misfit(pixels, expected):
        assert fitted(pixels, expected).shape == (64, 96)


@pytest.mark.parametrize(("fit", "size"), [("trim", (200, 311)), ("pad", (40, 50))])
def test_trimmed_and_padded_images_keep_their_pixels_in_the_middle(
    fit: str, size: tuple[int, int]
) -> None:
    pixels = noise(*size)
    frame = fitted(pixels, spec(fit=fit))
    small, large = (frame, pixels) if fit == "trim" else (pixels, frame)
    found = [
        (y, x)
        for y in range(large.shape[0] - small.shape[0] + 1)
        for x in range(large.shape[1] - small.shape[1] + 1)
        if np.array_equal(large[y : y + small.shape[0], x : x + small.shape[1]], small)
    ]
    assert len(found) == 1
    for start, outer, inner in zip(found[0], large.shape, small.shape, strict=True):
        assert abs(start - (outer - inner) / 2) <= 32


@pytest.mark.parametrize(
    ("fit", "size"),
    [("trim", (200, 311)), ("trim", (64, 96)), ("pad", (17, 40)), ("pad", (64, 90))],
)
@pytest.mark.parametrize("stride", [4, 8, 16])
def test_the_map_of_a_fitted_image_lies_where_its_pixels_lie(
    fit: str, size: tuple[int, int], stride: int
) -> None:
    pixels = noise(*size)
    expected = spec(fit=fit)
    frame = fitted(pixels, expected)
    blocks = frame.reshape(64 // stride, stride, 96 // stride, stride)
    score_map = ScoreMap(blocks.max(axis=(1, 3)).astype(np.float32), stride, (64, 96))
    laid = placed(score_map, expected, *size)
    assert laid.frame_size == size
    assert laid.values.shape == (-(-size[0] // stride), -(-size[1] // stride))
    for row, col in np.argwhere(laid.values > 0):
        block = pixels[row * stride : (row + 1) * stride, col * stride : (col + 1) * stride]
        if block.shape == (stride, stride):
            assert laid.values[row, col] == block.max()
    assert laid.values.max() > 200


def test_manifests_and_recipes_that_say_resize_are_understood() -> None:
    old = {"height_px": 64, "width_px": 96, "channels": 1, "resize": True}
    assert FrameSpec.model_validate(old).fit == "resize"
    assert spec(fit="resize").model_dump() == old
    assert spec().model_dump() == {**old, "resize": False}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"white": 3000}, "white 3000 is no value"),
        ({"white": 3000, "bits": 10}, "white 3000 is no value"),
        ({"to_grey": "luma", "channels": 3}, "to_grey makes frames of one channel"),
        ({"fit": "trim", "resize": True}, "resize and fit are both given"),
        ({"geometry": "continuous", "height_px": 0, "fit": "trim"}, "remove height_px and fit"),
    ],
)
def test_settings_of_the_frame_that_contradict_each_other_are_refused(
    settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        spec(**settings)


@pytest.fixture(scope="module")
def deep(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workshop's good frames and a test set, in colour and with 12 bits."""
    folder = tmp_path_factory.mktemp("deep")
    for place in ("train/good", "test/good", "test/spot"):
        (folder / place).mkdir(parents=True)
        for file in sorted((workshop.data / place).iterdir()):
            colour = np.repeat(read_pixels(file)[..., None], 3, axis=2)
            write_png(folder / place / file.name, colour.astype(np.uint16) * 16)
    return folder


@pytest.mark.thorough
def test_twelve_bits_of_colour_are_compiled_judged_and_measured_as_the_grey_they_show(
    workshop: Workshop, patchcore: Bundle, deep: Path, tmp_path: Path
) -> None:
    changes = (f'images.good="{deep / "train/good"}"', "frame.bits=12", "frame.to_grey=luma")
    bundle = workshop.build(tmp_path, *changes).bundle
    for place in ("test/good/000.png", "test/spot/000.png"):
        verdicts = [
            Pipeline(which).judge(Frame(read_pixels(folder / place), 0, 0)).verdict
            for which, folder in (
                (bundle, deep),
                (patchcore, workshop.data),
                (bundle, workshop.data),
            )
        ]
        assert len({(v.outcome, v.score, v.peak_xy) for v in verdicts}) == 1
    assert edge_compile(["eval", str(bundle.folder), str(deep)]) == Exit.DONE
    assert edge_compile(["verify", str(bundle.folder)]) == Exit.DONE


def test_a_trimmed_photograph_is_judged_and_its_peak_lies_in_the_photograph(
    workshop: Workshop, patchcore: Bundle
) -> None:
    # Its images have the frame's size: trimmed, the same would have been compiled.
    manifest = patchcore.manifest
    trimmed = manifest.frame.model_copy(update={"fit": "trim"})
    bundle = replace(patchcore, manifest=manifest.model_copy(update={"frame": trimmed}))
    whole = read_pixels(workshop.data / "test" / "good" / "000.png")
    photograph = np.pad(whole, ((64, 70), (32, 40)), mode="reflect")
    photograph[64 + 50 : 64 + 70, 32 + 100 : 32 + 120] = 255
    verdict = Pipeline(bundle).judge(Frame(photograph, 0, 0)).verdict
    assert verdict.outcome is Outcome.NG
    assert verdict.peak_xy is not None
    x, y = verdict.peak_xy
    assert 32 + 95 < x < 32 + 125
    assert 64 + 45 < y < 64 + 75


def test_deep_and_coloured_frames_find_their_room_in_the_ring(tmp_path: Path) -> None:
    tree = {"features": {"patch_stride_px": 8}, "tiles": {"size_px": 64}}
    for settings, bytes_each in (({}, 1), ({"bits": 12}, 2), ({"bits": 12, "to_grey": "mean"}, 6)):
        manifest = {**tree, "frame": spec(**settings).model_dump()}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        assert geometry_of(tmp_path).frame_bytes == 64 * 96 * bytes_each
