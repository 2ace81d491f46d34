"""What can go wrong at a line, each a generator: it begins, yields how long it lasts, ends."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import zmq

__all__ = ["FAULTS", "Steps", "World", "spoil"]

Steps = Generator[float, None, None]


class World(Protocol):
    """What faults are done to."""

    folder: Path
    endpoint: str
    in_force: str
    labels: list[str]
    broken: list[str]
    doubled: int
    acknowledges: bool
    replies: list[dict[str, Any]]

    def pid(self, name: str) -> int | None:
        """A process of the line; "gateway" is the service itself."""
        ...

    def say(self, kind: str, **fields: Any) -> bool:
        """A command of the client that triggers."""
        ...

    def say_raw(self, payload: bytes) -> bool:
        """Any bytes of it."""
        ...

    def vanish(self, anew: bool) -> None:
        """It goes without a word, and comes back: in its session, or started anew."""
        ...


def _signalled(name: str, low_s: float, high_s: float) -> Callable[[World, random.Random], Steps]:
    def stopped(world: World, rng: random.Random) -> Steps:
        pid = world.pid(name)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                yield rng.uniform(low_s, high_s)
            finally:
                os.kill(pid, signal.SIGCONT)

    return stopped


def _killed(name: str) -> Callable[[World, random.Random], Steps]:
    def killed(world: World, rng: random.Random) -> Steps:
        pid = world.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        yield rng.uniform(0.2, 1.0)

    return killed


def _camera(fault: str) -> Callable[[World, random.Random], Steps]:
    def failing(world: World, rng: random.Random) -> Steps:
        file = world.folder / fault
        file.touch()
        try:
            yield rng.uniform(0.1, 1.5)
        finally:
            file.unlink()

    return failing


def _disk_full(world: World, rng: random.Random) -> Steps:
    balloon = world.folder / "disk" / "balloon"
    try:
        with contextlib.suppress(OSError), balloon.open("wb") as file:
            free = os.statvfs(world.folder / "disk")
            os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_bsize))
        yield rng.uniform(0.5, 3.0)
    finally:
        # It may be read-only just now.
        _until_it_works(lambda: balloon.unlink(missing_ok=True))


def _read_only(world: World, rng: random.Random) -> Steps:
    disk = str(world.folder / "disk")
    # Refused while somebody writes: then it is tried again.
    for _ in range(20):
        if not subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True).returncode:
            break
        yield 0.05
    try:
        yield rng.uniform(0.5, 3.0)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True, capture_output=True)


def _bundle_altered(world: World, rng: random.Random) -> Steps:
    folder = world.folder / "disk" / "bundles" / world.in_force.replace("@", "-")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.stat().st_size)
    file = rng.choice(files)
    place, mode = rng.randrange(file.stat().st_size), file.stat().st_mode
    try:
        file.chmod(0o600)
        kept = _byte(file, place, None)
        _byte(file, place, kept ^ (1 << rng.randrange(8)))
    except OSError:
        return  # the disk is read-only just now
    try:
        if rng.random() < 0.5:
            world.say("selftest")
        yield rng.uniform(0.2, 2.0)
    finally:
        _until_it_works(lambda: _byte(file, place, kept))
        _until_it_works(lambda: file.chmod(mode))
        world.say("reset")


def _until_it_works(act: Callable[[], object]) -> None:
    """Try again for five seconds: another fault may hold the disk."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            act()
            return
        time.sleep(0.05)
    act()


def _byte(file: Path, place: int, value: int | None) -> int:
    with file.open("r+b") as opened:
        opened.seek(place)
        found = opened.read(1)[0]
        if value is not None:
            opened.seek(place)
            opened.write(bytes([value]))
    return found


def _broken_bundle(world: World, rng: random.Random) -> Steps:
    label = rng.choice(world.broken)
    world.say("prepare", bundle=label)
    yield rng.uniform(0.1, 2.0)
    world.say("activate", bundle=label)
    yield 0.2


def _other_bundle(world: World, rng: random.Random) -> Steps:
    label = next(label for label in world.labels if label != world.in_force)
    world.replies.clear()
    world.say("prepare", bundle=label)
    for _ in range(100):
        if any(reply["type"] in ("prepared", "failed") for reply in world.replies):
            break
        yield 0.1
    world.say("activate", bundle=label)
    yield rng.uniform(0.0, 0.3)


def _clock_step(world: World, rng: random.Random) -> Steps:
    ns = round(rng.choice([-1, 1]) * 10 ** rng.uniform(9, 17.5))
    with (world.folder / "clock").open("r+b") as file:
        file.write(struct.pack("=q", ns))
    yield rng.uniform(0.0, 0.5)


def _vanishes(world: World, rng: random.Random) -> Steps:
    world.vanish(anew=False)
    yield rng.uniform(0.0, 0.3)


def _starts_anew(world: World, rng: random.Random) -> Steps:
    world.vanish(anew=True)
    yield rng.uniform(0.0, 0.3)


def _double(world: World, rng: random.Random) -> Steps:
    world.doubled += rng.randint(1, 3)
    yield 0.3


def _no_ack(world: World, rng: random.Random) -> Steps:
    world.acknowledges = False
    try:
        yield rng.uniform(0.3, 2.0)
    finally:
        world.acknowledges = True


def _some_rubbish(rng: random.Random) -> bytes:
    return rng.choice(
        [
            rng.randbytes(rng.randint(0, 300)),
            b"{" * rng.randint(1, 9000),
            b'{"v":1,"type":"trigger","trig":"x","recipie":"y"}',
            b'{"v":1,"type":"trigger","trig":7}',
            b'{"v":2,"type":"hello"}',
            b'{"v":1,"v":1,"type":"status"}',
            b'{"v":1,"type":"ack","seq":1e3}',
            b'{"v":true,"type":"reset"}',
        ]
    )


def _rubbish(world: World, rng: random.Random) -> Steps:
    # From the 20th in a second on the line would pause us.
    for _ in range(8):
        world.say_raw(_some_rubbish(rng))
    yield 0.5


def _stranger(world: World, rng: random.Random) -> Steps:
    with _somebody(world, f"stranger-{rng.randrange(10**6)}") as socket:
        for _ in range(rng.randint(1, 10)):
            for _ in range(100):
                with contextlib.suppress(zmq.Again):
                    socket.send(_some_rubbish(rng), zmq.NOBLOCK)
            yield 0.05


def _namesake(world: World, rng: random.Random) -> Steps:
    with _somebody(world, "chaos") as socket:
        for _ in range(rng.randint(1, 6)):
            with contextlib.suppress(zmq.Again):
                hello = b'{"v":1,"type":"hello","session":"namesake-%d"}' % rng.randrange(10**9)
                socket.send(hello, zmq.NOBLOCK)
            yield 0.1


@contextlib.contextmanager
def _somebody(world: World, name: str) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.ROUTING_ID, name.encode())
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(world.endpoint)
        yield socket


def spoil(good: Path, folder: Path, rng: random.Random) -> list[str]:
    """Copies of a bundle, each broken in its own way; their folders' names."""
    made = []
    for number, how in enumerate(("flipped", "cut", "missing", "manifest", "zip")):
        copy = folder / f"{good.name.rpartition('-')[0]}-{number:012x}"
        shutil.copytree(good, copy)
        arrays = sorted(copy.rglob("*.npy"))
        victim = copy / "manifest.json" if how == "manifest" else rng.choice(arrays)
        victim.chmod(0o600)
        data = bytearray(victim.read_bytes())
        if how == "flipped":
            data[rng.randrange(len(data))] ^= 1
        elif how == "cut":
            del data[len(data) // 2 :]
        elif how == "zip":
            data[:2] = b"PK"
        else:
            data[:1] = b"?"
        victim.write_bytes(data)
        if how == "missing":
            victim.unlink()
        made.append(copy.name)
    return made


# Each with how often it is drawn.
FAULTS: dict[str, tuple[int, Callable[[World, random.Random], Steps]]] = {
    "inspection stopped": (3, _signalled("kenpin-inspect", 0.02, 1.6)),
    "acquisition stopped": (3, _signalled("kenpin-acquire", 0.02, 2.5)),
    "gateway stopped": (3, _signalled("gateway", 0.02, 0.7)),
    "archive stopped": (2, _signalled("kenpin-archive", 0.1, 3.0)),
    "inspection killed": (2, _killed("kenpin-inspect")),
    "acquisition killed": (2, _killed("kenpin-acquire")),
    "service killed": (1, _killed("gateway")),
    "archive killed": (2, _killed("kenpin-archive")),
    "status page killed": (2, _killed("kenpin-status")),
    "pictures killed": (2, _killed("kenpin-preview")),
    "disk full": (2, _disk_full),
    "disk read-only": (2, _read_only),
    "camera away": (3, _camera("away")),
    "camera silent": (3, _camera("silent")),
    "camera breaks frames": (3, _camera("broken")),
    "bundle altered on disk": (3, _bundle_altered),
    "broken bundle prepared": (3, _broken_bundle),
    "other bundle put into force": (2, _other_bundle),
    "wall clock stepped": (3, _clock_step),
    "client vanishes": (3, _vanishes),
    "client starts anew": (3, _starts_anew),
    "trigger sent twice and more": (4, _double),
    "nothing acknowledged": (2, _no_ack),
    "rubbish": (3, _rubbish),
    "rubbish of a stranger": (3, _stranger),
    "second client of our name": (2, _namesake),
}
