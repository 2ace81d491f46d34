"""What the processes beside the line are told, and what they report.

No numpy here: the gateway reads this too.
"""

from __future__ import annotations

from collections.abc import Mapping

from kenpin.camera.acquisition.ring import Ticket
from kenpin.config.web import WebSpec
from kenpin.processes.channel import Message
from kenpin.runtime.judging.verdict import Thresholds, Verdict, WebDefect, WebFindings

__all__ = [
    "SNAPSHOT_NS",
    "AddDefects",
    "AddFindings",
    "ArchiveCounts",
    "ArchiveReport",
    "BundleChanged",
    "DriftFacts",
    "FromRolls",
    "GenericReport",
    "Lent",
    "LineTotals",
    "LivePageReport",
    "OpenBook",
    "PageReport",
    "PageWritten",
    "PreviewReport",
    "RollsFailed",
    "StartRoll",
    "StopRoll",
    "ToGeneric",
    "ToLivePage",
    "ToRolls",
    "ToStatus",
    "VerdictGiven",
    "VerdictTimes",
    "WithoutPicture",
]

# -- of frames, to whoever borrows them --------------------------------------------------


class Lent(Message, frozen=True):
    """A frame that may be read until its slot is given back, and the verdict on it.

    with_map  the map of scores beside it is whole, and the frame's own
    seq, trig, opened_ns, deadline_ns
              the verdict's number, whom it answers, and its times
    """

    ticket: Ticket
    with_map: bool
    seq: int
    trig: str | None
    opened_ns: int
    deadline_ns: int
    verdict: Verdict


# -- the archive -------------------------------------------------------------------------


class ArchiveReport(Message, frozen=True):
    """How the archive's process stands, and what became of one frame.

    ticket   it is done with; None at the beginning
    kind     ok or ng
    dropped  why the frame was not kept; empty if it was
    fault    why nothing is kept; empty if all is well
    counts   what the archive holds
    """

    ticket: Ticket | None
    kind: str
    dropped: str
    ready: bool
    fault: str
    counts: Mapping[str, int]


# -- the preview -------------------------------------------------------------------------


class PreviewReport(Message, frozen=True):
    """How the preview's process stands, and which frame it is done with, if any."""

    ticket: Ticket | None
    fault: str


# -- the status page ---------------------------------------------------------------------


# /healthz calls a gateway dead that was silent three times as long.
SNAPSHOT_NS = 1_000_000_000


class ArchiveCounts(Message, frozen=True):
    """What became of the frames that the archive should keep, and what it holds."""

    kept: Mapping[str, int]
    dropped: Mapping[str, int]
    holds: Mapping[str, int]


class DriftFacts(Message, frozen=True):
    """How the pictures stand beside the good images; see `Drifted`."""

    cause: str
    shares: Mapping[str, float]
    looks: int


class LineTotals(Message, frozen=True):
    """All that is known of the line at one moment: totals since its start.

    alarms  what needs a person, by the part that it is about
    drift   None until an inspection has said
    """

    state: str
    degraded: bool
    camera: str
    camera_up: bool
    bundle: str
    recipe: str
    thresholds: Thresholds | None
    ok: int
    reasons: Mapping[str, int]
    counts: Mapping[str, int]
    archive: ArchiveCounts | None
    pids: Mapping[str, int]
    alarms: Mapping[str, str]
    drift: DriftFacts | None = None


class VerdictTimes(Message, frozen=True):
    """Of one verdict."""

    stages_us: Mapping[str, int]
    score: float | None


class PageReport(Message, frozen=True):
    """Where the page is, or why it is not."""

    address: str
    fault: str


# What the status page is told.
ToStatus = VerdictTimes | LineTotals


# -- rolls -------------------------------------------------------------------------------


class OpenBook(Message, frozen=True):
    """Keep rolls of such a web from now on; `start`: the first one begins at once."""

    web: WebSpec
    width_px: int
    start: bool


class AddFindings(Message, frozen=True):
    """What a verdict said of the web, and which bundle gave it."""

    findings: WebFindings
    bundle: str


class AddDefects(Message, frozen=True):
    """Defects that belong to the findings added last."""

    defects: tuple[WebDefect, ...]


class StartRoll(Message, frozen=True):
    """A roll begins with a line: the first that had not come when a client asked for it."""

    name: str
    line: int


class StopRoll(Message, frozen=True):
    """The roll ends before a line: the first that had not come when a client asked for it."""

    line: int


# What the roll book is told.
ToRolls = OpenBook | AddFindings | AddDefects | StartRoll | StopRoll


class PageWritten(Message, frozen=True):
    """A roll's page is on the disk."""

    page: str


class RollsFailed(Message, frozen=True):
    """The disk refuses."""

    detail: str


# What it tells.
FromRolls = PageWritten | RollsFailed


# -- any other process -------------------------------------------------------------------


class VerdictGiven(Message, frozen=True):
    """A verdict whose frame is not shown: `seq` is its number, `trig` whom it answers."""

    seq: int
    trig: str | None
    opened_ns: int
    deadline_ns: int
    verdict: Verdict


class GenericReport(Message, frozen=True):
    """How the process stands, and which frame it is done with, if any."""

    ticket: Ticket | None
    fault: str


# What a side process of an installed package is told.
ToGeneric = VerdictGiven | Lent


# -- the live page -----------------------------------------------------------------------


class WithoutPicture(Message, frozen=True):
    """A verdict whose frame is not shown."""

    seq: int
    verdict: Verdict


class BundleChanged(Message, frozen=True):
    """How far a bundle has come that the page asked for."""

    step: str
    bundle: str
    detail: str


class LivePageReport(Message, frozen=True):
    """How the page's process stands.

    ticket   the frame that it is done with, if any
    address  where the page is; empty: no news of it
    fault    why it is not served; None: no news of it
    wanted   the folder name of a bundle that should judge from now on; empty: none
    instead_of
             of the bundle that it was made from: another one in force means another product
    """

    ticket: Ticket | None = None
    address: str = ""
    fault: str | None = None
    wanted: str = ""
    instead_of: str = ""


# What the live page is told.
ToLivePage = WithoutPicture | Lent | LineTotals | BundleChanged
