"""Weights and faces in, features out."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facelib import metrics, runtime
from facelib.data.packed import PackedFaces, to_input
from facelib.files import kept_array
from facelib.inference import backends

EMBEDDER_VERSION = 1  # raised when the same weights and faces give other features than before


class Embedder:
    """The trained network without its last layer, or several such networks as one; threads may share it.

    ``weights`` is a file written by `models.save_weights`, or several: each network's features are then brought to
    length one and laid side by side, so that the cosine of two faces is the mean of the networks' cosines (the sum rule
    of Kittler et al. 1998, "On combining classifiers"). With ``mirror`` the features of the mirrored face are added, at
    twice the time; a threshold of Euclidean distances holds with or without that, not with both.

    - ``"dygraph"`` runs the network as it is trained; ``"inference"`` Paddle's inference engine, which joins layers:
      features are equal to about 1e-5 of their size, and the last bits of a training in the same process change.
    - ``"onnx"`` and ``"openvino"`` run the file of the same name that ends in ``.onnx`` (see `export`) on the CPU and
      without importing Paddle, ``"openvino_bf16"`` in bfloat16; ``"onnx_int8"``, ``"openvino_int8"`` ``.int8.onnx``.
    - ``"auto"`` is the fastest that keeps the network's accuracy, see `backends.choose`.
    """

    def __init__(self, weights, backend: str = "dygraph", batch_size: int = 64, mirror: bool = False):
        self.batch_size, self.mirror = batch_size, mirror
        self._networks = [backends.network(file, backend) for file in weights_files(weights)]

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """Features of (n, H, W, 3) uint8 RGB faces: (n, d) float32; of the paper's network d = 512, non-negative.

        The networks were trained on 64 x 64; those with a linear end take no other size.
        """
        if faces.ndim != 4 or faces.shape[-1] != 3 or faces.dtype != np.uint8:
            raise ValueError(f"Expected uint8 faces of shape (n, H, W, 3), got {faces.dtype} {faces.shape}.")
        if not len(faces):
            return self(np.zeros((1, *faces.shape[1:]), np.uint8))[:0]
        starts = range(0, len(faces), self.batch_size)
        parts = [self._features(to_input(faces[start : start + self.batch_size])) for start in starts]
        return np.concatenate(parts)

    def _features(self, batch: np.ndarray) -> np.ndarray:
        found = [network(batch) for network in self._networks]
        if self.mirror:
            mirrored = np.ascontiguousarray(batch[..., ::-1])
            found = [one + network(mirrored) for one, network in zip(found, self._networks, strict=True)]
        return together(found)


def together(found: Sequence[np.ndarray]) -> np.ndarray:
    """Features of the same faces by several networks, (n, d) float32 each, as one, as `Embedder` says."""
    if len(found) == 1:
        return found[0]
    return np.concatenate([metrics.l2_normalise(one).astype(np.float32) for one in found], axis=1)


Weights = str | os.PathLike | Sequence[str | os.PathLike]


def weights_files(weights: Weights) -> list[Path]:
    """The files of one network or of several."""
    return [Path(weights)] if isinstance(weights, str | os.PathLike) else [Path(file) for file in weights]


def features(
    faces: PackedFaces | np.ndarray,
    weights: Weights,
    progress: bool = True,
    mirror: bool = False,
    backend: str = "dygraph",
) -> np.ndarray:
    """Features (n, d) float32 of a packed set or an array of faces, computed once per network; see `Embedder`.

    With ``mirror`` those of the faces as they are come from the same store, and are kept there too.
    """
    if len(files := weights_files(weights)) > 1:
        return together([features(faces, file, progress, mirror, backend) for file in files])
    take = faces.__getitem__ if isinstance(faces, np.ndarray) else faces.take
    engine = "" if backend == "dygraph" else f" {backend}"
    content_key = (
        hashlib.sha256(np.ascontiguousarray(faces)).hexdigest() if isinstance(faces, np.ndarray) else faces.key
    )
    kind = f"{content_key}{' mirrored' if mirror else ''}{engine} {EMBEDDER_VERSION}"
    key = hashlib.sha256(backends.file_of(files[0], backend).read_bytes() + kind.encode()).hexdigest()[:16]
    path = runtime.cache_dir() / "features" / f"{key}.npy"

    def sides():
        if not mirror:
            return _embedded(Embedder(files, backend), take, len(faces), progress)
        flipped = _embedded(Embedder(files, backend), lambda rows: take(rows)[:, :, ::-1], len(faces), progress)
        return features(faces, files, progress, backend=backend) + flipped

    return kept_array(path, sides)


def _embedded(embedder: Embedder, take, count: int, progress: bool) -> np.ndarray:
    from tqdm import tqdm

    parts = []
    step = 16 * embedder.batch_size
    with tqdm(total=count, desc="embedding", unit=" faces", disable=not progress, file=sys.stdout) as bar:
        for start in range(0, count, step):
            parts.append(embedder(take(np.arange(start, min(start + step, count)))))
            bar.update(len(parts[-1]))
    return np.concatenate(parts) if parts else embedder(take(np.arange(0)))
