"""What a running line says beside verdicts and states: version 1, every unit in its schema.

Within version 1 fields are only ever added; readers ignore those they do not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypedDict

from pydantic import BeforeValidator, Field, StringConstraints

from kenpin.runtime.judging.verdict import Outcome
from kenpin.runtime.wire.field_types import (
    MAX_DETAIL_CHARS,
    U64,
    Frozen,
    Label,
    ReasonName,
    SessionId,
    Token,
    TrigId,
    Uuid,
    unsaid,
    whole,
)
from kenpin.runtime.wire.verdict_messages import State, StateMessage, VerdictMessage
from kenpin.runtime.wire.web_messages import WebPart

__all__ = [
    "PUBLISHED",
    "REPLIES",
    "Acquired",
    "Alarm",
    "ChangeStep",
    "ChangeoverReply",
    "ErrorReason",
    "ErrorReply",
    "Head",
    "Heartbeat",
    "LateResult",
    "LineMessage",
    "Resetting",
    "RollAck",
    "RollWritten",
    "SelftestDone",
    "TriggerAck",
]

_Detail = Annotated[str, StringConstraints(max_length=MAX_DETAIL_CHARS)]


class LineMessage(Frozen):
    """How each of these messages begins."""

    v: Literal[1] = Field(description="major version of the wire")
    type: str
    box: Token = Field(description="the computer")
    line: Token = Field(description="the production line, as in the topic")
    boot: Uuid = Field(description="new whenever the service starts")
    t_mono_ns: U64 = Field(description="when this message was made, ns, the box's monotonic clock")


class Head(TypedDict):
    """How each of these messages begins, but for its type."""

    v: Literal[1]
    box: str
    line: str
    boot: str
    t_mono_ns: int


class Heartbeat(LineMessage):
    """On v1/hb/<line> every 100 ms, as long as the inspection itself makes progress."""

    type: Literal["hb"]
    hb_seq: U64 = Field(description="1, 2, 3, … per boot")
    state: State
    last_seq: U64 = Field(description="seq of the newest verdict; 0 before the first")
    in_flight: U64 = Field(description="triggers and frames that have no verdict yet")
    bundle: Label = Field(description="name and content hash of the bundle in force")
    cam_ok: bool = Field(description="the camera is armed, streaming, or waits for its web")
    late_count: U64 = Field(description="verdicts with reason late, since boot")


class LateResult(LineMessage):
    """On v1/late/<line>: came after its verdict, changes nothing, for statistics only."""

    type: Literal["late"]
    score: float | None = Field(description="dimensionless; null if none is finite")
    verdict: Annotated[Outcome, BeforeValidator(whole)] = Field(
        description="what it would have been, 1 OK or 2 NG; nothing may act on it"
    )
    reason: ReasonName | None
    bundle: Label
    web: WebPart | None = Field(description="what was found on a web; null where frames show parts")


class Alarm(LineMessage):
    """On v1/alarm/<line> when something begins or ceases to need a person; also after HELLO."""

    type: Literal["alarm"]
    source: Label = Field(description="the part that it is about, such as camera or bundle")
    active: bool = Field(description="false: no longer")
    detail: _Detail = Field(description="one sentence for people, empty if no longer active")


class RollWritten(LineMessage):
    """On v1/roll/<line>: the report on a roll of the web is on the disk."""

    type: Literal["roll"]
    page: str = Field(max_length=4096, description="path of its page on the box")


class TriggerAck(LineMessage):
    """The trigger is in the books: it will get its verdict by `deadline_ns`."""

    type: Literal["trigger_ack"]
    trig: TrigId
    session: SessionId | None = Field(
        default=None, exclude_if=unsaid, description="that the id belongs to"
    )
    fresh: bool = Field(description="false: the id was known, no further frame is taken")
    deadline_ns: U64 = Field(description="of its verdict, ns, the box's monotonic clock")
    overrun: bool = Field(
        description="more than 8 verdicts to this client were not acknowledged; the oldest are "
        "no longer sent again"
    )


class Acquired(LineMessage):
    """The trigger's frame is there: the part may move."""

    type: Literal["acquired"]
    trig: TrigId
    session: SessionId | None = Field(
        default=None, exclude_if=unsaid, description="that the id belongs to"
    )
    frame: U64 = Field(description="as in the verdict")


# Why a command was not obeyed, where that has a name.
ErrorReason = Literal["stale", "duplicate", "paused"]


class ErrorReply(LineMessage):
    """A command could not be read or obeyed, and nothing was done."""

    type: Literal["error"]
    about: str | None = Field(description="type of the command; null if it could not be read")
    trig: TrigId | None = Field(description="id of the trigger, if it was about one")
    reason: ErrorReason | None = Field(
        default=None,
        exclude_if=unsaid,
        description="stale: it is about a session that has ended; duplicate: another client has "
        "this one's name; paused: after too many mistakes nothing of this client is obeyed for "
        "pause_ms; left out: see detail",
    )
    pause_ms: Annotated[int, Field(ge=1, le=60_000)] | None = Field(
        default=None,
        exclude_if=unsaid,
        description="with paused: milliseconds until this client is listened to again",
    )
    detail: _Detail = Field(description="what was found, what was expected, what to do")


# How far a change of the bundle has come.
ChangeStep = Literal["preparing", "prepared", "active", "failed"]


class ChangeoverReply(LineMessage):
    """How far a change of the bundle has come: answers to PREPARE and ACTIVATE."""

    type: ChangeStep
    bundle: Label
    detail: _Detail = Field(description="why it failed, else empty; the running bundle stays")


class SelftestDone(LineMessage):
    """The golden frames have been judged: answer to SELFTEST."""

    type: Literal["selftest_done"]
    passed: bool
    detail: _Detail = Field(description="which frame failed, and by how much")


class Resetting(LineMessage):
    """The answer to RESET; states tell how it goes on, where it does not work already."""

    type: Literal["resetting"]


class RollAck(LineMessage):
    """The answer to ROLL_START and ROLL_STOP."""

    type: Literal["roll_ack"]
    running: bool = Field(description="whether a roll runs from now on")


# By their type. Verdicts and states are published, and said to single clients too.
PUBLISHED: Mapping[str, type[Frozen]] = {
    "verdict": VerdictMessage,
    "state": StateMessage,
    "hb": Heartbeat,
    "alarm": Alarm,
    "late": LateResult,
    "roll": RollWritten,
}
REPLIES: Mapping[str, type[Frozen]] = {
    "trigger_ack": TriggerAck,
    "acquired": Acquired,
    "error": ErrorReply,
    "preparing": ChangeoverReply,
    "prepared": ChangeoverReply,
    "active": ChangeoverReply,
    "failed": ChangeoverReply,
    "selftest_done": SelftestDone,
    "resetting": Resetting,
    "roll_ack": RollAck,
}
