"""What holds for every method that is trained: other backbones, bundles, webs, memory, refusals."""

from __future__ import annotations

import io
import re
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

import kenpin
import reference_networks as reference
from bundles import Workshop, with_patch
from kenpin.camera.files.images import read_pixels
from kenpin.camera.frame import Frame
from kenpin.compile.backbones import BACKBONES
from kenpin.compile.build import build
from kenpin.compile.prepare import prepare
from kenpin.compile.progress import Steps
from kenpin.compile.training import pool as pool_module
from kenpin.compile.training.fastflow import FastflowHead
from kenpin.compile.training.head import HeadPlan
from kenpin.compile.training.pool import gather
from kenpin.compile.training.reverse_distillation import ReverseHead
from kenpin.config.errors import ConfigError
from kenpin.config.methods import METHODS
from kenpin.config.recipe import load_recipe
from kenpin.config.trained import FastflowSpec, ReverseDistillationSpec, TrainedSpec
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.selftest import open_tested
from kenpin.runtime.web.pipeline import WebPipeline
from trainings import BRIEF, maps_of, prepared_for, tiles_of, tiny_recipe, trained
from web_lines import compile_web, some_web, spoiled, web_recipe

U8 = NDArray[np.uint8]
# Where the defaults would take minutes for what is asked.
SMALLER = {
    "efficientad": ",distill_steps=1,width=8,features=8",
    "ensemble": ',members=[{name="stfpm"},{name="fastflow"}]',
    "ganomaly": ",width=8",
}
TRAINED = sorted(
    name for name in METHODS.names() if issubclass(METHODS.find(name).settings, TrainedSpec)
)
# After two steps all tiles are alike but for the last digits of their cosines.
ALIKE = {"metric": 1e-3}
# Two see a tile as a whole; what somebody else's network rests on, nobody knows.
OFF_WEBS = ("ganomaly", "imported", "metric")
WEB = """
name = "web"
images.good = "good"
frame = { geometry = "continuous", width_px = 160 }
method.name = "padim"
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recipe(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The recipe's table for a second backbone, its weights drawn at random."""
    file = tmp_path_factory.mktemp("weights") / "mobilenet.pth"
    weights = reference.Weights(seed=1)
    reference.mobilenet_v2(weights, np.zeros((1, 1, 32, 32), np.uint8), 13)
    torch.save(weights.state, file)
    return f'backbone={{name="mobilenet_v2",grid_px=8,weights="{file}"}}'


@pytest.mark.thorough
@pytest.mark.parametrize("method", TRAINED)
def test_each_training_and_its_box_take_a_second_backbone(
    tiny: Path, tmp_path: Path, mobilenet: str, method: str
) -> None:
    table = f'name="{method}",{BRIEF}{SMALLER.get(method, "")}'
    network = trained(tiny, tmp_path, table, mobilenet)
    tiles = tiles_of(tiny)
    found = maps_of(Engine(network.model(2)), tiles)
    with torch.no_grad():
        expected = network.joint()(torch.from_numpy(tiles)).numpy()
    assert found.shape == expected.shape == (4, 4, 4, 1)
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() <= ALIKE.get(method, 1e-4) * np.abs(expected).max()


def test_by_a_tiles_own_norm_light_and_contrast_of_features_count_for_nothing(
    tiny: Path, tmp_path: Path
) -> None:
    network = trained(tiny, tmp_path, f'name="fastflow",norm="tile",couplings=2,{BRIEF}')
    tiles = tiles_of(tiny)
    found = maps_of(Engine(network.model(2)), tiles)
    shown = torch.from_numpy(tiles)
    with torch.no_grad():
        expected = network.joint()(shown).numpy()
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
        assert found.std() > 0
        spec = FastflowSpec(name="fastflow", norm="tile")
        heads = (
            FastflowHead(network.plan, spec),
            FastflowHead(network.plan, spec.model_copy(update={"norm": "channel"})),
        )
        taps = network.plan.backbone(shown)
        for head, alike in zip(heads, (True, False), strict=True):
            first, other = (
                head.eval()(shown, seen) for seen in (taps, [3 * one + 1 for one in taps])
            )
            assert torch.allclose(first, other, rtol=1e-3, atol=1e-4) == alike


@pytest.mark.parametrize("members", [False, True])
def test_a_method_that_looks_at_tiles_alone_asks_for_no_weights(tiny: Path, members: bool) -> None:
    table = f'name="ganomaly"{SMALLER["ganomaly"]}'
    if members:
        table = f'name="ensemble",members=[{{{table}}},{{name="metric",backbone={{name="gabor"}}}}]'
    # Nobody has its weights here, and it taps no layer of stride 8.
    network, own = "efficientnet_lite0", '{{name="{}",weights="none"}}'.format
    prepared, _ = prepared_for(tiny, table, f"backbone={own(network)}")
    assert prepared.network.name == ("gabor" if members else "none")
    assert prepared.network.weights_sha256 is None
    assert prepared.network.patch_stride_px == 8
    with pytest.raises(ConfigError, match="resnet81"):
        prepared_for(tiny, table, f"backbone={own('resnet81')}")


def test_a_method_that_looks_at_tiles_alone_takes_any_that_it_can_halve(tiny: Path) -> None:
    table = f'name="ganomaly"{SMALLER["ganomaly"]}'
    for size in (72, 88):
        prepared, _ = prepared_for(tiny, table, f"tiles={{size_px={size},halo_px=16}}")
        assert prepared.recipe.tiles.size_px == size
    changes = ["frame={height_px=32,width_px=32,channels=3}", 'method.name="ganomaly"']
    assert prepare(load_recipe(tiny, changes)).network.name == "none"
    with pytest.raises(ConfigError, match=r"not a multiple of 8, the distance of its places"):
        prepared_for(tiny, table, "tiles={size_px=60,halo_px=16}")


@pytest.mark.thorough
@pytest.mark.parametrize("method", [name for name in TRAINED if name not in ("stfpm", "ensemble")])
def test_each_becomes_a_bundle_that_is_guarded_and_judges(
    workshop: Workshop, tmp_path: Path, method: str
) -> None:
    brief = f"steps=60,every=20,batch=8,folds=2{SMALLER.get(method, '')}"
    table = f'method={{name="{method}",{brief}}}'
    # Each image shows a part of its own: of three parts no fold would have learnt enough.
    apart = 'images.group="[0-9]+"'
    bundle = workshop.build(tmp_path, table, "tiles={size_px=64,halo_px=8}", apart).bundle
    quantization = bundle.manifest.quantization
    assert quantization.settings.precision == "int8"
    assert min(quantization.score_ratios.values()) >= quantization.settings.min_score_ratio
    open_tested(bundle)
    good = read_pixels(workshop.data / "test" / "good" / "000.png")
    inspector = kenpin.load(bundle.folder)
    assert inspector.judge(good).ok
    assert inspector.judge(with_patch(good)).reason is kenpin.Reason.DEFECT


@pytest.mark.thorough
@pytest.mark.parametrize("method", [name for name in METHODS.names() if name not in OFF_WEBS])
def test_each_method_judges_webs_alike_however_they_are_cut(tmp_path: Path, method: str) -> None:
    brief = f",steps=30,every=15,batch=8,folds=2{SMALLER.get(method, '')}"
    table = f'method={{name="{method}"{brief if method in TRAINED else ""}}}'
    bundle = compile_web(tmp_path, table, 'quantize.precision="fp32"')
    web = spoiled(some_web(500), (200, 60, 30, 30))
    maps = []
    for cuts in ((500,), (77, 300, 123)):
        pipeline = WebPipeline(bundle)
        ends = np.cumsum(cuts)
        found = [
            pipeline.judge(Frame(web[end - lines : end].copy(), 0, number), last=end == 500)
            for number, (end, lines) in enumerate(zip(ends, cuts, strict=True))
        ]
        maps.append(np.concatenate([j.score_map.values for j in found if j.score_map is not None]))
        assert any(one.verdict.reason is kenpin.Reason.DEFECT for one in found)
    assert np.array_equal(*maps)


@pytest.mark.thorough
@pytest.mark.parametrize("method", TRAINED)
def test_two_tiles_that_see_the_same_are_compared_by_the_map_that_a_bundle_cuts(
    tiny: Path, tmp_path: Path, method: str
) -> None:
    network = trained(tiny, tmp_path, f'name="{method}",{BRIEF}{SMALLER.get(method, "")}')
    look, tiles = network.whole_tiles(), tiles_of(tiny)
    assert (look is None) == bool(network.method.unfit_for_webs())
    if look is not None:
        margin = 16 // network.patch_stride_px
        with torch.no_grad():
            expected = network.joint()(torch.from_numpy(tiles)).numpy()
        for tile, own in zip(tiles, expected, strict=True):
            (whole,) = look.of(tile)
            assert np.allclose(whole[0, margin:-margin, margin:-margin], own, 1e-4, 1e-6)


def test_of_a_trained_method_whose_tiles_are_apart_a_build_warns(tmp_path: Path) -> None:
    table = f'method={{name="stfpm",{BRIEF}}}'
    few = "report={twins_each=0,speed_s=0.1}"
    changes = [table, few, 'quantize.precision="fp32"']
    for halo, warned in ((0, True), (32, False)):
        recipe = web_recipe(tmp_path / str(halo), *changes, f"tiles={{size_px=128,halo_px={halo}}}")
        said = io.StringIO()
        with Steps(Console(file=said, width=500)) as steps:
            build(recipe, tmp_path / "store", steps, lowest=False)
        told = f"warning: stfpm: what it says of a place.*with a halo of {halo} px"
        assert bool(re.search(told, said.getvalue())) == warned


def test_layers_of_one_stride_that_no_doubling_leads_between_are_refused() -> None:
    def made(*layers: str) -> ReverseHead:
        fresh = partial(BACKBONES.find("mobilenet_v2").make, layers, 1)
        spec = ReverseDistillationSpec(name="reverse_distillation")
        return ReverseHead(HeadPlan(fresh(), fresh, 1, 64, 8, 16), spec)

    complaint = r"features\.10 and features\.13 are both of stride 16, with 64 and 96 channels"
    with pytest.raises(ConfigError, match=complaint):
        made("features.6", "features.10", "features.13")
    made("features.11", "features.13")


def test_tiles_whose_halo_leaves_a_measure_no_place_are_refused(tiny: Path) -> None:
    said = ['method.name="metric"', 'images.good="none"']
    with pytest.raises(ConfigError, match=r"64 px with a halo of 24 px .*size_px to 80 or more"):
        prepare(load_recipe(tiny, [*said, "tiles={size_px=64,halo_px=24}"]))
    prepare(load_recipe(tiny, [*said, "tiles={size_px=80,halo_px=24}"]))


def test_a_backbone_that_sees_a_tile_as_a_whole_is_refused_on_webs(tmp_path: Path) -> None:
    recipe = tmp_path / "web.toml"
    recipe.write_text(WEB)
    squeezes = 'backbone.name="se_resnext101"'
    members = 'members=[{name="stfpm"},{name="fastflow",backbone={name="se_resnext101"}}]'
    for said in (
        ['method.name="padim"', squeezes],
        ['method.name="stfpm"', squeezes],
        [f'method={{name="ensemble",{members}}}'],
    ):
        with pytest.raises(ConfigError, match="se_resnext101 sees a tile as a whole, so a line's"):
            prepare(load_recipe(recipe, said))
    with pytest.raises(ConfigError, match="weights"):
        prepare(load_recipe(recipe, ["frame={height_px=160,width_px=160}", squeezes]))


def test_no_more_tiles_are_held_than_may_be(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most, side = 64, 64
    monkeypatch.setattr(pool_module, "POOL_BYTES", most * side**2)
    tile = np.zeros((1, side, side), np.uint8)

    def shown(*_: Any) -> Iterator[tuple[U8, int, bool]]:
        for number in range(5 * most):
            tile[:] = number % 251
            yield tile, number, number % 2 == 0

    monkeypatch.setattr(pool_module, "_all", shown)
    prepared, images = prepared_for(tiny, 'name="stfpm"')
    tracemalloc.start()
    try:
        pool = gather(images, prepared.walk(None), Lamp(None), 0, lambda *_: None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pool.tiles.shape == (most, 1, side, side)
    assert peak < 1.5 * pool.tiles.nbytes
    # Each with its own part, and no more of the first than of the last.
    assert (pool.tiles[:, 0, 0, 0] == pool.parts % 251).all()
    assert (pool.of_photo == (pool.parts % 2 == 0)).all()
    assert most < np.median(pool.parts) < 4 * most
