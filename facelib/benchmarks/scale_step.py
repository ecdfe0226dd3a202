"""One measurement of `scale.paper_scale` in a process of its own: prints what it found and its peak memory as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from facelib import runtime
from facelib.data import packing


def pack(tree: str) -> dict:
    started = time.perf_counter()
    faces = packing.pack(tree, progress=False)
    return {"images": len(faces), "seconds": time.perf_counter() - started}


def paper(tree: str) -> dict:
    from facelib.benchmarks import serving

    started = time.perf_counter()
    faces = serving.load_as_lists(tree)
    return {"images": len(faces), "seconds": time.perf_counter() - started}


def train(tree: str, steps: str, batch_size: str) -> dict:
    from paddle.io import DataLoader

    from facelib.training import loop, recipe, samplers

    runtime.use_device("cpu")
    started = time.perf_counter()
    faces = packing.pack(tree, progress=False)
    sampler = samplers.EpochSampler(faces.labels, int(batch_size), seed=0)
    batches = iter(DataLoader(loop.FaceDataset(faces, faces.labels), batch_sampler=sampler, num_workers=0))
    image, label = next(batches)
    first = time.perf_counter() - started
    model = recipe.build(len(faces.names), 64, len(sampler), recipe.Recipe(batch_size=int(batch_size)))
    for _ in range(int(steps)):
        model.train_batch([image, label])
        image, label = next(batches)
    return {"first_batch_s": first}


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    measures: dict[str, Callable[..., dict]] = {"pack": pack, "paper": paper, "train": train}
    measured = measures[name](*arguments)
    print(json.dumps(measured | {"peak_mib": runtime.peak_memory() / 2**20}))
