"""What every request passes and every answer carries: the host it asks for, where it comes from,
and headers that forbid the browser all that the page does not need."""

from __future__ import annotations

import ipaddress
from collections.abc import MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from kenpin.config.page import PageSpec
from kenpin.config.text import brief

__all__ = ["POLICY", "Guard"]

# Content-Security-Policy: nothing but the page's own files.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Wraps an application.

    A name that the page is not called by is refused: another site could else point its own
    name at this machine and read the page through the reader's browser. Of requests that
    change something those of other sites are refused by `Origin` and `Sec-Fetch-Site`.
    """

    def __init__(self, app: Starlette, spec: PageSpec) -> None:
        self._app = app
        self._tls = spec.certificate is not None
        own = {spec.address.lower(), *(host.lower() for host in spec.hosts)}
        self._hosts = own | set(_LOCAL) if spec.loopback else own
        # Bound to every address of the machine: any of them, but no name that is not given.
        self._any_address = _everywhere(spec.address)

    @property
    def routes(self) -> list[Route]:
        """All addresses of the application."""
        return [route for route in self._app.routes if isinstance(route, Route)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        why = self._unwanted(scope, headers)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._seal(message)
            await send(message)

        if why:
            await JSONResponse({"error": why}, 403)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _unwanted(self, scope: Scope, headers: Headers) -> str:
        host = _host(headers.get("host", ""))
        if host not in self._hosts and not (self._any_address and _is_address(host)):
            return f"this page is not called {brief(host)}; name it in page.hosts"
        if scope["method"] in ("GET", "HEAD"):
            return ""
        origin = headers.get("origin")
        scheme = "https" if self._tls else "http"
        if origin is not None and origin != f"{scheme}://{headers.get('host', '')}":
            return "the request comes from another site"
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return "the request comes from another site"
        return ""

    def _seal(self, message: MutableMapping[str, Any]) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in _ALWAYS.items():
            headers.setdefault(name, value)
        if self._tls:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _everywhere(address: str) -> bool:
    return _is_address(address) and ipaddress.ip_address(address).is_unspecified
