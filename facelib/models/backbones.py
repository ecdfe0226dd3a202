"""Networks beside ResNet-18: those that the documents compare (what they cost is in `costs`)."""

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
import paddle.nn.functional as F
from paddle import nn
from paddle.vision import models as vision

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
    """FaceNet's NN2 (arXiv 1503.03832, table 2): (n, 3, 224, 224) to (n, 128) of length one; of size 160 it is NN3."""
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
        self.features, self.architecture = features, embedding.architecture | {"head": features}
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
