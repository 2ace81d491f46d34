"""Whether every line of a web is covered, also where one inspection takes over from another."""

from __future__ import annotations

from typing import Any

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

    def follow(self, web: dict[str, Any], inspection: int) -> str:
        """Take in what an inspection says of a web, and correct it in place.

        Parameters
        ----------
        inspection
            Who says so: see `Judged.inspection`.

        Returns
        -------
        str
            Which lines were never inspected; empty if all were.
        """
        if inspection != self._inspection:
            self._inspection, self._offset = inspection, self._highest
        for defect in web["defects"]:
            self._renumber(defect)
        missing = self._missing(web)
        self._end = max(web["end_line"], self._end or web["end_line"])
        return missing

    def _renumber(self, defect: dict[str, Any]) -> None:
        defect["number"] += self._offset
        defect["absorbed"] = [number + self._offset for number in defect["absorbed"]]
        if defect["continues"] is not None:
            defect["continues"] += self._offset
        self._highest = max(self._highest, defect["number"])

    def _missing(self, web: dict[str, Any]) -> str:
        end, first = self._end, web["first_line"]
        if end is None or first <= end:
            return ""
        gap = {"first_line": end, "end_line": first, "cause": "lost", "known": True}
        web["gaps"] = [gap, *web["gaps"]][:64]
        web["first_line"] = end
        return f"lines {end} to {first - 1} were not inspected: the inspection was replaced"
