"""What a draw does to a conclusion: many small draws of pairs, and curves over resampled identities."""

from __future__ import annotations

import numpy as np
import pandas as pd

from facelib import intervals, metrics, pairs


def small_draws(features: np.ndarray, labels: np.ndarray, count: int, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Repeat the paper's experiment: ``count`` genuine and ``count`` impostor pairs, drawn anew each time.

    Parameters
    ----------
    features, labels
        (n, d) features and (n,) identities of the test images.

    Returns
    -------
    One row per draw: average precision of both distances (``ap_euclidean``, ``ap_cosine``) and its ``difference``
    (Euclid - cosine); the Euclidean ``threshold`` that is best on the draw and the ``accuracy`` there.
    """
    rows = []
    for draw in range(draws):
        drawn = pairs.draw_pairs(labels, count, count, seed=[seed, draw])
        left, right = features[drawn.left], features[drawn.right]
        euclidean = metrics.euclidean_distance(left, right)
        row = {
            "ap_euclidean": metrics.average_precision(euclidean, drawn.genuine),
            "ap_cosine": metrics.average_precision(metrics.cosine_distance(left, right), drawn.genuine),
            "threshold": metrics.best_threshold(euclidean, drawn.genuine),
        }
        row["accuracy"] = metrics.confusion(euclidean, drawn.genuine, row["threshold"]).accuracy
        rows.append(row)
    return pd.DataFrame(rows).assign(difference=lambda table: table["ap_euclidean"] - table["ap_cosine"])


def accuracy_curves(
    distances: np.ndarray,
    genuine: np.ndarray,
    people: tuple[np.ndarray, np.ndarray],
    thresholds: np.ndarray,
    replicates: int = 500,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
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
    weights = np.vstack([np.ones(len(distances)), intervals.identity_weights(*people, replicates, seed)])
    order = np.argsort(distances)
    kept = np.searchsorted(distances[order], thresholds, side="right")  # pairs accepted at each threshold
    right = np.where(genuine[order], 1, -1) * weights[:, order]  # accepting a genuine pair is right, an impostor wrong
    gained = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(right, axis=1)], axis=1)[:, kept]
    impostors = (weights * ~genuine).sum(axis=1, keepdims=True)  # right at a threshold that accepts nothing
    curves = (impostors + gained) / weights.sum(axis=1, keepdims=True)
    return curves[0], curves[1:]


def second_peak(curve: np.ndarray) -> np.ndarray:
    """Height of the second peak of curves (..., k) over the valley before it; 0 where there is one peak only."""
    left = np.maximum.accumulate(curve, axis=-1)
    right = np.maximum.accumulate(curve[..., ::-1], axis=-1)[..., ::-1]
    return (np.minimum(left, right) - curve).max(axis=-1)
