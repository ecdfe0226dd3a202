"""Engines that run a trained network: images (n, 3, H, W) float32 to features (n, d) float32."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from facelib import runtime

Network = Callable[[np.ndarray], np.ndarray]
BACKENDS = ("dygraph", "inference", "onnx")


def network(weights: str | os.PathLike, backend: str) -> Network:
    """The network of a file of weights in one of `BACKENDS`; what they are is said in `embedder.Embedder`.

    Raises
    ------
    FileNotFoundError
        There is no such file of weights, or for ``"onnx"`` no exported one beside it.
    ValueError
        The backend is unknown, or the exported file is damaged.
    """
    if backend not in BACKENDS:
        raise ValueError(f"Unknown backend '{backend}': expected one of {', '.join(BACKENDS)}.")
    return {"dygraph": _dygraph, "inference": _inference, "onnx": _onnx}[backend](Path(weights))


def _dygraph(weights: Path) -> Network:
    from facelib import models
    from facelib._paddle import paddle

    network = models.on_this_device(models.load_weights(weights))

    def run(batch: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return network(paddle.to_tensor(batch)).numpy()

    return run


def _inference(weights: Path) -> Network:
    from facelib._paddle import paddle

    prefix = _export(weights)
    program = next(path for path in prefix.parent.iterdir() if path.suffix in (".json", ".pdmodel"))  # Paddle 3, 2
    config = paddle.inference.Config(str(program), f"{prefix}.pdiparams")
    config.disable_glog_info()
    if paddle.get_device().startswith("gpu"):
        config.enable_use_gpu(256, int(paddle.get_device().partition(":")[2] or 0))
    else:
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    predictor = paddle.inference.create_predictor(config)
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    target = predictor.get_output_handle(predictor.get_output_names()[0])

    def run(batch: np.ndarray) -> np.ndarray:
        source.copy_from_cpu(batch)
        predictor.run()
        return target.copy_to_cpu()

    return run


def _export(weights: Path) -> Path:
    """Static form of the network for the inference engine, made once per weights and Paddle version."""
    from facelib import models
    from facelib._paddle import paddle

    key = hashlib.sha256(weights.read_bytes() + paddle.__version__.encode()).hexdigest()[:16]
    folder = runtime.cache_dir() / "exported" / key
    if not folder.exists():
        temporary = folder.with_name(f"{key}.tmp-{os.getpid()}")
        spec = [paddle.static.InputSpec([None, 3, None, None], "float32")]
        paddle.jit.save(models.load_weights(weights), str(temporary / "model"), input_spec=spec)
        os.replace(temporary, folder)
    return folder / "model"


def _onnx(weights: Path) -> Network:
    import onnxruntime

    path = weights.with_suffix(".onnx")
    if not path.exists():
        raise FileNotFoundError(f"There is no '{path}'. Export it with facelib.inference.export.to_onnx.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class of their own
        raise ValueError(f"ONNX Runtime cannot load '{path}': restore it, or export it again.") from error
    (source,) = session.get_inputs()

    def run(batch: np.ndarray) -> np.ndarray:
        return session.run(None, {source.name: batch})[0]

    return run
