"""The preview's process: NG frames out of the ring, pictures onto a socket."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import zmq

from kenpin.camera.acquisition.ring import FrameRing, StaleTicketError, Ticket
from kenpin.camera.acquisition.ring_frames import frame_in, map_in
from kenpin.camera.files.images import encode_png
from kenpin.config.errors import ConfigError
from kenpin.config.line import WireSpec
from kenpin.processes.channel import Channel
from kenpin.runtime.judging.join import ScoreMap
from kenpin.runtime.judging.overlay import overlay
from kenpin.runtime.judging.verdict import Outcome, Reason, Thresholds, Verdict
from kenpin.runtime.wire.authentication import Door

__all__ = ["Previewing"]

# Whoever is behind sees the newest pictures, not all of them.
_HWM = 2
_TOLD = ("seq", "trig", "frame", "name", "reason", "code", "detail", "score", "thr", "bundle")


class Previewing:
    """Publishes `v1/img/<line>`: what the picture shows, as JSON, and the picture, as PNG.

    about  what all pictures have in common: box, line, cam, boot, sim
    """

    def __init__(
        self, wire: WireSpec, about: dict[str, Any], ring: FrameRing, channel: Channel
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
            door = Door(self._wire.keys, ipc_group=self._wire.ipc_group)
            self._socket = door.context.socket(zmq.PUB)
            self._socket.setsockopt(zmq.SNDHWM, _HWM)
            self._socket.setsockopt(zmq.LINGER, 0)
            door.bind(self._socket, self._wire.img)
        except ConfigError as error:
            self._channel.send({"ticket": None, "fault": str(error)[:500]})
            while not self._channel.ended:
                self._channel.wait(1.0)
                self._channel.receive()
            return
        self._channel.send({"ticket": None, "fault": ""})
        try:
            self._serve(door)
        finally:
            door.close()

    def _serve(self, door: Door) -> None:
        poller = zmq.Poller()
        poller.register(self._channel.fileno(), zmq.POLLIN)
        for socket in door.sockets:
            poller.register(socket, zmq.POLLIN)
        while not self._channel.ended:
            poller.poll(1000)
            door.serve()
            for message in self._channel.receive():
                self._show(message)

    def _show(self, message: dict[str, Any]) -> None:
        told, ticket = message["verdict"], Ticket(*message["ticket"])
        fault = ""
        try:
            frame = frame_in(self._ring, ticket)
            found = map_in(self._ring, ticket) if message["map"] and not message["web"] else None
            score_map = None
            if found is not None:
                values, header = found
                score_map = ScoreMap(values, header.stride_px, frame.pixels.shape[:2])
            pixels = frame.pixels
            if pixels.dtype != np.uint8:
                pixels = (pixels >> 8).astype(np.uint8)
            picture = encode_png(overlay(pixels, score_map, _verdict(told)))
            head = {"v": 1, "type": "img", **self._about, "verdict": int(Outcome.NG)}
            head |= {name: told[name] for name in _TOLD} | {"format": "png"}
            self._socket.send_multipart([self._topic, json.dumps(head).encode(), picture])
        except StaleTicketError as error:
            fault = str(error)
        self._channel.send({"ticket": list(ticket), "fault": fault[:500]})


def _verdict(told: dict[str, Any]) -> Verdict:
    """As far as a picture's banner needs it."""
    known = told["thr"] is not None
    return Verdict(
        outcome=Outcome.NG,
        reason=Reason(told["reason"]),
        detail=told["detail"],
        score=told["score"],
        thresholds=Thresholds(told["thr"], told["thr_ng"]) if known else None,
        frame_index=told["frame"],
        frame_name=told["name"],
        captured_ns=told["captured_ns"],
        judged_ns=told["judged_ns"],
        bundle=told["bundle"],
        peak_xy=tuple(told["peak"]) if told["peak"] else None,
        stages_us=told["stages_us"],
    )
