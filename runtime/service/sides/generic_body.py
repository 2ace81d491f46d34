"""A generic side process: the line as the function sees it that is the process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kenpin.camera.acquisition.ring import FrameRing, StaleTicketError, Ticket
from kenpin.camera.acquisition.ring_frames import frame_in, map_in
from kenpin.camera.frame import Frame
from kenpin.config.text import shorten
from kenpin.processes.channel import Channel
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.verdict import Verdict
from kenpin.runtime.service.sides.messages import GenericReport, Lent, ToGeneric
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS

__all__ = ["GivenVerdict", "LineView"]

_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class GivenVerdict:
    """One verdict.

    seq, trig  its number, and whom it answers; None where frames come untriggered
    frame, score_map
               what it is about, where this kind of process asks for frames and was not at
               work on another; read-only, and gone once the next one is asked for: copy
               what is to stay
    """

    seq: int
    trig: str | None
    opened_ns: int
    deadline_ns: int
    verdict: Verdict
    frame: Frame | None = None
    score_map: ScoreMap | None = None


class LineView:
    """The line, to a process beside it.

    about  box, line, cam, boot (names this run of the service), sim
    """

    def __init__(
        self, about: Mapping[str, Any], ring: FrameRing, channel: Channel[GenericReport, ToGeneric]
    ) -> None:
        self.about = about
        self._ring = ring
        self._channel = channel
        self._fault = ""
        self._tell(None)

    def verdicts(self) -> Iterator[GivenVerdict | None]:
        """Each verdict in order, until the line ends; None where none came for a second.

        The line does not wait: what finds no room because this process is slow is not told,
        and an alarm says so.
        """
        while not self._channel.ended:
            self._channel.wait(_PAUSE_S)
            messages = self._channel.receive()
            for message in messages:
                yield self._opened(message)
                if isinstance(message, Lent):
                    self._tell(message.ticket)
            if not messages and not self._channel.ended:
                yield None

    def alarm(self, fault: str) -> None:
        """Something needs a person, who is told by an alarm; empty: no longer."""
        if fault != self._fault:
            self._fault = fault
            self._tell(None)

    def _opened(self, message: ToGeneric) -> GivenVerdict:
        frame, score_map = None, None
        if isinstance(message, Lent):
            try:
                frame = frame_in(self._ring, message.ticket)
                found = map_in(self._ring, message.ticket) if message.with_map else None
            except StaleTicketError:
                found = None
            if found is not None and frame is not None:
                values, header = found
                score_map = ScoreMap(values, header.stride_px, frame.pixels.shape[:2])
        return GivenVerdict(
            message.seq,
            message.trig,
            message.opened_ns,
            message.deadline_ns,
            message.verdict,
            frame,
            score_map,
        )

    def _tell(self, ticket: Ticket | None) -> None:
        self._channel.send(GenericReport(ticket, shorten(self._fault, MAX_DETAIL_CHARS)))
