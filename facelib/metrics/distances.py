"""Distances between features: cosine and Euclid (the paper's equations 5.1 and 5.2); the nearest of a gallery."""

from collections.abc import Callable

import numpy as np
from numpy import ndarray as Array

CHUNK = 1 << 17  # numbers per temporary array: bounds the memory, and 1 MiB stays in the cache


def _unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _cosine(a: Array, b: Array) -> Array:
    return np.clip(np.einsum("nd,nd->n", _unit(a), _unit(b)), -1, 1)


def _euclidean(a: Array, b: Array) -> Array:
    return np.linalg.norm(a - b, axis=1)


def _rowwise(kernel: Callable, a: Array, b: Array) -> Array:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"expected two arrays of one shape (n, d), got {a.shape} and {b.shape}")
    out = np.empty(len(a))
    step = max(1, CHUNK // max(1, a.shape[1]))
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        with np.errstate(invalid="ignore", divide="ignore"):  # rows without a result: see below
            out[rows] = kernel(a[rows].astype(np.float64), b[rows].astype(np.float64))
    for row in np.flatnonzero(~np.isfinite(out))[:1]:
        finite = np.isfinite(a[row]).all() and np.isfinite(b[row]).all()
        raise ValueError(f"row {row} {'is a zero vector' if finite else 'is not finite'}")
    return out


def l2_normalise(x: Array) -> Array:
    """Rows of x (n, d) scaled to length 1, float64; ValueError for a zero vector."""
    _rowwise(_cosine, x, x)  # raises where there is no direction
    return _unit(np.asarray(x, dtype=np.float64))


def cosine_similarity(a: Array, b: Array) -> Array:
    """Equation 5.1, row by row: (n, d) -> (n,) float64 in [-1, 1]; ValueError for a zero vector."""
    return _rowwise(_cosine, a, b)


def cosine_distance(a: Array, b: Array) -> Array:
    """1 - `cosine_similarity`: (n,) float64 in [0, 2]; in [0, 1] for features after a ReLU."""
    return 1 - cosine_similarity(a, b)


def euclidean_distance(a: Array, b: Array) -> Array:
    """Equation 5.2, row by row: (n, d) -> (n,) float64."""
    return _rowwise(_euclidean, a, b)


def distance(a: Array, b: Array, metric: str, normalise: bool = False) -> Array:
    """Distance, row by row: (n, d) -> (n,) float64; `metric` is "cosine" or "euclidean".

    `normalise` scales rows to length 1 first. The cosine distance stays as it is; the Euclidean one
    then orders pairs as the cosine does, its square being twice the cosine distance.
    """
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"unknown metric {metric!r}: expected cosine or euclidean")
    if metric == "cosine":
        return cosine_distance(a, b)
    if normalise:
        return _rowwise(lambda x, y: _euclidean(_unit(x), _unit(y)), a, b)
    return euclidean_distance(a, b)


def nearest(vectors: Array, gallery: Array, block: int = 1024) -> Array:
    """Cosine similarity of each of some features (n, d) to the most similar one of a gallery (m, d): (n,) float32."""
    vectors, gallery = l2_normalise(vectors), l2_normalise(gallery)
    starts = range(0, len(vectors), block)
    return np.concatenate([(vectors[start : start + block] @ gallery.T).max(1) for start in starts])
