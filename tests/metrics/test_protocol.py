"""LFW's protocol in one call, by hand and by SciPy."""

import numpy as np
import pytest
from scipy import stats

from facelib.data.pairs import Pairs
from facelib.metrics import FARS, POOLED, distance, fold_distances, margins, scores, student_interval


@pytest.fixture
def faces():
    """Features on a line and ten folds of two pairs; in fold k the genuine pair lies k apart, the impostors 20."""
    vectors, left, right, genuine, fold = [], [], [], [], []
    for k in range(10):
        start = len(vectors)
        vectors += [[1.0, 0.0], [1.0, 1.0 + k], [1.0, 0.0], [21.0, 0.0]]
        left += [start, start + 2]
        right += [start + 1, start + 3]
        genuine += [True, False]
        fold += [k, k]
    return np.array(vectors), Pairs(left, right, genuine, fold)


def test_each_fold_is_scored_at_the_threshold_of_the_others(faces):
    vectors, pairs = faces
    found = scores(vectors, pairs)
    euclid = distance(vectors[pairs.left], vectors[pairs.right], "euclidean")
    assert euclid[::2].tolist() == [1.0 + k for k in range(10)] and set(euclid[1::2]) == {20.0}
    assert [found[f"euclidean.fold_{k}"] for k in range(10)] == [1.0] * 10 and found["euclidean.accuracy"] == 1
    # The impostors of the cosine lie at 0 and are accepted with all others, or nobody is: half is right, in each fold.
    assert found["cosine.accuracy"] == 0.5


def test_margins_of_centred_features_are_those_of_each_fold():
    """A pair is right exactly if its margin says so: fold by fold the accuracies of `scores`, centred or not."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(80, 6)) + 2.0
    vectors[1::2] = vectors[::2] + 0.9 * rng.normal(size=(40, 6))
    left = np.tile(np.arange(0, 80, 2), 2)
    pairs = Pairs(left, np.append(left[:40] + 1, (left[40:] + 3) % 80), np.repeat([True, False], 40), None)
    for centre in (True, False):
        beyond = margins(fold_distances(vectors, pairs, "cosine", centre), pairs)
        found, right = scores(vectors, pairs, centre), (beyond <= 0) == pairs.genuine
        expected = [found[f"cosine.fold_{k}"] for k in range(10)]
        assert [right[pairs.folds == k].mean() for k in range(10)] == pytest.approx(expected)


def test_students_interval_is_scipy_s():
    values = np.array([0.8, 0.82, 0.79, 0.85, 0.81])
    ours = student_interval(values, 600)
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert (ours.value, ours.low, ours.high, ours.n) == (
        pytest.approx(values.mean()),
        pytest.approx(low),
        pytest.approx(high),
        600,
    )


def test_what_is_pooled_names_statistics():
    assert {key: at for key, (_, at) in POOLED.items() if at} == FARS
    assert list(POOLED)[:2] == ["auc", "eer"]


def test_margins_are_distances_from_the_threshold_of_the_other_folds():
    distances = np.array([0.1, 0.5, 0.3, 0.9, 0.95, 0.2])
    pairs = Pairs([0] * 6, [1] * 6, [True, False, True, False, True, False], [0, 0, 1, 1, 2, 2])
    found = margins(distances, pairs)
    for fold in range(3):  # within a fold one threshold for all
        assert np.ptp((distances - found)[2 * fold : 2 * fold + 2]) == pytest.approx(0)
    # Folds 1 and 2 accept up to .3 or all but one of four wrongly; whoever judges the last fold accepts up to .3.
    assert (found[4:] <= 0).tolist() == [False, True]
