import numpy as np
import pytest

from facelib.metrics import cosine_distance, every_pair, far_of_all, fisher_ratio, intervals, tar_at_far


def photos(people=40, most=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), rng.integers(1, most + 1, people))
    return rng.normal(size=(people, 6))[labels] + rng.normal(size=(len(labels), 6)), labels


def all_pairs(vectors, labels):
    left, right = np.triu_indices(len(labels), 1)
    return cosine_distance(vectors[left], vectors[right]), labels[left], labels[right]


@pytest.mark.parametrize("block", [7, 1024])
def test_every_pair_is_seen_once_whatever_the_block(block):
    vectors, labels = photos()
    shuffled = np.random.default_rng(1).permutation(len(labels))
    vectors, labels = vectors[shuffled], labels[shuffled]
    distances, left, right = all_pairs(vectors, labels)
    found = every_pair(vectors, labels, 0.1, block)
    same = left == right
    assert found.genuine == pytest.approx(np.sort(distances[same]), abs=1e-6)
    assert np.bincount(found.owner, minlength=40).tolist() == np.bincount(left[same], minlength=40).tolist()
    assert found.impostors == (~same).sum()
    expected = np.sort(distances[~same])[: len(found.impostor)]
    assert found.impostor == pytest.approx(expected, abs=1e-6) and len(expected) > 0.2 * found.impostors
    closest = np.argsort(distances[~same])[: len(expected)]
    pairs = np.sort([left[~same][closest], right[~same][closest]], axis=0)
    assert (np.sort([found.left, found.right], axis=0) == pairs).all()


@pytest.mark.parametrize("rate", [0.1, 0.05])
def test_the_rate_of_all_pairs_is_that_of_a_list_of_them(rate):
    vectors, labels = photos()
    distances, left, right = all_pairs(vectors, labels)
    pooled, each = every_pair(vectors, labels, 0.1).matched([rate], 50)[rate]
    known = tar_at_far(distances, left == right, rate)
    assert pooled.value == pytest.approx(known.tar) and pooled.low <= pooled.value <= pooled.high
    assert pooled.n == len(distances)
    right_ones = [
        (distances[(left == right) & (left == p)] <= known.threshold).mean() for p in np.unique(left[left == right])
    ]
    assert each.value == pytest.approx(np.mean(right_ones))


@pytest.mark.parametrize("threshold", [0.2, 0.6, 1.1])
def test_the_share_of_genuine_pairs_within_a_threshold_is_that_of_a_list_of_them(threshold):
    vectors, labels = photos()
    distances, left, right = all_pairs(vectors, labels)
    found = every_pair(vectors, labels, 0.1).accepted(threshold, 4000, 1)
    within, owner = distances[left == right] <= threshold, left[left == right]
    assert found.value == pytest.approx(within.mean()) and found.n == len(within)
    rng, drawn = np.random.default_rng(5), []
    for _ in range(4000):
        times = np.bincount(rng.integers(40, size=40), minlength=40)[owner]
        drawn.append((times * within).sum() / times.sum())
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


def test_equal_distances_are_not_accepted_beyond_the_rate():
    """Of 819 impostor pairs 36 are at distance 0: 4 % do not allow them, and the genuine pair is as close."""
    vectors = np.eye(41)[[*[0] * 9, *range(9, 40), 39]]
    labels = np.array([*range(40), 39])
    found = every_pair(vectors, labels, 0.05)
    assert found.matched([0.04], 5)[0.04][0].value == 0
    assert found.matched([0.05], 5)[0.05][0].value == 1


def test_rates_of_too_few_pairs_are_left_out():
    vectors, labels = photos()
    assert list(every_pair(vectors, labels, 0.1).matched([0.1, 1e-4], 5)) == [0.1]


@pytest.mark.parametrize("block", [7, 1024])
def test_the_far_of_all_pairs_is_that_of_their_list_and_its_interval_the_bootstrap_over_identities(block):
    vectors, labels = photos(people=80, most=3)
    shuffled = np.random.default_rng(1).permutation(len(labels))
    found = far_of_all(vectors[shuffled], labels[shuffled], [0.3, 0.1], 3000, block=block)
    distances, left, right = all_pairs(vectors, labels)
    other = left != right
    weights = intervals.identity_weights(left[other], right[other], 3000, seed=5)
    for threshold, each in zip([0.3, 0.1], found, strict=True):
        accepted = distances[other] <= threshold
        assert each.value == pytest.approx(accepted.mean()) and each.n == other.sum()
        low, high = np.quantile((weights @ accepted) / weights.sum(1), [0.025, 0.975])
        spread = high - low
        assert each.low == pytest.approx(low, abs=0.1 * spread) and each.high == pytest.approx(high, abs=0.1 * spread)
    every, none = far_of_all(vectors, labels, [2.1, -1], 5)
    trials = 80 / (80 + 1.959964**2)  # each draw's rate is one of its own pairs: the score interval of 80 people
    assert (every.value, every.low, every.high) == pytest.approx((1, trials, 1))
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, 1 - trials))


def test_fisher_by_hand():
    """Two people, two photos each, at right angles within and between: means (1, 1)/2 and (-1, -1)/2 of four axes."""
    vectors, labels = np.array([[2.0, 0], [0, 3], [-1, 0], [0, -5], [1, 0]]), np.array([4, 4, 7, 7, 9])
    found = fisher_ratio(vectors, labels, 20)
    between = 2 * 2 * 0.5  # n_i |m_i - m|^2, m = 0
    within = 4 * 0.5
    assert found.value == pytest.approx(between / within) and found.n == 4  # the single photo of 9 does not count


def test_fisher_is_the_ratio_of_traces():
    vectors, labels = photos()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    several = np.bincount(labels)[labels] > 1
    unit, labels_of = unit[several], labels[several]
    means = np.array([unit[labels_of == p].mean(0) for p in labels_of])
    within = np.trace((unit - means).T @ (unit - means))
    total = np.trace((unit - unit.mean(0)).T @ (unit - unit.mean(0)))
    found = fisher_ratio(vectors, labels, 200)
    assert found.value == pytest.approx((total - within) / within)
    assert found.low < found.value < found.high
