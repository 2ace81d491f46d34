"""Parts that were answered without anybody having looked at them, and how often. Pure."""

from __future__ import annotations

from collections import Counter, deque

from kenpin.config.line import UninspectedSpec
from kenpin.runtime.judging.verdict import Reason

__all__ = ["Uninspected"]

# NG that says something about the part, and NG that has an alarm of its own.
_SAYS_SOMETHING = frozenset({Reason.DEFECT, Reason.UNSURE, Reason.SELFTEST_FAILED, Reason.SHUTDOWN})


class Uninspected:
    """Watches the last verdicts for NG that no inspection stands behind.

    A camera that answers no trigger, or with broken frames only, works as far as
    it knows itself; the parts are rejected, and somebody should come.
    """

    def __init__(self, spec: UninspectedSpec) -> None:
        self._spec = spec
        self._last: deque[Reason | None] = deque(maxlen=spec.window)
        self._raised = False

    def note(self, reason: Reason | None) -> str:
        """Note a verdict; what is wrong in a sentence, empty if the rate is as it should be.

        reason  of an NG; None for an OK
        """
        self._last.append(None if reason in _SAYS_SOMETHING else reason)
        found = Counter(reason for reason in self._last if reason is not None)
        count = found.total()
        if count >= self._spec.raise_at:
            self._raised = True
        elif count <= self._spec.clear_at:
            self._raised = False
        if not self._raised:
            return ""
        worst = ", ".join(reason.value for reason, _ in found.most_common(3))
        return f"parts are rejected without inspection, lately {worst}; look at the camera"
