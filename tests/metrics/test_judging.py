import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss

from facelib.data.pairs import Pairs
from facelib.metrics.calibration import Logistic
from facelib.metrics.judging import brier, cllr, judge, min_cllr, reliability, shares


def _drawn(n=400, seed=0):
    """Probabilities, and outcomes that come true as often as they say."""
    rng = np.random.default_rng(seed)
    probabilities = rng.random(n)
    return probabilities, rng.random(n) < probabilities


def test_reliability_by_hand():
    """Two bins: .1 and .3 with one hit of two; .6, .9 and 1 with two of three."""
    found = reliability(np.array([0.1, 0.3, 0.6, 0.9, 1.0]), np.array([True, False, True, True, False]), bins=2)
    np.testing.assert_allclose(found.probability, [0.2, 2.5 / 3])
    np.testing.assert_allclose(found.share, [0.5, 2 / 3])
    np.testing.assert_allclose(found.weight, [0.4, 0.6])
    assert found.bin.tolist() == [0, 1]
    assert found.error == pytest.approx(0.4 * 0.3 + 0.6 * (2.5 / 3 - 2 / 3))


def test_a_weight_counts_a_pair_so_many_times():
    probabilities, genuine = _drawn()
    weights = np.random.default_rng(1).integers(0, 4, len(genuine))
    several = np.repeat(np.arange(len(genuine)), weights)
    distances = 1 - probabilities + np.random.default_rng(2).normal(0, 0.1, len(genuine))
    ratios = np.log(probabilities / (1 - probabilities))
    for statistic, values in ((brier, probabilities), (cllr, ratios), (min_cllr, distances)):
        assert statistic(values, genuine, weights) == pytest.approx(statistic(values[several], genuine[several]))
    one, other = reliability(probabilities, genuine, weights), reliability(probabilities[several], genuine[several])
    assert one.error == pytest.approx(other.error)


def test_brier_is_scikit_learn_s():
    probabilities, genuine = _drawn()
    weights = np.random.default_rng(1).random(len(genuine))
    assert brier(probabilities, genuine) == pytest.approx(brier_score_loss(genuine, probabilities))
    assert brier(probabilities, genuine, weights) == pytest.approx(
        brier_score_loss(genuine, probabilities, sample_weight=weights)
    )


def test_cllr_by_hand():
    """A genuine pair with the ratio 3 costs log2(1 + 1/3); impostor pairs with 1 and 7 cost log2 2 and log2 8."""
    ratios, genuine = np.log([3.0, 1.0, 7.0]), np.array([True, False, False])
    assert cllr(ratios, genuine) == pytest.approx((np.log2(4 / 3) + (1 + 3) / 2) / 2)


def test_ratios_that_say_nothing_cost_one_bit_and_sure_ones_none():
    genuine = np.array([True, False, False])
    assert cllr(np.zeros(3), genuine) == pytest.approx(1)
    assert cllr(np.where(genuine, np.inf, -np.inf), genuine) == 0


def test_min_cllr_by_hand():
    """Genuine, then one of each kind pooled at the ratio 1, then impostor: half of each kind costs one bit."""
    genuine = np.array([True, False, True, False])
    assert min_cllr(np.array([0.1, 0.2, 0.3, 0.4]), genuine) == pytest.approx(0.5)
    assert min_cllr(np.array([0.1, 0.3, 0.2, 0.4]), genuine) == 0  # the kinds do not overlap
    assert min_cllr(np.full(4, 0.5), genuine) == pytest.approx(1)


def test_no_falling_curve_of_the_distance_costs_less_than_min_cllr():
    rng = np.random.default_rng(3)
    genuine = np.arange(500) < 200
    distances = np.where(genuine, rng.normal(0.5, 0.2, 500), rng.normal(0.8, 0.2, 500))
    least = min_cllr(distances, genuine)
    for slope in (1, 3, 7.5, 12):
        for middle in (0.5, 0.65, 0.8):
            assert cllr(slope * (middle - distances), genuine) >= least


def _pairs(people=40, seed=0):
    """Two photos of each person; a genuine pair of each, and as many with the next person."""
    rows = np.arange(0, 2 * people, 2)
    left, right = np.tile(rows, 2), np.concatenate([rows + 1, (rows + 2) % (2 * people)])
    genuine = np.arange(2 * people) < people
    rng = np.random.default_rng(seed)
    distances = np.where(genuine, 0.5, 0.8) + rng.normal(0, 0.15, 2 * people)
    return Pairs(left, right, genuine), np.repeat(np.arange(people), 2), distances


def test_a_calibration_is_judged_at_the_list_s_own_share_with_intervals_over_people():
    pairs, labels, distances = _pairs()
    line = Logistic(-13.0, 8.5, 1000.0, 1000, 1000)
    found = judge(line, distances, pairs, labels, replicates=200)
    probabilities = expit(line.slope * distances + line.intercept)
    assert found["brier"].value == pytest.approx(brier_score_loss(pairs.genuine, probabilities))
    assert found["cllr"].value == pytest.approx(cllr(np.log(probabilities / (1 - probabilities)), pairs.genuine))
    assert found["min_cllr"].value <= found["cllr"].value
    assert found["ece"].low == 0 and all(each.n == len(pairs) for each in found.values())
    assert all(each.low < each.value < each.high for each in found.values())


def test_bins_have_the_interval_of_their_share():
    pairs, labels, distances = _pairs(people=200)
    probabilities = expit(13 * (0.65 - distances))
    measured, interval = shares(probabilities, pairs, labels, replicates=200)
    assert interval.shape == (2, len(measured.bin))
    assert (interval[0] <= measured.share).all() and (measured.share <= interval[1]).all()


def test_the_ratio_is_the_line_cut_at_what_the_pairs_can_show():
    line = Logistic(-10, 7, 50, 50, 900)
    np.testing.assert_allclose(line.log_ratio(np.array([0.6, 0.0, 2.0])), [1, np.log(50), -np.log(50)])
