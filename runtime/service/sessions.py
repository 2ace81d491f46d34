"""Who speaks under which name, and in which session: no verdict crosses from one to another.

A name is the routing id that a client gives its socket; nothing stops two
programs from taking the same one, or a program from starting anew under its
old one. So ids of triggers count within a session, which HELLO opens, and a
session is served over one connection at a time.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from kenpin.config.text import brief
from kenpin.runtime.service.ledger import Owner
from kenpin.runtime.wire.authentication import Connection

__all__ = ["DISPUTE_NS", "OWN_NUMBERS", "DuplicateClientError", "Sessions", "StaleError"]

# How long a name stays disputed after two connections were seen to claim it.
DISPUTE_NS = 2_000_000_000
# Session numbers from here on are chosen by the line, so that no client's counter meets them.
OWN_NUMBERS = 32768
_NUMBERS = 65536
_NUMBER = re.compile(r"[1-9][0-9]*")
# Each connection without an id of its own is another client to ZeroMQ: whoever comes and
# goes for a year must cost no memory.
SEATS = 1024
_ENDED = 256


class DuplicateClientError(ValueError):
    """Two clients call themselves alike; this one is not served."""

    reason: Literal["duplicate"] = "duplicate"


class StaleError(ValueError):
    """About a session that has ended, or an id of one."""

    reason: Literal["stale"] = "stale"


@dataclass(slots=True)
class _Seat:
    """What is known of a name.

    owner       the session in force under it
    named       the client chose the session; else the line did
    used        ids were used in it
    served      the connection over which it is served
    holder      the connection that spoke last under the name, served or refused
    taken_ns    when another connection last took the session over from a living one
    disputed_ns until when nobody else is let in
    rivals      the last two that claimed the name at once, since the session was opened
    ended       sessions that were in force before
    """

    owner: Owner
    named: bool
    served: Connection | None
    holder: Connection | None
    taken_ns: int = -DISPUTE_NS
    disputed_ns: int = 0
    rivals: list[str] = field(default_factory=list)
    used: bool = False
    ended: deque[str] = field(default_factory=lambda: deque(maxlen=_ENDED))


class Sessions:
    """The session of everybody who speaks on `ctl`.

    end       called with an owner whose session has ended
    hang_up   ends a connection that another one has pushed aside: libzmq takes the name
              from it and listens to it no more, without a word to whoever is there
    clock_ns  monotonic
    """

    def __init__(
        self,
        end: Callable[[Owner], None],
        hang_up: Callable[[Connection], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._end = end
        self._hang_up = hang_up
        self._clock_ns = clock_ns
        self._seats: OrderedDict[bytes, _Seat] = OrderedDict()
        self._numbers = 0

    def hear(
        self,
        client: bytes,
        connection: Connection | None,
        session: str | None,
        *,
        hello: bool,
        trigger: bool,
    ) -> Owner:
        """In whose session a command is given.

        session  the one that it names, if any
        hello    it may open one
        trigger  it uses an id

        Raises
        ------
        DuplicateClientError
            If another client of that name is being served.
        StaleError
            If it names a session that is not in force, or the client has to say HELLO.
        """
        seat = self._seats.get(client)
        if seat is None:
            # Nothing is remembered of it: a session that a TRIGGER names is as good as HELLO's.
            owner = self._open(client, connection, session)
            self._seats[client].used = trigger
            return owner
        self._seats.move_to_end(client)
        if connection is not seat.served:
            self._admit(client, seat, connection, session, hello=hello)
        seat = self._seats[client]
        if session is None or session == seat.owner.session:
            seat.used = seat.used or trigger
            return seat.owner
        if not hello and (seat.named or seat.used):
            raise StaleError(
                f"stale: session {session!r} is not in force, {seat.owner.session!r} is; say "
                "HELLO, then number parts anew"
            )
        owner = self._renew(client, seat, connection, session)
        self._seats[client].used = trigger
        return owner

    def serves(self, owner: Owner) -> bool:
        """Whether what is owed to an owner may be sent: to nobody but the one who asked.

        Its connection must last: the name may already be another one's, who has said nothing yet.
        """
        seat = self._seats.get(owner.client)
        if seat is None or seat.owner != owner or seat.holder is not seat.served:
            return False
        return seat.served is None or not seat.served.ended

    def uncontested(self, owner: Owner) -> bool:
        """Whether nobody else has claimed the name since the session was opened.

        ZeroMQ gives a name away before the line has heard a word of the new one: what is sent
        unasked in that moment reaches the wrong one, so a name that two have claimed is sent
        nothing again but on demand.
        """
        seat = self._seats.get(owner.client)
        return seat is not None and seat.owner == owner and not seat.rivals

    def named(self, owner: Owner) -> bool:
        """Whether the client chose the session itself, and so begins its ids anew."""
        seat = self._seats.get(owner.client)
        return seat is not None and seat.owner == owner and seat.named

    def caller(self, owner: Owner) -> str:
        """Who an owner is, for the log: its name, its key if it showed one, and whence it came."""
        seat = self._seats.get(owner.client)
        served = seat.served if seat is not None and seat.owner == owner else None
        found = [_shown(owner.client), *([served.key, served.label] if served else [])]
        return " ".join(text for text in found if text)

    @property
    def dispute(self) -> str:
        """Which names are claimed by two, in a sentence; empty if none is."""
        now = self._clock_ns()
        found = [
            f"{_shown(client)} (from {', '.join(seat.rivals)})"
            for client, seat in self._seats.items()
            if now < seat.disputed_ns
        ]
        if not found:
            return ""
        return (
            f"two clients call themselves {'; '.join(found)}: the second is refused; give each "
            "a routing id of its own"
        )

    def _admit(
        self,
        client: bytes,
        seat: _Seat,
        connection: Connection | None,
        session: str | None,
        *,
        hello: bool,
    ) -> None:
        """Let another connection into a seat, or refuse it."""
        now = self._clock_ns()
        before, seat.holder = seat.holder, connection
        rival = before if before is not connection and before and not before.ended else None
        aside = rival if rival is seat.served else None
        same = session == seat.owner.session and _same_key(seat.served, connection)
        # The same client, back after a cut that the box may not have noticed yet. Twice in a
        # moment they are two, who take the name from each other.
        if same and (aside is None or now - seat.taken_ns > DISPUTE_NS):
            if aside is not None:
                seat.taken_ns = now
                self._hang_up(aside)
            seat.served = connection
            return
        if rival is not None:
            seat.disputed_ns = now + DISPUTE_NS
            seat.rivals = [rival.label, connection.label if connection else "?"]
        if aside is not None:
            # It calls again, and whoever pushed it aside is not listened to from then on.
            self._hang_up(aside)
        if now < seat.disputed_ns:
            raise DuplicateClientError(
                f"duplicate: another client calls itself {_shown(client)}; choose another routing "
                "id. Nothing is done"
            )
        if not hello and seat.named:
            raise StaleError(
                f"stale: this connection has not said HELLO, session {seat.owner.session!r} "
                "belongs to another one; say HELLO"
            )
        self._renew(client, seat, connection, session if hello else None)

    def _renew(
        self, client: bytes, seat: _Seat, connection: Connection | None, session: str | None
    ) -> Owner:
        """End the session in force, and open another one."""
        if session in seat.ended:
            raise StaleError(f"stale: session {session!r} has ended; open one of another name")
        if session == seat.owner.session:
            raise StaleError(f"stale: session {session!r} belongs to another key; open another one")
        ended = seat.ended
        owner = self._open(client, connection, session)
        ended.append(seat.owner.session)
        self._seats[client].ended = ended
        self._end(seat.owner)
        return owner

    def _open(self, client: bytes, connection: Connection | None, session: str | None) -> Owner:
        owner = Owner(client, self._checked(session))
        self._seats[client] = _Seat(owner, session is not None, connection, connection)
        if len(self._seats) > SEATS:
            _, oldest = self._seats.popitem(last=False)
            self._end(oldest.owner)
        return owner

    def _checked(self, session: str | None) -> str:
        """A session's name: the client's, or the next of the line's own."""
        if session is None:
            own = _NUMBERS - OWN_NUMBERS
            session = str(OWN_NUMBERS + self._numbers % own)
            self._numbers += 1
        elif _NUMBER.fullmatch(session) and int(session) >= OWN_NUMBERS:
            raise StaleError(
                f"stale: session {session!r} is not in force; numbers from {OWN_NUMBERS} are "
                "chosen by the line: choose another"
            )
        return session


def _same_key(one: Connection | None, other: Connection | None) -> bool:
    return one is None or other is None or one.key == other.key


def _shown(client: bytes) -> str:
    return brief(client.decode("utf-8", "backslashreplace"))
