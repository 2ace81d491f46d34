"""Why a command is not obeyed, on its way to the client."""

from __future__ import annotations

from dataclasses import dataclass

from kenpin.runtime.wire.line_messages import ErrorReason

__all__ = ["Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an `error` says.

    detail    what was found, what was expected, what to do
    about     type of the command, if it could be read
    trig      id of the trigger, if it was about one
    reason    where it has a name
    pause_ms  with `paused`: until the client is listened to again
    log       whether it is worth a line; what follows from a refusal in the log is not
    """

    detail: str
    about: str | None = None
    trig: str | None = None
    reason: ErrorReason | None = None
    pause_ms: int | None = None
    log: bool = True
