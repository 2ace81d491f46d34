"""The page's process: hears the gateway on one thread, serves readers on another."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import simplejpeg
import uvicorn
from numpy.typing import NDArray

from kenpin.camera.acquisition.ring import FrameRing, MapHeader, StaleTicketError
from kenpin.camera.acquisition.ring_frames import frame_in, map_in
from kenpin.config.errors import ConfigError
from kenpin.config.line import Line
from kenpin.config.page import PageSpec
from kenpin.processes.channel import Channel
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.overlay import heated, on_canvas, striped
from kenpin.runtime.judging.verdict import Outcome, Verdict
from kenpin.runtime.service.sides.messages import (
    Lent,
    LineTotals,
    LivePageReport,
    ToLivePage,
    WithoutPicture,
)
from kenpin.runtime.service.sides.page.app import make_app
from kenpin.runtime.service.sides.page.changes import BundleChanges
from kenpin.runtime.service.sides.page.live import LiveLine
from kenpin.runtime.service.sides.page.pixels import (
    LARGE_PX,
    QUALITY,
    SMALL_PX,
    eight_bits,
    fit_within,
)
from kenpin.runtime.web.picture import under_the_map
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS

__all__ = ["PageBody"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

# A taken port is tried again so often.
_AGAIN_S = 2.0
# Messages are taken in handfuls: waking for each one would cost the line's cores more.
_GATHER_S = 0.03
# Connections at once, of all kinds; a reader of events is one.
_CONNECTIONS = 96


class PageBody:
    """Everything that the page's process is."""

    def __init__(
        self,
        spec: PageSpec,
        line: Line,
        about: dict[str, Any],
        ring: FrameRing,
        channel: Channel[LivePageReport, ToLivePage],
    ) -> None:
        self._spec = spec
        self._ring = ring
        self._channel = channel
        self._telling = threading.Lock()
        self._live = LiveLine(about, line.trigger.budget_ms, spec.shifts)
        self._changes = BundleChanges(line, self._live, self._want)
        self._line = line
        self._server: uvicorn.Server | None = None
        # Of a web: what was shown last, and the line that came next.
        self._before: U8 | None = None
        self._before_end = -1

    def run(self) -> None:
        """Until the gateway ends."""
        next_try = 0.0
        while not self._channel.ended:
            if self._server is None and time.monotonic() >= next_try:
                self._open()
                next_try = time.monotonic() + _AGAIN_S
            if self._channel.wait(0.5):
                time.sleep(_GATHER_S)
            while messages := self._channel.receive():
                for message in messages:
                    self._hear(message)
        if self._server is not None:
            self._server.should_exit = True

    def _open(self) -> None:
        spec = self._spec
        wanted = f"{spec.address}:{spec.port}"
        try:
            app = make_app(spec, self._line, self._live, self._changes)
            family = socket.AF_INET6 if ":" in spec.address else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((spec.address, spec.port))
            listener.listen()
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_CONNECTIONS,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=16 * 1024,
                ssl_certfile=spec.certificate,
                ssl_keyfile=spec.private_key,
            )
            config.load()
        except (OSError, ConfigError) as error:
            self._tell(LivePageReport(fault=f"page: {wanted}: {error}"[:MAX_DETAIL_CHARS]))
            return
        self._server = uvicorn.Server(config)
        threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, daemon=True
        ).start()
        scheme = "https" if spec.certificate else "http"
        host = f"[{spec.address}]" if ":" in spec.address else spec.address
        self._tell(
            LivePageReport(address=f"{scheme}://{host}:{listener.getsockname()[1]}", fault="")
        )

    def _hear(self, message: ToLivePage) -> None:
        if isinstance(message, Lent):
            self._show(message)
        elif isinstance(message, WithoutPicture):
            self._live.verdict(message.seq, message.verdict)
        elif isinstance(message, LineTotals):
            self._live.counts(message)
        else:
            self._changes.changed(message.step, message.bundle, message.detail)

    def _show(self, lent: Lent) -> None:
        try:
            pixels = eight_bits(frame_in(self._ring, lent.ticket).pixels)
            found = map_in(self._ring, lent.ticket) if lent.with_map else None
            pixels, laid, verdict = self._laid(pixels, found, lent.verdict)
            plain = fit_within(on_canvas(pixels), LARGE_PX)
            hot = plain.copy()
            if laid is not None and verdict.thresholds is not None:
                heated(hot, laid, verdict.thresholds.ok)
                if verdict.web is None:
                    striped(hot, laid)
        except StaleTicketError:
            # The slot was taken back meanwhile: the picture is lost, the verdict is not.
            self._live.verdict(lent.seq, lent.verdict)
        else:
            self._live.pictures(
                lent.seq,
                ok=lent.verdict.outcome is Outcome.OK,
                small=_jpeg(fit_within(hot, SMALL_PX)),
                plain=_jpeg(plain),
                heat=_jpeg(hot),
            )
            self._live.verdict(lent.seq, verdict, (pixels.shape[0], pixels.shape[1]))
        self._tell(LivePageReport(ticket=lent.ticket))

    def _laid(
        self, pixels: U8, found: tuple[F32, MapHeader] | None, verdict: Verdict
    ) -> tuple[U8, ScoreMap | None, Verdict]:
        """What is shown, its map, and the verdict with its peak in what is shown."""
        web = verdict.web
        if web is None:
            if found is None:
                return pixels, None, verdict
            values, header = found
            size = header.frame_height, header.frame_width
            return pixels, ScoreMap(values, header.stride_px, size), verdict
        first = web.came_line - len(pixels)
        before = self._before if self._before_end == first else None
        # A copy: the slot goes back to the ring.
        self._before, self._before_end = pixels.copy(), web.came_line
        if found is None or web.map_line is None or verdict.peak_xy is None:
            # A web's peak is a place in its map.
            return pixels, None, replace(verdict, peak_xy=None)
        (values, header), line = found, web.map_line
        if verdict.outcome is Outcome.OK:
            # All good pictures are one frame high.
            earlier = max(0, -(-(first - line) // header.stride_px))
            values, line = values[earlier:], line + earlier * header.stride_px
        shown, laid = under_the_map(pixels, first, values, line, header.stride_px, before)
        x, y = verdict.peak_xy
        y += web.map_line - first + len(shown) - len(pixels)
        return shown, laid, replace(verdict, peak_xy=(x, y) if y >= 0 else None)

    def _want(self, bundle: str, instead_of: str) -> None:
        self._tell(LivePageReport(wanted=bundle, instead_of=instead_of))

    def _tell(self, report: LivePageReport) -> None:
        # From the server's threads, too.
        with self._telling:
            self._channel.send(report)


def _jpeg(canvas: U8) -> bytes:
    return bytes(simplejpeg.encode_jpeg(canvas, QUALITY, colorspace="RGB"))
