"""Timings in fresh processes and after warm-up: loading, start-up, inference."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from facelib.benchmarks import fresh
from facelib.data import archives, images
from facelib.inference.embedder import Embedder
from facelib.metrics.distances import euclidean_distance

SERVED = {
    "dygraph": "Paddle as trained",
    "inference": "Paddle's inference engine",
    "onnx": "ONNX Runtime",
    "onnx_int8": "ONNX Runtime, 8 bits",
    "openvino": "OpenVINO",
    "openvino_bf16": "OpenVINO, bfloat16",
    "openvino_int8": "OpenVINO, 8 bits",
    "torch": "PyTorch",
    "torch_channels_last": "PyTorch, channels last",
    "sface": "SFace, in OpenCV",
}


def startup(weights: str | Path, backend: str = "dygraph", runs: int = 5) -> pd.DataFrame:
    """Seconds from launching Python to the first feature vector, in fresh processes, by part: a row each."""
    table = pd.DataFrame([fresh.run("startup", time.time(), str(weights), backend) for _ in range(runs)])
    return table.assign(total=table.sum(axis=1))


def deciding(engines: Sequence[str], photos: Sequence[str | Path], runs: dict[str, int]) -> pd.DataFrame:
    """Seconds of processes that decide on two photos, from their launch to their end, engines in turns.

    Engines are ``"light"`` (`facelib.compare`), backends, or ``"torch"``, each with its number of ``runs``. One row per
    process: ``engine``, its parts (see `fresh.deciding`; ``end`` is the rest), ``total``.
    """
    rows = []
    for number in range(max(runs[engine] for engine in engines)):
        for engine in (engine for engine in engines if number < runs[engine]):
            begin = time.time()
            parts = fresh.run("deciding", begin, engine, [str(photo) for photo in photos])
            total = time.time() - begin
            rows.append({"engine": engine, **parts, "end": total - sum(parts.values()), "total": total})
    table = pd.DataFrame(rows)  # what one engine alone imports stands last: back to the other imports
    first = [name for name in table if name in ("engine", "interpreter") or name.startswith("import ")]
    return table[[*first, *(name for name in table if name not in first)]]


def latency(
    jobs: dict[str, Sequence[str | Path]],
    batch: int = 64,
    repeats: int = 40,
    warm_up: int = 10,
    rounds: int = 5,
    threads: int | None = None,
) -> pd.DataFrame:
    """Milliseconds for one face, a pair and a batch, in fresh processes that take turns.

    ``jobs`` are files of weights under the names of `SERVED`; of ``"sface"`` its own file. One row per round, engine
    and file: ``round``, ``engine``, ``weights`` (the file), and the medians ``single_ms``, ``pair_ms``, ``batch_ms``.
    ``threads`` are as many as here where none are asked for.
    """
    rows, env = [], None
    if threads:
        env = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), str(threads))}
    for number in range(rounds):
        for engine in list(jobs) if number % 2 == 0 else list(jobs)[::-1]:
            files = [str(file) for file in jobs[engine]]
            found = fresh.run("latency", engine, files, batch, repeats, warm_up, env=env)
            rows += [{"round": number, "engine": engine, **each} for each in found]
    return pd.DataFrame(rows)


def inference(embedder: Embedder, faces: np.ndarray, repeats: int = 100, warm_up: int = 10) -> pd.DataFrame:
    """Milliseconds of each call for one of some faces (n, H, W, 3) uint8, for a ``pair``, and for all (``batch``)."""

    def compare_pair():
        features = embedder(faces[:2])
        return euclidean_distance(features[:1], features[1:])

    calls = {"single": lambda: embedder(faces[:1]), "pair": compare_pair, "batch": lambda: embedder(faces)}
    return pd.DataFrame({name: milliseconds(call, repeats, warm_up) for name, call in calls.items()})


def loading(folder: str | Path, runs: int = 3) -> pd.DataFrame:
    """The paper's way of loading against packing, which starts anew each time, alternated in fresh processes."""
    rows = []
    for _ in range(runs):
        for way in ("paper", "packed"):
            with tempfile.TemporaryDirectory() as cache:
                environment = {**os.environ, "FACELIB_CACHE": cache}
                rows.append({"way": way, **fresh.run("loading", way, str(folder), env=environment)})
    table = pd.DataFrame(rows).drop(columns="peak_mib")
    return table.assign(images_per_s=table["images"] / table["seconds"])


def load_as_lists(folder: str | Path, size: int = 64) -> list[np.ndarray]:
    """Load what can be opened as the paper's section 3 has it: resized, (3, size, size) float32, into a list."""
    faces = []
    with images.quiet_about_size():
        for person in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
            for path in sorted(person.iterdir()):
                try:
                    with Image.open(path, formats=images.FORMATS) as image:
                        pixels = np.asarray(image.convert("RGB").resize((size, size)), dtype=np.float32)
                except Exception:  # Pillow's decoders raise many types for damaged files
                    continue
                faces.append(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return faces


def sample_folder(source: Path, target: Path, count: int) -> Path:
    """Copy the first ``count`` images of a folder or archive to ``target`` as identity folders."""
    listing = archives.members(source)
    for path, data in listing.read(frozenset(sorted(listing.images)[:count])):
        if isinstance(data, str):  # the reason why it could not be read
            continue
        place = target / Path(path).parent.name / Path(path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return target


def milliseconds(call: Callable, repeats: int, warm_up: int) -> list[float]:
    """Of each call after some that do not count."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return times
