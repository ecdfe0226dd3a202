import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from facelib import models, runtime
from facelib._paddle import paddle
from facelib.data.packed import to_input
from facelib.inference import backends, decision, export
from facelib.inference.embedder import Embedder

needs_onnx = pytest.mark.skipif(find_spec("onnx") is None, reason="needs the extra `export`")
DEFAULT = runtime.ROOT / "data" / "weights" / f"{decision.DEFAULT}.npz"


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)


def test_a_folder_for_paddle_s_engine_has_the_features_of_its_source(tmp_path, faces):
    assert export.to_paddle(DEFAULT, tmp_path / "out") == tmp_path / "out"
    assert (tmp_path / "out" / "model.pdiparams").exists()
    found = backends.predictor(tmp_path / "out" / "model")(to_input(faces))
    expected = Embedder(DEFAULT)(faces)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_an_export_whose_features_differ_is_refused(tmp_path, monkeypatch):
    real = backends.predictor
    monkeypatch.setattr(backends, "predictor", lambda prefix: lambda batch: real(prefix)(batch) + 0.01)
    with pytest.raises(ValueError, match="Features of .* change by"):
        export.to_paddle(DEFAULT, tmp_path / "out")


def test_what_paddle2onnx_tells_is_not_the_answer_of_a_command(tmp_path, monkeypatch, capfd):
    fake = SimpleNamespace(export=lambda *_, **__: os.write(1, b"progress\n") and None)
    monkeypatch.setitem(sys.modules, "paddle2onnx", fake)
    monkeypatch.setitem(sys.modules, "onnx", SimpleNamespace())
    monkeypatch.setattr(backends, "save_static", lambda *_: None)
    monkeypatch.setattr(backends, "program_of", lambda prefix: prefix)
    with pytest.raises(ValueError, match="paddle2onnx says why above"):
        export.to_onnx(DEFAULT, tmp_path / "out.onnx")
    os.write(1, b"answer\n")
    assert capfd.readouterr() == ("answer\n", "progress\n")


@pytest.mark.skipif(find_spec("paddle2onnx") is None, reason="needs the extra `export`")
def test_an_export_that_works_tells_nothing(tmp_path):
    """In C++ or while it is imported, so that a process of its own shows it."""
    code = f"from facelib.inference import export; export.to_onnx({str(DEFAULT)!r}, {str(tmp_path / 'out.onnx')!r})"
    threads = os.environ | {"OMP_NUM_THREADS": "2"}  # of which Paddle warns
    done = subprocess.run([sys.executable, "-c", code], cwd=runtime.ROOT, capture_output=True, text=True, env=threads)
    told = done.stdout + done.stderr
    assert done.returncode == 0 and "Paddle2ONNX" not in told and "OMP_NUM_THREADS" not in told, told


@needs_onnx
def test_eight_bits_keep_the_features_and_a_quarter_of_the_size(tmp_path, faces):
    source = DEFAULT.with_suffix(".onnx")
    assert export.to_int8(source, faces, tmp_path / "w.int8.onnx") == tmp_path / "w.int8.onnx"
    assert [path.name for path in tmp_path.iterdir()] == ["w.int8.onnx"]
    found, expected = (backends.onnx(path)(to_input(faces)) for path in (tmp_path / "w.int8.onnx", source))
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.97
    assert (tmp_path / "w.int8.onnx").stat().st_size < 0.6 * source.stat().st_size  # which holds 16 bits a weight


@needs_onnx
def test_weights_are_rounded_per_channel(tmp_path, faces):
    import onnx

    model = onnx.load(export.to_int8(DEFAULT.with_suffix(".onnx"), faces, tmp_path / "w.int8.onnx"))
    of_weights = {n.input[0] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.attribute}
    kinds = {t.name: (t.data_type, len(t.dims)) for t in model.graph.initializer}
    assert (
        sum(kinds.get(name) == (onnx.TensorProto.INT8, 4) for name in of_weights) == 20
    )  # convolutions of a ResNet-18


def test_ranges_come_from_training_photos_or_from_people_outside_view_2(monkeypatch):
    asked = []

    class Faces:
        def __len__(self):
            return 9

        def take(self, rows):
            return rows

    monkeypatch.setattr(export.catalog, "load", lambda name, progress: asked.append(name) or Faces())
    monkeypatch.setattr(export.protocols, "outside_view2", lambda faces: asked.append("outside View 2") or faces)
    for missing in ([], ["celebfaces"]):
        monkeypatch.setattr(export.catalog, "missing", lambda name, missing=missing: missing)
        rows = export.calibration_faces(5)
        assert len(set(rows.tolist())) == 5
    assert asked == ["celebfaces", "lfw", "outside View 2"]


def test_what_is_exported_already_is_not_exported_again(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "to_onnx", lambda *_: pytest.fail("exported again"))
    assert export.cached(DEFAULT) == DEFAULT.with_suffix(".onnx")


@needs_onnx
def test_halving_keeps_every_number_and_drops_what_is_unused():
    from onnx import TensorProto, helper, numpy_helper

    exact, inexact = np.array([[0.5, -2.0], [1.25, 3.0]], np.float32), np.array([0.1, 0.2], np.float32)
    constant = helper.make_node("Constant", [], ["bias"], value=numpy_helper.from_array(inexact))
    graph = helper.make_graph(
        [constant, helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "bias"], ["y"])],
        "line",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(exact, "w"), numpy_helper.from_array(exact, "unused")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", export.OPSET)], ir_version=9)
    smaller = export.halved(model)
    kinds = {each.name: each.data_type for each in smaller.graph.initializer}
    assert kinds == {"w.half": TensorProto.FLOAT16, "bias": TensorProto.FLOAT}

    import onnxruntime

    session = onnxruntime.InferenceSession(smaller.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ exact + inexact, rtol=1e-6)


@pytest.mark.parametrize("neck", ["pool", "linear"])
def test_an_exported_network_has_the_features_of_its_source(tmp_path, neck):
    pytest.importorskip("paddle2onnx", reason="needs the extra `export`")
    paddle.seed(1)
    network = models.Embedding("resnet18-fine", width=16, neck=neck)
    network.train()
    network(paddle.randn([16, 3, 64, 64]))
    models.save_weights(network, tmp_path / "w.npz")
    assert export.to_onnx(tmp_path / "w.npz") == tmp_path / "w.onnx"
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []
    faces = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    slow, fast = Embedder(tmp_path / "w.npz")(faces), Embedder(tmp_path / "w.npz", "onnx")(faces)
    np.testing.assert_allclose(fast, slow, atol=1e-5 * np.abs(slow).max())
    assert (tmp_path / "w.onnx").stat().st_size < 1.1 * (tmp_path / "w.npz").stat().st_size
