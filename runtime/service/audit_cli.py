"""edge-run audit: whether the log of who changed what is whole, and what it says."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.config.line import load_line
from kenpin.runtime.service.audit import AuditLog, logs_of
from kenpin.runtime.service.audit_entry import AuditEntry, AuditError

__all__ = ["main", "make_parser"]

EXAMPLES = """examples:
  edge-run audit verify /etc/kenpin/web-1.toml            whole, or what was altered or cut
  edge-run audit verify /etc/kenpin/web-1.toml --head 4f…  it still goes on from this line
  edge-run audit export /etc/kenpin/web-1.toml --since 2026-11-01 > changes.csv
  edge-run audit export audit.jsonl --format json          of a copy

A line's log, and that of its folder of keys. Note the head that `verify` tells
somewhere else: whoever may write a log may also make it anew.

"""


def main(argv: Sequence[str]) -> int:
    """The command behind `edge-run audit`; returns its exit code."""
    options = make_parser().parse_args(argv)
    expected: dict[type[Exception], Exit] = {ConfigError: Exit.CONFIG, AuditError: Exit.AUDIT}
    return run(lambda: int(options.do(options)), expected, debug=options.debug)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="edge-run audit",
        description=__doc__,
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="check that nothing was altered or cut off")
    verify.add_argument("--head", metavar="HASH", help="of a line, noted earlier")
    verify.set_defaults(do=_verify)
    export = commands.add_parser("export", help="write all entries, after a check")
    export.add_argument(
        "--format", choices=("csv", "json"), default="csv", help="json: a line each; default: csv"
    )
    export.add_argument(
        "--since",
        type=_instant,
        metavar="DATE",
        help="such as 2026-11-01 or 2026-11-01T06:00+01:00; UTC unless it says otherwise",
    )
    export.set_defaults(do=_export)
    for command in (verify, export):
        command.add_argument(
            "log", type=Path, metavar="LINE.toml", help="a line's settings, or a log"
        )
    return parser


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no date; expected one such as 2026-11-01"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _logs(path: Path) -> list[AuditLog]:
    if path.suffix != ".toml":
        if not path.is_file():
            raise ConfigError(f"{path}: no such log; give a line's settings or its audit.jsonl")
        return [AuditLog(path)]
    line = load_line(path)
    return logs_of(line)


def _verify(options: argparse.Namespace) -> int:
    logs = _logs(options.log)
    for log in logs:
        # Only the line's own has a head that was noted.
        checked = log.verify(options.head if log is logs[0] else None)
        sys.stdout.write(f"{log.path}: whole, {checked.count} lines, head {checked.head}\n")
    return Exit.DONE


def _export(options: argparse.Namespace) -> int:
    found: list[AuditEntry] = []
    for log in _logs(options.log):
        log.verify()
        since = options.since
        found += [one for one in log.entries() if since is None or _instant(one.at) >= since]
    found.sort(key=lambda entry: entry.at)
    if options.format == "json":
        for entry in found:
            sys.stdout.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
        return Exit.DONE
    table = csv.writer(sys.stdout)
    table.writerow(["at", "via", "user", "key", "what", "item", "before", "after", "why", "hash"])
    for entry in found:
        who = [entry.who.via, entry.who.user, entry.who.key]
        values = [json.dumps(value, ensure_ascii=False) for value in (entry.before, entry.after)]
        thing = [entry.what, entry.item, *values, entry.why]
        table.writerow([entry.at, *who, *thing, entry.hash])
    return Exit.DONE
