"""Whether every line of a web is covered, also where one inspection takes over from another."""

from __future__ import annotations

from dataclasses import replace

from kenpin.runtime.judging.verdict import Cause, Gap, WebDefect, WebFindings

__all__ = ["WebLines"]


class WebLines:
    """Follows the lines that verdicts cover. No line falls between two inspections.

    An inspection that starts knows nothing of the lines that waited in the one
    before it. They were not inspected; the first verdict after them says so.
    It also counts its defects anew: here they go on.
    """

    def __init__(self) -> None:
        self._end: int | None = None
        self._inspection = 0
        self._offset = 0
        self._highest = 0

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
        if inspection != self._inspection:
            self._inspection, self._offset = inspection, self._highest
        web = replace(web, defects=tuple(self._renumbered(defect) for defect in web.defects))
        self._highest = max([self._highest, *(defect.number for defect in web.defects)])
        end, first = self._end, web.first_line
        self._end = web.end_line if end is None else max(web.end_line, end)
        if end is None or first <= end:
            return web, ""
        gaps = (Gap(end, first, Cause.LOST), *web.gaps)
        missing = f"lines {end} to {first - 1} were not inspected: the inspection was replaced"
        return replace(web, first_line=end, gaps=gaps), missing

    def _renumbered(self, defect: WebDefect) -> WebDefect:
        if not self._offset:
            return defect
        return replace(
            defect,
            number=defect.number + self._offset,
            absorbed=tuple(number + self._offset for number in defect.absorbed),
            continues=None if defect.continues is None else defect.continues + self._offset,
        )
