import numpy as np
import pytest

from facelib import models
from facelib._paddle import paddle
from facelib.inference import export
from facelib.inference.embedder import Embedder

onnx = pytest.importorskip("onnx", reason="needs the extra `export`")


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
