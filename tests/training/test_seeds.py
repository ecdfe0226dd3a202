import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from facelib import metrics
from facelib.data import splits
from facelib.data.pairs import Pairs
from facelib.metrics import distances, protocol
from facelib.training import runs, seeds
from facelib.training.recipe import Recipe


@pytest.fixture
def vectors():
    """Four people, six noisy unit-like vectors of each, and twenty pairs with ten folds."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(4, 8)), 6, axis=0) + rng.normal(scale=0.8, size=(24, 8))
    labels = np.repeat(np.arange(4), 6)
    left, right = np.array([(i, j) for i in range(24) for j in range(i + 1, 24)]).T
    chosen = rng.permutation(len(left))[:100]
    left, right = left[chosen], right[chosen]
    return features.astype(np.float32), Pairs(left, right, labels[left] == labels[right], np.arange(100) % 10)


def test_scores_follow_their_definitions(vectors):
    features, chosen = vectors
    found = protocol.scores(features, chosen)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = {
        "cosine": 1 - (unit[chosen.left] * unit[chosen.right]).sum(1),
        "euclidean": np.linalg.norm(features[chosen.left] - features[chosen.right], axis=1),
    }
    for metric, values in distances.items():
        assert found[f"{metric}.auc"] == pytest.approx(roc_auc_score(chosen.genuine, -values))
        accuracies = []
        for fold in range(10):
            rest, part = chosen.fold != fold, chosen.fold == fold
            midpoints = np.convolve(np.sort(values[rest]), [0.5, 0.5], "valid")
            best = max(((values[rest] <= t) == chosen.genuine[rest]).mean() for t in midpoints)
            ties = [t for t in midpoints if ((values[rest] <= t) == chosen.genuine[rest]).mean() == best]
            possible = {((values[part] <= t) == chosen.genuine[part]).mean() for t in ties}
            assert any(found[f"{metric}.fold_{fold}"] == pytest.approx(accuracy) for accuracy in possible)
            accuracies.append(found[f"{metric}.fold_{fold}"])
        assert found[f"{metric}.accuracy"] == pytest.approx(np.mean(accuracies))
        far = np.array([((values <= t) & ~chosen.genuine).sum() / (~chosen.genuine).sum() for t in values])
        tar = np.array([((values <= t) & chosen.genuine).sum() / chosen.genuine.sum() for t in values])
        assert found[f"{metric}.tar_at_far_1e-2"] == pytest.approx(max(tar[far <= 0.01], default=0))


def test_centring_subtracts_what_the_other_folds_show(vectors):
    features, chosen = vectors
    moved = features + 50  # as another collection of photographs might do
    by_fold = protocol.fold_distances(moved, chosen, "cosine", centre=True)
    images = [
        sorted({*chosen.left[chosen.fold != fold].tolist(), *chosen.right[chosen.fold != fold].tolist()})
        for fold in range(10)
    ]
    for fold, seen in enumerate(images):
        unit = moved - moved[seen].mean(0)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        expected = 1 - (unit[chosen.left] * unit[chosen.right]).sum(1)
        np.testing.assert_allclose(by_fold[fold], expected, atol=1e-4)
    own = protocol.own_fold(by_fold, chosen)
    assert [own[k] == by_fold[chosen.fold[k], k] for k in range(100)] == [True] * 100
    centred, plain = protocol.scores(moved, chosen, centre=True), protocol.scores(moved, chosen)
    assert centred["cosine.auc"] == pytest.approx(roc_auc_score(chosen.genuine, -own))
    assert centred["cosine.auc"] > plain["cosine.auc"]
    assert centred["euclidean.auc"] == pytest.approx(plain["euclidean.auc"])  # differences do not move
    first = chosen.fold == 0
    threshold = metrics.best_threshold(by_fold[0][~first], chosen.genuine[~first])
    right = (by_fold[0][first] <= threshold) == chosen.genuine[first]
    assert centred["cosine.fold_0"] == pytest.approx(right.mean())


def test_each_collection_is_centred_by_itself(vectors):
    features, collections = vectors[0] + 7, np.arange(24) % 3
    moved = protocol.centred(features, collections)
    for collection in range(3):
        np.testing.assert_allclose(moved[collections == collection].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(moved[3] - moved[0], features[3] - features[0], atol=1e-5)  # of one collection


class Faces:
    key, sources = "abc", np.zeros(24, int)


@pytest.fixture
def trainings(vectors, tmp_path, monkeypatch):
    """Trainings that only say that they were asked for."""
    asked, embedded = Asked(), []
    asked.embedded = embedded

    def train(run, train, recipe, held_out, validation):
        asked.append((run, recipe.seed))
        return runs.Run(tmp_path / f"{run}.npz", None, {"seconds": 5.0})

    monkeypatch.setattr(seeds, "train", train)
    monkeypatch.setattr(seeds, "run_key", lambda *parts: f"{parts[1].loss}-{parts[1].seed}-{parts[1].epochs}")
    monkeypatch.setattr(seeds, "auc_by_source", lambda features, _: 0.7 if abs(features.mean()) < 1e-6 else 0.8)
    monkeypatch.setattr(seeds, "features", lambda _, weights, mirror: embedded.append(weights) or vectors[0])
    return asked


class Asked(list):
    """Run names and seeds; ``embedded``: the weights whose features were asked for."""


ONE = {"one": Recipe()}
BOTH = ONE | {"two": Recipe(loss="cosface")}


def over_seeds(path, chosen, numbers, combinations=None):
    split = splits.Experiment(Faces(), Faces(), Faces(), Faces())
    return seeds.over_seeds(path, combinations or {"alone": ONE}, numbers, split, chosen, mirror=False)


def test_recorded_seeds_are_not_trained_again(trainings, vectors, tmp_path):
    path = tmp_path / "figures" / "seeds.csv"
    first = over_seeds(path, vectors[1], [0, 1])
    assert trainings == [("one", 0), ("one", 1)] and list(first["validation_auc"]) == [0.8, 0.8]
    assert list(first["centred.validation_auc"]) == [0.7, 0.7]
    again = over_seeds(path, vectors[1], [0, 1, 2])
    assert trainings == [("one", 0), ("one", 1), ("one", 2)] and list(again["seed"]) == [0, 1, 2]
    pd.testing.assert_frame_equal(first, again.iloc[:2], check_dtype=False)


def test_networks_together_are_a_row_of_their_own(trainings, vectors, tmp_path):
    found = over_seeds(tmp_path / "seeds.csv", vectors[1], [3], {"together": BOTH, "alone": ONE})
    assert list(found["networks"]) == ["together", "alone"]
    assert list(found["key"]) == ["softmax-3-20 cosface-3-20", "softmax-3-20"]
    assert list(found["seconds"]) == [10, 5] and trainings == [("one", 3), ("two", 3), ("one", 3)]
    names = [[path.name for path in weights] for weights in trainings.embedded]  # of validation and test people
    assert names == [["one.npz", "two.npz"]] * 2 + [["one.npz"]] * 2


def test_another_recipe_or_other_pairs_are_evaluated_anew(trainings, vectors, tmp_path):
    path = tmp_path / "seeds.csv"
    over_seeds(path, vectors[1], [0])
    other = {"alone": {"one": Recipe(epochs=3)}}
    over_seeds(path, vectors[1], [0], other)
    chosen = vectors[1]
    fewer = Pairs(chosen.left[:50], chosen.right[:50], chosen.genuine[:50], chosen.fold[:50])
    over_seeds(path, fewer, [0], other)
    assert len(trainings) == 3


def test_nearest_is_the_highest_similarity_of_all():
    rng = np.random.default_rng(1)
    vectors, gallery = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(11, 5)).astype(np.float32)
    expected = 1 - cdist(vectors, gallery, "cosine").min(1)
    assert distances.nearest(vectors, gallery, block=3) == pytest.approx(expected, abs=1e-6)


def test_rows_of_other_tables_count_as_known_and_are_left_there(trainings, vectors, tmp_path):
    committed, path = tmp_path / "committed.csv", tmp_path / "mine" / "seeds.csv"
    first = over_seeds(committed, vectors[1], [0, 1])
    before = committed.read_bytes()
    trainings.clear()
    split = splits.Experiment(Faces(), Faces(), Faces(), Faces())
    again = seeds.over_seeds(path, {"alone": ONE}, [1, 2], split, vectors[1], mirror=False, committed=[committed])
    assert [seed for _, seed in trainings] == [2] and committed.read_bytes() == before
    assert again["cosine.auc"].iloc[0] == pytest.approx(first["cosine.auc"].iloc[1]) and len(pd.read_csv(path)) == 2
