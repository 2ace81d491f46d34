"""A bundle's verdicts under each instruction set, over every test frame of a data set.

    python benchmarks/processors.py BUNDLE ../shared/data/mtd --json processors.json

Each set has a process of its own, kept to it by ONEDNN_MAX_CPU_ISA; what the processor does not
have is run as the next lower one that it has. SSE4.1 is compared under the whole search, because
OpenVINO cannot compile the other one there. A score may differ by half a hundredth, so that a
frame whose score is as near to a threshold may get another verdict: those are counted apart. It
fails if any other frame's verdict differs, or a score differs by more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from edge_run import machine

from kenpin.camera.frame import Frame
from kenpin.compile.evaluation.dataset import read_dataset
from kenpin.compile.good_images.images import load
from kenpin.compile.networks.lowest import ALLOWED, LOWEST
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.web.pipeline import open_pipeline

INSTRUCTION_SETS = ("AVX512_CORE_AMX", "AVX512_CORE_VNNI", "AVX512_CORE", "AVX2_VNNI", "AVX2")
WHOLE = ", whole search"


@dataclass(frozen=True)
class Agreement:
    """What an instruction set makes of the frames, beside the first one.

    largest_difference  of a frame's score, a share of it
    near                frames that the first one scores so near to a threshold that they may differ
    near_that_differ    verdicts of those that do
    others_that_differ  verdicts of all other frames that do: must be 0
    seconds             that judging took, images read before
    """

    instruction_set: str
    frames: int
    largest_difference: float
    near: int
    near_that_differ: int
    others_that_differ: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether it is what a bundle promises."""
        return self.others_that_differ == 0 and self.largest_difference <= ALLOWED

    def row(self) -> str:
        """Of the table."""
        return (
            f"| {self.instruction_set} | {self.largest_difference:.3%} | {self.near} | "
            f"{self.near_that_differ} | {self.others_that_differ} | {self.seconds:.1f} |"
        )


def main() -> int:
    """Print the table; write JSON if asked to."""
    options = _options()
    if options.scores is not None:
        np.savez(options.scores, **judged(read_bundle(options.bundle), options))
        return 0
    bundle = read_bundle(options.bundle)
    limits = bundle.manifest.threshold
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first = under(INSTRUCTION_SETS[0], folder, options)
        whole = under(INSTRUCTION_SETS[0] + WHOLE, folder, options)
        print(f"{machine()}, {bundle.label}, {len(first['scores'])} frames of {options.data}")
        print("| instruction set | largest difference | frames near a threshold | of them other "
              "verdicts | of the others | seconds |")  # fmt: skip
        print("| --- | --- | --- | --- | --- | --- |")
        for name in (*INSTRUCTION_SETS, LOWEST + WHOLE):
            there = under(name, folder, options)
            base = whole if name.endswith(WHOLE) else first
            found.append(compared(name, base, there, sorted({limits.ok, limits.ng})))
            print(found[-1].row(), flush=True)
    if options.json:
        told = {"machine": machine(), "bundle": bundle.label, "rows": [asdict(f) for f in found]}
        options.json.write_text(json.dumps(told, indent=1))
    return 0 if all(one.holds for one in found) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path, help="a data set, as for `edge-compile eval`")
    parser.add_argument("--json", type=Path)
    # How it starts itself.
    parser.add_argument("--scores", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--whole-search", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def under(name: str, folder: Path, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """What a process that is kept to an instruction set makes of every frame; done once."""
    file = folder / f"{name}.npz"
    isa, _, whole = name.partition(WHOLE[:1])
    if not file.exists():
        words = [str(options.bundle), str(options.data), "--scores", str(file)]
        subprocess.run(
            [sys.executable, __file__, *words, *(["--whole-search"] if whole else [])],
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": isa},
            check=True,
        )
    return dict(np.load(file))


def judged(bundle: Bundle, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Each frame's score, whether it is OK, and the seconds of all."""
    m = bundle.manifest
    items = read_dataset(options.data).images
    frames = [
        Frame(load(item.file, m.frame, m.data.turn_deg), 0, number, item.file.name)
        for number, item in enumerate(items)
    ]
    pipeline = open_pipeline(bundle, execution=Execution(exhaustive=options.whole_search))
    pipeline.judge_single(frames[0], ready=True)
    begun = time.perf_counter()
    verdicts = [pipeline.judge_single(frame, ready=True).verdict for frame in frames]
    seconds = time.perf_counter() - begun
    scores = [np.nan if one.score is None else one.score for one in verdicts]
    outcomes = [f"{one.outcome.name} {one.reason or ''}" for one in verdicts]
    return {
        "scores": np.array(scores),
        "outcomes": np.array(outcomes),
        "seconds": np.array(seconds),
    }


def compared(
    name: str, base: dict[str, np.ndarray], there: dict[str, np.ndarray], limits: list[float]
) -> Agreement:
    """One instruction set beside another, by the thresholds of the bundle."""
    scores = base["scores"]
    # What got no score, in either, is equal only where it got none in both.
    none = np.isnan(scores) & np.isnan(there["scores"])
    apart = np.abs(there["scores"] - scores) / np.maximum(np.abs(scores), 1e-12)
    apart = np.where(none, 0.0, np.where(np.isnan(apart), np.inf, apart))
    near = np.zeros(len(scores), np.bool_)
    for limit in limits:
        near |= np.abs(scores - limit) <= ALLOWED * limit
    differ = base["outcomes"] != there["outcomes"]
    return Agreement(
        name,
        len(scores),
        float(apart.max()),
        int(near.sum()),
        int((differ & near).sum()),
        int((differ & ~near).sum()),
        float(there["seconds"]),
    )


if __name__ == "__main__":
    sys.exit(main())
