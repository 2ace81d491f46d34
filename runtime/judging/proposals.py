"""OpenVINO proposes, for each patch, the bank row that is probably nearest; numpy measures it.

The whole search is |x - y|^2 for every patch x and every bank row y. Which row
wins depends on x.y - |y|^2 / 2, and that is found here in INT8: one 1 x 1
convolution whose output channels are the bank rows, and the largest of them.
The distance that is published is then measured in float32, so a wrong proposal
can only raise it, never hide a defect. docs/speed.md says how often and how far.

Where one bank judges every tile, its search becomes a part of the feature network:
patches are searched by the core that made them, before they have left its cache.
Other banks are networks of their own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kenpin.config.errors import in_one_line
from kenpin.runtime.bundles.manifest import BundleError
from kenpin.runtime.judging.openvino_core import new_core
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402

__all__ = ["LEAST_ROWS", "BankSearch", "Proposer", "SearchError"]

F32 = NDArray[np.float32]
Rows = NDArray[np.intp]

# Below this many bank rows, numpy's own products are as fast.
LEAST_ROWS = 256
# Bank rows of one convolution, and about how many patches in the feature network: what comes
# out should stay in a core's cache. Rows come in blocks of 64: 40 convolutions of 250 rows
# took a sixth longer than 40 of 256.
CHUNK = 448
PIECE = 512
# Searches under way for each core: one runs while the next waits.
AHEAD = 2
LEVELS = 256
# The largest weight: two products with a byte still fit into 16 bits, in which processors
# without VNNI add them.
MOST = 63
# Copies of loud channels. Wrong proposals on fabric and metal fell to a half or a third of
# what they were; twice as many copies gained no more.
SPARE = 64


class SearchError(BundleError):
    """OpenVINO cannot compile the search of a bank for this processor."""


@dataclass(frozen=True)
class BankSearch:
    """The search of one bank, to be built into a network.

    channels  (C,) which channel each of the network's is: all, then copies of the loudest
    low, high (1, D) float32, the values of a patch that INT8 spans
    reach     the highest INT8 value in the measure that all channels share
    weights   (M, C) int8, the bank's rows
    steps     (M, 1) float32, what a weight of 1 is worth
    half_sq   (M,) float32, half the squared norms of the rows as rounded
    """

    channels: Rows
    low: F32
    high: F32
    reach: np.float32
    weights: NDArray[np.int8]
    steps: F32
    half_sq: F32

    @classmethod
    def of(cls, bank: F32, centre: F32) -> Self:
        """Round a bank.

        Parameters
        ----------
        bank : (M, D) float32, centred
        centre : (D,) float32, subtracted from what is searched
        """
        channels, share = _spread(bank)
        wide = bank[:, channels] * share
        # One scale for all: a scale for each channel chose worse, because it spends its
        # levels on channels that hardly count.
        reach = np.float32(np.abs(wide).max() or 1.0)
        largest = np.maximum(np.abs(wide).max(axis=1, keepdims=True), np.float32(1e-30))
        steps = largest / np.float32(MOST)
        weights = np.round(wide / steps).astype(np.int8)
        # Of the rounded rows, which the products are with: it takes a quarter of the wrong
        # ones away.
        half_sq = 0.5 * np.square(weights * steps).sum(axis=1)
        # A channel and its copies have the same share, so they are rounded once.
        own = share[: bank.shape[1]]
        low, high = (centre + _least(reach) / own)[None], (centre + reach / own)[None]
        return cls(channels, low, high, reach, weights, steps, half_sq)

    @property
    def dimensions(self) -> int:
        """D, of a patch."""
        return int(self.low.shape[1])

    @cached_property
    def _parts(self) -> list[slice]:
        return [
            slice(start, min(start + CHUNK, len(self.weights)))
            for start in range(0, len(self.weights), CHUNK)
        ]

    @cached_property
    def _starts(self) -> Rows:
        return np.array([part.start for part in self._parts])

    @cached_property
    def _kernels(self) -> list[Any]:
        # Made once, so that all pieces of patches meet the same weights in the cache.
        return [
            op.multiply(
                op.convert(op.constant(self.weights[part, :, None, None]), ov.Type.f32),
                op.constant(self.steps[part, :, None, None]),
            )
            for part in self._parts
        ]

    def as_model(self, block: int) -> Any:
        """A network for (block, D) float32 patches; what comes out, `choose` reads."""
        patches = op.parameter([block, self.dimensions], ov.Type.f32, name="patches")
        return ov.Model(self._best(patches.output(0), block), [patches], "search")

    def joined(self, network: Any) -> Any:
        """A network that makes (N, h, w, D) features, and then searches for their rows, too.

        Its first output stays what it was, of an INT8 network bit for bit, of a float one to
        rounding; the others are for `choose`.
        """
        features = network.get_results()[0].input_value(0)
        shape = tuple(features.get_shape())
        count = shape[0] * shape[1] * shape[2]
        flat = op.reshape(features, op.constant(np.array([count, shape[3]])), False)
        # Even one piece is split off: without it OpenVINO turns over the memory of all features
        # first, which doubles the search's time.
        pieces = max(1, round(count / PIECE))
        sizes = np.diff([count * piece // pieces for piece in range(pieces + 1)])
        split = op.variadic_split(flat, op.constant(np.int64(0)), op.constant(sizes))
        found = [
            self._best(part, int(size)) for part, size in zip(split.outputs(), sizes, strict=True)
        ]
        rows, chunk = (
            op.concat(list(outputs), 3).output(0) for outputs in zip(*found, strict=True)
        )
        return ov.Model([features, rows, chunk], network.get_parameters(), "features and rows")

    def choose(self, rows: NDArray[np.int32], chunk: NDArray[np.int32]) -> Rows:
        """(N,) bank rows from a network's (chunks, N) rows within chunks and (N,) best chunks."""
        flat = chunk.astype(np.intp)
        starts = self._starts[flat]
        flat *= rows.shape[1]
        flat += np.arange(rows.shape[1])
        starts += np.take(rows.reshape(-1), flat)
        return starts

    def _best(self, patches: Any, count: int) -> list[Any]:
        """Of (count, D) patches: each chunk's best row, and the chunk of the best of them."""
        # -128 to 127, so that zero is a level of its own: from -reach to reach it would lie
        # between two, and twice as many proposals were wrong.
        levels = op.fake_quantize(
            patches, self.low, self.high, _least(self.reach), self.reach, LEVELS
        )
        copied = self.channels[self.dimensions :]
        copies = op.gather(levels, op.constant(copied), op.constant(np.int64(1)))
        # A convolution, with patches as its pixels, took two thirds of a product's time.
        pixels = op.transpose(
            op.reshape(
                op.concat([levels, copies], 1),
                op.constant(np.array([1, 1, count, len(self.channels)])),
                False,
            ),
            op.constant(np.array([0, 3, 1, 2])),
        )
        best, rows = [], []
        for part, kernel in zip(self._parts, self._kernels, strict=True):
            products = op.convolution(pixels, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
            likeness = op.subtract(products, op.constant(self.half_sq[None, part, None, None]))
            top = op.topk(likeness, op.constant(np.int32(1)), 1, "max", "none", "i32")
            best.append(top.output(0))
            rows.append(top.output(1))
        highest = op.topk(op.concat(best, 1), op.constant(np.int32(1)), 1, "max", "none", "i32")
        return [op.concat(rows, 1).output(0), highest.output(1)]


class Proposer:
    """Some banks, each with a network of its own; compiled when they are first asked."""

    def __init__(self, bank: F32, centre: F32, block: int, threads: int | None = None) -> None:
        """Round the banks, and say how they are to be searched.

        Parameters
        ----------
        bank : (K, M, D) float32, centred
        centre : (D,) float32, subtracted from what is asked
        block
            Patches in one inference: those of a tile.
        threads
            Cores to use; None: all that are allowed.
        """
        self.banks = [BankSearch.of(rows, centre) for rows in bank]
        self._block = block
        self._cores = threads or len(os.sched_getaffinity(0))
        self.most = AHEAD * self._cores
        self.free: list[list[_Request]] = [[] for _ in bank]

    def compile(self) -> None:
        """Make the networks; otherwise they are made when they are first asked.

        Raises
        ------
        SearchError
            If this processor cannot run them.
        """
        _ = self.searches

    @cached_property
    def searches(self) -> list[Any]:
        """The compiled networks."""
        # One bank is searched by all cores at once; of several, each by one core.
        streams = self._cores if len(self.banks) == 1 else 1
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
            "ENABLE_CPU_PINNING": False,
        }
        core = new_core()
        try:
            return [
                core.compile_model(bank.as_model(self._block), "CPU", config) for bank in self.banks
            ]
        except RuntimeError as error:
            raise SearchError(f"CPU refuses the search of a bank: {in_one_line(error)}") from error

    def propose(self, asked: Sequence[tuple[int, F32]]) -> list[Rows]:
        """A row for each patch, one array for each that was asked.

        Parameters
        ----------
        asked
            Numbers of banks, and (N, D) float32 patches to search them for, not
            centred; at most a block of them.
        """
        found: list[Rows] = []
        under_way: deque[tuple[int, F32, _Request]] = deque()
        try:
            for k, patches in asked:
                if len(under_way) >= self.most:
                    found.append(self._answer(*under_way.popleft()))
                request = self.free[k].pop() if self.free[k] else _Request.of(self.searches[k])
                request.start(patches)
                under_way.append((k, patches, request))
            while under_way:
                found.append(self._answer(*under_way.popleft()))
        finally:
            # Nobody may still read memory that others will use; what failed first is told.
            for _, _, request in under_way:
                with suppress(RuntimeError):
                    request.infer.wait()
        return found

    def _answer(self, k: int, patches: F32, request: _Request) -> Rows:
        request.infer.wait()
        rows = self.banks[k].choose(request.rows, request.chunk)[: len(patches)]
        self.free[k].append(request)
        return rows


@dataclass(frozen=True, slots=True)
class _Request:
    """One inference and its memory.

    own    (block, D) float32, for patches that do not fill a block
    rows   (chunks, block), each chunk's best row
    chunk  (block,), the chunk of the best of them
    """

    infer: Any
    own: Any
    rows: NDArray[np.int32]
    chunk: NDArray[np.int32]

    @classmethod
    def of(cls, search: Any) -> _Request:
        infer = search.create_infer_request()
        own = infer.get_input_tensor()
        own.data[...] = 0
        block = own.shape[0]
        rows = infer.get_output_tensor(0).data.reshape(-1, block)
        return cls(infer, own, rows, infer.get_output_tensor(1).data.reshape(-1))

    def start(self, patches: F32) -> None:
        if patches.shape == tuple(self.own.shape) and patches.flags.c_contiguous:
            self.infer.set_input_tensor(ov.Tensor(patches, shared_memory=True))
        else:
            self.own.data[: len(patches)] = patches
            self.infer.set_input_tensor(self.own)
        self.infer.start_async()


def _least(reach: np.float32) -> np.float32:
    return -reach * np.float32(LEVELS / 2 / (LEVELS / 2 - 1))


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
