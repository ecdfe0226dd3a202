"""Ratios, thresholds and nested intervals over people; `test_curves` has the statistics and bands."""

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from facelib.data.pairs import Pairs, draw_by_source, draw_pairs
from facelib.metrics import (
    RATES,
    Bootstrap,
    Estimate,
    best_threshold,
    holm,
    identity_weights,
    margins,
    mean_difference,
    mean_over_people,
    over_folds,
    student_interval,
    thirds,
)

LABELS = np.repeat(np.arange(12), 5)


@pytest.fixture(scope="module")
def scored():
    """Pairs of 12 people, and two distances of which the first is the better."""
    pairs = draw_pairs(LABELS, 60, 60, seed=0)
    rng = np.random.default_rng(0)
    return pairs, *(rng.normal(1 - pairs.genuine, spread) for spread in (0.6, 3.0))


def test_people_are_counted_once(scored):
    pairs, _, _ = scored
    some = pairs.select([0, 1, 60])
    shown = {*LABELS[some.left], *LABELS[some.right]}
    assert Bootstrap(some, LABELS).people == len(shown)


def test_a_ratio_of_false_accept_rates_by_hand(scored):
    pairs, distances, _ = scored
    people = Bootstrap(pairs, LABELS, replicates=50, seed=3)
    impostors = np.flatnonzero(~pairs.genuine)
    part = np.isin(np.arange(len(pairs)), impostors[:20])
    passed = distances <= 0.7
    found = people.far_ratio(distances, 0.7, part)
    assert found.value == pytest.approx(passed[impostors[:20]].mean() / passed[impostors[20:]].mean())
    assert found.low < found.value < found.high and found.n == 60
    values = []
    for weight in identity_weights(LABELS[pairs.left], LABELS[pairs.right], 50, 3):
        rates = [np.average(passed[rows], weights=weight[rows]) for rows in (impostors[:20], impostors[20:])]
        values.append(rates[0] / rates[1])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_what_no_draw_shows_has_the_score_interval_of_the_people():
    """Three people with two photos each, told apart without an error: of 3 trials 0 failed (Wilson 1927)."""
    labels = np.repeat(np.arange(3), 2)
    pairs = draw_pairs(labels, 3, 12, seed=0)
    people, distances = Bootstrap(pairs, labels, 50), np.where(pairs.genuine, 0.1, 0.9)
    z2 = 1.959964**2
    for name, at in {"far": 0.5, "frr": 0.5, "equal_error_rate": None}.items():
        found = people.estimate(name, distances, at)
        assert (found.value, found.low, found.high) == pytest.approx((0, 0, z2 / (3 + z2)), abs=1e-6)
    for name, at in {"recall": 0.5, "accuracy": 0.5, "auc": None, "tar_at_far": 0.1}.items():
        found = people.estimate(name, distances, at)
        assert (found.value, found.low, found.high) == pytest.approx((1, 3 / (3 + z2), 1))
    assert people.nested("far", distances, np.full(51, 0.5)).high == pytest.approx(z2 / (3 + z2))
    assert mean_over_people(np.ones(6), labels).low == pytest.approx(3 / (3 + z2))
    assert student_interval(np.ones(10), 15).low == pytest.approx(15 / (15 + z2))
    same = people.paired("auc", distances, distances)
    assert (same.difference.low, same.difference.high) == (0, 0)  # a difference is no share


def test_two_people_tell_nothing_of_others():
    """Each draw of people has the same one impostor pair: no interval, no verdict, no small p-value."""
    labels = np.repeat([0, 1], 2)
    pairs = draw_pairs(labels, 2, 4, seed=0)
    people = Bootstrap(pairs, labels, 200)
    near, far = np.array([0.2, 0.4, 0.3, 0.3, 0.5, 0.5]), np.array([0.4, 0.4, 0.3, 0.3, 0.5, 0.5])
    found = people.paired("auc", near, far)
    assert (
        found.difference.value == pytest.approx(0.25) and np.isnan([found.difference.low, found.difference.high]).all()
    )
    assert (found.verdict, found.p_value) == ("undecided", 1)
    assert np.isnan(people.estimate("auc", near).low)
    apart, inside_out = np.where(pairs.genuine, 0.1, 0.9), np.where(pairs.genuine, 0.9, 0.1)
    assert people.paired("auc", apart, inside_out).verdict == "undecided"  # by 1 in each draw


def test_accuracy_by_lfw_s_folds_has_student_s_interval_and_that_of_other_lists_one_over_people(scored):
    """The first fold alone is the wrong way round; scipy's interval of the mean of 0 and nine times 1."""
    genuine, fold = np.tile([True, False], 10), np.repeat(np.arange(10), 2)
    right = np.where(genuine, 0.2, 0.8)
    wrong = np.append([0.8, 0.2], right[2:])
    faces = np.repeat(np.arange(30), 2)  # pairs of photos 0 and 1 of a person, or of two people
    left = np.arange(0, 40, 2)
    of = Pairs(left, np.where(genuine, left + 1, left + 20), genuine, fold)
    found = Bootstrap(of, faces).ten_fold(wrong)
    expected = ttest_1samp([0] + [1] * 9, 0).confidence_interval()
    assert (found.value, found.low, found.high, found.n) == pytest.approx((0.9, *expected, 20))
    both = Bootstrap(of, faces).ten_fold(np.stack([wrong, right]))
    assert (both.value, both.high - both.low) == pytest.approx((0.95, (found.high - found.low) / 2))
    lost = Bootstrap(of, faces).ten_fold(right, wrong)
    assert (lost.value, lost.high - lost.low) == pytest.approx((0.1, found.high - found.low))

    pairs, near, far = scored
    people = Bootstrap(pairs, LABELS, 200)
    beyond = [margins(each, pairs) for each in (near, far)]
    assert people.ten_fold(near) == people.estimate("accuracy", beyond[0], 0.0)
    assert people.ten_fold(near, far) == people.paired("accuracy", *beyond, 0.0).difference
    assert people.ten_fold(near, near) == Estimate(0, 0, 0, len(pairs))
    assert Bootstrap(of, faces).ten_fold(right, right) == Estimate(0, 0, 0, 20), "no share, so no score interval"


def test_tenths_that_share_people_show_no_interval_and_folds_of_lfw_student_s():
    pairs, rates = draw_pairs(LABELS, 60, 60, seed=0), np.array([0.7, 0.8] * 5)
    assert np.isnan(student_interval(np.full(10, 0.95), 600).low), "folds that do not differ show no spread"
    found = over_folds(rates, pairs)
    assert found.value == pytest.approx(0.75) and np.isnan([found.low, found.high]).all()
    of_lfw = over_folds(rates, Pairs(pairs.left, pairs.right, pairs.genuine, pairs.folds))
    assert (of_lfw.low, of_lfw.high) == pytest.approx(tuple(ttest_1samp(rates, 0).confidence_interval()))


def test_a_difference_of_trainings_has_welch_s_interval():
    """By hand: means 2 and 4, variances 2 and 8 of two each, so an SE of sqrt(5) with 25 / 17 degrees of freedom."""
    found = mean_difference([1, 3], [2, 6])
    margin = t.ppf(0.975, 25 / 17) * np.sqrt(5)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((-2, -2 - margin, -2 + margin, 4))
    for alone in (mean_difference([1, 3], [2]), mean_difference([1], [2, 3]), mean_difference([9, 9], [3, 3])):
        assert np.isnan([alone.low, alone.high]).all()


@pytest.mark.parametrize("rate", RATES)
def test_where_all_choose_alike_the_nested_interval_is_the_plain_one(scored, rate):
    pairs, distances, _ = scored
    people = Bootstrap(pairs, LABELS, replicates=50, seed=3)
    nested, plain = people.nested(rate, distances, np.full(51, 0.5)), people.estimate(rate, distances, 0.5)
    assert (nested.value, nested.low, nested.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_who_chose_widens_the_interval_and_leaves_the_value(scored):
    pairs, distances, _ = scored
    people = Bootstrap(pairs, LABELS, replicates=500, seed=3)
    plain = people.estimate("frr", distances, 0.5)
    thresholds = np.append(0.5, np.random.default_rng(0).normal(0.5, 0.4, 500))
    nested = people.nested("frr", distances, thresholds)
    assert nested.value == plain.value and nested.low < plain.low and nested.high > plain.high


def test_thresholds_are_chosen_anew_by_people_who_are_drawn_within_their_source():
    sources = np.repeat([0, 1], 30)  # people 0 to 5, and 6 to 11
    pairs = draw_by_source(LABELS, sources, 40, seed=0)
    distances = np.random.default_rng(1).normal(1 - pairs.genuine, 0.6)
    found = Bootstrap(pairs, LABELS, replicates=20, seed=3).thresholds(distances)
    assert len(found) == 21 and found[0] == best_threshold(distances, pairs.genuine)
    weights = np.empty((20, len(pairs)), int)
    for source, seed in ((0, 4), (1, 5)):
        some = pairs.fold == source
        weights[:, some] = identity_weights(LABELS[pairs.left[some]], LABELS[pairs.right[some]], 20, seed)
    assert found[1:].tolist() == [best_threshold(distances, pairs.genuine, each) for each in weights]
    assert len(set(found)) > 5


def test_thirds_by_hand():
    found = thirds(np.array([5.0, 1, np.nan, 3, 2, 6, 4]))
    assert {name: np.flatnonzero(some).tolist() for name, some in found.items()} == {
        "low": [1, 4],
        "middle": [3, 6],
        "high": [0, 5],
    }


def test_a_mean_over_people_draws_people_and_not_photos():
    people = np.repeat(np.arange(100), 5)
    values = (people < 30).astype(float)
    found = mean_over_people(values, people)
    assert found.value == 0.3 and found.n == 500
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 100), rel=0.1)


def test_holm_by_hand():
    # Sorted .01 .02 .03 .2 times 4 3 2 1, never falling.
    assert holm([0.02, 0.2, 0.01, 0.03]) == pytest.approx([0.06, 0.2, 0.04, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
