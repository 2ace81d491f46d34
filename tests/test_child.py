"""A child process as its parent sees it: started, heard, missed, buried, and never waited for."""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kenpin.processes.channel import Channel, Message, Stop
from kenpin.processes.child import BackOff, Body, Child
from kenpin.processes.progress import Progress
from kenpin.processes.side import SideProcess

pytestmark = pytest.mark.clock

PATIENCE_S = 30.0


class Said(Message, frozen=True):
    text: str


def tell_blas_and_leave(channel: Channel[Said, Stop]) -> None:
    channel.send(Said(os.environ.get("OPENBLAS_NUM_THREADS", "unset")))
    os._exit(7)  # at once: an interpreter that ends in order may take its time


def until_told(channel: Channel[Said, Stop]) -> None:
    channel.send(Said("here"))
    while not channel.receive() and not channel.ended:
        channel.wait(1.0)


def hang_up_and_stay(channel: Channel[Said, Stop]) -> None:
    channel.close()
    signal.pause()


def write_down(file: Path, channel: Channel[Stop, Said]) -> None:
    while not channel.ended:
        channel.wait(1.0)
        with file.open("a") as stream:
            stream.writelines(said.text for said in channel.receive())


Start = Callable[..., Child[Stop, Said]]


@pytest.fixture
def start() -> Iterator[Start]:
    started = []

    def make(
        work: Callable[[Channel[Said, Stop]], None], progress: Progress | None = None, **how: Any
    ) -> Child[Stop, Said]:
        child = Child(Body("kenpin-test", work, (), **how), Stop, Said, progress=progress)
        started.append(child)
        return child

    yield make
    for child in started:
        child.stop()


def until(wanted: Callable[[], object], child: Child[Stop, Said]) -> None:
    """Until something holds, polling as a gateway does."""
    end = time.monotonic() + PATIENCE_S
    while not wanted():
        left = end - time.monotonic()
        assert left > 0
        poller = select.poll()
        poller.register(child.fileno(), select.POLLIN)
        # A process that hangs after its channel has ended shows nothing.
        poller.poll(min(left, 0.025) * 1000)


def test_all_that_a_child_told_is_heard_before_it_is_gone_with_its_exit_code(start: Start) -> None:
    child = start(tell_blas_and_leave, environ={"OPENBLAS_NUM_THREADS": "3"})
    heard: list[Said] = []

    def gone() -> str:
        heard.extend(child.receive())
        return child.gone

    until(gone, child)
    assert heard == [Said(os.environ.get("OPENBLAS_NUM_THREADS", "3"))]
    assert child.gone == "kenpin-test ended (exit code 7)"


def test_whoever_looks_at_a_child_never_waits_for_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start(until_told)
    until(child.receive, child)
    monkeypatch.setattr("time.sleep", lambda _s: pytest.fail("slept"))
    monkeypatch.setattr(child._process, "join", lambda *_: pytest.fail("joined"))
    child.kill("on purpose")
    until(lambda: [child.receive(), child.gone][1], child)
    assert child.gone == "on purpose"
    assert not child.send(Stop())
    monkeypatch.undo()


def test_a_child_that_hangs_at_its_end_is_ended(start: Start) -> None:
    child = start(hang_up_and_stay, called="the test process")
    told: list[str] = []

    def gone() -> str:
        child.receive()
        told.append(child.gone)
        return told[-1]

    until(gone, child)
    # Asked again, it may have been killed already.
    assert told[-1] == "the test process ended (exit code not yet known)"
    child.stop()
    assert child._process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_its_parent_never_ends_a_child_not_even_one_that_has_just_begun(
    start: Start, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    child = start(until_told)
    os.kill(child.pid, number)
    heard: list[Said] = []

    def gone() -> str:
        heard.extend(child.receive())
        return child.gone

    until(lambda: gone() or heard, child)
    assert heard == [Said("here")]
    os.kill(child.pid, number)
    child.send(Stop())
    until(gone, child)
    assert child.gone == "kenpin-test ended (exit code 0)"
    assert capfd.readouterr().err == ""


def test_a_child_without_a_sign_of_life_is_silent_since_its_start(start: Start) -> None:
    child = start(until_told, progress=Progress())
    assert child.silent_ns(child.started_ns + 7) == 7
    assert child.progress is not None
    child.progress.tick(child.started_ns + 10)
    assert child.silent_ns(child.started_ns + 12) == 2


def test_pauses_grow_until_something_has_worked() -> None:
    back_off = BackOff((1, 5, 20), settled_ns=100)
    assert [back_off.failed() for _ in range(5)] == [1, 5, 20, 20, 20]
    assert back_off.failed(worked_ns=99) == 20
    assert back_off.failed(worked_ns=101) == 1
    back_off.worked()
    assert back_off.failures == 0
    assert BackOff((1, 2)).failed(worked_ns=10**18) == 1


def test_a_side_process_that_is_replaced_leaves_nothing_behind() -> None:
    """169 of them in a row: 52 KiB up to the 89th, 4 up to the 129th, and none after it."""

    def hurried() -> int:
        return time.monotonic_ns() * 1000  # pauses are not what is asked

    side: SideProcess[Stop, Said] = SideProcess(
        Body("kenpin-test", until_told, ()), Stop, Said, clock_ns=hurried
    )
    side.start()
    held, end = [], time.monotonic() + PATIENCE_S
    for replaced in range(4):
        while not side.poll():
            assert time.monotonic() < end
            time.sleep(0.001)
        side.kill()
        while side.restarts == replaced:
            assert time.monotonic() < end
            side.poll()
            time.sleep(0.001)
        gc.collect()
        names = [type(one).__name__ for one in gc.get_objects()]
        kinds = ("Child", "Channel", "SpawnProcess", "Popen", "Finalize", "socket")
        handles = sum(1 for _ in Path("/proc/self/fd").iterdir())
        held.append([handles, *map(names.count, kinds)])
    side.stop(PATIENCE_S)
    assert held[1] == held[-1]


def test_a_side_process_that_had_only_just_been_started_writes_what_it_was_told(
    tmp_path: Path,
) -> None:
    file = tmp_path / "told"
    side: SideProcess[Said, Stop] = SideProcess(
        Body("kenpin-test", write_down, (file,)), Said, Stop
    )
    side.start()
    assert all(side.send(Said(text)) for text in "abc")
    assert side.stop(PATIENCE_S), "it was cut short"
    assert file.read_text() == "abc"


def test_a_side_process_that_never_ends_is_ended_in_time() -> None:
    side: SideProcess[Stop, Said] = SideProcess(
        Body("kenpin-test", hang_up_and_stay, ()), Stop, Said
    )
    side.start()
    pid = side.pid
    assert pid is not None
    assert not side.stop(0.2)
    assert not Path(f"/proc/{pid}").exists()
