"""What a request may hold, and how one that may not is refused."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from kenpin.runtime.service.sides.page.accounts import Login

__all__ = ["NO_ARCHIVE", "Handler", "RequestRefusedError", "asked", "reasoned", "refusal"]

BODY_BYTES = 16 * 1024
# What is answered where `[archive]` is missing.
NO_ARCHIVE = "this line keeps no archive"

# Answers a request of somebody who has logged in.
Handler = Callable[[Request, Login], Awaitable[Response]]


class RequestRefusedError(Exception):
    """A request that cannot be had: the status to answer with, and why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def asked(request: Request, wanted: dict[str, Any]) -> dict[str, Any]:
    """The JSON body of a request: exactly these fields, of these kinds.

    Raises
    ------
    RequestRefusedError
        If it is another.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise RequestRefusedError(415, "expected application/json")
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES:
                raise RequestRefusedError(413, f"more than {BODY_BYTES} bytes")
    except ClientDisconnect:
        raise RequestRefusedError(400, "the request ended early") from None
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestRefusedError(400, "this is no JSON") from None
    if not isinstance(tree, dict) or tree.keys() != wanted.keys():
        raise RequestRefusedError(400, f"expected the fields {', '.join(wanted)}")
    for name, kind in wanted.items():
        value = tree[name]
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or isinstance(value, bool):
            raise RequestRefusedError(400, f"{name}: of another kind than expected")
    return tree


def reasoned(why: str) -> str:
    """Why somebody changes something, as the audit log keeps it.

    Raises
    ------
    RequestRefusedError
        If it is no reason.
    """
    if not 3 <= len(why.strip()) <= 500:
        raise RequestRefusedError(400, "say why, in 3 to 500 characters")
    return why.strip()


def refusal(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that says no."""
    return JSONResponse({"error": why}, status, headers)
