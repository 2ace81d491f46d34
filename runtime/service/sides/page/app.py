"""The page's addresses: what is served, to whom, and how it is guarded."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from kenpin.config.errors import ConfigError
from kenpin.config.line import Line
from kenpin.config.page import LANGUAGES, PageSpec, Role
from kenpin.runtime.service.audit_entry import AuditError
from kenpin.runtime.service.reviews import KINDS
from kenpin.runtime.service.sides.page.accounts import Accounts, Login, Logins, TooManyTriesError
from kenpin.runtime.service.sides.page.archived import (
    ReviewedScores,
    archive_tree,
    archived_picture,
    reviewed_scores,
)
from kenpin.runtime.service.sides.page.changes import BundleChanges, ThresholdChangeError
from kenpin.runtime.service.sides.page.changing import Changing
from kenpin.runtime.service.sides.page.events import Events
from kenpin.runtime.service.sides.page.guard import Guard
from kenpin.runtime.service.sides.page.live import LiveLine
from kenpin.runtime.service.sides.page.requests import (
    NO_ARCHIVE,
    Handler,
    RequestRefusedError,
    asked,
    refusal,
)
from kenpin.runtime.service.sides.page.thresholds import threshold_tree

__all__ = ["CLIENT", "make_app"]

HERE = Path(__file__).parent
# The page's files, as a browser has them.
CLIENT = HERE / "client"
TEXTS = HERE / "texts"
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
        self._events = Events(lambda: live.version, self._tree, lambda r: self._who(r) is not None)
        self._changing = Changing(line, live, changes)
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
            Route("/api/events", self._for("look", self._news)),
            Route("/api/picture/{seq:int}/{which}", self._for("look", self._picture)),
            Route("/api/threshold", self._for("look", self._threshold), methods=["GET"]),
            Route("/api/archive", self._for("look", self._archive)),
            Route("/api/archived/{number:int}/{which}", self._for("look", self._archived)),
            Route("/api/rolls", self._for("look", self._rolls)),
            Route("/roll/{name}", self._for("look", self._roll)),
            *(
                Route(path, self._for(role, handler), methods=["POST"])
                for path, role, handler in self._changing.handlers()
            ),
        ]

    # -- who asks --------------------------------------------------------------------------

    def _for(self, role: Role, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            session = self._who(request)
            if session is None:
                return refusal(401, "log in first")
            if not session.may(role):
                return refusal(403, f"{session.user} may {session.role}, this needs {role}")
            token = request.headers.get("x-kenpin", "")
            if request.method == "POST" and not secrets.compare_digest(
                token.encode(), session.csrf.encode()
            ):
                return refusal(403, "the request does not come from the page; load it again")
            try:
                return await handler(request, session)
            except RequestRefusedError as error:
                return refusal(error.status, str(error))
            except (ThresholdChangeError, AuditError, ConfigError) as error:
                return refusal(409, str(error))

        return guarded

    def _who(self, request: Request) -> Login | None:
        return self._sessions.of(request.cookies.get(COOKIE))

    async def _front(self, request: Request) -> Response:
        response = self._served("index.html")
        if self._who(request) is None and not self._sessions.needed:
            self._give(response, self._sessions.guest()[0])
        return response

    async def _me(self, request: Request) -> Response:
        session = self._who(request)
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
            fields = await asked(request, {"name": str, "password": str})
            # argon2 takes its time, and readers should not feel it.
            token, session = await run_in_threadpool(
                self._sessions.log_in,
                fields["name"],
                fields["password"],
                address,
                request.cookies.get(COOKIE),
            )
        except RequestRefusedError as error:
            return refusal(error.status, str(error))
        except TooManyTriesError as error:
            return refusal(429, str(error), {"Retry-After": str(round(error.wait_s) + 1)})
        except PermissionError as error:
            return refusal(401, str(error))
        except ConfigError as error:
            return refusal(503, str(error))
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
            return refusal(404, "no such file")
        return Response(data, media_type=_KINDS[Path(name).suffix] + "; charset=utf-8")

    async def _state(self, request: Request, session: Login) -> Response:
        return JSONResponse(self._tree())

    def _tree(self) -> dict[str, Any]:
        return {
            **self._live.tree(),
            "change": self._changes.state,
            "disk": _disk(self._line),
        }

    async def _news(self, request: Request, session: Login) -> Response:
        return await self._events.answer(request)

    async def _picture(self, request: Request, session: Login) -> Response:
        which = request.path_params["which"]
        if which not in ("small", "plain", "heat"):
            return refusal(404, "no such picture")
        data = self._live.picture(request.path_params["seq"], which)
        if data is None:
            return refusal(404, "this picture is no longer kept")
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
            return refusal(404, "no such roll")
        file = self._line.rolls.folder / name
        if file.is_symlink() or not file.is_file():
            return refusal(404, "no such roll")
        data = await run_in_threadpool(file.read_bytes)
        headers = {"Content-Security-Policy": _ROLL_POLICY}
        return Response(data, media_type="text/html; charset=utf-8", headers=headers)

    def _folder(self) -> Path:
        if self._line.archive is None:
            raise RequestRefusedError(404, NO_ARCHIVE)
        return self._line.archive.folder

    async def _archive(self, request: Request, session: Login) -> Response:
        query = request.query_params
        kind, before = query.get("kind", "ng"), query.get("before")
        if kind not in KINDS or not (before is None or re.fullmatch(r"[0-9]{1,12}", before)):
            return refusal(400, f"expected kind={'|'.join(KINDS)} and before=NUMBER")
        if self._line.archive is None:
            return JSONResponse({"frames": [], "error": NO_ARCHIVE})
        last = None if before is None else int(before)
        return JSONResponse(await run_in_threadpool(archive_tree, self._folder(), kind, last))

    async def _archived(self, request: Request, session: Login) -> Response:
        number, which = request.path_params["number"], request.path_params["which"]
        if which not in ("plain", "heat") or number >= 10**12:
            return refusal(404, "no such picture")
        data = await run_in_threadpool(
            archived_picture, self._folder(), number, with_map=which == "heat"
        )
        if data is None:
            return refusal(404, "the archive no longer holds it")
        headers = {"Cache-Control": "private, max-age=600"}
        return Response(data, media_type="image/jpeg", headers=headers)


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
