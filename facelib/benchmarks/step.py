"""One timed training of `engines.training_speed`: prints images per second and peak memory as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path


def median_step(step, batch_size: int, steps: int) -> dict:
    """Run a step twice unmeasured, then ``steps`` times; images per second of the median one, and peak memory."""
    durations = []
    for number in range(steps + 2):
        started = time.perf_counter()
        step()
        if number >= 2:
            durations.append(time.perf_counter() - started)
    from facelib import runtime  # not before: stock Paddle starts with its own settings

    speed = batch_size / sorted(durations)[len(durations) // 2]
    return {"images_per_s": speed, "peak_mib": runtime.peak_memory() / 2**20}


def stock(batch_size: int, size: int, classes: int, steps: int, student: dict) -> dict:
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

    return median_step(step, batch_size, steps)


def ours(batch_size: int, size: int, classes: int, steps: int, student: dict, precision: str = "float32") -> dict:
    from facelib._paddle import paddle
    from facelib.training import recipe

    paddle.set_device("cpu")
    ranks = paddle.distributed.get_world_size()
    options = student | {"batch_size": batch_size, "precision": precision}
    model = recipe.build(classes, size, steps, recipe.Recipe(**options))
    share = batch_size // ranks
    x, y = paddle.randn([share, 3, size, size]), paddle.randint(0, classes, [share, 1])
    if student:
        y = paddle.randn([share, student["features"]])
    return median_step(lambda: model.train_batch([x, y]), batch_size, steps)


def ours_bf16(**job) -> dict:
    return ours(**job, precision="bfloat16")


def _tell(job: dict) -> None:
    measured = ours(**job)
    print(json.dumps(measured), flush=True)


def ours_processes(**job) -> None:
    from facelib import runtime
    from facelib.benchmarks import step
    from facelib.training import processes

    runtime.use_device("cpu")
    with processes.Bar(1, progress=False) as bar:
        processes.run(step._tell, (job,), runtime.cores(), bar)


def torch(
    batch_size: int, size: int, classes: int, steps: int, student: dict, bf16: bool = False, last: bool = False
) -> dict:
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

    return median_step(step, batch_size, steps)


if __name__ == "__main__":
    # Python puts this file's folder first, where `runtime` or `datasets` would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)
    measures: dict[str, Callable] = {"stock": stock, "stock_threads": stock, "ours": ours}
    measures |= {"ours_processes": ours_processes, "ours_bf16": ours_bf16}
    measures |= {"torch_fp32": torch, "torch_bf16": partial(torch, bf16=True)}
    measures |= {f"{name}_last": partial(measures[name], last=True) for name in ("torch_fp32", "torch_bf16")}
    measured = measures[sys.argv[1]](**json.loads(sys.argv[2]))
    if measured is not None:
        print(json.dumps(measured))
