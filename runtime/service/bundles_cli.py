"""edge-run bundles: what is in a line's store, and another bundle into it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.runtime.bundles.staging import expect_store
from kenpin.runtime.bundles.store import Store, StoreError
from kenpin.runtime.service.audit import AuditLog, audit_of, log_in_force, store_audit, who_runs
from kenpin.runtime.service.audit_entry import AuditError

__all__ = ["main", "make_parser"]

EXAMPLES = """examples:
  edge-run bundles install /etc/kenpin/web-1.toml web-0123456789ab/
  edge-run bundles list /etc/kenpin/web-1.toml
  edge-run bundles rollback /etc/kenpin/web-1.toml
  edge-run bundles prove /etc/kenpin/web-1.toml
  edge-run bundles pull /etc/kenpin/web-1.toml s3://plant-bundles
  edge-run bundles update /etc/kenpin/web-1.toml --why "a new loom"

STORE is a line's settings, or the folder that holds its bundles. A running line
takes another bundle by PREPARE and ACTIVATE, or when it is restarted: nothing
here changes what it judges with. A power cut leaves the old bundle or the new.

"""


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code."""
    from kenpin.runtime.bundles.depot import DepotError
    from kenpin.runtime.bundles.manifest import BundleError

    options = make_parser().parse_args(argv)
    expected: dict[type[Exception], Exit] = {
        ConfigError: Exit.CONFIG,
        StoreError: Exit.BUNDLE,
        BundleError: Exit.BUNDLE,
        DepotError: Exit.BUNDLE,
        AuditError: Exit.AUDIT,
    }
    return run(lambda: int(options.action(options)), expected, debug=options.debug)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="edge-run bundles",
        description="Look at a line's bundles, and change which one is in force.",
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("store", type=Path, metavar="STORE", help="a line's settings, or a folder")
        sub.add_argument(
            "--trust", type=Path, metavar="DIR", help="keys that may sign; default: the line's"
        )
        sub.set_defaults(action=action)
        return sub

    sub = command("install", _install, "Verify a bundle, copy it into the store, make it current.")
    sub.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder edge-compile wrote")
    sub.add_argument("--files-only", action="store_true", help="do not run the golden frames")
    sub.add_argument("--no-switch", action="store_true", help="leave `current` as it is")
    _add_why(sub)
    sub = command(
        "pull",
        _pull,
        "Fetch the bundle that a depot orders for a line; keep that and the last one.",
    )
    sub.add_argument("depot", metavar="DEPOT", help="a folder, or a URL such as s3://bucket/depot")
    sub.add_argument("--line", metavar="NAME", help="whose order; default: the settings' line")
    sub.add_argument("--files-only", action="store_true", help="do not run the golden frames")
    sub.add_argument("--no-switch", action="store_true", help="leave `current` as it is")
    _add_why(sub)
    sub = command("use", _use, "Make a bundle of the store the current one.")
    sub.add_argument("name", metavar="NAME", help="as `list` shows it")
    _add_why(sub)
    _add_why(command("rollback", _rollback, "Go back to the bundle that was current before."))
    sub = command("prove", _prove, "Judge the golden frames of the current bundle, here and now.")
    sub.add_argument("--if-any", action="store_true", help="no bundle, or no settings, is no error")
    sub = command(
        "update", _update, "Learn from frames that were reviewed as good; needs LINE.toml."
    )
    sub.add_argument("--no-switch", action="store_true", help="leave `current` as it is")
    _add_why(sub)
    sub = command("list", _list, "Show the bundles of a store.")
    sub.add_argument("--verify", action="store_true", help="check every byte of each")
    return parser


def _add_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", default="", metavar="TEXT", help="for the audit log")


def _store(options: argparse.Namespace) -> Store:
    return _opened(options)[0]


def _opened(options: argparse.Namespace) -> tuple[Store, AuditLog]:
    """The store, and the log of its changes."""
    if options.store.suffix != ".toml":
        expect_store(options.store)
        return Store(options.store, options.trust), store_audit(options.store)
    from kenpin.config.line import load_line

    line = load_line(options.store)
    expect_store(line.bundles)
    return Store(line.bundles, options.trust or line.trust), audit_of(line)


@contextmanager
def _logged(options: argparse.Namespace) -> Iterator[Store]:
    """The store; what became of `current` meanwhile is logged."""
    store, log = _opened(options)
    before = store.current
    yield store
    log_in_force(log, store, before, who_runs("edge-run bundles"), options.why)


def _install(options: argparse.Namespace) -> int:
    with _logged(options) as store:
        bundle = store.install(
            options.bundle,
            prove=None if options.files_only else _golden,
            switch=not options.no_switch,
        )
    sys.stdout.write(f"{bundle.folder.name}: installed, {len(bundle.manifest.files)} files\n")
    _tell(store)
    return Exit.DONE


def _pull(options: argparse.Namespace) -> int:
    from kenpin.runtime.bundles.depot import Depot, pull

    depot = Depot.at(options.depot)
    line = options.line or _line_name(options)
    with _logged(options) as store:
        prove = None if options.files_only else _golden
        found = pull(store, depot, line, prove, switch=not options.no_switch)
    sys.stdout.write(f"{found.bundle}: {'is here already' if found.was_here else 'fetched'}\n")
    for name in found.gone:
        sys.stdout.write(f"{name}: removed, for it is neither current nor previous\n")
    _tell(store)
    return Exit.DONE


def _line_name(options: argparse.Namespace) -> str:
    if options.store.suffix != ".toml":
        raise ConfigError("--line: a folder does not say whose order to fetch; name the line")
    from kenpin.config.line import load_line

    return load_line(options.store).name


def _golden(bundle: object) -> None:
    from kenpin.runtime.bundles.bundle import Bundle
    from kenpin.runtime.selftest import open_tested

    assert isinstance(bundle, Bundle)
    # A line may be running beside us.
    os.nice(10)
    open_tested(bundle)


def _prove(options: argparse.Namespace) -> int:
    from kenpin.runtime.bundles.bundle import read_bundle

    try:
        store = _store(options)
    except ConfigError as error:
        if not options.if_any:
            raise
        sys.stdout.write(f"nothing to prove: {error}\n")
        return Exit.DONE
    if store.current is None and options.if_any:
        sys.stdout.write(f"{store.folder}: nothing to prove\n")
        return Exit.DONE
    bundle = read_bundle(store.folder, store.trust)
    _golden(bundle)
    sys.stdout.write(f"{bundle.label}: {len(bundle.manifest.golden)} golden frames as they were\n")
    return Exit.DONE


def _use(options: argparse.Namespace) -> int:
    with _logged(options) as store:
        store.switch(options.name)
    _tell(store)
    return Exit.DONE


def _rollback(options: argparse.Namespace) -> int:
    with _logged(options) as store:
        store.rollback()
    _tell(store)
    return Exit.DONE


def _update(options: argparse.Namespace) -> int:
    from kenpin.config.line import load_line
    from kenpin.runtime.service.relearn import relearn, summary_of

    if options.store.suffix != ".toml":
        raise ConfigError(f"{options.store}: expected the line's settings, which name its archive")
    line = load_line(options.store)
    # A line may be running beside us.
    os.nice(19)
    if line.archive is None:
        raise ConfigError(f"{options.store}: has no table [archive], so nothing was reviewed")
    found = relearn(line.bundles, line.archive.folder, options.trust or line.trust, say=_step)
    summary = summary_of(found)
    sys.stdout.write(summary["text"] + "\n")
    entry = {"before": {"bundle": summary["base"]}, "after": summary["after"], "why": options.why}
    audit_of(line).write(who_runs("edge-run bundles"), "bundle", f"{line.name}: learnt", **entry)
    if found.bundle is None:
        return Exit.REFUSED
    if line.trust is None and not options.no_switch:
        with _logged(options) as store:
            store.switch(found.bundle.folder.name)
        _tell(store)
    return Exit.DONE


def _step(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _tell(store: Store) -> None:
    sys.stdout.write(f"current   {store.current or '-'}\nprevious  {store.previous or '-'}\n")
    sys.stdout.write("a running line takes it by PREPARE and ACTIVATE, or when restarted\n")


def _list(options: argparse.Namespace) -> int:
    from kenpin.runtime.bundles.bundle import read_bundle
    from kenpin.runtime.bundles.manifest import BundleError

    store = _store(options)
    code, entries = Exit.DONE, store.entries()
    if not entries:
        sys.stdout.write(f"{store.folder} holds no bundle; edge-run bundles install brings one\n")
    for entry in entries:
        marks = [name for name in ("current", "previous") if getattr(entry, name)]
        if options.verify:
            try:
                read_bundle(store.folder / entry.name, store.trust)
                marks.append("whole")
            except BundleError as error:
                marks.append(f"DAMAGED: {error}")
                code = Exit.BUNDLE
        sys.stdout.write(f"{entry.name}  {', '.join(marks)}".rstrip() + "\n")
    return code
