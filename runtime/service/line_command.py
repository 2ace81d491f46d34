"""What commands about one line's settings share: how they are called, and how they end."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, run

__all__ = ["line_parser", "run_line_command"]


def line_parser(prog: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose first word is a line's settings."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=examples + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("line", type=Path, metavar="LINE.toml", help="the line's settings")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def run_line_command(
    parser: argparse.ArgumentParser,
    argv: Sequence[str],
    obey: Callable[[argparse.Namespace], int],
) -> int:
    """The command's exit code; what is wrong with the settings is said in one line."""
    options = parser.parse_args(argv)
    expected: dict[type[Exception], Exit] = {ConfigError: Exit.CONFIG}
    return run(lambda: obey(options), expected, debug=options.debug)
