"""The stream of events: whatever is new of the line, to every page that is open."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from kenpin.runtime.service.sides.page.requests import refusal

__all__ = ["Events"]

# Readers of the event stream; the next gets 503.
READERS = 32
# A change is told at once, but no more often than this.
PACE_S = 0.25
KEEP_ALIVE_S = 10.0


class Events:
    """What the readers of the stream are sent.

    version  of what there is to say: another one is said
    tree     what there is to say
    may      whether whoever asked may still hear it
    """

    def __init__(
        self,
        version: Callable[[], int],
        tree: Callable[[], dict[str, Any]],
        may: Callable[[Request], bool],
    ) -> None:
        self._version = version
        self._tree = tree
        self._may = may
        self._readers = 0

    async def answer(self, request: Request) -> Response:
        """The stream for one reader, or a refusal to one too many."""
        if self._readers >= READERS:
            return refusal(
                503, f"{READERS} readers are connected; close another tab", {"Retry-After": "10"}
            )
        self._readers += 1
        return _Stream(self._news(request), self._gone)

    def _gone(self) -> None:
        self._readers -= 1

    async def _news(self, request: Request) -> AsyncIterator[str]:
        version, said = -1, 0.0
        while not await request.is_disconnected():
            # Whoever was logged out hears no more.
            if not self._may(request):
                yield "event: over\ndata: {}\n\n"
                return
            now = time.monotonic()
            if self._version() != version:
                version, said = self._version(), now
                text = json.dumps(self._tree(), separators=(",", ":"))
                yield f"data: {text}\n\n"
            elif now - said > KEEP_ALIVE_S:
                said = now
                yield ": still here\n\n"
            await asyncio.sleep(PACE_S)


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
