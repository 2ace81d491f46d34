"""Pictures of NG frames on the socket `img`, and readers that do not read them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zmq

from kenpin.runtime.bundles.bundle import Bundle
from running_line import PATIENCE_S, UNHURRIED, RunningLine, check_undisturbed, line_toml

pytestmark = pytest.mark.clock

CAMERA = 'kind = "synthetic", height_px = 128, width_px = 320, seed = 4, rate_hz = 6'


@pytest.fixture
def line(patchcore: Bundle, tmp_path: Path) -> Iterator[RunningLine]:
    wire = ", ".join(f'{name} = "ipc://{tmp_path}/{name}"' for name in ("ctl", "pub", "img"))
    toml = line_toml(
        tmp_path,
        patchcore.folder,
        **UNHURRIED | {"camera": CAMERA, "wire": wire},
    )
    running = RunningLine(toml)
    yield running
    running.close()


def reader(folder: Path, context: zmq.Context[Any]) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.setsockopt(zmq.RCVTIMEO, round(PATIENCE_S * 1000))
    socket.connect(f"ipc://{folder}/img")
    return socket


def test_an_ng_frame_is_shown_with_its_verdict(line: RunningLine, tmp_path: Path) -> None:
    with zmq.Context() as context, reader(tmp_path, context) as socket:
        topic, head, picture = socket.recv_multipart()
        found = json.loads(head)
        asked = {"seq": found["seq"], "frame": found["frame"], "reason": found["reason"]}
        line.verdict(lambda m: m["seq"] >= found["seq"])
    (verdict,) = (m for m in line.verdicts if m["seq"] == found["seq"])
    assert topic == b"v1/img/web-1"
    assert verdict["verdict"] == found["verdict"] == 2
    assert asked == {name: verdict[name] for name in asked}
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[1] == 320
    assert image.shape[0] > 128, "the banner with the verdict is missing"


@pytest.mark.thorough
def test_readers_that_never_read_and_a_dead_preview_cost_no_verdict(
    line: RunningLine, tmp_path: Path
) -> None:
    with zmq.Context() as context, reader(tmp_path, context) as socket:
        socket.recv_multipart()
        first = line.verdict()["seq"]
        line.verdict(lambda m: m["seq"] >= first + 20)
        os.kill(line.child("kenpin-preview"), signal.SIGKILL)
        line.until(lambda m: m["type"] == "alarm" and m["source"] == "img" and m["active"])
        line.until(lambda m: m["type"] == "alarm" and m["source"] == "img" and not m["active"])
        line.verdict(lambda m: m["seq"] >= first + 40)
    check_undisturbed(line)
