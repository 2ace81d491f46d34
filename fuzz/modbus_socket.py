"""Malformed frames on the Modbus bridge's socket, while a PLC goes on polling.

    python fuzz/modbus_socket.py --seconds 600 --seed 1

Whole and cut frames, absurd lengths, other protocols' identifiers, functions that there are not,
valid requests with a byte altered. Exit code 1 if the bridge's process ended, the PLC got no
answer, or the memory grew by more than `--limit-kib`.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bridge_process import BridgeProcess, free_port, lying_facts
from kenpin.config.bridges import ModbusSettings
from kenpin.runtime.bridges.modbus.requests import Requests
from lying_line import LyingLine

GOOD = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 100, 50)
WRITE = struct.pack(">HHHBBHHB", 1, 0, 39, 1, 16, 0, 16, 32) + bytes(32)


def main() -> int:
    """Print how many frames there were, and what became of the bridge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-kib", type=int, default=4096)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder, LyingLine(Path(folder)) as line:
        settings = ModbusSettings(kind="modbus", port=free_port(), max_connections=16)
        with BridgeProcess(settings, lying_facts(line)) as process:
            plc = reached(settings)
            pid, before = process.pid, resident_kib(process.pid)
            frames, slowest_s = 0, 0.0
            end_s = time.monotonic() + options.seconds
            while time.monotonic() < end_s:
                with contextlib.suppress(OSError):
                    frames += noise(settings, rng)
                asked_s = time.monotonic()
                plc.read(100, 100)
                slowest_s = max(slowest_s, time.monotonic() - asked_s)
            plc.close()
            grown = resident_kib(pid) - before
            ended = process.process.restarts
    print(
        f"{frames} frames in {options.seconds:g} s, seed {options.seed}: the bridge ended {ended} "
        f"times, grew by {grown} KiB; the PLC's slowest answer {slowest_s * 1e3:.0f} ms"
    )
    return int(bool(ended) or grown > options.limit_kib)


def noise(settings: ModbusSettings, rng: random.Random) -> int:
    """Say nonsense over one connection; how many frames."""
    count = rng.randrange(1, 20)
    with socket.create_connection((settings.address, settings.port), 2) as one:
        for _ in range(count):
            frame = bytearray(rng.choice([GOOD, WRITE]))
            match rng.randrange(5):
                case 0:
                    frame[rng.randrange(len(frame))] = rng.randrange(256)
                case 1:
                    del frame[rng.randrange(len(frame)) :]
                case 2:
                    frame[4:6] = rng.choice([b"\0\0", b"\xff\xff", b"\0\x02", b"\x01\x05"])
                case 3:
                    frame = bytearray(rng.randbytes(rng.randrange(600)))
                case _:
                    frame[7] = rng.randrange(256)
            one.sendall(frame)
    return count


def reached(settings: ModbusSettings) -> Requests:
    """A PLC, once it is let in."""
    end_s = time.monotonic() + 30
    while True:
        try:
            return Requests(settings.address, settings.port, 2)
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.05)


def resident_kib(pid: int) -> int:
    """Anonymous memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("RssAnon")).split()[1])


if __name__ == "__main__":
    sys.exit(main())
