"""One contract for every engine: features as Paddle's dygraph gives them, for any number of faces, by any thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from facelib import runtime
from facelib.inference import backends, decision
from facelib.inference.embedder import Embedder

WEIGHTS = runtime.ROOT / "data" / "weights" / f"{decision.DEFAULT}.npz"


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(faces):
    return Embedder(WEIGHTS)(faces)


@pytest.mark.parametrize("backend", backends.BACKENDS)
def test_features_are_dygraph_s(backend, faces, expected):
    embedder = Embedder(WEIGHTS, backend)
    found = embedder(faces)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(embedder(faces[:1]), found[:1], atol=1e-4 * np.abs(expected).max())
    assert embedder(faces[:0]).shape == (0, expected.shape[1])


def test_onnx_may_be_called_by_several_threads(faces):
    embedder = Embedder(WEIGHTS, "onnx", mirror=True)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(embedder, [faces] * 12))
    for each in found:
        np.testing.assert_array_equal(each, found[0])


def test_a_network_that_was_not_exported_says_how(tmp_path):
    (tmp_path / "mine.npz").write_bytes(WEIGHTS.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"mine.onnx'\. Export it"):
        Embedder(tmp_path / "mine.npz", "onnx")


def test_a_damaged_export_is_named(tmp_path):
    (tmp_path / "mine.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"cannot load '.*mine.onnx'"):
        backends.network(tmp_path / "mine.npz", "onnx")
