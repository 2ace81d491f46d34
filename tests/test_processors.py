"""One INT8 bundle for every x86-64: the same scores under each instruction set, or a refusal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset
from rich.console import Console

from bundles import Workshop
from kenpin.compile.backbones import BACKBONES
from kenpin.compile.build import build
from kenpin.compile.cli import main as edge_compile
from kenpin.compile.methods.extractor import Extractor
from kenpin.compile.networks.lowest import ProcessorError, Rerun, rerun
from kenpin.compile.networks.quantize import convert, largest_weight, quantize, save
from kenpin.compile.progress import Steps
from kenpin.compile.reporting.report import summary
from kenpin.config.exits import Exit
from kenpin.config.methods import PadimSpec, PatchCoreSpec
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.doctor import main as edge_doctor
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.openvino_core import new_core
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.processor import has_vnni, processor_name
from kenpin.runtime.judging.proposals import BankSearch
from kenpin.runtime.selftest import CANNOT_COMPILE, open_tested, scored
from kenpin.runtime.web.pipeline import open_pipeline
from test_bundle import rewrite
from test_compiled_networks import extractor_of
from test_imported import SIZE as SIZE_PX
from test_imported import grey, recipe_of, saved

# Those that this processor does not have are run as the next lower one that it has.
INSTRUCTION_SETS = ("AVX512_CORE_AMX", "AVX512_CORE_VNNI", "AVX512_CORE", "AVX2_VNNI", "AVX2")
LOWEST = "SSE41"
SIDE, BATCH = 96, 2


def noisy_tiles(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    strengths = np.linspace(3, 60, count)[:, None, None, None]
    noise = 120 + strengths * rng.normal(size=(count, 1, SIDE, SIDE))
    return np.clip(noise, 0, 255).astype(np.uint8)


def gabor(method):
    network = BACKBONES.find("gabor").make(BACKBONES.find("gabor").layers, 1)
    return Extractor(network, 8, method, 16)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """INT8 networks by name: the built-in filters; residual and depthwise ones of chance."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "weights").mkdir()
    extractors = {
        "gabor_padim": gabor(PadimSpec(name="padim", dimensions=60)),
        "gabor_patchcore": gabor(PatchCoreSpec(name="patchcore")),
        "resnet18": extractor_of("resnet18", folder / "weights"),
        "mobilenet_v2": extractor_of("mobilenet_v2", folder / "weights"),
    }
    found = {}
    for name, extractor in extractors.items():
        model = quantize(convert(extractor.eval(), BATCH, 1, SIDE), noisy_tiles(8))
        assert 0 < largest_weight(model) <= 63, name
        found[name] = folder / f"{name}.xml"
        save(model, found[name])
    return found


@pytest.fixture(scope="module")
def everywhere(networks, patchcore, padim, web_bundle, tmp_path_factory):
    """By instruction set: what each network and bundle computes there."""
    things = networks | {
        "patchcore": patchcore.folder,
        "padim": padim.folder,
        "web": web_bundle.folder,
    }
    folder = tmp_path_factory.mktemp("everywhere")
    named = [f"{name}={path}" for name, path in things.items()]
    script = Path(__file__).with_name("other_processor.py")
    children = {
        isa: subprocess.Popen(
            [sys.executable, script, folder / f"{isa}.npz", *named],
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": isa},
        )
        for isa in (*INSTRUCTION_SETS, LOWEST)
    }
    ended = {isa: child.wait(timeout=300) for isa, child in children.items()}
    assert set(ended.values()) == {0}, ended
    return {isa: np.load(folder / f"{isa}.npz") for isa in children}


def test_no_weight_is_wider_than_what_sixteen_bits_can_add(tmp_path, patchcore, padim, web_bundle):
    extractor = extractor_of("mobilenet_v2", tmp_path)
    model = quantize(convert(extractor.eval(), BATCH, 1, SIDE), noisy_tiles(4))
    # NNCF's own remedy passes by grouped convolutions.
    assert any(op.get_type_name() == "GroupConvolution" for op in model.get_ordered_ops())
    networks = {"mobilenet_v2": model}
    for bundle in (patchcore, padim, web_bundle):
        assert bundle.network is not None
        read = new_core().read_model(bundle.network.xml, bundle.network.weights)
        networks[bundle.manifest.name] = read
    for name, network in networks.items():
        assert 0 < largest_weight(network) <= 63, name


@pytest.mark.thorough
@pytest.mark.parametrize("isa", [*INSTRUCTION_SETS[1:], LOWEST])
def test_networks_compute_the_same_features_under_each_instruction_set(everywhere, networks, isa):
    for name in networks:
        here, there = everywhere[INSTRUCTION_SETS[0]][name], everywhere[isa][name]
        # A sum that saturates moves features by a half to three times their spread.
        assert np.abs(there - here).max() < 1e-4 * here.std(), name


@pytest.mark.thorough
@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_golden_frames_score_the_same_under_each_instruction_set(
    everywhere, patchcore, padim, web_bundle, isa
):
    for name, bundle in {"patchcore": patchcore, "padim": padim, "web": web_bundle}.items():
        recorded = [golden.score for golden in bundle.manifest.golden]
        np.testing.assert_allclose(everywhere[isa][name], recorded, rtol=0.005, err_msg=name)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["patchcore", "padim", "web"])
def test_golden_frames_score_the_same_under_the_lowest_instruction_set(everywhere, name):
    here, there = (everywhere[isa][f"{name}, exhaustive"] for isa in (INSTRUCTION_SETS[0], LOWEST))
    np.testing.assert_allclose(there, here, rtol=0.005)


def test_bank_rows_are_rounded_to_what_sixteen_bits_can_add():
    bank = np.random.default_rng(0).normal(size=(300, 24)).astype(np.float32)
    weights = BankSearch.of(bank, np.zeros(24, np.float32)).weights.astype(int)
    # The largest sum of two products of a byte and a weight.
    assert 2 * 255 * np.abs(weights).max() <= np.iinfo(np.int16).max
    assert np.abs(weights).max() == 63


class CannotSearch:
    """OpenVINO on a processor for which it cannot compile TopK, as where it is kept to SSE4.1."""

    def __init__(self) -> None:
        self.core = ov.Core()

    def read_model(self, *arguments: Any) -> Any:
        return self.core.read_model(*arguments)

    def compile_model(self, model: Any, device: str, config: dict[str, Any]) -> Any:
        if any(node.get_type_name() == "TopK" for node in model.get_ordered_ops()):
            raise RuntimeError("Exception from src/plugin.cpp\nTopK: no such instruction")
        return self.core.compile_model(model, device, config)


class CannotCompile(CannotSearch):
    """OpenVINO on a processor for which it cannot compile any network."""

    def compile_model(self, *_: Any) -> Any:
        raise RuntimeError("Exception from src/plugin.cpp\nbad combination")


def test_a_processor_that_cannot_run_a_network_is_not_told_to_compile_it_again(
    patchcore: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("engine", "proposals"):
        monkeypatch.setattr(f"kenpin.runtime.judging.{module}.new_core", CannotCompile)
    with pytest.raises(BundleError) as found:
        open_tested(patchcore)
    said = str(found.value)
    assert "features.xml: OpenVINO cannot compile it for CPU: bad combination; this" in said
    assert processor_name() in said
    assert "recompile" not in said
    assert said.count(str(patchcore.folder)) == 1


def test_a_network_that_needs_avx_is_imported_with_a_plain_warning(tmp_path: Path) -> None:
    """Resizing compiles on processors alone, not where they are imitated."""
    image = opset.parameter([-1, 3, SIZE_PX, SIZE_PX], ov.Type.f32, name="image")
    off = opset.abs(opset.subtract(grey(image, False), np.float32(0.46)))
    half = np.array([SIZE_PX // 2] * 2)
    resized = opset.interpolate(off, half, "linear_onnx", "sizes", axes=np.array([2, 3]))
    recipe = recipe_of(tmp_path, saved(tmp_path, image, map=resized))
    told = io.StringIO()
    with Steps(Console(file=told, width=2000)) as steps:
        made = build(recipe, tmp_path / "store", steps)
    assert made.rerun is None
    (said,) = (line for line in told.getvalue().splitlines() if "AVX" in line)
    assert said.startswith(
        f"warning: processors without AVX may not run this bundle: kept to {LOWEST}, "
    )
    assert "OpenVINO cannot compile its network (bad combination);" in said
    for unsaid in ("BundleError", "recompile", str(tmp_path)):
        assert unsaid not in said


def test_golden_frames_without_a_score_say_why_in_their_own_words(own_bundle: Path) -> None:
    golden = json.loads((own_bundle / "manifest.json").read_text())["golden"]
    (own_bundle / golden[0]["file"]).write_bytes(b"no picture")
    asked = [sys.executable, "-m", "kenpin.runtime.selftest", str(own_bundle)]
    child = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert child.returncode not in (0, CANNOT_COMPILE)
    assert child.stderr.startswith(f"{own_bundle}: golden/")
    assert len(child.stderr.splitlines()) == 1


def with_a_bank_for_each_tile(bundle: Bundle) -> Bundle:
    """The same bank for all of them, so that nothing scores otherwise."""
    tiles = len(Pipeline(bundle).grid)
    arrays = dict(bundle.arrays)
    for name in ("bank", "bank_sq"):
        arrays[name] = np.repeat(arrays[name], tiles, axis=0)
    method = bundle.manifest.method.model_copy(update={"share": "tile"})
    manifest = bundle.manifest.model_copy(update={"method": method})
    return replace(bundle, manifest=manifest, arrays=arrays)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda bundle: bundle, "CPU refuses the search, so every bank row is measured: TopK: no"),
        (with_a_bank_for_each_tile, "CPU refuses the search of a bank: TopK: no such instruction"),
    ],
)
def test_a_processor_that_cannot_search_measures_every_row(patchcore, monkeypatch, change, told):
    bundle = change(patchcore)
    whole = open_pipeline(bundle, execution=Execution(exhaustive=True))
    expected = [score for _, score in scored(whole)]
    for module in ("engine", "proposals"):
        monkeypatch.setattr(f"kenpin.runtime.judging.{module}.new_core", CannotSearch)
    pipeline = open_tested(bundle)
    assert [score for _, score in scored(pipeline)] == expected
    (refused,) = pipeline.engine.refused
    assert refused.startswith(told)
    assert "every bank row is measured" in refused


@pytest.mark.thorough
def test_a_build_says_what_the_lowest_instruction_set_makes_of_it(
    workshop: Workshop, tmp_path: Path
) -> None:
    result = workshop.build(tmp_path, lowest=True)
    manifest = result.bundle.manifest
    assert manifest.quantization.processors == "any"
    told = json.loads(result.report_file.read_text())["lowest_instruction_set"]
    assert told["instruction_set"] == LOWEST
    assert set(told["scores"]) == {golden.file for golden in manifest.golden}
    assert told["largest_difference"] <= 0.005
    assert "any x86-64: under SSE41 golden frames score the same" in summary(result)
    late = Rerun(LOWEST, {}, {}, not_done="the golden frames were not scored within 600 s")
    said = summary(replace(result, rerun=late))
    assert "not proven: under SSE41 the golden frames were not scored within 600 s" in said


def off_by(folder: Path, share: float) -> Bundle:
    """A bundle whose first golden frame claims another score."""
    golden = json.loads((folder / "manifest.json").read_text())["golden"]
    golden[0]["score"] *= 1 + share
    return read_bundle(rewrite(folder, golden=golden))


def test_a_build_fails_with_figures_where_the_lowest_instruction_set_disagrees(
    patchcore, monkeypatch
):
    def doubled(pipeline):
        return ((golden, 2 * score) for golden, score in scored(pipeline))

    monkeypatch.setattr("kenpin.compile.networks.lowest.scored", doubled)
    with pytest.raises(ProcessorError, match=r"golden/.* scores .* under SSE41.*50\.00% apart"):
        rerun(patchcore)


def test_a_rerun_that_takes_too_long_says_so_and_the_bundle_stays(patchcore, monkeypatch):
    monkeypatch.setattr("kenpin.compile.networks.lowest.ENOUGH_S", 0)
    monkeypatch.setattr("kenpin.compile.networks.lowest.TIMES_HERE", 0)
    again = rerun(patchcore)
    assert again is not None
    assert not again.scores
    assert set(again.here) == {golden.file for golden in patchcore.manifest.golden}
    assert again.not_done == "the golden frames were not scored within 0 s"


@pytest.mark.thorough
def test_the_more_a_bundle_computes_the_longer_its_rerun_is_waited_for(patchcore, monkeypatch):
    monkeypatch.setattr("kenpin.compile.networks.lowest.ENOUGH_S", 0)
    monkeypatch.setattr("kenpin.compile.networks.lowest.TIMES_HERE", 1e4)
    again = rerun(patchcore)
    assert again is not None
    assert not again.not_done
    assert set(again.scores) == set(again.here)


@pytest.mark.thorough
def test_a_bundle_that_its_proof_refuses_is_neither_current_nor_left(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kenpin.compile.networks.lowest.ALLOWED", -1.0)
    with pytest.raises(ProcessorError):
        workshop.build(tmp_path, lowest=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["eval", "threshold", "verify", "tune"])
def test_whoever_opens_a_bundle_runs_its_golden_frames_first(
    command: str, own_bundle: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = off_by(own_bundle, 0.02)
    arguments = [command, str(bundle.folder)]
    if command == "eval":
        arguments.append(str(workshop.data))
    if command == "threshold":
        arguments += ["--ok", "3"]
    assert (edge_doctor if command == "tune" else edge_compile)(arguments) == Exit.BUNDLE
    assert "golden frame golden/good-0.png scores" in capsys.readouterr().err
    assert [path.name for path in bundle.folder.parent.iterdir()] == [bundle.folder.name]


@pytest.mark.thorough
def test_the_eighth_bit_is_for_processors_with_vnni_and_others_refuse_it_by_name(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = workshop.build(tmp_path, "quantize.weight_bits=8", lowest=True).bundle
    assert bundle.manifest.quantization.processors == "vnni"
    assert read_bundle(bundle.folder).manifest == bundle.manifest
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(BundleError, match=r"VNNI.*AVX2.*weight_bits = 7"):
        Pipeline(bundle)


def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


def processor_with(flags: str, folder: Path) -> Path:
    cpuinfo = folder / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: Celeron 3000\nflags\t\t: {flags}\n\n")
    return cpuinfo


@pytest.mark.parametrize(
    ("flags", "found"),
    [("sse4_1 avx2 avx512f avx512bw", False), ("avx2 avx_vnni", True), ("amx_int8 fpu", True)],
)
def test_vnni_is_read_from_the_processors_flags(tmp_path, monkeypatch, flags, found):
    unlimited(monkeypatch)
    cpuinfo = processor_with(flags, tmp_path)
    assert has_vnni(cpuinfo) == found
    assert processor_name(cpuinfo) == "Celeron 3000"
    assert not has_vnni(tmp_path / "none")


@pytest.mark.parametrize(
    ("flags", "limits", "found"),
    [
        # oneDNN takes AVX2's way there, which saturates.
        ("avx2 avx512_vnni", {"ONEDNN_MAX_CPU_ISA": "AVX2_VNNI"}, False),
        ("avx2 avx_vnni avx512_vnni", {"ONEDNN_MAX_CPU_ISA": "avx2_vnni"}, True),
        ("avx2 avx_vnni", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, False),
        ("avx2 avx512_vnni amx_int8", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True),
        ("avx2 avx512_vnni amx_int8", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, False),
        ("avx2 avx512_vnni", {"DNNL_MAX_CPU_ISA": "AVX2"}, False),
        ("avx2 avx512_vnni", {"DNNL_MAX_CPU_ISA": "AVX2", "ONEDNN_MAX_CPU_ISA": "DEFAULT"}, True),
        ("avx2 avx512_vnni", {"DNNL_MAX_CPU_ISA": "DEFAULT", "ONEDNN_MAX_CPU_ISA": "AVX"}, False),
    ],
)
def test_vnni_is_none_where_onednn_is_told_to_do_without(
    tmp_path, monkeypatch, flags, limits, found
):
    unlimited(monkeypatch)
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    cpuinfo = processor_with(flags, tmp_path)
    assert has_vnni(cpuinfo) == found
    told = limits.get("ONEDNN_MAX_CPU_ISA") or limits["DNNL_MAX_CPU_ISA"]
    assert processor_name(cpuinfo) == f"Celeron 3000 kept to {told}"


def test_a_bundle_from_before_still_loads_and_its_refusal_says_to_compile_again(own_bundle):
    quantization = json.loads((own_bundle / "manifest.json").read_text())["quantization"]
    del quantization["processors"]
    folder = rewrite(own_bundle, quantization=quantization)
    bundle = read_bundle(folder)
    assert bundle.manifest.quantization.processors is None
    assert bundle.manifest.quantization.settings.weight_bits == 7
    open_tested(bundle)
    assert rerun(bundle) is None
    with pytest.raises(BundleError, match="compile it again"):
        open_tested(off_by(folder, 0.02))
