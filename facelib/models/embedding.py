"""The network that is trained, the embedding that is kept of it, and its weights on disk."""

import json
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
from paddle import nn
from paddle.vision.models import resnet18

from facelib.files import whole
from facelib.models import backbones, dnnl, onednn

FEATURES = 512
BACKBONES = {
    "resnet18": lambda width: resnet18_of_width(width),
    "resnet18-fine": lambda width: resnet18_of_width(width, fine=True),
    "resnet50": lambda width: _scaled(backbones.resnet50(), width),
    "mobilefacenet": backbones.mobilefacenet,
}
NECKS = ("pool", "linear", "plain", "depthwise")


class Embedding(nn.Layer):
    """The network that is kept: (n, 3, H, W) float32 to features (n, d) float32.

    ``backbone`` is a name of `BACKBONES`, layers from an image to a map (n, C, h, w), ``width`` the channels of its
    first stage, 64 in the usual network, ``size`` the side of the images in pixels, which all necks but the first fix:

    - ``"pool"``: the mean over the map, as in the paper; d = C, and after ResNet's last ReLU no feature is negative.
    - ``"linear"``: the map is flattened, a share ``dropout`` of it dropped in training, and goes through a linear layer
      without bias and batch norm to d = ``features`` (ArcFace, Deng et al. 2019, section 3.1).
    - ``"plain"``: the same with a bias instead of batch norm, for `losses.Distillation`.
    - ``"depthwise"``: MobileFaceNet's own, d = 128 (see `backbones.GlobalDepthwise`).
    """

    def __init__(self, backbone="resnet18", width=64, neck="pool", dropout=0.0, size=64, features=FEATURES):
        super().__init__()
        if backbone not in BACKBONES or neck not in NECKS:
            known = f"{', '.join(BACKBONES)}; {', '.join(NECKS)}"
            raise ValueError(f"Unknown backbone '{backbone}' or neck '{neck}': expected of {known}.")
        self.architecture = {"backbone": backbone, "width": width, "neck": neck, "dropout": dropout, "size": size}
        if features != FEATURES:  # so that the architectures written so far stay as they are
            self.architecture["features"] = features
        self.backbone = BACKBONES[backbone](width)
        channels, *sides = map_shape(self.backbone, size)
        self.features, self.neck = channels, None
        if neck == "depthwise":
            self.neck = backbones.GlobalDepthwise(channels, sides[0])
            self.features = self.neck.features
        elif neck != "pool":
            self.features, area = features, sides[0] * sides[1]
            linear = nn.Linear(channels * area, features, bias_attr=None if neck == "plain" else False)
            layers = [("flatten", nn.Flatten()), ("dropout", nn.Dropout(dropout)), ("linear", linear)]
            self.neck = nn.Sequential(*layers, *([("norm", nn.BatchNorm1D(features))] if neck == "linear" else []))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.backbone(x)  # (n, C, h, w)
        return x.mean([2, 3]) if self.neck is None else self.neck(x)


class Recogniser(nn.Layer):
    """An embedding and the loss that trains it: images and labels to the loss and what was recognised."""

    def __init__(self, embedding: Embedding, head: nn.Layer, precision: str = "float32"):
        super().__init__()
        self.embedding, self.head = on_this_device(embedding, precision), head

    def forward(self, x: paddle.Tensor, labels: paddle.Tensor):
        return self.head(self.embedding(x), labels)


def on_this_device(network: nn.Layer, precision: str = "float32") -> nn.Layer:
    """The network with the fastest convolutions for the present device, in ``precision`` if it can; parameters stay."""
    if paddle.get_device() != "cpu" or not onednn.available():
        return network
    return onednn.accelerate(network, "bfloat16" if precision == "bfloat16" and dnnl.has_bfloat16() else "float32")


def resnet18_of_width(width: int = 64, fine: bool = False) -> nn.Layer:
    """Paddle's ResNet-18 without pooling and last layer: (n, 3, H, W) to (n, 8 width, H / 32, W / 32).

    A ``fine`` one begins with 3 x 3 filters and has no max-pooling after them, so that every map has twice the sides.
    """
    network = resnet18(num_classes=0, with_pool=False)
    if fine:
        network.conv1, network.maxpool = nn.Conv2D(3, 64, 3, 2, 1, bias_attr=False), nn.Identity()
    return network if width == 64 else _scaled(network, width)


def map_shape(backbone: nn.Layer, size: int) -> list[int]:
    """[channels, height, width] of the map that a backbone makes of an image of ``size`` pixels."""
    backbone.eval()
    with paddle.no_grad():
        shape = backbone(paddle.zeros([1, 3, size, size])).shape[1:]
    backbone.train()
    return list(shape)


def _scaled(network: nn.Layer, width: int) -> nn.Layer:
    """The network with every number of channels but the image's three times width / 64."""

    def channels(count: int) -> int:
        return count if count == 3 else count * width // 64

    for _, parent in list(network.named_sublayers(include_self=True)):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2D):
                kernel, stride, padding = layer._kernel_size, layer._stride, layer._padding
                sizes = channels(layer._in_channels), channels(layer._out_channels)
                setattr(parent, name, nn.Conv2D(*sizes, kernel, stride, padding, bias_attr=False))
            elif isinstance(layer, nn.BatchNorm2D):
                setattr(parent, name, nn.BatchNorm2D(channels(layer._num_features)))
    return network


def save_weights(embedding: Embedding, path: str | os.PathLike) -> None:
    """Write an embedding as a NumPy archive that loads without unpickling.

    Weights are stored as float16, batch-norm statistics as float32: the backbone's under the names of
    Paddle's own network, the neck's under ``neck.``; ``architecture`` is JSON that tells how to build it.
    """
    arrays = {"architecture": np.array(json.dumps(embedding.architecture))}
    for name, tensor in embedding.state_dict().items():
        statistic = name.endswith(("._mean", "._variance"))
        arrays[name.removeprefix("backbone.")] = tensor.numpy().astype(np.float32 if statistic else np.float16)
    with whole(Path(path)) as temporary:
        np.savez(temporary, **arrays)


def load_weights(path: str | os.PathLike) -> Embedding:
    """Read what `save_weights` wrote into an `Embedding` in evaluation mode; ValueError where the file is damaged."""
    if not Path(path).exists():
        how = "give the path of a file, such as one in data/weights, or train a network with notebook 02_train"
        raise FileNotFoundError(f"No weights at '{path}': {how}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        built = json.loads(str(arrays.pop("architecture", "{}")))
        head = built.pop("head", None)
        network = Embedding(**built) if head is None else backbones.FrozenTrunk(Embedding(**built), head)
    except (zipfile.BadZipFile, zlib.error, EOFError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"'{path}' is damaged, or holds no weights ({error}): restore it, or train anew.") from error
    expected = {name.removeprefix("backbone."): name for name in network.state_dict()}
    if set(arrays) != set(expected):
        raise ValueError(f"'{path}' does not hold the weights of its network: expected {len(expected)} named arrays.")
    network.set_state_dict({expected[name]: array.astype(np.float32) for name, array in arrays.items()})
    network.eval()
    return network
