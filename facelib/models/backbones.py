"""Networks beside ResNet-18: those that the documents compare, and their costs, counted and as stated."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import pandas as pd

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
import paddle.nn.functional as F
from paddle import nn
from paddle.vision import models as vision

from facelib.models import onednn

_BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))  # MobileFaceNet
_UNITS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}  # residual units per stage of ArcFace's networks


def mobilefacenet(width: int = 64) -> nn.Layer:
    """MobileFaceNet before its global convolution: (n, 3, H, W) to (n, 8 width, H / 16, W / 16).

    Chen et al. 2018 (arXiv 1804.07573), table 1: ``_BOTTLENECKS`` holds its t, c, n, s. Every number of channels
    is the table's times width / 64. `GlobalDepthwise` is the rest of the network.
    """
    c = width
    layers = [_conv(3, c, 3, 2), _conv(c, c, 3, groups=c)]
    for expansion, channels, repeats, stride in _BOTTLENECKS:
        for repeat in range(repeats):
            layers.append(_Bottleneck(c, channels * width // 64, expansion, 1 if repeat else stride))
            c = channels * width // 64
    return nn.Sequential(*layers, _conv(c, 8 * width, 1))


class GlobalDepthwise(nn.Layer):
    """MobileFaceNet's neck, linear throughout: (n, channels, side, side) to embeddings (n, features).

    One weight per place of the map and channel (GDConv), then a 1 x 1 convolution, each with batch norm
    (arXiv 1804.07573, table 1). ``side`` is 7 for images of 112 pixels, 4 for 64.
    """

    def __init__(self, channels: int = 512, side: int = 7, features: int = 128):
        super().__init__()
        self.features = features
        depthwise = nn.Conv2D(channels, channels, side, groups=channels, bias_attr=False)
        linear = nn.Conv2D(channels, features, 1, bias_attr=False)
        self.layers = nn.Sequential(depthwise, nn.BatchNorm2D(channels), linear, nn.BatchNorm2D(features))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.flatten(self.layers(x), 1)


class _Bottleneck(nn.Layer):
    """Wider by 1 x 1, 3 x 3 per channel, narrower by 1 x 1 without activation (MobileNetV2, Sandler et al. 2018)."""

    def __init__(self, before: int, after: int, expansion: int, stride: int):
        super().__init__()
        inside = expansion * before
        depthwise = _conv(inside, inside, 3, stride, groups=inside)
        self.layers = nn.Sequential(_conv(before, inside, 1), depthwise, _linear(inside, after, 1))
        self.residual = stride == 1 and before == after

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


def _conv(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(*_linear(before, after, kernel, stride, groups), nn.PReLU(after))


def _linear(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2D(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias_attr=False)
    return nn.Sequential(conv, nn.BatchNorm2D(after))


def resnet50() -> nn.Layer:
    """Paddle's ResNet-50 without pooling and last layer: (n, 3, H, W) to (n, 2048, H / 32, W / 32)."""
    return vision.resnet50(num_classes=0, with_pool=False)


def iresnet(depth: int, size: int = 112, features: int = 512) -> nn.Layer:
    """ArcFace's network of ``depth`` 50 or 100: (n, 3, size, size) to embeddings (n, features).

    Deng et al. 2019 (arXiv 1801.07698), section 3.1: residual units, then batch norm, dropout, a fully connected
    layer and batch norm. What a unit is, and how many there are, is from the authors' code (insightface, iresnet).
    Another depth is a ValueError.
    """
    if depth not in _UNITS:
        raise ValueError(f"ArcFace's networks here have {' or '.join(map(str, _UNITS))} layers, not {depth}.")
    layers, c = [_conv(3, 64, 3)], 64
    for channels, units in zip((64, 128, 256, 512), _UNITS[depth], strict=True):
        for unit in range(units):
            layers.append(_ImprovedUnit(c, channels, 1 if unit else 2))
            c = channels
    connected = nn.Linear(c * (size // 16) ** 2, features)
    return nn.Sequential(*layers, nn.BatchNorm2D(c), nn.Dropout(0.4), nn.Flatten(), connected, nn.BatchNorm1D(features))


class _ImprovedUnit(nn.Layer):
    """Batch norm, 3 x 3, batch norm, PReLU, 3 x 3, batch norm: a residual unit without a bottleneck."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        first, second = _conv(before, after, 3), _linear(after, after, 3, stride)
        self.layers = nn.Sequential(nn.BatchNorm2D(before), first, second)
        self.shortcut = nn.Identity() if stride == 1 else _linear(before, after, 1, stride)

    def forward(self, x):
        return self.shortcut(x) + self.layers(x)


def nn1() -> nn.Layer:
    """FaceNet's NN1: (n, 3, 220, 220) to embeddings (n, 128) of length one.

    Schroff et al. 2015 (arXiv 1503.03832), table 1, line by line. The table does not say how the "rnorm" layers
    normalise: they take AlexNet's window of five channels.
    """
    pool, norm = (lambda: nn.MaxPool2D(3, 2, 1)), (lambda: nn.LocalResponseNorm(5))
    return nn.Sequential(
        *(_biased(3, 64, 7, 2), pool(), norm()),
        *(_biased(64, 64, 1), _biased(64, 192, 3), norm(), pool()),
        *(_biased(192, 192, 1), _biased(192, 384, 3), pool()),
        *(_biased(384, 384, 1), _biased(384, 256, 3)),
        *(_biased(256, 256, 1), _biased(256, 256, 3)),
        *(_biased(256, 256, 1), _biased(256, 256, 3), pool()),
        *(nn.Flatten(), _Maxout(7 * 7 * 256, 32 * 128), _Maxout(32 * 128, 32 * 128), nn.Linear(32 * 128, 128)),
        _UnitLength(),
    )


def nn2() -> nn.Layer:
    """FaceNet's NN2: (n, 3, 224, 224) to embeddings (n, 128) of length one (arXiv 1503.03832, table 2).

    The mean over the last map takes other sizes too: 160 gives NN3.
    """
    pool, norm = (lambda: nn.MaxPool2D(3, 2, 1)), (lambda: nn.LocalResponseNorm(5))
    return nn.Sequential(
        *(_biased(3, 64, 7, 2), pool(), norm()),
        *(_biased(64, 64, 1), _biased(64, 192, 3), norm(), pool()),
        _Inception(192, 64, 96, 128, 16, 32, nn.MaxPool2D(3, 1, 1), 32),
        _Inception(256, 64, 96, 128, 32, 64, _L2Pool(), 64),
        _Inception(320, 0, 128, 256, 32, 64, pool(), 0, stride=2),
        _Inception(640, 256, 96, 192, 32, 64, _L2Pool(), 128),
        _Inception(640, 224, 112, 224, 32, 64, _L2Pool(), 128),
        _Inception(640, 192, 128, 256, 32, 64, _L2Pool(), 128),
        _Inception(640, 160, 144, 288, 32, 64, _L2Pool(), 128),
        _Inception(640, 0, 160, 256, 64, 128, pool(), 0, stride=2),
        _Inception(1024, 384, 192, 384, 48, 128, _L2Pool(), 128),
        _Inception(1024, 384, 192, 384, 48, 128, nn.MaxPool2D(3, 1, 1), 128),
        *(nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(1024, 128)),
        _UnitLength(),
    )


def _biased(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2D(before, after, kernel, stride, padding=kernel // 2), nn.ReLU())


class _Inception(nn.Layer):
    """1 x 1, 3 x 3, 5 x 5 and pooling side by side; the numbers are a line of table 2, 0 for what it leaves out."""

    def __init__(self, before, one, reduce3, three, reduce5, five, pool, project, stride=1):
        super().__init__()
        threes = nn.Sequential(_biased(before, reduce3, 1), _biased(reduce3, three, 3, stride))
        fives = nn.Sequential(_biased(before, reduce5, 1), _biased(reduce5, five, 5, stride))
        pooled = nn.Sequential(pool, _biased(before, project, 1)) if project else pool
        self.branches = nn.LayerList(([_biased(before, one, 1)] if one else []) + [threes, fives, pooled])

    def forward(self, x):
        return paddle.concat([branch(x) for branch in self.branches], axis=1)


class _L2Pool(nn.Layer):
    """The root of the sum of squares in each window of 3 x 3."""

    def forward(self, x):
        return (9 * F.avg_pool2d(x * x, 3, 1, 1, exclusive=False) + 1e-6).sqrt()  # finite gradient at 0


class _Maxout(nn.Layer):
    """The greater of two linear outputs, p = 2 (Goodfellow et al. 2013): (n, before) to (n, after)."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.linear = nn.Linear(before, 2 * after)

    def forward(self, x):
        return self.linear(x).reshape([x.shape[0], -1, 2]).max(-1)


class _UnitLength(nn.Layer):
    def forward(self, x):
        return F.normalize(x, axis=1)


class FrozenTrunk(nn.Layer):
    """A new last layer on a network that stays as it is: (n, 3, H, W) to embeddings (n, features) of length one.

    Document 2, claim V01: a dense layer without bias, then L2 normalisation. The parameters of ``embedding``, a
    `models.Embedding`, are frozen in place, and its batch norm and dropout always act as in evaluation.
    """

    def __init__(self, embedding: nn.Layer, features: int = 128):
        super().__init__()
        self.features = features
        self.trunk, self.head = embedding, nn.Linear(embedding.features, features, bias_attr=False)
        for parameter in self.trunk.parameters():
            parameter.stop_gradient = True
        self.trunk.eval()

    def train(self, *mode):
        super().train(*mode)
        self.trunk.eval()
        return self

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        self.trunk.eval()  # train() of a layer around this one sets the trunk's mode without calling ours
        return F.normalize(self.head(self.trunk(x)), axis=1)


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
    "MobileFaceNet, 64": (lambda: nn.Sequential(mobilefacenet(), GlobalDepthwise(side=4)), 64),
    "MobileFaceNet": (lambda: nn.Sequential(mobilefacenet(), GlobalDepthwise()), 112),
    "ResNet-50, 1000 classes": (vision.resnet50, 224),
    "ArcFace IR-50": (lambda: iresnet(50), 112),
    "ArcFace IR-100": (lambda: iresnet(100), 112),
    "FaceNet NN1": (nn1, 220),
    "FaceNet NN2": (nn2, 224),
    "VGG-16, 1000 classes": (vision.vgg16, 224),
}


@dataclass(frozen=True)
class Stated:
    """What a source says of a network, and in one sentence how that relates to the count."""

    network: str
    source: str = ""
    parameters: float | None = None
    multiply_adds: float | None = None
    why: str = ""


STATED = (
    Stated(
        *("MobileFaceNet", "Chen et al. 2018, section 3.3", 0.99e6, 221e6),
        "Agrees once batch norm is folded into the convolutions, as the paper deploys it: a scale per channel less.",
    ),
    Stated(
        *("MobileFaceNet", "document 4", 1.0e6, 200e6),
        "Agrees in parameters, batch norm not folded; the FLOPs are multiply-adds, rounded down to one digit.",
    ),
    Stated(
        *("ResNet-50, 1000 classes", "He et al. 2016, table 1", None, 3.8e9),
        "Paddle halves the map in a block's 3 x 3 convolution, He et al. in the 1 x 1 before it, which saves some.",
    ),
    Stated(
        *("ArcFace IR-50", "document 4 (ArcFace-Res50)", 25e6, None),
        "25 M is ResNet-50 of He et al. with its 1000 classes; ArcFace's has no bottlenecks and a large last layer.",
    ),
    Stated(
        *("ArcFace IR-100", "document 4 (ArcFace-ResNet100)", 65e6, 12e9),
        "Agrees, unlike the same table's Res50: here it is ArcFace's own network; the FLOPs are multiply-adds.",
    ),
    Stated(
        *("FaceNet NN1", "Schroff et al. 2015, table 1 (document 1)", 140e6, 1.6e9),
        "Agrees if fc1 and fc2 compute twice the outputs listed (maxout, p = 2); FLOPS are multiply-adds plus biases.",
    ),
    Stated(
        *("FaceNet NN2", "Schroff et al. 2015, table 2 (document 1)", 7.5e6, 1.6e9),
        "Agrees; FLOPS are multiply-adds plus biases.",
    ),
    Stated(*("VGG-16, 1000 classes", "Simonyan and Zisserman 2015, table 2", 138e6, None), "Agrees."),
    Stated(
        *("VGG-16, 1000 classes", "He et al. 2016, section 4.1", None, 15.3e9),
        "The convolutions alone; the count has the three fully connected layers too.",
    ),
    Stated(
        *("VGG-16, 1000 classes", "document 2", None, None),
        "Document 2 takes it for being smaller than ResNet-50, but it is the larger in parameters and multiply-adds.",
    ),
)


def table() -> pd.DataFrame:
    """One row per network and source: the counts, made now, beside the stated figures.

    Columns: network, size, parameters, multiply_adds, source, stated_parameters, stated_multiply_adds, why;
    missing where a source states none.
    """
    rows = []
    for name, (define, size) in NETWORKS.items():
        with shapes_only():
            counted = count(define(), size)
        for stated in [s for s in STATED if s.network == name] or [Stated(name)]:
            ours = {"network": name, "size": size, **asdict(counted), "source": stated.source}
            theirs = {"stated_parameters": stated.parameters, "stated_multiply_adds": stated.multiply_adds}
            rows.append({**ours, **theirs, "why": stated.why})
    return pd.DataFrame(rows).astype({"stated_parameters": "Int64", "stated_multiply_adds": "Int64"})
