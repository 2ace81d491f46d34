"""Real faults for an inspection process: what the file at KENPIN_TEST_FAULT says happens.

Reached from tests only, by `serve_line.py`. A fault is one line: `sleep 0.3`,
`gil 0.3`, `spin 0.3`, `die`, `raise`, `nan`; it happens once, in the next frame.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import Any

from kenpin.runtime.judging.pipeline import Judgement, Pipeline

__all__ = ["FaultyPipeline", "inject"]


def inject(file: Path, fault: str) -> None:
    """Let a fault happen in the next frame."""
    fresh = file.with_suffix(".new")
    fresh.write_text(fault)
    fresh.rename(file)


class FaultyPipeline(Pipeline):
    """A pipeline that does what it is told before it judges."""

    def judge(self, frame: Any) -> Judgement:
        # A failed golden frame would end the line until a RESET, as it must.
        golden = frame.name.startswith("golden/")
        fault, seconds = ("", 0.0) if golden else self._fault()
        if fault == "sleep":
            time.sleep(seconds)
        elif fault == "gil":
            # PyDLL keeps the GIL during the call, as a broken C extension would.
            ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        elif fault == "spin":
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
        elif fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "raise":
            raise MemoryError("on purpose")
        judged = super().judge(frame)
        if fault == "nan":
            verdict = dataclasses.replace(judged.verdict, score=float("nan"))
            return Judgement(verdict, judged.score_map)
        return judged

    @staticmethod
    def _fault() -> tuple[str, float]:
        file = os.environ.get("KENPIN_TEST_FAULT")
        if file is None:
            return "", 0.0
        try:
            words = Path(file).read_text().split()
        except FileNotFoundError:
            return "", 0.0
        Path(file).unlink()
        return words[0], float(words[1]) if len(words) > 1 else 0.0
