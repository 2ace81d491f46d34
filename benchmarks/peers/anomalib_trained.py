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
from anomalib_models import BATCH, allow_torchvision, batches, look_at, made

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
    model = made(job["model"], size, job["weights"])
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

    steps, batch, minutes = job["steps"], job["batch"], job["minutes"]
    rng = np.random.default_rng(job["seed"])
    rounds = -(-steps * batch // len(good))
    order = np.concatenate([rng.permutation(len(good)) for _ in range(rounds)])[: steps * batch]
    images = torch.from_numpy(good[:, None].astype(np.float32) / 255).expand(-1, 3, -1, -1)

    def together(parts: list[torch.Tensor]) -> ImageBatch:
        return ImageBatch(image=torch.stack(parts))

    loader: DataLoader[torch.Tensor] = DataLoader(
        images, batch, sampler=order.tolist(), collate_fn=together
    )
    plain = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    one = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "max_time": {"minutes": minutes}}
    trainer = Trainer(**{**model.trainer_arguments, **plain, **one})
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
