"""Photos sorted by person without names, and photos that do not look like the person they are filed under."""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from facelib.metrics.distances import l2_normalise
from facelib.metrics.intervals import Estimate

MOST = 20_000  # photos; all their pairs are held at once


def clusters(vectors: Array, threshold: float, metric: str = "cosine") -> Array:
    """Number of the cluster of each of some features (n, d), the largest being 0: (n,) int.

    Average linkage: the two clusters whose photos are closest on average are joined while that average is below the
    threshold (a distance, as of two photos).
    """
    from sklearn.cluster import AgglomerativeClustering

    if len(vectors) > MOST:
        raise ValueError(f"{len(vectors):,} faces are too many to sort at once: at most {MOST:,}, in parts if need be.")
    if len(vectors) < 2:
        return np.zeros(len(vectors), int)
    joined = AgglomerativeClustering(None, metric=metric, linkage="average", distance_threshold=threshold)
    labels = joined.fit_predict(np.asarray(vectors, np.float64))
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.argsort(order)[labels]


def agreement_of(found: Array, people: Array, weights: Array | None = None) -> dict[str, float]:
    """How clusters (n,) agree with people (n,): precision, recall and their harmonic mean F, pairwise and B-cubed.

    Pairwise precision is the share of the pairs in one cluster that show one person, recall the share of the pairs of
    one person that are in one cluster. B-cubed (Bagga and Baldwin 1998) takes the same shares for each photo, itself
    included, and their mean over photos. ``weights``: how often each of the people, in order, counts; as in
    `intervals.identity_weights` pairs of two people count by the product.
    """
    return _scores(_table(found, people), weights)


def judge(found: Array, people: Array, replicates: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """`agreement_of` with 95 % intervals over people, the clusters as they are; n counts the photos."""
    table = _table(found, people)
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(table), size=(replicates, len(table)))
    drawn = [_scores(table, np.bincount(draw, minlength=len(table))) for draw in draws]
    measured = {}
    for name, value in _scores(table).items():
        low, high = np.nanquantile([each[name] for each in drawn], [0.025, 0.975])
        measured[name] = Estimate(value, float(low), float(high), len(people))
    return measured


def likeness(vectors: Array, labels: Array) -> Array:
    """Mean cosine of each photo to the others filed under the same person, (n,); NaN of a person's only one."""
    unit = l2_normalise(vectors)
    people, person, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(people), unit.shape[1]))
    np.add.at(sums, person, unit)
    with np.errstate(invalid="ignore"):
        return (np.einsum("nd,nd->n", unit, sums[person]) - 1) / np.where(counts == 1, np.nan, counts - 1)[person]


def _table(found: Array, people: Array) -> Array:
    from sklearn.metrics.cluster import contingency_matrix

    return contingency_matrix(people, found).astype(float)  # people x clusters


def _scores(table: Array, weights: Array | None = None) -> dict[str, float]:
    weights = np.ones(len(table)) if weights is None else np.asarray(weights, float)
    own, photos = weights[:, None] * table, table.sum(1)
    others = own.sum(0) - own  # photos of other people in the same cluster
    genuine = (own * (table - 1)).sum() / 2
    impostor = (own * others).sum() / 2
    all_genuine = (weights * photos * (photos - 1)).sum() / 2
    with np.errstate(invalid="ignore"):
        pure = np.where(table > 0, table / (table + others), 0)
    total = (weights * photos).sum()
    precision, recall = (own * pure).sum() / total, (own * table / photos[:, None]).sum() / total
    pairwise = _ratio(genuine, genuine + impostor), _ratio(genuine, all_genuine)
    return {
        "pairwise_precision": pairwise[0],
        "pairwise_recall": pairwise[1],
        "pairwise_f": _ratio(2 * genuine, genuine + impostor + all_genuine),
        "bcubed_precision": float(precision),
        "bcubed_recall": float(recall),
        "bcubed_f": _ratio(2 * precision * recall, precision + recall),
    }


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
