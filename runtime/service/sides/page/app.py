"""The page's addresses: what is served, to whom, and how it is guarded."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from types import NoneType
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kenpin.config.errors import ConfigError
from kenpin.config.line import Line
from kenpin.config.page import LANGUAGES, PageSpec, Role
from kenpin.runtime.service.audit import AuditError, Who, audit_of
from kenpin.runtime.service.reviews import KINDS, Reviews
from kenpin.runtime.service.sides.page.accounts import Accounts, Login, Logins, TooManyTriesError
from kenpin.runtime.service.sides.page.archived import (
    ReviewedScores,
    archive_tree,
    archived_picture,
    reviewed_scores,
)
from kenpin.runtime.service.sides.page.changes import BundleChanges, ThresholdChangeError
from kenpin.runtime.service.sides.page.guard import Guard
from kenpin.runtime.service.sides.page.live import LiveLine
from kenpin.runtime.service.sides.page.thresholds import threshold_tree

__all__ = ["CLIENT", "make_app"]

HERE = Path(__file__).parent
CLIENT = HERE / "client"
TEXTS = HERE / "texts"
# Readers of the event stream; the next gets 503.
READERS = 32
# A change is told at once, but no more often than this.
PACE_S = 0.25
KEEP_ALIVE_S = 10.0
BODY_BYTES = 16 * 1024
COOKIE = "kenpin"
_KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
}
_ROLL = re.compile(r"[A-Za-z0-9._-]{1,128}\.html")
# A roll's page brings its own script; in a sandbox of its own it reaches nothing of this site.
_ROLL_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
)

Handler = Callable[[Request, Login], Awaitable[Response]]


class _RefusedError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def make_app(spec: PageSpec, line: Line, live: LiveLine, changes: BundleChanges) -> Guard:
    """The whole application, guarded.

    Raises
    ------
    ConfigError
        If the accounts cannot be read.
    """
    accounts = None if spec.accounts is None else Accounts(spec.accounts)
    if accounts is not None:
        accounts.read()
    sessions = Logins(accounts, spec.local_role)
    return Guard(Starlette(routes=_Pages(spec, line, live, changes, sessions).routes()), spec)


class _Pages:
    def __init__(
        self,
        spec: PageSpec,
        line: Line,
        live: LiveLine,
        changes: BundleChanges,
        sessions: Logins,
    ) -> None:
        self._spec = spec
        self._line = line
        self._live = live
        self._changes = changes
        self._sessions = sessions
        self._readers = 0
        # Read once: what was installed is what is served, whatever becomes of the disk.
        files = [*CLIENT.iterdir(), *TEXTS.iterdir()]
        self._files = {file.name: file.read_bytes() for file in files if file.suffix in _KINDS}

    def routes(self) -> list[Route]:
        """All addresses."""
        return [
            Route("/", self._front),
            Route("/login", self._login, methods=["POST"]),
            Route("/logout", self._for("look", self._logout), methods=["POST"]),
            Route("/file/{name}", self._file),
            # Browsers ask for one whatever a page says.
            Route("/favicon.ico", self._no_icon),
            Route("/api/me", self._me),
            Route("/api/state", self._for("look", self._state)),
            Route("/api/events", self._for("look", self._events)),
            Route("/api/picture/{seq:int}/{which}", self._for("look", self._picture)),
            Route("/api/threshold", self._for("look", self._threshold), methods=["GET"]),
            Route("/api/threshold", self._for("set", self._set), methods=["POST"]),
            Route("/api/learn", self._for("set", self._learn), methods=["POST"]),
            Route("/api/back", self._for("set", self._back), methods=["POST"]),
            Route("/api/acknowledge", self._for("look", self._acknowledge), methods=["POST"]),
            Route("/api/archive", self._for("look", self._archive)),
            Route("/api/archived/{number:int}/{which}", self._for("look", self._archived)),
            Route("/api/review", self._for("review", self._review), methods=["POST"]),
            Route("/api/rolls", self._for("look", self._rolls)),
            Route("/roll/{name}", self._for("look", self._roll)),
        ]

    # -- who asks --------------------------------------------------------------------------

    def _for(self, role: Role, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            session = self._sessions.of(request.cookies.get(COOKIE))
            if session is None:
                return _no(401, "log in first")
            if not session.may(role):
                return _no(403, f"{session.user} may {session.role}, this needs {role}")
            token = request.headers.get("x-kenpin", "")
            if request.method == "POST" and not secrets.compare_digest(
                token.encode(), session.csrf.encode()
            ):
                return _no(403, "the request does not come from the page; load it again")
            try:
                return await handler(request, session)
            except _RefusedError as error:
                return _no(error.status, str(error))
            except (ThresholdChangeError, AuditError, ConfigError) as error:
                return _no(409, str(error))

        return guarded

    async def _front(self, request: Request) -> Response:
        response = self._served("index.html")
        if self._sessions.of(request.cookies.get(COOKIE)) is None and not self._sessions.needed:
            self._give(response, self._sessions.guest()[0])
        return response

    async def _me(self, request: Request) -> Response:
        session = self._sessions.of(request.cookies.get(COOKIE))
        answer: dict[str, Any] = {
            "language": self._spec.language,
            "languages": list(LANGUAGES),
            "line": self._line.name,
            "login": self._sessions.needed,
            "notice": self._spec.notice,
        }
        if session is not None:
            answer |= {"user": session.user, "role": session.role, "csrf": session.csrf}
        return JSONResponse(answer)

    async def _login(self, request: Request) -> Response:
        if not self._sessions.needed:
            return RedirectResponse("/", 303)
        address = request.client.host if request.client else ""
        try:
            asked = await _asked(request, {"name": str, "password": str})
            # argon2 takes its time, and readers should not feel it.
            token, session = await run_in_threadpool(
                self._sessions.log_in,
                asked["name"],
                asked["password"],
                address,
                request.cookies.get(COOKIE),
            )
        except _RefusedError as error:
            return _no(error.status, str(error))
        except TooManyTriesError as error:
            return _no(429, str(error), {"Retry-After": str(round(error.wait_s) + 1)})
        except PermissionError as error:
            return _no(401, str(error))
        except ConfigError as error:
            return _no(503, str(error))
        response = JSONResponse({"user": session.user, "role": session.role})
        self._give(response, token)
        return response

    async def _logout(self, request: Request, session: Login) -> Response:
        self._sessions.log_out(request.cookies.get(COOKIE))
        response = JSONResponse({})
        response.delete_cookie(COOKIE)
        return response

    def _give(self, response: Response, token: str) -> None:
        secure = self._spec.certificate is not None
        response.set_cookie(
            COOKIE, token, httponly=True, samesite="strict", secure=secure, path="/"
        )

    # -- what is shown ---------------------------------------------------------------------

    async def _file(self, request: Request) -> Response:
        return self._served(request.path_params["name"])

    async def _no_icon(self, request: Request) -> Response:
        return Response(status_code=204)

    def _served(self, name: str) -> Response:
        data = self._files.get(name)
        if data is None:
            return _no(404, "no such file")
        return Response(data, media_type=_KINDS[Path(name).suffix] + "; charset=utf-8")

    async def _state(self, request: Request, session: Login) -> Response:
        return JSONResponse(self._tree())

    def _tree(self) -> dict[str, Any]:
        return {
            **self._live.tree(),
            "change": self._changes.state,
            "disk": _disk(self._line),
        }

    async def _events(self, request: Request, session: Login) -> Response:
        if self._readers >= READERS:
            return _no(
                503, f"{READERS} readers are connected; close another tab", {"Retry-After": "10"}
            )
        self._readers += 1
        return _Stream(self._news(request), self._gone)

    def _gone(self) -> None:
        self._readers -= 1

    async def _news(self, request: Request) -> AsyncIterator[str]:
        version, said = -1, 0.0
        token = request.cookies.get(COOKIE)
        while not await request.is_disconnected():
            # Whoever was logged out hears no more.
            if self._sessions.of(token) is None:
                yield "event: over\ndata: {}\n\n"
                return
            now = time.monotonic()
            if self._live.version != version:
                version, said = self._live.version, now
                text = json.dumps(self._tree(), separators=(",", ":"))
                yield f"data: {text}\n\n"
            elif now - said > KEEP_ALIVE_S:
                said = now
                yield ": still here\n\n"
            await asyncio.sleep(PACE_S)

    async def _picture(self, request: Request, session: Login) -> Response:
        which = request.path_params["which"]
        if which not in ("small", "plain", "heat"):
            return _no(404, "no such picture")
        data = self._live.picture(request.path_params["seq"], which)
        if data is None:
            return _no(404, "this picture is no longer kept")
        # A number's picture never changes while the service runs.
        headers = {"Cache-Control": "private, max-age=600"}
        return Response(data, media_type="image/jpeg", headers=headers)

    async def _threshold(self, request: Request, session: Login) -> Response:
        return JSONResponse(await run_in_threadpool(self._thresholds))

    def _thresholds(self) -> dict[str, Any]:
        (name, manifest), seen = self._changes.in_force(), self._live.scores()
        folder = None if self._line.archive is None else self._line.archive.folder
        reviewed = ReviewedScores([], []) if folder is None else reviewed_scores(folder)
        judged = {bundle for _, bundle in [*seen, *reviewed.good, *reviewed.defect]}
        return threshold_tree(name, manifest, seen, reviewed, self._changes.alike(judged))

    async def _rolls(self, request: Request, session: Login) -> Response:
        folder = self._line.rolls.folder if self._line.rolls else None
        names = [] if folder is None else await run_in_threadpool(_roll_names, folder)
        return JSONResponse({"rolls": names})

    async def _roll(self, request: Request, session: Login) -> Response:
        name = request.path_params["name"]
        # A name alone, never a path: what the pattern takes has no slash, and no link is followed.
        if self._line.rolls is None or not _ROLL.fullmatch(name):
            return _no(404, "no such roll")
        file = self._line.rolls.folder / name
        if file.is_symlink() or not file.is_file():
            return _no(404, "no such roll")
        data = await run_in_threadpool(file.read_bytes)
        headers = {"Content-Security-Policy": _ROLL_POLICY}
        return Response(data, media_type="text/html; charset=utf-8", headers=headers)

    def _folder(self) -> Path:
        if self._line.archive is None:
            raise _RefusedError(404, "this line keeps no archive")
        return self._line.archive.folder

    async def _archive(self, request: Request, session: Login) -> Response:
        asked = request.query_params
        kind, before = asked.get("kind", "ng"), asked.get("before")
        if kind not in KINDS or not (before is None or re.fullmatch(r"[0-9]{1,12}", before)):
            return _no(400, f"expected kind={'|'.join(KINDS)} and before=NUMBER")
        if self._line.archive is None:
            return JSONResponse({"frames": [], "error": "this line keeps no archive"})
        last = None if before is None else int(before)
        return JSONResponse(await run_in_threadpool(archive_tree, self._folder(), kind, last))

    async def _archived(self, request: Request, session: Login) -> Response:
        number, which = request.path_params["number"], request.path_params["which"]
        if which not in ("plain", "heat") or number >= 10**12:
            return _no(404, "no such picture")
        data = await run_in_threadpool(
            archived_picture, self._folder(), number, with_map=which == "heat"
        )
        if data is None:
            return _no(404, "the archive no longer holds it")
        headers = {"Cache-Control": "private, max-age=600"}
        return Response(data, media_type="image/jpeg", headers=headers)

    # -- what is changed -------------------------------------------------------------------

    async def _set(self, request: Request, session: Login) -> Response:
        asked = await _asked(request, {"ok": float, "of": str, "why": str})
        why = _reasoned(asked["why"])
        made = await run_in_threadpool(
            self._changes.set_threshold, float(asked["ok"]), asked["of"], why, session.user
        )
        return JSONResponse({"bundle": made, "proposed": not made})

    async def _learn(self, request: Request, session: Login) -> Response:
        asked = await _asked(request, {"of": str, "why": str})
        self._changes.relearn(asked["of"], _reasoned(asked["why"]), session.user)
        return JSONResponse({})

    async def _back(self, request: Request, session: Login) -> Response:
        asked = await _asked(request, {"to": str, "why": str})
        why = _reasoned(asked["why"])
        made = await run_in_threadpool(self._changes.go_back, asked["to"], session.user, why)
        return JSONResponse({"bundle": made})

    async def _review(self, request: Request, session: Login) -> Response:
        asked = await _asked(
            request, {"number": int, "says": str, "word": str, "region": (list, NoneType)}
        )
        says, region = asked["says"], asked["region"]
        if says not in ("good", "defect") or not 0 <= asked["number"] < 10**12:
            raise _RefusedError(400, "expected a frame's number, and says good or defect")
        if region is not None and (
            len(region) != 4 or not all(type(v) in (int, float) for v in region)
        ):
            raise _RefusedError(400, "region: expected four numbers or null")
        box = None if region is None else tuple(region)
        made = await run_in_threadpool(
            self._said, asked["number"], says, session.user, asked["word"], box
        )
        return JSONResponse({"review": made})

    def _said(self, number: int, says: Any, user: str, word: str, region: Any) -> dict[str, Any]:
        reviews = Reviews(self._folder())
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
        part = (await _asked(request, {"part": str}))["part"]
        if not self._live.acknowledge(part, session.user):
            raise _RefusedError(404, "there is no such alarm any more")
        who = Who("page", user=session.user)
        log = audit_of(self._line)
        await run_in_threadpool(log.write, who, "alarm", part[:80], after={"acknowledged": True})
        return JSONResponse({})


def _kept_of(review: dict[str, Any]) -> dict[str, Any]:
    """What the log keeps of a review: who said it, and when, it knows by itself."""
    return {name: review[name] for name in ("says", "word", "region")}


class _Stream(StreamingResponse):
    """Events; `gone` is called once, however the reader goes, even before the first."""

    def __init__(self, events: AsyncIterator[str], gone: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._gone = gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._gone()


def _disk(line: Line) -> dict[str, int] | None:
    """Room on the disk that fills: the archive's, or the one of the bundles."""
    try:
        usage = shutil.disk_usage(line.archive.folder if line.archive else line.bundles)
    except OSError:
        return None
    return {"free_bytes": usage.free, "total_bytes": usage.total}


def _roll_names(folder: Path) -> list[str]:
    files = [f for f in folder.glob("*.html") if _ROLL.fullmatch(f.name) and not f.is_symlink()]
    return [f.name for f in sorted(files, key=lambda f: f.stat().st_mtime, reverse=True)[:200]]


async def _asked(request: Request, wanted: dict[str, Any]) -> dict[str, Any]:
    """The JSON body of a request: exactly these fields, of these kinds."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise _RefusedError(415, "expected application/json")
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES:
                raise _RefusedError(413, f"more than {BODY_BYTES} bytes")
    except ClientDisconnect:
        raise _RefusedError(400, "the request ended early") from None
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        raise _RefusedError(400, "this is no JSON") from None
    if not isinstance(tree, dict) or tree.keys() != wanted.keys():
        raise _RefusedError(400, f"expected the fields {', '.join(wanted)}")
    for name, kind in wanted.items():
        value = tree[name]
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or isinstance(value, bool):
            raise _RefusedError(400, f"{name}: of another kind than expected")
    return tree


def _reasoned(why: str) -> str:
    if not 3 <= len(why.strip()) <= 500:
        raise _RefusedError(400, "say why, in 3 to 500 characters")
    return why.strip()


def _no(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": why}, status, headers)
