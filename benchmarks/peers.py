"""kenpin beside what a user would pick instead: Anomalib's OpenVINOInferencer, in one run.

    make bench-peers                     everything; makes .venv-peers first
    .venv/bin/python benchmarks/peers.py --only padim --rounds 10

Needs ../shared: AITEX fabric 03 and ImageNet's ResNet18. Each contestant is a process of its own,
started, timed until its first frame is judged, and then asked for one frame at a time, a few
contestants in turn, in an order drawn anew each round; kenpin's reference takes part in
every group, and ratios are taken within the round. Anomalib learns from single tiles of
256 px, and judges a frame of 4096 px tile by tile, or whole where its model can be made for that.
Nothing is chosen on the test strips. Files are kept in --work and made once for each recipe, model
and version of the code, AUROCs once for each processor or instruction set that it is kept to.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from edge_run import machine
from peers_kept import digest_of, own_code, peers_code
from peers_table import drawn, table

import kenpin
from kenpin.camera.files.images import read_pixels
from kenpin.camera.files.listing import list_images
from kenpin.compile.evaluation.dataset import drawn_defect, read_dataset
from kenpin.compile.metrics.scores import within_group_auroc
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.judging.processor import processor_name

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SHARED = ROOT.parent / "shared"
FABRIC = SHARED / "data" / "aitex_fabric03"
WEIGHTS = SHARED / "weights" / "resnet18-imagenet-stem-to-layer3.pth"
MOBILENET = SHARED / "weights" / "mobilenet_v2-imagenet-features.pth"
TILE_PX, WIDTH_PX = 256, 4096
# Tiles that Anomalib learns from: of them PatchCore keeps 1 or 10 % of the patches.
LEARNED = 64
WARM_UP = 2
TOGETHER = 3

MODELS = ("padim", "patchcore1", "patchcore10", "stfpm", "fastflow", "efficientad")
VARIANTS = {
    "f32": ("f32.xml", {"INFERENCE_PRECISION_HINT": "f32"}),
    "default": ("f32.xml", {}),
    "INT8": ("int8.xml", {}),
}
# Of these, networks for whole frames can be made.
WHOLE = ("patchcore1", "patchcore10", "stfpm")
EMPTY = {
    "padim whole": "65,536 covariances of 100 x 100 numbers: 2.6 GB, and as many inverses to fit",
    "fastflow whole": "its norms have the size of the image: it would have to be trained on strips",
}
# Of these there is no AUROC.
TIME_ONLY = {"efficientad": "its teacher cannot be had here, so its scores mean nothing"}
REFERENCE = "gabor PaDiM columns d = 50"
RESNET = f'backbone={{name="resnet18",weights="{WEIGHTS}"}}'
KENPIN = {
    REFERENCE: (
        "fabric03-padim.toml",
        'method={name="padim",granularity="columns",share="frame",dimensions=50}',
    ),
    "gabor PatchCore 2,000": ("fabric03-patchcore.toml",),
    "ResNet18 PatchCore 650": (
        "fabric03-patchcore.toml",
        RESNET,
        "method.coreset_rows=650",
    ),
    "ResNet18 PatchCore 6,500": (
        "fabric03-patchcore.toml",
        RESNET,
        "method.coreset_rows=6500",
    ),
    "ResNet18 PaDiM dense d = 100": (
        "fabric03-padim.toml",
        RESNET,
        'method={name="padim",granularity="dense",share="frame",dimensions=100}',
    ),
    "ResNet18, its own recipe": ("fabric03-resnet18.toml",),
    "MobileNetV2 PaDiM columns d = 50": (
        "fabric03-padim.toml",
        f'backbone={{name="mobilenet_v2",weights="{MOBILENET}"}}',
        'method={name="padim",granularity="columns",share="frame",dimensions=50}',
    ),
}


@dataclass
class Contestant:
    """One row of the table.

    frame       what it judges at once: a tile of 256 px, a frame tile by tile, or a frame whole
    command     starts its worker
    scores      whether its scores mean something
    empty       why not, or why there is not even a time
    """

    name: str
    frame: str
    command: list[str]
    scores: bool
    ms: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    start_s: float = 0.0
    peak_mib: float = 0.0
    auroc: float | None = None
    empty: str = ""

    @property
    def width_px(self) -> int:
        """Of what it is asked to judge."""
        return TILE_PX if self.frame == "tile" else WIDTH_PX

    @property
    def ours(self) -> bool:
        """Whether it is kenpin."""
        return self.name.startswith("kenpin")

    @property
    def measured(self) -> str:
        """What its scores are kept under: themselves, the code that asks, and where."""
        code = [peers_code(), own_code()] if self.ours else [peers_code()]
        return f"{self.name} {digest_of(self.command, code, processor_name())}"

    def row(self) -> dict[str, Any]:
        """For table, picture and JSON."""
        found: dict[str, Any] = {"name": self.name, "frame": self.frame, "empty": self.empty}
        if self.ms:
            p25, p50, p75 = np.percentile(self.ms, [25, 50, 75])
            times = np.percentile(self.ratio, [25, 50, 75])
            found |= {
                "ms": [round(float(v), 2) for v in (p25, p50, p75)],
                "ms_per_megapixel": round(float(p50) / (TILE_PX * self.width_px / 1e6), 1),
                "times_reference": [round(float(v), 2) for v in times],
                "start_s": round(self.start_s, 2),
                "peak_mib": round(self.peak_mib),
                "auroc": self.auroc,
            }
        return found


class Worker:
    """A contestant's process."""

    def __init__(self, contestant: Contestant, frame: Path, folder: str) -> None:
        begun = time.monotonic()
        self._process = subprocess.Popen(
            contestant.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
        )
        self._say(str(frame))
        self._answer(contestant.name)
        contestant.start_s = time.monotonic() - begun
        self._name = contestant.name

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request, one answer."""
        self._say(json.dumps(request))
        return self._answer(self._name)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self, name: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # Libraries of the peers greet on stdout.
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(f"{name}: its worker ended with {self._process.wait()}")


def main() -> int:
    """Prepare, measure, print; write JSON and picture if asked to."""
    options = _options()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    tiles, frames = data(work)
    bundles = kenpin_bundles(work, options.only)
    networks = peer_networks(work, tiles, options) if options.python else {}
    field_ = contestants(bundles, networks, options)
    if not options.times_only:
        judge_all(field_, frames, work, options.at_once)
    for contestant in field_:
        if contestant.auroc is not None:
            print(f"{contestant.name}: AUROC {contestant.auroc:.4f}", flush=True)
    if options.rounds:
        measure(field_, frames, options.rounds)
    rows = [contestant.row() for contestant in field_]
    print(f"{machine()}, {options.rounds} rounds, fabric 03, {len(np.load(frames))} strips")
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    if options.picture:
        drawn(rows, options.picture)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", type=Path, help="of the peers' environment; none: kenpin alone")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "peers")
    parser.add_argument("--only", default="", help="a pattern of names, beside the reference")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--at-once", type=int, default=1, help="contestants scored side by side")
    parser.add_argument("--times-only", action="store_true", help="no AUROC, which takes longest")
    parser.add_argument("--steps", type=int, default=100, help="of training STFPM and FastFlow")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="a PNG of AUROC by milliseconds")
    return parser.parse_args()


def data(work: Path) -> tuple[Path, Path]:
    """(LEARNED, 256, 256) good tiles to learn from, and the (N, 256, 4096) test strips."""
    tiles, frames = work / "tiles.npy", work / "strips.npy"
    if not frames.exists():
        good = [read_pixels(file) for file in list_images(FABRIC / "train" / "good")]
        cut = np.concatenate([strip.reshape(TILE_PX, -1, TILE_PX).swapaxes(0, 1) for strip in good])
        chosen = np.random.default_rng(0).permutation(len(cut))[:LEARNED]
        np.save(tiles, cut[np.sort(chosen)])
        np.save(frames, np.stack([read_pixels(item.file) for item in read_dataset(FABRIC).images]))
    return tiles, frames


def kenpin_bundles(work: Path, only: str) -> dict[str, Path]:
    """A bundle for each of kenpin's contestants."""
    found = {}
    for name, (recipe, *changes) in KENPIN.items():
        if name != REFERENCE and not re.search(only, f"kenpin {name}"):
            continue
        settings = (ROOT / "config" / recipe).read_text()
        store = work / f"kenpin-{digest_of(settings, changes, own_code())}"
        if not (store / "current").exists():
            print(f"compiling {name}", flush=True)
            kenpin.build(ROOT / "config" / recipe, store, changes=changes, lowest=False)
        found[name] = read_bundle(store).folder
    return found


def peer_networks(work: Path, tiles: Path, options: argparse.Namespace) -> dict[str, Path]:
    """A folder of IRs for each of Anomalib's models, by name; whole frames have their own."""
    found = {}
    for name in [*MODELS, *(f"{model} whole" for model in WHOLE)]:
        model, _, whole = name.partition(" ")
        if not any(re.search(options.only, f"anomalib {model} {kind}") for kind in VARIANTS):
            continue
        job = {
            "model": model,
            "tiles": str(tiles),
            "size": [TILE_PX, WIDTH_PX if whole else TILE_PX],
            "weights": str(WEIGHTS),
            "steps": options.steps,
            "calibration": 4 if whole else LEARNED,
        }
        folder = work / f"{name.replace(' ', '-')}-{digest_of(job, peers_code())}"
        found[name] = folder
        if (folder / "facts.json").exists():
            continue
        print(f"making anomalib's {name}", flush=True)
        folder.mkdir(exist_ok=True)
        (folder / "job.json").write_text(json.dumps(job | {"folder": str(folder)}))
        command = [options.python, HERE / "peers" / "anomalib_models.py", folder / "job.json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return found


def contestants(
    bundles: dict[str, Path], networks: dict[str, Path], options: argparse.Namespace
) -> list[Contestant]:
    """The rows of the table, the reference first."""
    worker = str(HERE / "peers" / "worker.py")
    found = []
    for name, folder in bundles.items():
        for frame in ("frame", "tile"):
            command = [sys.executable, worker, "kenpin", str(folder)]
            found.append(Contestant(f"kenpin {name}", frame, command, frame == "frame"))
    for name, folder in networks.items():
        model, _, whole = name.partition(" ")
        for variant, (file, config) in VARIANTS.items():
            for frame in ("whole",) if whole else ("tile by tile", "tile"):
                arguments = [str(folder / file), json.dumps(config), whole or "tiles"]
                command = [str(options.python), worker, "anomalib", *arguments]
                scores = frame == "tile by tile" and model not in TIME_ONLY
                made = Contestant(f"anomalib {model} {variant}", frame, command, scores)
                made.empty = TIME_ONLY.get(model, "")
                found.append(made)
    for name, reason in EMPTY.items():
        if networks:
            found.append(Contestant(f"anomalib {name}", "-", [], scores=False, empty=reason))
    first = found[0]
    return [first, *(c for c in found[1:] if re.search(options.only, c.name))]


def measure(field_: list[Contestant], frames: Path, rounds: int) -> None:
    """Milliseconds of each, a few at a time beside the reference."""
    racing: dict[str, list[Contestant]] = {}
    for contestant in field_[1:]:
        if contestant.command:
            racing.setdefault(json.dumps(contestant.command), []).append(contestant)
    order = np.random.default_rng(0)
    groups = list(racing.values())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.npy"
        np.save(file, np.load(frames)[0])
        reference = Worker(field_[0], file, folder)
        for start in range(0, len(groups), TOGETHER):
            runners = [(field_[0], reference)]
            for group in groups[start : start + TOGETHER]:
                # A tile and a frame are judged by the same process.
                own = reference if group[0].command == field_[0].command else None
                worker = own or Worker(group[0], file, folder)
                for contestant in group:
                    contestant.start_s = group[0].start_s or field_[0].start_s
                    runners.append((contestant, worker))
            _rounds(runners, rounds, order)
            for worker in {id(worker): worker for _, worker in runners[1:]}.values():
                if worker is not reference:
                    worker.close()
            for contestant, _ in runners[1:]:
                print(table([contestant.row()], head=False), flush=True)
        reference.close()


def _rounds(
    runners: list[tuple[Contestant, Worker]], rounds: int, order: np.random.Generator
) -> None:
    for number in range(rounds + WARM_UP):
        spent = {}
        for place in order.permutation(len(runners)):
            contestant, worker = runners[place]
            found = worker.ask(width=contestant.width_px)
            spent[place] = found["ms"]
            contestant.peak_mib = found["peak_mib"]
        if number < WARM_UP:
            continue
        # A megapixel of the reference is what a megapixel of the others is compared with.
        base = spent[0] / runners[0][0].width_px
        for place, (contestant, _) in enumerate(runners):
            contestant.ms.append(spent[place])
            contestant.ratio.append(spent[place] / contestant.width_px / base)


def judge_all(field_: list[Contestant], frames: Path, work: Path, at_once: int) -> None:
    """AUROC of tiles within strips: a tile that shows a defect against clean ones of its strip."""
    bad, strips = labels()
    known_file = work / "aurocs.json"
    known = json.loads(known_file.read_text()) if known_file.exists() else {}
    unknown = [c for c in field_ if c.scores and c.measured not in known]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
        file = Path(folder) / "frame.npy"
        np.save(file, np.load(frames)[0])

        def scores(contestant: Contestant) -> np.ndarray:
            worker = Worker(contestant, file, folder)
            found = np.array(worker.ask(frames=str(frames))["scores"])
            worker.close()
            return found

        for contestant, found in zip(unknown, pool.map(scores, unknown), strict=True):
            known[contestant.measured] = within_group_auroc(found.ravel(), bad, strips).pooled
            known_file.write_text(json.dumps(known, indent=1))
    for contestant in field_:
        if contestant.scores:
            contestant.auroc = round(known[contestant.measured], 4)


def labels() -> tuple[np.ndarray, np.ndarray]:
    """(tiles,) whether a tile shows a defect, and the number of its strip."""
    bad = []
    for item in read_dataset(FABRIC).images:
        mask = np.zeros((TILE_PX, WIDTH_PX), np.bool_)
        if item.mask is not None:
            mask = drawn_defect(item.mask, mask.shape)
        bad.append(mask.reshape(TILE_PX, -1, TILE_PX).any(axis=(0, 2)))
    tiles = np.array(bad)
    return tiles.ravel(), np.repeat(np.arange(len(tiles)), tiles.shape[1])


if __name__ == "__main__":
    sys.exit(main())
