"""What a soak saw, as pictures and as the figures of its page.

    python benchmarks/soak_page.py soak.json

Draws docs/pictures/memory.svg (each process's own memory) and memory-gateways.svg (the two
gateways', near), and writes the figures between the marks of docs/soak.md. Exit code as the soak's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from curves import svg
from slopes import slope_of
from soak import good, one_process

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def main() -> int:
    """Draw, and write the page's figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seen", type=Path, help="what soak.py wrote")
    parser.add_argument("--docs", type=Path, default=DOCS)
    parser.add_argument("--limit-kib-min", type=float, default=50.0)
    options = parser.parse_args()
    seen = json.loads(options.seen.read_text())
    draw(seen, options.docs / "pictures")
    page = options.docs / "soak.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{page} has no place for figures between {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{figures(seen)}\n\n{END}{after}")
    return int(not good(seen, options.limit_kib_min))


def draw(seen: dict[str, Any], folder: Path) -> None:
    """Two pictures: all processes from zero upwards, and the gateways from their lowest."""
    own = {name: [(s / 60, kib / 1024) for s, kib, _ in all_] for name, all_ in seen["kib"].items()}
    (folder / "memory.svg").write_text(svg(own, "minutes", "MiB of its own, by process"))
    gateways = {
        name: [(s / 60, kib) for s, kib, _ in all_ if s >= seen["warm_up_s"]]
        for name, all_ in seen["kib"].items()
        if name.endswith("gateway")
    }
    lowest = min(kib for points in gateways.values() for _, kib in points)
    picture = svg(gateways, "minutes", "KiB of its own, after the warm-up", low=lowest - 512)
    (folder / "memory-gateways.svg").write_text(picture)


def figures(seen: dict[str, Any]) -> str:
    """What was run and answered, and a row for each process."""
    cores = sum(seen["cpu_s"].values()) / (60 * seen["minutes"])
    counts = sorted(seen["counts"].items(), key=lambda item: -item[1])
    said = [
        f"{seen['minutes']:.0f} minutes at {seen['rate_hz']:g} Hz a line, beside {seen['hogs']} "
        f"endless loops of niceness {seen['hogs_nice']} and whatever else the machine did (load "
        f"{seen['load'][2]:.1f} in the last 15 minutes), on {seen['machine']}. All of kenpin's "
        f"processes together had {cores:.0%} of a core.",
        "Counted: " + ", ".join(f"{name} {count:,}" for name, count in counts) + ".",
        "| process | minutes | KiB at first | KiB at last | highest | own memory, KiB/h (95 %) "
        "| share of all, KiB/h (95 %) |\n| --- | --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(_row(name, one_process(seen, name)) for name in seen["kib"]),
    ]
    if seen["unsteady"]:
        changed = Counter(name for _, name in seen["unsteady"])
        many = ", ".join(f"{name} ({count})" for name, count in sorted(changed.items()))
        said.append(
            f"Processes were not found where they had been, or were others: {many}. Of each the "
            "longest stretch of one process counts, without its first "
            f"{seen['warm_up_s'] / 60:.0f} minutes."
        )
    if seen["complaints"]:
        said.append(f"{len(seen['complaints'])} of the simulated PLCs found a promise broken.")
    return "\n\n".join(said)


def _row(name: str, samples: list[tuple[float, float, float]]) -> str:
    own = slope_of([(s, kib) for s, kib, _ in samples])
    share = slope_of([(s, kib) for s, _, kib in samples])
    if own is None or share is None:
        return f"| {name} | {len(samples)} samples of one process: too few | | | | | |"
    minutes = (samples[-1][0] - samples[0][0]) / 60
    return (
        f"| {name} | {minutes:.0f} | {own.first:,.0f} | {own.last:,.0f} | {own.highest:,.0f} "
        f"| {own.an_hour:.0f} ({own.low:.0f} to {own.high:.0f}) "
        f"| {share.an_hour:.0f} ({share.low:.0f} to {share.high:.0f}) |"
    )


if __name__ == "__main__":
    sys.exit(main())
