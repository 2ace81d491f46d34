"""Between a client's methods and the line's messages. No socket, no OPC UA library."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kenpin.runtime.bridges.commands import checked
from kenpin.runtime.bridges.line_watch import LineWatch
from kenpin.runtime.bridges.link import Unsaid
from kenpin.runtime.bridges.opcua.result_fields import PART_MARK, job_id, result_id
from kenpin.runtime.bridges.process import BridgedLine
from kenpin.runtime.bridges.refusal import TriggerRefusal, refusal_of
from kenpin.runtime.bridges.results import Kept, Results, act_until_ns
from kenpin.runtime.wire.client import Heard

__all__ = ["MethodError", "Notice", "OpcuaDialogue"]

# How long a method waits for the line's answer.
_ANSWER_S = 1.0
_REMEMBERED = 64
# A verdict of before is not published any more when it is told.
_FRESH_NS = 300_000_000
# As the line's own, kenpin.runtime.wire.field_types.
_SESSION = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# A verdict's number. Python reads no numbers of any length.
_SEQ = re.compile(r"[1-9][0-9]{0,18}")


class MethodError:
    """What a method gives as its `Error` beside 0 and the refusals of a trigger."""

    IN_USE = -16
    NOT_OFFERED = -17
    UNKNOWN = -18
    FAILED = -19


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell whoever listens.

    what    started, acquired, result, prepared, alarm, or line: anything else that the line said
    fields  of the line's message
    topic   where the line published it; empty: it said so to this bridge
    ours    about a part of the session that is open here, or about none
    """

    what: str
    fields: Mapping[str, Any]
    topic: str = ""
    ours: bool = True


class OpcuaDialogue:
    """What is done when a client calls a method, and when the line speaks.

    A caller is whatever tells one client's connection from another's; one of them at a time
    commands. Methods return what the specification calls Error: 0, or a negative number.

    say      a command to the line; `hello` opens the session that it names
    tell     a notice to all who listen
    alive    whether a caller is still there
    line     as it was heard
    results  those that were not acknowledged, and the last ones
    """

    def __init__(
        self,
        facts: BridgedLine,
        recipes: Sequence[str],
        hold_ms: float,
        say: Callable[..., None],
        tell: Callable[[Notice], None],
        alive: Callable[[Any], bool],
    ) -> None:
        self._facts = facts
        self._recipes = recipes
        self._hold_ms = hold_ms
        self._say = say
        self._tell = tell
        self._alive = alive
        self.line = LineWatch()
        numbers = itertools.count(1)
        self.results = Results(lambda _: next(numbers))
        self._commander: Any = None
        self._session = ""
        self._acknowledges = False
        self._deadlines: OrderedDict[str, int] = OrderedDict()
        self._awaited: dict[str, asyncio.Future[tuple[str, Mapping[str, Any]]]] = {}
        # Parts that the line knew already when they were triggered.
        self._asked_again: OrderedDict[str, None] = OrderedDict()
        self.prepared = ""

    # -- what a client does ------------------------------------------------------------------

    async def open_session(self, caller: Any, session: str) -> int:
        """Command from now on, in a session of one's own naming, and acknowledge results."""
        if not _SESSION.fullmatch(session):
            return -TriggerRefusal.NO_SESSION
        self._commander = caller
        return await self._begin(session, acknowledges=True)

    async def _begin(self, session: str, *, acknowledges: bool) -> int:
        if session != self._session:
            self._forget()
        self._session, self._acknowledges = session, acknowledges
        kind, fields = await self._ask("hello", "hello", session=session)
        return 0 if kind == "state" else _refused(kind, fields)

    def _forget(self) -> None:
        self.results.forget()
        self._deadlines.clear()
        self._asked_again.clear()

    def greet_again(self) -> None:
        """Say HELLO, where the line has not taken the session."""
        if self._session and self.line.session != self._session and "hello" not in self._awaited:
            self._say("hello", session=self._session)

    async def _obstacle(self, caller: Any) -> int:
        """Why this caller may not command; 0 if he may."""
        if self._commander is not None and self._alive(self._commander):
            return 0 if caller is self._commander else MethodError.IN_USE
        # Another connection may be another program, which counts from 1: a session of its own.
        self._commander = caller
        return await self._begin(f"opcua-{secrets.token_hex(8)}", acknowledges=False)

    async def start_job(self, caller: Any, meas: str, part: str, recipe: str) -> tuple[str, int]:
        """Trigger a part; returns its trigger id, and the error."""
        error = await self._obstacle(caller)
        if error:
            return "", error
        if not self._facts.triggered:
            return "", MethodError.NOT_OFFERED
        trig = meas or secrets.token_hex(6)
        if PART_MARK in trig:
            return "", -TriggerRefusal.NO_ID
        # The part's own id goes along: it is known after a restart of ours, and in the books.
        trig += PART_MARK + part if part else ""
        fields = {"recipe": recipe} if recipe else {}
        kind, said = await self._ask(
            f"trigger {trig}", "trigger", trig=trig, session=self._session, **fields
        )
        return trig, 0 if kind == "trigger_ack" else _refused(kind, said)

    def job(self, trig: str | None) -> str:
        """The JobId of a part of the session, or of a line that runs by itself."""
        return job_id({"boot": self.line.boot, "session": self._session, "trig": trig})

    async def start_continuous(self, caller: Any) -> int:
        """A line runs by itself, or it does not: its settings say which."""
        return await self._obstacle(caller) or (
            MethodError.NOT_OFFERED if self._facts.triggered else 0
        )

    async def end_job(self, caller: Any) -> int:
        """Stop or abort: what was photographed is judged within its budget all the same."""
        return await self._obstacle(caller) or (
            0 if self._facts.triggered else MethodError.NOT_OFFERED
        )

    async def reset(self, caller: Any) -> int:
        """Let the line begin anew after a failure."""
        return await self._obstacle(caller) or await self._command("reset", {"resetting"})

    async def prepare(self, caller: Any, label: str) -> int:
        """Let the line prove another bundle; `prepared` is told later."""
        if label not in self._recipes:
            return MethodError.UNKNOWN
        return await self._obstacle(caller) or await self._command(
            "prepare", {"preparing", "prepared"}, bundle=label
        )

    async def activate(self, caller: Any, label: str) -> int:
        """Let the prepared bundle judge from the next frame on."""
        return await self._obstacle(caller) or await self._command(
            "activate", {"active"}, bundle=label
        )

    async def _command(self, name: str, well: set[str], **fields: Any) -> int:
        kind, said = await self._ask(name, name, **fields)
        if kind == "failed":
            return MethodError.FAILED
        return 0 if kind in well else _refused(kind, said)

    async def acknowledge(self, caller: Any, named: str) -> int:
        """The client has a result, by its ResultId."""
        if caller is not self._commander:
            return MethodError.IN_USE
        boot, _, seq = named.rpartition(":")
        if boot != self.line.boot or not _SEQ.fullmatch(seq):
            return MethodError.UNKNOWN
        for kept in self.results.waiting:
            if kept.verdict["seq"] == int(seq):
                self.results.acknowledge(kept.number)
        if self._facts.triggered:
            self._say("ack", seq=int(seq))
        return 0

    def waiting(self, now_ns: int) -> list[Mapping[str, Any]]:
        """Verdicts that are not acknowledged and may still be acted on, oldest first."""
        return [kept.verdict for kept in self.results.waiting if now_ns <= kept.until_ns]

    def found(self, named: str) -> Mapping[str, Any] | None:
        """One of the last verdicts, by its ResultId."""
        for kept in self.results.kept:
            if result_id(kept.verdict) == named:
                return kept.verdict
        return None

    @property
    def recipes(self) -> list[str]:
        """Labels of bundles that can be prepared, the one in force first."""
        own = [self.line.bundle] if self.line.bundle else []
        return own + [label for label in self._recipes if label not in own]

    async def _ask(self, key: str, kind: str, **fields: Any) -> tuple[str, Mapping[str, Any]]:
        """Say a command and wait for what answers it; kind `silent` if nothing does.

        Kind `error` at once for what the line would not take: asyncua hands on bytes that are no
        text, for example.
        """
        if checked(kind, fields)[0] is None:
            return "error", {}
        answer = self._awaited.get(key)
        if answer is None:
            answer = self._awaited[key] = asyncio.get_running_loop().create_future()
        self._say(kind, **fields)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), _ANSWER_S)
        except TimeoutError:
            return "silent", {}
        finally:
            self._awaited.pop(key, None)

    def _answer(self, key: str, kind: str, fields: Mapping[str, Any]) -> None:
        answer = self._awaited.get(key)
        if answer is not None and not answer.done():
            answer.set_result((kind, fields))

    # -- what the line says --------------------------------------------------------------------

    def heard(self, message: Heard | Unsaid, now_ns: int) -> None:
        """A message of the line, or a command that it was not told."""
        if isinstance(message, Unsaid):
            key = message.kind
            key += f" {message.fields['trig']}" if key == "trigger" else ""
            self._answer(key, "silent", {})
            return
        if self.line.heard(message, now_ns):
            self._forget()
            self.greet_again()
        if message.topic:
            self._published(message)
        else:
            self._direct_message(message.kind, message.fields, now_ns)

    def _published(self, message: Heard) -> None:
        kind, fields = message.kind, message.fields
        if kind == "verdict" and not self._facts.triggered:
            self._keep(fields, None)
        what = {"verdict": "result", "alarm": "alarm"}.get(kind, "line")
        self._tell(Notice(what, fields, message.topic, self._is_ours(fields)))

    def _is_ours(self, fields: Mapping[str, Any]) -> bool:
        """Others name their parts 1, 2, 3, too, and so did this client before it started anew."""
        return fields.get("trig") is None or self._of_our_session(fields)

    def _of_our_session(self, fields: Mapping[str, Any]) -> bool:
        return bool(self._session) and fields.get("session") == self._session

    def _direct_message(self, kind: str, fields: Mapping[str, Any], now_ns: int) -> None:
        if kind in ("trigger_ack", "acquired", "verdict"):
            if self._of_our_session(fields):
                self._of_part(kind, fields, now_ns)
            return
        if kind == "state":
            self._answer("hello", kind, fields)
        elif kind == "error":
            about = fields["about"] or ""
            if about == "hello":
                self.line.refused(fields["detail"])
            key = f"{about} {fields['trig']}" if about == "trigger" else about
            self._answer(key, kind, fields)
        elif kind in ("preparing", "prepared", "failed"):
            self.prepared = fields.get("bundle", "") if kind == "prepared" else ""
            self._answer("prepare", kind, fields)
            if kind == "failed":
                self._answer("activate", kind, fields)
        elif kind == "active":
            self._answer("activate", kind, fields)
        elif kind == "resetting":
            self._answer("reset", kind, fields)
        self._tell(Notice("prepared" if kind == "prepared" else "line", fields))

    def _of_part(self, kind: str, fields: Mapping[str, Any], now_ns: int) -> None:
        trig = fields["trig"]
        if kind == "trigger_ack":
            self._deadlines[trig] = fields["deadline_ns"]
            if len(self._deadlines) > _REMEMBERED:
                self._deadlines.popitem(last=False)
            if not fields["fresh"]:
                self._asked_again[trig] = None
                if len(self._asked_again) > _REMEMBERED:
                    self._asked_again.popitem(last=False)
            self._answer(f"trigger {trig}", kind, fields)
            self._tell(Notice("started" if fields["fresh"] else "line", fields))
        elif kind == "acquired":
            self._tell(Notice("acquired", fields))
        else:
            self._verdict(fields, now_ns)

    def _verdict(self, fields: Mapping[str, Any], now_ns: int) -> None:
        """What everybody heard is not told again, unless it was asked for again."""
        trig, seq = fields["trig"], fields["seq"]
        taken = self.results.taken(seq)
        kept = None if taken else self._keep(fields, self._deadlines.get(trig))
        missed = kept is not None and now_ns - fields["t_mono_ns"] > _FRESH_NS
        if trig in self._asked_again or missed:
            self._asked_again.pop(trig, None)
            self._tell(Notice("result", fields))
        if kept is not None and not self._acknowledges:
            self.results.acknowledge(kept.number)
            taken = True
        if taken:
            self._say("ack", seq=seq)

    def _keep(self, fields: Mapping[str, Any], deadline_ns: int | None) -> Kept | None:
        return self.results.add(fields, act_until_ns(fields, deadline_ns, self._hold_ms))


def _refused(kind: str, fields: Mapping[str, Any]) -> int:
    return -(TriggerRefusal.AWAY if kind == "silent" else refusal_of(fields))
