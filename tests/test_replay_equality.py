"""P8: the service and the replay give the same frame the same verdict, to the last bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
import zmq

from bundles import IN_FLOAT, Workshop, made_once
from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.pipeline import Pipeline
from running_line import PATIENCE_S, line_toml

Told = dict[str, tuple[int, float | None]]


@pytest.fixture(scope="session")
def two_methods(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A memory and a student that look at one network, as one."""
    members = '{name="patchcore",coreset_rows=200,candidates=4000},{name="stfpm"}'
    settings = f'name="ensemble",members=[{members}],steps=20,every=10,batch=8,folds=2'
    small = "tiles={size_px=64,halo_px=8}"
    made = made_once(
        tmp_path_factory,
        "two_methods",
        lambda folder: workshop.build(folder, f"method={{{settings}}}", small, IN_FLOAT),
    )
    return read_bundle(made)


@pytest.mark.parametrize(
    "made", ["patchcore", pytest.param("two_methods", marks=pytest.mark.thorough)]
)
def test_the_service_judges_as_the_replay_does(
    workshop: Workshop, made: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(made)
    frames = workshop.data / "test"
    toml = line_toml(
        tmp_path,
        bundle.folder,
        camera=f'kind = "recorded", folder = "{frames}", rate_hz = 20',
        trigger='mode = "free", budget_ms = 20000, max_in_flight = 8',
        ring="slots = 16",
    )
    found: Told = {}
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.SUBSCRIBE, b"v1/verdict/")
        socket.connect(f"ipc://{tmp_path}/pub")
        command = [sys.executable, "-m", "kenpin.runtime.service.cli", str(toml), "--until-end"]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr.decode()
        while socket.poll(200):
            message = msgpack.unpackb(socket.recv_multipart()[1])
            found[message["name"]] = message["verdict"], message["score"]

    pipeline, source = Pipeline(bundle), ImageSource(frames)
    expected: Told = {}
    while not source.exhausted:
        frame = source.grab(0)
        assert isinstance(frame, Frame)
        verdict = pipeline.judge(frame).verdict
        expected[frame.name] = int(verdict.outcome), verdict.score
    assert len(expected) > 10
    assert len({outcome for outcome, _ in expected.values()}) == 2, "all are judged alike"
    assert found == expected
