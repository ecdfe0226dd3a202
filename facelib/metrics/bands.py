"""Whole curves with resampled people: precision-recall, ROC, accuracy over thresholds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy import ndarray as Array

from facelib.metrics import curves, intervals


def _rates(distances, genuine, people_left, people_right, replicates: int, seed: int) -> Iterator[tuple]:
    """Recall (TAR), precision and FAR over all thresholds: as measured, then of each replicate."""
    for weights in intervals._replicates(genuine, people_left, people_right, replicates, seed):
        _, tp, fp = curves.cumulative(distances, genuine, weights)
        rates = curves.ratio(tp, tp[:, -1:]), curves.ratio(tp, tp + fp), curves.ratio(fp, fp[:, -1:])
        yield from zip(*rates, strict=True)


def precision_recall_band(
    distances, genuine, people_left, people_right, recall_grid: Array, replicates: int = 1000, seed: int = 0
) -> tuple[Array, Array, Array]:
    """Low (95 %), median and high precision over resampled identities, at recalls in (0, 1]: (k,) each.

    The precision at recall r is that of the smallest threshold whose recall reaches r: the steps
    whose area is the average precision.
    """
    if np.min(recall_grid) <= 0 or np.max(recall_grid) > 1:
        raise ValueError("recall_grid must lie in (0, 1]")
    found = _rates(distances, genuine, people_left, people_right, replicates, seed)
    drawn = [p[np.searchsorted(r, recall_grid)] for r, p, _ in found if r[-1] == 1]  # else no genuine pair was drawn
    return tuple(np.quantile(drawn[1:], [0.025, 0.5, 0.975], axis=0))


def roc_band(
    distances, genuine, people_left, people_right, far_grid: Array, replicates: int = 1000, seed: int = 0
) -> tuple[Array, Array]:
    """Low and high TAR (95 %) over resampled identities, at the largest threshold whose FAR is at most each of (k,)."""
    found = _rates(distances, genuine, people_left, people_right, replicates, seed)
    drawn = [r[np.searchsorted(f, far_grid, "right") - 1] for r, _, f in found if r[-1] == f[-1] == 1]
    return tuple(np.quantile(drawn[1:], [0.025, 0.975], axis=0))


def enclosure(
    distances_a,
    distances_b,
    genuine,
    people_left,
    people_right,
    recall_grid: Array,
    replicates: int = 1000,
    seed: int = 0,
) -> intervals.Estimate:
    """Share of the recalls at which the P-R curve of a is nowhere below that of b: 1 if it encloses it."""
    given = genuine, people_left, people_right, replicates, seed
    shares = []
    for (r, p, _), (s, q, _) in zip(_rates(distances_a, *given), _rates(distances_b, *given), strict=True):
        if r[-1] == 1:
            shares.append((p[np.searchsorted(r, recall_grid)] >= q[np.searchsorted(s, recall_grid)]).mean())
    return intervals.estimate(np.array(shares), len(genuine))


def accuracy_curves(
    distances: Array,
    genuine: Array,
    people: tuple[Array, Array],
    thresholds: Array,
    replicates: int = 500,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Accuracy over thresholds, as measured and over resampled identities.

    Parameters
    ----------
    distances, genuine
        (n,) distances and whether the pair is genuine.
    people
        The (n,) identities of the pairs' left and right images.
    thresholds
        (k,) ascending.

    Returns
    -------
    (k,) measured accuracies and (replicates, k) resampled ones.
    """
    chunks = intervals._replicates(genuine, *people, replicates, seed)
    accuracies = np.concatenate([curves.confusion(distances, genuine, thresholds, w).accuracy for w in chunks])
    return accuracies[0], accuracies[1:]
