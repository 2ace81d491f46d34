"""What a frame's verdict says of the web, from what its pieces came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kenpin.camera.frame import Frame, LostFrame
from kenpin.runtime.judging.pipeline import Judgement, Stopwatch
from kenpin.runtime.judging.rule import Evidence, judge, verdict_on
from kenpin.runtime.judging.verdict import (
    MOST_DEFECTS,
    MOST_FURTHER,
    Cause,
    Gap,
    LaneVerdict,
    Outcome,
    Reason,
    WebDefect,
    WebFindings,
)
from kenpin.runtime.web.pieces import merged, united
from kenpin.runtime.web.web_state import WebState

__all__ = ["conclude"]

Fault = tuple[Reason, str]

# What a verdict says when lines it covers were not inspected; the first that holds.
_GAP_REASONS = (
    (Cause.FAILED, Reason.MODEL_ERROR),
    (Cause.LOST, Reason.INCOMPLETE_FRAME),
    (Cause.CONTEXT, Reason.INCOMPLETE_FRAME),
    (Cause.NONFINITE, Reason.NONFINITE),
    (Cause.IMAGE_QUALITY, Reason.IMAGE_QUALITY),
    (Cause.EDGE, Reason.IMAGE_QUALITY),
)


def conclude(
    state: WebState,
    frame: Frame | LostFrame,
    fault: Fault | None,
    watch: Stopwatch,
    label: str,
    now_ns: int,
    budget_ns: int | None,
    usual_lines: int,
) -> Judgement:
    """The verdict on a frame, from what its pieces came to."""
    gaps = tuple(merged(state.gaps))
    fault = fault or _disproved(state) or _uninspected(gaps, state.checks.detail)
    elapsed_ns = now_ns - frame.captured_ns
    lanes = []
    for lane, limit, spec in zip(state.by_lane, state.limits, state.lanes.lanes, strict=True):
        proof = _evidence(state, fault, lane.score, elapsed_ns, budget_ns)
        outcome, reason, _ = judge(proof, limit)
        runs = tuple(united(lane.ng_runs))
        lanes.append(LaneVerdict(spec.name, outcome, reason, proof.score, limit, runs))
    worst = _worst(lanes)
    verdict = verdict_on(
        frame,
        _evidence(state, fault, worst.score, elapsed_ns, budget_ns),
        worst.thresholds,
        judged_ns=now_ns,
        bundle=label,
        stages_us=watch.stages_us,
    )
    located = state.score_map()
    findings = _findings(state, tuple(lanes), gaps, located and located[1], usual_lines)
    peak = None if located is None else located[0].peak_xy(*located[0].frame_size)
    verdict = replace(verdict, peak_xy=peak, web=findings)
    return Judgement(verdict, None if located is None else located[0])


def _findings(
    state: WebState,
    lanes: tuple[LaneVerdict, ...],
    gaps: tuple[Gap, ...],
    map_line: int | None,
    usual_lines: int,
) -> WebFindings:
    """What the verdict says of the web."""
    defects = [state.located(defect) for defect in state.defects]
    kept, others = _highest(defects, state.web.defects.most_per_frame)
    going_on, _ = _highest([state.located(d) for d in state.going_on], MOST_DEFECTS)
    stream = state.stream
    first, end = state.first_line, stream.settled
    gates = tuple(state.gates(usual_lines))
    return WebFindings(
        first_line=first,
        end_line=end,
        first_mm=state.along.mm(first),
        end_mm=state.along.mm(end),
        lanes=lanes,
        defects=kept,
        n_defects=len(defects),
        further=_highest(others, MOST_FURTHER)[0],
        going_on=going_on,
        gaps=gaps,
        gates=gates,
        map_line=map_line,
        open_since=state.open_since,
        first_count=state.along.count(first),
        end_count=state.along.count(end),
        rescanned=state.along.seen_before(first, end) if end > first else False,
        came_line=stream.end,
        knots=state.along.knots(first, end),
        pending=state.pending,
        within_mm=state.along.within(first, end),
    )


def _highest(
    defects: Sequence[WebDefect], most: int
) -> tuple[tuple[WebDefect, ...], tuple[WebDefect, ...]]:
    """So many of them with the highest peaks, and the others; both along the web."""
    ranked = sorted(defects, key=lambda d: -d.peak)
    first, rest = (
        tuple(sorted(part, key=lambda d: (d.first_line, d.left_px)))
        for part in (ranked[:most], ranked[most:])
    )
    return first, rest


def _disproved(state: WebState) -> Fault | None:
    """What speaks against every line having been judged or told as not inspected."""
    stream, work = state.stream, state.stream.work
    if work.scored != work.due:
        return Reason.MODEL_ERROR, f"{work.scored} of {work.due} tiles were scored"
    if state.holes or state.said != stream.settled:
        return Reason.MODEL_ERROR, f"{state.holes} lines are covered by no verdict or by two"
    waiting = stream.end - stream.settled
    if waiting > stream.latency_lines:
        found = f"{waiting} lines wait to be judged, at most {stream.latency_lines} should"
        return Reason.MODEL_ERROR, found
    return None


def _uninspected(gaps: tuple[Gap, ...], detail: str) -> Fault | None:
    for cause, reason in _GAP_REASONS:
        own = [gap for gap in gaps if gap.cause is cause]
        if own:
            lines = sum(gap.lines for gap in own)
            where = f"lines {own[0].first_line} to {own[-1].end_line - 1}"
            why = f": {detail}" if detail and reason is Reason.IMAGE_QUALITY else ""
            text = f"{lines} lines were not inspected ({cause.word}), {where}{why}"
            return reason, text if all(g.known for g in own) else f"{text}; how many is a guess"
    return None


def _evidence(
    state: WebState,
    fault: Fault | None,
    score: float | None,
    elapsed_ns: int,
    budget_ns: int | None,
) -> Evidence:
    # A frame too short to complete a tile row has nothing to prove: it covers no
    # line, and `_disproved` has seen that none waits longer than it may.
    # So has a lane of which all was left out by order.
    empty = state.said == state.first_line or (score is None and state.checks.ends is not None)
    return Evidence(
        fault=fault[0] if fault else None,
        detail=fault[1] if fault else "",
        tiles_scored=1,
        tiles_expected=1,
        finite=True,
        score=0.0 if empty and fault is None else score,
        elapsed_ns=elapsed_ns,
        budget_ns=budget_ns,
    )


def _worst(lanes: list[LaneVerdict]) -> LaneVerdict:
    """The lane that decides: NG before OK, then the highest score for its threshold."""

    def badness(lane: LaneVerdict) -> tuple[bool, float]:
        share = (lane.score or 0.0) / lane.thresholds.ok if lane.thresholds.ok else 0.0
        return lane.outcome is Outcome.NG, share

    return max(lanes, key=badness)
