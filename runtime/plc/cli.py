"""edge-plc: a simulated PLC that checks every promise of a line from outside."""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kenpin.config.arguments import add_version, positive, share, whole
from kenpin.config.errors import ConfigError, OutputError
from kenpin.config.exits import EPILOG, Exit, asked_to_end, run
from kenpin.config.output import file_to_write
from kenpin.runtime.plc.drive import Drive, Plan
from kenpin.runtime.plc.faults import BETWEEN, Fault, Faults
from kenpin.runtime.plc.limits import PlcLimits
from kenpin.runtime.plc.published import WELL
from kenpin.runtime.plc.screen import Screen, lines, report
from kenpin.runtime.plc.via import Bridge, PlcClient, bridge_of
from kenpin.runtime.plc.watch import Watch
from kenpin.runtime.wire.client import LineClient, LineSilentError, WireOptions
from kenpin.runtime.wire.errors import WireError
from kenpin.runtime.wire.keys import ClientKeys, read_client
from kenpin.runtime.wire.map_encoding import Encoding
from kenpin.runtime.wire.verdict_messages import State

__all__ = ["main", "make_parser"]

EXAMPLES = """examples:
  edge-plc                                     trigger 10 parts a second until Ctrl-C
  edge-plc --rate-hz 25 --count 1000           1000 parts; exit code 0 if every promise was kept
  edge-plc --listen --seconds 60               only listen, to a line that runs freely
  edge-plc --fault all --seed 7 --count 500    do wrong on purpose: the line must not mind
  edge-plc --change web@0123456789ab           another bundle meanwhile: no part by the wrong one
  edge-plc --line-toml line.toml --json r.json addresses and encoding from the line's settings
  edge-plc --line-toml line.toml --via modbus  the same promises, through a bridge of the line

A promise is broken if `broken` is not 0 in the table; docs/edge-plc.md explains each.

"""

# Where a line speaks that says nothing else.
_CTL, _PUB = "tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556"


class ChangeError(RuntimeError):
    """The line did not take the bundle that it was asked to take."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = make_parser().parse_args(argv)
    expected = {
        ConfigError: Exit.CONFIG,
        LineSilentError: Exit.SILENT,
        ChangeError: Exit.BUNDLE,
    }
    return run(lambda: _plc(options), expected, debug=options.debug)


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="edge-plc",
        description=__doc__,
        epilog=EXAMPLES + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    _line_arguments(parser.add_argument_group("the line"))
    _task_arguments(parser.add_argument_group("what to do"))
    forgiven = parser.add_argument_group("what is forgiven, as this computer is no PLC")
    forgiven.add_argument(
        "--slack-ms", type=positive, default=10.0, help="on top of each deadline (10)"
    )
    forgiven.add_argument(
        "--stale-ms", type=positive, default=100.0, help="age of what is published (100)"
    )
    out = parser.add_argument_group("what comes out")
    out.add_argument("--json", type=Path, metavar="FILE", help="write everything for a script")
    out.add_argument("--fail-on-ng", action="store_true", help="exit code 10 if a verdict was NG")
    out.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _line_arguments(where: argparse._ArgumentGroup) -> None:
    where.add_argument(
        "--ctl",
        metavar="ENDPOINT",
        help=f"where it takes commands ({_CTL})",
    )
    where.add_argument(
        "--pub",
        metavar="ENDPOINT",
        help=f"where it publishes ({_PUB})",
    )
    where.add_argument("--encoding", choices=list(Encoding), help="of both (msgpack)")
    where.add_argument(
        "--line-toml",
        type=Path,
        metavar="LINE.toml",
        help="instead of these three: a line's settings",
    )
    where.add_argument(
        "--via", metavar="BRIDGE", help="talk through this bridge of --line-toml's [[bridges]]"
    )
    where.add_argument(
        "--poll-ms",
        type=positive,
        default=10.0,
        help="between two looks at a bridge's registers (10)",
    )
    where.add_argument(
        "--keys", type=Path, metavar="FILE", help="of this client: see edge-run keys client"
    )
    where.add_argument(
        "--wait-s", type=positive, default=30.0, metavar="S", help="until it is ready (30)"
    )


def _task_arguments(what: argparse._ArgumentGroup) -> None:
    what.add_argument("--listen", action="store_true", help="never trigger")
    what.add_argument("--rate-hz", type=positive, default=10.0, help="triggers a second (10)")
    what.add_argument("--count", type=whole, metavar="N", help="end after N triggers or verdicts")
    what.add_argument("--seconds", type=positive, metavar="S", help="end after S seconds")
    what.add_argument("--recipe", help="ask for it in every trigger")
    what.add_argument("--budget-ms", type=positive, help="ask for less than the line allows")
    what.add_argument(
        "--change", metavar="BUNDLE", help="PREPARE and ACTIVATE this bundle of the store meanwhile"
    )
    what.add_argument(
        "--fault",
        action="append",
        default=[],
        choices=[*Fault, "all"],
        help="do this wrong now and then; repeatable",
    )
    what.add_argument(
        "--fault-share", type=share, default=0.05, metavar="0..1", help="of the triggers (0.05)"
    )
    what.add_argument("--seed", type=int, default=0, help="of the faults (0)")


def _plc(options: argparse.Namespace) -> int:
    if options.json:
        file_to_write(options.json)
    where = _addresses(options)
    keys = read_client(options.keys) if options.keys else None
    bridge = _bridge(options, keys)
    faults = Faults(_faults(options.fault, bridge), options.fault_share, options.seed)
    # Digits, so that every encoding can carry the ids; by chance, so that no other PLC has them.
    # A bridge's ids have 32 bits.
    prefix = str(random.SystemRandom().randrange(*((100, 420) if bridge else (10**8, 10**9))))

    # Of this run, also over a connection that it cuts itself.
    session = str(random.SystemRandom().randrange(1, 32768))
    connect, stall = _connections(where, f"plc-{prefix}", session, keys, bridge)
    client = connect()
    numbered = getattr(client, "numbered", "seq")
    watch = Watch(
        _limits(options, bridge), prefix, time.monotonic_ns(), session=session, numbered=numbered
    )
    try:
        state = _ready(client, watch, where[0], options.wait_s)
    except BaseException:
        client.close()
        raise
    screen = Screen(sys.stdout)
    begun_ns = time.monotonic_ns()

    def show() -> None:
        screen.draw(lines(watch, report(watch, drive, begun_ns, time.monotonic_ns())))

    drive = Drive(
        connect,
        stall,
        watch,
        _plan(options, state, prefix),
        faults,
        bridge=bridge,
        show=show if screen.live else lambda: None,
        show_every_s=0.25 if screen.live else math.inf,
    )
    with asked_to_end() as ended:
        drive.run(client, ended)
    found = report(watch, drive, begun_ns, time.monotonic_ns())
    screen.draw(lines(watch, found), last=True)
    if options.json:
        _write(options.json, found)
    return _judged(options, watch, where[1])


def _connections(
    where: tuple[str, str, str, str],
    name: str,
    session: str,
    keys: ClientKeys | None,
    bridge: Bridge | None,
) -> tuple[Callable[[], PlcClient], Callable[[], Callable[[], None]]]:
    """What makes a client of the line, and what makes a subscriber that never reads."""
    ctl, pub, encoding, pub_encoding = where
    options = WireOptions(encoding, pub_encoding, keys)

    def connect() -> PlcClient:
        if bridge is not None:
            return bridge.connect(session)
        try:
            return LineClient(ctl, pub, name=name, session=session, options=options)
        except ValueError as error:
            raise ConfigError(f"{error}; expected tcp://ADDRESS:PORT or ipc:///PATH") from error

    def stall() -> Callable[[], None]:
        if bridge is not None:
            return bridge.stall()
        return LineClient(None, pub, options=WireOptions(pub_encoding, keys=keys, backlog=1)).close

    return connect, stall


def _plan(options: argparse.Namespace, state: str, prefix: str) -> Plan:
    listen = options.listen
    if state == State.CONTINUOUS and not listen:
        sys.stderr.write("the line judges every frame by itself: listening only\n")
        listen = True
    return Plan(
        rate_hz=None if listen else options.rate_hz,
        count=options.count,
        seconds=options.seconds,
        recipe=options.recipe,
        change=options.change,
        prefix=prefix,
        budget_us=None if options.budget_ms is None else round(options.budget_ms * 1000),
    )


def _judged(options: argparse.Namespace, watch: Watch, pub: str | None) -> int:
    """The exit code for what was heard."""
    if not watch.book.clean:
        sys.stdout.write("BROKEN: the line did not keep its promises\n")
        return Exit.PROMISE
    if not (watch.verdicts or watch.parts.sent or watch.pulse.beats):
        raise LineSilentError(f"nothing was heard of the line at {pub}")
    sys.stdout.write("every promise was kept\n")
    if options.change and watch.change[0] != "active":
        why = watch.change[1] or watch.error or "not finished in time"
        raise ChangeError(f"{options.change} is not in force: {why}")
    ng = sum(watch.reasons.values()) - watch.reasons["ok"]
    return Exit.NG if options.fail_on_ng and ng else Exit.DONE


def _ready(client: PlcClient, watch: Watch, ctl: str, wait_s: float) -> str:
    """The state, once triggers may come or frames come by themselves."""
    end = time.monotonic() + wait_s
    client.say("hello", within_s=wait_s)
    state, greeted = "silent", False
    while state not in WELL or not greeted:
        left_s = end - time.monotonic()
        if left_s <= 0:
            raise LineSilentError(f"the line at {ctl} is {state} after {wait_s:g} s")
        try:
            heard = client.receive(min(left_s, 0.1))
        except WireError as error:
            watch.unreadable(str(error), time.monotonic_ns())
            continue
        if heard is not None:
            watch.heard(heard)
            state = heard.fields["state"] if heard.kind == "state" else state
            greeted |= heard.kind == "state" and not heard.topic
    return state


def _addresses(options: argparse.Namespace) -> tuple[str, str, str, str]:
    given = {"--ctl": options.ctl, "--pub": options.pub, "--encoding": options.encoding}
    if options.line_toml is None:
        encoding = options.encoding or "msgpack"
        return options.ctl or _CTL, options.pub or _PUB, encoding, encoding
    if twice := [name for name, value in given.items() if value is not None]:
        raise ConfigError(
            f"{', '.join(twice)}: {options.line_toml} says it, too; leave out one or the other"
        )
    from kenpin.config.line import load_line

    wire = load_line(options.line_toml).wire
    if not wire.ctl:
        raise ConfigError(f"{options.line_toml}: wire.ctl is empty, so nobody can trigger")
    pub_encoding = wire.pub_encoding or wire.encoding
    if "struct" in (wire.encoding, pub_encoding):
        raise ConfigError(
            f"{options.line_toml}: wire.encoding struct says too little for every check; "
            "run the line with msgpack or json meanwhile"
        )
    return wire.ctl, wire.pub, wire.encoding, pub_encoding


def _limits(options: argparse.Namespace, bridge: Bridge | None) -> PlcLimits:
    plain = PlcLimits()
    budget_ms = options.budget_ms
    limits = PlcLimits(
        budget_ns=plain.budget_ns if budget_ms is None else round(budget_ms * 1e6),
        slack_ns=round(options.slack_ms * 1e6),
        stale_ns=round(options.stale_ms * 1e6),
        resend_slack_ns=plain.resend_slack_ns + round(options.slack_ms * 1e6),
    )
    return limits if bridge is None else bridge.limits(limits)


def _bridge(options: argparse.Namespace, keys: ClientKeys | None) -> Bridge | None:
    if options.via is None:
        return None
    if options.line_toml is None:
        raise ConfigError(
            "--via: name the line's settings too, which list its bridges: --line-toml"
        )
    from kenpin.config.line import load_line

    line = load_line(options.line_toml)
    return bridge_of(line, options.line_toml, options.via, options.poll_ms / 1000, keys)


def _faults(names: Sequence[str], bridge: Bridge | None) -> list[Fault]:
    between = frozenset[Fault]() if bridge is None else bridge.faults
    possible = [fault for fault in Fault if fault in between or fault not in BETWEEN]
    if "all" in names:
        return possible
    if impossible := sorted(set(names) - set(possible)):
        raise ConfigError(
            f"--fault {', '.join(impossible)}: nothing lies between that could fail so; name a "
            "bridge: --via"
        )
    return [Fault(name) for name in names]


def _write(path: Path, found: object) -> None:
    try:
        path.write_text(json.dumps(found, indent=1) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; what was found is lost") from error


if __name__ == "__main__":
    sys.exit(main())
