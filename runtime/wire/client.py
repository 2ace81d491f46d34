"""A client of a line: triggers and commands on `ctl`, verdicts, states and heartbeats on `pub`.

    with LineClient("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556") as line:
        print(line.hello().state)
        verdict = line.judge("part-4711")      # TRIGGER, VERDICT, ACK

Every wait has an end. A cut connection is made anew by itself and greeted with
HELLO; whoever waits for a verdict then triggers again under the same id, which
the line knows: one part, one verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from kenpin.runtime.wire.line_connection import (
    Heard,
    LineConnection,
    LineSilentError,
    WireOptions,
)
from kenpin.runtime.wire.verdict_messages import StateMessage, VerdictMessage

__all__ = ["Heard", "LineClient", "LineSilentError", "RefusedError", "WireOptions"]

_AGAIN_S = 1.0
# Between two attempts to come in under a name that is taken.
_TAKEN_S = 0.5


class RefusedError(ValueError):
    """The line answered that it cannot do that; the text is its own.

    reason    `stale`, `duplicate` or `paused`, where it has a name
    pause_ms  with `paused`: until the line listens to this client again
    """

    def __init__(self, detail: str, reason: str | None = None, pause_ms: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.pause_ms = pause_ms

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """What an `error` or `failed` says."""
        detail = fields.get("detail", "refused")
        return cls(detail, fields.get("reason"), fields.get("pause_ms"))


class LineClient(LineConnection):
    """Talks with one line. Use it from one thread, and in a `with`.

    Made like a `LineConnection`. After `judge`, `fresh` says whether the line took the trigger
    for a new part; if not, its id was used before in this session, and the verdict is the one
    that it got then.
    """

    # Whether the line took the last trigger of `judge` for a new part.
    fresh = False

    def hello(self, timeout_s: float = 5.0) -> StateMessage:
        """Greet: the line's state. Verdicts not yet acknowledged follow by themselves.

        Raises
        ------
        RefusedError
            If another client of this name is being served, or the session has ended.
        """
        end_s = time.monotonic() + timeout_s
        while True:
            self.say("hello", within_s=timeout_s)
            heard = self.wait(
                lambda h: (
                    _reply("state")(h) or (_reply("error")(h) and h.fields["about"] == "hello")
                ),
                max(0.0, end_s - time.monotonic()),
                "HELLO",
            )
            if heard.kind == "state":
                return heard.state()
            # Whoever had the name before may only be about to be missed.
            if heard.fields.get("reason") != "duplicate" or time.monotonic() + _TAKEN_S > end_s:
                raise RefusedError.of(heard.fields)
            time.sleep(_TAKEN_S)

    def status(self, timeout_s: float = 5.0) -> StateMessage:
        """Where the line stands."""
        self.say("status", within_s=timeout_s)
        return self.wait(_reply("state"), timeout_s, "STATUS").state()

    def judge(
        self,
        trig: str,
        *,
        recipe: str | None = None,
        budget_ms: float | None = None,
        timeout_s: float = 5.0,
    ) -> VerdictMessage:
        """Trigger one part, acknowledge its verdict and return it.

        If the line knew the id already, no new frame was taken and the verdict is that of the
        earlier part: `fresh` says so.

        Raises
        ------
        LineSilentError
            If there is no verdict within `timeout_s` seconds. The part must then be
            rejected; asked again under the same id, the line gives the same verdict.
        RefusedError
            If the line cannot take this trigger.
        """
        fields: dict[str, Any] = {"trig": trig}
        if recipe is not None:
            fields["recipe"] = recipe
        if budget_ms is not None:
            fields["budget_us"] = round(budget_ms * 1000)
        wanted = _reply("verdict", "error", "trigger_ack")
        self.fresh = False
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            self.say("trigger", within_s=left_s, **fields)
            again_s = min(end_s, time.monotonic() + _AGAIN_S)
            cuts = self.cuts
            while self.cuts == cuts and (left_s := again_s - time.monotonic()) > 0:
                heard = self.next_of(
                    lambda h: wanted(h) and h.fields.get("trig", trig) == trig, min(left_s, 0.1)
                )
                if heard is not None and heard.kind == "error":
                    raise RefusedError.of(heard.fields)
                if heard is not None and heard.kind == "trigger_ack":
                    self.fresh |= heard.fields.get("fresh") is True
                elif heard is not None and heard.fields.get("session") == self.session:
                    self.acknowledge(heard.fields["seq"])
                    return heard.verdict()
        raise LineSilentError(f"trigger {trig!r}: no verdict within {timeout_s:g} s")

    def acknowledge(self, seq: int) -> None:
        """ACK a verdict; until then the line sends it again."""
        self.say("ack", seq=seq)

    def prepare(self, bundle: str, timeout_s: float = 120.0) -> str:
        """Let the line prove another bundle beside the running one; its label.

        Raises
        ------
        RefusedError
            If it cannot: the running bundle stays.
        """
        self.say("prepare", bundle=bundle)
        wanted = _reply("prepared", "failed", "error")
        return self._done(self.wait(wanted, timeout_s, f"PREPARE {bundle}"))

    def activate(self, timeout_s: float = 5.0, *, bundle: str | None = None) -> str:
        """Let the prepared bundle judge from the next frame on; its label.

        bundle  which one is meant, if others may have prepared another

        Raises
        ------
        RefusedError
            If none is prepared, or another one is.
        """
        fields: dict[str, Any] = {} if bundle is None else {"bundle": bundle}
        self.say("activate", **fields)
        return self._done(self.wait(_reply("active", "failed", "error"), timeout_s, "ACTIVATE"))

    @staticmethod
    def _done(heard: Heard) -> str:
        if heard.kind in ("failed", "error"):
            raise RefusedError.of(heard.fields)
        label: str = heard.fields["bundle"]
        return label

    def selftest(self, timeout_s: float = 60.0) -> str:
        """Judge the golden frames again: empty if they pass, else what is wrong."""
        self.say("selftest")
        done = self.wait(_reply("selftest_done"), timeout_s, "SELFTEST").fields
        detail: str = done["detail"]
        return "" if done["passed"] else detail or "the self-test failed"

    def reset(self, timeout_s: float = 5.0) -> None:
        """Begin anew after a failure; a line that works goes on."""
        self.say("reset")
        self.wait(_reply("resetting"), timeout_s, "RESET")


def _reply(*kinds: str) -> Callable[[Heard], bool]:
    """Messages of these kinds that were said to this client alone."""
    return lambda heard: not heard.topic and heard.kind in kinds
