"""The status page's process: /metrics, /healthz and /readyz over HTTP."""

from __future__ import annotations

import json
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from typing import Any

from prometheus_client import disable_created_metrics

from kenpin.config.line import StatusSpec
from kenpin.processes.channel import Channel
from kenpin.runtime.service.sides.messages import SNAPSHOT_NS, PageReport, ToStatus, VerdictTimes
from kenpin.runtime.service.sides.metrics import LineMetrics
from kenpin.runtime.wire.verdict_messages import State

__all__ = ["StatusPage"]

_SILENT_S = 3 * SNAPSHOT_NS / 1e9
# Messages are taken in handfuls: waking for each one would cost the line's cores more.
_GATHER_S = 0.05
# A taken port is tried again so often.
_AGAIN_S = 2.0
# Scrapes at once; a browser with a hundred tabs gets refusals, not threads.
_REQUESTS_AT_ONCE = 8
_REQUEST_S = 3.0
_READY = frozenset({State.READY, State.SINGLE, State.CONTINUOUS})
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class StatusPage:
    """Hears the gateway on one thread, and answers whoever asks on others."""

    def __init__(
        self, spec: StatusSpec, line: str, budget_s: float, channel: Channel[PageReport, ToStatus]
    ) -> None:
        # A second time series for each histogram, which nobody asked for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._spec = spec
        self._line = line
        self._channel = channel
        self._metrics = LineMetrics(line, budget_s)
        self._state = ""
        self._heard_s: float | None = None
        self._server: _Server | None = None

    def run(self) -> None:
        """Until the gateway ends."""
        next_try = 0.0
        while not self._channel.ended:
            if self._server is None and time.monotonic() >= next_try:
                self._open()
                next_try = time.monotonic() + _AGAIN_S
            if self._channel.wait(_AGAIN_S):
                time.sleep(_GATHER_S)
            while messages := self._channel.receive():
                for message in messages:
                    self._hear(message)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _open(self) -> None:
        wanted = f"{self._spec.address}:{self._spec.port}"
        try:
            self._server = _Server(self._spec, self)
        except OSError as error:
            fault = f"status: {wanted} cannot be had ({error.strerror}); change status.port"
            self._channel.send(PageReport("", fault))
            return
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        port = self._server.server_port
        self._channel.send(PageReport(f"http://{self._spec.address}:{port}", ""))

    def _hear(self, message: ToStatus) -> None:
        if isinstance(message, VerdictTimes):
            self._metrics.verdict(message.stages_us, message.score)
            return
        self._metrics.stand(message)
        self._state = message.state
        self._heard_s = time.monotonic()

    # -- on the threads of whoever asks ----------------------------------------------------

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """The answer to a GET: status, content type, body."""
        path = path.partition("?")[0]
        if path == "/metrics":
            return HTTPStatus.OK, _TEXT, self._metrics.page()
        silent_s = None if self._heard_s is None else time.monotonic() - self._heard_s
        alive = silent_s is not None and silent_s < _SILENT_S
        if path == "/healthz":
            return self._word(alive, silent_s)
        if path == "/readyz":
            return self._word(alive and self._state in _READY, silent_s)
        text = f"kenpin line {self._line}: /metrics /healthz /readyz\n".encode()
        return (HTTPStatus.OK if path == "/" else HTTPStatus.NOT_FOUND), _TEXT, text

    def _word(self, good: bool, silent_s: float | None) -> tuple[HTTPStatus, str, bytes]:
        body = {"line": self._line, "ok": good, "state": self._state}
        body["gateway_heard_s"] = None if silent_s is None else round(silent_s, 3)
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(body).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, spec: StatusSpec, page: StatusPage) -> None:
        self.page = page
        self._free = threading.BoundedSemaphore(_REQUESTS_AT_ONCE)
        if ":" in spec.address:
            self.address_family = AF_INET6
        super().__init__((spec.address, spec.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone; there is nobody to tell."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_S
    server_version = "kenpin"
    sys_version = ""

    def do_GET(self) -> None:
        status, kind, body = self.server.page.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is no news."""
