"""The metrics agree with their definitions, and keep the promises people rely on."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import reference_metrics as reference
from kenpin.compile.metrics import pixels, ranks
from kenpin.compile.metrics.pixels import aupro, pixel_auroc
from kenpin.compile.metrics.scores import auroc, best_f1, confusion, f1_at, within_group_auroc

# Few levels make many ties; -0.0 must tie with 0.0; the rest are awkward numbers.
LEVELS = [-1.5, -0.0, 0.0, 0.1, 1 / 3, 0.5, 1.0, 2.0, 1e30]


@st.composite
def samples(draw):
    """Scores, labels of both classes, and groups."""
    n = draw(st.integers(2, 24))
    score = st.sampled_from(LEVELS) | st.floats(-10, 10)
    scores = np.array(draw(st.lists(score, min_size=n, max_size=n)))
    positive = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    assume(0 < positive.sum() < n)
    groups = np.array(draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n)))
    return scores, positive, groups


@st.composite
def images(draw):
    """Maps and masks of several sizes, with both kinds of pixel somewhere."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 3, 8, 10_000]))
    density = draw(st.sampled_from([0.1, 0.3, 0.6, 0.95]))
    shapes = draw(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4))
    maps = [(rng.integers(0, levels, s) / 7 - 0.2).astype(np.float32) for s in shapes]
    masks = [rng.random(s) < density for s in shapes]
    anomalous, pixels = sum(int(k.sum()) for k in masks), sum(k.size for k in masks)
    assume(0 < anomalous < pixels)
    return maps, masks


max_fprs = st.sampled_from([0.01, 0.05, 0.25, 0.3, 0.5, 1.0])


def a_map(height=12, width=17):
    """One defect of 12 pixels, one of 2 that touch by a corner, on noise; seeded."""
    mask = np.zeros((height, width), bool)
    mask[2:5, 3:7] = True
    mask[8, 10] = mask[9, 11] = True
    return np.random.default_rng(7).random((height, width), dtype=np.float32), mask


# AUROC of samples


@given(samples())
def test_auroc_agrees_with_its_definition(sample):
    scores, positive, _ = sample
    expected = reference.auroc(scores.tolist(), positive.tolist())
    assert auroc(scores, positive) == pytest.approx(expected, abs=1e-12)


@pytest.fixture(scope="module")
def sklearn_metrics():
    return pytest.importorskip("sklearn.metrics", reason="comes with nncf")


@given(samples())
def test_auroc_agrees_with_scikit_learn(sklearn_metrics, sample):
    scores, positive, _ = sample
    assert auroc(scores, positive) == pytest.approx(sklearn_metrics.roc_auc_score(positive, scores))


@given(samples(), st.randoms(use_true_random=False))
def test_auroc_knows_neither_scale_nor_order(sample, random):
    scores, positive, _ = sample
    order = list(range(scores.size))
    random.shuffle(order)
    ranks = np.unique(scores, return_inverse=True)[1]
    assert auroc(scores[order], positive[order]) == auroc(scores, positive)
    assert auroc(np.exp2(ranks), positive) == auroc(scores, positive)
    assert auroc(-scores, positive) == pytest.approx(1 - auroc(scores, positive))


def test_auroc_is_one_half_for_a_constant_and_one_for_a_perfect_score():
    positive = np.array([True, False, False, True, False])
    assert auroc(np.full(5, 3.25), positive) == 0.5
    assert auroc(positive.astype(float), positive) == 1.0
    assert auroc(-positive.astype(float), positive) == 0.0


def test_minus_zero_ties_with_zero():
    assert auroc([-0.0, 0.0], [True, False]) == 0.5
    zero = np.array([[-0.0, 0.0]], np.float32)
    mask = np.array([[True, False]])
    assert pixel_auroc([zero], [mask]) == 0.5
    assert aupro([zero], [mask], 1.0) == 0.5


@pytest.mark.parametrize(
    ("scores", "positive", "message"),
    [
        ([1.0, 2.0], [True, True], "2 of 2 samples are bad"),
        ([1.0, 2.0], [False, False], "0 of 2 samples are bad"),
        ([1.0, np.nan], [True, False], "1 of 2 values are not finite"),
        ([1.0, np.inf], [True, False], "1 of 2 values are not finite"),
        ([1.0, 2.0, 3.0], [True, False], r"scores \(3,\) and positive \(2,\)"),
        ([[1.0, 2.0]], [[True, False]], r"scores \(1, 2\)"),
        ([1.0, 2.0], [1, 0], "positive is int64, expected bool"),
        ([], [], "no scores"),
    ],
)
@pytest.mark.parametrize("routine", [auroc, best_f1])
def test_scores_that_mean_nothing_are_refused(routine, scores, positive, message):
    with pytest.raises(ValueError, match=message):
        routine(scores, positive)


# AUROC within groups


@given(samples())
def test_within_group_auroc_agrees_with_its_definition(sample):
    scores, positive, groups = sample
    labels = [set(positive[groups == g]) for g in set(groups)]
    assume({True, False} in labels)
    found = within_group_auroc(scores, positive, groups)
    expected = reference.within_group_auroc(scores.tolist(), positive.tolist(), groups.tolist())
    assert astuple(found) == pytest.approx(expected, abs=1e-12)


@given(samples())
def test_one_group_of_all_is_the_plain_auroc(sample):
    scores, positive, _ = sample
    found = within_group_auroc(scores, positive, np.zeros(scores.size, int))
    pairs = int(positive.sum() * (~positive).sum())
    plain = auroc(scores, positive)
    assert astuple(found) == (plain, plain, pairs, 1)


def test_within_group_auroc_is_blind_to_what_lifts_a_whole_group():
    scores = np.array([1.0, 2.0, 1.0, 2.0, 9.0])
    positive = np.array([False, True, True, False, False])
    groups = ["dark", "dark", "bright", "bright", "unused"]
    lift = np.array([0.0, 0.0, 50.0, 50.0, 0.0])
    found = within_group_auroc(scores + lift, positive, groups)
    assert astuple(found) == (0.5, 0.5, 2, 2)


def test_pooled_weighs_pairs_and_mean_weighs_groups():
    scores = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    positive = [False, False, False, True, False, True]
    found = within_group_auroc(scores, positive, [1, 1, 1, 1, 2, 2])
    assert astuple(found) == (0.75, 0.5, 4, 2)


def test_groups_without_pairs_are_refused():
    with pytest.raises(ValueError, match="none of 2 groups"):
        within_group_auroc([1.0, 2.0], [True, False], ["a", "b"])
    with pytest.raises(ValueError, match=r"groups \(1,\) do not fit"):
        within_group_auroc([1.0, 2.0], [True, False], ["a"])


# Thresholds


@given(samples(), st.sampled_from(LEVELS) | st.floats(-10, 10))
def test_confusion_and_f1_agree_with_their_definitions(sample, threshold):
    scores, positive, _ = sample
    plain = scores.tolist(), positive.tolist(), threshold
    assert astuple(confusion(scores, positive, threshold)) == reference.confusion(*plain)
    assert f1_at(scores, positive, threshold) == float(reference.f1(*plain))


@given(samples())
def test_best_f1_agrees_with_its_definition(sample):
    scores, positive, _ = sample
    threshold, f1 = best_f1(scores, positive)
    expected_threshold, expected_f1 = reference.best_f1(scores.tolist(), positive.tolist())
    assert f1 == expected_f1
    assert f1_at(scores, positive, threshold) == f1
    if np.isfinite(expected_threshold):
        assert threshold == pytest.approx(expected_threshold, rel=1e-12, abs=1e-300)
    else:
        assert threshold < scores.min()


def test_best_f1_lies_half_way_between_the_classes():
    assert best_f1([1.0, 2.0, 4.0, 5.0], [False, False, True, True]) == (3.0, 1.0)


def test_best_f1_prefers_fewer_escapes_among_equals():
    # Above 1 both bad are caught with two false rejects, above 7 one bad alone.
    scores, positive = [0.0, 2.0, 4.0, 6.0, 8.0], [False, True, False, False, True]
    assert f1_at(scores, positive, 7.0) == 2 / 3
    assert best_f1(scores, positive) == (1.0, 2 / 3)


@pytest.mark.parametrize(("lowest", "threshold"), [(4.0, 2.0), (0.0, -1.0), (-3.0, -7.0)])
def test_best_f1_can_reject_everything(lowest, threshold):
    assert best_f1([lowest, lowest], [True, False]) == (threshold, 2 / 3)


@pytest.mark.parametrize("level", [1.0, -1.0, 0.0, 1e-323, 1e308, -1e308])
@pytest.mark.parametrize("towards", [-np.inf, np.inf])
def test_best_f1_parts_neighbouring_floats(level, towards):
    # The middle of such a pair is rounded onto one of the two.
    scores = np.sort([level, np.nextafter(level, towards)])
    threshold, f1 = best_f1(scores, [False, True])
    assert f1 == 1.0
    assert astuple(confusion(scores, [False, True], threshold)) == (1, 0, 1, 0)


def test_best_f1_lies_half_way_between_scores_whose_sum_overflows():
    assert best_f1([1.0e308, 1.5e308], [False, True]) == (pytest.approx(1.25e308), 1.0)


def test_a_score_at_the_threshold_passes():
    assert astuple(confusion([1.0, 1.0], [False, True], 1.0)) == (1, 0, 0, 1)


def test_a_threshold_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="threshold is NaN"):
        confusion([1.0], [True], float("nan"))
    with pytest.raises(ValueError, match="no bad sample"):
        f1_at([1.0], [False], 0.0)


# Pixels


@given(images())
def test_pixel_auroc_agrees_with_its_definition(pair):
    maps, masks = pair
    assert pixel_auroc(maps, masks) == pytest.approx(reference.pixel_auroc(maps, masks), abs=1e-12)


@given(images(), max_fprs)
def test_aupro_agrees_with_its_definition(pair, max_fpr):
    maps, masks = pair
    expected = reference.aupro(maps, masks, max_fpr)
    assert aupro(maps, masks, max_fpr) == pytest.approx(expected, abs=1e-12)


@given(images(), max_fprs, st.randoms(use_true_random=False))
def test_pixels_know_neither_scale_nor_order(pair, max_fpr, random):
    maps, masks = pair
    order = list(range(len(maps)))
    random.shuffle(order)
    for metric in (pixel_auroc, lambda a, b: aupro(a, b, max_fpr)):
        plain = metric(maps, masks)
        # Powers of two neither merge nor split levels; the 180-degree turn moves pixels.
        assert metric([m * 8 for m in maps], masks) == plain
        shuffled = [maps[i][::-1, ::-1] for i in order], [masks[i][::-1, ::-1] for i in order]
        assert metric(*shuffled) == pytest.approx(plain, abs=1e-12)
        ranks = np.unique(np.concatenate([m.ravel() for m in maps]))
        ranked = [np.sqrt(np.searchsorted(ranks, m)).astype(np.float32) for m in maps]
        assert metric(ranked, masks) == plain


@given(images(), max_fprs)
def test_a_perfect_map_is_one_and_a_constant_map_is_chance(pair, max_fpr):
    _, masks = pair
    perfect = [np.where(k, 2.5, 0.5).astype(np.float32) for k in masks]
    constant = [np.full(k.shape, 0.1, np.float32) for k in masks]
    assert pixel_auroc(perfect, masks) == 1.0
    assert aupro(perfect, masks, max_fpr) == 1.0
    assert pixel_auroc(constant, masks) == 0.5
    # The curve of a constant is the diagonal.
    assert aupro(constant, masks, max_fpr) == pytest.approx(max_fpr / 2)


@given(images())
def test_aupro_of_one_region_up_to_one_is_the_pixel_auroc(pair):
    maps, masks = pair
    chosen = next(i for i, mask in enumerate(masks) if mask.any())
    rows, columns = zip(*reference.regions(masks[chosen])[0], strict=True)
    alone = [np.zeros_like(mask) for mask in masks]
    alone[chosen][rows, columns] = True
    assert aupro(maps, alone, 1.0) == pytest.approx(pixel_auroc(maps, alone))


def test_a_missed_small_defect_costs_aupro_as_much_as_a_large_one():
    scores, mask = a_map()
    small = np.zeros_like(mask)
    small[8:10, 10:12] = mask[8:10, 10:12]
    for missed in (small, mask & ~small):
        found = np.where(mask & ~missed, 2, scores).astype(np.float32)
        found[missed] = -1
        assert aupro([found], [mask]) == 0.5


def test_pixels_that_touch_by_a_corner_are_one_region():
    # Were they two, the lone pixel would weigh a half and not a third.
    scores = np.array([[9, 0, 0], [0, 0, 1], [0, 1, 1]], np.float32)
    mask = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    assert aupro([scores], [mask]) == pytest.approx(reference.aupro([scores], [mask]), abs=1e-12)
    scores = np.where(np.eye(3) > 0, [[9, 0, 0], [0, -1, 0], [0, 0, -1]], 0).astype(np.float32)
    assert aupro([scores], [mask]) == pytest.approx(1 / 3)


def test_max_fpr_between_two_thresholds_is_interpolated():
    # Good pixels 4, 4, 1, 0 and one bad pixel 4: a ramp over the first half.
    scores = np.array([[4, 4, 4, 1, 0]], np.float32)
    mask = np.array([[True, False, False, False, False]])
    assert aupro([scores], [mask], 0.25) == pytest.approx(0.25)
    assert aupro([scores], [mask], 0.5) == pytest.approx(0.5)
    assert aupro([scores], [mask], 1.0) == pytest.approx(0.75)


def test_the_number_of_pixels_looked_up_at_once_changes_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    maps = [rng.integers(0, 9, (20, 30)).astype(np.float32) for _ in range(3)]
    masks = [rng.random((20, 30)) < 0.2 for _ in maps]
    whole = pixel_auroc(maps, masks), aupro(maps, masks)
    for module in (ranks, pixels):
        monkeypatch.setattr(module, "CHUNK", 7)
    assert pixel_auroc(maps, masks) == whole[0]
    assert aupro(maps, masks) == pytest.approx(whole[1], abs=1e-12)


def test_maps_may_come_one_by_one_and_are_left_as_they_were():
    scores, mask = a_map()
    before, mask_before = scores.copy(), mask.copy()
    for metric in (pixel_auroc, aupro):
        whole = metric([scores, scores.T], [mask, mask.T])
        assert metric((m for m in (scores, scores.T)), iter([mask, mask.T])) == whole
    np.testing.assert_array_equal(scores, before)
    np.testing.assert_array_equal(mask, mask_before)


@pytest.mark.parametrize("metric", [pixel_auroc, aupro])
def test_maps_that_mean_nothing_are_refused(metric):
    scores, mask = a_map()
    none, every = np.zeros_like(mask), np.ones_like(mask)
    for value in (np.nan, np.inf, -np.inf):
        broken = scores.copy()
        broken[3, 3] = value
        with pytest.raises(ValueError, match="map 1: 1 of 204 values are not finite"):
            metric([scores, broken], [mask, mask])
    refused = [
        ([scores], [none], "no anomalous pixel"),
        ([scores], [every], "no defect-free pixel"),
        ([], [], "no defect-free pixel"),
        ([scores], [mask.T], r"image 0: map \(12, 17\) and mask \(17, 12\)"),
        ([scores[0]], [mask[0]], r"image 0: map \(17,\)"),
        ([scores, scores], [mask], "image 1 has no mask"),
        ([scores], [mask, mask], "image 1 has no map"),
        ([scores.astype(np.float64)], [mask], "map is float64"),
        ([scores], [mask.astype(np.uint8)], "mask is uint8"),
    ]
    for maps, masks, message in refused:
        with pytest.raises(ValueError, match=message):
            metric(maps, masks)


@pytest.mark.parametrize("max_fpr", [0.0, -0.1, 1.5, float("nan")])
def test_a_false_positive_rate_out_of_range_is_refused(max_fpr):
    scores, mask = a_map()
    with pytest.raises(ValueError, match="expected 0 < max_fpr <= 1"):
        aupro([scores], [mask], max_fpr)
