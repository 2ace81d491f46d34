"""What people change through the page: each change is logged with who did it, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from types import NoneType
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kenpin.config.line import Line
from kenpin.config.page import Role
from kenpin.config.text import shorten
from kenpin.runtime.service.audit import audit_of
from kenpin.runtime.service.audit_entry import Who
from kenpin.runtime.service.reviews import Reviews
from kenpin.runtime.service.sides.page.accounts import Login
from kenpin.runtime.service.sides.page.changes import BundleChanges
from kenpin.runtime.service.sides.page.live import LiveLine
from kenpin.runtime.service.sides.page.requests import (
    NO_ARCHIVE,
    Handler,
    RequestRefusedError,
    asked,
    reasoned,
)

__all__ = ["Changing"]


class Changing:
    """The addresses that change something."""

    def __init__(self, line: Line, live: LiveLine, changes: BundleChanges) -> None:
        self._line = line
        self._live = live
        self._changes = changes

    def handlers(self) -> Iterator[tuple[str, Role, Handler]]:
        """Address, who may, and what answers."""
        yield "/api/threshold", "set", self._set
        yield "/api/learn", "set", self._learn
        yield "/api/back", "set", self._back
        yield "/api/acknowledge", "look", self._acknowledge
        yield "/api/review", "review", self._review

    async def _set(self, request: Request, session: Login) -> Response:
        fields = await asked(request, {"ok": float, "of": str, "why": str})
        why = reasoned(fields["why"])
        made = await run_in_threadpool(
            self._changes.set_threshold, float(fields["ok"]), fields["of"], why, session.user
        )
        return JSONResponse({"bundle": made, "proposed": not made})

    async def _learn(self, request: Request, session: Login) -> Response:
        fields = await asked(request, {"of": str, "why": str})
        self._changes.relearn(fields["of"], reasoned(fields["why"]), session.user)
        return JSONResponse({})

    async def _back(self, request: Request, session: Login) -> Response:
        fields = await asked(request, {"to": str, "why": str})
        why = reasoned(fields["why"])
        made = await run_in_threadpool(self._changes.go_back, fields["to"], session.user, why)
        return JSONResponse({"bundle": made})

    async def _review(self, request: Request, session: Login) -> Response:
        fields = await asked(
            request, {"number": int, "says": str, "word": str, "region": (list, NoneType)}
        )
        says, region = fields["says"], fields["region"]
        if says not in ("good", "defect") or not 0 <= fields["number"] < 10**12:
            raise RequestRefusedError(400, "expected a frame's number, and says good or defect")
        if region is not None and (
            len(region) != 4 or not all(type(v) in (int, float) for v in region)
        ):
            raise RequestRefusedError(400, "region: expected four numbers or null")
        box = None if region is None else tuple(region)
        made = await run_in_threadpool(
            self._said, fields["number"], says, session.user, fields["word"], box
        )
        return JSONResponse({"review": made})

    def _said(self, number: int, says: Any, user: str, word: str, region: Any) -> dict[str, Any]:
        if self._line.archive is None:
            raise RequestRefusedError(404, NO_ARCHIVE)
        reviews = Reviews(self._line.archive.folder)
        before = reviews.newest().get(number)
        made = asdict(reviews.say(number, says, user, word, region))
        item = f"{self._line.name}: frame {number}"
        audit_of(self._line).write(
            Who("page", user=user),
            "review",
            item,
            before=None if before is None else _kept_of(asdict(before)),
            after=_kept_of(made),
        )
        return made

    async def _acknowledge(self, request: Request, session: Login) -> Response:
        part = (await asked(request, {"part": str}))["part"]
        if not self._live.acknowledge(part, session.user):
            raise RequestRefusedError(404, "there is no such alarm any more")
        who = Who("page", user=session.user)
        log = audit_of(self._line)
        await run_in_threadpool(
            log.write, who, "alarm", shorten(part, 80), after={"acknowledged": True}
        )
        return JSONResponse({})


def _kept_of(review: dict[str, Any]) -> dict[str, Any]:
    """What the log keeps of a review: who said it, and when, it knows by itself."""
    return {name: review[name] for name in ("says", "word", "region")}
