"""A process beside the line of the simplest kind: it keeps a journal, a line for each verdict.

The gateway reads the settings, so nothing heavy is imported before `keep_journal` is called,
in the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from kenpin.config.sides import Frames, SideKind, SideSettings

if TYPE_CHECKING:
    from kenpin.runtime.service.sides.guest_body import Beside, Told


class JournalSettings(SideSettings):
    """What a line may say: a table of `[[sides]]` with kind = "journal".

    file  it is appended to; a relative path starts at the line's settings
    """

    # NG frames are shown with their verdict; "none", the default, is cheaper.
    frames: ClassVar[Frames] = "ng"

    kind: Literal["journal"]
    file: Path


def keep_journal(settings: JournalSettings, beside: Beside) -> None:
    """The whole process; see `kenpin.runtime.service.sides.guest.Work`."""
    with settings.file.open("a", encoding="utf-8") as journal:
        for told in beside.told():
            if told is None:
                continue  # a second without a verdict: time for other things
            try:
                journal.write(entry(told) + "\n")
                journal.flush()
            except OSError as error:
                beside.alarm(f"{settings.file}: {error.strerror}; make room")
            else:
                beside.alarm("")


def entry(told: Told) -> str:
    """Number, outcome, reason, score and defects; of a frame that was shown, its mean grey."""
    verdict = told.verdict
    words = [str(told.seq), verdict.outcome.name, verdict.reason or "-"]
    words.append("-" if verdict.score is None else f"{verdict.score:.3f}")
    words.append(f"{verdict.n_defects} defects")
    if told.frame is not None:
        words.append(f"grey {told.frame.pixels.mean():.0f}")
    return " ".join(words)


JOURNAL = SideKind(JournalSettings, "kenpin_example.side:keep_journal")
