from pathlib import Path

import numpy as np
import pytest

from facelib import inference
from facelib.benchmarks import rounding
from facelib.data.pairs import Pairs
from facelib.inference import backends, export

PAIRS = Pairs(np.array([0, 0, 0, 2]), np.array([1, 2, 3, 3]), np.array([True, False, False, True]))
# Two people at right angles, a rounding of it that turns one face half the way, and one that turns it all the way.
VECTORS = {
    "dygraph": [[1, 0], [1, 0.1], [0, 1], [0.1, 1]],
    "onnx_int8": [[1, 0], [1, 0.1], [0.5, 1], [0.1, 1]],
    "openvino_bf16": [[1, 0], [0, 1], [1, 0.1], [0.1, 1]],
}


@pytest.fixture
def candidate(monkeypatch, tmp_path):
    """A network whose features are given, by backend; which backends were asked."""
    asked = []

    def features(faces, weights, progress, mirror, backend):
        asked.append(backend)
        return np.array(VECTORS[backend], np.float32)

    monkeypatch.setattr(inference, "features", features)
    (tmp_path / "net.npz").write_bytes(b"weights")
    part = rounding.Compared(np.zeros((4, 2, 2, 3), np.uint8), PAIRS)
    return rounding.Candidate("net", tmp_path / "net.npz", False, part, part), asked


def test_a_backend_that_loses_more_than_the_margin_does_not_keep_the_accuracy(candidate):
    names = ["dygraph", "inference", "onnx_int8", "openvino_bf16"]
    table = rounding.chosen(candidate[0], names)
    # Of the last: 0-1 at a right angle, 0-2 close, 0-3 far, 2-3 far: the best threshold refuses all, two of four right.
    assert table["accuracy"].to_dict() == {"dygraph": 1, "inference": 1, "onnx_int8": 1, "openvino_bf16": 0.5}
    assert table["keeps_accuracy"].tolist() == ["yes", "yes", "yes", "no"]
    assert candidate[1] == ["dygraph", "onnx_int8", "openvino_bf16"]  # one in float32 stands for all


def test_what_is_written_is_what_auto_reads(candidate, monkeypatch):
    network = candidate[0]
    table = rounding.chosen(network, ["dygraph", "inference", "onnx_int8", "openvino_bf16"])
    times = {"dygraph": 9.0, "inference": 5.0, "onnx_int8": 1.0, "openvino_bf16": 0.5}
    rows = rounding.as_choices(network, table, times)
    rows.to_csv(network.weights.with_name(backends.CHOICES), index=False)
    monkeypatch.setattr(backends, "unusable", lambda backend, weights: "")
    assert backends.choose(network.weights) == "onnx_int8"
    monkeypatch.setattr(backends, "unusable", lambda backend, weights: "no" if backend == "onnx_int8" else "")
    assert backends.choose(network.weights) == "inference"


def test_what_cannot_be_exported_is_told_and_left_out(monkeypatch):
    def cached(weights, ending, faces=None):
        if ending == ".int8.onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    monkeypatch.setattr(export, "cached", cached)
    monkeypatch.setattr(export, "calibration_faces", lambda: None)
    monkeypatch.setattr(backends, "unusable", lambda name, weights: "not here" if name == "openvino" else "")
    assert rounding.prepare(Path("w.npz"), ["dygraph", "onnx", "onnx_int8", "openvino"]) == {
        "dygraph": "",
        "onnx": "",
        "onnx_int8": "not exported, onnx is missing (extra `export`)",
        "openvino": "not here",
    }
