"""Work spread over the workers of a dask cluster, its results in the order of the work.

dask.distributed finds a free worker for a piece of work, hands it to another where a worker
dies, and lets workers join; this module alone knows it. What a piece of work is, its rooms know.

Images travel by path: workers read them from a folder that all see under one name. What must be
the same for all, a bundle for instance, travels as bytes, once to each worker.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kenpin.config.errors import ConfigError

if TYPE_CHECKING:  # an extra, and half a second to import
    from distributed import Client, Future

__all__ = [
    "ClusterError",
    "Sent",
    "Workers",
    "add_dask",
    "maybe_cluster",
    "open_cluster",
    "threads_here",
]

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

# For `--dask local`: a worker for each core, each of one thread.
LOCAL = "local"
# A scheduler that does not answer by then is not there.
CONNECT_S = 20
# Without a single worker for so long, none is waited for; looked at so often.
ALONE_S, LOOK_S = 60.0, 5.0
# For each thread of the workers so many pieces are under way: one at work, one waiting beside it.
AHEAD = 2
# What decides what comes out of the arithmetic.
PACKAGES = ("numpy", "opencv-python-headless", "openvino", "distributed", "msgpack")
# More than any bundle: dask warns of tasks that carry more than 10 MB, and ours do on purpose.
LARGEST = "1 GiB"
# One piece of work at a time in a worker, however many threads it was given: the network, the
# buffers it writes into and its threads belong to one.
_AT_WORK = threading.Lock()


class ClusterError(ConfigError):
    """The cluster cannot be used as it is: says what was found and what to do."""


class Sent(Generic[S]):
    """What every worker needs, on its way to them."""

    def __init__(self, future: Future) -> None:
        self.future = future


class Workers:
    """The workers of one scheduler."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def threads(self) -> int:
        """Of all workers that are there now."""
        return int(sum(self._client.nthreads().values()))

    def __str__(self) -> str:
        threads = self._client.nthreads()
        return f"{len(threads)} workers of {sum(threads.values())} threads at {self._where}"

    @property
    def _where(self) -> str:
        return str(self._client.scheduler.address)

    def send(self, what: S) -> Sent[S]:
        """Bring something to the scheduler, from where each worker fetches it once.

        It is kept as a piece of work that gives it: workers that die take nothing along.
        """
        return Sent(self._client.submit(_same, what, pure=False))

    def in_order(
        self,
        work: Callable[[S, T], R],
        sent: Sent[S],
        pieces: Iterable[T],
    ) -> Iterator[R]:
        """The result of each piece of work, in the order of the pieces.

        A piece whose worker died is done again by another, and counts once. A bounded number
        of pieces is under way, so that results of any number of them need no more memory.

        Parameters
        ----------
        work
            A function of a module: workers call it with what was sent, and a piece.

        Raises
        ------
        ClusterError
            If workers run another version, vanish for good, or die of one piece again and again.
        Exception
            Whatever `work` raised first, in the order of the pieces.
        """
        waiting: deque[Future] = deque()
        expected = versions()
        try:
            for piece in pieces:
                waiting.append(
                    self._client.submit(_done, work, sent.future, piece, expected, pure=False)
                )
                if len(waiting) >= AHEAD * max(1, self.threads):
                    yield self._result(waiting.popleft())
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            self._client.cancel(list(waiting))

    def _result(self, future: Future) -> Any:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            while True:
                self._wait_for(future)
                try:
                    # It may have died with its worker after it was done: it is done again then,
                    # by nobody where there are no workers.
                    return future.result(timeout=ALONE_S)
                except TimeoutError:
                    if future.status == "error":
                        raise
        except KilledWorker as error:
            raise ClusterError(
                f"a piece of work ended {error.allowed_failures + 1} workers, the last one "
                f"{error.last_worker.address}; look at its log: it may lack memory, or an image "
                "may crash a library"
            ) from error
        except FutureCancelledError as error:
            raise ClusterError(
                f"the scheduler {self._where} was lost; look at its log, "
                "start it and its workers again, and run the command again"
            ) from error
        finally:
            future.release()

    def _wait_for(self, future: Future) -> None:
        """Until it is done, well or not."""
        seen = time.monotonic()
        while True:
            try:
                # It asks its own client; distributed.wait asks the one that was opened last.
                future.exception(timeout=LOOK_S)
            except TimeoutError:
                now = time.monotonic()
                seen = now if self.threads else seen
                if now - seen > ALONE_S:
                    raise ClusterError(
                        f"{self._where}: its workers have gone, and for {ALONE_S:g} s none came; "
                        "look at their logs, start them, and run the command again"
                    ) from None
            else:
                return


@contextmanager
def open_cluster(where: str) -> Iterator[Workers]:
    """The cluster at a scheduler's address, or workers of this machine for `local`.

    Raises
    ------
    ClusterError
        If there is no scheduler, no worker, or one that runs other versions than this process.
    """
    if find_spec("distributed") is None:
        raise ClusterError(
            "--dask needs dask.distributed, which is not installed; pip install kenpin[cluster]"
        )
    import dask
    import distributed  # noqa: F401 its own settings must be there before one of them is changed

    with ExitStack() as stack:
        stack.enter_context(
            dask.config.set({"distributed.admin.large-graph-warning-threshold": LARGEST})
        )
        client = stack.enter_context(_client(where, stack))
        _agree(client)
        yield Workers(client)


@contextmanager
def maybe_cluster(where: str | None) -> Iterator[Workers | None]:
    """`open_cluster` where one was asked for; otherwise None."""
    if where is None:
        yield None
        return
    with open_cluster(where) as cluster:
        yield cluster


def _client(where: str, stack: ExitStack) -> Client:
    from distributed import Client, LocalCluster

    if where == LOCAL:
        local = LocalCluster(threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=True)
        return Client(stack.enter_context(local))
    try:
        return Client(where, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"--dask {where}: no scheduler answers ({error}); give tcp://HOST:PORT as "
            "`dask scheduler` prints it, or `local`"
        ) from error


def _agree(client: Client) -> None:
    """See that there are workers, and that they run what we run."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError:
        raise ClusterError(
            f"{client.scheduler.address}: has no workers; start some with `dask worker "
            f"{client.scheduler.address} --nthreads 1`"
        ) from None
    ours = versions()
    for address, theirs in client.run(versions, on_error="return").items():
        if isinstance(theirs, ModuleNotFoundError):
            raise ClusterError(
                f"worker {address}: has no {theirs.name}; install the same kenpin there"
            )
        if isinstance(theirs, BaseException):
            raise theirs
        _compare(ours, theirs, f"worker {address}")


def _compare(ours: dict[str, str], theirs: dict[str, str], who: str) -> None:
    differ = [
        f"{name} {theirs.get(name, 'missing')} instead of {mine}"
        for name, mine in ours.items()
        if theirs.get(name) != mine
    ]
    if differ:
        raise ClusterError(
            f"{who} runs {', '.join(differ)}; results would not be the same: install the same "
            "versions there"
        )


@cache
def versions() -> dict[str, str]:
    """Of all that decides what comes out: by name, and kenpin's code by its hash."""
    found = {"Python": platform.python_version(), "kenpin": version("kenpin")}
    found |= {name: version(name) for name in PACKAGES}
    return {**found, "kenpin's code": _code_hash()}


def _code_hash() -> str:
    """The start of a hash over the package: two checkouts may call themselves the same."""
    digest = hashlib.sha256()
    folder = Path(str(sys.modules["kenpin"].__file__)).parent
    for room in sorted(path for path in folder.iterdir() if path.is_dir()):
        for file in sorted(room.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def add_dask(parser: argparse.ArgumentParser) -> None:
    """Add `--dask` to a command."""
    parser.add_argument(
        "--dask",
        metavar="WHERE",
        help="spread the work: tcp://SCHEDULER:8786, or local for a process on each core here; "
        "images are read from the same paths there",
    )


# -- in the workers -----------------------------------------------------------------------


def _same(what: S) -> S:
    return what


def threads_here() -> int:
    """How many threads this worker was given."""
    from distributed import get_worker

    return int(get_worker().state.nthreads)


def _done(work: Callable[[S, T], R], sent: S, piece: T, expected: dict[str, str]) -> R:
    """One piece of work, in a worker; one that came later may run other versions."""
    _compare(expected, versions(), f"worker {platform.node()}")
    with _AT_WORK:
        return work(sent, piece)
