"""In a network of its own: cut the only link between service and client, and time the silence.

Run by `test_promises.py` as `unshare --net python link_down.py LINE.toml`.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import time
from pathlib import Path

from running_line import RunningLine

SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def loopback(up: bool) -> None:
    """Raise or cut the link."""
    request = struct.pack("16sh14x", b"lo", IFF_UP if up else 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, SIOCSIFFLAGS, request)


if __name__ == "__main__":
    loopback(up=True)
    with RunningLine(Path(sys.argv[1]), pub="tcp://127.0.0.1:5556") as line:
        line.verdict(lambda m: m["verdict"] == 1)
        line.until(lambda m: m["type"] == "hb")
        cut = time.monotonic()
        loopback(up=False)
        last = cut
        while time.monotonic() - last < 0.3:
            last = max([last, *(when for when, _, m in line.listen(0.02) if m["type"] == "hb")])
        print(f"visible {last + 0.3 - cut:.3f}")
        loopback(up=True)
        print(f"back {line.until(lambda m: m['type'] == 'hb')['hb_seq']}")
