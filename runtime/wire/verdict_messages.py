"""What is said about verdicts: two messages, version 1, every unit in its schema.

Pure: no socket, no clock. Within version 1 fields are only ever added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from kenpin.config.text import shorten
from kenpin.runtime.judging.verdict import (
    MOST_DEFECTS,
    REASON_CODES,
    Defect,
    Outcome,
    Reason,
    Verdict,
)
from kenpin.runtime.wire.errors import WireError, explain
from kenpin.runtime.wire.field_types import (
    MAX_DETAIL_CHARS,
    MAX_NAME_CHARS,
    U64,
    U64_MAX,
    Frozen,
    Label,
    Pixel,
    ReasonName,
    SessionId,
    Token,
    Uuid,
    unsaid,
    whole,
)
from kenpin.runtime.wire.web_messages import WebPart, web_part

__all__ = [
    "MAX_DETAIL_CHARS",
    "MAX_NAME_CHARS",
    "AcquisitionClock",
    "ClockSync",
    "Counts",
    "Envelope",
    "Identity",
    "Message",
    "State",
    "StateMessage",
    "VerdictMessage",
    "topic",
    "verdict_fields",
    "verdict_message",
]

_CODES: Mapping[str, int] = {reason.value: code for reason, code in REASON_CODES.items()}


class State(StrEnum):
    """Where the line stands, in the words of OPC 40100-1."""

    PREOPERATIONAL = "preoperational"
    HALTED = "halted"
    ERROR = "error"
    INITIALIZED = "operational.initialized"
    READY = "operational.ready"
    SINGLE = "operational.single"
    CONTINUOUS = "operational.continuous"


# Whose clock says when a frame was acquired, and what sets the box's.
AcquisitionClock = Literal["monotonic", "device", "ptp"]
ClockSync = Literal["ptp", "ntp", "none"]


class Identity(Frozen):
    """Who is speaking: the same for every message of one run."""

    box: Token
    line: Token
    cam: Token
    boot: Uuid
    bundle: Label
    recipe_id: Label
    sim: bool


# The part of "OK only if proven" that JSON Schema can say; `score <= thr` it cannot.
_OK_ONLY_IF_PROVEN: dict[str, Any] = {
    "if": {"properties": {"verdict": {"const": 1}}},
    "then": {
        "properties": {
            "reason": {"type": "null"},
            "code": {"const": 0},
            "score": {"type": "number"},
            "thr": {"type": "number"},
            "unsure": {"const": False},
            "partial": {"const": False},
            "late": {"const": False},
            "web": {
                "properties": {
                    "lanes": {"items": {"properties": {"verdict": {"const": 1}}}},
                    "gaps": {"maxItems": 0},
                }
            },
        }
    },
    "else": {"properties": {"reason": {"type": "string"}, "code": {"not": {"const": 0}}}},
}


class VerdictMessage(Frozen):
    """The one final answer about one frame, on topic v1/verdict/<line>."""

    model_config = ConfigDict(json_schema_extra=_OK_ONLY_IF_PROVEN)

    v: Literal[1] = Field(description="major version of the wire")
    type: Literal["verdict"]
    box: Token = Field(description="the computer that judged")
    line: Token = Field(description="the production line, as in the topic")
    cam: Token = Field(description="the camera, or what stands in for it")
    boot: Uuid = Field(description="new whenever the service starts; seq counts within it")
    seq: int = Field(ge=1, le=U64_MAX, description="1, 2, 3, … per boot; a gap is a lost message")
    trig: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        description="id chosen by whoever triggered; null where frames come untriggered"
    )
    frame: U64 = Field(description="counts every frame started, lost ones too")
    name: Label = Field(description="file of a recorded frame, else empty; may lose its beginning")
    verdict: Annotated[Outcome, BeforeValidator(whole)] = Field(
        description="1 OK, 2 NG; 0 is never sent, so zeroed memory cannot read as OK"
    )
    reason: ReasonName | None = Field(
        description="why NG, null when OK; kenpin's own are " + ", ".join(_CODES)
    )
    code: int = Field(
        ge=-(2**31),
        le=2**31 - 1,
        description="0 without a reason, > 0 kenpin's reasons, < 0 the application's; never change",
    )
    detail: Annotated[str, StringConstraints(max_length=MAX_DETAIL_CHARS)] = Field(
        description="one sentence for people, possibly empty or cut short"
    )
    score: float | None = Field(description="image score, dimensionless; null if none is finite")
    thr: float | None = Field(description="OK at or below, dimensionless; null before a bundle")
    thr_ng: float | None = Field(description="a defect above, dimensionless; up to it unsure")
    scaled: float | None = Field(
        default=None,
        ge=0,
        le=1,
        exclude_if=lambda scaled: scaled is None,
        description="the score for people and other tools: thr lies at 0.5, good ones near 0; "
        "left out where the bundle does not say how good ones score",
    )
    unsure: bool = Field(description="NG because the score lies between thr and thr_ng")
    peak: tuple[Pixel, Pixel] | None = Field(
        description="[x, y] in pixels of the frame, where the map is highest; null without a map"
    )
    partial: bool = Field(description="the camera delivered only part of the frame")
    sim: bool = Field(description="recorded or simulated frames: nothing real may act on this")
    bundle: Label = Field(description="name and content hash of the bundle that judged")
    recipe_id: Label
    t_acq_ns: U64 = Field(description="when the last scan line arrived, ns of acq_clock")
    acq_clock: AcquisitionClock = Field(description="monotonic is the box's own, from its start")
    t_mono_ns: U64 = Field(description="when this message was made, ns, the box's monotonic clock")
    t_wall_ns: U64 = Field(
        description="the same moment, ns since 1970 UTC, a label only: wall clocks jump"
    )
    clock_sync: ClockSync = Field(description="what keeps the wall clock right")
    enc: int | None = Field(
        ge=-(2**63), le=2**63 - 1, description="encoder count, unwrapped; null without an encoder"
    )
    lat_us: Mapping[str, U64] = Field(
        description="µs in each stage, and `total` to the verdict: from the trigger, or from the "
        "last scan line of a frame that came by itself"
    )
    deadline_us: U64 | None = Field(description="µs that `total` may take; null: no deadline")
    late: bool = Field(description="NG because the deadline had passed")
    defects: tuple[Defect, ...] = Field(
        default=(),
        max_length=MOST_DEFECTS,
        exclude_if=lambda defects: not defects,
        description="on a part, the highest first; left out where there are none, and on webs",
    )
    n_defects: int = Field(
        default=0,
        ge=0,
        exclude_if=lambda count: not count,
        description="how many there were on the part; left out where there were none",
    )
    session: SessionId | None = Field(
        default=None,
        exclude_if=unsaid,
        description="of the client that triggered, which `trig` belongs to; left out where "
        "frames come untriggered",
    )
    web: WebPart | None = Field(
        default=None,
        exclude_if=lambda web: web is None,
        description="which lines of a web are covered, and what is on them; left out where "
        "frames show parts, and where nothing was judged in time: then no line is released",
    )

    @model_validator(mode="after")
    def _reason_fits_code(self) -> Self:
        if self.reason is None:
            fits = self.code == 0
        elif self.reason in _CODES:
            fits = self.code == _CODES[self.reason]
        else:
            # Reasons are appended over the years: an old reader must still read NG.
            fits = self.code != 0 and self.code not in _CODES.values()
        if not fits:
            raise ValueError(f"reason {self.reason!r} does not go with code {self.code}")
        return self

    @model_validator(mode="after")
    def _ok_only_if_proven(self) -> Self:
        if self.verdict is Outcome.NG:
            if self.reason is None:
                raise ValueError("NG without a reason; say why")
            return self
        if self.reason is not None or self.unsure or self.partial or self.late:
            raise ValueError(f"OK, yet reason {self.reason!r}, unsure, partial or late; send NG")
        if self.score is None or self.thr is None or not self.score <= self.thr:
            raise ValueError(f"OK needs score <= thr, found {self.score} and {self.thr}; send NG")
        return self

    @model_validator(mode="after")
    def _lanes_agree(self) -> Self:
        if self.web is None:
            return self
        ng = [lane.name for lane in self.web.lanes if lane.verdict is not Outcome.OK]
        if self.verdict is Outcome.NG:
            if self.web.lanes and not ng:
                raise ValueError("NG, yet every lane of the web is OK; say which is not")
        elif ng or self.web.gaps:
            uninspected = sum(gap.end_line - gap.first_line for gap in self.web.gaps)
            raise ValueError(f"OK, yet lanes {ng} NG, {uninspected} lines uninspected; send NG")
        return self


class Counts(Frozen):
    """Verdicts given since boot."""

    frames: U64
    ok: U64
    ng: U64
    reasons: Mapping[ReasonName, U64] = Field(description="NG verdicts by reason")

    @model_validator(mode="after")
    def _every_frame_is_answered(self) -> Self:
        by_reason = sum(self.reasons.values())
        if self.frames != self.ok + self.ng or self.ng != by_reason:
            raise ValueError(
                f"{self.frames} frames, {self.ok} OK, {self.ng} NG, {by_reason} reasons: expected "
                "frames = OK + NG, and a reason for each NG"
            )
        return self


class StateMessage(Frozen):
    """What a newcomer must know, on topic v1/state/<line>; sent on change and on joining."""

    v: Literal[1] = Field(description="major version of the wire")
    type: Literal["state"]
    box: Token
    line: Token
    boot: Uuid = Field(description="new whenever the service starts")
    state: State
    selftest: bool = Field(description="golden frames are being judged just now, not the line's")
    degraded: bool = Field(description="verdicts are given, yet something needs a person")
    bundle: Label = Field(description="name and content hash of the bundle in force")
    last_seq: U64 = Field(description="seq of the newest verdict of this boot; 0 before the first")
    counts: Counts
    sim: bool = Field(description="recorded or simulated frames")
    session: SessionId | None = Field(
        default=None,
        exclude_if=unsaid,
        description="the one in force for the client that is told; left out where it is published",
    )
    t_mono_ns: U64 = Field(description="when this message was made, ns, the box's monotonic clock")
    t_wall_ns: U64 = Field(description="the same moment, ns since 1970 UTC, a label only")


# What is sent to whoever triggered, and published.
Message = VerdictMessage | StateMessage


def topic(kind: str, line: str) -> str:
    """Where messages of this kind about this line are published.

    ZeroMQ matches topics by prefix, so a subscription to line `L1` also brings
    `L10`: a reader compares the whole topic.
    """
    return f"v1/{kind}/{line}"


def verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """What a verdict itself says, under the names that it has on the wire and in files.

    The only place where those are told apart from the names inside. A score that is
    not finite is None: JSON has no NaN, and the reason says it.
    """
    score, peak, thresholds = verdict.score, verdict.peak_xy, verdict.thresholds
    score = score if score is not None and math.isfinite(score) else None
    scaled = None
    if score is not None and thresholds and thresholds.usual:
        scaled = thresholds.scaled(score)
    return {
        "frame": verdict.frame_index,
        "name": verdict.frame_name,
        "verdict": verdict.outcome,
        "reason": verdict.reason.value if verdict.reason else None,
        "code": REASON_CODES[verdict.reason] if verdict.reason else 0,
        "detail": verdict.detail,
        "score": score,
        "scaled": scaled,
        "thr": thresholds.ok if thresholds else None,
        "thr_ng": thresholds.ng if thresholds else None,
        "peak": (int(peak[0]), int(peak[1])) if peak else None,
        "bundle": verdict.bundle,
        "defects": verdict.defects,
        "n_defects": verdict.n_defects,
        "web": None if verdict.web is None else web_part(verdict.web),
    }


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a message says of a verdict beside the verdict itself.

    seq                number of the verdict
    mono_ns, wall_ns   one moment on two clocks: when the message was made
    deadline_us        what the frame was allowed, from its trigger or its last scan line
    trig, session      whom it answers; None where frames come untriggered
    enc                the encoder's count, unwrapped
    """

    seq: int
    mono_ns: int
    wall_ns: int
    deadline_us: int | None = None
    trig: str | None = None
    session: str | None = None
    enc: int | None = None


def verdict_message(verdict: Verdict, identity: Identity, envelope: Envelope) -> VerdictMessage:
    """The message about one verdict; it fits the cap whatever texts the verdict holds.

    A long detail loses its end, a long name its beginning.

    Raises
    ------
    WireError
        If the verdict contradicts itself, as an OK above its threshold does.
    """
    try:
        return VerdictMessage(
            v=1,
            type="verdict",
            seq=envelope.seq,
            trig=envelope.trig,
            session=envelope.session,
            unsure=verdict.reason is Reason.UNSURE,
            partial=verdict.reason is Reason.INCOMPLETE_FRAME,
            late=verdict.reason is Reason.LATE,
            t_acq_ns=verdict.captured_ns,
            acq_clock="monotonic",
            t_mono_ns=envelope.mono_ns,
            t_wall_ns=envelope.wall_ns,
            clock_sync="none",
            enc=envelope.enc,
            lat_us=_latencies(verdict),
            deadline_us=envelope.deadline_us,
            **identity.model_dump(exclude={"bundle"}),
            **_shortened(verdict_fields(verdict), identity),
        )
    except ValidationError as error:
        found = f"verdict on frame {verdict.frame_index} cannot be sent"
        raise WireError(f"{found}: {explain(error)}") from error


def _shortened(fields: dict[str, Any], identity: Identity) -> dict[str, Any]:
    """With texts that a message can hold."""
    return fields | {
        "name": shorten(fields["name"], MAX_NAME_CHARS, keep_end=True),
        "detail": shorten(fields["detail"], MAX_DETAIL_CHARS),
        # A frame lost before any bundle saw it is answered in the name of the one in force.
        "bundle": shorten(fields["bundle"] or identity.bundle, MAX_NAME_CHARS),
    }


def _latencies(verdict: Verdict) -> dict[str, int]:
    since_last_line_us = (verdict.judged_ns - verdict.captured_ns) // 1000
    stages = {"total": since_last_line_us} | dict(verdict.stages_us)
    # A clock that ran backwards spoils a duration; it must not void a verdict.
    return {stage: max(0, us) for stage, us in stages.items()}
