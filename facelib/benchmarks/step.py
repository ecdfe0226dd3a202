"""One timed training of `engines.training_speed`: prints images per second and peak memory as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
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


def stock(batch_size: int, size: int, classes: int, steps: int) -> dict:
    import paddle
    from paddle.vision.models import resnet18

    paddle.set_device("cpu")
    network = resnet18(num_classes=classes)
    optimizer = paddle.optimizer.Adam(1e-3, parameters=network.parameters())
    x, y = paddle.randn([batch_size, 3, size, size]), paddle.randint(0, classes, [batch_size, 1])

    def step():
        paddle.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
        optimizer.clear_grad()

    return median_step(step, batch_size, steps)


def ours(batch_size: int, size: int, classes: int, steps: int, precision: str = "float32") -> dict:
    from facelib._paddle import paddle
    from facelib.training import recipe

    paddle.set_device("cpu")
    ranks = paddle.distributed.get_world_size()
    model = recipe.build(classes, size, steps, recipe.Recipe(batch_size=batch_size, precision=precision))
    share = batch_size // ranks
    x, y = paddle.randn([share, 3, size, size]), paddle.randint(0, classes, [share, 1])
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


def torch(batch_size: int, size: int, classes: int, steps: int, bf16: bool = False) -> dict:
    import torch
    from torch import nn

    from facelib.benchmarks.peers import torch_resnet18

    network = nn.Sequential(torch_resnet18(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    x, y = torch.randn(batch_size, 3, size, size), torch.randint(0, classes, (batch_size,))

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return median_step(step, batch_size, steps)


def torch_bf16(**job) -> dict:
    return torch(**job, bf16=True)


if __name__ == "__main__":
    # Python puts this file's folder first, where `runtime` or `datasets` would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)
    measures: dict[str, Callable] = {"stock": stock, "stock_threads": stock, "ours": ours}
    measures |= {"ours_processes": ours_processes, "ours_bf16": ours_bf16}
    measures |= {"torch_fp32": torch, "torch_bf16": torch_bf16}
    measured = measures[sys.argv[1]](**json.loads(sys.argv[2]))
    if measured is not None:
        print(json.dumps(measured))
