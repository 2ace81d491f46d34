"""Verdicts, messages and clocks for the tests of the wire."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from kenpin.runtime.judging.verdict import Outcome, Reason, Thresholds, Verdict
from kenpin.runtime.wire.map_encoding import Counts, Identity, State, StateMessage, VerdictMessage
from kenpin.runtime.wire.map_encoding import verdict_message as message_about

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
    return message_about(verdict, identity(**who), seq, mono_ns=seq, wall_ns=seq)


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


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    """Whatever the judgement may hand over, absurd texts and numbers included."""
    ok = draw(st.booleans())
    limit = draw(st.floats(0, 1e300))
    score = st.floats(-1e300, limit) if ok else st.none() | st.floats()
    thresholds = Thresholds(limit, limit)
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
    )
