"""Methods whose network is trained on the good images."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import kenpin
from bundles import Workshop, made_once, with_patch
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.compile.prepare import prepare
from kenpin.compile.progress import Steps
from kenpin.compile.training.claim import claim, remove
from kenpin.compile.training.drawn import drawn_into, expect_room
from kenpin.compile.training.head import TrainedHead
from kenpin.compile.training.network import TrainedNetwork
from kenpin.compile.training.pool import Pool, choose
from kenpin.compile.training.trainer import Learned, Trainer, TrainingLook, _Quality
from kenpin.config.ensemble import EnsembleSpec
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.config.methods import METHODS
from kenpin.config.recipe import Recipe, load_recipe
from kenpin.config.trained import DrawnSpec, StfpmSpec, TrainedSpec
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.engine import Engine
from kenpin.runtime.judging.lamp import Lamp
from kenpin.runtime.judging.trained import MapScorer
from kenpin.runtime.replay import main as edge_replay
from trainings import BRIEF, maps_of, prepared_for, quiet, tiles_of, tiny_recipe, trained

U8 = NDArray[np.uint8]
OWN = {
    "efficientad": ",distill_steps=1,width=8,features=8",
    "ensemble": ',members=[{name="stfpm"},{name="fastflow"}]',
    "ganomaly": ",width=8",
}
SMALL = "tiles={size_px=64,halo_px=8}"
WEB = """
name = "web"
images.good = "good"
frame = { geometry = "continuous", width_px = 160 }
method.name = "padim"
"""
# Those whose steps draw at random or descend twice, and one that does neither.
DRAWING = ("efficientad", "ganomaly", "metric", "stfpm")
# After two steps all tiles are alike but for the last digits of their cosines.
ALIKE = {"metric": 1e-3}
WHOLE_TILES = ("ganomaly", "metric")
ASKED = {
    "cflow": ('place="tile"', "method.place"),
    "efficientad": ("autoencoder=true", "method.autoencoder"),
    "ensemble": ('members=[{name="stfpm"},{name="metric"}]', "method metric judges a tile"),
    "fastflow": ('norm="tile"', "method.norm"),
}
TRAINED = sorted(
    name for name in METHODS.names() if issubclass(METHODS.find(name).settings, TrainedSpec)
)
# Many seconds each: `make test` trains the quicker ones.
LONG = (
    "cflow",
    "efficientad",
    "ensemble",
    "fastflow",
    "ganomaly",
    "reverse_distillation",
    "stfpm",
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for eight small frames, of one tile each."""
    return tiny_recipe(tmp_path_factory.mktemp("tiny"))


# -- one training ----------------------------------------------------------------------------------


class Counting(TrainedHead):
    """Says how bright a place is, times what it has learned, a step each."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))
        self.seen: list[bytes] = []
        self.worse_after = 10**9

    def forward(self, tiles: torch.Tensor, taps: list[torch.Tensor]) -> torch.Tensor:
        bright = torch.nn.functional.avg_pool2d(tiles.float(), 8).abs()
        return bright * self.gain.clamp(min=0)

    def learn(
        self,
        tiles: torch.Tensor,
        taps: list[torch.Tensor],
        optimizers: list[torch.optim.Optimizer],
        step: int,
    ) -> None:
        self.seen.append(tiles.numpy().tobytes())
        optimizers[0].zero_grad()
        (self.gain * (1.0 if step < self.worse_after else -1.0)).sum().backward()
        optimizers[0].step()

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)]


class NoTaps(torch.nn.Module):
    taps = ()

    def forward(self, tiles: torch.Tensor) -> list[torch.Tensor]:
        return []


def trainer(
    file: Path,
    clock: Iterator[float] | None = None,
    *,
    to_end: bool = False,
    **settings: Any,
) -> Trainer:
    rng = np.random.default_rng(1)
    tiles = rng.integers(90, 110, (20, 1, 32, 32), np.uint8)
    pool = Pool(tiles, np.arange(20) // 4, np.ones(20, bool))
    spec = StfpmSpec.model_validate({"name": "stfpm", "batch": 4, "every": 5, **settings})
    chosen = choose(pool, np.array([0]), np.array([2]), 1)
    ticks = count(0, 0) if clock is None else clock
    return Trainer(NoTaps(), pool, chosen, spec, 0, 0, file, to_end, lambda: next(ticks))  # type: ignore[arg-type]


def run(one: Trainer, head: Counting | None = None) -> tuple[Learned, list[TrainingLook]]:
    looks: list[TrainingLook] = []
    return one.train(head or Counting(), looks.append), looks


def test_a_training_that_was_cut_off_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, seen = Counting(), Counting()
    run(trainer(tmp_path / "whole.pt", steps=20), whole)
    run(trainer(tmp_path / "cut.pt", steps=10), Counting())
    learned, _ = run(trainer(tmp_path / "cut.pt", steps=20), seen)
    ends = [torch.load(tmp_path / name, weights_only=True) for name in ("whole.pt", "cut.pt")]
    # Where the trainings ended, not where they were at their best.
    assert torch.equal(ends[0]["head"]["gain"], ends[1]["head"]["gain"])
    assert learned.steps == 20
    # Only what was left is done, and with the tiles that were next.
    assert seen.seen == whole.seen[10:]


def test_each_tile_is_seen_once_in_every_round(tmp_path: Path) -> None:
    head = Counting()
    one = trainer(tmp_path / "a.pt", steps=8)
    run(one, head)
    shown = b"".join(head.seen)
    tile = one.pool.tiles[0].nbytes
    tiles = [shown[at : at + tile] for at in range(0, len(shown), tile)]
    learn = len(one.chosen.learn)
    assert len(set(tiles[:learn])) == learn
    assert set(tiles[:learn]) == {one.pool.tiles[n].tobytes() for n in one.chosen.learn}


def test_a_training_ends_when_held_out_tiles_get_no_better(tmp_path: Path) -> None:
    learned, looks = run(trainer(tmp_path / "a.pt", patience=3))
    # A gain tells nothing apart better: the first look is the best one.
    assert (learned.ended, learned.steps, learned.best) == ("no better", 20, 5)
    assert len(looks) == 4


def test_a_training_ends_with_its_minutes_and_says_what_is_left(tmp_path: Path) -> None:
    learned, looks = run(trainer(tmp_path / "a.pt", count(0, 1), minutes=0.2))
    assert learned.ended == "minutes"
    assert learned.steps < 20
    assert looks[0].left_s < 12
    assert "min left at most" in str(looks[0])
    # What is over is not begun again, unless it may take longer.
    again, _ = run(trainer(tmp_path / "a.pt", count(0, 1), minutes=0.2))
    assert again.steps == learned.steps
    longer, _ = run(trainer(tmp_path / "a.pt", count(0, 1), minutes=0.4))
    assert longer.steps > learned.steps


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"steps": 60}, {"steps": 20}),
        ({"steps": 12}, {"steps": 20}),
        ({"patience": 3}, {"patience": 5, "steps": 60}),
        ({"patience": 5, "steps": 60}, {"patience": 3}),
    ],
)
def test_a_training_with_other_limits_ends_as_one_that_began_anew(
    tmp_path: Path, first: dict[str, int], then: dict[str, int]
) -> None:
    """A threshold is of the folds' networks: all must be trained as the recipe says by now."""
    limits = {"patience": 20, "steps": 200}
    run(trainer(tmp_path / "cut.pt", **limits | first))
    again, _ = run(trainer(tmp_path / "cut.pt", **limits | then))
    fresh, _ = run(trainer(tmp_path / "fresh.pt", **limits | then))
    assert (again.steps, again.best, again.ended) == (fresh.steps, fresh.best, fresh.ended)
    ends = [torch.load(tmp_path / name, weights_only=True) for name in ("cut.pt", "fresh.pt")]
    assert torch.equal(ends[0]["head"]["gain"], ends[1]["head"]["gain"])


@pytest.mark.parametrize("first", [{"minutes": 0.05}, {"steps": 3}, {"minutes": 0.25}])
def test_a_training_that_is_given_more_goes_on_as_if_it_had_not_ended(
    tmp_path: Path, first: dict[str, float]
) -> None:
    """It ends between two looks, with one more: that is no look of a longer training."""
    cut, again, whole = Counting(), Counting(), Counting()
    ended, _ = run(trainer(tmp_path / "cut.pt", count(0, 1), **{"steps": 20} | first), cut)
    assert ended.steps % 5
    assert ended.best == min(ended.steps, 5)
    same, _ = run(trainer(tmp_path / "cut.pt", count(0, 1), **{"steps": 20} | first), Counting())
    assert (same.steps, same.best, same.scale) == (ended.steps, ended.best, ended.scale)
    longer, _ = run(trainer(tmp_path / "cut.pt", steps=20), again)
    fresh, _ = run(trainer(tmp_path / "fresh.pt", steps=20), whole)
    assert cut.seen + again.seen == whole.seen
    assert (longer.steps, longer.best, longer.scale) == (fresh.steps, fresh.best, fresh.scale)
    ends = [torch.load(tmp_path / name, weights_only=True) for name in ("cut.pt", "fresh.pt")]
    assert ends[0]["counts"] == ends[1]["counts"]


def test_less_patience_ends_a_training_where_it_would_have_ended_the_first_time(
    tmp_path: Path,
) -> None:
    class Remembering(Counting):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

        def learn(self, *given: Any) -> None:
            super().learn(*given)
            self.get_buffer("taken").add_(1)

    class Foreseen(Trainer):
        def _quality(self, head: TrainedHead, good: U8, twins: U8) -> _Quality:
            # Three looks without getting better, twice.
            separations = (0.5, 0.4, 0.4, 0.4, 0.8, 0.4, 0.4, 0.4)
            return _Quality(separations[int(head.get_buffer("taken")) // 5 - 1], 0.0)

    def foreseen(name: str, **settings: int) -> Learned:
        own = trainer(tmp_path / name, **{"steps": 40} | settings)
        return run(Foreseen(**vars(own)), Remembering())[0]

    assert foreseen("cut.pt", patience=5).best == 25
    again, fresh = foreseen("cut.pt", patience=3), foreseen("fresh.pt", patience=3)
    assert (fresh.steps, fresh.best, fresh.ended) == (20, 5, "no better")
    assert (again.steps, again.best, again.ended) == (20, 5, "no better")


def test_a_training_that_diverges_is_told_and_never_the_best(tmp_path: Path) -> None:
    class Diverging(Counting):
        def __init__(self, after: int) -> None:
            super().__init__()
            self.after = after

        def learn(self, *given: Any) -> None:
            super().learn(*given)
            if given[3] >= self.after:
                torch.nn.init.constant_(self.gain, torch.nan)

    with pytest.raises(ConfigError, match=r"the training diverged: .* lower method\.rate"):
        run(trainer(tmp_path / "a.pt", patience=2), Diverging(0))
    # Nothing is left of it that a lower rate would go on from.
    assert not (tmp_path / "a.pt").exists()
    learned, _ = run(trainer(tmp_path / "b.pt", patience=2), Diverging(7))
    assert learned.best == 5
    assert learned.head.gain.isfinite().all()
    # An ensemble has no rate of its own.
    members = ({"name": "stfpm"}, {"name": "fastflow"})
    spec = EnsembleSpec.model_validate({"name": "ensemble", "members": members, "patience": 1})
    with pytest.raises(ConfigError, match="lower rate of a member"):
        run(replace(trainer(tmp_path / "c.pt"), spec=spec), Diverging(0))


@pytest.mark.parametrize(("asked", "found"), [(7, 7), (15, 15), (16, 16), (99, 16)])
def test_as_many_tiles_are_shown_as_are_asked_for_and_evenly_over_all(
    tmp_path: Path, asked: int, found: int
) -> None:
    one = trainer(tmp_path / "a.pt", steps=5)
    tiles, learn = one.pool.tiles, np.arange(4, 20)
    one = replace(one, chosen=replace(one.chosen, learn=learn))
    told: list[bytes] = []
    head = Counting()
    head.settle = lambda shown: told.extend(  # type: ignore[method-assign]
        tile.numpy().tobytes() for batch, _ in shown(asked) for tile in batch
    )
    run(one, head)
    numbers = [n for n in learn if tiles[n].tobytes() in set(told)]
    assert len(told) == len(numbers) == found
    steps = np.diff(numbers)
    assert steps.max() - steps.min() <= 1


def test_a_damaged_checkpoint_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(b"no checkpoint")
    learned, _ = run(trainer(file, steps=5))
    assert learned.steps == 5


# -- what it learns from ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["spot", "scratch", "stain", "band", "grain", "cut_paste"])
def test_twins_are_drawn_as_the_recipe_says_and_within_the_core(kind: str) -> None:
    tiles = np.random.default_rng(0).integers(0, 255, (6, 1, 64, 64), np.uint8)
    spec = DrawnSpec.model_validate({"kinds": [kind], "contrast": [40, 60], "size_px": [6, 10]})
    twins = drawn_into(tiles, spec, 8, np.random.default_rng(1))
    changed = (twins != tiles)[:, 0]
    assert changed.any(axis=(1, 2)).all()
    outside = changed.copy()
    outside[:, 8:56, 8:56] = False
    assert not outside.any()
    if kind in ("spot", "cut_paste"):
        assert all(one.any(axis=1).sum() <= 12 for one in changed)


def test_each_kind_of_twin_may_have_a_contrast_and_sizes_of_its_own() -> None:
    tiles = np.full((12, 1, 64, 64), 100, np.uint8)
    large, faint = {"kind": "spot", "size_px": [16, 16]}, {"kind": "spot", "contrast": [20, 20]}
    table = {"kinds": ["spot", large, faint], "contrast": [60, 60], "size_px": [4, 4]}
    spec = DrawnSpec.model_validate(table)
    twins = drawn_into(tiles, spec, 8, np.random.default_rng(1))[:, 0].astype(int)
    wide = (twins != 100).any(axis=1).sum(axis=1)
    strong = np.abs(twins - 100).max(axis=(1, 2))
    assert (wide[1::3] >= 14).all()
    assert (np.delete(wide, np.s_[1::3]) <= 6).all()
    assert strong.tolist() == [60, 60, 20] * 4
    # A bundle tells them as they were said, and names alone as before.
    assert spec.model_dump(mode="json") == table
    assert DrawnSpec(kinds=spec.kinds[:1]).model_dump(mode="json")["kinds"] == ["spot"]


def test_twin_settings_that_cannot_be_are_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match="the lower one first"):
        DrawnSpec(contrast=(50, 20))
    with pytest.raises(ValueError, match="the smaller first"):
        DrawnSpec(size_px=(9, 3))
    expect_room("method.twins", DrawnSpec(size_px=(10, 24)), 48)
    with pytest.raises(ConfigError, match="cores of 48 px hold defects of 24 px at most"):
        expect_room("method.twins", DrawnSpec(size_px=(500, 600)), 48)
    stains = DrawnSpec.model_validate({"kinds": ["spot", {"kind": "stain", "size_px": [8, 30]}]})
    with pytest.raises(ConfigError, match=r"method\.twins\.kinds\.1\.size_px is 8 to 30 px"):
        expect_room("method.twins", stains, 48)
    with pytest.raises(ValueError, match="the smaller first"):
        DrawnSpec.model_validate({"kinds": [{"kind": "stain", "size_px": [9, 3]}]})
    with pytest.raises(ValueError, match=r"kinds\.0\.kind\n.*'spot'"):
        DrawnSpec.model_validate({"kinds": ["dent"]})
    # Of a member that learns from them, too.
    members = 'members=[{name="stfpm"},{name="metric",twins={size_px=[500,600]}}]'
    with pytest.raises(ConfigError, match=r"method\.members\.1\.twins\.size_px is 500 to 600 px"):
        prepare(load_recipe(tiny, [f'method={{name="ensemble",{members}}}']))


# -- every method ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=pytest.mark.thorough) if name in LONG else name for name in TRAINED],
)
def test_the_box_gives_the_map_that_torch_gives_and_training_again_the_same(
    tiny: Path, tmp_path: Path, method: str
) -> None:
    table = f'name="{method}",{BRIEF}{OWN.get(method, "")}'
    network = trained(tiny, tmp_path / "first", table)
    if method in DRAWING:
        again = trained(tiny, tmp_path / "again", table).joint().state_dict()
        for name, value in network.joint().state_dict().items():
            assert torch.equal(value, again[name]), name
    tiles = tiles_of(tiny)
    # What judges good images: a map for each fold, whose network is the bundle's in kind.
    found = maps_of(Engine(network.apart(2)), tiles)
    with torch.no_grad():
        expected = network.joint(apart=True)(torch.from_numpy(tiles)).numpy()
    assert found.shape == expected.shape == (4, 4, 4, 2)
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() <= ALIKE.get(method, 1e-4) * np.abs(expected).max()
    for fold in (0, 1):
        values = MapScorer(fold).distances(found).values
        np.testing.assert_array_equal(values, np.maximum(found[..., fold], 0))


@pytest.mark.parametrize("method", TRAINED)
def test_each_judges_webs_or_says_why_not(tmp_path: Path, method: str) -> None:
    recipe = tmp_path / "web.toml"
    recipe.write_text(WEB)
    own = OWN["ensemble"] if method == "ensemble" else ""
    table = f'method={{name="{method}"{own}}}'
    if method in WHOLE_TILES:
        with pytest.raises(ConfigError, match=f"method {method} judges a tile as a whole"):
            load_recipe(recipe, [table])
        return
    load_recipe(recipe, [table])
    if method in ASKED:
        asked, complaint = ASKED[method]
        with pytest.raises(ConfigError, match=complaint):
            load_recipe(recipe, [f'method={{name="{method}",{asked}}}'])


# -- bundles ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def students(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Compiled with a student and a teacher."""
    method = 'method={name="stfpm",steps=60,every=20,batch=8,folds=2}'
    made = made_once(
        tmp_path_factory, "students", lambda folder: workshop.build(folder, method, SMALL)
    )
    return read_bundle(made)


@pytest.mark.thorough
def test_a_student_becomes_a_bundle_that_is_guarded_and_judges(
    students: Bundle, workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = students.manifest
    assert manifest.quantization.settings.precision == "int8"
    assert min(manifest.quantization.score_ratios.values()) >= 0.9
    assert (manifest.method.name, manifest.features.dimensions) == ("stfpm", 1)
    good = read_pixels(workshop.data / "test" / "good" / "000.png")
    inspector = kenpin.load(students.folder)
    assert inspector.judge(good).ok
    assert inspector.judge(with_patch(good)).reason is kenpin.Reason.DEFECT
    (tmp_path / "frames").mkdir()
    write_png(tmp_path / "frames" / "a.png", good)
    write_png(tmp_path / "frames" / "b.png", with_patch(good))
    assert edge_replay([str(tmp_path / "frames"), "--bundle", str(students.folder)]) == Exit.DONE
    assert "2 frames: 1 OK, 1 NG" in capsys.readouterr().out


def test_an_interrupted_training_goes_on_only_with_the_same_copies(tmp_path: Path) -> None:
    """The seed draws how they are changed; with another one half of each training was seen."""
    recipe, found = tiny_recipe(tmp_path), []
    for seed in (0, 0, 1):
        changes = f"images.seed={seed}", "images.augment={copies=1,shift_px=2}"
        prepared, images = prepared_for(recipe, 'name="stfpm"', *changes)
        assert isinstance(prepared.network, TrainedNetwork)
        found.append(prepared.network._digest(images, None))
    assert found[0] == found[1] != found[2]


def test_one_build_at_a_time_trains_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / ".trainings" / "digest"
    code = (
        "import sys; from pathlib import Path; from kenpin.compile.training.claim import claim\n"
        "claim(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another build of the same recipe is training"):
            claim(folder)
        other.kill()
    # What a process held ends with it, and a build that failed does not stand in its own way.
    for _ in range(2):
        claim(folder)
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    remove(folder)
    assert not folder.exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files - 1


@pytest.mark.thorough
def test_nothing_of_a_training_is_left_when_its_bundle_is_sealed(students: Bundle) -> None:
    assert not (students.folder.parent / ".trainings").exists()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("tiles={size_px=72,halo_px=8}", "tiles.size_px 72 is not a multiple of 16"),
        ("tiles={size_px=64,halo_px=12}", "tiles.halo_px 12 is not a multiple of 8"),
    ],
)
def test_tiles_that_do_not_fit_the_network_are_refused(
    tiny: Path, settings: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        prepare(load_recipe(tiny, ['method={name="stfpm"}', settings]))


def test_tiles_that_cannot_be_halved_once_more_are_refused(tiny: Path) -> None:
    said = ['method.name="reverse_distillation"', "tiles={size_px=48,halo_px=8}"]
    with pytest.raises(ConfigError, match="size_px 48 is not a multiple of 32: method reverse"):
        prepare(load_recipe(tiny, said))


def test_too_few_tiles_are_refused(tiny: Path, tmp_path: Path) -> None:
    prepared, images = prepared_for(tiny, 'name="stfpm"')
    network = prepared.network
    assert isinstance(network, TrainedNetwork)
    with pytest.raises(ConfigError, match="0 tiles to train on, expected at least"):
        network.learn(replace(images, files=[]), prepared.walk(None), Lamp(None), quiet(), tmp_path)


def test_minutes_that_only_prepare_are_told(tmp_path: Path) -> None:
    head = Counting()
    head.warm_up = 100
    with pytest.raises(ConfigError, match=r"raise method\.minutes"):
        run(trainer(tmp_path / "a.pt", count(0, 1), minutes=0.2), head)
    with pytest.raises(ConfigError, match=r"ended by its steps .* raise method\.steps"):
        run(trainer(tmp_path / "b.pt", steps=20), head)


def test_an_ensembles_steps_go_beyond_what_its_members_prepare(tiny: Path) -> None:
    def ensemble(distill: int, steps: int) -> Recipe:
        members = f'members=[{{name="stfpm"}},{{name="efficientad",distill_steps={distill}}}]'
        return load_recipe(tiny, [f'method={{name="ensemble",steps={steps},{members}}}'])

    with pytest.raises(ConfigError, match="steps 20 end with the teacher's of efficientad, 20"):
        ensemble(20, 20)
    # A member's own steps are nothing that anybody says.
    long = ensemble(30_000, 30_001)
    assert Recipe.model_validate(long.model_dump()).method == long.method
    alone = load_recipe(tiny, ['method={name="efficientad",distill_steps=30000}'])
    with pytest.raises(ConfigError, match=r"the first 30000 only prepare; raise method\.steps"):
        prepare(alone)


@pytest.mark.parametrize("method", ["fastflow", "cflow"])
def test_a_flow_over_one_channel_is_refused_before_images_are_read(tiny: Path, method: str) -> None:
    """As is whatever else a method cannot be made for."""
    said = [f'method.name="{method}"', 'backbone.name="grey"', 'images.good="none"']
    with pytest.raises(ConfigError, match=r"needs two channels .* found 1; choose another"):
        prepare(load_recipe(tiny, said))


def test_folds_take_as_many_steps_and_what_minutes_cut_short_can_be_repeated(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = Counting()
    asked: list[tuple[int, float, bool]] = []
    less = [0.85, 0.81]

    def learned(_: Any, one: Trainer, name: str, steps: Steps) -> Learned:
        asked.append((one.spec.steps, one.spec.minutes, one.to_end))
        if one.to_end:
            return Learned(head, 1.0, 60, 60, less[len(asked) - 2], "steps", 1800.0)
        return Learned(head, 1.0, 90, 60, 0.9, "minutes", 1800.0)

    monkeypatch.setattr(TrainedNetwork, "_train", learned)
    said: list[str] = []
    monkeypatch.setattr(Steps, "say", lambda _, text: said.append(text))
    trained(tiny, tmp_path, f'name="stfpm",{BRIEF}')
    assert "3 trainings, the first of 10 min at most, all of about 30 at most" in said[1]
    assert "method.steps = 90 takes as long at most" in said[-2]
    # Of 30 min for 90 steps.
    assert said[-1] == "  2 more of 60 steps each: about 40.0 min at most"
    assert asked == [(2, 10, False), (60, np.inf, True), (60, np.inf, True)]
    # Interrupted when the first of these two was over and the second at its 30th step.
    behind, asked[:] = [60, 30], []
    monkeypatch.setattr(Trainer, "taken", lambda _: behind.pop(0))
    trained(tiny, tmp_path, f'name="stfpm",{BRIEF}')
    assert said[-1] == "  2 more of 60 steps each: about 10.0 min at most"
    monkeypatch.setattr(Trainer, "taken", lambda _: 0)
    # A fold that has learned much less sets the threshold all the same.
    less[:], asked[:] = [0.85, 0.79], []
    trained(tiny, tmp_path, f'name="stfpm",{BRIEF}')
    assert re.search(r"warning: .* AUROC 0\.790, the bundle's own with 0\.900", said[-1])


def test_a_training_that_is_told_its_steps_takes_them(tmp_path: Path) -> None:
    """Whatever is best, however long it takes, and however often it is interrupted."""
    head, seen = Counting(), Counting()
    head.worse_after = seen.worse_after = 6
    slow = count(0, 1000)
    long = {"minutes": 1000, "patience": 1, "to_end": True}
    learned, looks = run(trainer(tmp_path / "a.pt", slow, steps=12, **long), head)
    assert (learned.steps, learned.best, learned.ended) == (12, 12, "steps")
    assert len(head.seen) == 12
    # Nobody looks before its end, and its gain is the last one.
    assert [look.separation is None for look in looks] == [True, True, False]
    assert "AUROC" not in str(looks[0])
    begun = Counting()
    begun.worse_after = 6
    run(trainer(tmp_path / "b.pt", steps=7, to_end=True), begun)
    assert trainer(tmp_path / "b.pt", steps=6, to_end=True).taken() == 0
    assert trainer(tmp_path / "b.pt", steps=12, to_end=True).taken() == 7
    again, _ = run(trainer(tmp_path / "b.pt", steps=12, to_end=True), seen)
    # That it was to end before is no matter, but that it was to end later is.
    assert seen.seen == head.seen[7:]
    short = Counting()
    assert run(trainer(tmp_path / "a.pt", steps=6, to_end=True), short)[0].steps == 6
    assert len(short.seen) == 6
    torch.testing.assert_close(again.head.state_dict(), learned.head.state_dict(), rtol=0, atol=0)
    assert again.scale == learned.scale
    # Once over it is over: nothing is settled a second time.
    over = Counting()
    over.settle = lambda _: pytest.fail("settled again")  # type: ignore[method-assign]
    assert run(trainer(tmp_path / "b.pt", steps=12, to_end=True), over)[0].scale == learned.scale
    assert not over.seen


def test_a_training_that_was_cut_off_takes_the_steps_that_are_left(tmp_path: Path) -> None:
    class Cut(Counting):
        def learn(self, *given: Any) -> None:
            if len(self.seen) == 8:
                raise KeyboardInterrupt
            super().learn(*given)

    whole, seen, file = Counting(), Counting(), tmp_path / "cut.pt"
    expected, _ = run(trainer(tmp_path / "whole.pt", steps=12, to_end=True), whole)
    with pytest.raises(KeyboardInterrupt):
        run(trainer(file, steps=12, to_end=True), Cut())
    learned, _ = run(trainer(file, steps=12, to_end=True), seen)
    assert len(seen.seen) == 7
    assert seen.seen == whole.seen[5:]
    torch.testing.assert_close(learned.head.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert learned.scale == expected.scale
