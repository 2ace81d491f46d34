"""Run by a Python that has Anomalib, which need not be kenpin's: what its inferencer says.

    python anomalib_inferencer.py MODEL IMAGES.npy SAID.npz

Images are (N, H, W, 3) float32 from 0 to 1. Nothing of kenpin is imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

import numpy as np

__all__ = ["main"]


def main(model: str, images: str, said: str) -> None:
    """Ask image by image, in FP32; what takes several at once gets each as often."""
    inferencer = import_module("anomalib.deploy").OpenVINOInferencer(
        model, device="CPU", config={"INFERENCE_PRECISION_HINT": "f32"}
    )
    batch = inferencer.input_blob.partial_shape[0]
    at_once = 1 if batch.is_dynamic else batch.get_length()
    # A copy each: it writes into what it is given.
    predictions = [
        inferencer.predict(image[None].repeat(at_once, axis=0)) for image in np.load(images)
    ]
    # DFM with a Gaussian has no map.
    maps = [one.anomaly_map for one in predictions if one.anomaly_map is not None]
    np.savez(
        said,
        scores=np.array(
            [
                float(np.asarray(one.pred_score).reshape(at_once, -1)[0].max())
                for one in predictions
            ],
            np.float32,
        ),
        maps=np.array([np.asarray(part, np.float32)[0].squeeze() for part in maps], np.float32),
        version=version("anomalib"),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
