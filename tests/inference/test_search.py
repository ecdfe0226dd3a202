import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from facelib.inference import search


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    people = rng.normal(size=(400, 32))
    vectors = (people[np.repeat(np.arange(400), 10)] + 0.4 * rng.normal(size=(4000, 32))).astype(np.float32)
    vectors *= rng.uniform(0.5, 2, (4000, 1)).astype(np.float32)  # lengths matter to one metric alone
    return vectors, (people[:50] + 0.4 * rng.normal(size=(50, 32))).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_exact_search_is_that_of_all_distances(features, metric):
    vectors, queries = features
    expected = np.sort(cdist(queries, vectors, metric), axis=1)[:, :7]
    rows = search.exact(vectors, metric)(queries, 7)
    found = np.take_along_axis(cdist(queries, vectors, metric), rows, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_blocks_of_queries_change_nothing(features, monkeypatch):
    vectors, queries = features
    whole = search.exact(vectors, "cosine")(queries, 3)
    monkeypatch.setattr(search, "BLOCK", 3 * len(vectors))
    np.testing.assert_array_equal(search.exact(vectors, "cosine")(queries, 3), whole)


def test_all_rows_can_be_asked_for(features):
    vectors, queries = features
    rows = search.exact(vectors[:4], "cosine")(queries, 4)
    assert np.sort(rows, axis=1).tolist() == [[0, 1, 2, 3]] * len(queries)
    assert search.exact(vectors[:4], "cosine")(queries[:0], 2).shape == (0, 2)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_approximate_search_finds_nearly_all_of_the_nearest(features, metric):
    pytest.importorskip("faiss")
    vectors, queries = features
    before = vectors.copy()
    right, found = (kind(vectors, metric)(queries, 5) for kind in (search.exact, search.approximate))
    assert np.mean([np.isin(a, b).mean() for a, b in zip(right, found, strict=True)]) > 0.9
    np.testing.assert_array_equal(vectors, before)


def test_small_galleries_are_searched_exactly_and_large_ones_need_faiss(features, monkeypatch):
    vectors, _ = features
    assert not hasattr(search.searcher(vectors, "cosine"), "index")
    monkeypatch.setattr(search, "EXACT_UP_TO", 1000)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"more than 1,000 faces needs faiss: pip install -e '.\[search\]'"):
        search.searcher(vectors, "cosine")
