"""What is known of a line at one moment, for whoever counts."""

from __future__ import annotations

from collections.abc import Mapping

from kenpin.processes.channel import Message
from kenpin.runtime.judging.verdict import Thresholds

__all__ = ["ArchiveCounts", "LineCounts"]


class ArchiveCounts(Message, frozen=True):
    """What became of the frames that the archive should keep, and what it holds."""

    kept: Mapping[str, int]
    dropped: Mapping[str, int]
    holds: Mapping[str, int]


class LineCounts(Message, frozen=True):
    """All that is known of the line at one moment: totals since its start."""

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
