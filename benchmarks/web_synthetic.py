"""The synthetic web under a bundle for webs: found by size, false regions a metre, ends.

    python benchmarks/web_synthetic.py OUT [--seed 5]

The settings are those of config/fabric03-web.toml, with 14 good recordings of 2,048 lines;
what is judged is further along the same web.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from web_figures import by_size, false_regions, flagged_ends

from kenpin.camera.files.images import write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.cli import main as edge_compile

REPOSITORY = Path(__file__).resolve().parent.parent
LINES, WIDTH, GOOD = 2048, 256, 14
# Frames of good web that are judged, and webs of their own whose ends are looked at.
FIRST, FRAMES, WEBS, WEB_LINES = 100, 24, 40, 900
MM_PER_LINE = 0.1


def main() -> int:
    """Compile, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    web = SyntheticWeb(LINES, WIDTH, options.seed)
    good, store = options.out / "good", options.out / "store"
    good.mkdir(parents=True, exist_ok=True)
    for number in range(GOOD):
        write_png(good / f"{number:02d}.png", web.frame(number).pixels)
    recipe = REPOSITORY / "config" / "fabric03-web.toml"
    settings = (f"images.good={good.resolve()}", "images.turn_deg=0", "name=synthetic-web")
    change = [word for setting in settings for word in ("--set", setting)]
    if code := edge_compile(["build", str(recipe), "-o", str(store), *change]):
        return code
    by_size(store)
    blocks = [web.frame(FIRST + k).pixels for k in range(FRAMES)]
    false_regions(store, blocks, MM_PER_LINE)
    short = SyntheticWeb(WEB_LINES, WIDTH, options.seed)
    flagged_ends(store, [short.frame(FIRST + 3 * k).pixels for k in range(WEBS)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
