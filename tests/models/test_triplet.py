"""Triplets by hand and by their definition, and the loss against its equation in NumPy, float64."""

import math

import numpy as np
import pytest

from facelib._paddle import paddle
from facelib.models.triplet import Triplet
from tests.models.test_losses import differences, evaluate, unit


def circle(*degrees):
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


def chord(a, b):
    """Squared distance of two points on the unit circle, by the law of cosines."""
    return 2 - 2 * math.cos(math.radians(a - b))


def mined(head, degrees, labels):
    squared = np.array([[chord(a, b) for b in degrees] for a in degrees])
    triplets = zip(*head.mine(squared, np.array(labels)), strict=True)
    return {(int(a), int(p)): int(n) for a, p, n in triplets}


DEGREES, PEOPLE = [0, 21, 10, 30, 90], [0, 0, 1, 2, 3]


@pytest.mark.parametrize(
    "mining, expected",
    [
        ("hard", {(0, 1): 2, (1, 0): 3}),  # 10 degrees are nearest to 0, and 30 to 21
        ("semi-hard", {(0, 1): 3, (1, 0): 4}),  # nearest beyond 21 degrees: 30 of 0, and 90 of 21
    ],
)
def test_mined_negatives_by_hand(mining, expected):
    head = Triplet(margin=0.2, mining=mining)
    assert mined(head, DEGREES, PEOPLE) == expected
    loss, _, _ = evaluate(head, 7 * circle(*DEGREES), np.array(PEOPLE))
    far = [chord(DEGREES[a], DEGREES[n]) for (a, _), n in expected.items()]
    assert loss == pytest.approx(np.mean([max(0, chord(0, 21) - f + 0.2) for f in far]), rel=1e-4)


def test_semi_hard_takes_the_farthest_where_none_is_farther_than_the_positive():
    assert mined(Triplet(), [0, 40, 10, 25, -5], [0, 0, 1, 2, 3]) == {(0, 1): 3, (1, 0): 4}
    assert mined(Triplet(), [0, 60, 10, 25], [0, 0, 1, 2]) == {(0, 1): 3, (1, 0): 2}


def test_random_negatives_are_all_other_identities_and_depend_on_paddles_seed():
    head, labels = Triplet(mining="random"), [0, 0, 0, 1, 1, 2]
    drawn = []
    for seed in [*range(60), 0]:
        paddle.seed(seed)
        drawn.append(mined(head, [0, 1, 2, 50, 60, 120], labels))
    pairs = {(a, p) for a in range(6) for p in range(6) if a != p and labels[a] == labels[p]}
    for a, p in pairs:
        assert {one[a, p] for one in drawn} == {n for n in range(6) if labels[n] != labels[a]}
    assert all(set(one) == pairs for one in drawn)
    assert drawn[0] == drawn[-1]


def triplet_loss(x, triplets, margin):
    x = unit(x, 1)
    return np.mean([max(0, np.sum((x[a] - x[p]) ** 2) - np.sum((x[a] - x[n]) ** 2) + margin) for a, p, n in triplets])


def chosen(x, labels, mining):
    """The triplets by the definition, one at a time."""
    x = unit(x, 1)
    squared = ((x[:, None] - x) ** 2).sum(2)
    for a in range(len(x)):
        negatives = [n for n in range(len(x)) if labels[n] != labels[a]]
        for p in (p for p in range(len(x)) if labels[p] == labels[a] and p != a):
            farther = [n for n in negatives if squared[a, n] > squared[a, p]]
            if mining == "hard" or farther:
                yield a, p, min(negatives if mining == "hard" else farther, key=lambda n: squared[a, n])
            else:
                yield a, p, max(negatives, key=lambda n: squared[a, n])


@pytest.mark.parametrize("mining", Triplet.MINING)
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_triplet_loss_and_gradient_equal_the_equation(mining, margin):
    head = Triplet(margin, mining)
    x = np.random.default_rng(3).normal(size=(10, 3)).astype(np.float32)
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 4])
    if mining == "random":
        paddle.seed(11)
        triplets = list(zip(*head.mine(np.zeros((10, 10)), labels), strict=True))
        paddle.seed(11)
    else:
        triplets = list(chosen(x.astype(np.float64), labels, mining))
    assert len(triplets) == 6 + 2 + 6
    loss, _, (gradient,) = evaluate(head, x, labels)
    assert loss == pytest.approx(triplet_loss(x.astype(np.float64), triplets, margin), rel=1e-5)
    (slope,) = differences(lambda x: triplet_loss(x, triplets, margin), [x])
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-5 * np.abs(slope).max())


@pytest.mark.parametrize("mining", Triplet.MINING)
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0]])
def test_a_batch_without_triplets_costs_nothing(mining, labels):
    x = np.random.default_rng(0).normal(size=(len(labels), 4)).astype(np.float32)
    loss, right, (gradient,) = evaluate(Triplet(0.2, mining), x, np.array(labels))
    assert loss == 0 and (gradient == 0).all() and right.shape == (len(labels), 1)


@pytest.mark.parametrize("mining", Triplet.MINING)
def test_identical_and_opposite_images_have_finite_triplet_gradients(mining):
    x = np.array([[1, 1], [1, 1], [1, 1], [-1, -1], [-1, -1], [0, 0]], np.float32)
    loss, _, (gradient,) = evaluate(Triplet(0.2, mining), x, np.array([0, 0, 1, 1, 2, 2]))
    assert math.isfinite(loss) and np.isfinite(gradient).all()


def test_triplets_recognise_images_whose_nearest_neighbour_is_their_own():
    _, right, _ = evaluate(Triplet(), circle(0, 10, 15, 100, 104, 200), np.array([0, 0, 1, 2, 2, 1]))
    np.testing.assert_array_equal(right, [[1], [0], [0], [1], [1], [0]])


def test_unknown_mining_names_the_known_ones():
    with pytest.raises(ValueError, match="'easy'.*random, hard, semi-hard"):
        Triplet(mining="easy")
