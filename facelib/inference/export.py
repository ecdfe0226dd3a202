"""A trained network as a file for other programs: ONNX, also in 8 bits, or Paddle's engine (extra ``export``)."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from facelib import models, runtime
from facelib.data import catalog, protocols
from facelib.data.packed import to_input
from facelib.files import whole
from facelib.inference import backends

OPSET = 17
TOLERANCE = 1e-5  # largest difference of a feature, over the largest feature: fp32 sums in another order
CALIBRATION_FACES = 512


def to_paddle(weights: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Export a file of `models.save_weights` for Paddle's inference engine: a folder with ``model.pdiparams``.

    The program beside it ends in ``.json`` (Paddle 3) or ``.pdmodel`` (Paddle 2). Input and output as in `to_onnx`,
    but for any size that the network takes. ValueError where features differ from those of the network as trained.
    """
    prefix = Path(folder) / "model"
    backends.save_static(weights, prefix)
    _check(weights, backends.predictor(prefix), f"the export to '{folder}'")
    return Path(folder)


def to_onnx(weights: str | os.PathLike, target: str | os.PathLike | None = None) -> Path:
    """Export a file of `models.save_weights`, by default beside it, and check that features stay what they were.

    Weights are stored in half precision where that loses nothing, as they are in the source, and become float32 when
    the network is loaded. The network takes (n, 3, size, size) float32 as `packed.to_input` makes it, and gives
    (n, d) float32. ValueError where its features differ from Paddle's.
    """
    from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
    import onnx
    import paddle2onnx

    target = Path(target or Path(weights).with_suffix(".onnx"))
    with tempfile.TemporaryDirectory() as folder, runtime.unheard() as told:
        prefix = Path(folder) / "model"
        backends.save_static(weights, prefix, models.load_weights(weights).architecture["size"])
        files = str(backends.program_of(prefix)), f"{prefix}.pdiparams"
        # Its default optimiser installs packages while it runs, and so changes the environment.
        plain = {"optimize_tool": "None"} if paddle.__version__ >= "3" else {}
        content = paddle2onnx.export(*files, opset_version=OPSET, verbose=False, **plain)
        if content is None:
            told.seek(0)
            print(told.read().decode(errors="replace"), end="", file=sys.stderr)
            raise ValueError(f"'{weights}' cannot be exported: paddle2onnx says why above.")
    with whole(target) as path:
        path.write_bytes(halved(onnx.load_from_string(content)).SerializeToString())
        _check(weights, backends.onnx(path), f"'{target}'")
    return target


def to_int8(source: str | os.PathLike, faces: np.ndarray, target: str | os.PathLike) -> Path:
    """An exported ONNX network with 8-bit weights (per channel) and activations, by static quantisation.

    The ranges of all activations are taken from ``faces`` (n, size, size, 3) uint8: training photos, never test ones.
    """
    import onnxruntime
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    (name,) = (each.name for each in onnxruntime.InferenceSession(Path(source).read_bytes()).get_inputs())
    batches = iter([{name: to_input(faces[start : start + 32])} for start in range(0, len(faces), 32)])

    class Faces:  # what the library calls a CalibrationDataReader
        def get_next(self):
            return next(batches, None)

    with whole(Path(target)) as path:
        joined = path.with_suffix(".joined")
        quant_pre_process(str(source), str(joined), skip_symbolic_shape=True)  # batch norm into the convolutions
        kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(joined, path, Faces(), QuantFormat.QDQ, per_channel=True, **kinds)
    return Path(target)


def calibration_faces(count: int = CALIBRATION_FACES, seed: int = 0) -> np.ndarray:
    """Faces for `to_int8`, (count, 64, 64, 3) uint8: of celebfaces, or of LFW's people who are not in its View 2."""
    missing = catalog.missing("celebfaces")
    faces = catalog.load("lfw" if missing else "celebfaces", progress=False)
    faces = protocols.outside_view2(faces) if missing else faces
    drawn = np.random.default_rng(seed).choice(len(faces), min(count, len(faces)), replace=False)
    return faces.take(np.sort(drawn))


def cached(weights: str | os.PathLike, ending: str = ".onnx", faces: np.ndarray | None = None) -> Path:
    """The exported form of weights that `backends.exported` finds, or made in the cache; ``faces`` as in `to_int8`."""
    weights = Path(weights)
    try:
        return backends.exported(weights, ending)
    except FileNotFoundError:
        target = backends.kept_file(weights, ending)
        target.parent.mkdir(parents=True, exist_ok=True)
        return to_onnx(weights, target) if faces is None else to_int8(cached(weights), faces, target)


def _check(weights, network: backends.Network, what: str) -> None:
    """ValueError where a network's features are not those of the weights as trained."""
    size = models.load_weights(weights).architecture["size"]
    batch = to_input(np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8))
    expected = backends.network(weights, "dygraph")(batch)
    worst = np.abs(network(batch) - expected).max() / np.abs(expected).max()
    if not worst <= TOLERANCE:
        raise ValueError(f"Features of '{weights}' change by {worst:.1e} of their size in {what}.")


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
