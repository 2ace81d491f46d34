"""What speaks against a frame or an OK: neither camera nor inspection is believed blindly. Pure."""

from __future__ import annotations

from dataclasses import replace

from kenpin.camera.acquisition.events import FrameArrived
from kenpin.runtime.judging.verdict import Outcome, Reason, Verdict
from kenpin.runtime.service.ledger import Answer, LedgerEntry

__all__ = ["doubted", "incomplete", "too_early", "unproven"]


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
    """Why an OK, of a frame or of a lane, must not be passed on.

    The inspection is not believed blindly.
    """
    lanes = () if found.web is None else found.web.lanes
    ok = [(lane.score, lane.thresholds.ok) for lane in lanes if lane.outcome is Outcome.OK]
    if found.outcome is Outcome.OK:
        if found.web is not None and (found.web.gaps or len(ok) < len(lanes)):
            detail = "OK over lines that were not inspected, or with a lane that is NG"
            return Answer.ng(Reason.MODEL_ERROR, detail)
        ok.append((found.score, found.thresholds.ok if found.thresholds else -1.0))
    elif lanes and len(ok) == len(lanes):
        return Answer.ng(found.reason or Reason.MODEL_ERROR, "NG, and no lane is")
    if not ok:
        return None
    for score, limit in ok:
        # Any comparison with NaN is false.
        if score is None or not 0 <= score <= limit:
            detail = f"OK at a score of {score}, allowed is 0 to {limit}"
            return Answer.ng(Reason.NONFINITE, detail)
    if entry is not None and found.bundle != entry.bundle:
        detail = f"judged by {found.bundle}, {entry.bundle} was in force"
        return Answer.ng(Reason.RECIPE_MISMATCH, detail)
    return None


def doubted(found: Verdict, doubt: Answer) -> Verdict:
    """The same without an OK, of the frame or of a web's lane: each is NG for what is doubted."""
    if found.web is not None and doubt.reason is not None:
        found = replace(found, web=found.web.doubted(doubt.reason))
    if found.outcome is Outcome.NG:
        return found
    return replace(found, outcome=doubt.outcome, reason=doubt.reason, detail=doubt.detail)
