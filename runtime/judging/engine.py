"""OpenVINO: tiles in, patch features and proposed bank rows out.

Besides `proposals`, the only runtime module that lets it judge.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.config.errors import in_one_line
from kenpin.config.tuning import Tuning
from kenpin.runtime.bundles.bundle import Network
from kenpin.runtime.judging.openvino_core import new_core
from kenpin.runtime.judging.proposals import BankSearch
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402

__all__ = ["CannotCompileError", "DeviceError", "Engine", "EngineError", "FeatureBuffers"]

Index = NDArray[np.intp]
U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

DEFAULT = Tuning()

# For each stream two requests: one runs while the next one's tiles are copied in.
AHEAD = 2


class EngineError(Exception):
    """The network cannot be loaded or does not have the expected shape."""


class CannotCompileError(EngineError):
    """OpenVINO has no way to run the network on this processor; `why` is its own reason."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class DeviceError(EngineError):
    """A device other than the CPU cannot run the network, or is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBuffers:
    """Memory for what the network says of some tiles, to be written over and over.

    features  (tiles, h, w, D) float32
    rows      (tiles, h, w) the bank row proposed for each patch; None where nothing is searched
    """

    features: F32
    rows: Index | None

    def tiles(self, first: int, last: int) -> FeatureBuffers:
        """Some of them, not copied."""
        rows = None if self.rows is None else self.rows[first:last]
        return FeatureBuffers(self.features[first:last], rows)


def _read(core: ov.Core, model: Network | Path | Any) -> Any:
    if isinstance(model, Network):
        return core.read_model(model.xml, model.weights)
    return core.read_model(model) if isinstance(model, Path) else model.clone()


def _config(precision: str | None, threads: int | None, tuning: Tuning) -> dict[str, Any]:
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if precision is not None:
        config["INFERENCE_PRECISION_HINT"] = precision
    # GPU and NPU know neither of these settings nor what they cost.
    if tuning.device == "CPU":
        config["NUM_STREAMS"] = tuning.streams
        # Pinned, the threads of every process that asks for as many take the same cores: two lines
        # on one box, or two workers, would share them while others rest. See docs/decisions/0069.
        config["ENABLE_CPU_PINNING"] = False
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
    return config


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


class Engine:
    """A compiled feature extractor with a static batch, its requests reused.

    Input (N, C, S, S) uint8; output (N, h, w, D) float32.

    device   what runs it, by OpenVINO's name
    refused  what the device's plug-in would not do, and what is done instead
    """

    def __init__(
        self,
        model: Network | Path | Any,
        *,
        precision: str = "f32",
        threads: int | None = None,
        tuning: Tuning = DEFAULT,
        search: BankSearch | None = None,
    ) -> None:
        """Compile for this box.

        Parameters
        ----------
        model
            A bundle's verified IR, an .xml file, or an `openvino.Model` in memory.
        precision
            Of everything that is not INT8. Stated, because OpenVINO's own
            choice differs between processors, and with it the scores. Devices that
            know no such precision use their own: golden frames say whether that will do.
        threads
            Cores to use; None leaves it to OpenVINO.
        tuning
            Device, batch and streams.
        search
            What the features are to be searched for. It is left out where the device refuses
            it; rows are then not proposed.

        Raises
        ------
        EngineError
            If OpenVINO cannot read the model, or its shape is not static with one input and one
            output; a CannotCompileError if it cannot compile it for the CPU, a DeviceError for
            another device.
        """
        core = new_core()
        self.device = tuning.device
        self.refused: tuple[str, ...] = ()
        self._search = search
        compiling = False
        try:
            network = _read(core, model)
            if tuning.batch is not None and network.inputs[0].shape[0] != tuning.batch:
                network.reshape([tuning.batch, *network.inputs[0].shape[1:]])
            self._check(model, network)
            compiling = True
            self._compiled = self._compile(core, network, precision, threads, tuning)
        except RuntimeError as error:
            why = in_one_line(error)
            told = f"{model}: OpenVINO cannot compile it for {tuning.device}: {why}"
            if tuning.device != "CPU":
                raise DeviceError(told) from error
            raise CannotCompileError(told, why) if compiling else EngineError(told) from error
        self._ahead = AHEAD * tuning.streams
        # Its requests and their memory are for one frame at a time.
        self._in_use = Lock()
        self._renew()

    def _compile(
        self, core: ov.Core, network: Any, precision: str, threads: int | None, tuning: Tuning
    ) -> Any:
        """The network joined with the search, for the tuning's device.

        What a plug-in refuses it refuses here, by an error: a device gets the network without
        the search then, and another than the CPU after that in its own precision.
        """
        config = _config(precision, threads, tuning)
        if self._search is not None:
            joined = self._search.joined(network)
            try:
                return core.compile_model(joined, tuning.device, config)
            except RuntimeError as error:
                self._search = None
                own = tuning.device == "CPU"
                instead = "so every bank row is measured" if own else "which the CPU makes"
                self._refuse(f"the search, {instead}", error)
        try:
            return core.compile_model(network, tuning.device, config)
        except RuntimeError as error:
            if tuning.device == "CPU":
                raise
            self._refuse(f"{precision}, so it computes in its own precision", error)
        return core.compile_model(network, tuning.device, _config(None, threads, tuning))

    def _refuse(self, what: str, error: Exception) -> None:
        self.refused = (*self.refused, f"{self.device} refuses {what}: {_reason(error)}")

    def _check(self, model: Network | Path | Any, network: Any) -> None:
        ports = (*network.inputs, *network.outputs)
        if len(ports) != 2 or any(port.partial_shape.is_dynamic for port in ports):
            raise EngineError(f"{model}: expected one input and one output of static shape")
        self.input_shape: tuple[int, int, int, int] = tuple(network.inputs[0].shape)
        self.output_shape: tuple[int, int, int, int] = tuple(network.outputs[0].shape)
        kind = network.inputs[0].element_type
        if kind != ov.Type.u8 or len(self.output_shape) != 4:
            raise EngineError(
                f"{model}: expected (N, C, S, S) uint8 to (N, h, w, D), found "
                f"{self.input_shape} {kind} to {self.output_shape}"
            )
        if self._search is not None and self._search.dimensions != self.output_shape[3]:
            raise EngineError(
                f"{model}: makes features of {self.output_shape[3]} dimensions, the bank has "
                f"{self._search.dimensions}"
            )

    @property
    def searches(self) -> bool:
        """Whether it proposes bank rows beside the features."""
        return self._search is not None

    @property
    def batch(self) -> int:
        """Tiles per inference."""
        return self.input_shape[0]

    def buffers(self, count: int) -> FeatureBuffers:
        """Memory for `count` tiles, to be given to `features` again and again."""
        tiles = -(-count // self.batch) * self.batch
        _, *grid, depth = self.output_shape
        rows = np.empty((tiles, *grid), np.intp) if self._search else None
        return FeatureBuffers(np.empty((tiles, *grid, depth), np.float32), rows)

    def features(
        self,
        fill: Callable[[int, U8], int],
        count: int,
        buffers: FeatureBuffers | None = None,
    ) -> tuple[F32, int]:
        """Features of `count` tiles, in order, and how many tiles were filled in.

        Parameters
        ----------
        fill
            Called as fill(first, batch): writes the tiles from number `first`
            on into the (N, C, S, S) uint8 batch and says how many it wrote.
        buffers
            What `buffers(count)` gave: features and rows are written there, over those
            of the call before. Without it they get memory of their own.

        Returns
        -------
        (count, h, w, D) float32, and the sum of what `fill` said.
        """
        buffers = buffers or self.buffers(count)
        with self._in_use:
            filled = self._fill(fill, buffers)
        return buffers.features[:count], filled

    def _fill(self, fill: Callable[[int, U8], int], buffers: FeatureBuffers) -> int:
        out, step = buffers.features, self.batch
        filled, ahead, batches = 0, len(self._requests), len(out) // step
        try:
            for number in range(batches + ahead):
                request, done = self._requests[number % ahead], (number - ahead) * step
                request.wait()
                if done >= 0 and buffers.rows is not None:
                    self._choose(number % ahead, buffers.rows[done : done + step])
                if number < batches:
                    first = number * step
                    filled += fill(first, self._slots[number % ahead])
                    # The result lands where it is needed: OpenVINO writes into this array.
                    request.set_output_tensor(
                        0, ov.Tensor(out[first : first + step], shared_memory=True)
                    )
                    request.start_async()
        except BaseException:
            self._halt()
            raise
        return filled

    def _choose(self, request: int, rows: Index) -> None:
        assert self._search is not None
        found = self._search.choose(*self._searched[request])
        rows.reshape(-1)[:] = found

    def _renew(self) -> None:
        self._requests = [self._compiled.create_infer_request() for _ in range(self._ahead)]
        self._slots: list[U8] = [r.get_input_tensor().data for r in self._requests]
        # Of each request, what the search says: rows within chunks, and the best chunks.
        self._searched: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
        if self._search is not None:
            patches = int(np.prod(self.output_shape[:3]))
            for request in self._requests:
                rows, chunk = (
                    request.get_output_tensor(port).data.reshape(-1, patches) for port in (1, 2)
                )
                self._searched.append((rows, chunk[0]))

    def _halt(self) -> None:
        # A request still running would write into memory that is about to be freed.
        for request in self._requests:
            with contextlib.suppress(RuntimeError):
                request.wait()
        # A request that failed raises the same error again at its next wait: the
        # frame after would pay for it.
        self._renew()

    def executed_precisions(self) -> list[tuple[str, str, str]]:
        """(name, kind, precision) of every node as this processor runs it."""
        nodes = []
        for op in self._compiled.get_runtime_model().get_ordered_ops():
            info = op.get_rt_info()
            nodes.append(
                (
                    op.get_friendly_name(),
                    str(info["layerType"].astype(str)),
                    str(info["runtimePrecision"].astype(str)),
                )
            )
        return nodes
