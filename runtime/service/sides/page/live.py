"""What the page knows of the line: the newest verdicts, pictures, counts and scores."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.service.sides.messages import LineTotals

__all__ = ["LiveLine", "StripFrame"]

U8 = NDArray[np.uint8]

# What In-Sight's users know as the filmstrip.
STRIP = 300
# Scores behind the histogram, and latencies behind the curve.
SCORES = 2000
HOURS = 72
STRETCHES = 120
# Good pictures that the nearest is chosen from.
GOOD_KEPT = 24
GLANCE_PX = 32
# The gateway tells all counts once a second.
SILENT_S = 3.0


@dataclass(frozen=True, slots=True)
class StripFrame:
    """A verdict as the filmstrip shows it.

    at       wall clock, seconds
    picture  whether its pictures are still kept
    place    (x, y) of the highest point as shares of the picture; None without one
    lanes    of a web of several: those that were rejected
    """

    seq: int
    at: float
    ok: bool
    reason: str
    detail: str
    score: float | None
    limit: float | None
    total_ms: float
    bundle: str
    picture: bool
    place: tuple[float, float] | None
    defects: int
    lanes: tuple[str, ...]

    def tree(self) -> dict[str, Any]:
        """For the client."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Production:
    ok: int = 0
    ng: int = 0
    bundles: dict[str, list[int]] = field(default_factory=dict)


class LiveLine:
    """Fed by one thread, read by others; every read is a copy.

    about     box, line, cam, boot, sim
    shifts    when they begin, HH:MM by the box's clock
    wall      seconds since 1970, for people
    local     the box's clock at such a second
    version   changes with everything that readers should hear of
    """

    def __init__(
        self,
        about: dict[str, Any],
        budget_ms: float,
        shifts: Sequence[str] = (),
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        local: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        self._about = about
        self._budget_ms = budget_ms
        self._wall, self._clock, self._local = wall, clock, local
        self._shifts = sorted(shifts)
        self._lock = threading.Lock()
        self._strip: deque[StripFrame] = deque(maxlen=STRIP)
        self._scores: deque[tuple[float, str]] = deque(maxlen=SCORES)
        self._times: deque[float] = deque(maxlen=STRIP)
        # By the hour and by the shift: one that begins within an hour divides it.
        self._counted: OrderedDict[tuple[int, str], _Production] = OrderedDict()
        self._pictures: OrderedDict[int, tuple[bytes, bytes, bytes]] = OrderedDict()
        self._good: deque[tuple[int, U8]] = deque(maxlen=GOOD_KEPT)
        self._nearest: OrderedDict[int, int] = OrderedDict()
        self._live: tuple[int, bytes] | None = None
        self._counts: LineTotals | None = None
        self._heard: float | None = None
        self._acknowledged: dict[str, dict[str, Any]] = {}
        self._web: dict[str, Any] | None = None
        # Of a web, the newest stretches, lane by lane.
        self._rows: deque[dict[str, Any]] = deque(maxlen=STRETCHES)
        self.version = 0

    # -- from the gateway ------------------------------------------------------------------

    def verdict(self, seq: int, verdict: Verdict, size: tuple[int, int] | None = None) -> None:
        """A verdict was given; `size` is the frame's, if it was seen."""
        ok = verdict.outcome is Outcome.OK
        now = self._wall()
        place = None
        if verdict.peak_xy is not None and size is not None:
            place = (verdict.peak_xy[0] / size[1], verdict.peak_xy[1] / size[0])
        total_ms = verdict.stages_us.get("total", 0) / 1000
        shown = StripFrame(
            seq=seq,
            at=now,
            ok=ok,
            reason="" if verdict.reason is None else verdict.reason.value,
            detail=verdict.detail,
            score=verdict.score,
            limit=None if verdict.thresholds is None else verdict.thresholds.ok,
            total_ms=total_ms,
            bundle=verdict.bundle,
            picture=size is not None,
            place=place,
            defects=verdict.defects_found,
            lanes=_rejected_lanes(verdict),
        )
        with self._lock:
            self._strip.append(shown)
            if verdict.score is not None and np.isfinite(verdict.score):
                self._scores.append((verdict.score, verdict.bundle))
            self._times.append(total_ms)
            counted = self._counted.setdefault(self._hour_and_shift(now), _Production())
            counted.ok += ok
            counted.ng += not ok
            counted.bundles.setdefault(verdict.bundle, [0, 0])[0 if ok else 1] += 1
            while len({hour for hour, _ in self._counted}) > HOURS:
                self._counted.popitem(last=False)
            if verdict.web is not None:
                self._web = _running(verdict)
                self._rows.append(_stretch(verdict))
            self.version += 1

    def pictures(self, seq: int, *, ok: bool, small: bytes, plain: bytes, heat: bytes) -> None:
        """JPEGs of a frame: for the filmstrip, as it is, and with its map."""
        grey = np.asarray(simplejpeg.decode_jpeg(small, "GRAY"), np.uint8)[..., 0]
        glance = np.asarray(cv2.resize(grey, (GLANCE_PX, GLANCE_PX)), np.uint8)
        with self._lock:
            self._pictures[seq] = (small, plain, heat)
            self._live = seq, plain
            if ok:
                self._good.append((seq, glance))
            elif self._good:
                apart = [float(np.abs(glance.astype(float) - one).mean()) for _, one in self._good]
                self._nearest[seq] = self._good[int(np.argmin(apart))][0]
            self._forget()
            self.version += 1

    def counts(self, counts: LineTotals) -> None:
        """All counts as they stand."""
        with self._lock:
            self._counts, self._heard = counts, self._clock()
            gone = self._acknowledged.keys() - counts.alarms.keys()
            for part in gone:
                del self._acknowledged[part]
            self.version += 1

    # -- for readers -----------------------------------------------------------------------

    def picture(self, seq: int, which: str) -> bytes | None:
        """A JPEG: "small", "plain" or "heat"; None if it is no longer kept."""
        with self._lock:
            kept = self._pictures.get(seq)
        return None if kept is None else kept[("small", "plain", "heat").index(which)]

    def acknowledge(self, part: str, user: str) -> bool:
        """Somebody has seen an alarm; False if there is none of that part."""
        with self._lock:
            counts = self._counts
            if counts is None or part not in counts.alarms:
                return False
            detail = counts.alarms[part]
            self._acknowledged[part] = {"by": user, "at": self._wall(), "detail": detail}
            self.version += 1
        return True

    def scores(self) -> list[tuple[float, str]]:
        """The newest image scores, and which bundle gave each."""
        with self._lock:
            return list(self._scores)

    def tree(self) -> dict[str, Any]:
        """Everything that the front page shows, without pictures."""
        with self._lock:
            counts, heard = self._counts, self._heard
            strip = [shown.tree() for shown in self._strip]
            silent = heard is None or self._clock() - heard > SILENT_S
            last_ng = next((s for s in reversed(strip) if not s["ok"]), None)
            pictured = next((s for s in reversed(strip) if not s["ok"] and s["picture"]), None)
            return {
                "about": self._about,
                "budget_ms": self._budget_ms,
                "silent": silent,
                "now": self._wall(),
                "state": counts.state if counts else "",
                "degraded": bool(counts and counts.degraded),
                "camera": {"state": counts.camera, "up": counts.camera_up} if counts else None,
                "bundle": counts.bundle if counts else "",
                "thresholds": _limits(counts),
                "total": _total(counts),
                "alarms": self._alarms(counts),
                "archive": _archive(counts),
                "drift": _drift(counts),
                "strip": strip,
                "last_ng": last_ng,
                "pictured_ng": pictured,
                "nearest": None if pictured is None else self._nearest.get(pictured["seq"]),
                "live": None if self._live is None else self._live[0],
                "counted": [
                    {
                        "hour": hour,
                        "shift": shift,
                        "ok": one.ok,
                        "ng": one.ng,
                        "bundles": {
                            name: {"ok": good, "ng": bad}
                            for name, (good, bad) in one.bundles.items()
                        },
                    }
                    for (hour, shift), one in self._counted.items()
                ],
                "times_ms": list(self._times),
                "web": None if self._web is None else {**self._web, "rows": list(self._rows)},
            }

    def _hour_and_shift(self, now: float) -> tuple[int, str]:
        """When the hour began, in seconds, and day and time of the shift, by the box's clock.

        Without shifts it is the day.
        """
        at = self._local(now)
        begun = [start for start in self._shifts if start <= f"{at.tm_hour:02}:{at.tm_min:02}"]
        if self._shifts and not begun:
            begun, at = self._shifts, self._local(now - 86_400)
        hour = int(now) - 60 * at.tm_min - at.tm_sec
        return hour, " ".join([f"{at.tm_year:04}-{at.tm_mon:02}-{at.tm_mday:02}", *begun[-1:]])

    def _alarms(self, counts: LineTotals | None) -> list[dict[str, Any]]:
        if counts is None:
            return []
        alarms = []
        for part, detail in sorted(counts.alarms.items()):
            seen = self._acknowledged.get(part)
            # What was acknowledged was another sentence.
            known = seen if seen is not None and seen["detail"] == detail else None
            alarms.append({"part": part, "detail": detail, "acknowledged": known})
        return alarms

    def _forget(self) -> None:
        """Keep pictures of the filmstrip only, and the good ones that are compared with."""
        if len(self._pictures) <= STRIP:
            return
        wanted = {shown.seq for shown in self._strip} | {seq for seq, _ in self._good}
        for seq in [seq for seq in self._pictures if seq not in wanted]:
            del self._pictures[seq]
        while len(self._pictures) > STRIP + GOOD_KEPT:
            self._pictures.popitem(last=False)
        while len(self._nearest) > STRIP:
            self._nearest.popitem(last=False)


def _limits(counts: LineTotals | None) -> dict[str, float] | None:
    if counts is None or counts.thresholds is None:
        return None
    return {"ok": counts.thresholds.ok, "ng": counts.thresholds.ng}


def _total(counts: LineTotals | None) -> dict[str, Any]:
    if counts is None:
        return {"ok": 0, "ng": 0, "reasons": {}}
    reasons = {name: count for name, count in counts.reasons.items() if count}
    return {"ok": counts.ok, "ng": sum(reasons.values()), "reasons": reasons}


def _archive(counts: LineTotals | None) -> dict[str, Any] | None:
    if counts is None or counts.archive is None:
        return None
    archive = counts.archive
    return {
        "kept": dict(archive.kept),
        "dropped": dict(archive.dropped),
        "holds": dict(archive.holds),
    }


def _drift(counts: LineTotals | None) -> dict[str, Any] | None:
    if counts is None or counts.drift is None:
        return None
    drift = counts.drift
    return {"cause": drift.cause, "shares": dict(drift.shares), "looks": drift.looks}


def _running(verdict: Verdict) -> dict[str, Any]:
    web = verdict.web
    assert web is not None
    return {"end_line": web.end_line, "end_mm": web.end_mm, "defects": web.n_defects}


def _rejected_lanes(verdict: Verdict) -> tuple[str, ...]:
    lanes = () if verdict.web is None or len(verdict.web.lanes) < 2 else verdict.web.lanes
    return tuple(lane.name for lane in lanes if lane.outcome is not Outcome.OK)


def _stretch(verdict: Verdict) -> dict[str, Any]:
    web = verdict.web
    assert web is not None
    return {
        "first_line": web.first_line,
        "end_line": web.end_line,
        "first_mm": web.first_mm,
        "end_mm": web.end_mm,
        "lanes": [{"name": lane.name, "ok": lane.outcome is Outcome.OK} for lane in web.lanes],
        "defects": [
            {"line": found.peak_line, "mm": found.web_mm, "lane": found.lane, "peak": found.peak}
            for found in web.defects
        ],
    }
