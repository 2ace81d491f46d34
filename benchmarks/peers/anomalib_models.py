"""Runs in the peers' own environment: makes Anomalib's models of good tiles, as IRs.

    .venv-peers/bin/python benchmarks/peers/anomalib_models.py JOB.json

A job names model, tiles, size, weights and folder. Weights are a file or random: nothing is
downloaded. Scores are raw: Anomalib's own normalisation cuts them off at 0 and 1.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

MEAN = torch.tensor([0.485, 0.456, 0.406])[None, :, None, None]
SPREAD = torch.tensor([0.229, 0.224, 0.225])[None, :, None, None]
BACKBONE = "resnet18"
BATCH = 8
# torch forgets operators when their library goes.
_KEPT: list[torch.library.Library] = []


def allow_torchvision() -> None:
    """Let torchvision be imported, for whoever imports it.

    Its wheel on PyPI is made for CUDA's torch: beside the CPU's, its compiled operators do not
    load, and none is used here. Its Python asks for the names of two.
    """
    try:
        import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(operators)
        import_module("torchvision")


def main() -> None:
    """One model, in float and in Anomalib's INT8."""
    allow_torchvision()
    import nncf
    import openvino as ov

    job = json.loads(Path(sys.argv[1]).read_text())
    torch.manual_seed(0)
    # Its coreset draws from numpy's own generator.
    np.random.seed(0)  # noqa: NPY002
    begun = time.monotonic()
    tiles = np.load(job["tiles"])
    height, width = job["size"]
    model = made(job["model"], (height, width), job["weights"])
    fitted(model, job["model"], tiles, job["steps"])
    folder = Path(job["folder"])
    # One image a call, as OpenVINOInferencer works; left dynamic, PatchCore's search is traced
    # for two images and then takes no others.
    model.to_onnx(folder, "model", (height, width), dynamic_shapes=None, dynamic_axes=None)
    network = ov.convert_model(next(folder.rglob("model.onnx")))
    network.reshape([1, 3, height, width])
    ov.save_model(network, folder / "f32.xml", compress_to_fp16=False)
    # What its INT8_PTQ does: normal images, NNCF's defaults, the whole graph.
    seen = tiles[: job["calibration"]]
    seen = [_image(tile)[None] for tile in np.tile(seen, (1, 1, -(-width // seen.shape[2])))]
    seen = [image[..., :height, :width] for image in seen]
    ov.save_model(nncf.quantize(network, nncf.Dataset(seen)), folder / "int8.xml")
    facts = {"fitted_s": time.monotonic() - begun, "rows": _rows(model)}
    (folder / "facts.json").write_text(json.dumps(facts))


def made(name: str, size: tuple[int, int], weights: str | None) -> Any:
    """A model that has learned nothing yet, its backbone's weights from a file or random."""
    import timm
    from anomalib.models import (
        Cflow,
        Dfm,
        EfficientAd,
        Fastflow,
        Ganomaly,
        Padim,
        Patchcore,
        ReverseDistillation,
        Stfpm,
    )

    plain = {"post_processor": False, "evaluator": False, "visualizer": False}
    if name == "padim":
        found = _sized(Padim, size, backbone=BACKBONE, pre_trained=False, **plain)
        load_into(found.model.feature_extractor.feature_extractor, weights)
    elif name.startswith("patchcore"):
        found = _sized(Patchcore, size, backbone=BACKBONE, pre_trained=False, **plain)
        load_into(found.model.feature_extractor.feature_extractor, weights)
    elif name == "stfpm":
        # It asks timm for the teacher's published weights and has no other way.
        publish, timm.create_model = timm.create_model, _offline(timm.create_model)
        try:
            found = _sized(Stfpm, size, backbone=BACKBONE, **plain)
        finally:
            timm.create_model = publish
        load_into(found.model.teacher_model.feature_extractor, weights)
    elif name == "fastflow":
        found = _sized(Fastflow, size, backbone=BACKBONE, pre_trained=False, **plain)
        load_into(found.model.feature_extractor, weights)
    elif name == "reverse_distillation":
        found = _sized(ReverseDistillation, size, backbone=BACKBONE, pre_trained=False, **plain)
        load_into(found.model.encoder.feature_extractor, weights)
    elif name == "cflow":
        # By default the last of its three layers is one that the weights do not have.
        layers = ("layer1", "layer2", "layer3")
        found = _sized(Cflow, size, backbone=BACKBONE, pre_trained=False, layers=layers, **plain)
        load_into(found.model.encoder.feature_extractor, weights)
    elif name == "dfm":
        found = _sized(Dfm, size, backbone=BACKBONE, pre_trained=False, **plain)
        load_into(found.model.feature_extractor.feature_extractor, weights)
    else:
        found = _sized({"ganomaly": Ganomaly, "efficientad": EfficientAd}[name], size, **plain)
    return found


def _sized(kind: Any, size: tuple[int, int], **settings: Any) -> Any:
    """Of an input size other than 256 x 256, which is what Anomalib's defaults resize to."""
    return kind(pre_processor=kind.configure_pre_processor(size), **settings)


def _offline(create: Any) -> Any:
    return lambda *names, **settings: create(*names, **{**settings, "pretrained": False})


def load_into(network: Any, weights: str | None) -> None:
    """Weights in torchvision's layout, which timm's ResNet18 shares; None leaves random ones."""
    if weights is None:
        return
    state = torch.load(weights, map_location="cpu", weights_only=True)
    missing, _ = network.load_state_dict(state, strict=False)
    lacking = [
        name for name in missing if not name.startswith("layer4") and "num_batch" not in name
    ]
    if lacking:
        raise SystemExit(f"{weights}: lacks {', '.join(lacking[:5])}")


def _image(tile: np.ndarray) -> np.ndarray:
    """(H, W) uint8 to (3, H, W) float32, 0 to 1."""
    return np.repeat(tile[None].astype(np.float32) / 255, 3, axis=0)


def batches(tiles: np.ndarray, size: tuple[int, int]) -> list[torch.Tensor]:
    """Normalised images of a size, tiles repeated across."""
    across = -(-size[1] // tiles.shape[2])
    wide = np.tile(tiles, (1, 1, across))[:, : size[0], : size[1]]
    images = torch.from_numpy(np.stack([_image(tile) for tile in wide]))
    return list(((images - MEAN) / SPREAD).split(BATCH))


def fitted(model: Any, name: str, tiles: np.ndarray, steps: int) -> None:
    """Learn from good tiles: statistics, or so many steps of the model's own optimiser."""
    inner = model.model
    if name == "padim" or name.startswith("patchcore"):
        look_at(inner, tiles)
        if name == "padim":
            inner.fit()
        else:
            inner.subsample_embedding(float(name.removeprefix("patchcore")) / 100)
    elif name != "efficientad":
        _trained(model, batches(tiles, tiles.shape[1:]), steps)
    model.eval()


def look_at(inner: Any, tiles: np.ndarray) -> None:
    """Show good tiles to what learns by one look."""
    inner.train()
    inner.feature_extractor.eval()
    with torch.no_grad():
        for batch in batches(tiles, tiles.shape[1:]):
            inner(batch)


def _trained(model: Any, images: list[torch.Tensor], steps: int) -> None:
    optimiser = model.configure_optimizers()
    for step in range(steps):
        model.model.train()
        if hasattr(model.model, "teacher_model"):
            model.model.teacher_model.eval()
        else:
            model.model.feature_extractor.eval()
        loss = model.loss(*model.model(images[step % len(images)]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _rows(model: Any) -> int:
    bank = getattr(model.model, "memory_bank", None)
    return len(bank) if isinstance(bank, torch.Tensor) else 0


if __name__ == "__main__":
    main()
