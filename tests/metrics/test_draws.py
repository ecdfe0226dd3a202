import numpy as np
import pytest
from scipy.spatial.distance import cosine, euclidean
from sklearn.metrics import average_precision_score, precision_recall_curve

from facelib.data import pairs
from facelib.metrics import Bootstrap, draws, intervals


@pytest.fixture(scope="module")
def people():
    """Features of 30 people, 6 images each, that overlap."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(30), 6)
    return np.abs(rng.normal(size=(30, 8))[labels] + rng.normal(size=(180, 8))), labels


def test_curves_equal_counting_pair_by_pair():
    rng = np.random.default_rng(1)
    left, right = rng.integers(0, 12, (2, 60))
    genuine, distances = left == right, rng.random(60).round(1)
    thresholds = np.array([-1, 0.0, 0.3, 0.55, 1.0, 2.0])
    both = pairs.Pairs(np.arange(60), np.arange(60, 120), genuine)
    measured, resampled = Bootstrap(both, np.concatenate([left, right]), 20, 4).accuracies(distances, thresholds)
    assert measured == pytest.approx([np.mean((distances <= t) == genuine) for t in thresholds])
    weights = intervals.identity_weights(left, right, 20, 4)
    expected = [[np.average((distances <= t) == genuine, weights=w) for t in thresholds] for w in weights]
    np.testing.assert_allclose(resampled, expected)


@pytest.mark.parametrize(
    ("curve", "height"),
    [
        ([1, 2, 3, 2, 1], 0),
        ([1, 1, 1], 0),
        ([1, 3, 2, 4, 0], 1),
        ([5, 1, 4, 2, 3], 3),
        ([0, 2, 1, 1, 2, 0], 1),
        ([3, 2, 1], 0),
    ],
)
def test_second_peak_is_its_height_over_the_valley(curve, height):
    assert draws.second_peak(np.array(curve, float)) == height
    assert draws.second_peak(np.array([curve, curve], float)) == pytest.approx([height, height])


def test_small_draws_differ_from_each_other_and_repeat_with_the_seed(people):
    table = draws.small_draws(*people, count=20, draws=15, seed=3)
    assert len(table) == 15 and table["ap_euclidean"].nunique() > 5
    assert table.equals(draws.small_draws(*people, count=20, draws=15, seed=3))
    np.testing.assert_allclose(table["difference"], table["ap_euclidean"] - table["ap_cosine"])


def _best_f1(genuine, scores):
    precision, recall, _ = precision_recall_curve(genuine, scores)
    return max(2 * precision * recall / np.maximum(precision + recall, 1e-9))


def test_a_draw_equals_scikit_learn_and_brute_force(people, monkeypatch):
    features, labels = people
    drawn = []
    whole = pairs.draw_pairs
    monkeypatch.setattr(pairs, "draw_pairs", lambda *a, **k: drawn.append(whole(*a, **k)) or drawn[-1])
    row = draws.small_draws(features, labels, count=25, draws=1, seed=0).iloc[0]
    pair = drawn[0]
    sides = features[pair.left], features[pair.right]
    best = [_best_f1(pair.genuine, -np.array(list(map(d, *sides)))) for d in (euclidean, cosine)]
    assert row["f1"] == pytest.approx(min(best))
    for name, distance in (("ap_euclidean", euclidean), ("ap_cosine", cosine)):
        far = np.array([distance(features[i], features[j]) for i, j in zip(pair.left, pair.right, strict=True)])
        assert row[name] == pytest.approx(average_precision_score(pair.genuine, -far))
        if name == "ap_euclidean":
            best = max(np.mean((far <= t) == pair.genuine) for t in [-1, *far])
            assert row["accuracy"] == pytest.approx(best)
            assert np.mean((far <= row["threshold"]) == pair.genuine) == pytest.approx(best)
