"""What a user might take instead: the same network in PyTorch, SFace as OpenCV runs it, and local binary patterns.

PyTorch is the extra ``peers``, SFace's file that of the extra ``teacher``.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from facelib import runtime
from facelib.data import archives, detection, framing, images
from facelib.data.packed import to_input
from facelib.files import kept_array
from facelib.training import distillation

LAYOUTS = ("contiguous_format", "channels_last")  # of PyTorch's memory
_STEP = 500  # photos whose features are kept in one file
_SIDE = 128  # of photos that SFace is shown as `distillation.teacher_view` puts them
_SFACE_VERSION = 1  # raised when the same photos give other features than before


def torch_resnet18(width: int = 64, fine: bool = False):
    """ResNet-18 without pooling and last layer as a `torch.nn.Module`, with `models.resnet18_of_width`'s names."""
    from torch import nn

    def short(before: int, after: int, stride: int):
        conv = nn.Conv2d(before, after, 1, stride, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after)) if stride > 1 else None

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
            self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
            self.downsample = short(before, after, stride)

        def forward(self, x):
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))
            return (y + (x if self.downsample is None else self.downsample(x))).relu_()

    network, before = nn.Sequential(), width
    network.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False) if fine else nn.Conv2d(3, width, 7, 2, 3, bias=False)
    network.bn1, network.relu = nn.BatchNorm2d(width), nn.ReLU(True)
    if not fine:
        network.maxpool = nn.MaxPool2d(3, 2, 1)
    for number, after in enumerate((width, 2 * width, 4 * width, 8 * width), 1):
        blocks = nn.Sequential(Block(before, after, 1 if number == 1 else 2), Block(after, after, 1))
        setattr(network, f"layer{number}", blocks)
        before = after
    return network


def torch_embedder(weights: str | os.PathLike, layout: str = LAYOUTS[0]) -> Callable[[np.ndarray], np.ndarray]:
    """As `inference.Embedder` without mirroring, by PyTorch: faces (n, H, W, 3) uint8 to features (n, d) float32.

    A ResNet-18 of `models.save_weights`; batch norm is joined to the convolutions, and the network is traced and
    frozen, as PyTorch advises for inference. ValueError where the file holds another network.
    """
    import torch
    from torch import nn

    with np.load(weights) as archive:
        arrays = dict(archive)
    built = {"backbone": "resnet18", "width": 64, "neck": "pool"} | json.loads(str(arrays.pop("architecture", "{}")))
    if not built["backbone"].startswith("resnet18") or built["neck"] == "depthwise":
        raise ValueError(f"'{weights}' holds {built['backbone']} with {built['neck']}: only ResNet-18 is compared.")
    network = torch_resnet18(built["width"], built["backbone"].endswith("fine"))
    if built["neck"] == "pool":
        network.pool = nn.AdaptiveAvgPool2d(1)
    network.flatten = nn.Flatten()
    if built["neck"] != "pool":
        kernel = arrays["neck.linear.weight"].T  # Paddle's is (in, out)
        network.neck = nn.Sequential()
        network.neck.linear = nn.Linear(kernel.shape[1], kernel.shape[0], bias="neck.linear.bias" in arrays)
        if "neck.norm.weight" in arrays:
            network.neck.norm = nn.BatchNorm1d(kernel.shape[0])
        arrays["neck.linear.weight"] = kernel
    names = (name.replace("._mean", ".running_mean").replace("._variance", ".running_var") for name in arrays)
    state = {name: torch.tensor(array.astype(np.float32)) for name, array in zip(names, arrays.values(), strict=True)}
    missing, unexpected = network.load_state_dict(state, strict=False)
    if unexpected or [name for name in missing if "num_batches" not in name]:
        raise ValueError(f"'{weights}' does not fit its network in PyTorch: {missing} {unexpected}.")
    form = getattr(torch, layout)
    shape = (2, 3, built.get("size", 64), built.get("size", 64))
    with torch.inference_mode():
        network = network.eval().to(memory_format=form)
        traced = torch.jit.trace(network, torch.zeros(shape).contiguous(memory_format=form))
        traced = torch.jit.optimize_for_inference(torch.jit.freeze(traced))

    def embed(faces: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return traced(torch.from_numpy(to_input(faces)).contiguous(memory_format=form)).numpy()

    return embed


def sface(file: str | os.PathLike) -> Callable[[np.ndarray], np.ndarray]:
    """SFace by OpenCV's `FaceRecognizerSF`: faces (n, 112, 112, 3) uint8 RGB in its framing to (n, 128) float32."""
    recogniser = cv2.FaceRecognizerSF.create(str(file), "")
    return lambda faces: np.concatenate([recogniser.feature(np.ascontiguousarray(face[..., ::-1])) for face in faces])


def sface_state() -> list:
    """What SFace's features of photos rest on, beside these; for keys."""
    return [distillation.TEACHER_SHA256, _SFACE_VERSION, detection.DETECTOR_SHA256]


def sface_features(
    file: str | os.PathLike, source: str | os.PathLike, paths: Sequence[str], frame: str | images.Crop = "aligned"
) -> np.ndarray:
    """SFace's features (n, 128) float32 of some photos of a folder or archive, kept by the hundred in the cache.

    Its own alignment by the landmarks that `detection` finds, the ``"box"`` alone as `framing.crop_box` takes it, or a
    fixed square. A photo without the face that it needs is a FaceError.
    """
    state: list = [] if frame == "aligned" else [frame, [*framing.BOX]]
    state += [archives.fingerprint(source), hashlib.sha256(Path(file).read_bytes()).hexdigest(), _SFACE_VERSION]
    wanted, listing, found = sorted(paths), archives.members(source), {}
    for start in range(0, len(wanted), _STEP):
        some = wanted[start : start + _STEP]
        kept = runtime.cache_dir() / "sface" / f"{archives.digest([*state, some, detection.DETECTOR_SHA256])}.npy"
        found |= dict(zip(some, kept_array(kept, partial(_sface_features, file, listing, some, frame)), strict=True))
    return np.stack([found[path] for path in paths])


def _sface_features(file, listing: archives.Listing, paths: list[str], frame: str | images.Crop) -> np.ndarray:
    recogniser, found = cv2.FaceRecognizerSF.create(str(file), ""), {}
    for path, content in listing.read(paths):
        if isinstance(content, str):  # the reason why it could not be read
            raise images.Unreadable(f"'{path}': {content}")
        if isinstance(frame, str):
            photo = images.decode_whole(content, detection.LONGEST)
            face = detection.meant(photo, detection.find(photo), "central")  # for a box landmarks are no matter
            face = face if frame == "box" else detection.usable(photo, face)
        if frame == "aligned":
            row = np.concatenate([face.box, face.landmarks.ravel(), [face.score]]).astype(np.float32)
            row[2:4] -= row[:2]  # left, top, width, height
            view = recogniser.alignCrop(np.ascontiguousarray(photo[..., ::-1]), row[None])
        elif frame == "box":
            view = distillation.teacher_view(framing.crop_box(photo, face.box, _SIDE))
        else:
            view = distillation.teacher_view(images.decode(content, _SIDE, frame).pixels)  # type: ignore[arg-type]
        found[path] = recogniser.feature(view)[0].copy()
    return np.stack([found[path] for path in paths])


def lbp_histograms(faces: np.ndarray, cells: int = 8) -> np.ndarray:
    """Local binary patterns of faces (n, H, W, 3) uint8: (n, cells * cells * 59) float32, each cell's shares sum to 1.

    A pixel's pattern says which of its eight neighbours are as light or lighter. The 58 with at most two changes around
    the circle have a bin each, the others one together; a histogram per cell (Ahonen, Hadid and Pietikäinen 2006, here
    without weights and without interpolation of the neighbours).
    """
    grey = np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces])
    height, width = grey.shape[1] - 2, grey.shape[2] - 2
    around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    lighter = [grey[:, y : y + height, x : x + width] >= grey[:, 1:-1, 1:-1] for y, x in around]
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(1) <= 2
    bins = np.where(uniform, np.cumsum(uniform) - 1, 58)
    patterns = bins[sum(each.astype(np.uint8) << bit for bit, each in enumerate(lighter))]
    patterns += 59 * np.arange(len(faces))[:, None, None]
    parts = [part for rows in np.array_split(patterns, cells, 1) for part in np.array_split(rows, cells, 2)]
    counts = [np.bincount(part.ravel(), minlength=59 * len(faces)).reshape(-1, 59) / part[0].size for part in parts]
    return np.concatenate(counts, axis=1).astype(np.float32)
