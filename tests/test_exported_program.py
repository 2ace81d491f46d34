"""Programs of torch.export: read like any other network, and nothing of theirs is run by it."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kenpin.camera.frame import Frame
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.evaluation.prove import prove
from kenpin.compile.importing.exported_program import converted, vetted
from kenpin.compile.importing.imported_network import ImportedNetwork
from kenpin.config.errors import ConfigError
from kenpin.runtime.judging.pipeline import Pipeline
from test_imported import HEIGHT, SEED, SIZE, WIDTH, compiled, recipe_of, with_spot

Archive = dict[str, bytes]


class Deviation(nn.Module):
    """How far a pixel is from middle grey, its maximum, and features."""

    def __init__(self, *said: str) -> None:
        super().__init__()
        self.said = said
        self.register_buffer("middle", torch.full((1, 3, 1, 1), 0.46))
        self.edges = nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, image: Tensor) -> Any:
        off = (image - self.middle).abs().mean(1, keepdim=True)
        known = {"map": off, "score": off.amax((1, 2, 3)), "features": self.edges(image).relu()}
        if len(self.said) == 1:
            return known[self.said[0]]
        return {name: known[name] for name in self.said}


def saved(folder: Path, *said: str, any_batch: bool = True) -> Path:
    torch.manual_seed(0)
    shapes = {"image": {0: torch.export.Dim("batch")}} if any_batch else None
    example = torch.zeros(2 if any_batch else 1, 3, SIZE, SIZE)
    program = torch.export.export(Deviation(*said).eval(), (example,), dynamic_shapes=shapes)
    file = folder / "model.pt2"
    torch.export.save(program, file)
    return file


@pytest.mark.parametrize("any_batch", [pytest.param(True, marks=pytest.mark.thorough), False])
def test_a_map_and_a_score_of_a_program_are_what_torch_says(
    tmp_path: Path, any_batch: bool
) -> None:
    file = saved(tmp_path, "map", "score", any_batch=any_batch)
    recipe = recipe_of(tmp_path, file, model={"map": "map", "score": "score"})
    bundle = compiled(tmp_path, recipe)
    pixels = with_spot(SyntheticWeb(HEIGHT, WIDTH, SEED).frame(40).pixels)
    judged = Pipeline(bundle).judge(Frame(pixels, 0, 0))
    expected = np.abs(pixels / np.float32(255) - np.float32(0.46)).max()
    assert judged.verdict.score == pytest.approx(float(expected), abs=2e-6)
    proof = prove(recipe, bundle)
    assert proof.by == "torch, image by image"
    assert proof.holds, str(proof)
    assert proof.score is not None


def test_a_single_output_is_known_by_its_shape(tmp_path: Path) -> None:
    for said, found in (("map", "map"), ("score", "score")):
        network = ImportedNetwork(recipe_of(tmp_path, saved(tmp_path, said)))
        assert getattr(network.said, found) == "output0"
        assert network.seen == (SIZE, SIZE)


def test_features_of_a_program_are_judged_by_a_method_of_ours(tmp_path: Path) -> None:
    recipe = recipe_of(
        tmp_path, saved(tmp_path, "features"), model={"features": ("output0",)},
        method={"name": "padim"}, quantize={"precision": "fp32", "guard_tiles": 8},
    )  # fmt: skip
    network = ImportedNetwork(recipe)
    assert network.patch_stride_px == 8


class Touch:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def parts_of(file: Path) -> Archive:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed(folder: Path, change: Callable[[Archive, Path], object]) -> Path:
    parts = parts_of(saved(folder, "map"))
    change(parts, folder / "touched")
    file = folder / "evil.pt2"
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file


def with_tree(parts: Archive, name: str, change: Callable[[Any], None]) -> None:
    key = next(key for key in parts if key.endswith(name))
    tree = json.loads(parts[key])
    change(tree)
    parts[key] = json.dumps(tree).encode()


def pickled_example(parts: Archive, touched: Path) -> None:
    key = next(key for key in parts if key.endswith("sample_inputs/model.pt"))
    written = io.BytesIO()
    torch.save(((Touch(touched),), {}), written)
    parts[key] = written.getvalue()


def pickled_weight(parts: Archive, touched: Path) -> None:
    written = io.BytesIO()
    torch.save(Touch(touched), written)
    key = next(key for key in parts if key.endswith("weights/weight_0"))
    parts[key] = written.getvalue()

    def change(tree: Any) -> None:
        next(iter(tree["config"].values()))["use_pickle"] = True

    with_tree(parts, "model_weights_config.json", change)


def opaque_constant(parts: Archive, touched: Path) -> None:
    root = next(iter(parts)).partition("/")[0]
    parts[f"{root}/data/constants/opaque_obj_0"] = pickle.dumps(Touch(touched))

    def change(tree: Any) -> None:
        tree["config"]["evil"] = {
            "path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None,
        }  # fmt: skip

    with_tree(parts, "model_constants_config.json", change)


def evaluated_size(parts: Archive, touched: Path) -> None:
    def change(tree: Any) -> None:
        sizes = tree["graph_module"]["graph"]["tensor_values"]["image"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = f"__import__('pathlib').Path({str(touched)!r}).touch()"

    with_tree(parts, "model.json", change)


def foreign_call(parts: Archive, touched: Path) -> None:
    def change(tree: Any) -> None:
        tree["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"

    with_tree(parts, "model.json", change)


def written_code(parts: Archive, touched: Path) -> None:
    def change(tree: Any) -> None:
        graph = tree["graph_module"]["graph"]
        graph["nodes"][0]["name"] = f"a\n__import__('pathlib').Path({str(touched)!r}).touch()"

    with_tree(parts, "model.json", change)


def class_of_its_own(parts: Archive, touched: Path) -> None:
    def change(tree: Any) -> None:
        call = tree["graph_module"]["module_call_graph"][0]["signature"]
        call["out_spec"] = call["out_spec"].replace('"type": null', '"type": "os.system"')

    with_tree(parts, "model.json", change)


def compiled_code(parts: Archive, touched: Path) -> None:
    parts[f"{next(iter(parts)).partition('/')[0]}/data/aotinductor/model/model.so"] = b"\x7fELF"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (pickled_example, "its example is no plain tensor"),
        (pickled_weight, "is a pickle"),
        (opaque_constant, "is a pickle"),
        (evaluated_size, "is no size"),
        (foreign_call, r"calls 'torch\.ops\.aten\.from_file\.default'"),
        (written_code, "stands where a name is expected"),
        (class_of_its_own, r"takes or gives a os\.system"),
        (compiled_code, "holds compiled code"),
    ],
)
def test_a_program_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, change: Callable[[Archive, Path], None], why: str
) -> None:
    file = changed(tmp_path, change)
    with pytest.raises(ConfigError, match=why):
        converted(file)
    assert not (tmp_path / "touched").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", [pickled_example, pickled_weight, opaque_constant])
def test_torchs_own_reader_would_have_run_it(
    tmp_path: Path, change: Callable[[Archive, Path], None]
) -> None:
    """Why there is one of ours: when torch no longer does, it can go."""
    file = changed(tmp_path, change)
    # Whatever it raises, it is too late.
    with contextlib.suppress(Exception):
        torch.export.load(file)
    assert (tmp_path / "touched").exists()


def test_what_is_no_exported_program_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    file.write_bytes(b"not at all")
    with pytest.raises(ConfigError, match=r"is no archive of torch\.export\.save"):
        vetted(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/version", "3")
    with pytest.raises(ConfigError, match="save it again"):
        vetted(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/version", "3" * 100)
    with pytest.raises(ConfigError, match="its parts are compressed"):
        vetted(file)


def test_a_program_is_read_again_when_its_file_has_changed(tmp_path: Path) -> None:
    first = converted(saved(tmp_path, "map"))
    second = converted(saved(tmp_path, "score"))
    assert len(first.outputs[0].partial_shape) == 4
    assert len(second.outputs[0].partial_shape) == 1
