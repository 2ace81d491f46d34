"""edge-run reviews: what people said of archived frames, as a dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.line import load_line
from kenpin.runtime.service.line_command import line_parser, run_line_command

__all__ = ["main", "make_parser"]

EXAMPLES = """examples:
  edge-run reviews /etc/kenpin/web-1.toml                 who said what of which frame
  edge-run reviews /etc/kenpin/web-1.toml export reviewed/
  edge-compile eval bundles/current reviewed/             how a bundle does on them

reviewed/test/good/ holds what is good, test/<word>/ real defects, and
ground_truth/<word>/ a mask where somebody drew a region. To learn from the former, copy
them to the good images.

"""


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code."""
    return run_line_command(make_parser(), argv, _obey)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = line_parser(
        "edge-run reviews",
        "List what people said of archived frames, or export the frames.",
        EXAMPLES,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    export = actions.add_parser("export", help="copy reviewed frames into an MVTec-like folder")
    export.add_argument("folder", type=Path, metavar="FOLDER", help="a new one")
    export.add_argument(
        "--recipe",
        metavar="NAME",
        help="frames that bundles of this recipe judged, where the line has several",
    )
    return parser


def _obey(options: argparse.Namespace) -> int:
    # Here: the command line of the service loads neither numpy nor SQLite.
    from kenpin.runtime.service.reviews import Reviews, export_reviews

    line = load_line(options.line)
    if line.archive is None:
        raise ConfigError(f"{options.line}: has no table [archive], so there is nothing to review")
    if options.action == "export":
        if not Reviews(line.archive.folder).newest():
            sys.stderr.write(f"{line.archive.folder}: nobody has reviewed anything yet\n")
            return Exit.DONE
        made = export_reviews(line.archive.folder, options.folder, options.recipe)
        for part, count in made.items():
            if part.startswith("test/"):
                sys.stdout.write(f"{options.folder / part}: {count}\n")
        if made["gone"]:
            sys.stdout.write(f"no longer in the archive: {made['gone']}\n")
        if made["regions"]:
            sys.stdout.write(
                f"regions left out: {made['regions']}; others of the same word have none, and "
                "pixels are compared where all have one\n"
            )
        return Exit.DONE
    for number, one in sorted(Reviews(line.archive.folder).newest().items()):
        sys.stdout.write(f"{number}\t{one.says}\t{one.word or '-'}\t{one.user}\n")
    return Exit.DONE
