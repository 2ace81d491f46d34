"""What each member of an ensemble takes alone on this machine, and what all of them take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kenpin.config.ensemble import EnsembleSpec
from kenpin.runtime.judging.openvino_core import new_core
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402
from openvino import opset13 as opset  # noqa: E402

__all__ = ["MemberTimes", "measure_members", "member_network"]

# As `Joint`, `EnsembleHead` and torch's tracing name a member's operations, and what joins them.
MEMBER, JOINING = "__module.heads.0.members.{}.", "__module.heads.0.embedding"
FEWEST, MOST = 3, 100


@dataclass(frozen=True, slots=True)
class MemberTimes:
    """Medians of one call of the network, in turn with each other.

    tiles        of a call
    alone_ms     each member with the backbone that it looks at, in the recipe's order; one that is
                 the same as another takes nothing
    together_ms  the ensemble, which runs a backbone once that several look at
    """

    tiles: int
    alone_ms: list[tuple[str, float]]
    together_ms: float

    def tree(self) -> dict[str, Any]:
        """For JSON."""
        return {"tiles": self.tiles, "alone_ms": self.alone_ms, "together_ms": self.together_ms}

    def __str__(self) -> str:
        alone = " + ".join(f"{name} {ms:.1f}" for name, ms in self.alone_ms)
        total = sum(ms for _, ms in self.alone_ms)
        together = f"{self.together_ms:.1f} as one network"
        return f"members alone, ms for {self.tiles} tiles: {alone} = {total:.1f}; {together}"


def measure_members(model: Any, method: EnsembleSpec, seconds: float) -> MemberTimes:
    """Run the bundle's network and what it has of each member, in turn, for about that long.

    Parameters
    ----------
    model
        An OpenVINO model of an ensemble, before its operations are named anew; it stays as it is.
    """
    shape = list(model.inputs[0].shape)
    tiles = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    every = [member_network(model, number) for number in range(len(method.members))] + [model]
    runs = [_runner(one, tiles) for one in every]
    spent: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds
    while len(spent[0]) < FEWEST or (len(spent[0]) < MOST and time.perf_counter() < end):
        for run, own in zip(runs, spent, strict=True):
            begun = time.perf_counter()
            run()
            own.append(1000 * (time.perf_counter() - begun))
    *alone, together = (statistics.median(own) for own in spent)
    return MemberTimes(shape[0], list(zip(_names(method), alone, strict=True)), together)


def member_network(model: Any, number: int) -> Any | None:
    """What the members' join gets from one of them, as a network of its own: (N, 1, h, w).

    None where that is another member's, too: what is the same is computed once.
    """
    copy, begins = model.clone(), MEMBER.format(number)
    given = [
        output
        for op in copy.get_ops()
        if op.get_friendly_name().startswith((begins, f"{begins[:-1]}/"))
        for output in op.outputs()
        if any(
            port.get_node().get_friendly_name().startswith(JOINING)
            for port in output.get_target_inputs()
        )
    ]
    if not given:
        return None
    return ov.Model([opset.result(output) for output in given], copy.get_parameters(), "member")


def _runner(model: Any | None, tiles: Any) -> Callable[[], object]:
    if model is None:
        return lambda: None
    compiled = new_core().compile_model(
        model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    )
    request = compiled.create_infer_request()
    # The first call makes what the later ones use again.
    request.infer([tiles])
    return lambda: request.infer([tiles])


def _names(method: EnsembleSpec) -> list[str]:
    return [
        one.method.name + (f" on {one.backbone.name}" if one.backbone else "")
        for one in method.members
    ]
