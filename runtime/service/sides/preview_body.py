"""The preview's process: NG frames out of the ring, pictures onto a socket."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import zmq

from kenpin.camera.acquisition.ring import FrameRing, StaleTicketError
from kenpin.camera.acquisition.ring_frames import frame_in, map_in
from kenpin.camera.files.images import encode_png
from kenpin.config.errors import ConfigError
from kenpin.config.line import WireSpec
from kenpin.config.text import shorten
from kenpin.processes.channel import Channel
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.overlay import overlay
from kenpin.runtime.service.sides.messages import Lent, PreviewReport
from kenpin.runtime.wire.authentication import AccessControl
from kenpin.runtime.wire.field_types import MAX_DETAIL_CHARS
from kenpin.runtime.wire.verdict_messages import verdict_fields

__all__ = ["Previewing"]

# Whoever is behind sees the newest pictures, not all of them.
_HWM = 2
# The picture shows them.
_LEFT_OUT = ("verdict", "thr_ng", "peak", "defects", "n_defects", "web")


class Previewing:
    """Publishes `v1/img/<line>`: what the picture shows, as JSON, and the picture, as PNG.

    about  what all pictures have in common: box, line, cam, boot, sim
    """

    def __init__(
        self,
        wire: WireSpec,
        about: dict[str, Any],
        ring: FrameRing,
        channel: Channel[PreviewReport, Lent],
    ) -> None:
        self._wire = wire
        self._about = about
        self._ring = ring
        self._channel = channel
        self._topic = f"v1/img/{about['line']}".encode()

    def run(self) -> None:
        """Until nobody lends anything any more."""
        assert self._wire.img is not None
        try:
            access = AccessControl(self._wire.keys, ipc_group=self._wire.ipc_group)
            self._socket = access.context.socket(zmq.PUB)
            self._socket.setsockopt(zmq.SNDHWM, _HWM)
            self._socket.setsockopt(zmq.LINGER, 0)
            access.bind(self._socket, self._wire.img)
        except ConfigError as error:
            self._channel.send(PreviewReport(None, shorten(str(error), MAX_DETAIL_CHARS)))
            while not self._channel.ended:
                self._channel.wait(1.0)
                self._channel.receive()
            return
        self._channel.send(PreviewReport(None, ""))
        try:
            self._serve(access)
        finally:
            access.close()

    def _serve(self, access: AccessControl) -> None:
        poller = zmq.Poller()
        poller.register(self._channel.fileno(), zmq.POLLIN)
        for socket in access.sockets:
            poller.register(socket, zmq.POLLIN)
        while not self._channel.ended:
            poller.poll(1000)
            access.serve()
            for message in self._channel.receive():
                self._show(message)

    def _show(self, lent: Lent) -> None:
        fault = ""
        try:
            frame = frame_in(self._ring, lent.ticket)
            found = map_in(self._ring, lent.ticket) if lent.with_map else None
            score_map = None
            if found is not None:
                values, header = found
                score_map = ScoreMap(
                    values, header.stride_px, (header.frame_height, header.frame_width)
                )
            pixels = frame.pixels
            if pixels.dtype != np.uint8:
                # Of 10 or 12 bits the 8 highest would be black: as many as the frame uses.
                unseen = max(0, int(pixels.max(initial=0)).bit_length() - 8)
                pixels = (pixels >> unseen).astype(np.uint8)
            picture = encode_png(overlay(pixels, score_map, lent.verdict))
            fields = {"seq": lent.seq, "trig": lent.trig, **verdict_fields(lent.verdict)}
            head = {"v": 1, "type": "img", **self._about, "verdict": int(lent.verdict.outcome)}
            head |= {name: value for name, value in fields.items() if name not in _LEFT_OUT}
            head["format"] = "png"
            self._socket.send_multipart([self._topic, json.dumps(head).encode(), picture])
        except StaleTicketError as error:
            fault = str(error)
        self._channel.send(PreviewReport(lent.ticket, shorten(fault, MAX_DETAIL_CHARS)))
