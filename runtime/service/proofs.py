"""What speaks against a frame or an OK: neither camera nor inspection is believed blindly. Pure."""

from __future__ import annotations

from kenpin.camera.acquisition.events import FrameArrived
from kenpin.runtime.judging.verdict import Reason, Verdict
from kenpin.runtime.service.ledger import Answer, LedgerEntry

__all__ = ["incomplete", "too_early", "unproven"]


def too_early(entry: LedgerEntry, event: FrameArrived) -> Answer | None:
    """The acquisition is not believed blindly: a frame from before shows another part."""
    began_ns = event.capture.began_ns
    if entry.trig is None or (began_ns is not None and began_ns >= entry.opened_ns):
        return None
    before = (
        "nobody knows when"
        if began_ns is None
        else (f"{(entry.opened_ns - began_ns) / 1e6:.1f} ms before the trigger")
    )
    return Answer.ng(Reason.NO_FRAME, f"the frame that came was begun {before}")


def incomplete(event: FrameArrived) -> Answer | None:
    """Lines that the camera should have sent are missing."""
    wanted = event.capture.lines_expected
    if event.rows >= wanted:
        return None
    found = f"{event.rows} of {wanted} scan lines came"
    return Answer.ng(Reason.INCOMPLETE_FRAME, found)


def unproven(entry: LedgerEntry | None, found: Verdict) -> Answer | None:
    """Why an OK must not be passed on: the inspection is not believed blindly."""
    score, limit = found.score, found.thresholds.ok if found.thresholds else -1.0
    # Any comparison with NaN is false.
    if score is None or not 0 <= score <= limit:
        detail = f"OK at a score of {score}, allowed is 0 to {limit}"
        return Answer.ng(Reason.NONFINITE, detail)
    if entry is not None and found.bundle != entry.bundle:
        detail = f"judged by {found.bundle}, {entry.bundle} was in force"
        return Answer.ng(Reason.RECIPE_MISMATCH, detail)
    return None
