"""Statistics are made of what is inspected: told by the build as the box tells it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fake_reader import FakeReader, features
from kenpin.camera.files.images import write_png
from kenpin.compile.good_images.places import InspectedPlaces
from kenpin.compile.methods.feature_reader import FeatureReader, Unit
from kenpin.compile.methods.patchcore import fit_patchcore
from kenpin.config.augment import AugmentSpec
from kenpin.config.frame import FrameSpec
from kenpin.config.images import ImagesSpec
from kenpin.config.methods import PatchCoreSpec
from kenpin.config.web import WebSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.join import Joiner
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.network import load_engine
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.web.pipeline import WebPipeline
from kenpin.runtime.web.stages import WebStages
from web_lines import WIDTH, cut, some_web

Bits = NDArray[np.bool_]

EDGES = {"left_px": 40, "right_px": 120, "tolerance_px": 12, "margin_px": 4, "level": 40}
ENDS = {"within_lines": 96, "margin_lines": 16, "level": 40}
LANES = [{"name": "left", "left_px": 0, "right_px": 64}]


@given(st.integers(20, 90), st.integers(20, 90), st.sampled_from([16, 24, 32]), st.data())
def test_places_of_a_map_are_those_of_its_tiles(
    height: int, width: int, stride: int, data: st.DataObject
) -> None:
    joiner = Joiner(TileGrid(height, width, 48, 8, stride), 8)
    rows, cols = joiner.shape
    flat = data.draw(st.lists(st.booleans(), min_size=rows * cols, max_size=rows * cols))
    places = np.array(flat).reshape(rows, cols)
    tiles = joiner.split(places)
    assert tiles.shape == (len(joiner.grid), joiner.cells, joiner.cells)
    np.testing.assert_array_equal(joiner.join(tiles.astype(np.float32)).values > 0, places)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(
    "web",
    [
        {"lanes": LANES},
        {"edges": EDGES},
        {"ends": ENDS},
        {"ignore": [{"first_lines": 100}, {"last_lines": 90, "left_px": 80}]},
        {"edges": EDGES, "ends": ENDS, "ignore": [{"left_px": 60, "right_px": 72}]},
    ],
    ids=["lanes", "edges", "ends", "zones", "all"],
)
def test_a_build_reads_of_a_web_what_the_box_inspects(
    web_bundle: Bundle, tmp_path: Path, web: dict[str, Any], joined: bool
) -> None:
    pixels = some_web(520)
    pixels[:, :40] = pixels[:, 120:] = 3
    pixels[:50] = pixels[460:] = 3
    blocks = cut(pixels, [130, 41, 200]) if joined else [pixels]
    for number, block in enumerate(blocks):
        write_png(tmp_path / f"{number}.png", np.ascontiguousarray(block))
    manifest = web_bundle.manifest
    grid = TileGrid.of(manifest.frame, manifest.tiles)
    spec = WebSpec.model_validate(web)
    reader = FeatureReader(
        load_engine(web_bundle, None),
        grid,
        manifest.frame,
        ImagesSpec(good=tmp_path, joined=joined),
        Lamp(manifest.grey.even_to),
        InspectedPlaces(Joiner(grid, manifest.features.patch_stride_px), web=spec),
    )
    units = list(reader.units(sorted(tmp_path.iterdir())))
    heard: list[tuple[NDArray[np.float32], Bits | None]] = []
    network = replace(
        WebPipeline(web_bundle).stages.network,
        listen=lambda found, counts: heard.append((found.copy(), counts)),
    )
    list(WebStages(network, spec).pieces(cut(pixels, [77, 160])))
    counting = [unit for unit in units if unit.counts is None or unit.counts.any()]
    assert [unit.row for unit in units] == list(range(len(units)))
    assert len(counting) == len(heard) > 0
    left_out = [unit for unit in units if unit.counts is not None and not unit.counts.all()]
    assert left_out
    for unit, (found, counts) in zip(counting, heard, strict=True):
        np.testing.assert_array_equal(unit.features, found)
        assert (unit.counts is None) == (counts is None)
        if unit.counts is not None:
            np.testing.assert_array_equal(unit.counts, counts)


def test_all_of_a_web_is_read_where_nothing_is_left_out(web_bundle: Bundle) -> None:
    grid = TileGrid.of(web_bundle.manifest.frame, web_bundle.manifest.tiles)
    assert InspectedPlaces(Joiner(grid, 8), web=WebSpec()).fresh() is None


def test_a_mask_moves_with_its_image(web_bundle: Bundle, tmp_path: Path) -> None:
    """A white half, mirrored with the image: its places are those of the bright half."""
    manifest = web_bundle.manifest
    frame = FrameSpec(height_px=128, width_px=WIDTH)
    grid = TileGrid.of(frame, manifest.tiles)
    joiner = Joiner(grid, 8)
    mask = np.zeros(joiner.shape, np.float32)
    mask[:, : mask.shape[1] // 2] = 1
    pixels = np.zeros((128, WIDTH), np.uint8)
    pixels[:, : WIDTH // 2] = 200
    write_png(tmp_path / "part.png", pixels)
    images = ImagesSpec(good=tmp_path, augment=AugmentSpec(copies=1, flip="across"))
    reader = FeatureReader(
        load_engine(web_bundle, None),
        grid,
        frame,
        images,
        Lamp(None),
        InspectedPlaces(joiner, mask),
    )
    plain, mirrored = reader.units([tmp_path / "part.png"])
    assert plain.counts is not None
    assert mirrored.counts is not None
    np.testing.assert_array_equal(plain.counts, joiner.split(mask > 0))
    np.testing.assert_array_equal(mirrored.counts, joiner.split(mask[:, ::-1] > 0))


class _Masked(FakeReader):
    """Of each image the same places are inspected."""

    def __init__(self, images: NDArray[np.float32], counts: Bits) -> None:
        super().__init__(images)
        self._counts = counts

    def units(self, *args: Any, **more: Any) -> Any:
        for unit in super().units(*args, **more):
            yield Unit(unit.web, unit.row, unit.features, self._counts)


@pytest.mark.parametrize("coreset", ["sampled", "streamed"])
@pytest.mark.parametrize("share", ["frame", "column", "tile"])
def test_a_coreset_holds_what_is_inspected_and_nothing_else(
    tmp_path: Path, coreset: str, share: str
) -> None:
    grid = TileGrid(32, 48, 16, 0, 16)
    images = features(images=6)
    counts = np.ones(images.shape[1:4], np.bool_)
    counts[0] = False
    counts[:, :, :2] = False
    # What is not inspected is far from everything: a coreset would choose it first.
    images[:, ~counts] += 1000
    reader = _Masked(images, counts)
    spec = PatchCoreSpec.model_validate(
        {"name": "patchcore", "share": share, "coreset": coreset, "coreset_rows": 20,
         "projection_dimensions": 0}
    )  # fmt: skip
    fit_patchcore(
        reader, reader.files, grid, spec, tmp_path, tmp_path, [], lambda _: lambda *_: None
    )
    rows = np.load(tmp_path / "bank.npy") + np.load(tmp_path / "centre.npy")
    far = (rows > 500).any(axis=(1, 2))
    # A tile of which nothing is inspected has a bank all the same, which nobody asks.
    assert far.tolist() == ([True] + [False] * 5 if share == "tile" else [False] * len(far))
