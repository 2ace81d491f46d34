"""Whether every line of a web is covered, also where one inspection takes over from another."""

from __future__ import annotations

from dataclasses import replace

from kenpin.runtime.judging.verdict import (
    Cause,
    Gap,
    LaneVerdict,
    Outcome,
    Reason,
    WebDefect,
    WebFindings,
    WebGate,
    WebResume,
)
from kenpin.runtime.wire.web_limits import fewer_gates

__all__ = ["WebLines"]


class WebLines:
    """Follows the lines that verdicts cover. No line falls between two inspections.

    An inspection that starts knows nothing of the lines that waited in the one
    before it. They were not inspected; the first verdict after them says so, in every lane,
    and its gates act on them: `WebResume.line` says from where on.
    It also counts its defects anew: here they go on, and what the one before it was still
    following is told as far as it was seen, cut. Where the web began and how far it
    has come it is told: see `resume`. So is the first of a web, if the web began without it.
    """

    def __init__(self) -> None:
        # The web's first line, and the one after the last that a verdict covers.
        self._begun: int | None = None
        self._end: int | None = None
        # Whose numbers defects have, and who has told of this web; no two have the same.
        self._inspection = 0
        self._follower: int | None = None
        self._offset = 0
        self._highest = 0
        self._resume: WebResume | None = None
        # What the last inspection was following, under the numbers that are told.
        self._going_on: tuple[WebDefect, ...] = ()
        self._came = 0
        self._per_line = 0.0
        # What gates must do and no verdict has said: whoever found it was too late for its own.
        self._owed: tuple[WebGate, ...] = ()
        self._lanes: tuple[LaneVerdict, ...] = ()

    def came(self, first_line: int, end_line: int) -> None:
        """These lines have come or are lost, and all before them."""
        if self._begun is None:
            self._begun = self._end = first_line
        self._came = max(self._came, end_line)

    def resume(self, inspection: int, line: int) -> WebResume | None:
        """What an inspection must know to go on with the web from a line; None if it knows.

        So does one that is given the web's first line.
        """
        if inspection == self._follower or self._begun is None or line == self._begun:
            return None
        return self._resume or WebResume(self._begun, self._begun, None, None, 0.0)

    def ended(self) -> WebFindings | None:
        """The web has ended; what comes is another. Lines that nobody ever told of, if any."""
        end, resume, left = self._end, self._resume, self._going_on
        self._begun = self._end = self._follower = self._resume = None
        self._going_on, self._owed, self._lanes = (), (), ()
        if end is None or (self._came <= end and not left):
            return None
        came = max(end, self._came)
        gaps = (Gap(end, came, Cause.LOST),) if came > end else ()
        # As far as the web would have come at its last speed.
        mm = resume.mm if resume else None
        far = None if mm is None else mm + self._per_line * (came - end)
        return WebFindings(
            first_line=end, end_line=came, first_mm=mm, end_mm=far, lanes=(), defects=left,
            n_defects=len(left), gaps=gaps, gates=(), map_line=None, came_line=came,
        )  # fmt: skip

    def follow(self, web: WebFindings, inspection: int) -> tuple[WebFindings, str]:
        """What an inspection says of a web, corrected, and which lines nobody ever inspected.

        Parameters
        ----------
        inspection
            Who says so: see `Judged.inspection`.

        Returns
        -------
        WebFindings, str
            The second is empty if all were inspected.
        """
        self._follower = inspection
        cut: tuple[WebDefect, ...] = ()
        if inspection != self._inspection:
            self._inspection, self._offset = inspection, self._highest
            # Nobody follows them any more; as far as they were seen, they are told.
            cut = self._going_on
        found = self.renumbered(web.defects, inspection)
        self._going_on = self.renumbered(web.going_on, inspection)
        web = replace(web, defects=(*cut, *found), n_defects=web.n_defects + len(cut), going_on=())
        first = web.first_line
        if self._begun is None or self._end is None:
            self._begun = self._end = first
        self._resume, end = self._resumed(web, self._begun), self._end
        self._end = max(web.end_line, end)
        self._lanes = web.lanes
        web = replace(web, gates=(*self._paid(), *web.gates))
        if first <= end:
            return web, ""
        gaps = (Gap(end, first, Cause.LOST), *web.gaps)
        missing = (
            f"lines {end} to {first - 1} were not inspected: no inspection was ready for them, or "
            "it was replaced"
        )
        web = web.doubted(Reason.INCOMPLETE_FRAME)
        return replace(web, first_line=end, gaps=gaps), missing

    def untold(self, web: WebFindings) -> None:
        """What `follow` gave was too late for its verdict: the next one tells the gates."""
        # What was owed before is among it.
        self._owed = fewer_gates(web.gates)

    def owing(self) -> WebFindings | None:
        """For a verdict on a frame of which nothing is known: what the gates are owed, if anything.

        It is about no line, and NG in every lane.
        """
        resume, end = self._resume, self._end
        if not self._owed or resume is None or end is None:
            return None
        lanes = tuple(
            LaneVerdict(lane.name, Outcome.NG, Reason.LATE, None, lane.thresholds, ())
            for lane in self._lanes
        )
        mm, count = (resume.mm, resume.count) if resume.line == end else (None, None)
        return WebFindings(
            first_line=end, end_line=end, first_mm=mm, end_mm=mm, lanes=lanes, defects=(),
            n_defects=0, gaps=(), gates=self._paid(), map_line=None, first_count=count,
            end_count=count, came_line=end,
        )  # fmt: skip

    def _paid(self) -> tuple[WebGate, ...]:
        """What gates are owed, which is told now; late where the web has come too far meanwhile."""
        owed, self._owed = self._owed, ()
        now = self._now_mm()
        if now is None:
            return owed
        return tuple(replace(gate, late=gate.late or gate.from_mm < now) for gate in owed)

    def _now_mm(self) -> float | None:
        """As far as the web has come, if it goes on as it did."""
        resume = self._resume
        if resume is None or resume.mm is None:
            return None
        return resume.mm + self._per_line * max(0, self._came - resume.line)

    def renumbered(self, defects: tuple[WebDefect, ...], inspection: int) -> tuple[WebDefect, ...]:
        """Defects that the inspection followed last has found, under numbers that go on."""
        if inspection != self._inspection:
            return ()
        found = tuple(self._renumbered(defect) for defect in defects)
        self._highest = max([self._highest, *(defect.number for defect in found)])
        return found

    def _resumed(self, web: WebFindings, begun: int) -> WebResume:
        before = self._resume
        if web.lines and web.first_mm is not None and web.end_mm is not None:
            self._per_line = (web.end_mm - web.first_mm) / web.lines
        return WebResume(
            origin=begun,
            line=web.end_line,
            mm=web.end_mm,
            count=web.end_count,
            furthest_mm=max(before.furthest_mm if before else 0.0, web.end_mm or 0.0),
            pending=web.pending,
        )

    def _renumbered(self, defect: WebDefect) -> WebDefect:
        if not self._offset:
            return defect
        return replace(
            defect,
            number=defect.number + self._offset,
            absorbed=tuple(number + self._offset for number in defect.absorbed),
            continues=None if defect.continues is None else defect.continues + self._offset,
        )
