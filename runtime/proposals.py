"""OpenVINO proposes, for each patch, the bank row that is probably nearest; numpy measures it.

The whole search is |x - y|^2 for every patch x and every bank row y. Which row
wins depends on x.y - |y|^2 / 2, and that is found here in INT8: one 1 x 1
convolution whose output channels are the bank rows, and the largest of them.
The distance that is published is then measured in float32, so a wrong proposal
can only raise it, never hide a defect. docs/speed.md says how often and how far.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402

__all__ = ["LEAST_ROWS", "Proposer"]

F32 = NDArray[np.float32]
Rows = NDArray[np.intp]

# Below this many bank rows, numpy's own products are as fast.
LEAST_ROWS = 256
# Bank rows in one convolution: what comes out for one tile stays in a core's cache.
CHUNK = 1000
# Requests for each stream: one runs while the next waits, and numpy measures.
AHEAD = 2
LEVELS = 256


class Proposer:
    """One bank, its rows as the weights of a small INT8 network."""

    def __init__(
        self, bank: F32, bank_sq: F32, centre: F32, block: int, threads: int | None = None
    ) -> None:
        """Compile for this processor.

        Parameters
        ----------
        bank : (M, D) float32, centred
        bank_sq : (M,) float32, squared norms of its rows
        centre : (D,) float32, subtracted from what is asked
        block
            Patches in one inference: those of a tile.
        threads
            Cores to use; None leaves it to OpenVINO.
        """
        self._block = block
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        config |= {"NUM_STREAMS": threads or "AUTO", "PERFORMANCE_HINT": "THROUGHPUT"}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        model = _search(bank, bank_sq, centre, block)
        compiled = ov.Core().compile_model(model, "CPU", config)
        streams = int(compiled.get_property("NUM_STREAMS"))
        self._requests = [compiled.create_infer_request() for _ in range(AHEAD * streams)]
        self._starts = np.arange(0, len(bank), CHUNK)
        # The last patches rarely fill a block; they are copied into one.
        self._rest = np.zeros((block, bank.shape[1]), np.float32)

    def propose(self, patches: F32) -> Iterator[tuple[slice, Rows]]:
        """(N, D) float32 patches, not centred, to (which of them, their rows), part by part.

        While one part is being measured, the next ones are searched.
        """
        blocks = range(0, len(patches), self._block)
        waiting: list[tuple[slice, Any]] = []
        try:
            for number, start in enumerate(blocks):
                if len(waiting) == len(self._requests):
                    yield self._answer(*waiting.pop(0))
                part = slice(start, min(start + self._block, len(patches)))
                request = self._requests[number % len(self._requests)]
                request.set_input_tensor(ov.Tensor(self._filled(patches[part]), shared_memory=True))
                request.start_async()
                waiting.append((part, request))
            while waiting:
                yield self._answer(*waiting.pop(0))
        finally:
            # None may still read memory that its owner is about to reuse.
            for _, request in waiting:
                request.wait()

    def _filled(self, patches: F32) -> F32:
        if len(patches) == self._block and patches.flags.c_contiguous:
            return patches
        self._rest[: len(patches)] = patches
        return self._rest

    def _answer(self, part: slice, request: Any) -> tuple[slice, Rows]:
        request.wait()
        count = part.stop - part.start
        best = request.get_output_tensor(0).data.reshape(len(self._starts), -1)[:, :count]
        rows = request.get_output_tensor(1).data.reshape(len(self._starts), -1)[:, :count]
        if len(self._starts) == 1:
            return part, rows[0].astype(np.intp)
        chunk = best.argmax(axis=0)
        return part, self._starts[chunk] + rows[chunk, np.arange(count)]


def _search(bank: F32, bank_sq: F32, centre: F32, block: int) -> Any:
    """The network: (block, D) patches to the likeness and the number of each chunk's best row."""
    dims = bank.shape[1]
    patches = op.parameter([block, dims], ov.Type.f32, name="patches")
    centred = op.subtract(patches, op.constant(centre[None]))
    # A convolution, with patches as its pixels, took two thirds of a product's time.
    pixels = op.transpose(
        op.reshape(centred, op.constant(np.array([1, 1, block, dims])), False),
        op.constant(np.array([0, 3, 1, 2])),
    )
    # One scale for all: a scale for each channel chose worse, because it spends its
    # levels on channels that hardly count.
    reach = np.float32(np.abs(bank).max() or 1.0)
    pixels = op.fake_quantize(pixels, -reach, reach, -reach, reach, LEVELS)
    largest = np.maximum(np.abs(bank).max(axis=1, keepdims=True), np.float32(1e-30))
    steps = largest / np.float32(LEVELS / 2 - 1)
    weights = np.round(bank / steps).astype(np.int8)
    best, rows = [], []
    for first in range(0, len(bank), CHUNK):
        part = slice(first, first + CHUNK)
        kernel = op.multiply(
            op.convert(op.constant(weights[part, :, None, None]), ov.Type.f32),
            op.constant(steps[part, :, None, None]),
        )
        products = op.convolution(pixels, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
        likeness = op.subtract(products, op.constant(0.5 * bank_sq[None, part, None, None]))
        top = op.topk(likeness, op.constant(np.int32(1)), 1, "max", "none", "i32")
        best.append(top.output(0))
        rows.append(top.output(1))
    if len(best) > 1:
        best, rows = [op.concat(best, 1).output(0)], [op.concat(rows, 1).output(0)]
    return ov.Model([best[0], rows[0]], [patches], "search")
