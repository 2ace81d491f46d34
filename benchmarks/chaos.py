"""Thousands of triggers, hundreds of faults: exactly one verdict each, none OK unless it is true.

    python benchmarks/chaos.py /tmp/chaos --triggers 10000

The real edge-run, a client written from docs/protocol.md alone (`page_client.py`), and faults
drawn by a seed (`chaos_faults.py`). The camera records each frame before it shows it; afterwards
`edge-replay` judges those again, and each score must be the same to the last bit. The folder keeps
everything: called again, it goes on where it was. As root on Linux (a file system of its own is
filled and made read-only), with gcc (the wall clock is stepped by a shim). Exit code 1 if a rule
was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos_box import BUDGET_MS, IN_FLIGHT, Service, prepared
from chaos_check import check, table
from chaos_faults import FAULTS, Steps
from edge_run import machine
from page_client import Heard, PageClient, opens_gate

HERE = Path(__file__).resolve().parent
PACE_S = 0.03
# One of so many triggers begins a fault, at most so many at once.
FAULT_EVERY, AT_ONCE = 14, 3
# These want the disk for themselves: one could not be ended during the other.
DISK = {"disk full", "disk read-only", "bundle altered on disk"}
# Doubt: the same trigger is sent again. Silence for so long, while the line lives, is a breach.
DOUBT_S, SILENCE_S = 2.0, 20.0


@dataclass
class Part:
    """A trigger and what became of it.

    end  "verdict", "error", "boot ended" or "session ended"; empty while it is open
    """

    trig: str
    session: str
    boot: str
    sent_ns: int
    during: tuple[str, ...]
    end: str = ""
    heard_ns: int = 0
    opened: bool = False
    answer: dict[str, Any] = field(default_factory=dict)
    deadline_ns: int = 0
    copies: int = 0
    raw: bytes = field(default=b"", repr=False)
    doubted_ns: int = 0
    published: int = 0


class Chaos:
    """One run: the client, its parts, the faults that are on, and the rules that were broken."""

    def __init__(self, folder: Path, labels: list[str], broken: list[str], seed: int) -> None:
        self.folder, self.labels, self.broken = folder, labels, broken
        self.endpoint = f"ipc://{folder}/ctl"
        self.in_force = labels[0]
        self.doubled, self.acknowledges = 0, True
        self.replies: list[dict[str, Any]] = []
        self._results = folder / "results.jsonl"
        self.done = len(self._results.read_text().splitlines()) if self._results.exists() else 0
        self._rng = random.Random(f"{seed}-{self.done}")
        self._run = f"{time.time_ns():x}"
        self._sessions = self._number = 0
        self.session = ""
        self.parts: dict[tuple[str, str], Part] = {}
        self._open: list[Part] = []
        self._on: dict[str, tuple[float, Steps]] = {}
        self._seqs: dict[str, int] = {}
        self._reset_s = 0.0
        self.breaches: list[str] = []
        self.seen: Counter[str] = Counter()
        self._client = PageClient(self.endpoint, f"ipc://{folder}/pub", "chaos", "chaos")
        self._service = Service(folder)

    # -- for the faults --------------------------------------------------------------------

    def pid(self, name: str) -> int | None:
        """See `World`."""
        return self._service.pid(name)

    def say(self, kind: str, **fields: Any) -> bool:
        """See `World`."""
        return self._client.say(kind, **fields)

    def say_raw(self, payload: bytes) -> bool:
        """See `World`."""
        return self._client.say_raw(payload)

    def vanish(self, anew: bool) -> None:
        """See `World`."""
        self._client.vanish()
        if anew:
            for part in self._open:
                part.end = part.end or "session ended"
            self._begin_session()
        else:
            self._hello()

    # -- the run ---------------------------------------------------------------------------

    def run(self, triggers: int, seconds: float) -> None:
        """Until so many triggers have been sent and answered, or the time is over."""
        self._begin_session()
        end_s, next_s, goal = time.monotonic() + seconds, 0.0, triggers - self.done
        try:
            while time.monotonic() < end_s and (self._number < goal or self._open):
                self._tend()
                now_s = time.monotonic()
                ready = len(self._open) < IN_FLIGHT + (self._rng.random() < 0.02)
                if now_s >= next_s and ready and self._number < goal and self._client.boot:
                    next_s = now_s + PACE_S * self._rng.uniform(0.5, 1.5)
                    self._trigger()
                for heard in self._client.hear(5):
                    self._hear(heard)
                self._settle()
        finally:
            for _, steps in self._on.values():
                steps.close()
            self._listen_on(3.0)
            self._service.process.send_signal(signal.SIGCONT)
            self._service.process.terminate()
            self._listen_on(1.0)
            self._service.process.wait(20)
            self._client.close()
            self._write()

    def _listen_on(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            for heard in self._client.hear(20):
                self._hear(heard)

    def _tend(self) -> None:
        if self._service.tend():
            for part in self._open:
                part.end = part.end or "boot ended"
            self._client.boot = ""
        now_s = time.monotonic()
        if self._client.state == "error" and now_s > self._reset_s:
            # As a person would, when the cause has gone.
            self._reset_s = now_s + 3.0
            self.say("reset")
        for name, (due_s, steps) in list(self._on.items()):
            if now_s >= due_s:
                self._step(name, steps)

    def _step(self, name: str, steps: Steps) -> None:
        try:
            self._on[name] = time.monotonic() + next(steps), steps
        except StopIteration:
            self._on.pop(name, None)

    def _trigger(self) -> None:
        if self._rng.random() * FAULT_EVERY < 1 and len(self._on) < AT_ONCE:
            barred = DISK if DISK & self._on.keys() else set(self._on)
            free = [name for name in FAULTS if name not in self._on and name not in barred]
            name = self._rng.choices(free, [FAULTS[each][0] for each in free])[0]
            self.seen[f"fault {name}"] += 1
            with (self.folder / "faults.jsonl").open("a") as log:
                log.write(json.dumps({"fault": name, "at_ns": time.monotonic_ns()}) + "\n")
            self._step(name, FAULTS[name][1](self, self._rng))
        trig = str(self._number + 1)
        sent_ns = time.monotonic_ns()
        if not self.say("trigger", trig=trig, session=self.session):
            self._hello()
            return
        self._number += 1
        during = tuple(sorted(self._on)) or ("none",)
        part = Part(trig, self.session, self._client.boot, sent_ns, during)
        self.parts[self.session, trig] = part
        self._open.append(part)
        for _ in range(self.doubled):
            self.say("trigger", trig=trig, session=self.session)
        self.doubled = 0

    def _begin_session(self) -> None:
        self._sessions += 1
        self.session = f"{self._run}-{self._sessions}"
        self._hello()

    def _hello(self) -> None:
        self.say("hello", session=self.session)

    # -- what is heard ---------------------------------------------------------------------

    def _hear(self, heard: Heard) -> None:
        fields = heard.fields
        kind, boot = fields["type"], fields["boot"]
        if kind == "state":
            self.in_force = fields["bundle"] or self.in_force
        if kind == "verdict":
            if heard.where == "pub":
                self._published(boot, fields)
            else:
                self._verdict(heard)
        elif heard.where == "ctl":
            self._answer(kind, fields)

    def _published(self, boot: str, fields: dict[str, Any]) -> None:
        last = self._seqs.get(boot)
        if last is not None and fields["seq"] != last + 1:
            self.breaches.append(f"seq {fields['seq']} was published after {last}")
        self._seqs[boot] = fields["seq"]
        part = self.parts.get((fields.get("session") or "", fields["trig"] or ""))
        if part is not None and part.boot == boot:
            part.published += 1
            if part.published > 1:
                self.breaches.append(f"two verdicts about {part.trig} were published: {fields}")

    def _verdict(self, heard: Heard) -> None:
        fields = heard.fields
        if self.acknowledges:
            self.say("ack", seq=fields["seq"])
        part = self.parts.get((fields["session"], fields["trig"]))
        if part is None or part.session != self.session:
            self.breaches.append(f"a verdict that nobody here asked for: {fields}")
            return
        if part.boot != fields["boot"]:
            # Sent before this boot was known to us, and judged in it.
            part.boot, part.end = fields["boot"], ""
        part.copies += 1
        if part.raw:
            if part.raw != heard.raw:
                self.breaches.append(f"two verdicts about {part.trig}: {part.raw!r} {heard.raw!r}")
            return
        part.raw, part.answer, part.heard_ns, part.end = heard.raw, fields, heard.at_ns, "verdict"
        if abs(fields["t_wall_ns"] - time.time_ns()) > 3600 * 10**9:
            self.seen["verdicts under a wall clock that was off by more than an hour"] += 1
        late = heard.at_ns - part.sent_ns > (BUDGET_MS + 10) * 10**6
        healthy = self._client.healthy(heard.at_ns) and not late
        try:
            part.opened = opens_gate(fields, part.trig, self.session, self._client.boot) and healthy
        except ValueError as error:
            self.breaches.append(str(error))
        if fields["verdict"] == 1 and part.deadline_ns and fields["t_mono_ns"] > part.deadline_ns:
            self.breaches.append(f"an OK that was made after its deadline: {fields}")

    def _answer(self, kind: str, fields: dict[str, Any]) -> None:
        part = self.parts.get((self.session, fields.get("trig") or ""))
        if kind == "trigger_ack" and part is not None and not part.deadline_ns:
            part.deadline_ns = fields["deadline_ns"]
        elif kind == "error" and fields["about"] == "trigger" and part is not None:
            if not part.end:
                part.end, part.answer, part.heard_ns = "error", fields, time.monotonic_ns()
        elif kind == "active" and fields["bundle"] in self.broken:
            self.breaches.append(f"a broken bundle was put into force: {fields}")
        if kind in ("prepared", "failed", "active"):
            self.replies.append(fields)
            self.seen[f"{kind}, {'broken' if fields['bundle'] in self.broken else 'whole'}"] += 1
        if kind == "error" and fields.get("reason") in ("stale", "duplicate"):
            self._hello()

    def _settle(self) -> None:
        now = time.monotonic_ns()
        for part in self._open:
            waited_s = (now - max(part.sent_ns, part.doubted_ns)) / 1e9
            if part.end or waited_s < DOUBT_S:
                continue
            if self._client.boot and part.boot != self._client.boot:
                part.end = "boot ended"
            elif (now - part.sent_ns) / 1e9 > SILENCE_S:
                part.end = "silence"
                self.breaches.append(f"silence about {part}")
            else:
                part.doubted_ns = now
                self._hello()
                self.say("trigger", trig=part.trig, session=part.session)
        self._open = [part for part in self._open if not part.end]

    def _write(self) -> None:
        with self._results.open("a") as file:
            for part in self.parts.values():
                kept = {k: v for k, v in asdict(part).items() if k != "raw"}
                file.write(json.dumps(kept) + "\n")
        run = {"seen": self.seen, "starts": self._service.starts, "breaches": self.breaches}
        run["exit codes"] = self._service.codes
        with (self.folder / "runs.jsonl").open("a") as file:
            file.write(json.dumps(run) + "\n")


def main() -> int:
    """Run, replay, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="keeps everything; a new one begins anew")
    parser.add_argument("--triggers", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=240.0, help="stop earlier; go on later")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = options.folder.resolve()
    chaos = Chaos(folder, *prepared(folder), options.seed)
    chaos.run(options.triggers, options.minutes * 60)
    parts = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    runs = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    log = (folder / "faults.jsonl").read_text().splitlines()
    faults = Counter(json.loads(line)["fault"] for line in log)
    wrong, counts = check(folder, parts)
    wrong += [breach for run in runs for breach in run["breaches"]]
    seen: Counter[str] = sum((Counter(run["seen"]) for run in runs), Counter())
    reasons = Counter(
        part["answer"].get("reason") or "OK" for part in parts if part["end"] == "verdict"
    )
    print(f"{len(parts)} triggers, {faults.total()} faults, seed {options.seed}, {machine()}")
    print(f"service starts: {sum(run['starts'] for run in runs)}")
    for title, found in (("ends", counts), ("verdicts", reasons), ("seen", seen)):
        print(f"{title}: " + ", ".join(f"{what} {count}" for what, count in found.most_common()))
    print(table(parts, faults))
    print(f"rules broken: {len(wrong)}")
    print("\n".join(text[:1500] for text in wrong[:20]))
    subprocess.run(["umount", str(folder / "disk")], check=False)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
