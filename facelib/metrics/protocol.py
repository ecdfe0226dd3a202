"""A network's features on a list of pairs, as LFW's protocol and the validation people ask for it."""

import numpy as np

from facelib.data import pairs
from facelib.data.packed import PackedFaces
from facelib.data.pairs import Pairs
from facelib.metrics import curves
from facelib.metrics.distances import distance

METRICS = ("cosine", "euclidean")
FARS = {"tar_at_far_1e-2": 1e-2, "tar_at_far_1e-3": 1e-3}
# What is computed of all folds together: the statistic of `Bootstrap.estimate` and its FAR, under the result's name.
POOLED = {"auc": ("auc", None), "eer": ("equal_error_rate", None)} | {k: ("tar_at_far", far) for k, far in FARS.items()}


def scores(vectors: np.ndarray, chosen: Pairs, centre: bool = False) -> dict[str, float]:
    """Numbers of one network on pairs of its features (n, d), by metric.

    ``<metric>.fold_<k>`` are the accuracies on each fold at the threshold chosen on the others: LFW's folds, whose
    people are disjoint; of another list every tenth pair, where people occur in several folds. ``<metric>.accuracy`` is
    their mean; then AUC, EER, and the TAR at `FARS`, of all folds together. ``centre`` as in `fold_distances`.
    """
    found = {}
    for metric in METRICS:
        by_fold = fold_distances(vectors, chosen, metric, centre)
        folds = [curves.ten_fold(distances, chosen.genuine, chosen.folds) for distances in by_fold]
        accuracies = [fold.accuracies[k] for k, fold in enumerate(folds)]
        distances = own_fold(by_fold, chosen)
        found |= {f"{metric}.fold_{k}": float(accuracy) for k, accuracy in enumerate(accuracies)}
        found[f"{metric}.accuracy"] = float(np.mean(accuracies))
        found[f"{metric}.auc"] = curves.auc(distances, chosen.genuine)
        found[f"{metric}.eer"] = curves.equal_error_rate(distances, chosen.genuine)
        for name, far in FARS.items():
            found[f"{metric}.{name}"] = curves.tar_at_far(distances, chosen.genuine, far).tar
    return found


def fold_distances(vectors: np.ndarray, chosen: Pairs, metric: str, centre: bool) -> np.ndarray:
    """Distances of all pairs as each fold may see them: (folds, n) for features (m, d) and n pairs.

    With ``centre``, row k is that after subtracting the mean feature of the images in the pairs of all folds but k,
    which takes no label: a collection of other people and photographs than those trained on may move all features
    one way, and the cosine with it (as in speaker recognition, Garcia-Romero and Espy-Wilson 2011). Else the rows are
    alike.
    """
    fold = chosen.folds
    rows = []
    for k in np.unique(fold):
        seen = np.unique(np.concatenate([chosen.left[fold != k], chosen.right[fold != k]]))
        moved = vectors - vectors[seen].mean(0) if centre else vectors
        rows.append(distance(moved[chosen.left], moved[chosen.right], metric))
        if not centre:
            return np.broadcast_to(rows[0], (len(np.unique(fold)), len(chosen)))
    return np.array(rows)


def centred(features: np.ndarray, collections: np.ndarray) -> np.ndarray:
    """Features (n, d) minus the mean of those of the same collection; collections are (n,) int."""
    moved = features.copy()
    for collection in np.unique(collections):
        moved[collections == collection] -= features[collections == collection].mean(0)
    return moved


def own_fold(by_fold: np.ndarray, chosen: Pairs) -> np.ndarray:
    """Of `fold_distances` (folds, n) each pair's distance as its own fold sees it: (n,)."""
    return by_fold[np.unique(chosen.folds, return_inverse=True)[1], np.arange(len(chosen))]


def margins(distances: np.ndarray, chosen: Pairs) -> np.ndarray:
    """How far each pair (m,) lies beyond the threshold that is best on the other folds; at most 0 is accepted.

    ``distances`` are (m,), or (folds, m) as `fold_distances` has them.
    """
    number = np.unique(chosen.folds, return_inverse=True)[1]
    if distances.ndim == 1:
        return distances - curves.ten_fold(distances, chosen.genuine, chosen.folds).thresholds[number]
    of_fold = [curves.ten_fold(row, chosen.genuine, chosen.folds).thresholds[k] for k, row in enumerate(distances)]
    return own_fold(distances, chosen) - np.array(of_fold)[number]


VALIDATION_PAIRS = 3000  # of each kind and source at most, for the AUC after each epoch


def auc_by_source(features: np.ndarray, faces: PackedFaces) -> float:
    """AUC of the cosine on pairs within a source of a set, the mean over its sources; features (n, d) of its faces."""
    drawn = pairs.draw_by_source(faces.labels, faces.sources, VALIDATION_PAIRS, seed=0)
    distances = distance(features[drawn.left], features[drawn.right], "cosine")
    sources = [drawn.fold == source for source in np.unique(drawn.fold)]
    return float(np.mean([curves.auc(distances[some], drawn.genuine[some]) for some in sources]))
