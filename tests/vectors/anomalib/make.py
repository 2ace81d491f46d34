"""Makes the files beside it, with Anomalib 2.7.0: a tiny PaDiM and what its inferencer says.

    python tests/vectors/anomalib/make.py

Random weights of a ResNet18's first layer, fitted on synthetic images; all of Anomalib's own
pre- and post-processing is in it. Runs where Anomalib is installed; kenpin is not needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
SIZE, GOOD, SHOWN = 64, 24, 4
_OPERATORS = torch.library.Library("torchvision", "DEF")
# torchvision's wheel beside the CPU's torch: its Python asks for two operators' names.
for _name in ("nms", "qnms"):
    _OPERATORS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def images(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, SIZE, SIZE) uint8 of a weave."""
    y, x = np.mgrid[:SIZE, :SIZE]
    phase = rng.uniform(0, 6, (count, 2, 1, 1))
    cloth = 118 + 40 * np.sin(x / 1.4 + phase[:, 0]) * np.sin(y / 1.1 + phase[:, 1])
    return np.clip(cloth + rng.normal(0, 5, cloth.shape), 0, 255).astype(np.uint8)


def main() -> int:
    """Fit, export, judge."""
    from anomalib.deploy import OpenVINOInferencer
    from anomalib.models import Padim

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Padim(
        backbone="resnet18", layers=["layer1"], pre_trained=False, n_features=8,
        pre_processor=Padim.configure_pre_processor((SIZE, SIZE)), evaluator=False,
        visualizer=False,
    )  # fmt: skip
    mean, std = (
        torch.tensor(v)[None, :, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )

    def batch(pixels: np.ndarray) -> torch.Tensor:
        grey = torch.from_numpy(pixels[:, None].astype(np.float32) / 255)
        return (grey.expand(-1, 3, -1, -1) - mean) / std

    good, shown = images(GOOD, rng), images(SHOWN, rng)
    shown[2, 20:28, 30:38] = 250
    shown[3, 40:44, :] = 10
    inner = model.model
    inner.train()
    inner.feature_extractor.eval()
    with torch.no_grad():
        inner(batch(good))
    inner.fit()
    inner.eval()
    with torch.no_grad():
        found = [inner(batch(part)) for part in (good, shown)]
    scores = torch.cat([f.pred_score.flatten() for f in found])
    maps = torch.cat([f.anomaly_map.flatten() for f in found])
    post = model.post_processor
    post.image_min, post.image_max = scores.min(), scores.max()
    post.pixel_min, post.pixel_max = maps.min(), maps.max()
    post._image_threshold = found[0].pred_score.max()
    post._pixel_threshold = found[0].anomaly_map.max()
    model.eval()
    xml = model.to_openvino(
        HERE, input_size=(SIZE, SIZE), onnx_kwargs={"dynamic_shapes": None, "dynamic_axes": None}
    )
    inferencer = OpenVINOInferencer(xml, device="CPU", config={"INFERENCE_PRECISION_HINT": "f32"})
    told = [inferencer.predict(np.repeat(image[..., None], 3, axis=2)) for image in shown]
    np.savez_compressed(
        HERE / "said.npz",
        images=shown,
        maps=np.stack([np.asarray(t.anomaly_map).reshape(SIZE, SIZE) for t in told]),
        scores=np.array([float(np.asarray(t.pred_score).max()) for t in told], np.float32),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
