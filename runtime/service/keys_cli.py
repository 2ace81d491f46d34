"""edge-run keys: who may speak with a line, and read what it says."""

from __future__ import annotations

import argparse
import datetime
import getpass
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.runtime.bridges.opcua.access import make_certificate, set_user
from kenpin.runtime.service.audit import keys_audit, who_runs
from kenpin.runtime.service.audit_entry import AuditError
from kenpin.runtime.wire.keys import (
    KeysError,
    admit,
    new_client,
    new_line,
    parse_keys,
    read_admitted,
    read_line,
    revoke,
)

__all__ = ["main", "make_parser"]

_VIA = "edge-run keys"

EXAMPLES = """examples:
  edge-run keys new /var/lib/kenpin/web-1/keys     the line's keys, once
  edge-run keys client plc-1 /var/lib/kenpin/web-1/keys
                                                   keys for a client: plc-1.key_secret
  edge-run keys admit hmi /var/lib/kenpin/web-1/keys hmi.key
                                                   a client that made its keys itself
  edge-run keys list /var/lib/kenpin/web-1/keys    who is admitted
  edge-run keys revoke plc-1 /var/lib/kenpin/web-1/keys
                                                   who no longer is, from the next second on
  edge-run keys certificate box-7 /var/lib/kenpin/web-1/opcua --address 192.168.0.7
                                                   for an OPC UA server or client
  edge-run keys user plc-1 /var/lib/kenpin/web-1/opcua/users
                                                   who may use an OPC UA server

Then wire.keys = "/var/lib/kenpin/web-1/keys" in the line's settings. A running line reads
again by itself who is admitted. What root makes belongs to whoever owns the folder that it
lies in: below /var/lib/kenpin/LINE to the line, elsewhere the line may not be able to read it.

"""


def main(argv: Sequence[str]) -> int:
    """The command behind `edge-run keys`; returns its exit code."""
    options = make_parser().parse_args(argv)
    expected: dict[type[Exception], Exit] = {ConfigError: Exit.CONFIG, AuditError: Exit.AUDIT}
    return run(lambda: int(options.do(options)), expected, debug=False)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="edge-run keys",
        description=__doc__,
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, do: object, text: str, of: str = "of the line's keys"
    ) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text)
        found.set_defaults(do=do)
        if name not in ("new", "list"):
            found.add_argument("name", metavar="NAME", help="of the client")
        found.add_argument("folder", type=Path, metavar="FOLDER", help=of)
        return found

    command("new", _new, "make the line's own keys; never over old ones")
    client = command("client", _client, "make keys for a client, and admit it")
    client.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="for the client; default: NAME.key_secret"
    )
    admitted = command("admit", _admit, "admit a client that made its keys itself")
    admitted.add_argument("public", type=Path, metavar="FILE", help="with its public-key")
    command("list", _list, "who is admitted")
    command("revoke", _revoke, "admit a client no longer")
    made = command(
        "certificate",
        _certificate,
        "make an application's certificate, for OPC UA",
        "for both files: NAME.pem, and NAME.key, which is secret",
    )
    made.add_argument("--address", action="append", default=[], help="under which it is reached")
    command(
        "user",
        _user,
        "give a user of an OPC UA server a password; FOLDER is the users' file",
        "no folder here: the file of users",
    )
    return parser


def _new(options: argparse.Namespace) -> int:
    public = new_line(options.folder)
    _log(options, "line", None, read_line(options.folder, for_owner=True).public)
    _say(f"made {public} (for clients) and {public.name}_secret (for this line alone)")
    return Exit.DONE


def _client(options: argparse.Namespace) -> int:
    out = options.out or Path(f"{options.name}.key_secret")
    new_client(options.folder, options.name, out)
    _log(options, options.name, None, _admitted(options)[options.name])
    _say(f"{options.name} is admitted; move {out} to it over a way that nobody listens on")
    return Exit.DONE


def _admit(options: argparse.Namespace) -> int:
    try:
        public = parse_keys(options.public.read_bytes()).get("public-key")
    except (OSError, ValueError) as error:
        raise KeysError(f"{options.public}: {error}") from None
    if public is None:
        raise KeysError(f'{options.public}: expected a line public-key = "…"')
    admit(options.folder, options.name, public)
    _log(options, options.name, None, public)
    _say(f"{options.name} is admitted; it needs the public key in {options.folder / 'line.key'}")
    return Exit.DONE


def _list(options: argparse.Namespace) -> int:
    line = read_line(options.folder, for_owner=True)
    try:
        found = read_admitted(options.folder)
    except OSError as error:
        raise KeysError(f"{options.folder}: {error.strerror}") from None
    _say(f"line    {line.public.decode()}")
    for public, name in sorted(found.names.items(), key=lambda pair: pair[1]):
        _say(f"client  {public.decode()}  {name}")
    for problem in found.problems:
        _say(f"problem: {problem}")
    return Exit.CONFIG if found.problems else Exit.DONE


def _revoke(options: argparse.Namespace) -> int:
    before = _admitted(options).get(options.name)
    aside = revoke(options.folder, options.name)
    _log(options, options.name, before, None)
    _say(f"{options.name} is admitted no longer; its key lies in {aside}")
    return Exit.DONE


def _certificate(options: argparse.Namespace) -> int:
    today = datetime.datetime.now(datetime.UTC)
    made, secret = make_certificate(options.folder, options.name, options.address, today=today)
    keys_audit(options.folder).write(
        who_runs(_VIA), "key", made.name, after=hashlib.sha256(made.read_bytes()).hexdigest()
    )
    _say(f"made {made}, for whoever must trust it, and {secret}, for {options.name} alone")
    return Exit.DONE


def _user(options: argparse.Namespace) -> int:
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {options.name}: ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    another = set_user(options.folder, options.name, password)
    keys_audit(options.folder.parent).write(
        who_runs(_VIA),
        "account",
        options.name,
        before="a password" if another else None,
        after="another password" if another else "a password",
    )
    _say(f"{options.name} may use the OPC UA servers that name {options.folder}")
    return Exit.DONE


def _admitted(options: argparse.Namespace) -> dict[str, bytes]:
    return {name: public for public, name in read_admitted(options.folder).names.items()}


def _log(options: argparse.Namespace, name: str, before: bytes | None, after: bytes | None) -> None:
    keys_audit(options.folder).write(
        who_runs(_VIA),
        "key",
        name,
        before=None if before is None else before.decode(),
        after=None if after is None else after.decode(),
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
