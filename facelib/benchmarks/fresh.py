"""Programs that are timed in processes of their own: each prints what it measured as JSON.

They run by the path of this file and not as a module: nothing is imported before their clock tells, and stock Paddle
starts with its own settings and not with those of this package.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path


def command(program: str, *arguments) -> list[str]:
    """What starts a program; arguments are what JSON can hold."""
    return [sys.executable, __file__, program, json.dumps(arguments)]


def run(program: str, *arguments, env: dict | None = None):
    """What a program prints, run in a new interpreter; RuntimeError with the process's own error."""
    import subprocess

    done = subprocess.run(command(program, *arguments), capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"The timed process failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def tell(program: str, *arguments) -> None:
    """Run a program here and print what it measured."""
    found = PROGRAMS[program](*arguments)
    if found is not None:
        print(json.dumps(found), flush=True)


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
    """Images, seconds, growth and peak of memory of loading a folder in the paper's way, or by packing it."""
    from facelib.benchmarks import serving
    from facelib.data import packing
    from facelib.runtime import peak_memory

    before, start = peak_memory(), time.perf_counter()
    loaded = serving.load_as_lists(folder) if way == "paper" else packing.pack(folder, progress=False)
    seconds, peak = time.perf_counter() - start, peak_memory()
    return {"images": len(loaded), "seconds": seconds, "memory_mib": (peak - before) / 2**20, "peak_mib": peak / 2**20}


def first_batch(tree: str, steps: int, batch_size: int) -> dict:
    """Seconds from finding a packed set to its first batch; peak memory after some training steps of ResNet-18."""
    from paddle.io import DataLoader

    from facelib import runtime
    from facelib.data import packing
    from facelib.training import loop, recipe, samplers

    runtime.use_device("cpu")
    started = time.perf_counter()
    faces = packing.pack(tree, progress=False)
    sampler = samplers.EpochSampler(faces.labels, batch_size, seed=0)
    batches = iter(DataLoader(loop.FaceDataset(faces, faces.labels), batch_sampler=sampler, num_workers=0))
    image, label = next(batches)
    first = time.perf_counter() - started
    model = recipe.build(len(faces.names), 64, len(sampler), recipe.Recipe(batch_size=batch_size))
    for _ in range(steps):
        model.train_batch([image, label])
        image, label = next(batches)
    return {"first_batch_s": first, "peak_mib": runtime.peak_memory() / 2**20}


def deciding(launched: float, engine: str, photos: list[str]) -> dict:
    """Seconds from launching Python to the decision on two photos, by part; ``light`` is what `compare` does."""
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


def training(engine: str, batch_size: int, size: int, classes: int, steps: int, student: dict) -> dict | None:
    """Images per second and peak memory of training ResNet-18, or a ``student``, in one of `engines.ENGINES`."""
    if engine == "ours_processes":
        from facelib import runtime
        from facelib.benchmarks import fresh  # the name by which other processes know it
        from facelib.training import processes

        runtime.use_device("cpu")
        with processes.Bar(1, progress=False) as bar:
            job = "training", "ours", batch_size, size, classes, steps, student
            processes.run(fresh.tell, job, runtime.cores(), bar)
        return None
    makers: dict[str, Callable] = {
        "stock": _stock,
        "stock_threads": _stock,
        "ours": _ours,
        "ours_bf16": partial(_ours, "bfloat16"),
    }
    makers |= {"torch_fp32": _torch, "torch_bf16": partial(_torch, bf16=True)}
    makers |= {f"{name}_last": partial(makers[name], last=True) for name in ("torch_fp32", "torch_bf16")}
    step = makers[engine](batch_size=batch_size, size=size, classes=classes, student=student)
    return median_step(step, batch_size, steps)


def median_step(step: Callable, batch_size: int, steps: int, long: float = 1.0) -> dict:
    """Images per second of the median of ``steps`` calls after two unmeasured ones, and peak memory.

    Steps of more than ``long`` seconds vary little: of such, the second alone counts."""
    durations: list[float] = []
    while len(durations) < steps + 2 and not (len(durations) == 2 and durations[-1] > long):
        started = time.perf_counter()
        step()
        durations.append(time.perf_counter() - started)
    from facelib import runtime  # not before: stock Paddle starts with its own settings

    measured = sorted(durations[2:] or durations[1:])
    return {"images_per_s": batch_size / measured[len(measured) // 2], "peak_mib": runtime.peak_memory() / 2**20}


def _stock(batch_size: int, size: int, classes: int, student: dict) -> Callable:
    import paddle
    from paddle.vision.models import resnet18

    if student:
        raise ValueError("Stock Paddle is timed on the paper's network alone.")
    paddle.set_device("cpu")
    network = resnet18(num_classes=classes)
    optimizer = paddle.optimizer.Adam(1e-3, parameters=network.parameters())
    x, y = paddle.randn([batch_size, 3, size, size]), paddle.randint(0, classes, [batch_size, 1])

    def step():
        paddle.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
        optimizer.clear_grad()

    return step


def _ours(precision: str = "float32", *, batch_size: int, size: int, classes: int, student: dict) -> Callable:
    from facelib._paddle import paddle
    from facelib.training import recipe

    paddle.set_device("cpu")
    options = student | {"batch_size": batch_size, "precision": precision}
    model = recipe.build(classes, size, 1, recipe.Recipe(**options))
    share = batch_size // paddle.distributed.get_world_size()
    x, y = paddle.randn([share, 3, size, size]), paddle.randint(0, classes, [share, 1])
    if student:
        y = paddle.randn([share, student["features"]])
    return lambda: model.train_batch([x, y])


def _torch(batch_size: int, size: int, classes: int, student: dict, bf16=False, last=False) -> Callable:
    import torch
    from torch import nn

    from facelib.benchmarks.peers import LAYOUTS, torch_resnet18

    form = getattr(torch, LAYOUTS[last])
    x, y = torch.randn(batch_size, 3, size, size), torch.randint(0, classes, (batch_size,))
    trunk, criterion = torch_resnet18(student.get("width", 64), bool(student)), nn.functional.cross_entropy
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes)]
    if student:
        ends = [nn.Flatten(), nn.Dropout(student["dropout"]), nn.LazyLinear(student["features"])]
        y = torch.randn(batch_size, student["features"])

        def criterion(found, wanted):
            return 10 * (1 - nn.functional.cosine_similarity(found, wanted)).mean()

    network, x = nn.Sequential(trunk, *ends), x.to(memory_format=form)
    network(x)  # a lazy layer gets its shape
    network = network.to(memory_format=form)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    if student:
        optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=student["weight_decay"])

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = criterion(network(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


PROGRAMS = {each.__name__: each for each in (startup, loading, first_batch, deciding, latency, training)}

if __name__ == "__main__":
    # Python puts this file's folder first, where `scale` or `engines` would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)
    tell(sys.argv[1], *json.loads(sys.argv[2]))
