"""Verdicts, messages and clocks for the tests of the wire."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from kenpin.runtime.judging.verdict import (
    Cause,
    Defect,
    Gap,
    LaneVerdict,
    Outcome,
    Reason,
    Thresholds,
    Verdict,
    WebDefect,
    WebFindings,
    WebGate,
)
from kenpin.runtime.web.web_state import MOST_ACTIONS
from kenpin.runtime.wire.map_encoding import Counts, Identity, State, StateMessage, VerdictMessage
from kenpin.runtime.wire.verdict_messages import Envelope
from kenpin.runtime.wire.verdict_messages import verdict_message as message_about

BOOT = "3f2b8c1e-5d0a-4c77-9e21-0a6b7c8d9e10"


def identity(line: str = "web-1", boot: str = BOOT) -> Identity:
    return Identity(
        box="box-7", line=line, cam="replay", boot=boot, bundle="b@1", recipe_id="r", sim=True
    )


OK_VERDICT = Verdict(
    outcome=Outcome.OK,
    reason=None,
    detail="",
    score=0.25,
    thresholds=Thresholds(0.5, 0.625),
    frame_index=0,
    frame_name="0000.png",
    captured_ns=5_000_000_000,
    judged_ns=5_018_200_000,
    bundle="b@1",
    peak_xy=(17, 3),
    stages_us={"infer": 12_050, "total": 18_200},
)
NG_VERDICT = replace(OK_VERDICT, outcome=Outcome.NG, reason=Reason.DEFECT, score=1.5)


def verdict_message(seq: int = 1, verdict: Verdict = OK_VERDICT, **who: str) -> VerdictMessage:
    return message_about(verdict, identity(**who), Envelope(seq, mono_ns=seq, wall_ns=seq))


def state_message(last_seq: int = 0, line: str = "web-1", boot: str = BOOT) -> StateMessage:
    return StateMessage(
        v=1,
        type="state",
        box="box-7",
        line=line,
        boot=boot,
        state=State.CONTINUOUS,
        selftest=False,
        degraded=False,
        bundle="b@1",
        last_seq=last_seq,
        counts=Counts(frames=last_seq, ok=last_seq, ng=0, reasons={}),
        sim=True,
        t_mono_ns=1,
        t_wall_ns=1,
    )


def a_defect(number: int) -> WebDefect:
    """As small as it can be."""
    return WebDefect(
        number=number, first_line=0, end_line=8, left_px=0, right_px=8, area_px=64, peak=2.0,
        mean=1.5, peak_line=4, peak_px=4, lane="", lanes=("",), open=False, cut=False,
        continues=None, absorbed=(), web_mm=None, length_mm=None, left_mm=None, width_mm=None,
        area_mm2=None,
    )  # fmt: skip


def everything_found() -> WebFindings:
    """The most lanes with the longest names, all stretches bad, and 64 defects in each."""
    names = [f"{k:02d}" + "n" * 30 for k in range(16)]
    runs = tuple((k * 1000, k * 1000 + 10) for k in range(10_000))
    limits = Thresholds(1.25, 2.5)
    big = 123_456_789.123456
    defect = WebDefect(
        10**9, 10**9, 10**9, 10**5, 10**5, 10**9, big, big, 10**9, 10**5,
        names[0], tuple(names), True, True, 10**9, tuple(range(10**9, 10**9 + 40)),
        big, big, big, big, big,
    )  # fmt: skip
    return WebFindings(
        first_line=0,
        end_line=10**9,
        first_mm=big,
        end_mm=big,
        lanes=tuple(LaneVerdict(n, Outcome.NG, Reason.DEFECT, big, limits, runs) for n in names),
        defects=tuple(replace(defect, number=k + 10**9, peak=big + k) for k in range(64)),
        n_defects=64,
        gaps=tuple(Gap(k * 100 + 10**9, k * 100 + 50 + 10**9, Cause.CONTEXT) for k in range(999)),
        gates=tuple(
            WebGate(n, big, big, 2**60, 2**60, 2**31, 2**31, late=False)
            for n in names
            for _ in range(16)
        ),
        map_line=None,
        pending=tuple((n, 2**40 + k, 2**40 + k + 1) for n in names for k in range(MOST_ACTIONS)),
    )


class Clock:
    """Nanoseconds that advance by a microsecond whenever somebody looks."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 1000
        return self.now_ns


# Surrogates included: file names have them.
_TEXTS = st.text(st.characters(), max_size=600)
_TIMES_NS = st.integers(0, 2**63)


_PIXELS = st.integers(0, 2**31 - 1)
_SCORES = st.floats(0, 1e300)
DEFECTS = st.builds(
    Defect, _PIXELS, _PIXELS, _PIXELS, _PIXELS, st.integers(0, 2**62), _SCORES, _SCORES,
    st.tuples(_PIXELS, _PIXELS),
)  # fmt: skip


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    """Whatever the judgement may hand over, absurd texts and numbers included."""
    ok = draw(st.booleans())
    limit = draw(st.floats(0, 1e300))
    score = st.floats(-1e300, limit) if ok else st.none() | st.floats()
    thresholds = Thresholds(limit, limit)
    defects = () if ok else tuple(draw(st.lists(DEFECTS, max_size=3)))
    return Verdict(
        outcome=Outcome.OK if ok else Outcome.NG,
        reason=None if ok else draw(st.sampled_from(Reason)),
        detail=draw(_TEXTS),
        score=draw(score),
        thresholds=thresholds if ok else draw(st.none() | st.just(thresholds)),
        frame_index=draw(st.integers(0, 2**63)),
        frame_name=draw(_TEXTS),
        captured_ns=draw(_TIMES_NS),
        judged_ns=draw(_TIMES_NS),
        bundle=draw(_TEXTS),
        peak_xy=draw(st.none() | st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))),
        stages_us=draw(st.dictionaries(st.text("abc_", max_size=8), st.integers(-5, 2**40))),
        defects=defects,
        n_defects=len(defects),
    )
