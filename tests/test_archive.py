"""The gateway's handle on the archive, with a real process and a clock that is moved by hand."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kenpin.camera.acquisition.ring import FrameRing, Ticket
from kenpin.camera.acquisition.ring_frames import put_frame, put_map
from kenpin.camera.capture import Capture
from kenpin.camera.frame import Frame
from kenpin.config.camera import SyntheticSpec
from kenpin.config.line import ArchiveSpec, Line, LineTriggerSpec, RingSpec
from kenpin.runtime.judging.verdict import Outcome, Reason, Thresholds, Verdict, WebFindings
from kenpin.runtime.service.ledger import LedgerEntry
from kenpin.runtime.service.sides.archive import Archive, lendable
from kenpin.runtime.service.sides.loans import Loans
from kenpin.runtime.service.sides.messages import LineTotals
from kenpin.runtime.service.sides.side import Surroundings
from kenpin.runtime.wire.web_limits import fitted
from kenpin.runtime.wire.web_messages import web_part
from wire_samples import everything_found

pytestmark = pytest.mark.clock

PATIENCE_S = 30.0


def nobody_counts() -> LineTotals:
    raise AssertionError("an archive asks for no counts")


class Bench:
    """An archive, its ring, and whatever it gave back."""

    def __init__(self, folder: Path, ok_every: int = 1) -> None:
        self.moved_ns = 0
        self.ring = FrameRing(8, 64 * 64, 4 * 16)
        self.back: list[Ticket] = []
        spec = ArchiveSpec(folder=folder, ok_every=ok_every, min_free_bytes=0)
        line = Line(
            name="web-1",
            box="box-1",
            bundles=folder,
            trigger=LineTriggerSpec(budget_ms=50),
            camera=SyntheticSpec(kind="synthetic", height_px=64, width_px=64, seed=1),
            ring=RingSpec(slots=8),
            archive=spec,
        )
        around = Surroundings(
            line=line,
            boot="boot",
            ring=self.ring,
            give_back=self.back.append,
            counts=nobody_counts,
            announce_roll=print,
            clock_ns=self.now,
        )
        self.archive = Archive(spec, around)
        self.archive.process.start()

    def now(self) -> int:
        return time.monotonic_ns() + self.moved_ns

    def offer(
        self,
        index: int,
        outcome: Outcome = Outcome.NG,
        score: float = 3.0,
        web: WebFindings | None = None,
    ) -> bool:
        """A frame with its map, its verdict, and whether the archive took it."""
        pixels = np.full((64, 64), index, np.uint8)
        ticket = put_frame(self.ring, Frame(pixels, index, index, "", Capture()))
        assert ticket is not None
        put_map(self.ring, ticket, np.full((4, 4), score, np.float32), 16, (64, 64))
        reason = None if outcome is Outcome.OK else Reason.DEFECT
        verdict = Verdict(
            outcome,
            reason,
            "",
            score,
            Thresholds(1.0, 1.0),
            index,
            "",
            index,
            index,
            "b@1",
            web=web,
        )
        entry = LedgerEntry(index, None, None, None, 0, 50, "b@1", seq=index)
        taken = self.archive.offer(entry, verdict, ticket)
        if not taken:
            self.ring.release(ticket)
        return taken

    def until(self, wanted: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not wanted():
            assert time.monotonic() < end, self.archive.alarm
            self.archive.poll()
            time.sleep(0.005)

    def ready(self) -> None:
        """Wait until it takes frames."""
        process = self.archive.process
        # What was counted may be of the process before.
        self.until(lambda: self.archive.counts and process.heard and not process.ended)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.archive.process.stop(1.0)
    made.ring.close()


def test_so_many_slots_are_lent_and_no_more(bench: Bench) -> None:
    bench.ready()
    pid = bench.archive.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    taken = [bench.offer(index) for index in range(1, 9)]
    assert sum(taken) == lendable(8, 2) == 4
    assert bench.ring.free == 4
    assert bench.archive.dropped == {"behind": 4}
    assert "ok_every" in bench.archive.alarm
    os.kill(pid, signal.SIGCONT)
    bench.until(lambda: len(bench.back) == 4)
    assert bench.archive.kept == {"ng": 4}
    bench.moved_ns += 60_000_000_000
    assert bench.archive.alarm == ""


class Borrower:
    """A process that keeps what it is lent."""

    ended, heard, killed = "", False, False

    def kill(self) -> None:
        self.killed = True


@pytest.mark.parametrize(("heard", "spared_s", "killed_s"), [(False, 59, 61), (True, 2, 4)])
def test_a_process_that_has_not_said_a_word_is_not_taken_for_hung(
    heard: bool, spared_s: int, killed_s: int
) -> None:
    now, side = [0], Borrower()
    side.heard = heard
    lent: Any = side
    loans = Loans(lent, 1, 3_000_000_000, lambda ticket: None, lambda: now[0])
    loans.lend(lent)
    for second, killed in ((spared_s, False), (killed_s, True)):
        now[0] = second * 10**9
        loans.look()
        assert side.killed == killed


def test_a_start_that_was_cut_short_is_given_twice_as_long_until_one_gets_there() -> None:
    now, side = [0], Borrower()
    lent: Any = side
    loans = Loans(lent, 1, 3_000_000_000, lambda ticket: None, lambda: now[0])

    def lives_for_s() -> int:
        """How long the next start is watched before it is ended."""
        side.killed, side.ended, began = False, "", now[0]
        loans.lend(lent)
        while not side.killed:
            now[0] += 10**9
            loans.look()
        for _ in range(3):  # ended by a signal, it takes its time
            now[0] += 10**9
            loans.look()
        lived, side.ended = now[0] - began, "signal 9"
        assert loans.look() == 1
        return lived // 10**9 - 3

    assert [lives_for_s() for _ in range(6)] == [61, 121, 241, 481, 961, 961]
    side.heard, side.ended = True, ""
    loans.look()
    side.heard = False
    assert lives_for_s() == 61


def test_a_process_that_hangs_is_replaced_and_its_slots_come_back(bench: Bench) -> None:
    bench.ready()
    first = bench.archive.process.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    assert bench.offer(1)
    assert bench.offer(2)
    bench.moved_ns += 9_000_000_000
    bench.archive.poll()
    assert not bench.back
    bench.moved_ns += 2_000_000_000
    bench.until(lambda: len(bench.back) == 2)
    # Nobody can read the slots any more.
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert bench.archive.dropped["died"] == 2
    assert not bench.offer(3)
    bench.ready()
    assert bench.offer(4)
    bench.until(lambda: len(bench.back) == 3)
    assert bench.archive.kept["ng"] == 1


def test_the_sample_is_every_nth_ok_and_never_a_choice_among_ng(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ok_every=3)
    try:
        bench.ready()
        for index in range(1, 11):
            count = len(bench.back)
            taken = bench.offer(index, Outcome.OK, 0.5)
            assert taken == (index % 3 == 1)
            bench.until(lambda count=count, taken=taken: len(bench.back) == count + taken)
        assert bench.offer(11)
    finally:
        bench.archive.process.stop(1.0)
        bench.ring.close()


def test_without_a_sample_no_ok_frame_is_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ok_every=0)
    try:
        bench.ready()
        assert not any(bench.offer(index, Outcome.OK, 0.5) for index in range(1, 5))
        assert not bench.archive.dropped
    finally:
        bench.archive.process.stop(1.0)
        bench.ring.close()


def test_what_was_lent_is_written_before_the_service_ends(bench: Bench, tmp_path: Path) -> None:
    bench.ready()
    assert all(bench.offer(index) for index in (1, 2, 3))
    bench.archive.process.stop(PATIENCE_S)
    assert len(list(tmp_path.glob("ng/*/*.json"))) == 3


def test_the_most_that_a_verdict_tells_of_a_web_is_kept_whole(bench: Bench, tmp_path: Path) -> None:
    bench.ready()
    most = fitted(everything_found())
    assert bench.offer(1, web=most)
    bench.until(lambda: len(bench.back) == 1)
    (file,) = tmp_path.glob("ng/*/*.json")
    kept = json.loads(file.read_text())["verdict"]["web"]
    assert kept == web_part(most).model_dump(mode="json")
    assert len(kept["defects"]) > 10
    assert bench.archive.kept == {"ng": 1}


@pytest.mark.parametrize(("slots", "in_flight", "lent"), [(3, 2, 0), (5, 2, 1), (64, 2, 4)])
def test_the_camera_keeps_its_slots(slots: int, in_flight: int, lent: int) -> None:
    assert lendable(slots, in_flight) == lent
