"""The fast gradient sign method on the decision about a pair (Goodfellow et al. 2015, equation of section 4)."""

import os

import numpy as np

from facelib import models
from facelib.data.packed import to_input
from facelib.metrics.distances import l2_normalise

BATCH = 64


def signs(weights: str | os.PathLike, faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which way each pixel brings a face closest to another one: (n, H, W, 3) int8 of -1, 0 or 1.

    The sign of the gradient of the cosine between the feature of a face (n, H, W, 3) uint8, by a network's file of
    weights, and that of the other face of its pair, ``others`` (n, d), by the face's pixels.
    """
    from facelib._paddle import paddle

    network = models.load_weights(weights)
    directions = l2_normalise(others).astype(np.float32)
    found = []
    for start in range(0, len(faces), BATCH):
        pixels = paddle.to_tensor(to_input(faces[start : start + BATCH]), stop_gradient=False)
        aims = paddle.to_tensor(directions[start : start + BATCH])
        cosines = paddle.nn.functional.cosine_similarity(network(pixels), aims)
        (gradient,) = paddle.grad(cosines.sum(), pixels)  # each cosine depends on its own face alone
        found.append(np.sign(gradient.numpy()).astype(np.int8).transpose(0, 2, 3, 1))
    return np.concatenate(found) if found else np.zeros(faces.shape, np.int8)


def attacked(faces: np.ndarray, ways: np.ndarray, epsilon: int) -> np.ndarray:
    """Faces (n, H, W, 3) uint8, each pixel moved by epsilon of 255 the way that ``ways`` (n, H, W, 3) says."""
    return np.clip(faces.astype(np.int16) + epsilon * ways.astype(np.int16), 0, 255).astype(np.uint8)
