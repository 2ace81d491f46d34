"""The networks equal torchvision's formulation, mono and colour, at the borders too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

import reference_networks as reference
from kenpin.compile.backbones import BACKBONES, build_backbone
from kenpin.compile.backbones.base import centred, without_normalisation
from kenpin.config.backbone import BackboneSpec
from kenpin.config.errors import ConfigError
from kenpin.config.methods import PadimSpec, PatchCoreSpec

SHARED = Path(__file__).resolve().parents[2] / "shared" / "weights"
SIDE = 48


def tiles(channels, side=SIDE, seed=0):
    """(2, C, S, S) uint8: noise, and a dark tile with a bright border."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 256, (2, channels, side, side), np.uint8)
    out[1, :, 3:-3, 3:-3] //= 8
    return out


def expected(name, weights, images, layers):
    """Torchvision's maps at those layers."""
    last = max(int(layer.removeprefix("layer").removeprefix("features.")) for layer in layers)
    if name == "mobilenet_v2":
        maps = reference.mobilenet_v2(weights, images, last)
    else:
        maps = reference.resnet(name, weights, images, last)
    return [maps[layer] for layer in layers]


def built(name, layers, channels, file):
    spec = BackboneSpec(name=name, weights=file, layers=layers)
    return build_backbone(spec, PadimSpec.tap_strides, channels).network


def assert_equal_to_torchvision(network, layers, images, wanted):
    with torch.no_grad():
        found = network(torch.from_numpy(images))
    assert [tap.layer for tap in network.taps] == list(layers)
    for tap, ours, theirs in zip(network.taps, found, wanted, strict=True):
        assert ours.dtype == torch.float32
        assert ours.shape == theirs.shape == (2, tap.channels, *[SIDE // tap.stride_px] * 2)
        largest = float(theirs.abs().max())
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5 * largest)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3]),
    st.sampled_from([3, 5, 7]),
    st.integers(1, 2),
)
def test_the_first_layer_takes_raw_grey_levels_as_if_they_were_normalised_colour(
    seed, channels, side, stride
):
    weight = torch.from_numpy(np.random.default_rng(seed).normal(size=(4, 3, side, side))).float()
    images = tiles(channels, 12, seed)
    ours = functional.conv2d(
        centred(torch.from_numpy(images)),
        without_normalisation(weight, channels),
        stride=stride,
        padding=side // 2,
    )
    theirs = functional.conv2d(
        reference.normalised(images), weight.double(), stride=stride, padding=side // 2
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ("layer1", "layer2", "layer3")),
        ("resnet34", ("layer2",)),
        ("resnet50", ("layer1", "layer2")),
        ("wide_resnet50_2", ("layer1",)),
        ("se_resnext101", ("layer1", "layer2")),
        ("mobilenet_v2", ("features.3", "features.6", "features.13")),
    ],
)
def test_a_network_equals_torchvisions_formulation(tmp_path, name, layers, channels):
    images = tiles(channels)
    weights = reference.Weights(seed=3)
    wanted = expected(name, weights, images, layers)
    torch.save(weights.state, tmp_path / "weights.pth")
    network = built(name, layers, channels, tmp_path / "weights.pth")
    assert_equal_to_torchvision(network, layers, images, wanted)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "file", "layers"),
    [
        ("resnet18", "resnet18-imagenet-stem-to-layer3.pth", ("layer1", "layer2", "layer3")),
        (
            "mobilenet_v2",
            "mobilenet_v2-imagenet-features.pth",
            ("features.3", "features.6", "features.13"),
        ),
    ],
)
def test_learned_weights_give_torchvisions_maps(name, file, layers):
    if not (SHARED / file).is_file():
        pytest.skip(f"{SHARED / file} is not on this machine")
    weights = reference.Weights(torch.load(SHARED / file, weights_only=True))
    images = tiles(1)
    network = built(name, layers, 1, SHARED / file)
    assert_equal_to_torchvision(network, layers, images, expected(name, weights, images, layers))


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet50_2", "mobilenet_v2"])
@pytest.mark.parametrize(("method", "strides"), [(PadimSpec, [4, 8, 16]), (PatchCoreSpec, [8, 16])])
def test_the_default_layers_have_the_strides_of_the_papers(name, method, strides):
    family = BACKBONES.find(name)
    taps = family.make(family.default_layers(method.tap_strides), 1).taps
    assert [tap.stride_px for tap in taps] == strides


def test_layers_come_shallow_to_deep_whatever_the_recipes_order(tmp_path):
    weights = reference.Weights()
    reference.resnet("resnet18", weights, tiles(1), 2)
    torch.save(weights.state, tmp_path / "weights.pth")
    network = built("resnet18", ("layer2", "layer1"), 1, tmp_path / "weights.pth")
    assert [tap.layer for tap in network.taps] == ["layer1", "layer2"]
    assert not network.training


@pytest.mark.parametrize(
    ("settings", "channels", "message"),
    [
        ({"name": "alexnet"}, 1, "backbone 'alexnet' is not known; expected one of: .*gabor"),
        ({"name": "resnet18", "layers": ("layer5",)}, 1, "has no layer 'layer5'; expected some of"),
        ({"name": "gabor", "weights": Path("w.pth")}, 1, "is analytic and takes no weights"),
        ({"name": "gabor"}, 3, "gabor looks at grey only and frame.channels is 3; use a mono"),
    ],
)
def test_a_backbone_that_cannot_be_built_is_refused(settings, channels, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(BackboneSpec(**settings), PadimSpec.tap_strides, channels)


def test_a_method_that_asks_for_strides_which_a_backbone_lacks_says_so():
    with pytest.raises(ConfigError, match=r"no layer of the strides 2, 64 .*set backbone\.layers"):
        build_backbone(BackboneSpec(name="resnet18"), (2, 64), 1)
