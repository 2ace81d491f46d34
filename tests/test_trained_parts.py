"""What trained methods are made of: flows, margins, places, neighbours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

import kenpin
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.camera.synthetic import SyntheticWeb
from kenpin.compile.reporting.measure import in_a_plane
from kenpin.compile.training.cflow import places
from kenpin.compile.training.flow import (
    CLAMP,
    Flow,
    joined_by_likelihood,
    negative_log_likelihood,
)
from kenpin.compile.training.margins import MARGINS, MarginLoss
from kenpin.compile.training.metric import spread_out
from kenpin.config.trained import MetricLoss

TINY = """
name = "tiny"
images.good = "good"
images.ng = "ng"
frame = { height_px = 64, width_px = 128 }
tiles = { size_px = 64, halo_px = 8 }
engine.batch = 2
quantize = { precision = "fp32", guard_tiles = 8 }
report = { twins_each = 1, speed_s = 0 }
[method]
name = "metric"
steps = 6
every = 3
batch = 4
folds = 2
"""


def subnet(inside: int, outside: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(inside, 6, 1), torch.nn.Tanh(), torch.nn.Conv2d(6, outside, 1)
    )


@pytest.mark.parametrize("channels", [4, 5])
def test_a_flows_determinant_is_that_of_its_derivative(channels: int) -> None:
    torch.manual_seed(0)
    flow = Flow(channels, [subnet] * 3)
    x = torch.randn(1, channels, 1, 1)
    derivative = torch.autograd.functional.jacobian(lambda one: flow(one)[0].flatten(), x)
    _, expected = torch.linalg.slogdet(derivative.reshape(channels, channels))
    assert flow(x)[1].item() == pytest.approx(float(expected), abs=1e-4)


def test_no_feature_however_odd_is_blown_up_beyond_float() -> None:
    torch.manual_seed(0)
    flow = Flow(6, [subnet] * 8)
    noise, log_det = flow(torch.full((1, 6, 2, 2), 1e4))
    assert torch.isfinite(negative_log_likelihood(noise, log_det)).all()
    assert log_det.max().item() <= 8 * 3 * CLAMP


def test_maps_are_joined_by_the_mean_of_their_likelihoods() -> None:
    maps = [torch.rand(2, 1, 3, 3, generator=torch.manual_seed(n)) * 6 - 2 for n in range(3)]
    mean = torch.stack([torch.exp(-one) for one in maps]).mean(dim=0)
    torch.testing.assert_close(joined_by_likelihood(maps), -torch.log(mean))


def test_what_one_flow_blows_up_counts_no_more_than_as_never_seen() -> None:
    def joined(*values: float) -> float:
        return joined_by_likelihood([torch.full((1, 1, 1, 1), one) for one in values]).item()

    usual = joined(0.5, 0.5, 0.5)
    assert joined(1e13, 0.5, 0.5) == pytest.approx(usual + np.log(3 / 2), abs=1e-5)
    # All of them can be told from more.
    assert joined(2e4, 3e5, 1e5) == pytest.approx(2e4 + np.log(3))
    assert joined(2e6, 3e6, 4e6) > joined(1e6, 3e6, 4e6)


def test_no_two_places_of_a_tile_are_told_alike() -> None:
    told = places(16, 8)[0].reshape(16, -1).T
    assert torch.cdist(told, told).fill_diagonal_(1).min() > 1e-3


@pytest.mark.parametrize("loss", ["arcface", "cosface", "sphereface"])
def test_a_margin_makes_it_harder_everywhere_and_never_turns_around(loss: MetricLoss) -> None:
    # Of one embedding along the circle, its loss for the class at angle 0.
    angle = torch.linspace(0.01, np.pi - 0.01, 60)
    embeddings = torch.stack([angle.cos(), angle.sin()], dim=1)

    def losses(margin: float) -> torch.Tensor:
        one = MarginLoss(loss, 2, 2, margin, 4.0)
        with torch.no_grad():
            one.weights.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
            return torch.stack([one(row[None], torch.zeros(1, dtype=int)) for row in embeddings])

    free = losses(1.0 if loss == "sphereface" else 0.0)
    held = losses(MARGINS[loss])
    assert (held > free - 1e-6).all()
    assert (held.diff() > -1e-5).all()


@pytest.mark.parametrize("loss", get_args(MetricLoss))
def test_every_loss_draws_classes_apart(loss: MetricLoss) -> None:
    torch.manual_seed(1)
    classes = torch.arange(30) % 3
    rows = torch.nn.Parameter(torch.randn(30, 4))
    one = MarginLoss(loss, 4, 3)
    optimizer = torch.optim.Adam([rows, *one.parameters()], 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        one(rows, classes).backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(rows.detach(), dim=1)
    likeness = unit @ unit.T
    same = classes[:, None] == classes[None]
    assert float(likeness[same].mean()) > float(likeness[~same].mean()) + 0.5


def test_those_that_stand_for_all_are_as_far_apart_as_can_be() -> None:
    rows = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.0], [0.99, 0.01], [0.0, 1.0], [0.02, 0.98], [-1.0, 0.0]]), dim=1
    )
    chosen = spread_out(rows, 3)
    assert {tuple(row) for row in chosen.round().int().tolist()} == {(1, 0), (0, 1), (-1, 0)}
    assert len(spread_out(rows, 9)) == 5


def test_the_plane_is_that_in_which_most_varies() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2000, 5)) * np.array([0.1, 5, 0.1, 2, 0.1])
    plane, share = in_a_plane(rows.astype(np.float32))
    assert np.abs(np.corrcoef(plane[:, 0], rows[:, 1])[0, 1]) > 0.99
    assert np.abs(np.corrcoef(plane[:, 1], rows[:, 3])[0, 1]) > 0.99
    assert share == pytest.approx(29 / 29.03, abs=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("member", [False, True])
def test_a_learned_measure_is_a_bundle_and_its_report_shows_the_nearest_good(
    tmp_path: Path, *, member: bool
) -> None:
    web = SyntheticWeb(64, 128, 5)
    for folder, numbers in (("good", range(8)), ("ng", range(20, 22))):
        (tmp_path / folder).mkdir()
        for number in numbers:
            pixels = web.frame(number).pixels.copy()
            if folder == "ng":
                pixels[20:40, 40:60] = 255
            write_png(tmp_path / folder / f"{number}.png", pixels)
    (tmp_path / "tiny.toml").write_text(TINY)
    table = 'method={name="ensemble",steps=6,every=3,batch=4,folds=2,members=['
    members = '{name="patchcore",coreset_rows=20},{name="metric"}]}'
    changes = [table + members] if member else []
    result = kenpin.build(tmp_path / "tiny.toml", tmp_path / "store", changes=changes, lowest=False)
    assert result.bundle.manifest.score.smooth_sigma_px == 0
    shown = json.loads(result.report_file.read_text())["pictures"]["embedding"]
    assert shown[0]["name"] == "all tiles in a plane"
    assert {one["name"] for one in shown[1:]} == {"20.png", "21.png"}
    assert all("nearest good" in one["note"] for one in shown[1:])
    # Farthest first, and by no score: that of the bundle joins maps in another measure.
    distances = [one["distance"] for one in shown[1:]]
    assert distances == sorted(distances, reverse=True)
    assert min(distances) > 0
    assert {one["score"] for one in shown} == {None}
    inspector = kenpin.load(result.bundle.folder)
    scores = [
        inspector.judge(read_pixels(file)).score for file in sorted((tmp_path / "ng").iterdir())
    ]
    assert scores == pytest.approx(list(result.bundle.manifest.ng_scores.values()), rel=0.01)
