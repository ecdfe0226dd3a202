"""The nearest of many features: exactly with NumPy, or about so, and faster, with faiss (extra ``search``)."""

from collections.abc import Callable

import numpy as np

EXACT_UP_TO = 100_000  # features that are compared one by one: some 50 ms of one core
LISTS, PROBES = 1024, 32  # clusters of the approximate index at most; how many of them a query looks into
BLOCK = 1 << 24  # scores held at once

Search = Callable[[np.ndarray, int], np.ndarray]  # queries (m, d) and k to rows (m, k), the nearest first


def exact(vectors: np.ndarray, metric: str) -> Search:
    """Search among all features (n, d) float32, without a copy of them; ``metric`` as in `metrics.distance`."""
    squares = np.einsum("nd,nd->n", vectors, vectors)

    def search(queries: np.ndarray, k: int) -> np.ndarray:
        step = max(1, BLOCK // max(1, len(vectors)))
        parts = [_nearest(queries[start : start + step], k) for start in range(0, len(queries), step)]
        return np.concatenate(parts) if parts else np.empty((0, k), np.int64)

    def _nearest(queries: np.ndarray, k: int) -> np.ndarray:
        products = queries @ vectors.T
        far = -products / np.sqrt(squares) if metric == "cosine" else squares - 2 * products
        rows = np.argpartition(far, k - 1)[:, :k] if k < len(vectors) else np.tile(np.arange(k), (len(queries), 1))
        return np.take_along_axis(rows, np.take_along_axis(far, rows, 1).argsort(1), 1)

    return search


def approximate(vectors: np.ndarray, metric: str) -> Search:
    """Search in the clusters nearest to a query alone, among features of one byte a number; holds no other copy.

    An inverted file over k-means clusters with scalar quantisation (Jégou, Douze, Schmid 2011): about a quarter of the
    memory, and a hundredth of the time, of `exact` for a million. The index is at ``search.index``.
    """
    try:
        import faiss
    except ImportError:
        raise ImportError(
            f"A gallery of more than {EXACT_UP_TO:,} faces needs faiss: pip install -e '.[search]' in the repository."
        ) from None

    lists = max(1, min(LISTS, len(vectors) // 64))
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    index = faiss.index_factory(vectors.shape[1], f"IVF{lists},SQ8", kind)
    faiss.extract_index_ivf(index).nprobe = PROBES

    def ready(some: np.ndarray) -> np.ndarray:
        some = np.array(some, np.float32, order="C")  # a copy, which may be changed
        if metric == "cosine":
            faiss.normalize_L2(some)
        return some

    sample = np.random.default_rng(0).permutation(len(vectors))[: 64 * lists]
    index.train(ready(vectors[np.sort(sample)]))
    for start in range(0, len(vectors), 1 << 16):
        index.add(ready(vectors[start : start + (1 << 16)]))

    def search(queries: np.ndarray, k: int) -> np.ndarray:
        return index.search(ready(queries), k)[1]

    search.index = index  # type: ignore[attr-defined]
    return search


def searcher(vectors: np.ndarray, metric: str) -> Search:
    """`exact` for up to `EXACT_UP_TO` features, else `approximate`."""
    return (exact if len(vectors) <= EXACT_UP_TO else approximate)(vectors, metric)
