"""edge-run page: where a line's page is, and who may use it."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence

from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.line import Line, load_line
from kenpin.config.page import ROLES, PageSpec
from kenpin.runtime.service.line_command import line_parser, run_line_command

__all__ = ["main", "make_parser"]

EXAMPLES = """examples:
  edge-run page /etc/kenpin/web-1.toml                   where the page is
  edge-run page /etc/kenpin/web-1.toml add jana --role set
  edge-run page /etc/kenpin/web-1.toml list
  edge-run page /etc/kenpin/web-1.toml remove jana

Roles: look; review may also say what was wrongly rejected; set may also move the
threshold; admin may do all. Each change is in the line's audit log. The password is
asked for, or read from standard input where that is no terminal.

"""


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code."""
    return run_line_command(make_parser(), argv, _obey)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = line_parser(
        "edge-run page", "Say where a line's page is, or change who may use it.", EXAMPLES
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    add = actions.add_parser("add", help="make or change a person")
    add.add_argument("name", metavar="NAME", help="to log in by")
    add.add_argument(
        "--role", choices=ROLES, default="look", help="what the person may do; default: look"
    )
    remove = actions.add_parser("remove", help="take a person off")
    remove.add_argument("name", metavar="NAME", help="as `list` shows it")
    actions.add_parser("list", help="who may do what")
    return parser


def _obey(options: argparse.Namespace) -> int:
    line = load_line(options.line)
    if line.page is None:
        raise ConfigError(f"{options.line}: has no table [page]; add one, and restart the line")
    if options.action is None:
        sys.stdout.write(f"{address_of(line.page)}\n")
        return Exit.DONE
    return _accounts(options, line, line.page)


def address_of(spec: PageSpec) -> str:
    """What to type into a browser.

    Raises
    ------
    ConfigError
        If the port is a free one, which only the log tells.
    """
    if not spec.port:
        raise ConfigError("page.port is 0: the line's log tells the port, event `page`")
    name = spec.hosts[0] if spec.hosts else spec.address
    host = f"[{name}]" if ":" in name else name
    return f"{'https' if spec.certificate else 'http'}://{host}:{spec.port}/"


def _accounts(options: argparse.Namespace, line: Line, spec: PageSpec) -> int:
    # Only here: whoever asks for the address needs no argon2.
    from kenpin.runtime.service.audit import audit_of, who_runs
    from kenpin.runtime.service.sides.page.accounts import Accounts

    if spec.accounts is None:
        raise ConfigError("page.accounts is missing: name the file that people are kept in")
    accounts = Accounts(spec.accounts)
    if options.action == "list":
        for name, one in sorted(accounts.read().items()):
            sys.stdout.write(f"{name}\t{one['role']}\n")
        return Exit.DONE
    log = audit_of(line)
    before = accounts.read().get(options.name) if spec.accounts.exists() else None
    role = None if before is None else before["role"]
    if options.action == "remove":
        accounts.remove(options.name)
        after = None
    else:
        accounts.set(options.name, _password(), options.role)
        after = options.role
    log.write(who_runs("edge-run page"), "account", options.name, before=role, after=after)
    sys.stdout.write(f"{options.name}: {after or 'removed'}\n")
    return Exit.DONE


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first, again = (getpass.getpass(text) for text in ("password: ", "again: "))
    if first != again:
        raise ConfigError("the two passwords differ; try again")
    return first
