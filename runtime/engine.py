"""OpenVINO: tiles in, patch features out.

Besides `proposals`, the only runtime module that knows it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kenpin.config.tuning import Tuning
from kenpin.runtime.telemetry import silence

silence()
import openvino as ov  # noqa: E402

__all__ = ["Engine", "EngineError"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

DEFAULT = Tuning()

# For each stream two requests: one runs while the next one's tiles are copied in.
AHEAD = 2


class EngineError(Exception):
    """The network cannot be loaded or does not have the expected shape."""


class Engine:
    """A compiled feature extractor with a static batch, its requests reused.

    Input (N, C, S, S) uint8; output (N, h, w, D) float32.
    """

    def __init__(
        self,
        model: Path | Any,
        *,
        precision: str = "f32",
        threads: int | None = None,
        tuning: Tuning = DEFAULT,
    ) -> None:
        """Compile for this box.

        Parameters
        ----------
        model
            The IR's .xml file, or an `openvino.Model` in memory.
        precision
            Of everything that is not INT8. Stated, because OpenVINO's own
            choice differs between processors, and with it the scores.
        threads
            Cores to use; None leaves it to OpenVINO.
        tuning
            Device, batch and streams.

        Raises
        ------
        EngineError
            If OpenVINO cannot read or compile the model, or its shape is not
            static with one input and one output.
        """
        core = ov.Core()
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": tuning.streams,
        }
        if tuning.device != "CPU":
            # GPU, NPU and AUTO know neither all of these settings nor what they cost.
            del config["NUM_STREAMS"]
        elif threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            network = core.read_model(model) if isinstance(model, Path) else model
            if tuning.batch is not None and network.inputs[0].shape[0] != tuning.batch:
                network = network.clone()
                network.reshape([tuning.batch, *network.inputs[0].shape[1:]])
            self._compiled = core.compile_model(network, tuning.device, config)
        except RuntimeError as error:
            raise EngineError(
                f"{model}: OpenVINO cannot compile it for {tuning.device}: {error}"
            ) from error
        ports = (*self._compiled.inputs, *self._compiled.outputs)
        if len(ports) != 2 or any(port.partial_shape.is_dynamic for port in ports):
            raise EngineError(f"{model}: expected one input and one output of static shape")
        self.input_shape: tuple[int, int, int, int] = tuple(self._compiled.inputs[0].shape)
        self.output_shape: tuple[int, int, int, int] = tuple(self._compiled.outputs[0].shape)
        if self._compiled.inputs[0].element_type != ov.Type.u8 or len(self.output_shape) != 4:
            raise EngineError(
                f"{model}: expected (N, C, S, S) uint8 to (N, h, w, D), found "
                f"{self.input_shape} {self._compiled.inputs[0].element_type} to "
                f"{self.output_shape}"
            )
        self._ahead = AHEAD * tuning.streams
        self._renew()

    @property
    def batch(self) -> int:
        """Tiles per inference."""
        return self.input_shape[0]

    def room(self, count: int) -> F32:
        """Memory for the features of `count` tiles, to be given to `features` again and again."""
        batches = -(-count // self.batch)
        return np.empty((batches * self.batch, *self.output_shape[1:]), np.float32)

    def features(
        self,
        fill: Callable[[int, U8], int],
        count: int,
        room: F32 | None = None,
        ready: Callable[[int, int], None] | None = None,
    ) -> tuple[F32, int]:
        """Features of `count` tiles, in order, and how many tiles were filled in.

        Parameters
        ----------
        fill
            Called as fill(first, batch): writes the tiles from number `first`
            on into the (N, C, S, S) uint8 batch and says how many it wrote.
        room
            What `room(count)` gave: the features are written there, over those
            of the call before. Without it they get memory of their own.
        ready
            Called as ready(first, last) when the features of tiles first to
            last - 1 have been written, while those of the next are on their way.

        Returns
        -------
        (count, h, w, D) float32, and the sum of what `fill` said.
        """
        out = self.room(count) if room is None else room
        filled, ahead, batches = 0, len(self._requests), len(out) // self.batch
        try:
            for number in range(batches + ahead):
                request, done = self._requests[number % ahead], number - ahead
                request.wait()
                if number < batches:
                    first = number * self.batch
                    filled += fill(first, self._slots[number % ahead])
                    # The result lands where it is needed: OpenVINO writes into this array.
                    request.set_output_tensor(
                        ov.Tensor(out[first : first + self.batch], shared_memory=True)
                    )
                    request.start_async()
                if ready is not None and 0 <= done < batches:
                    ready(done * self.batch, min(count, (done + 1) * self.batch))
        except BaseException:
            self._halt()
            raise
        return out[:count], filled

    def _renew(self) -> None:
        self._requests = [self._compiled.create_infer_request() for _ in range(self._ahead)]
        self._slots: list[U8] = [r.get_input_tensor().data for r in self._requests]

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
