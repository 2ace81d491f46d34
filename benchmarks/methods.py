"""Trained methods on a labelled data set, one after the other, into a table that grows.

    python benchmarks/methods.py mtd stfpm fastflow --minutes 1 --set backbone.name=resnet18
    python benchmarks/methods.py fabric patchcore --json methods.json

Each is built from the recipe of its data set, with the method exchanged, and measured on the test
images once. A row that the file has already is not made again. Compare by the drawn defects that
the good images alone tell of (`twins`), not by the test images; with one seed, differences below
0.03 mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_cases import SHARED
from edge_run import machine

from kenpin.compile.build import build
from kenpin.compile.dataset import read_dataset
from kenpin.compile.evaluate import evaluate
from kenpin.compile.progress import Steps
from kenpin.config.console import plain_console
from kenpin.config.methods import METHODS
from kenpin.config.recipe import load_recipe
from kenpin.config.trained import TrainedSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.pipeline import Pipeline

RECIPES = Path(__file__).resolve().parents[1] / "config"
SETS = {
    "mtd": ("mtd-patchcore.toml", SHARED / "data" / "mtd"),
    "fabric": ("fabric03-resnet18.toml", SHARED / "data" / "aitex_fabric03"),
}
COLUMNS = ("set", "method", "settings", "seed", "minutes", "build_s", "twins", "false_rejects",
           "good", "escapes", "ng", "auroc", "frame_ms")  # fmt: skip


def main() -> int:
    """Make the rows that are missing, and print all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("methods", nargs="+", choices=METHODS.names())
    parser.add_argument("--minutes", type=float, default=10, help="of one training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--json", type=Path, default=Path("methods.json"))
    options = parser.parse_args()
    rows = json.loads(options.json.read_text()) if options.json.exists() else []
    for method in options.methods:
        for seed in options.seeds:
            key = {
                "set": options.set,
                "method": method,
                "settings": " ".join(options.changes),
                "seed": seed,
                "minutes": options.minutes if _is_trained(method) else None,
            }
            if not any(all(row[k] == v for k, v in key.items()) for row in rows):
                rows.append({**key, **_measured(key, options.changes)})
                options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(_table(rows))
    return 0


def _is_trained(method: str) -> bool:
    return issubclass(METHODS.find(method).settings, TrainedSpec)


def _measured(key: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    recipe_file, data = SETS[key["set"]]
    table = f'name="{key["method"]}"'
    if "seed" in METHODS.find(key["method"]).settings.model_fields:
        table += f",seed={key['seed']}"
    if key["minutes"] is not None:
        table += f",minutes={key['minutes']}"
    recipe = load_recipe(RECIPES / recipe_file, [f"method={{{table}}}", *changes])
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Steps(plain_console()) as steps:
        result = build(recipe, Path(folder), steps, lowest=False)
        build_s = time.monotonic() - begun
        with steps.step("evaluate") as progress:
            found = evaluate(Pipeline(result.bundle), read_dataset(data), progress).images
        report = json.loads(result.report_file.read_text())
        return {
            "build_s": round(build_s),
            "twins": round(_found(result.bundle), 3),
            **{name: found[name] for name in ("false_rejects", "good", "escapes", "ng")},
            "auroc": round(found["auroc"], 3),
            "frame_ms": round(report["speed"]["median_ms"], 1),
            "machine": machine(),
        }


def _found(bundle: Bundle) -> float:
    """The share of drawn defects above the threshold."""
    threshold = bundle.manifest.threshold.ok
    scores = [score for twin in bundle.manifest.twin_scores for score in twin.scores]
    return sum(score > threshold for score in scores) / len(scores)


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["| " + " | ".join(COLUMNS) + " |", "| " + " | ".join("---" for _ in COLUMNS) + " |"]
    body = [
        "| " + " | ".join("" if row[c] is None else str(row[c]) for c in COLUMNS) + " |"
        for row in rows
    ]
    return "\n".join([*head, *body])


if __name__ == "__main__":
    sys.exit(main())
