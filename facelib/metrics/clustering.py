"""Photos sorted by person without names, and photos that do not look like the person they are filed under."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy import ndarray as Array

from facelib.metrics.distances import l2_normalise
from facelib.metrics.intervals import Estimate, estimate

MOST = 20_000  # photos; all their pairs are held at once


def clusters(vectors: Array, threshold: float, metric: str = "cosine", photos: Sequence = ()) -> Array:
    """Number of the cluster of each of some features (n, d), the largest being 0: (n,) int.

    Average linkage: the two clusters that are closest on average are joined while that is below the threshold. Faces
    that ``photos`` (n,) name alike show different people and are never joined: they lie too far apart for any average.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist

    if len(vectors) > MOST:
        raise ValueError(f"{len(vectors):,} faces are too many to sort at once: at most {MOST:,}, in parts if need be.")
    if len(vectors) < 2:
        return np.zeros(len(vectors), int)
    distances = _cosine(vectors) if metric == "cosine" else pdist(np.asarray(vectors, np.float64), metric)
    together: dict = {}
    for row, photo in enumerate(photos):
        together.setdefault(photo, []).append(row)
    for left, right in (pair for rows in together.values() for pair in combinations(rows, 2)):
        distances[len(vectors) * left - left * (left + 1) // 2 + right - left - 1] = 4 * threshold * len(vectors) ** 2
    labels = fcluster(linkage(distances, "average"), np.nextafter(threshold, -np.inf), "distance") - 1
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.argsort(order)[labels]


def _cosine(vectors: Array, block: int = 256) -> Array:
    """Cosine distances of all pairs of features (n, d) in the order of `pdist`, which takes ten times as long."""
    unit, rows = l2_normalise(np.asarray(vectors, np.float64)), []
    for start in range(0, len(unit), block):
        found = np.maximum(0, 1 - unit[start : start + block] @ unit[start:].T)
        rows += [row[number + 1 :] for number, row in enumerate(found)]
    return np.concatenate(rows)


def agreement_of(found: Array, people: Array, weights: Array | None = None) -> dict[str, float]:
    """How clusters (n,) agree with people (n,): precision, recall and their harmonic mean F, pairwise and B-cubed.

    Pairwise precision is the share of the pairs in one cluster that show one person, recall the share of the pairs of
    one person that are in one cluster. B-cubed (Bagga and Baldwin 1998) takes the same shares for each photo, itself
    included, and their mean over photos. ``weights`` (n,): how often a photo counts, with its half of each pair.
    """
    weights = np.ones(len(people)) if weights is None else weights
    both, cluster, own = _sizes(found, people)
    right, taken, there = ((weights * (count - 1)).sum() for count in (both, cluster, own))
    precision, recall = ((weights * both / count).sum() / weights.sum() for count in (cluster, own))
    return {
        "pairwise_precision": _ratio(right, taken),
        "pairwise_recall": _ratio(right, there),
        "pairwise_f": _ratio(2 * right, taken + there),
        "bcubed_precision": float(precision),
        "bcubed_recall": float(recall),
        "bcubed_f": float(2 * precision * recall / (precision + recall)),
    }


def judge(found: Array, people: Array, replicates: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """`agreement_of` with 95 % intervals over people, whose photos stay in their clusters; n counts photos."""
    _, person = np.unique(people, return_inverse=True)
    count = person.max() + 1
    draws = np.random.default_rng(seed).integers(count, size=(replicates, count))
    drawn = [agreement_of(found, people, np.bincount(draw, minlength=count)[person]) for draw in draws]
    values = [agreement_of(found, people), *drawn]
    return {name: estimate([each[name] for each in values], len(people), count) for name in values[0]}


def likeness(vectors: Array, labels: Array) -> Array:
    """Mean cosine of each photo to the others filed under the same person, (n,); NaN of a person's only one."""
    unit = l2_normalise(vectors)
    people, person, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(people), unit.shape[1]))
    np.add.at(sums, person, unit)
    with np.errstate(invalid="ignore"):
        return (np.einsum("nd,nd->n", unit, sums[person]) - 1) / np.where(counts == 1, np.nan, counts - 1)[person]


def _sizes(found: Array, people: Array) -> tuple[Array, Array, Array]:
    """Of each photo how many share its cluster and person, its cluster, and its person, itself included."""
    pairs = np.unique(np.stack([found, people]), axis=1, return_inverse=True, return_counts=True)
    columns = [pairs, *(np.unique(one, return_inverse=True, return_counts=True) for one in (found, people))]
    return tuple(counts[number.ravel()] for _, number, counts in columns)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
