"""Every command with its arguments as a page of the documentation, from the parsers themselves.

python -m kenpin.command_page > docs/reference/commands.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from kenpin.commands import HOMES
from kenpin.config.exits import EPILOG

__all__ = ["UnsaidArgumentError", "as_page", "parsers"]

_HEAD = """# Every command and option

`--help` shows the same on the box. Numbers that cannot be are refused before anything begins.
Printed by `python -m kenpin.command_page`.
"""
# Beside the commands that are installed.
_MODULES = ("kenpin.runtime.wire.subscriber", "kenpin.camera.simulator.__main__")


class UnsaidArgumentError(Exception):
    """A command or an argument has no help text."""


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands."""
    for home in (*HOMES.values(), *_MODULES):
        module = import_module(home)
        yield from module.parsers() if hasattr(module, "parsers") else [module.make_parser()]


def as_page() -> str:
    """The page.

    Raises
    ------
    UnsaidArgumentError
        If a command or an argument has no help text.
    """
    lines = [_HEAD]
    for parser in parsers():
        lines += _command(parser, parser.description or "", 2)
    return "\n".join([*lines, *_exit_codes()]) + "\n"


def _command(parser: argparse.ArgumentParser, about: str, depth: int) -> Iterator[str]:
    if not about:
        raise UnsaidArgumentError(f"{parser.prog}: no description; give one")
    yield f"{'#' * depth} `{parser.prog}`\n"
    first = about.strip().splitlines()[0].removeprefix(f"{parser.prog}: ").rstrip(".")
    yield f"{first[0].upper()}{first[1:]}.\n"
    shown = [action for action in parser._actions if _is_shown(action)]
    # What must stand there first, then options.
    shown.sort(key=lambda action: bool(action.option_strings))
    rows = [_row(parser, action) for action in shown]
    if rows:
        yield "| argument | meaning |\n| --- | --- |"
        yield from rows
        yield ""
    examples = (parser.epilog or "").replace(EPILOG, "").strip()
    if examples:
        yield f"```text\n{examples}\n```\n"
    for name, inner, text in _inner(parser):
        # Its own `prog` would name what stands before it, too.
        inner.prog = f"{parser.prog} {name}"
        yield from _command(inner, inner.description or text, depth + 1)


def _inner(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """The commands within one: name, parser, help text."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                yield name, inner, texts.get(name, "")


def _is_shown(action: argparse.Action) -> bool:
    kinds = (argparse._SubParsersAction, argparse._HelpAction, argparse._VersionAction)
    return action.help != argparse.SUPPRESS and not isinstance(action, kinds)


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    if not action.help:
        raise UnsaidArgumentError(f"{parser.prog} {_written(action)}: no help text; give one")
    text = action.help.replace("%%", "%").replace("<", "&lt;")
    if action.choices is not None and not isinstance(action.metavar, str):
        text += f"; one of {', '.join(f'`{one}`' for one in action.choices)}"
    if action.option_strings and action.required:
        text += "; must be given"
    for group in parser._mutually_exclusive_groups:
        if group.required and action in group._group_actions:
            others = (_name(one) for one in group._group_actions if one is not action)
            text += f"; this or {', '.join(others)} must be given"
    if isinstance(action, argparse._AppendAction) and "repeatable" not in text:
        text += "; repeatable"
    return f"| {_written(action)} | {text}{_default(action, text)} |"


def _default(action: argparse.Action, text: str) -> str:
    """The default, where the help text does not say it itself."""
    found: Any = action.default
    if found is None or found == "" or action.nargs == 0:
        return ""
    values = found if isinstance(found, tuple | list) else [found]
    shown = " ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values)
    said = "default" in text or f"({shown})" in text
    return "" if said or not shown else f"; default: {shown}"


def _name(action: argparse.Action) -> str:
    shown = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
    return f"`{shown}`"


def _written(action: argparse.Action) -> str:
    """As it is typed, with what follows it."""
    shown = action.metavar or action.dest.upper()
    value = shown if isinstance(shown, str) else " ".join(shown)
    if action.nargs == "+":
        value += " …"
    if not action.option_strings:
        return f"`[{value}]`" if action.nargs == "?" else f"`{value}`"
    names = ", ".join(action.option_strings)
    return f"`{names}`" if action.nargs == 0 else f"`{names} {value}`"


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "Of all of them; [troubleshooting](../troubleshooting.md) says what to do.\n"
    yield f"```text\n{EPILOG.partition(chr(10))[2].rstrip()}\n```"


if __name__ == "__main__":
    sys.stdout.write(as_page())
