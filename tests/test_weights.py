"""Learned weights: the file that was meant, or an error that says which was not and why."""

from __future__ import annotations

import hashlib
import os
import urllib.error

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import reference_networks as reference
from kenpin.compile.backbones import BACKBONES, Packaged, Weights
from kenpin.compile.backbones.resnet import RESNETS, ResNet
from kenpin.compile.backbones.weights import load_into, obtain
from kenpin.config.errors import ConfigError

WEIGHTS = Weights("conv1.weight")


@pytest.fixture
def state():
    """A made-up file of a ResNet-18 up to layer1."""
    weights = reference.Weights()
    reference.resnet("resnet18", weights, np.zeros((1, 1, 32, 32), np.uint8), 1)
    return weights.state


@pytest.fixture
def file(tmp_path):
    return tmp_path / "given.pth"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Where torch.hub keeps its downloads."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def load(file, state=None, layers=("layer1",), channels=1):
    if state is not None:
        torch.save(state, file)
    network = ResNet(RESNETS["resnet18"], layers, channels)
    return network, load_into(network, file, channels, WEIGHTS)


# Loading


def test_a_file_without_later_layers_is_enough_and_its_hash_is_given(file, state):
    network, sha256 = load(file, state)
    assert sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    found = network.state_dict()["layer1.1.conv2.weight"]
    assert torch.equal(found, state["layer1.1.conv2.weight"])


def test_layers_that_the_network_does_not_have_are_left_in_the_file(file, state):
    extra = {"fc.weight": torch.zeros(10, 512), "layer4.0.conv1.weight": torch.zeros(1)}
    network, _ = load(file, state | extra)
    assert not {"fc.weight", "layer4.0.conv1.weight"} & set(network.state_dict())


@pytest.mark.parametrize("counted", [True, False])
def test_whether_the_file_counts_batches_does_not_matter(file, state, counted):
    norms = [key.removesuffix("running_mean") for key in state if key.endswith("running_mean")]
    count = {f"{norm}num_batches_tracked": torch.tensor(7) for norm in norms}
    load(file, state | count if counted else state)


@pytest.mark.parametrize("key", ["layer1.0.conv2.weight", "bn1.running_var", "layer1.1.bn2.bias"])
def test_a_missing_layer_is_named(file, state, key):
    del state[key]
    with pytest.raises(ConfigError, match=f"given.pth: {key} is missing, the network needs"):
        load(file, state)


def test_a_file_that_stops_before_the_last_tapped_layer_is_refused(file, state):
    with pytest.raises(ConfigError, match=r"given\.pth: layer2.* cut off before the last tapped"):
        load(file, state, ("layer1", "layer2"))


def test_a_layer_of_another_shape_is_named(file, state):
    state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 1, 1)
    message = r"given\.pth: layer1\.0\.conv1\.weight is \(64, 64, 1, 1\), the network needs \(64, "
    with pytest.raises(ConfigError, match=message):
        load(file, state)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colours", [1, 2, 4])
def test_a_first_convolution_that_was_not_trained_on_three_colours_is_refused(
    file, state, channels, colours
):
    state[WEIGHTS.stem] = torch.zeros(64, colours, 7, 7)
    with pytest.raises(ConfigError, match=rf"given\.pth: conv1\.weight is \(64, {colours}, 7, 7\)"):
        load(file, state, channels=channels)


@pytest.mark.parametrize(
    "content", [{"features.0.0.weight": torch.zeros(1)}, {"state_dict": {}}, [torch.zeros(3)]]
)
def test_the_file_of_another_network_is_refused(file, content):
    with pytest.raises(ConfigError, match=r"given\.pth: holds no 'conv1.weight'; it is the file"):
        load(file, content)


@pytest.mark.parametrize("key", [WEIGHTS.stem, "bn1.bias"])
def test_an_entry_that_is_no_tensor_is_refused(file, state, key):
    with pytest.raises(ConfigError, match=rf"given\.pth: {key}"):
        load(file, state | {key: 3})


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_that_is_no_state_dict_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"given\.pth: not a plain state dict of torch"):
        load(file)


class Burglar:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder),)


def test_a_file_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path, file, state):
    with pytest.raises(ConfigError, match=r"given\.pth: not a plain state dict of torch"):
        load(file, state | {"fc.weight": Burglar(tmp_path / "burgled")})
    assert not (tmp_path / "burgled").exists()


# Obtaining


def test_the_file_given_is_taken_and_nothing_is_downloaded(file, hub):
    file.write_bytes(b"anything")
    assert obtain("resnet18", WEIGHTS, file) == file
    assert not hub.exists()


def test_a_given_file_that_does_not_exist_is_named(file):
    with pytest.raises(ConfigError, match=r"given\.pth: no such weights file; give the publ"):
        obtain("resnet18", WEIGHTS, file)


PUBLISHED = [n for n in BACKBONES.names() if (w := BACKBONES.find(n).weights) and w.url]


@pytest.mark.parametrize("name", PUBLISHED)
def test_offline_the_error_names_both_remedies(monkeypatch, hub, name):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    message = f"{name} needs weights.*no route to host.*--weights FILE.*or connect this machine"
    with pytest.raises(ConfigError, match=message):
        obtain(name, BACKBONES.find(name).weights, None)


def test_a_backbone_whose_weights_nobody_publishes_asks_for_their_file(hub):
    with pytest.raises(ConfigError, match="own needs weights; give its file with --weights FILE"):
        obtain("own", WEIGHTS, None)


def publish(folder, content, digits):
    """Content as a network's file, under the hash digits given."""
    file = folder / f"resnet18-{digits}.pth"
    file.write_bytes(content)
    return file


def test_the_published_file_is_fetched_once(hub, tmp_path):
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    source = publish(tmp_path, b"weights", digits)
    fetched = obtain("resnet18", Weights("conv1.weight", source.as_uri()), None)
    assert fetched == hub / source.name
    source.unlink()
    assert obtain("resnet18", Weights("conv1.weight", source.as_uri()), None) == fetched
    assert fetched.read_bytes() == b"weights"


def test_a_download_with_another_hash_is_refused_and_not_kept(hub, tmp_path):
    source = publish(tmp_path, b"tampered", hashlib.sha256(b"weights").hexdigest()[:8])
    with pytest.raises(ConfigError, match="what came is not the published file: invalid hash"):
        obtain("resnet18", Weights("conv1.weight", source.as_uri()), None)
    assert list(hub.iterdir()) == []


def test_a_file_that_was_spoilt_after_its_download_is_refused(hub, tmp_path):
    source = publish(tmp_path, b"weights", hashlib.sha256(b"weights").hexdigest()[:8])
    obtain("resnet18", Weights("conv1.weight", source.as_uri()), None).write_bytes(b"spoilt")
    with pytest.raises(ConfigError, match=r"SHA-256 does not start with \w{8}; delete the file"):
        obtain("resnet18", Weights("conv1.weight", source.as_uri()), None)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of weights that was installed by pip; running its code would be an error."""
    folder = tmp_path / "site" / "some_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('run')")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_weights_that_come_with_pip_are_found_and_no_code_of_theirs_is_run(package):
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    source = publish(package / "models", b"weights", digits)
    weights = Weights("stem", packaged=Packaged("some_weights", f"models/{source.name}"))
    assert obtain("own", weights, None) == source
    source.write_bytes(b"spoilt")
    with pytest.raises(ConfigError, match=r"SHA-256 does not start.*install the package again"):
        obtain("own", weights, None)


def test_weights_that_pip_did_not_bring_are_asked_for_by_their_extra(package):
    for name in ("some_weights", "no_such_weights"):
        weights = Weights("stem", packaged=Packaged(name, "models/absent-01234567.pth"))
        with pytest.raises(ConfigError, match=rf"kenpin\[backbones\].*{name}.*--weights FILE"):
            obtain("own", weights, None)


# Other files of the same weights


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    """A field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx(state, listed=(), **more):
    """An ONNX file with these weights; those that are `listed` as numbers, the rest as bytes."""
    graph = b""
    for name, tensor in state.items():
        raw = tensor.numpy().astype("<f4").tobytes()
        dims = b"".join(field(1, side) for side in tensor.shape)
        data = field(4 if name in listed else 9, raw)
        graph += field(5, dims + field(2, 1) + field(8, name.encode()) + data)
    shapes = field(1, 2) + field(2, 7) + field(8, b"onnx::Reshape_1") + field(9, bytes(16))
    graph += field(5, shapes) + more.get("graph", b"")
    return field(1, 10) + field(7, graph)


def test_safetensors_and_onnx_of_the_same_weights_make_the_same_network(tmp_path, state):
    floats = {key: value for key, value in state.items() if value.is_floating_point()}
    save_file(
        {key: value.contiguous() for key, value in floats.items()}, tmp_path / "w.safetensors"
    )
    (tmp_path / "w.onnx").write_bytes(onnx(floats, listed=["conv1.weight"]))
    wanted = load(tmp_path / "w.pth", floats)[0].state_dict()
    for name in ("w.safetensors", "w.onnx"):
        found = load(tmp_path / name)[0].state_dict()
        assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_an_onnx_file_with_its_weights_elsewhere_or_cut_off_is_refused(tmp_path, state):
    file = tmp_path / "w.onnx"
    whole = onnx({"conv1.weight": state["conv1.weight"]})
    elsewhere = field(5, field(1, 3) + field(2, 1) + field(8, b"a") + field(14, 1))
    for content, why in (
        (onnx({}, graph=elsewhere), "lie in another file"),
        (whole[: len(whole) // 2], "cut off"),
        (b"\x0a\xff", "cut off"),
        (b"", "without weights"),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=why):
            load(file)


def test_an_onnx_file_whose_norms_were_folded_away_says_what_is_missing(tmp_path, state):
    file = tmp_path / "w.onnx"
    file.write_bytes(onnx({"conv1.weight": state["conv1.weight"]}))
    with pytest.raises(ConfigError, match=r"bn1\.weight is missing"):
        load(file)
