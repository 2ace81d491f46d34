"""P8: the service and the replay give the same frame the same score, to the last bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgpack
import zmq

from bundles import Workshop
from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.judging.pipeline import Pipeline
from running_line import PATIENCE_S, line_toml


def test_the_service_scores_as_the_replay_does(
    workshop: Workshop, patchcore: Bundle, tmp_path: Path
) -> None:
    frames = workshop.data / "test"
    toml = line_toml(
        tmp_path,
        patchcore.folder,
        camera=f'kind = "recorded", folder = "{frames}", rate_hz = 20',
        trigger='mode = "free", budget_ms = 20000, max_in_flight = 8',
        ring="slots = 16",
    )
    found: dict[str, float] = {}
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.SUBSCRIBE, b"v1/verdict/")
        socket.connect(f"ipc://{tmp_path}/pub")
        command = [sys.executable, "-m", "kenpin.runtime.service.cli", str(toml), "--until-end"]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr.decode()
        while socket.poll(200):
            message = msgpack.unpackb(socket.recv_multipart()[1])
            found[message["name"]] = message["score"]

    pipeline, source = Pipeline(patchcore), ImageSource(frames)
    expected: dict[str, float | None] = {}
    while not source.exhausted:
        frame = source.grab(0)
        assert isinstance(frame, Frame)
        expected[frame.name] = pipeline.judge(frame).verdict.score
    assert len(expected) > 10
    assert found == expected
