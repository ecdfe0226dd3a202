"""What networks cost, counted and as their sources state it."""

import math
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
from paddle import nn
from paddle.vision import models as vision

from facelib.models import backbones, onednn


@dataclass(frozen=True)
class Count:
    parameters: int
    multiply_adds: int


def count(network: nn.Layer, size: int) -> Count:
    """What a network costs: its parameters, and its multiply-adds for one image (3, size, size).

    Parameters are weights, biases, scales and shifts, frozen ones too, without running statistics; multiply-adds
    those of convolutions and linear layers, without biases. `paddle.flops` adds biases, batch norm and pooling, misses
    `onednn.OneDNNConv2D`, and prints.
    """
    done = []

    def multiply_adds(layer, _, output):
        shape = layer.weight.shape
        done.append(math.prod(output.shape) * (shape[0] if isinstance(layer, nn.Linear) else math.prod(shape[1:])))

    counted = [s for s in network.sublayers(True) if isinstance(s, (nn.Conv2D, nn.Linear, onednn.OneDNNConv2D))]
    hooks = [layer.register_forward_post_hook(multiply_adds) for layer in counted]
    modes = [(layer, layer.training) for layer in network.sublayers(True)]
    network.eval()
    try:
        with paddle.no_grad():
            network(paddle.zeros([1, 3, size, size]))
    finally:
        for hook in hooks:
            hook.remove()
        for layer, training in modes:
            layer.training = training
    learnt = [p for name, p in network.named_parameters() if not name.endswith(("_mean", "_variance"))]
    return Count(sum(math.prod(p.shape) for p in learnt), sum(done))


@contextmanager
def shapes_only():
    """Networks made inside, and their outputs, have shapes but no values, so that `count` takes no memory."""
    programs = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard():  # disable_static() begins names anew, and optimisers tell weights by name
        paddle.enable_static()
        try:
            with paddle.static.program_guard(*programs):
                yield
        finally:
            paddle.disable_static()


NETWORKS = {  # name: definition, side of the images in pixels
    "ResNet-18": (lambda: vision.resnet18(num_classes=0), 64),
    "MobileFaceNet, 64": (lambda: nn.Sequential(backbones.mobilefacenet(), backbones.GlobalDepthwise(side=4)), 64),
    "MobileFaceNet": (lambda: nn.Sequential(backbones.mobilefacenet(), backbones.GlobalDepthwise()), 112),
    "ResNet-50, 1000 classes": (vision.resnet50, 224),
    "ArcFace IR-50": (lambda: backbones.iresnet(50), 112),
    "ArcFace IR-100": (lambda: backbones.iresnet(100), 112),
    "FaceNet NN1": (backbones.nn1, 220),
    "FaceNet NN2": (backbones.nn2, 224),
    "VGG-16, 1000 classes": (vision.vgg16, 224),
}


def table() -> pd.DataFrame:
    """One row per network and source: the counts, made now, beside the figures that ``networks.csv`` has.

    Columns: network, size, parameters, multiply_adds, source, stated_parameters, stated_multiply_adds, and why the
    two agree or differ; missing where a source states none.
    """
    rows = []
    for name, (define, size) in NETWORKS.items():
        with shapes_only():
            rows.append({"network": name, "size": size, **asdict(count(define(), size))})
    stated = pd.read_csv(Path(__file__).with_name("networks.csv"), dtype={"source": str, "why": str})
    table = pd.DataFrame(rows).merge(stated, "left", "network").fillna({"source": "", "why": ""})
    return table.astype({"stated_parameters": "Int64", "stated_multiply_adds": "Int64"})
