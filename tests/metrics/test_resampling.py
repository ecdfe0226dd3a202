"""One call for each interval and test: the same as the functions behind it, on the same draws."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from facelib.data.pairs import draw_pairs
from facelib.metrics import (
    Bootstrap,
    accuracy_curves,
    bootstrap,
    mean_over_people,
    paired_bootstrap,
    precision_recall_band,
)

LABELS = np.repeat(np.arange(12), 5)


@pytest.fixture(scope="module")
def scored():
    """Pairs of 12 people, and two distances of which the first is the better."""
    pairs = draw_pairs(LABELS, 60, 60, seed=0)
    rng = np.random.default_rng(0)
    return pairs, *(rng.normal(1 - pairs.genuine, spread) for spread in (0.6, 3.0))


def test_an_estimate_is_that_of_the_function_behind_it(scored):
    pairs, distances, _ = scored
    people = Bootstrap(pairs, LABELS, replicates=50, seed=3)
    given = distances, pairs.genuine, LABELS[pairs.left], LABELS[pairs.right]
    assert people.estimate("auc", distances) == bootstrap("auc", *given, None, 50, 3)
    assert people.estimate("far", distances, 0.5) == bootstrap("far", *given, 0.5, 50, 3)
    assert people.estimate("auc", distances).value == pytest.approx(roc_auc_score(pairs.genuine, -distances))


def test_a_paired_test_is_that_of_the_function_behind_it(scored):
    pairs, a, b = scored
    people = Bootstrap(pairs, LABELS, replicates=50, seed=3)
    given = a, b, pairs.genuine, LABELS[pairs.left], LABELS[pairs.right]
    assert people.paired("auc", a, b) == paired_bootstrap("auc", *given, None, 50, 3)
    assert people.paired("accuracy", a, a, (0.5, 0.7)) == paired_bootstrap(
        "accuracy", a, a, *given[2:], (0.5, 0.7), 50, 3
    )
    assert people.paired("auc", a, b).verdict == "holds" and people.paired("auc", b, a).verdict == "fails"


def test_bands_are_those_of_the_functions_behind_them(scored):
    pairs, distances, _ = scored
    people = Bootstrap(pairs, LABELS, replicates=50, seed=3)
    sides = LABELS[pairs.left], LABELS[pairs.right]
    grid = np.linspace(0.1, 1, 5)
    for ours, theirs in (
        (people.band(distances, grid), precision_recall_band(distances, pairs.genuine, *sides, grid, 50, 3)),
        (people.accuracies(distances, grid), accuracy_curves(distances, pairs.genuine, sides, grid, 50, 3)),
    ):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_people_are_counted_once(scored):
    pairs, _, _ = scored
    some = pairs.select([0, 1, 60])
    shown = {*LABELS[some.left], *LABELS[some.right]}
    assert Bootstrap(some, LABELS).people == len(shown)


def test_a_mean_over_people_draws_people_and_not_photos():
    people = np.repeat(np.arange(100), 5)
    values = (people < 30).astype(float)
    found = mean_over_people(values, people)
    assert found.value == 0.3 and found.n == 500
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 100), rel=0.1)
