"""Run beside the tests, kept to an instruction set: what networks and bundles compute there.

    ONEDNN_MAX_CPU_ISA=AVX2 python tests/other_processor.py OUT.npz NAME=PATH ...

A path is a bundle's folder, whose golden frames are scored, or an IR, which is given noise.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.selftest import scored
from kenpin.runtime.web.pipeline import open_pipeline

# OpenVINO's TopK looks at the processor and its tools at this limit: it cannot be compiled.
NO_SEARCH = "SSE41"


def features(network: Path) -> np.ndarray:
    """Of two tiles of noise, one faint and one strong."""
    engine = Engine(network)
    rng = np.random.default_rng(1)
    strengths = np.array([6, 60])[:, None, None, None]
    noise = 120 + strengths * rng.normal(size=(2, *engine.input_shape[1:]))
    tiles = np.clip(noise, 0, 255).astype(np.uint8)

    def fill(first: int, batch: np.ndarray) -> int:
        part = tiles[first : first + len(batch)]
        batch[: len(part)] = part
        return len(part)

    return engine.features(fill, len(tiles))[0]


def scores(folder: Path, exhaustive: bool) -> np.ndarray:
    """Of the golden frames."""
    pipeline = open_pipeline(read_bundle(folder), execution=Execution(exhaustive=exhaustive))
    return np.array([score for _, score in scored(pipeline)])


if __name__ == "__main__":
    named = dict(argument.split("=", 1) for argument in sys.argv[2:])
    found = {}
    for name, path in named.items():
        if path.endswith(".xml"):
            found[name] = features(Path(path))
            continue
        found[f"{name}, exhaustive"] = scores(Path(path), exhaustive=True)
        if os.environ.get("ONEDNN_MAX_CPU_ISA") != NO_SEARCH:
            found[name] = scores(Path(path), exhaustive=False)
    np.savez(sys.argv[1], **found)
