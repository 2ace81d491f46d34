"""P8: the service and the replay give the same frame the same verdict, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundles import IN_FLOAT, Workshop, made_once
from kenpin.camera.files.image_source import ImageSource
from kenpin.camera.frame import Frame
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.pipeline import Pipeline
from running_line import EDGE_RUN, RunningLine, line_toml

pytestmark = pytest.mark.clock

Told = dict[str, tuple[int, float | None]]


@pytest.fixture(scope="session")
def two_methods(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A memory and a student that look at one network, as one."""
    members = '{name="patchcore",coreset_rows=200,candidates=4000},{name="stfpm"}'
    settings = f'name="ensemble",members=[{members}],steps=20,every=10,batch=8,folds=2'
    # Each frame shows a part of its own: of three parts, which neighbours would be taken for, one
    # would be all that a fold learns from.
    small, apart = "tiles={size_px=64,halo_px=8}", 'images.group="[0-9]+"'
    made = made_once(
        tmp_path_factory,
        "two_methods",
        lambda folder: workshop.build(folder, f"method={{{settings}}}", small, apart, IN_FLOAT),
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
    pipeline, source = Pipeline(bundle), ImageSource(frames)
    expected: Told = {}
    while not source.exhausted:
        frame = source.grab(0)
        assert isinstance(frame, Frame)
        verdict = pipeline.judge(frame).verdict
        expected[frame.name] = int(verdict.outcome), verdict.score
    assert len(expected) > 10
    assert len({outcome for outcome, _ in expected.values()}) == 2, "all are judged alike"

    toml = line_toml(
        tmp_path,
        bundle.folder,
        camera=f'kind = "recorded", folder = "{frames}"',
        trigger='mode = "software", budget_ms = 20000',
    )
    found: Told = {}
    with RunningLine(toml, command=EDGE_RUN) as line:
        line.state("operational.ready")
        plc = line.client()
        for number in range(len(expected)):
            told = plc.ask(str(number))
            found[told["name"]] = told["verdict"], told["score"]
    assert found == expected
