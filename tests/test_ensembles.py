"""Several methods, on one backbone or two, as one network with one map."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from torch import Tensor

import kenpin
from bundles import Workshop, with_patch
from kenpin.camera.files.images import read_pixels
from kenpin.camera.frame import Frame
from kenpin.compile.backbones import Backbone, Tap, build_backbone
from kenpin.compile.methods.fitting import fitting_of
from kenpin.compile.methods.levels import gains
from kenpin.compile.methods.padim import GaussianFitting
from kenpin.compile.methods.patchcore import k_centre_greedy
from kenpin.compile.prepare import prepare
from kenpin.compile.reporting.member_times import measure_members, member_network
from kenpin.compile.training.ensemble import EnsembleHead
from kenpin.compile.training.gaussian import GaussianHead
from kenpin.compile.training.head import HeadPlan
from kenpin.compile.training.memory import ROWS_AT_ONCE, MemoryHead
from kenpin.compile.training.network import TrainedNetwork
from kenpin.compile.training.pool import choose, fold_of, held_out
from kenpin.config.dfm import DfmSpec
from kenpin.config.ensemble import EnsembleSpec
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.methods import PadimSpec, PatchCoreSpec
from kenpin.config.recipe import Recipe, load_recipe
from kenpin.config.trained import CflowSpec, EfficientAdSpec
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.gaussian_sums import GaussianSums
from kenpin.runtime.replay import main as edge_replay
from kenpin.runtime.selftest import open_tested
from kenpin.runtime.web.pipeline import WebPipeline
from trainings import BRIEF, maps_of, tiles_of, tiny_recipe, trained
from web_lines import compile_web, cut, some_web, spoiled

ROWS = "coreset_rows=30,candidates=400"
# A memory of the recipe's gabor, one of squares of brightness, and a student of some layers.
MEMORIES = f'{{name="patchcore",{ROWS}}},{{name="patchcore",{ROWS},backbone={{name="grey"}}}}'
STUDENT = '{name="stfpm",backbone={name="gabor",layers=["stride8"]}}'
GAUSSIANS = '{name="padim",dimensions=12},{name="dfm"}'
COARSE = '"gabor",layers=["stride16"]'


def ensemble(members: str, *settings: str) -> str:
    return ",".join(['name="ensemble"', f"members=[{members}]", *settings])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recipe(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def three(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    """Two memories and a student, each on a backbone of its own."""
    method = ensemble(f"{MEMORIES},{STUDENT}", BRIEF)
    return trained(tiny, tmp_path_factory.mktemp("three"), method)


class OneTap(Backbone):
    taps = (Tap("only", 8, 5),)

    def forward(self, tiles: Tensor) -> list[Tensor]:
        return [tiles]


class ManyChannels(OneTap):
    def __init__(self, channels: int = 400) -> None:
        super().__init__()
        self.taps = (Tap("only", 8, channels),)


def test_a_memorys_map_is_the_distance_to_its_nearest_row() -> None:
    rng = np.random.default_rng(3)
    # More than are measured against at once; far from zero, where products lose digits.
    rows = rng.normal(100, 3, (ROWS_AT_ONCE + 60, 5)).astype(np.float32)
    patches = rng.normal(101, 4, (2, 5, 4, 4)).astype(np.float32)
    plan = HeadPlan(OneTap(), OneTap, 1, 32, 8, 0)
    spec = PatchCoreSpec(name="patchcore", neighbourhood=1, coreset_rows=len(rows) + 4)
    head = MemoryHead(plan, spec)
    head.embedding.remember(torch.from_numpy(rows))
    found = head(torch.zeros(1), [torch.from_numpy(patches)]).numpy()
    flat = patches.transpose(0, 2, 3, 1).reshape(-1, 1, 5).astype(np.float64)
    expected = np.linalg.norm(flat - rows.astype(np.float64), axis=2).min(axis=1)
    np.testing.assert_allclose(found.reshape(-1), expected, rtol=1e-3)


@pytest.mark.parametrize(
    "member",
    [
        PadimSpec(name="padim", dimensions=3, granularity="dense"),
        PadimSpec(name="padim", dimensions=5, granularity="1/4", reduction="project"),
        PadimSpec(name="padim", granularity="columns"),
        PadimSpec(name="padim", granularity="1/16"),
        DfmSpec(name="dfm", variance=0.5),
        DfmSpec(name="dfm", variance=0.9, score="likelihood", granularity="columns"),
    ],
)
def test_gaussians_within_the_network_measure_what_those_beside_it_do(
    member: PadimSpec | DfmSpec,
) -> None:
    rng = np.random.default_rng(4)
    good = rng.normal(5, 2, (60, 5, 6, 6)).astype(np.float32)
    head = GaussianHead(HeadPlan(OneTap(), OneTap, 1, 48, 8, 8), member)
    asked: list[int] = []

    def shown(tiles: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
        asked.append(tiles)
        for start in (0, 40):
            yield torch.zeros(1), [torch.from_numpy(good[start : start + 40])]

    head.settle(shown)
    head.settle(shown)
    assert len(asked) == 1
    patches = rng.normal(5, 3, (2, 5, 6, 6)).astype(np.float32)
    found = head(torch.zeros(1), [torch.from_numpy(patches)]).numpy()
    assert found.shape == (2, 1, 6, 6)
    # What each place's own good features say, one by one.
    embedding = head.embedding.features
    own, seen = (
        embedding([torch.from_numpy(tiles)]).permute(0, 2, 3, 1).numpy().astype(np.float64)
        for tiles in (good, patches)
    )
    for row, column in np.ndindex(4, 4):
        block = np.s_[row // 2 * 2 : row // 2 * 2 + 2, column // 2 * 2 : column // 2 * 2 + 2]
        places = {
            "dense": np.s_[row, column],
            "1/4": block,
            "1/16": np.s_[:, :],
            "columns": np.s_[:, column],
            "single": np.s_[:, :],
        }[member.granularity]
        known = own[(slice(None), *places)].reshape(-1, own.shape[3])
        sums = GaussianSums(1, own.shape[3])
        sums.add(known[None].astype(np.float32))
        fitting = fitting_of(member)
        assert isinstance(fitting, GaussianFitting)
        matrix = fitting.whiten(member)(sums, 0, 1)[0]
        expected = np.linalg.norm((seen[:, row, column] - known.mean(axis=0)) @ matrix.T, axis=1)
        np.testing.assert_allclose(found[:, 0, row + 1, column + 1], expected, rtol=2e-3, atol=1e-3)


def test_gaussians_too_large_for_a_network_are_refused_before_images_are_read() -> None:
    plan = HeadPlan(ManyChannels(), ManyChannels, 1, 256, 8, 0)
    with pytest.raises(ConfigError, match=r"1024 Gaussians of 300 channels are 351 MiB of .* dim"):
        GaussianHead(plan, PadimSpec(name="padim", dimensions=300))
    twice = HeadPlan(ManyChannels(2_000), ManyChannels, 1, 256, 8, 0)
    with pytest.raises(ConfigError, match=r"32 Gaussians of 2000 .* granularity, fewer layers, or"):
        GaussianHead(twice, DfmSpec(name="dfm", granularity="columns"))


def test_gaussians_of_too_few_tiles_or_of_no_numbers_are_refused() -> None:
    head = GaussianHead(HeadPlan(OneTap(), OneTap, 1, 32, 8, 0), PadimSpec(name="padim"))
    taps = torch.ones(1, 5, 4, 4)
    with pytest.raises(ConfigError, match="each Gaussian would rest on 1 patch, expected at least"):
        head.settle(lambda _: iter([(torch.zeros(1), [taps])]))
    taps[0, 2, 1, 3] = torch.inf
    with pytest.raises(ConfigError, match="its backbone gives values that are no numbers"):
        head.settle(lambda _: iter([(torch.zeros(1), [taps])]))
    assert not head.settled


def test_what_a_member_complains_of_is_told_as_its_own(tiny: Path) -> None:
    members = '{name="dfm"},{name="padim",granularity="1/16",dimensions=900}'
    recipe = load_recipe(tiny, [f"method={{{ensemble(members)}}}"])
    with pytest.raises(ConfigError, match=r"^method\.members\.1: method\.dimensions 900 is more"):
        prepare(recipe)


def test_a_member_has_its_own_defaults_in_a_web(tiny: Path) -> None:
    web = 'frame={geometry="continuous",width_px=96}'
    members = '{name="padim"},{name="cflow"},{name="efficientad"}'
    recipe = load_recipe(tiny, [f"method={{{ensemble(members)}}}", web])
    assert isinstance(recipe.method, EnsembleSpec)
    padim, cflow, efficientad = (one.method for one in recipe.method.members)
    assert isinstance(padim, PadimSpec)
    assert isinstance(cflow, CflowSpec)
    assert isinstance(efficientad, EfficientAdSpec)
    assert (padim.granularity, cflow.place) == ("columns", "none")
    assert not efficientad.autoencoder
    dense = ensemble('{name="dfm"},{name="padim",granularity="dense"}')
    with pytest.raises(ConfigError, match=r'method\.members\.1\.granularity "dense" tells scan'):
        load_recipe(tiny, [f"method={{{dense}}}", web])


def test_what_is_no_number_comes_through_gaussians() -> None:
    head = GaussianHead(HeadPlan(OneTap(), OneTap, 1, 32, 8, 0), PadimSpec(name="padim"))
    taps = torch.zeros(1, 5, 4, 4)
    taps[0, 2, 1, 3] = torch.nan
    found = head(torch.zeros(1), [taps])
    assert torch.isnan(found[0, 0, 1, 3])
    assert not torch.isnan(found).all()


def test_each_member_sees_its_own_backbone_and_counts_in_the_measure_of_unseen_tiles(
    tiny: Path, three: TrainedNetwork
) -> None:
    head, pool = three.learned
    assert isinstance(head, EnsembleHead)
    spec = load_recipe(tiny, [f"method={{{ensemble(f'{MEMORIES},{STUDENT}', BRIEF)}}}"]).method
    assert isinstance(spec, EnsembleSpec)
    own = load_recipe(tiny).backbone
    backbones = [
        build_backbone(one.backbone or own, one.method.tap_strides, 1).network
        for one in spec.members
    ]
    parts = held_out(np.unique(pool.parts), fold_of(int(pool.parts.max()) + 1, 2), 0)
    held = choose(pool, np.empty(0, np.intp), parts, 0).measure
    good, tiles = (torch.from_numpy(part) for part in (pool.tiles[held], tiles_of(tiny)))
    maps, peaks = [], []
    with torch.no_grad():
        for member, backbone in zip(head.members, backbones, strict=True):
            core = member(good, backbone(good))[:, 0, 2:-2, 2:-2]
            peaks.append(core.amax(dim=(1, 2)).double().numpy())
            maps.append(member(tiles, backbone(tiles)))
        found = head(tiles, three.plan.backbone(tiles))
    factors = torch.from_numpy(gains(np.stack(peaks, axis=1), np.ones(len(held), bool), 0.01))
    joined = torch.cat(maps, dim=1) * factors.float().view(1, -1, 1, 1)
    torch.testing.assert_close(found, joined.amax(dim=1, keepdim=True))
    assert three.name == "gabor and grey and gabor"
    assert three.layers[-2:] == ("grey.grey", "gabor.stride8")


def test_the_box_gives_the_map_that_torch_gives(tiny: Path, three: TrainedNetwork) -> None:
    tiles = tiles_of(tiny)
    found = maps_of(Engine(three.apart(2)), tiles)
    with torch.no_grad():
        expected = three.joint(apart=True)(torch.from_numpy(tiles)).numpy()
    assert found.shape == expected.shape == (4, 4, 4, 2)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    # White patches in every other tile are found.
    peaks = found[..., 0].max(axis=(1, 2))
    assert peaks[::2].min() > 2 * peaks[1::2].max()


def test_what_a_member_takes_alone_is_the_time_of_what_the_join_gets_from_it(
    tiny: Path, three: TrainedNetwork
) -> None:
    tiles = tiles_of(tiny)[:2]
    head, model = three.learned[0], three.model(2)
    assert isinstance(head, EnsembleHead)
    f32 = {"INFERENCE_PRECISION_HINT": "f32"}
    seen = head._seen(three.plan.backbone(torch.from_numpy(tiles)))
    for number, (member, taps) in enumerate(seen):
        alone = ov.Core().compile_model(member_network(model, number), "CPU", f32)
        with torch.no_grad():
            expected = member(torch.from_numpy(tiles), taps).numpy()
        np.testing.assert_allclose(alone(tiles)[0], expected, rtol=1e-3, atol=1e-4)
    spec = three.method
    assert isinstance(spec, EnsembleSpec)
    times = measure_members(model, spec, 0.1)
    names = [name for name, _ in times.alone_ms]
    assert names == ["patchcore", "patchcore on grey", "stfpm on gabor"]
    assert min(ms for _, ms in times.alone_ms) > 0
    assert times.tiles == 2


def test_members_of_one_backbone_share_it(tiny: Path, tmp_path: Path) -> None:
    members = f'{{name="patchcore",{ROWS}}},{{name="patchcore",{ROWS},neighbourhood=1}}'
    network = trained(tiny, tmp_path, ensemble(members, "folds=2"))
    assert (network.name, network.layers) == ("gabor", ("stride4", "stride8", "stride16"))
    assert len(network.plan.taps) == 3
    # What learns nothing by steps is looked at once.
    (file,) = tmp_path.glob(".trainings/*/whole.pt")
    assert torch.load(file, weights_only=True)["counts"] == [1, 1, 0]


def test_memories_are_made_once_and_found_again_where_a_build_was_interrupted(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counted(points: np.ndarray, rows: int, first: int) -> np.ndarray:
        made.append(len(points))
        return k_centre_greedy(points, rows, first)

    monkeypatch.setattr("kenpin.compile.training.memory.k_centre_greedy", counted)
    method = ensemble(f'{MEMORIES},{{name="padim"}},{STUDENT}', BRIEF)
    first = trained(tiny, tmp_path, method).joint().state_dict()
    # Two members in three trainings, of two looks each.
    assert len(made) == 6
    assert first["heads.0.members.2.embedding.matrices"].any()
    again = trained(tiny, tmp_path, method)
    assert len(made) == 6
    for name, value in again.joint().state_dict().items():
        assert torch.equal(value, first[name]), name
    again.forget()
    assert not (tmp_path / ".trainings").exists()


def test_a_bundle_tells_a_members_backbone_and_not_where_its_weights_lay() -> None:
    table = {
        "name": "ensemble",
        "members": [
            {"name": "stfpm"},
            {"name": "patchcore", "backbone": {"name": "resnet18", "weights": "/a/b.pth"}},
        ],
    }
    told = EnsembleSpec.model_validate(table).without_files().model_dump(mode="json")
    first, second = told["members"]
    # As before members had backbones of their own, so that bundles keep their names.
    assert "backbone" not in first
    assert first["name"] == "stfpm"
    assert (second["name"], second["backbone"]["name"]) == ("patchcore", "resnet18")
    assert second["backbone"]["weights"] is None
    assert EnsembleSpec.model_validate(told).model_dump(mode="json") == told


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ('{name="stfpm"},{name="baseline"}', "members.1.method: is baseline; expected patchcore,"),
        (
            '{name="dfm"},{name="padim",share="column"}',
            "share is 'column', which padim can only be alone",
        ),
        ('{name="stfpm"},{name="cflow",batch=4}', "batch is said for all members at once"),
        ('{name="stfpm"}', "members"),
        (
            '{name="stfpm"},{name="patchcore",reweight_neighbours=3}',
            "reweight_neighbours is 3, which patchcore can only be alone",
        ),
        (
            '{name="stfpm"},{name="stfpm",backbone={name="grey",grid_px=8}}',
            "grid_px 8 is said of one member",
        ),
        (
            '{name="stfpm"},{name="ensemble",members=[{name="stfpm"},{name="cflow"}]}',
            "is ensemble; expected",
        ),
    ],
)
def test_members_that_cannot_be_joined_are_refused(
    tiny: Path, members: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        load_recipe(tiny, [f"method={{{ensemble(members)}}}"])


@pytest.mark.parametrize(
    ("members", "blur_px"),
    [
        ('{name="stfpm"},{name="fastflow"}', 4),
        ('{name="stfpm"},{name="metric"}', 0),
        ('{name="ganomaly"},{name="patchcore"}', 0),
    ],
)
def test_the_map_is_blurred_unless_a_members_highest_place_is_the_score(
    tiny: Path, members: str, blur_px: float
) -> None:
    method = f"method={{{ensemble(members)}}}"
    recipe = load_recipe(tiny, [method])
    assert recipe.score.smooth_sigma_px == blur_px
    assert Recipe.model_validate(recipe.model_dump()) == recipe
    assert load_recipe(tiny, [method, "score.smooth_sigma_px=2"]).score.smooth_sigma_px == 2


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("members", "backbones"),
    [
        # A memory of one grey level a place would know too little of what is good.
        (
            MEMORIES.replace("30", "200").replace("400", "4000").replace('"grey"', COARSE),
            "gabor and gabor",
        ),
        (f'{{name="dfm"}},{MEMORIES.replace("30", "200").replace("grey", "gabor")}', "gabor"),
    ],
)
def test_two_methods_are_one_bundle_that_judges_replays_and_tests_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], members: str, backbones: str
) -> None:
    workshop = Workshop.open(tmp_path)
    method = f"method={{{ensemble(members, 'folds=2')}}}"
    built = workshop.build(tmp_path / "store", method, "tiles={size_px=64,halo_px=8}")
    bundle, manifest = built.bundle, built.bundle.manifest
    times = json.loads(built.report_file.read_text())["members"]
    assert times["together_ms"] > 0
    assert isinstance(manifest.method, EnsembleSpec)
    assert len(times["alone_ms"]) == len(manifest.method.members)
    assert manifest.quantization.settings.precision == "int8"
    assert (manifest.features.backbone, manifest.features.dimensions) == (backbones, 1)
    open_tested(bundle)
    good = read_pixels(workshop.data / "test" / "good" / "000.png")
    inspector = kenpin.load(bundle.folder)
    assert inspector.judge(good).ok
    assert inspector.judge(with_patch(good)).reason is kenpin.Reason.DEFECT
    frames = sorted((workshop.data / "test" / "good").iterdir())
    # Of 16 images to learn from a threshold is no better than to let most of four through.
    fine = sum(inspector.judge(read_pixels(one)).ok for one in frames)
    assert fine >= 3
    assert edge_replay([str(frames[0].parent), "--bundle", str(bundle.folder)]) == Exit.DONE
    assert f"4 frames: {fine} OK, {4 - fine} NG" in capsys.readouterr().out


@pytest.mark.thorough
@pytest.mark.parametrize("members", [MEMORIES, GAUSSIANS])
def test_members_judge_webs_alike_however_they_are_cut(tmp_path: Path, members: str) -> None:
    method = f"method={{{ensemble(members, 'folds=2')}}}"
    bundle = compile_web(tmp_path, method, 'quantize.precision="fp32"')
    web = spoiled(some_web(500), (200, 60, 30, 30))
    scores = []
    for lines in (500, 77):
        pipeline = WebPipeline(bundle)
        blocks = cut(web, repeat(lines))
        found = [
            pipeline.judge(Frame(block.copy(), 0, n), last=n == len(blocks) - 1).verdict
            for n, block in enumerate(blocks)
        ]
        scores.append(max(one.score or 0 for one in found))
        assert any(one.reason is kenpin.Reason.DEFECT for one in found)
    assert scores[0] == scores[1]
