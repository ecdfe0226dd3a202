import numpy as np
import pytest
from scipy.optimize import minimize

from facelib.metrics import intervals
from facelib.metrics.calibration import FEWEST, Logistic, far_thresholds, fit_isotonic, fit_logistic


def _collection(people=60, seed=0):
    """Some people with one or two photos, and symmetric distances between the photos."""
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(people), rng.integers(1, 3, people))
    upper = np.triu(rng.uniform(0.2, 1.2, (len(names), len(names))), 1)
    return upper + upper.T, names


def _pairs(distances, people):
    left, right = np.triu_indices(len(people), 1)
    other = people[left] != people[right]
    return distances[left, right][other], people[left][other], people[right][other]


@pytest.mark.parametrize("far", [0.1, 0.05, 0.02])
def test_a_threshold_accepts_as_many_impostors_as_its_rate_allows(far):
    distances, people = _collection()
    values, *_ = _pairs(distances, people)
    (found,) = far_thresholds(distances, people, [far], replicates=20)
    assert (values <= found.threshold).sum() == int(far * len(values))


def test_by_hand():
    """Ten people, 45 pairs at .01, .02, ... and a rate of 2/3: the thirtieth pair is the last one accepted."""
    distances = np.zeros((10, 10))
    distances[np.triu_indices(10, 1)] = 0.01 * np.arange(1, 46)
    (found,) = far_thresholds(distances + distances.T, np.arange(10), [2 / 3], replicates=50)
    assert found.threshold == pytest.approx(0.30)
    assert found.low <= 0.30 <= found.high and found.far_low <= 2 / 3 <= found.far_high


def test_pairs_of_one_person_do_not_count():
    distances, people = _collection()
    same = people[:, None] == people
    moved = np.where(same & ~np.eye(len(people), dtype=bool), 0.0, distances)
    assert far_thresholds(distances, people, [0.1], 10) == far_thresholds(moved, people, [0.1], 10)


def test_ties_are_not_accepted_beyond_the_rate():
    distances = np.where(np.eye(30, dtype=bool), 0.0, 0.5)
    distances[:8, :8] = 0.3 * (1 - np.eye(8))  # 28 of 435 pairs
    distances[8, :8] = distances[:8, 8] = 0.4  # and 8 more
    (found,) = far_thresholds(distances, np.arange(30), [40 / 435], replicates=10)
    assert found.threshold == pytest.approx(0.4)  # at .5 all 435 would pass


def test_too_few_pairs_are_said():
    distances, people = _collection()
    fine, coarse = far_thresholds(distances, people, [1e-3, 1e-1], replicates=10)
    values, *_ = _pairs(distances, people)
    assert 1e-3 * len(values) < FEWEST and fine.threshold is None and fine.far_low is None
    assert fine.reason.startswith("not enough pairs: 0.001 of")
    assert coarse.threshold is not None and not coarse.reason


def test_the_interval_of_the_rate_holds_who_was_scored_and_who_chose():
    """A nested bootstrap: the threshold of one draw of identities, the rate of another draw at it."""
    distances, people = _collection(40, seed=3)
    (found,) = far_thresholds(distances, people, [0.1], replicates=4000)
    values, left, right = _pairs(distances, people)
    weights = intervals.identity_weights(left, right, 4000, seed=1)
    order, rates, fixed = np.argsort(values), [], (weights * (values <= found.threshold)).sum(1) / weights.sum(1)
    for who_chose, scored in zip(intervals.identity_weights(left, right, 4000, seed=7), weights, strict=True):
        mass = np.cumsum(who_chose[order])
        threshold = values[order][np.searchsorted(mass, 0.1 * mass[-1], side="right") - 1]
        rates.append(scored[values <= threshold].sum() / scored.sum())
    low, high = np.quantile(rates, [0.025, 0.975])
    assert found.far_low == pytest.approx(low, abs=0.008) and found.far_high == pytest.approx(high, abs=0.008)
    assert found.far_low < 0.1 < found.far_high
    assert found.far_high - found.far_low > 1.2 * np.ptp(np.quantile(fixed, [0.025, 0.975]))  # a fixed threshold's


def test_the_interval_of_the_threshold_is_that_of_the_weighted_quantile():
    distances, people = _collection(40, seed=4)
    (found,) = far_thresholds(distances, people, [0.1], replicates=3000)
    values, left, right = _pairs(distances, people)
    order, chosen = np.argsort(values), []
    for weights in intervals.identity_weights(left, right, 3000, seed=2):
        mass = np.cumsum(weights[order])
        chosen.append(values[order][np.searchsorted(mass, 0.1 * mass[-1], side="right") - 1])
    assert [found.low, found.high] == pytest.approx(np.quantile(chosen, [0.025, 0.975]), abs=0.01)


def _drawn(seed=0, genuine=300, impostor=900):
    rng = np.random.default_rng(seed)
    distances = np.concatenate([rng.normal(0.5, 0.15, genuine), rng.normal(0.9, 0.15, impostor)])
    return distances, np.arange(genuine + impostor) < genuine


def test_the_line_maximises_the_likelihood_with_both_kinds_weighted_alike():
    distances, is_genuine = _drawn()
    weight = np.where(is_genuine, 1 / is_genuine.sum(), 1 / (~is_genuine).sum())

    def loss(line):
        score = line[0] * distances + line[1]
        return (weight * np.logaddexp(0, np.where(is_genuine, -score, score))).sum()

    best = minimize(loss, [0.0, 0.0], method="BFGS", options={"gtol": 1e-9}).x
    found = fit_logistic(distances, is_genuine)
    np.testing.assert_allclose([found.slope, found.intercept], best, rtol=1e-3)


def test_two_normal_kinds_of_one_spread_have_a_known_likelihood_ratio():
    """log N(d; .5, s) / N(d; .9, s) = (.9 - .5) (.7 - d) / s^2."""
    distances, is_genuine = _drawn(1, 40_000, 40_000)
    found = fit_logistic(distances, is_genuine)
    assert found.slope == pytest.approx(-0.4 / 0.15**2, rel=0.03)
    assert -found.intercept / found.slope == pytest.approx(0.7, abs=0.005)


def test_how_many_pairs_of_a_kind_there_were_does_not_move_the_line():
    few, many = fit_logistic(*_drawn(2, 20_000, 20_000)), fit_logistic(*_drawn(3, 20_000, 60_000))
    assert few.slope == pytest.approx(many.slope, rel=0.05)
    assert few.intercept == pytest.approx(many.intercept, rel=0.05)
    assert (few.genuine, few.impostor, few.most) == (20_000, 20_000, 20_000)


def test_the_prior_multiplies_the_odds():
    line = Logistic(-10, 7, 1000, 1000, 1000)
    even, rare = line.probability(0.6), line.probability(0.6, prior=0.01)
    assert even == pytest.approx(1 / (1 + np.exp(-1)))
    assert rare / (1 - rare) == pytest.approx(even / (1 - even) * 0.01 / 0.99)


def test_no_probability_is_surer_than_the_pairs_behind_it():
    line = Logistic(-100, 70, 50, 50, 900)
    np.testing.assert_allclose(line.probability(np.array([0.0, 2.0])), [50 / 51, 1 / 51])


@pytest.mark.parametrize("prior", [0, 1, -0.1, float("nan")])
def test_an_impossible_prior_is_refused(prior):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Logistic(-10, 7, 100, 100, 100).probability(0.5, prior)


def test_what_cannot_be_calibrated_is_said():
    with pytest.raises(ValueError, match="both kinds"):
        fit_logistic(np.array([0.1, 0.2]), np.array([True, True]))
    with pytest.raises(ValueError, match="overlap"):
        fit_logistic(np.array([0.1, 0.2, 0.8]), np.array([True, True, False]))


def test_isotonic_ratios_are_those_of_scikit_learn_and_cut_by_the_number_of_pairs():
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(0)
    genuine = np.arange(300) < 100
    distances = np.where(genuine, rng.normal(0.4, 0.1, 300), rng.normal(0.7, 0.1, 300))
    found = fit_isotonic(distances, genuine)
    even = np.where(genuine, 1 / 100, 1 / 200)
    known = IsotonicRegression(increasing=False).fit(distances, genuine.astype(float), even).predict(distances)
    assert found.probability(distances) == pytest.approx(np.clip(known, 1 / 101, 100 / 101))
    assert found.log_ratio([-9, 9]) == pytest.approx([np.log(100), -np.log(100)])
    assert (np.diff(found.log_ratio(np.sort(distances))) <= 1e-12).all()
    odds = found.probability(0.55) / (1 - found.probability(0.55))
    assert found.probability(0.55, 0.2) == pytest.approx(odds / 4 / (1 + odds / 4))


def test_isotonic_needs_pairs_of_both_kinds():
    with pytest.raises(ValueError, match="3 genuine, 0 impostor"):
        fit_isotonic(np.array([0.1, 0.2, 0.3]), np.array([True, True, True]))


def test_draws_of_one_person_alone_have_no_rate_and_are_left_out():
    """Of three people one in nine draws shows a single one, without any impostor pair."""
    people = np.repeat(np.arange(3), 12)
    upper = np.triu(np.random.default_rng(0).uniform(size=(36, 36)), 1)
    with np.errstate(all="raise"):
        (found,) = far_thresholds(upper + upper.T, people, [0.1], replicates=300)
    assert 0 <= found.far_low <= found.far_high <= 1 and found.low <= found.threshold <= found.high
