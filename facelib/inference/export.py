"""A trained network as an ONNX file: for ONNX Runtime here, and for whatever else reads the format.

Needs `paddle2onnx` (extra ``export``).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from facelib.data.packed import to_input

OPSET = 17
TOLERANCE = 1e-5  # largest difference of a feature, over the largest feature: fp32 sums in another order


def to_onnx(weights: str | os.PathLike, target: str | os.PathLike | None = None) -> Path:
    """Export a file of `models.save_weights`, by default beside it, and check that features stay what they were.

    Weights are stored in half precision where that loses nothing, as they are in the source, and become float32 when
    the network is loaded. The network takes (n, 3, size, size) float32 as `packed.to_input` makes it, and gives
    (n, d) float32.

    Raises
    ------
    ModuleNotFoundError
        `paddle2onnx` is not installed.
    ValueError
        The exported network's features differ from Paddle's.
    """
    import onnx
    import paddle2onnx

    from facelib import models
    from facelib._paddle import paddle
    from facelib.inference import backends

    target = Path(target or Path(weights).with_suffix(".onnx"))
    network = models.load_weights(weights)
    size = network.architecture["size"]
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "model"
        shape = paddle.static.InputSpec([None, 3, size, size], "float32", "faces")
        paddle.jit.save(network, str(prefix), input_spec=[shape])
        program = next(path for path in prefix.parent.iterdir() if path.suffix in (".json", ".pdmodel"))  # Paddle 3, 2
        # Its default optimiser installs packages while it runs, and so changes the environment.
        plain = {"optimize_tool": "None"} if paddle.__version__ >= "3" else {}
        content = paddle2onnx.export(str(program), f"{prefix}.pdiparams", opset_version=OPSET, verbose=False, **plain)
    if content is None:
        raise ValueError(f"'{weights}' cannot be exported: paddle2onnx says why above.")
    temporary = target.with_name(f"{target.stem}.tmp-{os.getpid()}.onnx")
    try:
        temporary.write_bytes(halved(onnx.load_from_string(content)).SerializeToString())
        faces = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8)
        batch = to_input(faces)
        with paddle.no_grad():
            expected = network(paddle.to_tensor(batch)).numpy()
        worst = np.abs(backends.network(temporary, "onnx")(batch) - expected).max() / np.abs(expected).max()
        if not worst <= TOLERANCE:
            raise ValueError(f"Features of '{weights}' change by {worst:.1e} of their size when it is exported.")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def halved(model):
    """The ONNX model with every float32 constant that float16 holds exactly stored so, and without unused ones."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    stored, casts = [], []
    for name in dict.fromkeys(name for node in nodes for name in node.input if name in constants):
        values = numpy_helper.to_array(constants[name])
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.dtype == np.float32 and np.array_equal(half.astype(np.float32), values):
            stored.append(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
        else:
            stored.append(numpy_helper.from_array(values, name))
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(casts + nodes)
    return model
