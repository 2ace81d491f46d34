"""What is no number reaches the verdict, through every network's float part on the box."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from kenpin.compile.backbones import build_backbone
from kenpin.compile.methods.extractor import Extractor
from kenpin.compile.methods.fitting import Embedding, fitting_of
from kenpin.compile.prepare import prepare
from kenpin.compile.training.fitting import MapFitting
from kenpin.compile.training.network import TrainedNetwork
from kenpin.compile.training.no_number import at_least_zero, at_most, larger
from kenpin.config.imported import ImportedSpec
from kenpin.config.recipe import load_recipe
from kenpin.runtime.judging.imported import ImportedScorer
from kenpin.runtime.judging.openvino_core import new_core
from kenpin.runtime.judging.trained import MapScorer
from test_training import TRAINED
from trainings import tiles_of, tiny_recipe

F32 = NDArray[np.float32]
MEMBERS = '{name="patchcore",coreset_rows=30,candidates=400},{name="stfpm"},{name="fastflow"}'
OWN = {
    "efficientad": ",distill_steps=1,width=8,features=8",
    "ensemble": f",members=[{MEMBERS}]",
    "ensemble of sums": f',members=[{MEMBERS}],join="sum"',
    "ensemble of Gaussians": ',members=[{name="dfm"},{name="padim"}]',
    "ganomaly": ",width=8",
}
LOST = (np.nan, np.inf, -np.inf)
numbers = st.floats(-(2.0**90), 2.0**90, width=32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recipe(tmp_path_factory.mktemp("tiny"))


@given(numbers, numbers)
def test_the_limits_are_those_of_clamp_and_maximum(one: float, other: float) -> None:
    x, y = torch.tensor([one]), torch.tensor([other])
    assert at_least_zero(x) == x.clamp(min=0)
    if one <= other:
        assert at_most(x, other) == x
    else:
        torch.testing.assert_close(at_most(x, other), y, rtol=1e-6, atol=abs(one) * 1e-6)
    torch.testing.assert_close(larger(x, y), torch.maximum(x, y), rtol=1e-6, atol=abs(one) * 1e-6)


class Flat(nn.Module):
    """A module that takes tensors, and lists of them, by tensors alone."""

    def __init__(self, inside: nn.Module, shown: Any) -> None:
        super().__init__()
        self.inside, self._shown = inside, shown

    def forward(self, *tensors: Tensor) -> Tensor:
        found: Tensor = self.inside(*_put(self._shown, iter(tensors)))
        return found


def _tensors(shown: Any) -> list[Tensor]:
    if isinstance(shown, Tensor):
        return [shown]
    return [tensor for one in shown for tensor in _tensors(one)]


def _put(shown: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(shown, Tensor):
        return next(tensors)
    return type(shown)(_put(one, tensors) for one in shown)


def _float_parts(network: nn.Module, *shown: Any) -> dict[str, tuple[nn.Module, Any]]:
    """The outermost submodules that stay in float, and what they are given."""
    seen: dict[str, tuple[nn.Module, Any]] = {}
    hooks = []
    for name, part in network.named_modules():
        steps = name.split(".")
        if steps[-1] == "embedding" and "embedding" not in steps[:-1]:
            hooks.append(
                part.register_forward_pre_hook(
                    lambda module, values, name=name: seen.update({name: (module, values)})
                )
            )
    with torch.no_grad():
        network(*shown)
    for hook in hooks:
        hook.remove()
    return seen


def _check_nothing_is_lost(part: nn.Module, shown: Any, *, corners: bool) -> None:
    """NaN or an infinity within one tile: that tile says so, and the others are as before.

    corners  in what lies around the tile's core, too
    """
    tensors = _tensors(shown)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Flat(part, shown).eval(), tuple(tensors), check_trace=False)
        model = ov.convert_model(traced, example_input=tuple(tensors))
    model.reshape({port: tensor.shape for port, tensor in zip(model.inputs, tensors, strict=True)})
    box = new_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def say(values: list[F32]) -> F32:
        found: F32 = box(values)[0].copy()
        return found

    clean = [tensor.numpy() for tensor in tensors]
    usual = say(clean)
    assert np.isfinite(usual).all()
    for number, values in enumerate(clean):
        middle = values.shape[2] // 2, values.shape[3] // 2
        places = {middle, (0, 0)} if corners else {middle}
        for lost, place in product(LOST, places):
            spoiled = values.copy()
            spoiled[0, 0, *place] = lost
            found = say([*clean[:number], spoiled, *clean[number + 1 :]])
            assert not np.isfinite(found[0]).all(), f"{lost} at {place} of input {number} is lost"
            np.testing.assert_array_equal(found[1:], usual[1:])


@pytest.mark.parametrize("method", [*TRAINED, "ensemble of sums", "ensemble of Gaussians"])
def test_what_is_no_number_comes_through_a_heads_float_part(tiny: Path, method: str) -> None:
    name = method.partition(" ")[0]
    network = prepare(load_recipe(tiny, [f'method={{name="{name}"{OWN.get(method, "")}}}'])).network
    assert isinstance(network, TrainedNetwork)
    fitting = fitting_of(network.method)
    assert isinstance(fitting, MapFitting)
    torch.manual_seed(3)
    head = fitting.head(network.plan, network.method).eval()  # type: ignore[arg-type]
    tiles = torch.from_numpy(tiles_of(tiny))
    with torch.no_grad():
        taps = network.plan.backbone(tiles)
        head.settle(lambda _: iter([(tiles, taps)]))
    parts = _float_parts(head, tiles, taps)
    assert parts
    for part, shown in parts.values():
        # Gaussians do not look at what lies in the halo alone.
        _check_nothing_is_lost(part, shown, corners="Gaussians" not in method)


@pytest.mark.parametrize("method", ["padim", "patchcore", "dfm"])
def test_what_is_no_number_comes_through_a_patch_embedding(tiny: Path, method: str) -> None:
    recipe = load_recipe(tiny, [f'method={{name="{method}"}}'])
    built = build_backbone(recipe.backbone, recipe.method.tap_strides, 1)
    network = Extractor(built.network, built.grid_px, recipe.method, recipe.tiles.halo_px).eval()
    parts = _float_parts(network, torch.from_numpy(tiles_of(tiny)))
    ((part, shown),) = parts.values()
    assert isinstance(part, Embedding)
    _check_nothing_is_lost(part, shown, corners=False)


@pytest.mark.parametrize("lost", LOST)
def test_a_network_that_says_no_number_gets_no_distance(lost: float) -> None:
    said = np.full((2, 3, 3, 4), 0.5, np.float32)
    said[1, 2, 0, 1] = lost
    for scorer in (
        MapScorer(1),
        ImportedScorer(ImportedSpec(name="imported")),
        ImportedScorer(ImportedSpec(name="imported", worse="lower", zero=1.0)),
    ):
        values = scorer.distances(said).values
        assert not np.isfinite(values[1, 2, 0])
        assert np.isfinite(np.delete(values.ravel(), 15)).all()
