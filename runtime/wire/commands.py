"""What clients command, on `ctl`: one map each, version 1. Unknown keys are refused.

A command that is misspelt must not be half obeyed: a trigger whose `recipie` was
ignored would be judged by the wrong bundle.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from kenpin.runtime.wire.field_types import KEPT_STRINGS, U64_MAX, SessionId, TrigId, unsaid

__all__ = [
    "COMMANDS",
    "KINDS",
    "Ack",
    "Activate",
    "Command",
    "Hello",
    "Prepare",
    "Reset",
    "RollStart",
    "RollStop",
    "Selftest",
    "Status",
    "Trigger",
]

_Name = Annotated[str, StringConstraints(min_length=1, max_length=250)]


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
    v: Literal[1]


class Hello(_Command):
    """Who is there? Opens a session, or returns to it.

    Answered with the state, open alarms and the session's verdicts not yet acknowledged.
    """

    type: Literal["hello"]
    session: SessionId | None = Field(
        default=None,
        exclude_if=unsaid,
        description="chosen by the client, another one at each start of its program; left out: "
        "the line chooses one for each connection",
    )


class Trigger(_Command):
    """One part, one verdict. The same id again returns the same verdict."""

    type: Literal["trigger"]
    trig: TrigId = Field(description="id of the part, chosen by the client, new for each part")
    recipe: _Name | None = Field(
        default=None,
        description="recipe or bundle that must be in force, else NG recipe_mismatch; null: any",
    )
    budget_us: Annotated[int, Field(ge=1, le=60_000_000)] | None = Field(
        default=None,
        description="µs from this message to the verdict; the line's own budget caps it",
    )
    session: SessionId | None = Field(
        default=None,
        exclude_if=unsaid,
        description="that the id belongs to; if another one is in force, the answer is an error "
        "of reason stale; left out: the one in force",
    )


class Ack(_Command):
    """The verdict of that number has arrived."""

    type: Literal["ack"]
    seq: Annotated[int, Field(ge=1, le=U64_MAX)] = Field(description="as in the verdict")


class Prepare(_Command):
    """Prove another bundle of the store beside the running line."""

    type: Literal["prepare"]
    bundle: _Name = Field(description="its label, such as web@0123456789ab")


class Activate(_Command):
    """Let the prepared bundle judge from the next frame on."""

    type: Literal["activate"]
    bundle: _Name | None = Field(
        default=None,
        exclude_if=unsaid,
        description="label of the prepared bundle that is meant; required where clients have "
        "prepared different ones",
    )


class Selftest(_Command):
    """Judge the golden frames again, in pauses."""

    type: Literal["selftest"]


class RollStart(_Command):
    """A roll of the web begins with the line that comes next."""

    type: Literal["roll_start"]
    name: Annotated[str, StringConstraints(max_length=64)] = Field(
        default="", description="of the roll; empty: numbered by the line"
    )


class RollStop(_Command):
    """The running roll ends with the last line that came, whether or not it is judged yet."""

    type: Literal["roll_stop"]


class Reset(_Command):
    """Begin anew after a failure; always allowed, and nothing to a line that works."""

    type: Literal["reset"]


class Status(_Command):
    """Where does the line stand?"""

    type: Literal["status"]


# Whatever a client may send.
Command = (
    Hello | Trigger | Ack | Prepare | Activate | Selftest | RollStart | RollStop | Reset | Status
)
_MODELS: tuple[Any, ...] = get_args(Command)
# The `type` of each command.
KINDS = frozenset(get_args(model.model_fields["type"].annotation)[0] for model in _MODELS)
# Reads a command, and refuses what is none.
COMMANDS: TypeAdapter[Command] = TypeAdapter(
    Annotated[Command, Field(discriminator="type")], config=ConfigDict(cache_strings=KEPT_STRINGS)
)
