"""edge-run: the service of a line, and what is wrong with its configuration."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kenpin.config.arguments import add_version
from kenpin.config.errors import ConfigError
from kenpin.config.exits import EPILOG, Exit, run

__all__ = ["main", "make_parser", "parsers"]

EXAMPLES = """examples:
  edge-run check /etc/kenpin/web-1.toml      what is configured, and what is wrong with it
  edge-run keys --help                       who may speak with the line, and read it
  edge-run /etc/kenpin/web-1.toml            run the line, as systemd does
  edge-run record --help                     keep what the camera shows, without inspecting it
  edge-run line.toml --set camera.rate_hz=20 --until-end
  edge-run bundles --help                    install a bundle, roll back, list
  edge-run audit --help                      who changed what, and whether the log is whole
  edge-run page /etc/kenpin/web-1.toml       where its page is; who may use it
  edge-run reviews --help                    what people said of archived frames, as a dataset
  edge-run install --help                    systemd units in place, and away again

SIGTERM ends the service: what is under way is answered NG shutdown.

"""


# Commands of their own: the modules that hold their `main`.
_OTHERS = {
    "record": "kenpin.camera.record_cli",
    "bundles": "kenpin.runtime.service.bundles_cli",
    "keys": "kenpin.runtime.service.keys_cli",
    "audit": "kenpin.runtime.service.audit_cli",
    "page": "kenpin.runtime.service.page_cli",
    "reviews": "kenpin.runtime.service.reviews_cli",
    "install": "kenpin.runtime.service.install",
    "uninstall": "kenpin.runtime.service.install",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in _OTHERS:
        return _other(*words)
    checking = words[:1] == ["check"]
    options = make_parser().parse_args(words[1:] if checking else words)
    expected: dict[type[Exception], Exit] = {ConfigError: Exit.CONFIG}

    def act() -> int:
        # Within `run`, because what it imports takes a second, in which Ctrl-C may come.
        from kenpin.runtime.service.geometry import NoBundleError

        expected[NoBundleError] = Exit.BUNDLE
        return (_check if checking else _serve)(options)

    return run(act, expected, debug=options.debug)


def _other(command: str, *words: str) -> int:
    module = importlib.import_module(_OTHERS[command])
    code: int
    if module.__name__.endswith(".install"):
        code = module.main(command, words)
    else:
        code = module.main(words)
    return code


def parsers() -> Iterator[argparse.ArgumentParser]:
    """What the command takes, and then each of those that its first word names."""
    yield make_parser()
    for command, home in _OTHERS.items():
        module = importlib.import_module(home)
        own = (command,) if home.endswith(".install") else ()
        yield module.make_parser(*own)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="edge-run",
        usage=f"edge-run [check] LINE.toml [options]\n       edge-run {'|'.join(_OTHERS)} --help",
        description="Run a line: every trigger, or every frame, gets exactly one verdict in time.",
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    parser.add_argument("line", type=Path, metavar="LINE.toml", help="the line's settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="instead of the file's"
    )
    parser.add_argument(
        "--until-end", action="store_true", help="stop when a recording has been played"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _check(options: argparse.Namespace) -> int:
    from kenpin.config.line import load_line
    from kenpin.runtime.service.check import as_toml, problems_of

    line = load_line(options.line, options.set)
    sys.stdout.write(as_toml(line) + "\n\n")
    problems = problems_of(line)
    for problem in problems:
        sys.stdout.write(f"problem: {problem}\n")
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    sys.stdout.write(f"{count}\n" if problems else "no problems found\n")
    return Exit.CONFIG if problems else Exit.DONE


def _serve(options: argparse.Namespace) -> int:
    from kenpin.config.line import load_line
    from kenpin.runtime.service.assembly import assemble
    from kenpin.runtime.service.gateway import Gateway
    from kenpin.runtime.service.logs import LogQueue, configure, hear_everything, to_stderr
    from kenpin.runtime.wire.sockets import EndpointError

    line = load_line(options.line, options.set)
    log = LogQueue(to_stderr, line.log.capacity)
    configure(log, level=line.log.level, burst=line.log.burst)
    hear_everything()
    # The thread that writes the audit log reads it in Python: the loop gets its turn sooner.
    sys.setswitchinterval(2e-4)
    try:
        return Gateway(assemble(line, log=log), until_end=options.until_end).run()
    except (EndpointError, OSError, ValueError) as error:
        raise ConfigError(f"{options.line}: {error}; edge-run check explains more") from error
    finally:
        log.close()


if __name__ == "__main__":
    sys.exit(main())
