"""Runs in the peers' own environment: every kind of Anomalib's models, exported, and what it says.

    .venv-peers/bin/python benchmarks/peers/anomalib_exports.py FOLDER [MODEL …]

Each gets FOLDER/<model>/ as Anomalib exports it, with images beside it and what Anomalib's own
OpenVINOInferencer says of them (said.npz), and how it was exported, or why not (facts.json).
TILED is a network for each of 2 x 2 tiles.
Weights are random, statistics of synthetic images: nothing is downloaded, and agreement does not
depend on what was learned.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from anomalib_models import MEAN, SPREAD, allow_torchvision

SIZE, GOOD, SHOWN = 256, 16, 4
# Of what is exported without a size, as Anomalib does unless told: images of another one.
OTHER_SIZE = 512
TILED, TILES = "padim_tiles", 2
# Of its tiles, px, where they share a quarter.
OVERLAPPING = 192
BATCH = 4


def main() -> int:
    """Make those that are named, or all."""
    allow_torchvision()
    import timm

    # Some models ask for published weights and have no other way.
    timm.create_model = partial(_random, timm.create_model)
    folder = Path(sys.argv[1])
    for name in sys.argv[2:] or [*_made(), TILED]:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        facts = made_tiles(place) if name == TILED else made(name, place)
        (place / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
        sys.stdout.write(f"{name}: {facts}\n")
        sys.stdout.flush()
    return 0


def made(name: str, folder: Path) -> dict[str, str]:
    """Fit one, export it, and ask Anomalib's inferencer; what it cannot do is told."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    any_size = name.endswith("_any")
    good, shown = weave(GOOD, rng), weave(SHOWN, rng, OTHER_SIZE if any_size else SIZE)
    shown[2, 80:112, 120:152] = 250
    shown[3, 160:176, :] = 10
    model = _made()[name]()
    _fitted(name, model, good)
    # What a Gaussian was fitted to is no measure of what it has not seen.
    if name == "dfm_nll":
        _post_processed(model, list(shown), 2)
    else:
        _post_processed(model, [*good, *(one[:SIZE, :SIZE] for one in shown)], len(good))
    # As users export, or for one image a call.
    more = {"dynamic_shapes": None, "dynamic_axes": None} if name.endswith("_one") else {}
    size = None if any_size else (SIZE, SIZE)
    try:
        xml = model.to_openvino(folder, input_size=size, onnx_kwargs=more)
        outputs = _outputs(xml, shown)
    except Exception as error:  # noqa: BLE001 what Anomalib cannot do is what is asked
        return {"failed": f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:300]}"}
    np.savez_compressed(folder / "said.npz", images=shown, **outputs)
    return {"exported": f"for {outputs['at_once']} images a call"}


def made_tiles(folder: Path) -> dict[str, str]:
    """PaDiM for each tile of an image of TILES x TILES, each with weights of its own."""
    rng = np.random.default_rng(0)
    good, shown = weave(GOOD, rng, TILES * SIZE), weave(SHOWN, rng, TILES * SIZE)
    shown[2, 80:112, 320:352] = 250
    shown[3, 400:416, :] = 10
    scores = np.zeros((SHOWN, TILES, TILES), np.float32)
    maps = np.zeros((SHOWN, TILES, TILES, SIZE, SIZE), np.float32)
    overlapping = np.zeros_like(maps)
    for row, col in np.ndindex(TILES, TILES):
        place = _tile(row, col, SIZE)
        torch.manual_seed(TILES * row + col)
        model = _made()["padim"]()
        _fitted("padim", model, good[place])
        _post_processed(model, [*good[place], *shown[place]], len(good))
        xml = model.to_openvino(folder / f"{row}_{col}", input_size=(SIZE, SIZE))
        found = _outputs(xml, np.ascontiguousarray(shown[place]))
        scores[:, row, col], maps[:, row, col] = found["scores"], found["maps"]
        part = np.ascontiguousarray(shown[_tile(row, col, OVERLAPPING)])
        overlapping[:, row, col] = _outputs(xml, part)["maps"]
    joined = {
        "joined": _joined(maps, SIZE, smooth=True),
        "overlapping": _joined(overlapping, OVERLAPPING, smooth=False),
    }
    np.savez_compressed(folder / "said.npz", images=shown, scores=scores, maps=maps, **joined)
    return {"exported": "each"}


def _tile(row: int, col: int, stride: int) -> tuple[slice, slice, slice]:
    top, left = row * stride, col * stride
    return np.s_[:, top : top + SIZE, left : left + SIZE]


def _joined(maps: np.ndarray, stride: int, *, smooth: bool) -> np.ndarray:
    """(N, height, width) of (N, rows, cols, SIZE, SIZE): as Anomalib's tiled ensemble joins."""
    from anomalib.pipelines.tiled_ensemble.components.smoothing import SmoothingJob
    from anomalib.pipelines.tiled_ensemble.components.utils.ensemble_tiling import EnsembleTiler

    tiler = EnsembleTiler(SIZE, stride, SIZE + (TILES - 1) * stride)
    whole = tiler.untile(torch.from_numpy(maps.transpose(1, 2, 0, 3, 4))[:, :, :, None])
    predictions = SimpleNamespace(anomaly_map=whole[:, 0])
    if smooth:
        # As its configuration has it.
        SmoothingJob("cpu", [predictions], width_factor=0.1, filter_sigma=2, tiler=tiler).run()
    return predictions.anomaly_map.numpy()


def weave(count: int, rng: np.random.Generator, side: int = SIZE) -> np.ndarray:
    """(count, side, side) uint8 of cloth."""
    y, x = np.mgrid[:side, :side]
    phase = rng.uniform(0, 6, (count, 2, 1, 1))
    cloth = 118 + 40 * np.sin(x / 1.4 + phase[:, 0]) * np.sin(y / 1.1 + phase[:, 1])
    return np.clip(cloth + rng.normal(0, 5, cloth.shape), 0, 255).astype(np.uint8)


def _random(create: Any, *names: Any, **settings: Any) -> Any:
    return create(*names, **{**settings, "pretrained": False})


def _made() -> dict[str, Callable[[], Any]]:
    from anomalib import models

    plain = {"evaluator": False, "visualizer": False}
    small = {**plain, "backbone": "resnet18"}
    offline = {**small, "pre_trained": False}
    flow = {**offline, "layers": ("layer2", "layer3"), "coupling_blocks": 2}
    return {
        "padim": lambda: models.Padim(**offline),
        "padim_any": lambda: models.Padim(**offline),
        "patchcore": lambda: models.Patchcore(**offline),
        "patchcore_one": lambda: models.Patchcore(**offline),
        "fastflow": lambda: models.Fastflow(**offline),
        "reverse_distillation": lambda: models.ReverseDistillation(**offline),
        "stfpm": lambda: models.Stfpm(**small),
        "cflow": lambda: models.Cflow(**flow),
        "dfm": lambda: models.Dfm(**offline),
        "dfm_nll": lambda: models.Dfm(**offline, score_type="nll"),
        "efficient_ad": lambda: models.EfficientAd(**plain),
    }


def batches(images: np.ndarray | list[np.ndarray]) -> list[torch.Tensor]:
    """Normalised as Anomalib's pre-processor does."""
    grey = torch.from_numpy(np.stack(list(images))[:, None].astype(np.float32) / 255)
    return list(((grey.expand(-1, 3, -1, -1) - MEAN) / SPREAD).split(BATCH))


def _fitted(name: str, model: Any, good: np.ndarray) -> None:
    """Statistics, where the model rests on some."""
    inner = model.model
    if name.startswith(("padim", "patchcore", "dfm")):
        inner.train()
        inner.feature_extractor.eval()
        with torch.no_grad():
            for batch in batches(good):
                inner(batch)
        if name.startswith("patchcore"):
            inner.subsample_embedding(0.02)
        else:
            if name == "dfm_nll":
                type(inner.gaussian_model).fit = _gaussian
            inner.fit()
    elif name == "efficient_ad":
        # Its normalised maps are raw ones without quantiles, which two images give.
        with torch.no_grad():
            maps = [inner.get_maps(batch, normalize=False) for batch in _unnormalised(good)]
        student, autoencoder = (torch.cat([pair[n] for pair in maps]) for n in (0, 1))
        for what, values in (("st", student), ("ae", autoencoder)):
            for key, share in (("qa", 0.9), ("qb", 0.995)):
                inner.quantiles[f"{key}_{what}"] = torch.nn.Parameter(
                    torch.quantile(values.flatten()[::17], share), requires_grad=False
                )
    elif name == "fastflow":
        _trained(model, good)
    inner.eval()


def _gaussian(self: Any, features: torch.Tensor) -> None:
    """As Anomalib 2.7.0 fits it, but for a `device` that it hands to torch.mean, which has none."""
    mean = features.mean(dim=1)
    centred = (features - mean[:, None]) / features.shape[1] ** 0.5
    axes, spread, _ = torch.linalg.svd(centred, full_matrices=False)
    for name, value in {"mean_vec": mean, "u_mat": axes, "sigma_mat": spread}.items():
        setattr(self, name, value)


def _unnormalised(good: np.ndarray) -> list[torch.Tensor]:
    """EfficientAD normalises in the network."""
    return [batch * SPREAD + MEAN for batch in batches(good)]


def _trained(model: Any, good: np.ndarray) -> None:
    """Two steps: a flow that has learned nothing is the identity."""
    optimiser = model.configure_optimizers()
    for batch in batches(good)[:2]:
        model.model.train()
        model.model.feature_extractor.eval()
        loss = model.loss(*model.model(batch))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _post_processed(model: Any, images: list[np.ndarray], good: int) -> None:
    """Give the post-processor the limits that a validation set would give it."""
    own = type(model).__name__ == "EfficientAd"
    with torch.no_grad():
        found = [model.model(b) for b in (_unnormalised if own else batches)(np.stack(images))]
    scores = torch.cat([part.pred_score.flatten() for part in found])
    limits = {
        "image_min": scores.min(), "image_max": scores.max(),
        "_image_threshold": scores[:good].max(),
    }  # fmt: skip
    if found[0].anomaly_map is not None:
        maps = torch.cat([part.anomaly_map.flatten(1) for part in found])
        limits |= {
            "pixel_min": maps.min(), "pixel_max": maps.max(), "_pixel_threshold": maps[:good].max(),
        }  # fmt: skip
    for name, value in limits.items():
        setattr(model.post_processor, name, value)
    model.eval()


def _outputs(xml: Path, shown: np.ndarray) -> dict[str, np.ndarray]:
    """What Anomalib's own inferencer says, in FP32."""
    from anomalib.deploy import OpenVINOInferencer

    inferencer = OpenVINOInferencer(xml, device="CPU", config={"INFERENCE_PRECISION_HINT": "f32"})
    batch = inferencer.input_blob.partial_shape[0]
    # Some are exported for two: the same image twice.
    at_once = 1 if batch.is_dynamic else batch.get_length()
    predictions = [
        inferencer.predict(np.repeat(image[None, ..., None], 3, axis=3).repeat(at_once, axis=0))
        for image in shown
    ]
    scores = np.array([float(np.asarray(p.pred_score)[0].max()) for p in predictions], np.float32)
    found = {"scores": scores, "at_once": np.array(at_once)}
    maps = [one.anomaly_map for one in predictions]
    if maps[0] is None:
        return found
    return {**found, "maps": np.stack([np.asarray(part)[0].squeeze() for part in maps])}


if __name__ == "__main__":
    sys.exit(main())
