import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics.cluster import pair_confusion_matrix

from facelib.metrics import clustering, cosine_similarity


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_clusters_are_those_of_average_linkage(metric):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(8, 16))[np.repeat(np.arange(8), 5)] + 0.5 * rng.normal(size=(40, 16))).astype("f4")
    tree = linkage(vectors.astype(float), "average", metric)
    for limit in np.quantile(tree[:, 2], [0.2, 0.6, 0.9]) + 1e-9:
        found = clustering.clusters(vectors, limit, metric)
        expected = fcluster(tree, limit, "distance")
        assert ((found[:, None] == found) == (expected[:, None] == expected)).all()
        sizes = np.bincount(found)
        assert (np.diff(sizes) <= 0).all() and sizes.min() > 0  # the largest is 0


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_two_faces_of_one_photo_are_never_one_person(metric):
    """Three photos of the same two alike people: each photo has a face in either"""
    vectors = np.tile([[1.0, 0.0], [1.0, 0.1]], (3, 1)) + 0.001 * np.random.default_rng(0).normal(size=(6, 2))
    assert set(clustering.clusters(vectors, 0.5, metric)) == {0}
    found = clustering.clusters(vectors, 0.5, metric, ["a", "a", "b", "b", "c", "c"])
    assert sorted(map(sorted, (np.flatnonzero(found == k) for k in (0, 1)))) == [[0, 2, 4], [1, 3, 5]]
    assert (clustering.clusters(vectors, 0.5, metric, list("abcdef")) == 0).all()


def test_few_and_too_many_photos():
    assert clustering.clusters(np.empty((0, 4)), 0.5).tolist() == []
    assert clustering.clusters(np.empty((0, 4)), 0.5, photos=[]).tolist() == []
    assert clustering.clusters(np.ones((1, 4)), 0.5).tolist() == [0]
    with pytest.raises(ValueError, match="at most 20,000"):
        clustering.clusters(np.broadcast_to(np.ones(2), (20_001, 2)), 0.5)


def test_agreement_by_hand():
    """Clusters aab | bb | c of people a, b, c: the example of Bagga and Baldwin's definition, worked by hand."""
    people, found = np.array(list("aabbbc")), np.array([0, 0, 0, 1, 1, 2])
    score = clustering.agreement_of(found, people)
    assert score["pairwise_precision"] == 2 / 4  # aa and bb of aa, ab, ab, bb
    assert score["pairwise_recall"] == 2 / 4  # of aa and three times bb
    assert score["pairwise_f"] == 0.5
    assert score["bcubed_precision"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1 + 1) / 6)
    assert score["bcubed_recall"] == pytest.approx((1 + 1 + 1 / 3 + 2 / 3 + 2 / 3 + 1) / 6)
    p, r = score["bcubed_precision"], score["bcubed_recall"]
    assert score["bcubed_f"] == pytest.approx(2 * p * r / (p + r))


def test_agreement_is_that_of_sklearn_s_pairs_and_of_the_definition_photo_by_photo():
    rng = np.random.default_rng(1)
    people, found = rng.integers(7, size=60), rng.integers(9, size=60)
    (_, false), (missed, right) = pair_confusion_matrix(people, found)
    score = clustering.agreement_of(found, people)
    assert score["pairwise_precision"] == pytest.approx(right / (right + false))
    assert score["pairwise_recall"] == pytest.approx(right / (right + missed))
    assert score["pairwise_f"] == pytest.approx(2 * right / (2 * right + false + missed))
    same = people[:, None] == people, found[:, None] == found
    assert score["bcubed_precision"] == pytest.approx(((same[0] & same[1]).sum(1) / same[1].sum(1)).mean())
    assert score["bcubed_recall"] == pytest.approx(((same[0] & same[1]).sum(1) / same[0].sum(1)).mean())


def test_perfect_clusters_and_none_at_all():
    people = np.repeat(np.arange(4), 3)
    assert set(clustering.agreement_of(people, people).values()) == {1.0}
    alone = clustering.agreement_of(np.arange(12), people)
    assert np.isnan(alone["pairwise_precision"]) and alone["pairwise_f"] == 0
    assert (alone["bcubed_precision"], alone["bcubed_recall"]) == (1, pytest.approx(1 / 3))


def test_intervals_hold_the_value_and_draw_people():
    people = np.repeat(np.arange(30), 4)
    found = np.where(people < 15, people, 100 + np.arange(120))  # half are whole, half in pieces
    measured = clustering.judge(found, people, 500)["bcubed_recall"]
    error = 0.75 * np.sqrt(0.25 / 30)  # of 30 people with recall 1 or 1/4
    assert measured.value == pytest.approx(0.625) and measured.n == 120
    assert measured.high - measured.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_likeness_is_the_mean_cosine_to_the_others_of_the_same_person():
    rng = np.random.default_rng(2)
    vectors, labels = rng.normal(size=(6, 5)), np.array([0, 1, 0, 0, 1, 2])
    found = clustering.likeness(vectors, labels)
    for row in range(5):
        others = [k for k in range(6) if labels[k] == labels[row] and k != row]
        cosines = [cosine_similarity(vectors[[row]], vectors[[k]])[0] for k in others]
        assert found[row] == pytest.approx(np.mean(cosines))
    assert np.isnan(found[5])
