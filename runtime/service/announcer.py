"""What the line says: verdicts, states, heartbeats and alarms, as messages."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

import structlog

from kenpin.config.line import Line
from kenpin.config.text import shorten
from kenpin.runtime.judging.verdict import Reason, Verdict
from kenpin.runtime.service.inspection.changeover import Change
from kenpin.runtime.service.inspection.messages import BundleFacts
from kenpin.runtime.service.ledger import Ledger, LedgerEntry, Owner
from kenpin.runtime.service.line_sockets import LineSockets
from kenpin.runtime.service.refusal import Refusal
from kenpin.runtime.service.sessions import Sessions
from kenpin.runtime.wire.encodings import CODECS
from kenpin.runtime.wire.feed import LineFeed, Standing
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS
from kenpin.runtime.wire.line_messages import (
    Acquired,
    Alarm,
    ChangeoverReply,
    ErrorReply,
    Heartbeat,
    LateResult,
    LineMessage,
    Resetting,
    RollAck,
    RollWritten,
    SelftestDone,
    TriggerAck,
)
from kenpin.runtime.wire.verdict_messages import (
    Identity,
    State,
    StateMessage,
    verdict_fields,
    verdict_message,
)

__all__ = ["Announcer"]


class Announcer:
    """Speaks for the line. Sending never waits for a reader."""

    def __init__(
        self,
        line: Line,
        boot: str,
        sockets: LineSockets,
        ledger: Ledger,
        *,
        mono_ns: Callable[[], int],
        wall_ns: Callable[[], int],
    ) -> None:
        self._line = line
        self._sockets = sockets
        self._ledger = ledger
        self._log = structlog.get_logger()
        self._codec = CODECS[line.wire.encoding]
        published = CODECS[line.wire.pub_encoding or line.wire.encoding]
        self._same = published is self._codec
        identity = Identity(
            box=line.box,
            line=line.name,
            cam=line.cam,
            boot=boot,
            bundle="",
            recipe_id="",
            sim=line.simulated,
        )
        self._feed = LineFeed(
            identity, sockets.publisher, published.write, ledger, mono_ns=mono_ns, wall_ns=wall_ns
        )
        self._alarms: dict[str, Alarm] = {}
        self.sessions = Sessions(ledger.end, sockets.access.hang_up, mono_ns)
        self._beats = 0

    @property
    def boot(self) -> str:
        """Which start of the service this is."""
        return self._feed.identity.boot

    @property
    def state(self) -> State:
        """The state last told."""
        return self._feed.standing.state

    def greet_newcomers(self) -> None:
        """Tell whoever has just subscribed what is not in order."""
        # The publisher has told them the state.
        if self._sockets.publisher.serve_subscriptions():
            for alarm in self._alarms.values():
                self._feed.publish(alarm)

    def refuse(self, client: bytes, refusal: Refusal) -> None:
        """Tell a client that its command was not obeyed, and why."""
        about, trig, detail = refusal.about, refusal.trig, refusal.detail
        if refusal.log:
            # A struct has room for a few words of it.
            self._log.warning("refused", client=client.hex(), about=about, trig=trig, detail=detail)
        reply = ErrorReply(
            **self._feed.head(),
            type="error",
            about=about,
            trig=trig,
            reason=refusal.reason,
            pause_ms=refusal.pause_ms,
            detail=shorten(detail, MAX_DETAIL_CHARS),
        )
        self._to(client, self._codec.write(reply))

    def _say(self, owner: Hashable, message: LineMessage | StateMessage) -> None:
        """Say something to a client in its session; untriggered frames have none."""
        self._send(owner, self._codec.write(message))

    def _send(self, owner: Hashable, payload: bytes) -> None:
        # Another client, or the same one started anew, may have the name by now: whoever has
        # gone is noticed first.
        self._sockets.access.listen()
        if isinstance(owner, Owner) and self.sessions.serves(owner):
            self._to(owner.client, payload)

    def _to(self, client: bytes, payload: bytes) -> None:
        if self._sockets.control is not None:
            self._sockets.control.send(client, payload)

    def accepted(self, entry: LedgerEntry, fresh: bool) -> None:
        """The trigger is in the books: it will get its verdict."""
        assert entry.trig is not None, "a frame that came by itself has no trigger to accept"
        ack = TriggerAck(
            **self._feed.head(),
            type="trigger_ack",
            trig=entry.trig,
            session=_session_of(entry.owner),
            fresh=fresh,
            deadline_ns=entry.deadline_ns,
            overrun=self._ledger.overrun(entry.owner),
        )
        self._say(entry.owner, ack)

    def acquired(self, entry: LedgerEntry) -> None:
        """The trigger's frame is there: the part may move."""
        assert entry.trig is not None
        assert entry.frame_index is not None
        self._say(
            entry.owner,
            Acquired(
                **self._feed.head(),
                type="acquired",
                trig=entry.trig,
                session=_session_of(entry.owner),
                frame=entry.frame_index,
            ),
        )

    def verdict(self, entry: LedgerEntry, verdict: Verdict) -> None:
        """The one final verdict on an entry."""
        envelope = replace(
            self._feed.envelope(entry.seq),
            deadline_us=(entry.deadline_ns - entry.opened_ns) // 1000,
            trig=entry.trig,
            session=_session_of(entry.owner),
            enc=entry.capture.encoder,
        )
        message = verdict_message(verdict, self._feed.identity, envelope)
        entry.sent = self._codec.write(message)
        # The one who triggered first: the part is under way.
        self.again(entry)
        self._feed.publish(message, entry.sent if self._same else None)

    def again(self, entry: LedgerEntry) -> None:
        """Send a verdict to whoever triggered, for the first time or once more."""
        self._send(entry.owner, entry.sent)

    def remind(self, entry: LedgerEntry) -> None:
        """Send a verdict once more that nobody has asked for again."""
        if isinstance(entry.owner, Owner) and self.sessions.uncontested(entry.owner):
            self.again(entry)

    def late(self, found: Verdict) -> None:
        """A result that came after its verdict, for statistics only."""
        fields = verdict_fields(found)
        kept = {name: fields[name] for name in ("score", "verdict", "reason", "bundle", "web")}
        self._feed.publish(LateResult(**self._feed.head(), type="late", **kept))

    def heartbeat(self, *, in_flight: int, cam_ok: bool) -> None:
        """A sign of life, of the inspection's own."""
        self._beats += 1
        self._feed.publish(
            Heartbeat(
                **self._feed.head(),
                type="hb",
                hb_seq=self._beats,
                state=self.state,
                last_seq=self._ledger.last_seq,
                in_flight=in_flight,
                bundle=self._feed.identity.bundle,
                cam_ok=cam_ok,
                late_count=self._ledger.reasons[Reason.LATE],
            )
        )

    def alarm(self, what: str, detail: str) -> None:
        """Something needs a person; an empty detail says that it no longer does."""
        text = shorten(detail, MAX_DETAIL_CHARS)
        alarm = Alarm(
            **self._feed.head(), type="alarm", source=what, active=bool(detail), detail=text
        )
        self._alarms[what] = alarm
        if not detail:
            del self._alarms[what]
        self._feed.publish(alarm)

    def roll(self, page: str) -> None:
        """The report on a roll is written."""
        self._feed.publish(RollWritten(**self._feed.head(), type="roll", page=page))

    def changed(self, change: Change) -> None:
        """Tell the client that asked for another bundle how far that has come."""
        text = shorten(change.detail, MAX_DETAIL_CHARS)
        reply = ChangeoverReply(
            **self._feed.head(), type=change.step, bundle=change.bundle, detail=text
        )
        self._say(change.owner, reply)

    def selftested(self, client: Owner, passed: bool, detail: str) -> None:
        """Tell a client that asked for a self-test how it ended."""
        text = shorten(detail, MAX_DETAIL_CHARS)
        self._say(
            client,
            SelftestDone(**self._feed.head(), type="selftest_done", passed=passed, detail=text),
        )

    def resetting(self, client: Owner) -> None:
        """The line begins anew, as a client asked."""
        self._say(client, Resetting(**self._feed.head(), type="resetting"))

    def roll_runs(self, client: Owner, running: bool) -> None:
        """A roll was started or stopped, as a client asked."""
        self._say(client, RollAck(**self._feed.head(), type="roll_ack", running=running))

    def greet(self, client: Owner) -> None:
        """What a client must know that has just come, or come back."""
        self.say_state(client)
        for alarm in self._alarms.values():
            self._say(client, alarm)
        for entry in self._ledger.unacknowledged(client):
            self.again(entry)

    def say_state(self, client: Owner) -> None:
        """Where the line stands."""
        self._say(client, self._feed.state_message().model_copy(update={"session": client.session}))

    def stand(
        self, state: State, facts: BundleFacts | None, selftest: bool, degraded: bool
    ) -> None:
        """Say where the line stands, if that has changed."""
        standing = Standing(state, facts.label if facts else "", selftest, degraded)
        if standing == self._feed.standing:
            return
        if facts:
            self._feed.identity = self._feed.identity.model_copy(
                update={"bundle": facts.label, "recipe_id": facts.recipe}
            )
        self._feed.stand(standing)


def _session_of(owner: Hashable) -> str | None:
    return owner.session if isinstance(owner, Owner) else None
