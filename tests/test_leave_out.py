"""A model that has forgotten a part judges as one that never saw it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fake_reader import FakeReader, features
from kenpin.compile.good_images.parts import parts_of_files, parts_of_webs
from kenpin.compile.methods import padim
from kenpin.compile.methods.feature_reader import Unit
from kenpin.compile.methods.fitting import ANEW_FOLDS, FitTask, leave_outs
from kenpin.compile.methods.other_banks import PatchCoreLeaveOut
from kenpin.compile.methods.padim import PadimLeaveOut, fit_padim, make_folds
from kenpin.compile.methods.patchcore import fit_patchcore, k_centre_greedy, stand_ins
from kenpin.config.methods import PadimSpec, PatchCoreSpec
from kenpin.config.threshold import ThresholdSpec
from kenpin.runtime.judging.padim import PadimScorer
from kenpin.runtime.judging.patchcore import PatchCoreScorer
from kenpin.runtime.judging.sharing import model_of_tile
from kenpin.runtime.judging.tiling import TileGrid
from trainings import quiet

GRID = TileGrid(height=32, width=48, size=16, halo=0, stride=16)
SHARES = pytest.mark.parametrize("share", ["frame", "column", "tile"])


def ignored(*told):
    return lambda done, total: None


def said_of_nothing(done, total):
    pass


def bank(folder, images, share, rows=10_000, parts=None):
    """PatchCore of the images, and what forgets their parts."""
    folder.mkdir()
    reader = FakeReader(images)
    parts = parts or parts_of_files(reader.files, r"\d+")
    spec = PatchCoreSpec(name="patchcore", share=share, projection_dimensions=0, coreset_rows=rows)
    fit_patchcore(reader, reader.files, GRID, spec, folder, folder, [parts], ignored)
    arrays = [np.load(folder / f"{name}.npy") for name in ("centre", "bank", "bank_sq")]
    centre, rows_of_bank, squares = arrays
    scorer = PatchCoreScorer(centre, rows_of_bank, squares, model_of_tile(GRID, share))
    kept = [np.load(folder / f"{name}-0.npy") for name in ("part", "substitute")]
    return scorer, PatchCoreLeaveOut(scorer, *kept)


@SHARES
def test_a_bank_without_a_part_is_the_bank_of_the_others(tmp_path, share):
    images = features(images=6)
    parts = parts_of_files(FakeReader(images).files, None)
    _, leave = bank(tmp_path / "all", images, share, parts=parts)
    for part in range(len(parts)):
        others = images[parts.of_web != part]
        fitted, _ = bank(tmp_path / f"without-{part}", others, share)
        for image in images[parts.of_web == part]:
            np.testing.assert_allclose(
                leave.without(part).distances(image).values,
                fitted.distances(image).values,
                rtol=1e-4,
                atol=1e-4,
            )


def test_what_all_images_show_is_odd_in_none_though_one_alone_gave_its_row(tmp_path):
    images = features(images=6)
    # A blank table beside the material, the same in every image.
    images[:, :, 0] = 30.0
    scorer, leave = bank(tmp_path / "all", images, "frame", rows=40)
    owners = np.flatnonzero((np.abs(scorer.rows[0] - 30) < 1e-3).all(axis=1))
    assert len(owners) == 1
    for part in range(6):
        found = leave.without(part).distances(images[part]).values
        assert found[:, 0].max() < 1e-3
        assert found[:, 1:].max() > 0.1


def test_a_part_is_forgotten_in_every_tile_where_one_tile_is_always_the_same(tmp_path):
    images = features(images=6)
    images[:, 2] = 30.0
    scorer, leave = bank(tmp_path / "all", images, "tile", rows=40)
    assert scorer.bank.shape[1] == 40
    for part in range(6):
        found = leave.without(part).distances(images[part]).values
        assert found[2].max() < 1e-3
        assert all(tile.max() > 0.1 for tile in found[[0, 1, 3, 4, 5]])


def test_images_score_without_their_part_as_images_do_that_nobody_has_seen(tmp_path):
    """A bank that lets go of a part must not do it with that part's looks in mind."""
    rng = np.random.default_rng(5)
    images = rng.normal(size=(240, 6, 4, 4, 6)).astype(np.float32)
    seen, unseen = images[:40], images[40:]
    scorer, leave = bank(tmp_path / "all", seen, "frame", rows=300)
    apart = [leave.without(n).distances(image).values.max() for n, image in enumerate(seen)]
    fresh = [scorer.distances(image).values.max() for image in unseen]
    assert np.median(apart) == pytest.approx(np.median(fresh), rel=0.08)


def test_stand_ins_cover_what_is_left_about_as_tightly_as_the_whole_coreset_covers_all():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(600, 3)).astype(np.float32)
    part_of = rng.integers(8, size=600).astype(np.int32)
    chosen = k_centre_greedy(points, 50, 0)
    other = stand_ins(points, part_of, chosen)

    def radius(of, rows):
        return np.linalg.norm(of[:, None] - rows[None], axis=2).min(axis=1).max()

    whole = radius(points, points[chosen])
    for part in range(8):
        own = part_of[chosen] == part
        rows = np.where(own, other, chosen)
        assert (part_of[rows] != part).all()
        # There are no more stand-ins than the part had rows.
        assert radius(points[part_of != part], points[rows]) <= whole * 1.03


def test_stand_ins_of_a_coreset_that_one_part_gave_alone_come_from_the_others():
    points = np.arange(6, dtype=np.float32)[:, None]
    part_of = np.array([0, 0, 1, 1, 1, 1], np.int32)
    assert set(stand_ins(points, part_of, np.array([0, 1]))) <= {2, 3, 4, 5}
    everything = np.zeros(6, np.int32)
    np.testing.assert_array_equal(stand_ins(points, everything, np.array([0, 3])), [0, 3])


@SHARES
@pytest.mark.parametrize("granularity", ["dense", "columns", "single"])
def test_padim_without_a_part_is_padim_of_the_others(tmp_path, share, granularity):
    images = features(images=9)
    spec = PadimSpec(name="padim", granularity=granularity, share=share)

    def fit(folder, chosen, foldings=()):
        folder.mkdir()
        reader = FakeReader(chosen)
        fit_padim(reader, reader.files, GRID, spec, folder, said_of_nothing, foldings)
        return {name: np.load(folder / f"{name}.npy") for name in padim.ARRAYS}

    def scorer(arrays):
        members = model_of_tile(GRID, share)
        return PadimScorer(arrays["mean"], arrays["whitening"], members, granularity)

    reader = FakeReader(images)
    parts = parts_of_files(reader.files, None)
    folds = make_folds(tmp_path / "folds", parts, GRID, reader, spec)
    plain = fit(tmp_path / "plain", images)
    folded = fit(tmp_path / "folded", images, [folds])
    for name, array in plain.items():
        np.testing.assert_allclose(folded[name], array, rtol=1e-4, atol=1e-5)
    leave = PadimLeaveOut(folds, scorer)
    for part in range(len(parts)):
        others = scorer(fit(tmp_path / f"without-{part}", images[parts.of_web != part]))
        image = images[int(np.flatnonzero(parts.of_web == part)[0])]
        np.testing.assert_allclose(
            leave.without(part).distances(image).values,
            others.distances(image).values,
            rtol=1e-3,
            atol=1e-3,
        )


def test_images_each_by_themselves_keep_their_neighbours_where_folds_are_left_out(tmp_path):
    """Dealt as neighbours they scored like blocks: several photographs of a part went unsaid."""
    reader = FakeReader(features(images=60))
    parts = parts_of_files(reader.files, None)
    assert (np.diff(parts.folds(3)) >= 0).all()
    alone = make_folds(tmp_path, parts.by_image(), GRID, reader, PadimSpec(name="padim"))
    assert alone.count == padim.MOST_FOLDS
    assert (alone.of_part[1:] != alone.of_part[:-1]).all()
    assert np.bincount(alone.of_part).tolist() == [3] * padim.MOST_FOLDS


class UnitsRead:
    """A method that cannot forget, whose statistics are the units that it has read."""

    def fit(self, spec, task):
        rows = [features[0, 0, 0] for features in task.reader.read(task.files)]
        np.save(task.folder / "seen.npy", np.array(rows, np.float32))
        return {}


class ReaderOfRows(FakeReader):
    """Its files are the blocks of one web, or a web each, of ten tile rows."""

    def __init__(self, joined):
        super().__init__(features(images=2))
        self._joined = joined

    def units(self, files, tiles=None, progress=None):
        for number, _ in enumerate(files):
            for row in range(10):
                web, row = (0, 10 * number + row) if self._joined else (number, row)
                yield Unit(web, row, np.full((3, 4, 4, 3), 100 * web + row, np.float32))


@pytest.mark.parametrize("joined", [True, False])
def test_a_method_that_cannot_forget_is_fitted_without_the_pieces_of_a_web(tmp_path, joined):
    """Whole files were left out, by their first piece; of joined ones the second had no part."""
    reader = ReaderOfRows(joined)
    webs = reader.files[:1] if joined else reader.files
    parts = parts_of_webs(webs, [20] if joined else [10, 10], None)
    task = FitTask(
        reader, reader.files, GRID, tmp_path, quiet(), [parts], tmp_path, ThresholdSpec()
    )
    seen: Any = lambda arrays: arrays["seen"]  # noqa: E731 no scorer, but what it was fitted to
    (leave,) = leave_outs(UnitsRead(), PadimSpec(name="padim"), task, seen)
    folds = parts.folds(ANEW_FOLDS)
    origins = [(unit.web, unit.row) for unit in reader.units(reader.files)]
    for part in range(len(parts)):
        expected = [
            100 * web + row for web, row in origins if folds[parts.of(web, row)] != folds[part]
        ]
        assert leave.without(part)[:, 0].tolist() == expected
        assert 0 < len(expected) < 20


def test_folds_are_fewer_where_memory_or_disk_are_short_and_no_part_is_divided(
    tmp_path, monkeypatch
):
    reader = FakeReader(features(images=30))
    spec = PadimSpec(name="padim")
    parts = parts_of_files(reader.files, r"\d+")
    assert make_folds(tmp_path, parts, GRID, reader, spec).count == padim.MOST_FOLDS
    monkeypatch.setattr(padim, "FOLD_BYTES", 1)
    few = make_folds(tmp_path, parts, GRID, reader, spec)
    assert few.count == padim.FEWEST_FOLDS
    assert len(few.of_part) == 30
