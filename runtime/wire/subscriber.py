"""Shows what is published about a line, and checks that no verdict is missing.

    python -m kenpin.runtime.wire.subscriber tcp://127.0.0.1:5556 --count 100 --timeout-s 60

Exit codes: 0 all came, in order; 1 some are missing, unreadable or late for
`--timeout-s`; 2 the command line is wrong. Without `--count` it watches until
`--timeout-s` or Ctrl-C, and 0 means that nothing was missing meanwhile.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

import zmq

from kenpin.config.arguments import positive, whole
from kenpin.runtime.judging.verdict import Outcome
from kenpin.runtime.wire.keys import ClientKeys, KeysError, read_client
from kenpin.runtime.wire.link import Link, published, subscribing
from kenpin.runtime.wire.map_encoding import (
    Encoding,
    Message,
    StateMessage,
    VerdictMessage,
    WireError,
    decode,
    topic,
)

__all__ = ["SequenceCheck", "VerdictSubscriber", "main", "make_parser"]

_ALL_CAME = 0
_SOME_MISSING = 1
_WRONG_USAGE = 2


class SequenceCheck:
    """Finds lost verdicts of one line by their numbers.

    A state counts too: its `last_seq` shows the loss of the newest verdicts,
    after which no later one may ever come.
    """

    def __init__(self) -> None:
        self._boot = ""
        self._next = 0

    def fault(self, message: Message) -> str | None:
        """What is wrong with the numbering at this message, None if nothing is.

        The first message of a boot only says where the numbering stands.
        """
        seq, expected = _newest(message), self._next
        if message.boot != self._boot:
            self._boot, self._next = message.boot, seq + 1
            return None
        self._next = max(expected, seq + 1)
        if isinstance(message, StateMessage):
            return _missing(expected, seq) if seq >= expected else None
        if seq < expected:
            return f"verdict {seq} came again, or too late: expected {expected}"
        return _missing(expected, seq - 1) if seq > expected else None


class VerdictSubscriber:
    """A SUB socket for the messages of one endpoint. Use it in a `with`.

    line  of this line only; None: of every line the endpoint speaks of
    keys  this client's own, where the endpoint asks for them
    """

    def __init__(
        self,
        endpoint: str,
        encoding: Encoding,
        line: str | None = None,
        keys: ClientKeys | None = None,
    ) -> None:
        self._encoding = encoding
        self._line = line
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._link = Link(endpoint, lambda: subscribing(self._context, keys))
        except (zmq.ZMQError, ValueError):
            self._context.destroy(linger=0)
            raise

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next verdict or state, or None if none came within `timeout_s` seconds.

        None waits for ever.

        Raises
        ------
        WireError
            If what came cannot be read. The next call goes on behind it.
        """
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline_s - time.monotonic())
            left_ms = None if timeout_s is None else math.ceil(left_s * 1000)
            ready = self._ready(left_ms)
            message = None
            # What came before a hang-up is read first.
            if self._link.socket in ready:
                message = self._read(self._link.socket.recv_multipart(zmq.NOBLOCK))
            elif ready and (refused := self._link.reopen()):
                raise WireError(f"{self._link.endpoint} turns this reader away: {refused}")
            # The clock is asked again: other lines' messages may never cease.
            if message is not None or time.monotonic() >= deadline_s:
                return message

    def _ready(self, timeout_ms: int | None) -> list[zmq.Socket[bytes]]:
        poller = zmq.Poller()
        for source in (self._link.socket, self._link.hangups):
            poller.register(source, zmq.POLLIN)
        return [source for source, _ in poller.poll(timeout_ms)]

    def _read(self, parts: list[bytes]) -> Message | None:
        came = published(parts)
        if came.kind not in ("verdict", "state"):
            return None
        if self._line is not None and came.line != self._line:
            return None
        message = decode(came.payload, self._encoding)
        if topic(message.type, message.line) != came.topic:
            raise WireError(f"topic {came.topic!r} does not fit a {message.type} of {message.line}")
        return message

    def close(self) -> None:
        """Let go. Closing twice is harmless."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the program; the exit code is explained at the top of this file."""
    options = make_parser().parse_args(arguments)
    with ExitStack() as stack:
        try:
            keys = read_client(options.keys) if options.keys else None
            subscriber = VerdictSubscriber(options.endpoint, options.encoding, options.line, keys)
            stack.enter_context(subscriber)
            lines = _open(stack, options.json_lines)
            ready = _open(stack, options.ready)
        except (zmq.ZMQError, ValueError, OSError, KeysError) as error:
            sys.stderr.write(f"{error}; correct the command line, see --help\n")
            return _WRONG_USAGE
        tally = _WatchTally(options.count)
        with suppress(KeyboardInterrupt):
            _watch(subscriber, tally, options.timeout_s, lines, ready)
        _say(sys.stdout, f"END {tally.verdicts} verdicts, {tally.faults} faults")
        return _SOME_MISSING if tally.faults or tally.wanting else _ALL_CAME


@dataclass
class _WatchTally:
    """What came so far, of `count` verdicts; None: of any number."""

    count: int | None
    verdicts: int = 0
    faults: int = 0

    @property
    def wanting(self) -> bool:
        return self.count is not None and self.verdicts < self.count


def _watch(
    subscriber: VerdictSubscriber,
    tally: _WatchTally,
    timeout_s: float | None,
    lines: TextIO | None,
    ready: TextIO | None,
) -> None:
    checks: dict[str, SequenceCheck] = {}
    end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while (tally.count is None or tally.wanting) and time.monotonic() < end_s:
        try:
            left_s = None if timeout_s is None else end_s - time.monotonic()
            message = subscriber.receive(left_s)
        except WireError as error:
            tally.faults += 1
            _say(sys.stdout, f"FAULT unreadable message: {error}")
            continue
        if message is None:
            continue
        fault = checks.setdefault(message.line, SequenceCheck()).fault(message)
        if fault is not None:
            tally.faults += 1
            _say(sys.stdout, f"FAULT {fault}")
        tally.verdicts += isinstance(message, VerdictMessage)
        if lines is not None:
            lines.write(message.model_dump_json() + "\n")
            lines.flush()
        _say(sys.stdout, _in_words(message))
        if ready is not None and isinstance(message, StateMessage):
            _say(ready, "ready")
            ready = None


def _in_words(message: Message) -> str:
    if isinstance(message, StateMessage):
        counts = message.counts
        return (
            f"{message.line}  {message.state}  {counts.frames} frames, {counts.ok} OK, "
            f"{counts.ng} NG  {_mark(message)}"
        )
    score = "no score" if message.score is None else f"score {message.score:.4g}"
    limit = "no threshold" if message.thr is None else f"OK to {message.thr:.4g}"
    outcome = "OK" if message.verdict is Outcome.OK else f"NG {message.reason}"
    spent_ms = message.lat_us.get("total", 0) / 1000
    place = "" if message.peak is None else f"  at x={message.peak[0]} y={message.peak[1]}"
    return (
        f"{message.line}  {message.seq:>6}  {outcome:<12}  {score}, {limit}  {spent_ms:.1f} ms  "
        f"frame {message.frame} {message.name}{place}  {message.detail}  {_mark(message)}"
    )


def _mark(message: Message) -> str:
    return "SIM" if message.sim else ""


def _say(stream: TextIO, line: str) -> None:
    # Names and details come from elsewhere: an escape sequence must not reach a terminal.
    stream.write("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line))
    # Whoever waits for this line at the other end of a pipe waits for the flush.
    stream.write("\n")
    stream.flush()


def _newest(message: Message) -> int:
    return message.last_seq if isinstance(message, StateMessage) else message.seq


def _missing(first: int, last: int) -> str:
    which = f"verdict {first} is" if first == last else f"verdicts {first} to {last} are"
    return f"{which} missing"


def _open(stack: ExitStack, path: str | None) -> TextIO | None:
    if path is None or path == "-":
        return None if path is None else sys.stdout
    return stack.enter_context(Path(path).open("w", encoding="utf-8"))


def make_parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="python -m kenpin.runtime.wire.subscriber",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("endpoint", help="where the verdicts are published")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="from edge-run keys client")
    parser.add_argument("--line", help="this line only")
    parser.add_argument("--count", type=whole, metavar="N", help="end after N verdicts")
    parser.add_argument(
        "--timeout-s", type=positive, metavar="S", help="end after S seconds in all"
    )
    parser.add_argument("--json-lines", metavar="FILE", help="write each message as a line of JSON")
    parser.add_argument(
        "--ready",
        metavar="FILE",
        help="write the line 'ready' (- for stdout) once the state is here: no later verdict "
        "can then be missed unseen",
    )
    parser.add_argument(
        "--encoding",
        type=Encoding,
        choices=list(Encoding),
        default=Encoding.MSGPACK,
        help="in which they are published; default: msgpack",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
