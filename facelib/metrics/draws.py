"""What a draw does to a conclusion: many small draws of pairs, and curves over resampled identities."""

from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray as Array

from facelib.data import pairs
from facelib.metrics import curves
from facelib.metrics.distances import cosine_distance, euclidean_distance

if TYPE_CHECKING:
    import pandas as pd


def small_draws(features: Array, labels: Array, count: int, draws: int = 1000, seed: int = 0) -> "pd.DataFrame":
    """Repeat the paper's experiment: ``count`` genuine and ``count`` impostor pairs, drawn anew each time.

    Of test images' features (n, d) and identities (n,) one row per draw: average precision of both distances
    (``ap_euclidean``, ``ap_cosine``) and its ``difference`` (Euclid - cosine); the Euclidean ``threshold`` that is best
    on the draw and the ``accuracy`` there; of both curves' best F1 the lower one (``f1``).
    """
    import pandas as pd

    rows = []
    for draw in range(draws):
        drawn = pairs.draw_pairs(labels, count, count, seed=[seed, draw])
        left, right = features[drawn.left], features[drawn.right]
        euclidean, cosine = euclidean_distance(left, right), cosine_distance(left, right)
        row = {
            "ap_euclidean": curves.average_precision(euclidean, drawn.genuine),
            "ap_cosine": curves.average_precision(cosine, drawn.genuine),
            "f1": min(best_f1(distances, drawn.genuine) for distances in (euclidean, cosine)),
            "threshold": curves.best_threshold(euclidean, drawn.genuine),
        }
        row["accuracy"] = curves.confusion(euclidean, drawn.genuine, row["threshold"]).accuracy
        rows.append(row)
    return pd.DataFrame(rows).assign(difference=lambda table: table["ap_euclidean"] - table["ap_cosine"])


def best_f1(distances: Array, genuine: Array) -> float:
    """The highest F1 on a P-R curve: 1 for a curve through the corner (1, 1)."""
    return float(np.nanmax(curves.confusion(distances, genuine, np.unique(distances)).f1))


def second_peak(curve: Array) -> Array:
    """Height of the second peak of curves (..., k) over the valley before it; 0 where there is one peak only."""
    left = np.maximum.accumulate(curve, axis=-1)
    right = np.maximum.accumulate(curve[..., ::-1], axis=-1)[..., ::-1]
    return (np.minimum(left, right) - curve).max(axis=-1)
