"""Good images to a bundle: INT8, guarded, reproducible, and honest about what it saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from bundles import ENSEMBLE, IN_FLOAT, PADIM, Workshop, stages_of, with_patch
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.files.listing import ImageError, list_images
from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile import precision
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.networks.guard import QuantizationError, sample_tiles, with_twins
from kenpin.compile.reporting.build_report import BuildResult
from kenpin.compile.reporting.report import summary
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.frame import FrameSpec
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.verdict import Outcome

INTEGER = {"i8", "u8"}


def convolutions(bundle: Bundle) -> list[tuple[str, str]]:
    engine = Engine(bundle.network)
    return [(n, p) for n, kind, p in engine.executed_precisions() if kind == "Convolution"]


def test_every_convolution_that_weighs_runs_in_int8(patchcore: Bundle) -> None:
    found = convolutions(patchcore)
    assert len(found) > 5
    in_float = [name for name, precision in found if precision not in INTEGER]
    assert len(in_float) < len(found) / 2
    network = ov.Core().read_model(patchcore.folder / "features.xml")
    operations = {op.get_friendly_name(): op for op in network.get_ops()}
    for name in in_float:
        weights = operations[name].input_value(1).get_node().get_data()
        # It smooths the one grey map, or it only adds: squares of real and imaginary parts.
        if weights.shape[:2] != (1, 1):
            assert weights.shape[2:] == (1, 1)
            assert set(np.unique(weights)) == {0, 1}


def test_the_float_remainder_is_pinned(patchcore: Bundle) -> None:
    assert patchcore.manifest.features.inference_precision == "f32"
    precisions = {p for _, _, p in Engine(patchcore.network).executed_precisions()}
    assert "bf16" not in precisions
    assert "f16" not in precisions


@pytest.fixture(scope="module")
def again(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """The PatchCore bundle, compiled once more, and what is told of it."""
    return workshop.build(tmp_path_factory.mktemp("again"))


def test_compiling_twice_gives_the_same_content(again: BuildResult, patchcore: Bundle) -> None:
    assert again.bundle.manifest.files == patchcore.manifest.files
    assert again.bundle.sha256 == patchcore.sha256


@pytest.mark.thorough
def test_another_seed_gives_another_bundle(
    workshop: Workshop, patchcore: Bundle, tmp_path: Path
) -> None:
    other = workshop.build(tmp_path, "images.seed=1").bundle
    assert other.sha256 != patchcore.sha256


def test_every_good_image_is_learned_from_and_scored_without_its_part(
    workshop: Workshop, patchcore: Bundle
) -> None:
    names = [path.name for path in list_images(workshop.data / "train" / "good")]
    assert patchcore.manifest.data.fitted == names
    assert [record.name for record in patchcore.manifest.good_scores] == names
    assert len({record.part for record in patchcore.manifest.good_scores}) > 1


@pytest.mark.parametrize("method", ["patchcore", "padim"])
def test_an_image_scores_higher_without_its_part_than_in_the_bundle_that_saw_it(
    workshop: Workshop, method: str, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(method)
    pipeline = Pipeline(bundle)
    seen, unseen = [], []
    for record in bundle.manifest.good_scores:
        pixels = read_pixels(workshop.data / "train" / "good" / record.name)
        seen.append(pipeline.judge(Frame(pixels, 0, 0)).verdict.score)
        unseen.append(record.score)
    assert np.median(unseen) > 1.02 * np.median(seen)


def test_twins_are_scored_by_both_precisions_and_recorded(patchcore: Bundle) -> None:
    q = patchcore.manifest.quantization
    assert {len(v) for by_kind in q.scores.values() for v in by_kind.values()} == {20}
    assert min(q.score_ratios.values()) >= q.settings.min_score_ratio
    assert q.separation["fp32"] - q.separation["int8"] <= q.settings.max_separation_loss


def test_what_calibrating_on_normals_alone_would_lose_stays_in_float(
    workshop: Workshop, tmp_path: Path
) -> None:
    bundle = workshop.build(tmp_path, 'quantize.calibrate_on="normals"').bundle
    record = read_bundle(bundle.folder).manifest.quantization
    assert min(record.score_ratios.values()) >= record.settings.min_score_ratio
    assert record.in_float
    # By the names of modules, the same in every process.
    assert all(name.startswith("backbone.") for name in record.in_float)


def test_int8_of_which_nothing_is_left_is_refused(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_within", lambda model, _: model)
    with pytest.raises(QuantizationError, match=r"INT8 shrinks .* calibrate on normals and twins"):
        workshop.build(tmp_path, 'quantize.calibrate_on="normals"')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_int8_that_no_choice_of_layers_mends_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match=r"INT8 shrinks .* calibrate on normals and twins"):
        workshop.build(tmp_path, PADIM, 'quantize.calibrate_on="normals"')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_lost_separation_is_caught_too(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="separates pasted defects"):
        workshop.build(
            tmp_path,
            'quantize.calibrate_on="normals"',
            "quantize.min_score_ratio=0.01",
            "quantize.max_separation_loss=0",
            "method.name=patchcore",
            "quantize.guard_tiles=100",
        )


@pytest.mark.thorough
def test_fp32_by_choice_is_marked_and_judges_alike(
    workshop: Workshop, patchcore: Bundle, tmp_path: Path
) -> None:
    fp32 = workshop.build(tmp_path, 'quantize.precision="fp32"').bundle
    assert {p for _, p in convolutions(fp32)} == {"f32"}
    assert fp32.manifest.quantization.score_ratios == {}
    frames = [read_pixels(file) for file in sorted(workshop.data.glob("test/*/*.png"))]
    # What rounding does is seen by one set of statistics. Those of INT8 features hold other bank
    # rows and other gains of columns, of 16 images: by them a score is up to a quarter higher.
    in_float, in_bytes = (
        np.array([stages.measure(pixels).score_map.values.max() for pixels in frames])
        for stages in (
            stages_of(fp32, network=network, exhaustive=True) for network in (fp32, patchcore)
        )
    )
    apart = np.abs(in_bytes / in_float - 1)
    assert np.median(apart) < 0.01
    assert apart.max() < 0.07
    # Each with its own statistics and thresholds, they say the same of every frame.
    outcomes = [
        [pipeline.judge(Frame(pixels, 0, 0)).verdict.outcome for pixels in frames]
        for pipeline in (Pipeline(fp32), Pipeline(patchcore))
    ]
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {Outcome.OK, Outcome.NG}


@pytest.mark.thorough
def test_a_tile_ensemble_works(workshop: Workshop, tmp_path: Path) -> None:
    bundle = workshop.build(tmp_path, *ENSEMBLE).bundle
    pipeline = Pipeline(bundle)
    tiles = len(pipeline.grid)
    assert (pipeline.grid.rows, pipeline.grid.cols, pipeline.grid.stride) == (1, 3, 96)
    assert bundle.arrays["mean"].shape[0] == tiles
    good = read_pixels(workshop.data / "test" / "good" / "000.png")
    pasted = with_patch(good)
    # Pixel (100, 50) lies in two overlapping tiles.
    verdicts = [pipeline.judge(Frame(pixels, 0, 0)).verdict for pixels in (good, pasted)]
    assert verdicts[1].outcome is Outcome.NG
    scores = [verdict.score or 0 for verdict in verdicts]
    assert scores[1] > 1.5 * scores[0] > 0


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("padim", "tile"),
        ("patchcore", "column"),
        ("padim", "column"),
        ("padim", "frame"),
        ("patchcore", "tile"),
        ("patchcore", "frame"),
    ],
)
def test_every_share_builds_and_passes_its_self_test(
    workshop: Workshop, tmp_path: Path, name: str, share: str
) -> None:
    extra = ',granularity="1/4",dimensions=10' if name == "padim" else ",coreset_ratio=0.02"
    method = f'method={{name="{name}",share="{share}"{extra}}}'
    bundle = workshop.build(tmp_path, method, IN_FLOAT).bundle
    array = bundle.arrays["mean" if name == "padim" else "bank"]
    assert array.shape[0] == {"tile": 3, "column": 3, "frame": 1}[share]
    assert Pipeline(bundle).bundle.label == read_bundle(tmp_path).label


@pytest.mark.thorough
def test_photographs_of_any_size_are_resized_when_the_recipe_says_so(
    workshop: Workshop, tmp_path: Path
) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    for n in range(6):
        web = SyntheticWeb(150 + 10 * n, 400 - 20 * n, 1)
        write_png(folder / f"{n}.png", web.frame(n).pixels)
    good = f'images={{good="{folder}"}}'
    bundle = workshop.build(tmp_path / "out", good, "frame.fit=resize").bundle
    odd = SyntheticWeb(140, 333, 1).frame(9).pixels
    verdict = Pipeline(bundle).judge(Frame(odd, 0, 0)).verdict
    assert verdict.score is not None
    with pytest.raises(ConfigError, match=r"0\.png: frame is 150 x 400 px, expected 128 x 320"):
        workshop.build(tmp_path / "out", good)


@pytest.mark.thorough
def test_an_ng_image_among_the_good_is_named(workshop: Workshop, tmp_path: Path) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    for file in list_images(workshop.data / "train" / "good"):
        write_png(folder / file.name, read_pixels(file))
    write_png(folder / "005.png", with_patch(read_pixels(folder / "005.png")))
    result = workshop.build(tmp_path / "out", f'images.good="{folder}"')
    assert [one.name for one, _ in result.good.odd] == ["005.png"]
    report = json.loads(result.report_file.read_text())
    assert [entry["file"] for entry in report["odd"]] == ["005.png"]
    manifest = result.bundle.manifest
    others = [one.score for one in manifest.good_scores if one.name != "005.png"]
    [odd] = [one.score for one in manifest.good_scores if one.odd]
    assert max(others) <= manifest.threshold.ok < odd
    assert manifest.threshold.with_odd > manifest.threshold.ok
    picture = result.bundle.folder.with_name(f"{result.bundle.folder.name}.odd") / "005.png"
    assert read_pixels(picture).shape[2] == 3
    assert "probably not good, by their multiple" in summary(result)
    keep = f'images={{good="{folder}",keep=["005.png"]}}'
    kept = workshop.build(tmp_path / "kept", keep, IN_FLOAT)
    assert kept.good.odd == []
    [own] = [one.score for one in kept.bundle.manifest.good_scores if one.name == "005.png"]
    assert kept.bundle.manifest.threshold.ok >= own > max(others)
    exclude = f'images={{good="{folder}",exclude=["005.png"]}}'
    gone = workshop.build(tmp_path / "gone", exclude, IN_FLOAT)
    assert "005.png" not in gone.bundle.manifest.data.fitted
    with pytest.raises(ConfigError, match=r"images\.exclude: .* holds no image '999\.png'"):
        workshop.build(tmp_path / "out", f'images={{good="{folder}",exclude=["999.png"]}}')


def test_clean_images_raise_no_suspicion(again: BuildResult) -> None:
    assert again.good.odd == []


def test_an_unreadable_image_is_named_and_nothing_is_left_behind(
    workshop: Workshop, tmp_path: Path
) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    for file in list_images(workshop.data / "train" / "good"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "003.png").write_bytes((folder / "003.png").read_bytes()[:500])
    with pytest.raises(ImageError, match=r"003\.png"):
        workshop.build(tmp_path / "out", f'images.good="{folder}"')
    assert not (tmp_path / "out").exists()


def test_too_few_images_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    write_png(folder / "0.png", SyntheticWeb(128, 320, 3).frame(0).pixels)
    with pytest.raises(ConfigError, match="holds 1 images, expected at least 4"):
        workshop.build(tmp_path / "out", f'images.good="{folder}"')


@pytest.mark.thorough
def test_the_f1_threshold_uses_the_ng_folder(workshop: Workshop, tmp_path: Path) -> None:
    ng = workshop.data / "test" / "dark_band"
    bundle = workshop.build(tmp_path, f'images.ng="{ng}"', 'threshold.method="f1"').bundle
    threshold = bundle.manifest.threshold
    assert "best F1 1.000 over 16 good and 2 NG images" in threshold.source
    assert len(bundle.manifest.ng_scores) == 2
    # Any other aim may be chosen later, from what the bundle remembers.
    cost = ["threshold", str(bundle.folder), "--escape-cost", "50", "-o", str(tmp_path / "cost")]
    assert edge_compile(cost) == Exit.DONE
    chosen = read_bundle(tmp_path / "cost").manifest.threshold
    assert (chosen.rule, threshold.rule) == ("cost", "f1")
    # One aim at a time, and what nobody asked to change stays.
    for both in (["--f1", "--false-rejects", "2%"], ["--f1", "--escape-cost", "5"]):
        assert edge_compile([*cost[:2], *both, *cost[4:]]) == Exit.CONFIG
    rare = workshop.build(
        tmp_path / "rare", f'images.ng="{ng}"', 'threshold.method="cost"',
        "threshold.escape_cost=9", "threshold.ng_share=0.0005",
    ).bundle  # fmt: skip
    assert edge_compile([cost[0], str(rare.folder), *cost[2:]]) == Exit.DONE
    assert read_bundle(tmp_path / "cost").manifest.threshold.settings.ng_share == 0.0005


def test_the_report_holds_what_the_content_hash_leaves_out(again: BuildResult) -> None:
    report = json.loads(again.report_file.read_text())
    assert report["bundle"] == again.bundle.folder.name
    assert report["seconds"] > 0
    assert report["fit"]["coreset_rows"] == 300
    assert not again.report_file.is_relative_to(again.bundle.folder)


def test_sampled_tiles_are_tiles_of_the_images_and_twins_differ_inside_the_core(
    workshop: Workshop, patchcore: Bundle
) -> None:
    pipeline = Pipeline(patchcore)
    files = list_images(workshop.data / "train" / "good")[:3]
    frame = FrameSpec(height_px=128, width_px=320)
    rng = np.random.default_rng(0)
    tiles = sample_tiles(files, pipeline.grid, frame, 7, rng, 0, Lamp())
    whole = {
        pipeline.grid.tile(read_pixels(file), n).tobytes()
        for file in files
        for n in range(len(pipeline.grid))
    }
    assert all(tile[0].tobytes() in whole for tile in tiles)
    changed = (with_twins(tiles, 32, rng) != tiles).any(axis=1)
    assert changed.any(axis=(1, 2)).all()
    border = np.ones((192, 192), bool)
    border[32:-32, 32:-32] = False
    assert not changed[:, border].any()
