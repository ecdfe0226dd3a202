"""Timings in fresh processes and after warm-up: loading, start-up, inference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from facelib.data import archives, images
from facelib.inference.embedder import Embedder
from facelib.metrics.distances import euclidean_distance

STARTUP = """
import json, sys, time
launched, weights, backend = float(sys.argv[1]), sys.argv[2], sys.argv[3]
import numpy as np
from facelib.inference.embedder import Embedder
imported = time.time()
embedder = Embedder(weights, backend)
loaded = time.time()
embedder(np.zeros((1, 64, 64, 3), np.uint8))
print(json.dumps({"import": imported - launched, "model": loaded - imported, "first": time.time() - loaded}))
"""

LOADING = """
import json, sys, time
from facelib.benchmarks import serving
from facelib.data import packing
from facelib.runtime import peak_memory
ways = {"paper": serving.load_as_lists, "packed": lambda folder: packing.pack(folder, progress=False)}
before, start = peak_memory(), time.perf_counter()
loaded = ways[sys.argv[1]](sys.argv[2])
seconds = time.perf_counter() - start
print(json.dumps({"images": len(loaded), "seconds": seconds, "memory_mib": (peak_memory() - before) / 2**20}))
"""


def startup(weights: str | Path, backend: str = "dygraph", runs: int = 5) -> pd.DataFrame:
    """Time from launching Python to the first feature vector, in fresh processes.

    Returns
    -------
    One row per run, in seconds: ``import`` (interpreter, NumPy, Paddle), ``model`` (network and
    weights), ``first`` (first inference), ``total``.
    """
    table = pd.DataFrame([_fresh(STARTUP, str(time.time()), str(weights), backend) for _ in range(runs)])
    return table.assign(total=table.sum(axis=1))


def inference(embedder: Embedder, faces: np.ndarray, repeats: int = 100, warm_up: int = 10) -> pd.DataFrame:
    """Milliseconds per call for one face, for the comparison of a pair, and for all of ``faces``.

    Parameters
    ----------
    faces
        (n, H, W, 3) uint8, n at least 2.

    Returns
    -------
    One row per repetition with the columns ``single``, ``pair``, ``batch``.
    """

    def compare_pair():
        features = embedder(faces[:2])
        return euclidean_distance(features[:1], features[1:])

    calls = {"single": lambda: embedder(faces[:1]), "pair": compare_pair, "batch": lambda: embedder(faces)}
    return pd.DataFrame({name: _milliseconds(call, repeats, warm_up) for name, call in calls.items()})


def loading(folder: str | Path, runs: int = 3) -> pd.DataFrame:
    """The paper's way of loading against packing, alternated in fresh processes.

    Every run packs anew, because each gets a cache folder of its own.

    Returns
    -------
    One row per run: ``way`` (``paper`` or ``packed``), ``images``, ``seconds``, ``memory_mib`` (growth of the
    peak resident memory), ``images_per_s``.
    """
    rows = []
    for _ in range(runs):
        for way in ("paper", "packed"):
            with tempfile.TemporaryDirectory() as cache:
                environment = {**os.environ, "FACELIB_CACHE": cache}
                rows.append({"way": way, **_fresh(LOADING, way, str(folder), env=environment)})
    return pd.DataFrame(rows).assign(images_per_s=lambda table: table["images"] / table["seconds"])


def load_as_lists(folder: str | Path, size: int = 64) -> list[np.ndarray]:
    """Load as the paper's section 3 describes it: each image opened, resized, channel first, into a list.

    What cannot be opened is passed over; packing lists it with its reason.

    Returns
    -------
    A list of (3, size, size) float32 arrays in [0, 255].
    """
    from PIL import Image

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


def _milliseconds(call: Callable, repeats: int, warm_up: int) -> list[float]:
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return times


def _fresh(code: str, *arguments: str, env: dict | None = None) -> dict:
    """Run code in a new interpreter and read the JSON of its last line.

    Raises
    ------
    RuntimeError
        With the process's own error.
    """
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"The timed process failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
