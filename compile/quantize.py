"""Torch to OpenVINO, and INT8 through NNCF. The only module that knows NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kenpin.compile.extractor import Extractor
from kenpin.runtime.judging.telemetry import silence

silence()
import nncf  # noqa: E402
import openvino as ov  # noqa: E402

__all__ = ["convert", "quantize", "save"]

U8 = NDArray[np.uint8]

# Submodules of these names keep their precision; conversion keeps the names.
FLOAT_PARTS = ("embedding", "in_float")


def convert(extractor: Extractor, batch: int, channels: int, size_px: int) -> Any:
    """The FP32 `openvino.Model` of an extractor, its shape static."""
    example = torch.zeros(batch, channels, size_px, size_px, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing warns that shapes become constants; static shapes are the aim.
        warnings.simplefilter("ignore")
        model = ov.convert_model(extractor, example_input=example, input=[example.shape])
    model.inputs[0].get_node().set_friendly_name("tiles")
    return model


def quantize(model: Any, tiles: U8) -> Any:
    """An INT8 copy of a model: the backbone's convolutions; `FLOAT_PARTS` stay float.

    Activation ranges are plain minima and maxima over the tiles. NNCF's
    default drops outliers, and outliers are what must be found.

    Parameters
    ----------
    tiles : (N, C, S, S) uint8
        What the ranges must cover: normals and anomaly twins.
    """
    batch = model.inputs[0].shape[0]
    usable = len(tiles) // batch * batch
    if not usable:
        raise ValueError(f"{len(tiles)} calibration tiles do not fill one batch of {batch}")
    batches = [tiles[start : start + batch] for start in range(0, usable, batch)]
    in_float = [
        op.get_friendly_name()
        for op in model.get_ordered_ops()
        if any(part in op.get_friendly_name() for part in FLOAT_PARTS)
        and op.get_type_name() != "Constant"
    ]
    nncf.set_log_level(logging.ERROR)
    minmax = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    # NNCF draws progress bars of its own on stdout, where ours or nothing belongs.
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=in_float, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=minmax
            ),
        )


def save(model: Any, xml: Path) -> None:
    """Write the IR: `xml` and, beside it, the weights as .bin.

    The same network always gives the same bytes.
    """
    # OpenVINO numbers models and operations by a counter of the whole process.
    model.set_friendly_name(xml.stem)
    for number, op in enumerate(model.get_ordered_ops()):
        op.set_friendly_name(f"{number:04d}-{op.get_type_name()}")
    ov.save_model(model, str(xml), compress_to_fp16=False)
