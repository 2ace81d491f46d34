"""How much of a web one message tells. Whatever has no room makes a reader act on too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from kenpin.runtime.judging.verdict import (
    MOST_DEFECTS,
    Gap,
    LaneVerdict,
    WebDefect,
    WebFindings,
    WebGate,
)

__all__ = ["MOST_GAPS", "MOST_GATES", "MOST_RUNS", "fewer_gates", "fitted", "with_open"]

# Further stretches widen the nearest ones: a reader acts on too much, never on too little.
MOST_GAPS = 64
MOST_RUNS = 32
MOST_GATES = 64
MOST_ABSORBED = 16
# JSON takes up to twice as much as msgpack, and a message may have 64 KiB.
MOST_BYTES = 30_000
# Beside those, between processes: what must outlive an inspection.
MOST_OPEN_BYTES = 25_000


def fitted(findings: WebFindings) -> WebFindings:
    """The same, as a message can tell it; at most MOST_BYTES as msgpack.

    Where there is no room, the lowest defects are left out; `n_defects` counts them. What
    waits to be told to the gates is not told, and costs no room: see `with_open`.
    """
    pending = findings.pending
    highest = sorted(findings.defects, key=lambda d: -d.peak)[:MOST_DEFECTS]
    findings = replace(
        findings,
        lanes=tuple(_fewer_runs(lane) for lane in findings.lanes),
        defects=tuple(_fewer_absorbed(d) for d in findings.defects if d in highest),
        further=(),
        going_on=(),
        pending=(),
        gaps=_fewer_gaps(findings.gaps),
        gates=fewer_gates(findings.gates),
    )
    while findings.defects and len(msgspec.msgpack.encode(findings)) > MOST_BYTES:
        findings = replace(findings, defects=_without_lowest(findings.defects))
    return replace(findings, pending=pending)


def with_open(findings: WebFindings, going_on: tuple[WebDefect, ...]) -> WebFindings:
    """What is told, and the defects that must outlive whoever follows them: for the gateway.

    Both together fit a message between processes, with all that the gates are owed; the
    lowest defects that go on are left out.
    """
    room = MOST_OPEN_BYTES - len(msgspec.msgpack.encode(findings.pending))
    while going_on and len(msgspec.msgpack.encode(going_on)) > room:
        going_on = _without_lowest(going_on)
    return replace(findings, going_on=going_on)


def _without_lowest(defects: tuple[WebDefect, ...]) -> tuple[WebDefect, ...]:
    lowest = sorted(defects, key=lambda d: d.peak)[: max(1, len(defects) // 8)]
    return tuple(d for d in defects if d not in lowest)


def _fewer_absorbed(defect: WebDefect) -> WebDefect:
    if len(defect.absorbed) <= MOST_ABSORBED:
        return defect
    return replace(defect, absorbed=defect.absorbed[:MOST_ABSORBED])


def _fewer_gaps(gaps: Sequence[Gap]) -> tuple[Gap, ...]:
    if len(gaps) <= MOST_GAPS:
        return tuple(gaps)
    rest = gaps[MOST_GAPS - 1 :]
    last = Gap(rest[0].first_line, rest[-1].end_line, rest[0].cause, all(g.known for g in rest))
    return (*gaps[: MOST_GAPS - 1], last)


def fewer_gates(gates: Sequence[WebGate]) -> tuple[WebGate, ...]:
    """At most MOST_GATES actions; where there are more, a gate acts on all between its own."""
    if len(gates) <= MOST_GATES:
        return tuple(gates)
    by_lane: dict[str, list[WebGate]] = {}
    for action in gates:
        by_lane.setdefault(action.lane, []).append(action)
    return tuple(_spanning(own) for own in by_lane.values())


def _spanning(actions: Sequence[WebGate]) -> WebGate:
    """One for all of a lane: they follow each other by lines, and the web may have backed up."""
    last = max(actions, key=lambda action: action.to_mm)
    return replace(
        min(actions, key=lambda action: action.from_mm),
        to_mm=last.to_mm,
        to_count=last.to_count,
        to_raw=last.to_raw,
        late=any(action.late for action in actions),
    )


def _fewer_runs(lane: LaneVerdict) -> LaneVerdict:
    """With at most so many stretches, those that lie closest made one."""
    runs = lane.ng_runs
    if len(runs) <= MOST_RUNS:
        return lane
    breaks = sorted(range(1, len(runs)), key=lambda k: runs[k - 1][1] - runs[k][0])
    starts = [0, *sorted(breaks[: MOST_RUNS - 1])]
    ends = [*starts[1:], len(runs)]
    fewer = tuple((runs[a][0], runs[b - 1][1]) for a, b in zip(starts, ends, strict=True))
    return replace(lane, ng_runs=fewer)
