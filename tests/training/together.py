"""What the processes of tests/test_processes.py run; a module, because they import it by its name."""

import os
import signal
import sys

from paddle import nn

from facelib import models
from facelib._paddle import paddle
from facelib.training import loop


def without_batch_norm(width):
    return nn.Sequential(nn.Conv2D(3, 8, 3, 2, bias_attr=False), nn.ReLU(), nn.AdaptiveAvgPool2D(2))


def train(*arguments):
    models.BACKBONES["resnet18"] = without_batch_norm
    return loop.train(*arguments, progress=False)


def die(rank, status):
    if os.environ["PADDLE_TRAINER_ID"] == str(rank):
        print("the disk is full", file=sys.stderr)
        if status:
            sys.exit(status)
        os.kill(os.getpid(), signal.SIGKILL)
    wait()


def wait():
    print(f"waiting {os.getpid()}", flush=True)
    paddle.distributed.init_parallel_env()
    paddle.distributed.barrier()
    signal.pause()
