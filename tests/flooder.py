"""A client gone mad, in a process of its own: malformed commands at a steady pace.

    flooder.py ENDPOINT

Each line on stdin, RATE SECONDS, begins a flood; at its end the number of
messages sent is printed.
"""

from __future__ import annotations

import subprocess
import sys
import time

import zmq

NONSENSE = (
    b"\xc1",
    b"\x81\xa1v\x02",
    b"not even a map",
    b"\xdc\x0f\xff" + b"\x90" * 4095,
    b'{"v": 1, "type": "trigger", "trig": 7}',
)


class Flooder:
    """The process, seen from a test."""

    def __init__(self, endpoint: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.sent()  # it has started

    def flood(self, rate: int, seconds: float) -> None:
        """Begin; come back at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{rate} {seconds}\n")
        self._process.stdin.flush()

    def sent(self) -> int:
        """Wait for the end; how many messages were sent."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def main(endpoint: str) -> None:
    """Flood as told."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        sys.stdout.write("0\n")
        sys.stdout.flush()
        for line in sys.stdin:
            rate, seconds = line.split()
            sys.stdout.write(f"{_flood(socket, float(rate), float(seconds))}\n")
            sys.stdout.flush()


def _flood(socket: zmq.Socket[bytes], rate: float, seconds: float) -> int:
    started, sent = time.monotonic(), 0
    while (spent := time.monotonic() - started) < seconds:
        while sent < spent * rate:
            socket.send(NONSENSE[sent % len(NONSENSE)])
            sent += 1
        while socket.poll(1):
            socket.recv()
    return sent


if __name__ == "__main__":
    main(sys.argv[1])
