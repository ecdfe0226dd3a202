"""Programs that `serving` times in processes of their own: each prints what it measured as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time
from functools import partial
from pathlib import Path


def startup(launched: float, weights: str, backend: str) -> dict:
    """Seconds from launching Python to the first feature vector, by part."""
    import numpy as np

    from facelib.inference.embedder import Embedder

    imported = time.time()
    embedder = Embedder(weights, backend)
    loaded = time.time()
    embedder(np.zeros((1, 64, 64, 3), np.uint8))
    return {"import": imported - launched, "model": loaded - imported, "first": time.time() - loaded}


def loading(way: str, folder: str) -> dict:
    """Images, seconds and memory of loading a folder in the paper's way, or by packing it."""
    from facelib.benchmarks import serving
    from facelib.data import packing
    from facelib.runtime import peak_memory

    before, start = peak_memory(), time.perf_counter()
    loaded = serving.load_as_lists(folder) if way == "paper" else packing.pack(folder, progress=False)
    seconds = time.perf_counter() - start
    return {"images": len(loaded), "seconds": seconds, "memory_mib": (peak_memory() - before) / 2**20}


def deciding(launched: float, engine: str, photos: list[str]) -> dict:
    """Seconds from launching Python to the decision on two photos, by part.

    ``light`` is what `facelib.compare` does; other engines run its network in their way, on faces found in its way.
    """
    parts, begin = {"interpreter": time.time() - launched}, time.time()
    packages = {"light": "onnxruntime", "torch": "torch"}
    for package in ("numpy", "PIL.Image", "cv2", packages.get(engine, "paddle")):
        importlib.import_module(package)
        parts[f"import {package.partition('.')[0]}"], begin = time.time() - begin, time.time()
    from facelib.inference import decision

    parts["import the rest"], begin = time.time() - begin, time.time()
    verifier = decision.load()
    if engine != "light":
        weights = str(decision.weights_folder() / f"{decision.DEFAULT}.npz")
        verifier.__dict__["embedder"] = embedder(engine, weights)
    _ = verifier.embedder
    parts["network"], begin = time.time() - begin, time.time()
    verifier.compare(photos[0], photos[1], which="largest")
    return {**parts, "detector and decision": time.time() - begin}


def latency(engine: str, weights: list[str], batch: int, repeats: int, warm_up: int) -> list[dict]:
    """Median milliseconds for one face, a pair and a batch of random faces: a row for each file of weights."""
    import numpy as np

    from facelib.benchmarks import serving

    rows = []
    for file in weights:
        run = embedder(engine, file)
        size = 112 if engine == "sface" else 64
        faces = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        calls = {"single": (1, repeats), "pair": (2, repeats), "batch": (batch, max(1, repeats // 10))}
        medians = {}
        for name, (count, times) in calls.items():
            some = faces[:count]
            medians[f"{name}_ms"] = float(np.median(serving.milliseconds(partial(run, some), times, warm_up)))
            warm_up = min(warm_up, 2)  # the engine is warm by now
        rows.append({"weights": file, **medians})
    return rows


def embedder(engine: str, weights: str):
    """Faces (n, H, W, 3) uint8 to features, in one of `serving.SERVED`."""
    from facelib.benchmarks import peers
    from facelib.inference.embedder import Embedder

    if engine == "sface":
        return peers.sface(weights)
    if engine.startswith("torch"):
        return peers.torch_embedder(weights, peers.LAYOUTS[engine == "torch_channels_last"])
    return Embedder(weights, engine)


if __name__ == "__main__":
    # Python puts this file's folder first, where `scale` or `engines` would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)
    programs = {program.__name__: program for program in (startup, loading, deciding, latency)}
    print(json.dumps(programs[sys.argv[1]](*json.loads(sys.argv[2]))))
