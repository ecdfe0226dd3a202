"""Engines that run a trained network: images (n, 3, H, W) float32 to features (n, d) float32."""

import csv
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facelib import models, runtime
from facelib.files import checksum, locked, whole

Network = Callable[[np.ndarray], np.ndarray]


class Needs(NamedTuple):
    """What a backend needs to be fast: a package, one of some instructions of the CPU, an exported file's ending."""

    package: str
    instructions: frozenset[str] = frozenset()
    ending: str = ""


_INT8, _BF16 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"}), frozenset({"avx512_bf16", "amx_bf16"})
NEEDS = {
    "dygraph": Needs("paddle"),
    "inference": Needs("paddle"),
    "onnx": Needs("onnxruntime", ending=".onnx"),
    "onnx_int8": Needs("onnxruntime", _INT8, ".int8.onnx"),
    "openvino": Needs("openvino", ending=".onnx"),
    "openvino_bf16": Needs("openvino", _BF16, ".onnx"),
    "openvino_int8": Needs("openvino", _INT8, ".int8.onnx"),
}
BACKENDS = (*NEEDS, "auto")
CHOICES = "backends.csv"  # beside the weights: what `choose` goes by


def network(weights: str | os.PathLike, backend: str) -> Network:
    """The network of a file of weights in one of `BACKENDS`; what they are is said in `embedder.Embedder`.

    FileNotFoundError where the file, or its exported form, is missing, ModuleNotFoundError where the backend's package
    is; ValueError where the backend is unknown, the CPU lacks instructions for it, or an exported file is damaged.
    """
    if backend not in BACKENDS:
        raise ValueError(f"Unknown backend '{backend}': expected one of {', '.join(BACKENDS)}.")
    weights = Path(weights)
    backend = choose(weights) if backend == "auto" else backend
    if backend == "dygraph":
        return _dygraph(weights)
    if backend == "inference":
        return predictor(_static(weights))
    path = file_of(weights, backend)
    return onnx(path) if backend.startswith("onnx") else openvino(path, backend == "openvino_bf16")


def exact_backend(weights: str | os.PathLike) -> str:
    """The faster backend in float32: ``"onnx"`` where the network lies exported beside its weights, else Paddle's."""
    return "onnx" if Path(weights).with_suffix(".onnx").exists() else "inference"


def file_of(weights: Path, backend: str) -> Path:
    """The file that a backend runs: the weights themselves, or an exported form of them (see `exported`)."""
    ending = NEEDS[choose(weights) if backend == "auto" else backend].ending
    return exported(weights, ending) if ending else weights


def exported(weights: Path, ending: str = ".onnx") -> Path:
    """The exported form of a file of weights: beside it, or where `export.cached` keeps it; else FileNotFoundError."""
    beside = weights.with_suffix(ending)
    if beside.exists():
        return beside
    kept = kept_file(weights, ending)
    if kept is None or not kept.exists():
        precision = " --precision int8" if "int8" in ending else ""
        how = f"python -m facelib export {weights.stem}{precision} {beside}"
        raise FileNotFoundError(f"There is no '{beside}'. Export it: {how}")
    return kept


def kept_file(weights: Path, ending: str) -> Path | None:
    """Where the cache keeps an exported form of weights; None where there are no such weights."""
    if not weights.exists():
        return None
    return runtime.cache_dir() / "exported" / f"{checksum(weights)[:16]}{ending}"


def unusable(backend: str, weights: Path) -> str:
    """Why a backend cannot run weights well on this machine; empty where it can."""
    needs = NEEDS[backend]
    if find_spec(needs.package) is None:
        return f"{needs.package} is not installed"
    if needs.instructions and not needs.instructions & runtime.cpu_flags():
        return f"the CPU has none of {', '.join(sorted(needs.instructions))}"
    try:
        if needs.ending:
            exported(weights, needs.ending)
    except FileNotFoundError as error:
        return str(error)
    return ""


def choose(weights: str | os.PathLike) -> str:
    """What ``"auto"`` stands for: the first backend of the weights in ``backends.csv`` that this machine can use.

    The file lies beside the weights. Notebook 10 wrote it: of each network the backends that keep its accuracy on LFW's
    View 1, the fastest for one face first. Weights that it does not know run in ``"onnx"`` where they are exported,
    else in Paddle's inference engine.
    """
    weights = Path(weights)
    rows: list[dict] = []
    if (table := weights.with_name(CHOICES)).exists() and weights.exists():
        key = checksum(weights)
        with table.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["sha256"] == key and row["keeps_accuracy"] == "yes"]
    known = [row["backend"] for row in sorted(rows, key=lambda row: float(row["single_ms"]))]
    return next((name for name in (*known, "onnx") if name in NEEDS and not unusable(name, weights)), "inference")


def _dygraph(weights: Path) -> Network:
    from facelib._paddle import paddle

    network = models.on_this_device(models.load_weights(weights))

    def run(batch: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return network(paddle.to_tensor(batch)).numpy()

    return run


def predictor(prefix: Path) -> Network:
    """Paddle's inference engine on ``<prefix>.pdiparams`` and the program beside it; threads wait for each other."""
    from facelib._paddle import paddle

    config = paddle.inference.Config(str(program_of(prefix)), f"{prefix}.pdiparams")
    config.disable_glog_info()
    if paddle.get_device().startswith("gpu"):
        config.enable_use_gpu(256, int(paddle.get_device().partition(":")[2] or 0))
    else:
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    engine = paddle.inference.create_predictor(config)
    source = engine.get_input_handle(engine.get_input_names()[0])
    target = engine.get_output_handle(engine.get_output_names()[0])
    alone = threading.Lock()  # an engine holds the images and features of one call
    first = [runtime.unheard()]  # when it prints what it found of the network

    def run(batch: np.ndarray) -> np.ndarray:
        with alone, first.pop() if first else nullcontext():
            source.copy_from_cpu(batch)
            engine.run()
            return target.copy_to_cpu()

    return run


def _static(weights: Path) -> Path:
    """Static form of the network for the inference engine, made once per weights and Paddle version."""
    from facelib._paddle import paddle

    key = hashlib.sha256(weights.read_bytes() + paddle.__version__.encode()).hexdigest()[:16]
    folder = runtime.cache_dir() / "exported" / key
    with locked(folder):
        if not (folder / "model.pdiparams").exists() or not program_of(folder / "model").exists():
            shutil.rmtree(folder, ignore_errors=True)
            with whole(folder) as temporary:
                save_static(weights, temporary / "model")
    return folder / "model"


def save_static(weights: str | os.PathLike, prefix: Path, size: int | None = None) -> None:
    """Write a network for Paddle's inference engine, for faces of one size or of any: ``<prefix>.pdiparams``, ..."""
    from facelib._paddle import paddle

    shape = paddle.static.InputSpec([None, 3, size, size], "float32", "faces")
    paddle.jit.save(models.load_weights(weights), str(prefix), input_spec=[shape])


def program_of(prefix: Path) -> Path:
    """The program that Paddle 3 or 2 wrote beside ``<prefix>.pdiparams``."""
    newer = Path(f"{prefix}.json")
    return newer if newer.exists() else Path(f"{prefix}.pdmodel")


def onnx(path: Path) -> Network:
    """An ONNX file in ONNX Runtime, on the CPU; any number of threads may call it at once."""
    import onnxruntime

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


def openvino(path: Path, bf16: bool = False) -> Network:
    """An ONNX file in OpenVINO, on the CPU; any number of threads may call it at once."""
    if find_spec("openvino") is None:
        raise ModuleNotFoundError("OpenVINO is not installed: pip install -e '.[openvino]' in the repository.")
    if bf16 and not _BF16 & runtime.cpu_flags():
        raise ValueError("This CPU has no instructions for bfloat16: use the backend 'openvino'.")
    from openvino import Core

    core = Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",  # its own default is bfloat16 where the CPU has it
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"]),
    }
    try:
        compiled = core.compile_model(core.read_model(path.read_bytes()), "CPU", settings)
    except RuntimeError as error:
        raise ValueError(f"OpenVINO cannot load '{path}': restore it, or export it again.") from error
    own = threading.local()  # a request holds the images and features of one call

    def run(batch: np.ndarray) -> np.ndarray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return own.request.infer([batch])[0].copy()

    return run
