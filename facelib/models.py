"""The classifier that is trained, the embedding network that is kept, and its weights on disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from facelib.runtime import paddle  # isort: skip  (first, so that its import is quiet)
import paddle.nn.functional as F
from paddle import nn
from paddle.vision.models import resnet18

FEATURES = 512


def classifier(num_classes: int, matmul: bool | None = None) -> nn.Layer:
    """ResNet-18 with a linear layer of ``num_classes`` outputs: (n, 3, H, W) to (n, num_classes).

    Parameters
    ----------
    num_classes
        Number of identities.
    matmul
        Compute the convolutions on small maps as matrix products (`MatmulConv2D`); by default on
        the CPU only. Parameters, their names and the results are those of Paddle's own network.
    """
    network = resnet18(num_classes=num_classes)
    if matmul is None:
        matmul = paddle.get_device() == "cpu"
    return replace_small_convolutions(network) if matmul else network


class Embedding(nn.Layer):
    """ResNet-18 without its last layer: (n, 3, H, W) to (n, 512) features, non-negative.

    The features are spatial means of ReLU outputs, hence never below zero.
    """

    def __init__(self):
        super().__init__()
        self.backbone = resnet18(num_classes=0)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.flatten(self.backbone(x), 1)  # (n, 512, 1, 1) -> (n, 512)


def replace_small_convolutions(network: nn.Layer) -> nn.Layer:
    """Put `MatmulConv2D` in place of each square, ungrouped `Conv2D` of ``network``, sharing its weight."""
    for _, parent in network.named_sublayers(include_self=True):
        for name, layer in parent.named_children():
            if type(layer) is nn.Conv2D and layer.bias is None and layer._groups == 1:
                setattr(parent, name, MatmulConv2D(layer))
    return network


class MatmulConv2D(nn.Layer):
    """A convolution that becomes one matrix product where the map is small.

    Paddle convolves image by image on the CPU; on maps of 4 x 4 and below each of those products is
    too thin to be fast. Input (n, c, h, h), output (n, o, h', h'), as `nn.Conv2D` gives them.
    """

    def __init__(self, conv: nn.Conv2D):
        super().__init__()
        self.conv = [conv]  # in a list, so that the state dict keeps the name "<layer>.weight"
        self.weight = conv.weight
        self.kernel, self.stride = conv._kernel_size[0], conv._stride[0]
        self.padding = self.kernel // 2
        self._taps: dict[int, paddle.Tensor] = {}

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        side = x.shape[2]
        out = (side + 2 * self.padding - self.kernel) // self.stride + 1
        if out > 4 or self.kernel > 3:
            return self.conv[0](x)
        if side <= 2:
            return self._dense(x, side, out)
        return self._unfolded(x, out)

    def _dense(self, x: paddle.Tensor, side: int, out: int) -> paddle.Tensor:
        # On a 2 x 2 map every output sees every input: one (c h h, o h' h') matrix holds all taps.
        channels_out, channels_in = self.weight.shape[:2]
        taps = self.weight.reshape([channels_out, channels_in, -1]).transpose([2, 1, 0])  # (k k, c, o)
        taps = paddle.concat([taps, paddle.zeros([1, channels_in, channels_out], taps.dtype)])
        matrix = paddle.gather(taps, self._tap_index(side, out))  # (h h h' h', c, o)
        matrix = matrix.reshape([side * side, out * out, channels_in, channels_out])
        matrix = matrix.transpose([2, 0, 3, 1]).reshape([channels_in * side * side, channels_out * out * out])
        return paddle.matmul(paddle.flatten(x, 1), matrix).reshape([-1, channels_out, out, out])

    def _unfolded(self, x: paddle.Tensor, out: int) -> paddle.Tensor:
        channels_out, channels_in = self.weight.shape[:2]
        if self.kernel == 1:
            columns = x[:, :, :: self.stride, :: self.stride].transpose([0, 2, 3, 1])  # (n, h', w', c)
        else:
            columns = F.unfold(x, self.kernel, self.stride, self.padding).transpose([0, 2, 1])  # (n, h' w', c k k)
        columns = columns.reshape([-1, channels_in * self.kernel**2])
        rows = paddle.matmul(columns, self.weight.reshape([channels_out, -1]), transpose_y=True)
        return rows.reshape([-1, out, out, channels_out]).transpose([0, 3, 1, 2])

    def _tap_index(self, side: int, out: int) -> paddle.Tensor:
        """(h h h' h',) int64: which tap joins input and output position; the last one is zero."""
        if side not in self._taps:
            at, taps = np.arange(side), self.kernel
            offset = at[:, None] - self.stride * np.arange(out)[None, :] + self.padding  # (h, h')
            row, column = offset[:, None, :, None], offset[None, :, None, :]
            inside = (row >= 0) & (row < taps) & (column >= 0) & (column < taps)
            index = np.where(inside, row * taps + column, taps * taps)
            self._taps[side] = paddle.to_tensor(index.reshape(-1), dtype="int64")
        return self._taps[side]


def save_weights(network: nn.Layer, path: str | os.PathLike) -> None:
    """Write the embedding part of a classifier as a NumPy archive that loads without unpickling.

    Weights are stored as float16, batch-norm statistics as float32, under the names of Paddle's
    ``resnet18``; the last linear layer is left out.
    """
    arrays = {}
    for name, tensor in network.state_dict().items():
        if not name.startswith("fc."):
            statistic = name.endswith(("._mean", "._variance"))
            arrays[name] = tensor.numpy().astype(np.float32 if statistic else np.float16)
    temporary = Path(f"{path}.tmp.npz")
    np.savez(temporary, **arrays)
    os.replace(temporary, path)


def load_weights(path: str | os.PathLike) -> Embedding:
    """Read what `save_weights` wrote into an `Embedding` in evaluation mode.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        It does not hold exactly the arrays of ResNet-18.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"No weights at '{path}'. Train them with notebook 02_train.")
    network = Embedding()
    expected = network.backbone.state_dict()
    with np.load(path, allow_pickle=False) as archive:
        if set(archive.files) != set(expected):
            raise ValueError(f"'{path}' does not hold the weights of ResNet-18: expected {len(expected)} named arrays.")
        network.backbone.set_state_dict({name: archive[name].astype(np.float32) for name in archive.files})
    network.eval()
    return network
