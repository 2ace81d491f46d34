"""A process beside the line of the simplest kind: it keeps a journal, a line for each verdict.

The gateway reads the settings, so nothing heavy is imported before `keep_journal` is called,
in the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from kenpin.config.sides import Frames, SideKind, SideSettings

if TYPE_CHECKING:
    from kenpin.runtime.service.sides.generic_body import GivenVerdict, LineView


class JournalSettings(SideSettings):
    """What a line may say: a table of `[[sides]]` with kind = "journal".

    file  it is appended to; a relative path starts at the line's settings
    """

    # NG frames are shown with their verdict; "none", the default, is cheaper.
    frames: ClassVar[Frames] = "ng"

    kind: Literal["journal"]
    file: Path


def keep_journal(settings: JournalSettings, line: LineView) -> None:
    """The whole process; see `kenpin.runtime.service.sides.generic.Work`."""
    with settings.file.open("a", encoding="utf-8") as journal:
        for given in line.verdicts():
            if given is None:
                continue  # a second without a verdict: time for other things
            try:
                journal.write(entry(given) + "\n")
                journal.flush()
            except OSError as error:
                line.alarm(f"{settings.file}: {error.strerror}; make room")
            else:
                line.alarm("")


def entry(given: GivenVerdict) -> str:
    """Number, outcome, reason, score and defects; of a frame that was shown, its mean grey."""
    verdict = given.verdict
    words = [str(given.seq), verdict.outcome.name, verdict.reason or "-"]
    words.append("-" if verdict.score is None else f"{verdict.score:.3f}")
    words.append(f"{verdict.defects_found} defects")
    if given.frame is not None:
        words.append(f"grey {given.frame.pixels.mean():.0f}")
    return " ".join(words)


JOURNAL = SideKind(JournalSettings, "kenpin_example.side:keep_journal")
