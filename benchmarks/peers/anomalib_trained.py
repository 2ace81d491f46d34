"""Runs in the peers' own environment: one of Anomalib's models, trained its own way, judges tiles.

    .venv-peers/bin/python benchmarks/peers/anomalib_trained.py JOB.json

A job names model, good (N, S, S) and shown (M, S, S) uint8 tiles, halo, steps, minutes, batch,
seed, rows, weights and where the answer goes: a score for each shown tile, how long the fit took,
and after how many steps it ended. Models are as Anomalib makes them by default, on ResNet18 with
the weights of a file; nothing is downloaded.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib_models import (
    BACKBONE,
    BATCH,
    allow_torchvision,
    batches,
    load_into,
    look_at,
    made,
)

PLAIN = {"post_processor": False, "evaluator": False, "visualizer": False}
# Those that look once and are done.
FITTED = ("padim", "patchcore", "dfm")


def main() -> None:
    """Fit or train one, and judge."""
    allow_torchvision()
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.manual_seed(job["seed"])
    # A coreset draws from numpy's own generator.
    np.random.seed(job["seed"])  # noqa: NPY002
    good, shown = np.load(job["good"]), np.load(job["shown"])
    size = good.shape[1], good.shape[2]
    model = _made(job["model"], size, job["weights"])
    begun = time.monotonic()
    steps = 0
    if job["model"] in FITTED:
        _fit(model, job["model"], good, job["rows"])
    else:
        steps = _train(model, good, job)
    fitted_s = round(time.monotonic() - begun, 1)
    scores = _scores(model, shown, job["halo_px"])
    answer = {"fitted_s": fitted_s, "steps": steps, "scores": scores}
    Path(job["answer"]).write_text(json.dumps(answer))


def _made(name: str, size: tuple[int, int], weights: str) -> Any:
    from anomalib.models import Cflow, Dfm, Ganomaly, ReverseDistillation

    if name == "reverse_distillation":
        found = _sized(ReverseDistillation, size, backbone=BACKBONE, pre_trained=False)
        load_into(found.model.encoder.feature_extractor, weights)
    elif name == "cflow":
        # By default the last of its three layers is one that the weights do not have.
        layers = ("layer1", "layer2", "layer3")
        found = _sized(Cflow, size, backbone=BACKBONE, pre_trained=False, layers=layers)
        load_into(found.model.encoder.feature_extractor, weights)
    elif name == "dfm":
        found = _sized(Dfm, size, backbone=BACKBONE, pre_trained=False)
        load_into(found.model.feature_extractor.feature_extractor, weights)
    elif name == "ganomaly":
        found = _sized(Ganomaly, size)
    else:
        found = made(name, size, weights)
    return found


def _sized(kind: Any, size: tuple[int, int], **settings: Any) -> Any:
    return kind(pre_processor=kind.configure_pre_processor(size), **PLAIN, **settings)


def _fit(model: Any, name: str, good: np.ndarray, rows: int) -> None:
    inner = model.model
    look_at(inner, good)
    if name == "patchcore":
        patches = sum(len(part) for part in inner.embedding_store)
        inner.subsample_embedding(min(1.0, rows / patches))
    else:
        inner.fit()


def _train(model: Any, good: np.ndarray, job: dict[str, Any]) -> int:
    """By Anomalib's own training step, optimisers and clipping; gives how many steps it took."""
    from anomalib.data import ImageBatch
    from lightning import Trainer
    from torch.utils.data import DataLoader

    steps, batch = job["steps"], job["batch"]
    rng = np.random.default_rng(job["seed"])
    rounds = -(-steps * batch // len(good))
    order = np.concatenate([rng.permutation(len(good)) for _ in range(rounds)])[: steps * batch]
    images = torch.from_numpy(good[:, None].astype(np.float32) / 255).expand(-1, 3, -1, -1)

    def together(parts: list[torch.Tensor]) -> ImageBatch:
        return ImageBatch(image=torch.stack(parts))

    loader: DataLoader[torch.Tensor] = DataLoader(
        images, batch, sampler=order.tolist(), collate_fn=together
    )
    own = {name: value for name, value in model.trainer_arguments.items() if name != "max_epochs"}
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        max_time={"minutes": job["minutes"]},
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{name: value for name, value in own.items() if name != "devices"},
    )
    trainer.fit(model, loader)
    return int(trainer.fit_loop.total_batch_idx) + 1


def _scores(model: Any, shown: np.ndarray, halo_px: int) -> list[float]:
    """The highest place of each tile's core, or what the model says of a tile without a map."""
    model.eval()
    found = []
    core = slice(halo_px, shown.shape[1] - halo_px)
    with torch.no_grad():
        for start in range(0, len(shown), BATCH):
            part = shown[start : start + BATCH]
            said = model.model(batches(part, part.shape[1:])[0])
            if said.anomaly_map is None:
                found.extend(said.pred_score.flatten().tolist())
            else:
                maps = said.anomaly_map.reshape(len(part), *part.shape[1:])
                found.extend(maps[:, core, core].amax(dim=(1, 2)).tolist())
    return found


if __name__ == "__main__":
    main()
