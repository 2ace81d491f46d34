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
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402

__all__ = ["LEAST_ROWS", "Proposer", "Search"]

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
# Copies of loud channels. Wrong proposals on fabric and metal fell to a half or a third of
# what they were; twice as many copies gained no more.
SPARE = 64


class Proposer:
    """Some banks, the rows of each as the weights of a small INT8 network."""

    def __init__(self, bank: F32, centre: F32, block: int, threads: int | None = None) -> None:
        """Compile for this processor.

        Parameters
        ----------
        bank : (K, M, D) float32, centred
        centre : (D,) float32, subtracted from what is asked
        block
            Patches in one inference: those of a tile.
        threads
            Cores to use; None: all that are allowed.
        """
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
        self.searches = [
            core.compile_model(_search(rows, centre, block), "CPU", config) for rows in bank
        ]
        self.most = AHEAD * cores
        self.free: list[list[_Request]] = [[] for _ in bank]
        self.starts = np.arange(0, bank.shape[1], _chunk(bank.shape[1]))

    def search(self) -> Search:
        """A frame's searches."""
        return Search(self)


class Search:
    """One frame's patches on their way through the banks; first in, first out."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer
        self._asked: deque[tuple[int, int, int, _Request]] = deque()

    def __len__(self) -> int:
        return len(self._asked)

    @property
    def full(self) -> bool:
        """Nobody would work on another one yet."""
        return len(self._asked) >= self._proposer.most

    def ask(self, number: int, k: int, patches: F32) -> None:
        """Search bank k for (N, D) float32 patches, not centred; at most one block of them.

        They are read until `answer` has given `number` back.
        """
        free = self._proposer.free[k]
        request = free.pop() if free else _Request.of(self._proposer.searches[k])
        request.start(patches)
        self._asked.append((number, len(patches), k, request))

    def answer(self) -> tuple[int, Rows]:
        """Wait for what was asked first: its number, and a bank row for each of its patches."""
        number, count, k, request = self._asked.popleft()
        request.infer.wait()
        best, rows = request.best[:, :count], request.rows[:, :count]
        starts = self._proposer.starts
        if len(starts) == 1:
            found = rows[0].astype(np.intp)
        else:
            chunk = best.argmax(axis=0)
            found = starts[chunk] + rows[chunk, np.arange(count)]
        self._proposer.free[k].append(request)
        return number, found

    def close(self) -> None:
        """Give up what has no answer yet: nobody may still read memory that others reuse."""
        while self._asked:
            *_, k, request = self._asked.popleft()
            request.infer.wait()
            self._proposer.free[k].append(request)


@dataclass(frozen=True, slots=True)
class _Request:
    """One inference and its memory.

    own         (block, D) float32, for patches that do not fill a block
    best, rows  (chunks, block), of each chunk's best row
    """

    infer: Any
    own: Any
    best: F32
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, search: Any) -> _Request:
        infer = search.create_infer_request()
        own = infer.get_input_tensor()
        own.data[...] = 0
        block = own.shape[0]
        best, rows = (infer.get_output_tensor(port).data.reshape(-1, block) for port in (0, 1))
        return cls(infer, own, best, rows)

    def start(self, patches: F32) -> None:
        if patches.shape == tuple(self.own.shape) and patches.flags.c_contiguous:
            self.infer.set_input_tensor(ov.Tensor(patches, shared_memory=True))
        else:
            self.own.data[: len(patches)] = patches
            self.infer.set_input_tensor(self.own)
        self.infer.start_async()


def _chunk(rows: int) -> int:
    return rows if rows <= WHOLE else CHUNK


def _search(bank: F32, centre: F32, block: int) -> Any:
    """The network: (block, D) patches to the likeness and the number of each chunk's best row."""
    dims = bank.shape[1]
    channels, share = _spread(bank)
    wide = bank[:, channels] * share
    patches = op.parameter([block, dims], ov.Type.f32, name="patches")
    copies = op.gather(patches, op.constant(channels[dims:]), op.constant(np.int64(1)))
    centred = op.subtract(op.concat([patches, copies], 1), op.constant(centre[None, channels]))
    # A convolution, with patches as its pixels, took two thirds of a product's time.
    pixels = op.transpose(
        op.reshape(
            op.multiply(centred, op.constant(share[None])),
            op.constant(np.array([1, 1, block, len(channels)])),
            False,
        ),
        op.constant(np.array([0, 3, 1, 2])),
    )
    # One scale for all: a scale for each channel chose worse, because it spends its
    # levels on channels that hardly count.
    reach = np.float32(np.abs(wide).max() or 1.0)
    # -128 to 127, so that zero is a level of its own: from -reach to reach it would lie
    # between two, and twice as many proposals were wrong.
    least = -reach * np.float32(128 / 127)
    pixels = op.fake_quantize(pixels, least, reach, least, reach, LEVELS)
    largest = np.maximum(np.abs(wide).max(axis=1, keepdims=True), np.float32(1e-30))
    steps = largest / np.float32(LEVELS / 2 - 1)
    weights = np.round(wide / steps).astype(np.int8)
    # Of the rounded rows, which the products are with: it takes a quarter of the wrong ones away.
    half_sq = 0.5 * np.square(weights * steps).sum(axis=1)
    best, rows = [], []
    chunk = _chunk(len(bank))
    for first in range(0, len(bank), chunk):
        part = slice(first, first + chunk)
        kernel = op.multiply(
            op.convert(op.constant(weights[part, :, None, None]), ov.Type.f32),
            op.constant(steps[part, :, None, None]),
        )
        products = op.convolution(pixels, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
        likeness = op.subtract(products, op.constant(half_sq[None, part, None, None]))
        top = op.topk(likeness, op.constant(np.int32(1)), 1, "max", "none", "i32")
        best.append(top.output(0))
        rows.append(top.output(1))
    if len(best) > 1:
        best, rows = [op.concat(best, 1).output(0)], [op.concat(rows, 1).output(0)]
    return ov.Model([best[0], rows[0]], [patches], "search")


def _spread(bank: F32) -> tuple[Rows, F32]:
    """The channels and SPARE copies of the loudest: which each is, and how much of it.

    n copies of a channel, each 1 / sqrt(n) of it, give the same products; but the scale that
    serves all channels becomes finer, because none is as loud any more.
    """
    loudest = np.abs(bank).max(axis=0)
    copies = np.ones(bank.shape[1], np.intp)
    for _ in range(SPARE):
        copies[np.argmax(loudest / np.sqrt(copies))] += 1
    channels = np.concatenate(
        [np.arange(len(copies)), np.repeat(np.arange(len(copies)), copies - 1)]
    )
    return channels, (1 / np.sqrt(copies[channels])).astype(np.float32)
