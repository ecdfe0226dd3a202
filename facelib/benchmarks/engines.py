"""Training speed of one network in several engines: fresh processes, alternated."""

import os
import time
from importlib.util import find_spec

import numpy as np
import pandas as pd

from facelib import models, training
from facelib.benchmarks import fresh
from facelib.data import catalog

ENGINES = {
    "stock": "Paddle as installed",
    "stock_threads": "Paddle, all threads",
    "ours": "oneDNN convolutions, one process",
    "ours_processes": "oneDNN convolutions, a process per core",
    "ours_bf16": "oneDNN convolutions, bfloat16",
    "torch_fp32": "PyTorch",
    "torch_bf16": "PyTorch, bfloat16",
    "torch_fp32_last": "PyTorch, channels last",
    "torch_bf16_last": "PyTorch, bfloat16, channels last",
}


def training_speed(
    engines: list[str],
    batch_size: int = 128,
    size: int = 64,
    classes: int = 1333,
    steps: int = 6,
    rounds: int = 5,
    student: dict | None = None,
) -> pd.DataFrame:
    """Images per second of training steps of ResNet-18 (forward, backward, Adam) on random images of ``size`` pixels.

    `ENGINES` take turns for some ``rounds``; those of PyTorch are left out where it is not installed. Of each process
    the median of ``steps`` counts (see `fresh.median_step`). One row per round and engine: ``round``, ``engine``,
    ``images_per_s``, ``peak_mib`` (largest resident memory of the process; of several, of one). ``student`` are options
    of a `training.Recipe` that distils into a fine ResNet-18 by SGD, which stock Paddle does not.
    """
    present = [name for name in engines if not name.startswith("torch") or find_spec("torch")]
    own = {"stock": {"OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE"}, "stock_threads": {"MKL_DEBUG_CPU_TYPE"}}
    job = batch_size, size, classes, steps, student or {}
    rows = []
    for number in range(rounds):
        for name in present if number % 2 == 0 else present[::-1]:
            env = {key: value for key, value in os.environ.items() if key not in own.get(name, ())}
            measured = fresh.run("training", name, *job, env=env)
            rows.append({"round": number, "engine": name, **measured})
    return pd.DataFrame(rows)


def medians(speeds: pd.DataFrame) -> pd.Series:
    """Median images per second of each engine, in the order of `ENGINES`."""
    table = speeds.groupby("engine")["images_per_s"].median()
    return table.reindex([name for name in ENGINES if name in table.index])


def ratios(speeds: pd.DataFrame, engine: str, other: str) -> pd.Series:
    """Speed of one engine over that of another, round by round."""
    table = speeds.pivot(index="round", columns="engine", values="images_per_s")
    return table[engine] / table[other]


def layer_comparison(batch_size: int = 128, size: int = 64, repeats: int = 3, seed: int = 0) -> pd.DataFrame:
    """Every distinct convolution of ResNet-18 in stock Paddle and through oneDNN, forward and backward.

    One row per layer shape: ``layer``, ``count`` in the network, ``difference`` (largest absolute difference of output
    and both gradients over the largest absolute value), ``stock_ms``, ``ours_ms`` (medians).
    """
    from facelib._paddle import paddle

    paddle.seed(seed)
    network = models.resnet18_of_width(64)
    names = {id(layer): name for name, layer in network.named_sublayers()}
    shapes: dict[tuple, list] = {}

    def note(layer, inputs, _):
        shape = tuple(inputs[0].shape)
        shapes.setdefault((shape, tuple(layer.weight.shape)), []).append((names[id(layer)], layer))

    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Conv2D):
            layer.register_forward_post_hook(note)
    network(paddle.randn([batch_size, 3, size, size]))
    return pd.DataFrame([_compare(shape, list(same), repeats) for (shape, _), same in shapes.items()])


def _compare(shape: tuple, same: list, repeats: int) -> dict:
    from facelib._paddle import paddle

    name, layer = same[0]
    x = paddle.randn(list(shape))
    x.stop_gradient = shape[1] == 3  # the image needs no gradient
    gradient = paddle.randn(layer(x).shape)
    results, times = [], []
    for convolve in (layer, models.OneDNNConv2D(layer)):
        durations = []
        for _ in range(repeats + 1):
            layer.weight.clear_gradient()
            x.clear_gradient()
            started = time.perf_counter()
            out = convolve(x)
            out.backward(gradient)
            durations.append(1000 * (time.perf_counter() - started))
        times.append(sorted(durations[1:])[repeats // 2])
        results.append([tensor.numpy() for tensor in (out, layer.weight.grad, x.grad) if tensor is not None])
    difference = max(float(abs(a - b).max() / abs(a).max()) for a, b in zip(*results, strict=True))
    _, channels, height, width = shape
    return {
        "layer": f"{name}: {channels} x {height} x {width} to {layer.weight.shape[0]}",
        "count": len(same),
        "difference": difference,
        "stock_ms": times[0],
        "ours_ms": times[1],
    }


def augmentation_cost(source: str, images: int, seed: int = 0) -> pd.Series:
    """Milliseconds per image of each of `augmentation.AUGMENTATIONS`, by name, on images of a set."""
    faces = catalog.load(source, progress=False)
    faces = faces.take(np.arange(min(images, len(faces))))
    costs = {}
    for name, augment in training.AUGMENTATIONS.items():
        started = time.perf_counter()
        for number, face in enumerate(faces):
            augment(face, np.random.default_rng([seed, number]))
        costs[name] = 1000 * (time.perf_counter() - started) / len(faces)
    return pd.Series(costs)
