"""Findings as a map of plain values, bounded, for channels between processes and for the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import msgpack

from kenpin.runtime.judging.findings import Defect, Findings, GateAction, LaneVerdict
from kenpin.runtime.judging.verdict import Outcome, Reason, Thresholds
from kenpin.runtime.web.pieces import Cause, Gap

__all__ = ["MOST_GAPS", "MOST_RUNS", "findings_of", "plain_findings"]

# Further stretches widen the nearest ones: a reader acts on too much, never on too little.
MOST_GAPS = 64
MOST_RUNS = 32
MOST_GATES = 64
# JSON takes up to twice as much as msgpack, and a message may have 64 KiB.
MOST_BYTES = 30_000


def plain_findings(findings: Findings) -> dict[str, Any]:
    """As `runtime.web_message.WebPart` takes it; at most MOST_BYTES as msgpack.

    Where there is no room, the lowest defects are left out; `n_defects` counts them.
    """
    plain = _plain(findings)
    defects = plain["defects"]
    while defects and len(msgpack.packb(plain)) > MOST_BYTES:
        lowest = sorted(defects, key=lambda d: d["peak"])[: max(1, len(defects) // 8)]
        defects = plain["defects"] = [d for d in defects if d not in lowest]
    return plain


def _plain(findings: Findings) -> dict[str, Any]:
    return {
        "first_line": findings.first_line,
        "end_line": findings.end_line,
        "first_mm": findings.first_mm,
        "end_mm": findings.end_mm,
        "first_count": findings.first_count,
        "end_count": findings.end_count,
        "rescanned": findings.rescanned,
        "lanes": [_lane(lane) for lane in findings.lanes],
        "defects": [_defect(defect) for defect in findings.defects],
        "n_defects": findings.n_defects,
        "gaps": [_gap(gap) for gap in _fewer_gaps(findings.gaps)],
        "gates": [asdict(action) for action in _fewer_gates(findings.gates)],
        "open_since": findings.open_since,
    }


def findings_of(plain: Mapping[str, Any]) -> Findings:
    """The findings in such a map; what it does not carry is as if unknown."""
    return Findings(
        first_line=plain["first_line"],
        end_line=plain["end_line"],
        first_mm=plain["first_mm"],
        end_mm=plain["end_mm"],
        lanes=tuple(_lane_of(lane) for lane in plain["lanes"]),
        defects=tuple(_defect_of(defect) for defect in plain["defects"]),
        n_defects=plain["n_defects"],
        gaps=tuple(_gap_of(gap) for gap in plain["gaps"]),
        gates=tuple(GateAction(**action) for action in plain["gates"]),
        map_line=None,
        open_since=plain["open_since"],
        first_count=plain["first_count"],
        end_count=plain["end_count"],
        rescanned=plain["rescanned"],
    )


def _lane(lane: LaneVerdict) -> dict[str, Any]:
    return {
        "name": lane.name,
        "verdict": int(lane.outcome),
        "reason": lane.reason.value if lane.reason else None,
        "score": lane.score,
        "thr": lane.thresholds.ok,
        "thr_ng": lane.thresholds.ng,
        "ng_runs": [list(run) for run in _fewer_runs(lane.ng_runs, MOST_RUNS)],
    }


def _lane_of(plain: Mapping[str, Any]) -> LaneVerdict:
    return LaneVerdict(
        name=plain["name"],
        outcome=Outcome(plain["verdict"]),
        reason=Reason(plain["reason"]) if plain["reason"] else None,
        score=plain["score"],
        thresholds=Thresholds(plain["thr"], plain["thr_ng"]),
        ng_runs=tuple((first, end) for first, end in plain["ng_runs"]),
    )


def _defect(defect: Defect) -> dict[str, Any]:
    return asdict(defect) | {"lanes": list(defect.lanes), "absorbed": list(defect.absorbed[:16])}


def _defect_of(plain: Mapping[str, Any]) -> Defect:
    lists = {name: tuple(plain[name]) for name in ("lanes", "absorbed")}
    return Defect(**{**plain, **lists})


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "first_line": gap.first_line,
        "end_line": gap.end_line,
        "cause": gap.cause.word,
        "known": gap.known,
    }


def _gap_of(plain: Mapping[str, Any]) -> Gap:
    cause = Cause[plain["cause"].upper()]
    return Gap(plain["first_line"], plain["end_line"], cause, plain["known"])


def _fewer_gaps(gaps: Sequence[Gap]) -> list[Gap]:
    if len(gaps) <= MOST_GAPS:
        return list(gaps)
    rest = gaps[MOST_GAPS - 1 :]
    last = Gap(rest[0].first_line, rest[-1].end_line, rest[0].cause, all(g.known for g in rest))
    return [*gaps[: MOST_GAPS - 1], last]


def _fewer_gates(gates: Sequence[GateAction]) -> list[GateAction]:
    """At most so many actions; where there are more, a gate acts on from its first to its last."""
    if len(gates) <= MOST_GATES:
        return list(gates)
    by_lane: dict[str, list[GateAction]] = {}
    for action in gates:
        by_lane.setdefault(action.lane, []).append(action)
    return [
        replace(
            own[0],
            to_mm=own[-1].to_mm,
            to_count=own[-1].to_count,
            to_raw=own[-1].to_raw,
            late=any(action.late for action in own),
        )
        for own in by_lane.values()
    ]


def _fewer_runs(runs: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """At most so many stretches, those that lie closest made one."""
    if len(runs) <= most:
        return list(runs)
    breaks = sorted(range(1, len(runs)), key=lambda k: runs[k - 1][1] - runs[k][0])
    starts = [0, *sorted(breaks[: most - 1])]
    ends = [*starts[1:], len(runs)]
    return [(runs[a][0], runs[b - 1][1]) for a, b in zip(starts, ends, strict=True)]
