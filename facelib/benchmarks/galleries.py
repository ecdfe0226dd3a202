"""How long a search in a large gallery takes, and what an approximate index misses, on synthetic features."""

import time

import numpy as np

from facelib.inference import search

FACTORS, PHOTOS, NOISE = 64, 10, 0.8  # directions in which people differ; photos of each; their length around a person
BLOCK = 1 << 16


def features(faces: int, dimensions: int = 512, seed: int = 0) -> np.ndarray:
    """Features of a face each, (n, d) float32 of length one, structured as those of people are.

    A person is a point drawn in `FACTORS` directions of the space, and photos lie around it in all directions:
    `PHOTOS` in a row show one person, with a cosine of some .6 between them.
    """
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((FACTORS, dimensions), np.float32) / np.sqrt(dimensions * FACTORS)
    found = np.empty((faces, dimensions), np.float32)
    for start in range(0, faces, BLOCK):  # in place: a million of them are 2 GiB
        some = found[start : start + BLOCK]
        people = rng.standard_normal((-(-len(some) // PHOTOS), FACTORS), np.float32) @ directions
        rng.standard_normal(some.shape, np.float32, some)
        some *= NOISE / np.sqrt(dimensions)
        some += np.repeat(people, PHOTOS, axis=0)[: len(some)]
        some /= np.linalg.norm(some, axis=1, keepdims=True)
    return found


def compare(faces: int, queries: int = 100, k: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    """Exact and approximate search for other photos of enrolled people, one at a time.

    Of each query ``exact_ms``, ``approximate_ms`` and ``recall``, the share of the k nearest that the index finds (n,);
    ``exact_gib`` and ``approximate_gib`` of memory and ``build_s``, one each.
    """
    import faiss

    vectors = features(faces, seed=seed)
    rng = np.random.default_rng([seed, 1])
    chosen = vectors[rng.integers(faces, size=queries)]
    asked = chosen + rng.standard_normal(chosen.shape, np.float32) * NOISE / np.sqrt(chosen.shape[1])
    right, exact_ms = _timed(search.exact(vectors, "cosine"), asked, k)
    begin = time.perf_counter()
    approximate = search.approximate(vectors, "cosine")
    build = time.perf_counter() - begin
    found, approximate_ms = _timed(approximate, asked, k)
    return {
        "exact_ms": exact_ms,
        "approximate_ms": approximate_ms,
        "recall": np.array([np.isin(one, other).mean() for one, other in zip(right, found, strict=True)]),
        "exact_gib": np.array([vectors.nbytes / 2**30]),
        "approximate_gib": np.array([faiss.serialize_index(approximate.index).nbytes / 2**30]),  # type: ignore[attr-defined]
        "build_s": np.array([build]),
    }


def _timed(find: search.Search, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    rows, times = [], []
    for query in [queries[0], *queries]:  # the first is not timed
        begin = time.perf_counter()
        rows.append(find(query[None], k)[0])
        times.append(1000 * (time.perf_counter() - begin))
    return np.stack(rows[1:]), np.array(times[1:])
