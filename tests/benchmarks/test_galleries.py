import numpy as np
import pytest

from facelib.benchmarks import galleries


def test_synthetic_people_are_structured_and_the_same_each_time():
    found = galleries.features(2000, 512, seed=3)
    np.testing.assert_array_equal(found, galleries.features(2000, 512, seed=3))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    cosines, person = found @ found.T, np.arange(2000) // galleries.PHOTOS
    same = (person[:, None] == person) & ~np.eye(2000, dtype=bool)
    expected = 1 / (1 + galleries.NOISE**2)  # of a centre of length one and noise around it
    assert cosines[same].mean() == pytest.approx(expected, abs=0.05)
    assert abs(cosines[person[:, None] != person].mean()) < 0.02


def test_both_searches_are_measured():
    pytest.importorskip("faiss")
    found = galleries.compare(3000, queries=20)
    assert all(len(found[name]) == 20 for name in ("exact_ms", "approximate_ms", "recall"))
    assert found["recall"].mean() > 0.9 and (found["recall"] <= 1).all()
    assert found["exact_gib"][0] == 3000 * 512 * 4 / 2**30 > 2 * found["approximate_gib"][0]
