"""A page that is really served on a free port, without a line behind it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvicorn

from kenpin.config.line import Line
from kenpin.config.page import PageSpec
from kenpin.runtime.judging.verdict import (
    LaneVerdict,
    Outcome,
    Reason,
    Thresholds,
    Verdict,
    WebDefect,
    WebFindings,
)
from kenpin.runtime.service.audit import AuditLog, audit_of
from kenpin.runtime.service.sides.messages import ArchiveCounts, LineTotals
from kenpin.runtime.service.sides.page.app import make_app
from kenpin.runtime.service.sides.page.changes import BundleChanges
from kenpin.runtime.service.sides.page.live import LiveLine

ABOUT = {"box": "box", "line": "web-1", "cam": "cam", "boot": "b", "sim": True}


def verdict(ok: bool = True, score: float = 0.5, **more: Any) -> Verdict:
    known: dict[str, Any] = {
        "outcome": Outcome.OK if ok else Outcome.NG,
        "reason": None if ok else Reason.DEFECT,
        "detail": "",
        "score": score,
        "thresholds": Thresholds(1.0, 1.0),
        "frame_index": 0,
        "frame_name": "",
        "captured_ns": 0,
        "judged_ns": 0,
        "bundle": "small@0123456789ab",
        "peak_xy": (150, 20),
        "stages_us": {"total": 21_000},
    }
    return Verdict(**{**known, **more})


def counts(bundle: str = "small@0123456789ab", **alarms: str) -> LineTotals:
    return LineTotals(
        state="operational.continuous",
        degraded=bool(alarms),
        camera="streaming",
        camera_up=True,
        bundle=bundle,
        recipe="r",
        thresholds=Thresholds(1.0, 1.0),
        ok=90,
        reasons={"defect": 8, "late": 2},
        counts={},
        archive=ArchiveCounts({"ng": 8}, {}, {"ng_entries": 8}),
        pids={},
        alarms=alarms,
    )


def stretch(number: int) -> WebFindings:
    """256 lines of a web of two lanes; every tenth with a defect."""
    limits, bad = Thresholds(1.0, 1.0), number % 10 == 4
    lanes = tuple(
        LaneVerdict(name, Outcome.OK, None, 0.5, limits, ()) for name in ("left", "right")
    )
    found = WebDefect(
        number=number + 1, first_line=256 * number, end_line=256 * number + 9, left_px=1,
        right_px=9, area_px=50, peak=2.0, mean=1.5, peak_line=256 * number + 4, peak_px=5,
        lane="right", lanes=("right",), open=False, cut=False, continues=None, absorbed=(),
        web_mm=25.6 * number, length_mm=1.0, left_mm=0.1, width_mm=0.8, area_mm2=0.5,
    )  # fmt: skip
    return WebFindings(
        first_line=256 * number, end_line=256 * (number + 1), first_mm=25.6 * number,
        end_mm=25.6 * (number + 1), lanes=lanes, defects=(found,) if bad else (),
        n_defects=int(bad), gaps=(), gates=(), map_line=None,
    )  # fmt: skip


def jpeg(level: int, width: int = 320, height: int = 128) -> bytes:
    pixels = np.full((height, width, 3), level, np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


def fill(live: LiveLine, n: int = 40, bundle: str = "small@0123456789ab") -> None:
    """Some verdicts with pictures, every tenth NG; the last is NG."""
    live.counts(counts(bundle, camera="the camera is warm"))
    for seq in range(1, n + 1):
        ok = seq % 10 != 0
        level = 80 + seq if ok else 200
        live.pictures(
            seq, ok=ok, small=jpeg(level, 120, 48), plain=jpeg(level), heat=jpeg(level + 5)
        )
        live.verdict(seq, verdict(ok, 0.4 + seq / 100 if ok else 2.5), (128, 320))


class Served:
    """A page, its address, and a browser of sorts."""

    def __init__(
        self,
        port: int,
        live: LiveLine,
        changes: BundleChanges,
        wanted: list[str],
        audit: AuditLog,
    ):
        self.port, self.live, self.changes, self.wanted = port, live, changes, wanted
        self.audit = audit
        self.url = f"http://127.0.0.1:{port}/"
        # Addresses that change something.
        self.changing: list[str] = []
        self.cookie = self.csrf = ""

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str = "",
        raw: bytes | None = None,
        **headers: str,
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {"Cookie": self.cookie, "X-Kenpin": self.csrf}
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("POST" if data is not None else "GET"), path, data, sent)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, json.loads(text) if "json" in kind else text, answer.headers

    def visit(self) -> None:
        """Open the front page, as a browser does."""
        _, _, headers = self.ask("/")
        if headers.get("Set-Cookie"):
            self.cookie = headers["Set-Cookie"].partition(";")[0]
        _, me, _ = self.ask("/api/me")
        self.csrf = me.get("csrf", "")


@contextmanager
def served(folder: Path, bundles: Path | None = None, **page: Any) -> Iterator[Served]:
    archive, trust = page.pop("archive", None), page.pop("trust", None)
    spec = PageSpec.model_validate({"port": 0, **page})
    line = Line.model_validate(
        {
            "name": "web-1",
            "box": "box",
            "bundles": bundles or folder,
            "trust": trust,
            "archive": archive and {"folder": archive},
            "audit": folder / "audit.jsonl",
            "trigger": {"budget_ms": 60},
            "camera": {
                "kind": "synthetic", "height_px": 128, "width_px": 320, "seed": 3, "rate_hz": 25,
            },
            "rolls": {"folder": folder},
        }
    )  # fmt: skip
    live = LiveLine(ABOUT, 60)
    wanted: list[str] = []
    changes = BundleChanges(line, live, lambda name, _instead_of: wanted.append(name))
    app = make_app(spec, line, live, changes)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    config = uvicorn.Config(
        app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    page_served = Served(listener.getsockname()[1], live, changes, wanted, audit_of(line))
    page_served.changing = [route.path for route in app.routes if "POST" in (route.methods or ())]
    try:
        yield page_served
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
