"""What the inspection process is told, and what it tells.

No numpy here: the gateway reads this too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from kenpin.camera.acquisition.ring import Ticket
from kenpin.config.drift import DriftSpec
from kenpin.config.web import WebSpec
from kenpin.processes.channel import Message, Stop
from kenpin.runtime.judging.verdict import (
    Reason,
    Thresholds,
    Verdict,
    WebDefect,
    WebResume,
)

__all__ = [
    "AT_ONCE",
    "AlsoFound",
    "BundleFacts",
    "Drifted",
    "EndWeb",
    "Failed",
    "FromInspection",
    "Gone",
    "InspectionEvent",
    "InspectorSpec",
    "Judge",
    "Judged",
    "LinkSet",
    "Phase",
    "PhaseChanged",
    "RunSelftest",
    "SelftestEnded",
    "TakeOver",
    "ToInspection",
    "TookOver",
    "WebEnded",
]


# Defects in one `AlsoFound`: as many as fit a message, with the longest names.
AT_ONCE = 32


class Phase(StrEnum):
    """How far an inspection process has come."""

    STARTING = "starting"
    VERIFYING = "verifying"
    COMPILING = "compiling"
    WARMING = "warming"  # golden frames, which warm the network up and prove it
    READY = "ready"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What the gateway needs to know of a bundle that has proven itself on this box.

    frame           height, width, channels
    golden          how many golden frames it reproduced
    longest_gap_us  longest time without progress while it judged them
    web             the table [web] in force; None where frames show parts
    refused         what this box would not do, and what is done instead
    """

    label: str
    recipe: str
    folder: Path
    frame: tuple[int, int, int]
    thresholds: Thresholds
    golden: int
    longest_gap_us: int
    web: WebSpec | None = None
    refused: tuple[str, ...] = ()


# -- told to it ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InspectorSpec:
    """What an inspection process is to run.

    bundle         the bundle's folder, or a store with a link `current`
    trust          a folder of public keys, one of which must have signed it
    threads        cores for the network; None leaves it to OpenVINO
    cpus           which cores the process may use; None: all
    niceness       until it is told to take over the line
    web            the line's own lanes, gates and rolls; None: the bundle's
    make_pipeline  makes the pipeline in the process, as `Pipeline` does; tests
                   hand in one that misbehaves
    """

    bundle: Path
    trust: Path | None = None
    threads: int | None = None
    cpus: tuple[int, ...] | None = None
    niceness: int = 0
    web: WebSpec | None = None
    drift: DriftSpec = field(default_factory=DriftSpec)
    make_pipeline: Callable[..., Any] | None = None


class Judge(Message, frozen=True):
    """Judge the frame in a slot; the answer carries the number of the job.

    resume  of a web that another inspection began; for the first frame
    """

    job: int
    ticket: Ticket
    resume: WebResume | None = None


class EndWeb(Message, frozen=True):
    """The source has ended, and with it the web: judge its last lines, after all jobs."""


class RunSelftest(Message, frozen=True):
    """Judge the golden frames again, between jobs."""


class TakeOver(Message, frozen=True):
    """The line is yours now: leave your niceness."""


# What an inspection process is told.
ToInspection = Judge | EndWeb | RunSelftest | TakeOver | Stop


# -- told by it ----------------------------------------------------------------------------


class Judged(Message, frozen=True):
    """The inspection's word on one job. The gateway decides whether it came in time.

    inspection  when the process that says so was started, as its handle knows: no
                two have the same
    """

    job: int
    verdict: Verdict
    inspection: int = 0


class AlsoFound(Message, frozen=True):
    """Defects that the verdict said last has no room for: for rolls, in pieces."""

    defects: tuple[WebDefect, ...]
    inspection: int = 0


class WebEnded(Message, frozen=True):
    """The answer to `EndWeb`: a verdict that is about no frame; None if no web was begun."""

    verdict: Verdict | None
    inspection: int = 0


class PhaseChanged(Message, frozen=True):
    """It has come further."""

    phase: Phase
    facts: BundleFacts | None = None


class SelftestEnded(Message, frozen=True):
    """The golden frames were judged again, or could not be."""

    passed: bool
    detail: str
    scores: Mapping[str, float]


class Failed(Message, frozen=True):
    """It cannot run the bundle, and ends. `reason` is why triggers will be NG."""

    reason: Reason
    detail: str


class TookOver(Message, frozen=True):
    """It has left its niceness, or was not allowed to: then `niceness` is above 0."""

    niceness: int


class Drifted(Message, frozen=True):
    """How the pictures stand beside the good images.

    cause   what has changed: "lamp", "focus", "dirt", "material"; empty: nothing
    detail  that in a sentence
    shares  of the last looks, those outside the good images, by each cause that is watched:
            none, where the bundle holds nothing to compare with
    looks   so many since the inspection's start
    """

    cause: str = ""
    detail: str = ""
    shares: Mapping[str, float] = {}
    looks: int = 0


class LinkSet(Message, frozen=True):
    """The store's link leads to the bundle in force, as a process beside it reports."""


# What it tells.
FromInspection = (
    Judged | AlsoFound | WebEnded | PhaseChanged | SelftestEnded | TookOver | Drifted | Failed
)


@dataclass(frozen=True, slots=True)
class Gone:
    """It has ended or was killed, as its handle found. `jobs` were never judged."""

    detail: str
    jobs: tuple[int, ...]


# What its handle hands on: all that it tells, and its end.
InspectionEvent = FromInspection | Gone
