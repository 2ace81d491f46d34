"""OpenVINO proposes, for each patch, the bank row that is probably nearest; numpy measures it.

The whole search is |x - y|^2 for every patch x and every bank row y. Which row
wins depends on x.y - |y|^2 / 2, and that is found here in INT8: one 1 x 1
convolution whose output channels are the bank rows, and the largest of them.
The distance that is published is then measured in float32, so a wrong proposal
can only raise it, never hide a defect. docs/speed.md says how often and how far.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
# A bank of so many rows is searched in one convolution, a larger one in several:
# what comes out for one tile should stay in a core's cache.
WHOLE = 1024
CHUNK = 256
# Searches under way for each core: one runs while the next waits, and numpy measures.
AHEAD = 2
LEVELS = 256


class Proposer:
    """Some banks, the rows of each as the weights of a small INT8 network."""

    def __init__(
        self, bank: F32, bank_sq: F32, centre: F32, block: int, threads: int | None = None
    ) -> None:
        """Compile for this processor.

        Parameters
        ----------
        bank : (K, M, D) float32, centred
        bank_sq : (K, M) float32, squared norms of its rows
        centre : (D,) float32, subtracted from what is asked
        block
            Patches in one inference: those of a tile.
        threads
            Cores to use; None: all that are allowed.
        """
        self._block = block
        cores = threads or len(os.sched_getaffinity(0))
        # One bank is searched by all cores at once; of several, each by one core.
        streams = cores if len(bank) == 1 else 1
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
        }
        core = ov.Core()
        self._searches = [
            core.compile_model(_search(rows, squares, centre, block), "CPU", config)
            for rows, squares in zip(bank, bank_sq, strict=True)
        ]
        self._most = AHEAD * cores
        self._free: list[list[_Request]] = [[] for _ in bank]
        self._starts = np.arange(0, bank.shape[1], _chunk(bank.shape[1]))

    def propose(self, queries: Sequence[F32]) -> Iterator[tuple[int, slice, Rows]]:
        """For each bank (N, D) float32 patches, not centred, to their rows, part by part.

        While one part is being measured, the next ones are searched.

        Returns
        -------
        Which bank, which of its patches, and (of them,) their rows.
        """
        waiting: deque[tuple[int, slice, _Request]] = deque()
        try:
            for k, patches in enumerate(queries):
                for start in range(0, len(patches), self._block):
                    if len(waiting) == self._most:
                        yield self._answer(*waiting.popleft())
                    part = slice(start, min(start + self._block, len(patches)))
                    waiting.append((k, part, self._ask(k, patches[part])))
            while waiting:
                yield self._answer(*waiting.popleft())
        finally:
            # None may still read memory that its owner is about to reuse.
            for k, _, request in waiting:
                request.infer.wait()
                self._free[k].append(request)

    def _ask(self, k: int, patches: F32) -> _Request:
        free = self._free[k]
        request = free.pop() if free else _Request.of(self._searches[k])
        request.start(patches)
        return request

    def _answer(self, k: int, part: slice, request: _Request) -> tuple[int, slice, Rows]:
        request.infer.wait()
        best, rows = (
            request.infer.get_output_tensor(port).data.reshape(len(self._starts), self._block)
            for port in (0, 1)
        )
        count = part.stop - part.start
        if len(self._starts) == 1:
            found = rows[0, :count].astype(np.intp)
        else:
            chunk = best[:, :count].argmax(axis=0)
            found = self._starts[chunk] + rows[chunk, np.arange(count)]
        self._free[k].append(request)
        return k, part, found


@dataclass(frozen=True, slots=True)
class _Request:
    """One inference, and (block, D) float32 of its own for patches that do not fill it."""

    infer: Any
    own: Any

    @classmethod
    def of(cls, search: Any) -> _Request:
        infer = search.create_infer_request()
        own = infer.get_input_tensor()
        own.data[...] = 0
        return cls(infer, own)

    def start(self, patches: F32) -> None:
        if patches.shape == tuple(self.own.shape) and patches.flags.c_contiguous:
            self.infer.set_input_tensor(ov.Tensor(patches, shared_memory=True))
        else:
            self.own.data[: len(patches)] = patches
            self.infer.set_input_tensor(self.own)
        self.infer.start_async()


def _chunk(rows: int) -> int:
    return rows if rows <= WHOLE else CHUNK


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
    chunk = _chunk(len(bank))
    for first in range(0, len(bank), chunk):
        part = slice(first, first + chunk)
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
