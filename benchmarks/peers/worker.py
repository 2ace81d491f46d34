"""One side of the comparison in a process of its own: started, loaded, asked frame by frame.

    python benchmarks/peers/worker.py anomalib IR.xml CONFIG-JSON WHOLE
    python benchmarks/peers/worker.py kenpin BUNDLE

Runs in whichever environment holds that side. It says `ready` after its first frame, which ends
its start; then each line of stdin is a request and each line of stdout the answer, both JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TILE_PX = 256
Judge = Callable[[np.ndarray], np.ndarray]


def anomalib_side(network: Path, config: dict[str, Any], whole: bool) -> Judge:
    """(H, W) uint8 to the raw score of each square tile, or the one score of the whole frame."""
    from anomalib_models import allow_torchvision

    allow_torchvision()
    from anomalib.deploy import OpenVINOInferencer

    model = OpenVINOInferencer(network, device="CPU", config=config)

    def judge(frame: np.ndarray) -> np.ndarray:
        step = frame.shape[1] if whole else TILE_PX
        found = []
        for left in range(0, frame.shape[1], step):
            tile = np.repeat(frame[:, left : left + step, None], 3, axis=2)
            found.append(float(model.predict(tile).pred_score.max()))
        return np.array(found)

    return judge


def kenpin_side(folder: Path) -> Judge:
    """(H, W) uint8 to the highest value of the map on each square tile."""
    from kenpin.camera.frame import Frame
    from kenpin.runtime.bundles.bundle import read_bundle
    from kenpin.runtime.selftest import open_tested
    from kenpin.runtime.stretched import stretched
    from kenpin.runtime.web.pipeline import open_pipeline

    bundle = read_bundle(folder)
    pipelines = {bundle.manifest.frame.width_px: open_tested(bundle)}

    def judge(frame: np.ndarray) -> np.ndarray:
        width = frame.shape[1]
        if width not in pipelines:
            pipelines[width] = open_pipeline(stretched(bundle, width))
        judged = pipelines[width].judge_single(Frame(frame, time.monotonic_ns(), 0))
        if judged.score_map is None:
            raise SystemExit(f"{folder}: {judged.verdict.detail}")
        values = judged.score_map.values
        tiles = values.reshape(values.shape[0], -1, values.shape[1] * TILE_PX // width)
        return np.asarray(tiles.max(axis=(0, 2)), np.float64)

    return judge


def piece_of(frame: np.ndarray, width: int) -> np.ndarray:
    """So many columns, where they are as bright as the whole: the table at its edges is not."""
    starts = range(0, frame.shape[1] - width + 1, TILE_PX)
    left = min(starts, key=lambda start: abs(frame[:, start : start + width].mean() - frame.mean()))
    return frame[:, left : left + width].copy()


def main() -> None:
    """Serve until stdin ends."""
    side, what, *rest = sys.argv[1:]
    frame = np.load(Path(sys.stdin.readline().strip()))
    if side == "anomalib":
        judge = anomalib_side(Path(what), json.loads(rest[0]), rest[1] == "whole")
    else:
        judge = kenpin_side(Path(what))
    judge(frame.copy())
    _say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        if "frames" in asked:
            _say({"scores": [judge(each.copy()).tolist() for each in np.load(asked["frames"])]})
            continue
        mine = piece_of(frame, asked["width"])
        begun = time.perf_counter()
        judge(mine)
        ms = (time.perf_counter() - begun) * 1e3
        _say({"ms": ms, "peak_mib": _peak_mib()})


def _peak_mib() -> float:
    """Of this program alone: getrusage's peak begins with the memory of who started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kib) / 1024


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
