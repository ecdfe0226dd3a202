"""Distances, rates, thresholds and intervals, against definitions and independent libraries."""

import os
import statistics
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from facelib import metrics
from facelib.data.pairs import Pairs
from facelib.metrics import distances, intervals


def draw(n=200, seed=0, decimals=1):
    """Overlapping distances with many ties, and which of them are genuine."""
    rng = np.random.default_rng(seed)
    genuine = rng.random(n) < 0.5
    genuine[:2] = True, False
    return np.round(rng.normal(2.0 - 1.5 * genuine, 1.0), decimals), genuine


def draw_people(n=300, people=25, seed=0, spread=0.6):
    """Distances that depend on the people, half of the pairs genuine, and both identities."""
    rng = np.random.default_rng(seed)
    left = rng.integers(people, size=n)
    genuine = np.arange(n) < n // 2
    right = np.where(genuine, left, (left + rng.integers(1, people, size=n)) % people)
    level = rng.normal(0, spread, people)
    distances = np.where(genuine, 0, 1.5) + level[left] + level[right] + rng.normal(0, 0.8, n)
    return distances, genuine, left, right


def over(genuine, left, right, replicates=200, seed=0):
    """The bootstrap over the people of some pairs, by the identities of both images."""
    rows = np.arange(len(left))
    people = np.concatenate([left, right])
    return metrics.Bootstrap(Pairs(rows, rows + len(rows), genuine), people, replicates, seed)


# Distances


@pytest.fixture
def features():
    rng = np.random.default_rng(1)
    return rng.normal(size=(2, 300, 17))


@pytest.mark.parametrize(
    "ours, theirs",
    [(metrics.cosine_distance, "cosine"), (metrics.euclidean_distance, "euclidean")],
)
def test_distances_agree_with_scipy(features, ours, theirs):
    expected = np.diag(cdist(*features, theirs))
    np.testing.assert_allclose(ours(*features), expected, rtol=1e-12)
    np.testing.assert_allclose(metrics.distance(*features, theirs), expected, rtol=1e-12)


def test_distances_by_hand():
    a, b = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[4.0, 3.0], [0.0, 2.0]])
    np.testing.assert_allclose(metrics.cosine_similarity(a, b), [24 / 25, 0])
    np.testing.assert_allclose(metrics.euclidean_distance(a, b), [2**0.5, 5**0.5])
    np.testing.assert_allclose(metrics.l2_normalise(a), [[0.6, 0.8], [1, 0]])


def test_batches_do_not_change_distances(features, monkeypatch):
    whole = {m: metrics.distance(*features, m, normalise=True) for m in ("cosine", "euclidean")}
    monkeypatch.setattr(distances, "CHUNK", 7 * 17)  # 7 rows at a time; 300 is no multiple of it
    for metric, expected in whole.items():
        np.testing.assert_array_equal(metrics.distance(*features, metric, normalise=True), expected)


def test_squared_distance_of_normalised_features_is_twice_the_cosine_distance(features):
    unit = [metrics.l2_normalise(x) for x in features]
    squared = metrics.euclidean_distance(*unit) ** 2
    np.testing.assert_allclose(squared, 2 - 2 * metrics.cosine_similarity(*features), atol=1e-14)
    np.testing.assert_allclose(metrics.distance(*features, "euclidean", normalise=True) ** 2, squared, atol=1e-14)


def test_distances_of_single_precision_features_are_computed_in_double():
    a, b = np.random.default_rng(0).random((2, 20, 512), dtype=np.float32)
    for metric in ("cosine", "euclidean"):
        single = metrics.distance(a, b, metric)
        double = metrics.distance(a.astype(np.float64), b.astype(np.float64), metric)
        np.testing.assert_allclose(single, double, rtol=1e-13)
        assert single.dtype == np.float64


def test_identical_features_are_at_distance_zero():
    a = np.random.default_rng(0).random((50, 512))
    assert (np.abs(metrics.cosine_distance(a, a)) < 1e-15).all()
    assert (metrics.cosine_similarity(a, a) <= 1).all()
    assert (metrics.euclidean_distance(a, a) == 0).all()


@pytest.mark.parametrize("function", [metrics.cosine_similarity, metrics.euclidean_distance])
def test_bad_features_are_refused(function):
    good = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(3, 3\)"):
        function(good, good[:3])
    with pytest.raises(ValueError, match=r"\(3,\)"):
        function(good[0], good[0])
    for value in (np.nan, np.inf):
        bad = good.copy()
        bad[2, 1] = value
        for pair in ((good, bad), (bad, good), (bad, bad)):
            with pytest.raises(ValueError, match="row 2 is not finite"):
                function(*pair)


def test_zero_vectors_have_no_cosine():
    a, zero = np.ones((3, 2)), np.array([[1.0, 1], [0, 0], [1, 1]])
    for call in (
        lambda: metrics.cosine_distance(a, zero),
        lambda: metrics.l2_normalise(zero),
        lambda: metrics.distance(a, zero, "euclidean", normalise=True),
    ):
        with pytest.raises(ValueError, match="row 1 is a zero vector"):
            call()
    assert metrics.distance(a, zero, "euclidean")[1] == pytest.approx(2**0.5)


def test_unknown_metric_names_the_known_ones():
    with pytest.raises(ValueError, match="'manhattan'.*cosine.*euclidean"):
        metrics.distance(np.ones((1, 2)), np.ones((1, 2)), "manhattan")


# Decisions at a threshold


def test_the_numbers_of_the_paper():
    paper = metrics.Confusion(tp=85, fp=2, tn=98, fn=15)
    assert paper.accuracy == pytest.approx(0.915)
    assert [round(x, 2) for x in (paper.precision, paper.recall, paper.f1)] == [0.98, 0.85, 0.91]
    assert (paper.far, paper.frr, paper.n) == (0.02, 0.15, 200)


def test_a_pair_at_the_threshold_is_accepted():
    outcome = metrics.confusion([1.0, 1.0, 2.0, 2.0], np.array([True, False] * 2), 1.0)
    assert outcome == metrics.Confusion(tp=1, fp=1, tn=1, fn=1)
    assert all(type(count) is int for count in vars(outcome).values())


def test_rates_without_a_denominator_are_nan():
    nothing = metrics.confusion([1.0, 2.0], np.array([True, False]), 0.5)
    assert np.isnan(nothing.precision) and nothing.recall == 0 and nothing.f1 == 0
    genuine_only = metrics.confusion([1.0, 2.0], np.array([True, True]), 1.5)
    assert np.isnan(genuine_only.far) and genuine_only.frr == 0.5


def test_sweep_equals_brute_force():
    distances, genuine = draw()
    thresholds = np.concatenate([np.unique(distances), [-10, 0.123, 10]])
    sweep = metrics.confusion(distances, genuine, thresholds)
    for k, threshold in enumerate(thresholds):
        row = SimpleNamespace(**{rate: getattr(sweep, rate)[k] for rate in metrics.RATES})
        accepted = distances <= threshold
        assert row.accuracy == pytest.approx((accepted == genuine).mean())
        precision, recall, f1, _ = precision_recall_fscore_support(
            genuine, accepted, average="binary", zero_division=np.nan
        )
        assert row.precision == pytest.approx(precision, nan_ok=True)
        assert (row.recall, row.frr) == (pytest.approx(recall), pytest.approx(1 - recall))
        assert row.f1 == pytest.approx(f1)
        assert row.far == pytest.approx(accepted[~genuine].mean())


def test_weighted_decisions_equal_repeated_pairs():
    distances, genuine = draw()
    weights = np.random.default_rng(5).integers(0, 4, (3, len(distances)))
    together = metrics.confusion(distances, genuine, 1.0, weights)
    for k, weight in enumerate(weights):
        alone = metrics.confusion(np.repeat(distances, weight), np.repeat(genuine, weight), 1.0)
        assert (together.tp[k], together.fp[k]) == (alone.tp, alone.fp)
        assert (together.tn[k], together.fn[k]) == (alone.tn, alone.fn)


@pytest.mark.parametrize(
    "distances, genuine, message",
    [
        ([1.0, 2.0], np.array([True]), "got"),
        ([1.0, 2.0], np.array([1, 0]), "bool"),
        ([1.0, np.nan], np.array([True, False]), "pair 1"),
        ([], np.array([], dtype=bool), "no pairs"),
    ],
)
def test_bad_pairs_are_refused(distances, genuine, message):
    for function in (metrics.best_threshold, metrics.average_precision, metrics.roc):
        with pytest.raises(ValueError, match=message):
            function(distances, genuine)


def test_meaningless_thresholds_targets_and_weights_are_refused():
    with pytest.raises(ValueError, match="nan"):
        metrics.confusion([1.0], np.array([True]), np.nan)
    for far in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            metrics.tar_at_far([1.0], np.array([True]), far)
    for shape in ((2,), (3, 2)):
        with pytest.raises(ValueError, match="1 pairs have weights"):
            metrics.auc([1.0], np.array([True]), np.ones(shape))


# The best threshold


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_best_threshold_reaches_the_highest_accuracy_there_is(seed, decimals):
    distances, genuine = draw(30, seed, decimals)
    candidates = np.concatenate([distances, [distances.min() - 1]])
    highest = max(((distances <= t) == genuine).mean() for t in candidates)
    threshold = metrics.best_threshold(distances, genuine)
    assert ((distances <= threshold) == genuine).mean() == highest


@pytest.mark.parametrize(
    "distances, genuine, expected",
    [
        ([1, 2, 5, 6], "TTFF", 3.5),  # separable: the middle of the gap
        ([1, 2, 3, 7, 8, 9], "TFTFFF", 5.0),  # 1.5 and 5 both make one error; 3..7 is wider
        ([0, 2, 4, 6], "TFTF", 1.0),  # 1 and 5, equally wide: fewer false accepts
        ([1, 2, 3], "TTT", 3.0),  # all accepted
        ([4], "T", 4.0),
    ],
)
def test_best_threshold_among_equals(distances, genuine, expected):
    genuine = np.array([letter == "T" for letter in genuine])
    assert metrics.best_threshold(distances, genuine) == expected


def test_best_threshold_may_accept_nothing():
    threshold = metrics.best_threshold([1.0, 2.0], np.array([False, False]))
    assert 0.99 < threshold < 1.0


def test_best_threshold_separates_neighbouring_floats():
    low = 1.0
    for _ in range(4):
        high = np.nextafter(low, 2)
        threshold = metrics.best_threshold([low, high], np.array([True, False]))
        assert low <= threshold < high
        low = high


@pytest.mark.parametrize("seed", range(5))
def test_best_threshold_with_whole_weights_equals_repeated_pairs(seed):
    distances, genuine = draw(40, seed)
    weights = np.random.default_rng(seed).integers(0, 4, 40)
    expected = metrics.best_threshold(np.repeat(distances, weights), np.repeat(genuine, weights))
    assert metrics.best_threshold(distances, genuine, weights) == expected
    assert metrics.best_threshold(distances, genuine, weights / 7) == expected


# Curves and their areas


def test_curves_have_the_points_of_their_definition():
    distances, genuine = draw()
    precision, recall, thresholds = metrics.precision_recall(distances, genuine)
    assert (precision[-1], recall[-1]) == (1, 0)
    far, tar, roc_thresholds = metrics.roc(distances, genuine)
    assert (far[0], tar[0], roc_thresholds[0]) == (0, 0, -np.inf)
    for p, r, t in zip(precision, recall, thresholds, strict=False):
        accepted = distances <= t
        assert (p, r) == (genuine[accepted].mean(), accepted[genuine].mean())
    for f, t, threshold in zip(far, tar, roc_thresholds, strict=True):
        accepted = distances <= threshold
        assert (f, t) == (accepted[~genuine].mean(), accepted[genuine].mean())


AREAS = [
    (metrics.average_precision, average_precision_score),
    (metrics.auc, roc_auc_score),
]


@pytest.mark.parametrize("ours, theirs", AREAS)
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_areas_agree_with_scikit_learn(ours, theirs, decimals):
    distances, genuine = draw(decimals=decimals)
    assert ours(distances, genuine) == pytest.approx(theirs(genuine, -distances), abs=1e-12)


@pytest.mark.parametrize("ours, theirs", AREAS)
def test_weighted_areas_agree_with_scikit_learn(ours, theirs):
    distances, genuine = draw()
    rng = np.random.default_rng(2)
    for weights in (rng.integers(0, 4, (5, len(distances))), rng.random((5, len(distances)))):
        expected = [theirs(genuine, -distances, sample_weight=w) for w in weights]
        np.testing.assert_allclose(ours(distances, genuine, weights), expected, rtol=1e-10)


@pytest.mark.parametrize("name", intervals.STATISTICS)
def test_whole_weights_equal_repeated_pairs(name):
    distances, genuine = draw()
    at = {"tar_at_far": 0.05, **dict.fromkeys(metrics.RATES, 1.0)}.get(name)
    weights = np.random.default_rng(3).integers(0, 4, (4, len(distances)))
    together = intervals.statistic(name, distances, genuine, weights, at)
    for weight, value in zip(weights, together, strict=True):
        repeated = np.repeat(distances, weight), np.repeat(genuine, weight)
        alone = intervals.statistic(name, *repeated, np.ones((1, weight.sum())), at)
        assert value == pytest.approx(alone[0], rel=1e-12)


def test_perfect_and_reversed_distances():
    genuine = np.array([True] * 5 + [False] * 5)
    distances = np.arange(10.0)
    assert metrics.auc(distances, genuine) == metrics.average_precision(distances, genuine) == 1
    assert metrics.equal_error_rate(distances, genuine) == 0
    assert metrics.auc(-distances, genuine) == 0
    assert metrics.equal_error_rate(-distances, genuine) == 1


@pytest.mark.parametrize("seed", range(5))
def test_equal_error_rate_lies_where_the_roc_crosses_the_diagonal(seed):
    distances, genuine = draw(101, seed, decimals=6)
    far, tar, _ = roc_curve(genuine, -distances, drop_intermediate=False)
    step = np.linspace(0, 1, len(far))  # FAR and TAR along the curve, vertical pieces included
    crossing = brentq(lambda s: np.interp(s, step, far) - (1 - np.interp(s, step, tar)), 0, 1)
    expected = np.interp(crossing, step, far)
    assert metrics.equal_error_rate(distances, genuine) == pytest.approx(expected, abs=1e-9)


def test_equal_error_rate_by_hand():
    # At 2: FAR 1/4, FRR 1/2; at 3: FAR 1/2, FRR 1/4; halfway both are 3/8 (two ties at 3).
    distances = [1, 2, 2, 3, 3, 4, 5, 6]
    genuine = np.array([True, True, False, True, False, True, False, False])
    assert metrics.equal_error_rate(distances, genuine) == pytest.approx(3 / 8)


# TAR at a FAR


@pytest.mark.parametrize("far", [0, 0.001, 0.01, 0.05, 0.3, 1])
@pytest.mark.parametrize("seed", range(3))
def test_tar_at_far_equals_brute_force(far, seed):
    distances, genuine = draw(seed=seed)
    candidates = [t for t in np.unique(distances) if (distances[~genuine] <= t).mean() <= far]
    result = metrics.tar_at_far(distances, genuine, far)
    expected = max(candidates, default=-np.inf)
    assert result.threshold == expected
    assert result.tar == pytest.approx((distances[genuine] <= expected).mean())
    assert result.false_accepts == (distances[~genuine] <= expected).sum() <= far * (~genuine).sum() + 1e-9


def test_below_the_smallest_far_nothing_false_is_accepted():
    distances = np.arange(200.0)
    genuine = distances < 100
    distances[150] = 49.5  # an impostor among the genuine pairs
    result = metrics.tar_at_far(distances, genuine, 0.001)
    assert result == (0.5, 49, 0)
    reached = metrics.tar_at_far(distances, genuine, 0.01)
    assert (reached.tar, reached.false_accepts) == (1, 1)


def test_tar_without_any_acceptable_threshold_is_no_silent_zero():
    result = metrics.tar_at_far([1.0, 1.0, 2.0], np.array([True, False, True]), 0.5)
    assert (result.tar, result.threshold, result.false_accepts) == (0, -np.inf, 0)


@pytest.mark.parametrize("allowed, impostors", [(29, 100), (7, 100), (3, 3000), (57, 100), (1, 3)])
def test_a_far_that_is_a_fraction_of_the_pairs_permits_its_numerator(allowed, impostors):
    distances = np.arange(impostors + 1.0)
    genuine = distances == impostors
    result = metrics.tar_at_far(distances, genuine, allowed / impostors)
    assert result.false_accepts == allowed


# Ten folds


def test_ten_folds_by_hand():
    # The threshold on the other folds is always 1.5: it fails on one pair of fold 0 and of fold 3.
    fold = np.repeat(np.arange(10), 4)
    distances = np.tile([1.0, 1.0, 2.0, 2.0], 10)
    genuine = np.tile([True, True, False, False], 10)
    distances[0], distances[14] = 2.0, 1.0
    result = metrics.ten_fold(distances, genuine, fold)
    expected = [0.75, 1, 1, 0.75, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(result.accuracies, expected)
    np.testing.assert_allclose(result.thresholds, 1.5)
    assert result.standard_error == pytest.approx(statistics.stdev(expected) / 10**0.5)


def test_a_fold_has_no_say_in_its_own_threshold():
    distances, genuine = draw(100)
    fold = np.arange(100) % 10
    before = metrics.ten_fold(distances, genuine, fold)
    distances[fold == 4] += 100
    assert metrics.ten_fold(distances, genuine, fold).thresholds[4] == before.thresholds[4]


# Intervals


def test_wilson_interval_of_the_paper():
    accuracy, recall = intervals.wilson_interval(183, 200), intervals.wilson_interval(85, 100)
    assert (round(accuracy.low, 3), round(accuracy.high, 3)) == (0.868, 0.946)
    assert accuracy.value == 0.915
    assert (round(recall.low, 3), round(recall.high, 3), recall.n) == (0.767, 0.907, 100)


def test_wilson_interval_by_its_formula():
    z, n, p = 1.6448536269514722, 50, 0.1
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    estimate = intervals.wilson_interval(5, 50, confidence=0.9)
    np.testing.assert_allclose([estimate.low, estimate.high], [middle - half, middle + half])


def test_identity_weights_are_products_of_counts():
    names = np.array(["ann", "bob", "cy"])
    left, right = np.array([0, 1, 2, 0, 0, 1]), np.array([0, 1, 2, 1, 2, 2])
    weights = intervals.identity_weights(names[left], names[right], 2000, seed=0)
    ann, bob, cy = weights[:, :3].T
    assert weights.shape == (2000, 6) and (ann + bob + cy == 3).all()
    np.testing.assert_array_equal(weights[:, 3:], np.stack([ann * bob, ann * cy, bob * cy], axis=1))
    # Multinomial counts: mean 1, variance 1 - 1/3; E[c_i c_j] = 1 - 1/3.
    np.testing.assert_allclose(weights.mean(axis=0), [1, 1, 1, 2 / 3, 2 / 3, 2 / 3], atol=0.08)
    np.testing.assert_allclose(weights[:, :3].var(axis=0), 2 / 3, atol=0.08)


def test_replicates_depend_on_the_seed_alone(monkeypatch):
    _, _, left, right = draw_people()
    whole = intervals.identity_weights(left, right, 50, seed=3)
    np.testing.assert_array_equal(intervals.identity_weights(left, right, 20, seed=3), whole[:20])
    monkeypatch.setattr(distances, "CHUNK", 1)
    np.testing.assert_array_equal(intervals.identity_weights(left, right, 50, seed=3), whole)
    assert (intervals.identity_weights(left, right, 50, seed=4) != whole).any()


@pytest.mark.parametrize("ours, theirs", AREAS)
def test_bootstrap_interval_is_that_of_scikit_learn_on_the_same_weights(ours, theirs):
    distances, genuine, left, right = draw_people()
    weights = intervals.identity_weights(left, right, 80, seed=7)
    values = [theirs(genuine, -distances, sample_weight=w) for w in weights]
    estimate = over(genuine, left, right, 80, 7).estimate(ours.__name__, distances)
    assert estimate.value == pytest.approx(theirs(genuine, -distances))
    np.testing.assert_allclose((estimate.low, estimate.high), np.quantile(values, [0.025, 0.975]))
    assert estimate.n == 300


@pytest.mark.parametrize("name, at", [("equal_error_rate", None), ("f1", 1.0), ("far", 1.0), ("tar_at_far", 0.1)])
def test_bootstrap_of_every_kind_of_statistic(name, at):
    distances, *pairs = draw_people()
    estimate = over(*pairs).estimate(name, distances, at)
    assert 0 <= estimate.low < estimate.value < estimate.high <= 1
    assert estimate == over(*pairs).estimate(name, distances, at)
    assert estimate != over(*pairs, seed=1).estimate(name, distances, at)


def test_bootstrap_leaves_out_replicates_without_a_value():
    # A threshold that accepts one pair only: many replicates accept none and have no precision.
    distances, genuine, left, right = draw_people()
    at = distances[genuine].min()
    estimate = over(genuine, left, right, 50).estimate("precision", distances, at)
    fewest = min(len(np.unique([left[kind], right[kind]])) for kind in (genuine, ~genuine))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1, fewest / (fewest + 1.959964**2), 1))


def test_bootstrap_intervals_cover_the_truth():
    """Where few people make many pairs, an interval for independent pairs would be too narrow."""
    truth = metrics.confusion(*draw_people(400_000, 40_000, spread=1.0)[:2], 0.75).recall
    covered = np.zeros(2, dtype=int)
    for seed in range(100):
        distances, *sample = draw_people(400, 25, seed, spread=1.0)
        identities = over(*sample, seed=seed).estimate("recall", distances, 0.75)
        pairs = intervals.wilson_interval(round(identities.value * 200), 200)
        covered += [x.low <= truth <= x.high for x in (identities, pairs)]
    assert covered[0] >= 89  # of 95 expected
    assert covered[1] <= 75


def test_bootstrap_memory_stays_bounded():
    distances, *pairs = draw_people(6000, 3000)
    over(*pairs, 2).estimate("auc", distances)
    tracemalloc.start()
    over(*pairs, 300).estimate("auc", distances)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6  # the weights alone would take 14 MB per 300 replicates as a whole, in int64


def test_statistics_ask_for_what_they_need():
    distances, genuine, left, right = draw_people()
    people = over(genuine, left, right)
    with pytest.raises(ValueError, match="'accurracy'.*average_precision.*tar_at_far"):
        people.estimate("accurracy", distances)
    with pytest.raises(ValueError, match="accuracy needs"):
        people.estimate("accuracy", distances)
    with pytest.raises(ValueError, match="auc has no"):
        people.estimate("auc", distances, 1.0)
    with pytest.raises(ValueError, match="genuine"):
        over(~genuine, left, right).estimate("auc", distances)


def test_paired_bootstrap_verdicts():
    distances, genuine, *people = draw_people()
    noise = np.random.default_rng(1).normal(0, 1.5, len(distances))
    worse = distances + noise
    better = over(genuine, *people, 300).paired("auc", distances, worse)
    assert better.verdict == "holds" and better.difference.low > 0 and better.p_value < 0.05
    expected = roc_auc_score(genuine, -distances) - roc_auc_score(genuine, -worse)
    assert better.difference.value == pytest.approx(expected)
    reverse = over(genuine, *people, 300).paired("auc", worse, distances)
    assert reverse.verdict == "fails" and reverse.difference.value == pytest.approx(-expected)
    same = over(genuine, *people, 9).paired("auc", distances, 2 * distances)
    assert (same.verdict, same.p_value, same.difference.value) == ("undecided", 1, 0)


def test_the_p_value_counts_replicates_on_the_other_side():
    distances, genuine, *people = draw_people()
    near = distances + np.random.default_rng(1).normal(0, 0.3, len(distances))
    drawn = [
        roc_auc_score(genuine, -distances, sample_weight=w) - roc_auc_score(genuine, -near, sample_weight=w)
        for w in intervals.identity_weights(*people, 99, seed=0)
    ]
    result = over(genuine, *people, 99).paired("auc", distances, near)
    other_side = min(sum(d <= 0 for d in drawn), sum(d >= 0 for d in drawn))
    assert 0 < other_side < 40  # a case worth testing
    assert result.p_value == pytest.approx(2 * (1 + other_side) / 100)


def test_paired_bootstrap_knows_that_smaller_errors_are_better():
    distances, genuine, *people = draw_people()
    worse = distances + np.random.default_rng(1).normal(0, 1.5, len(distances))
    result = over(genuine, *people, 300).paired("equal_error_rate", distances, worse)
    assert result.difference.high < 0 and result.verdict == "holds"


def test_paired_bootstrap_takes_a_threshold_each():
    distances, genuine, *people = draw_people()
    result = over(genuine, *people, 50).paired("accuracy", distances, 10 * distances, (0.75, 7.5))
    assert (result.difference.low, result.difference.high, result.verdict) == (0, 0, "undecided")


def test_paired_intervals_are_narrower_than_separate_ones():
    distances, genuine, *people = draw_people()
    near = distances + np.random.default_rng(1).normal(0, 0.1, len(distances))
    paired = over(genuine, *people, 200).paired("auc", distances, near)
    alone = over(genuine, *people).estimate("auc", distances)
    width = paired.difference.high - paired.difference.low
    assert width < 0.5 * (alone.high - alone.low)


def test_false_positives_of_the_paired_test_are_rare():
    """Two equally good measurements: at most 5 % of the samples may find a difference."""
    found = 0
    for seed in range(60):
        distances, genuine, *people = draw_people(200, 40, seed)
        noise = np.random.default_rng(seed).normal(0, 0.6, (2, 200))
        result = over(genuine, *people, 150).paired("auc", distances + noise[0], distances + noise[1])
        found += result.verdict != "undecided"
    assert found <= 7  # P(more | 60 tries at 5 %) = 0.03 %


def test_precision_recall_band_equals_brute_force():
    distances, genuine, left, right = draw_people(seed=2)
    grid = np.array([0.001, 0.1, 0.5, 0.95, 1.0])
    curves = []
    for weight in intervals.identity_weights(left, right, 60, seed=0):
        precision, recall, _ = precision_recall_curve(genuine, -distances, sample_weight=weight)
        precision, recall = precision[-2::-1], recall[-2::-1]  # recall grows; the end point is cut
        curves.append([precision[np.argmax(recall >= r - 1e-12)] for r in grid])
    band = over(genuine, left, right, 60).band(distances, grid)
    np.testing.assert_allclose(band, np.quantile(curves, [0.025, 0.5, 0.975], axis=0))


def test_precision_recall_band_leaves_out_replicates_without_genuine_pairs():
    # Only person 0 has genuine pairs: about 1 replicate in 3 draws none of them.
    left, right = np.array([0, 0, 1, 2, 3]), np.array([0, 0, 2, 3, 4])
    distances = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    band = over(left == right, left, right, 50).band(distances, [0.5, 1.0])
    np.testing.assert_array_equal(band, np.ones((3, 2)))


def test_roc_band_equals_brute_force():
    distances, genuine, left, right = draw_people(seed=2)
    _, _, grid, *band = over(genuine, left, right, 60).roc(distances)
    tars = []
    for weight in intervals.identity_weights(left, right, 60, seed=0):
        passed = distances[None] <= np.append(distances, -1)[:, None]
        tar, far = ((passed * kind * weight).sum(1) / (kind * weight).sum() for kind in (genuine, ~genuine))
        tars.append([tar[far <= most + 1e-12].max() for most in grid])
    np.testing.assert_allclose(band, np.quantile(tars, [0.025, 0.975], axis=0))


def test_enclosure_is_the_share_of_recalls_at_which_one_curve_is_nowhere_below():
    # Genuine pairs at ranks 1, 2, 4 against 1, 3, 5: precisions 1, 1, 3/4 against 1, 2/3, 3/5.
    left, right = np.array([0, 1, 2, 0, 1]), np.array([0, 1, 2, 1, 2])
    better, worse = np.array([1.0, 2.0, 4.0, 3.0, 5.0]), np.array([1.0, 3.0, 5.0, 2.0, 4.0])
    people, grid = over(left == right, left, right), np.array([1, 2, 3]) / 3
    assert people.enclosure(better, worse, grid).value == 1
    found = people.enclosure(worse, better, grid)
    assert found.value == pytest.approx(1 / 3)  # alike at first
    assert 0 <= found.low <= found.value <= found.high <= 1 and found.n == 5


@pytest.mark.parametrize("grid", [[0, 0.5], [0.5, 1.1]])
def test_precision_recall_band_refuses_recalls_without_a_threshold(grid):
    distances, *pairs = draw_people()
    with pytest.raises(ValueError, match="recalls"):
        over(*pairs, 2).band(distances, grid)


def test_the_area_under_the_precision_steps_is_the_average_precision():
    distances, genuine, *_ = draw_people()
    grid = (np.arange(genuine.sum()) + 0.5) / genuine.sum()  # inside each step of the recall
    thresholds = np.sort(distances[genuine])[np.ceil(grid * genuine.sum()).astype(int) - 1]
    precision = metrics.confusion(distances, genuine, thresholds).precision
    assert precision.mean() == pytest.approx(metrics.average_precision(distances, genuine))


def test_importing_stays_light():
    code = (
        "import sys, facelib.metrics.intervals, facelib.metrics.curves, facelib.data.pairs\n"
        "heavy = {'paddle', 'scipy', 'sklearn', 'pandas', 'imagehash'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    root = Path(__file__).resolve().parent.parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
