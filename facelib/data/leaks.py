"""Leaks between two sets: people of one name, and photographs that both hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product
from unicodedata import normalize

import numpy as np
from numpy import ndarray as Array

_ROUGH = 0.55  # what duplicates correlate at least before any shift, rotation and zoom
_SIDE, _INNER, _SHIFT = 48, 34, 3  # pixels: a thumbnail, the square compared, how far it may move
_POSES = tuple(product((-4, -2, 0, 2, 4), (0.92, 0.96, 1, 1.04, 1.08)))  # degrees, zoom


def check_disjoint(names_a: Iterable[str], names_b: Iterable[str]) -> list[str]:
    """Names of a that b has too, sorted; case, spaces, underscores, Unicode form do not matter."""

    def plain(name):
        return normalize("NFC", re.sub(r"[\s_]", "", normalize("NFC", name).casefold()))

    known = {plain(name) for name in names_b}
    return sorted({name for name in names_a if plain(name) in known})


def _details(image: Array, poses: Sequence = ((0, 1),)) -> Array:
    """Thumbnail in each pose (p, 48, 48) float32, less the shading that all aligned faces share."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    size, posed = (_SIDE, _SIDE), []
    thumbnail = Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX)
    for degrees, zoom in poses:
        c, s = zoom * np.cos(np.deg2rad(degrees)), zoom * np.sin(np.deg2rad(degrees))
        matrix = c, -s, _SIDE / 2 * (1 - c + s), s, c, _SIDE / 2 * (1 - c - s)  # about the centre
        turned = thumbnail.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
        posed.append(np.asarray(turned, dtype=np.float32))
    return posed - gaussian_filter(posed, (0, 3, 3))


def _registered(one: Array, other: Array) -> float:
    """Highest correlation of details over shifts, rotations and zooms of the other image."""
    low, high = (_SIDE - _INNER) // 2, (_SIDE + _INNER) // 2
    wide = slice(low - _SHIFT, high + _SHIFT)
    template = _details(one)[0, low:high, low:high]
    template = template - template.mean()
    posed = _details(other, _POSES)[:, wide, wide]
    windows = np.lib.stride_tricks.sliding_window_view(posed, template.shape, axis=(1, 2))
    square = np.einsum("pxyij,pxyij->pxy", windows, windows)
    spread = square - windows.sum(axis=(-2, -1)) ** 2 / template.size
    match = np.einsum("pxyij,ij->pxy", windows, template)
    return float((match / np.sqrt(np.maximum(spread * (template**2).sum(), 1e-6))).max())


def _unit_details(images: Array, rows: Array) -> Array:
    distinct, index = np.unique(rows, return_inverse=True)
    details = np.stack([_details(images[row]).ravel() for row in distinct])
    details -= details.mean(axis=1, keepdims=True)
    return (details / np.maximum(np.linalg.norm(details, axis=1, keepdims=True), 1e-6))[index]


def _hashes(images: Array) -> Array:
    import imagehash
    from PIL import Image

    bits = [imagehash.phash(Image.fromarray(image)).hash.ravel() for image in images]
    return np.where(bits, np.float32(1), np.float32(-1))


def near_duplicates(images_a: Array, images_b=None, max_distance=12, min_correlation=0.88):
    """Pairs of images from one photograph, or from two of one moment, that are framed much alike.

    Candidates differ in at most `max_distance` of the 64 bits of their perceptual hashes. Aligned
    faces of different people do so too; hence details must correlate as well, by `min_correlation`
    after the best small shift, rotation and zoom. The limit comes from pairs of CelebA and LFW
    that were looked at: above .88 all were duplicates, below .82 most were not. Copies turned by
    4 degrees, zoomed by 4 % or moved by 2 % are found, beyond that fewer and fewer.

    Takes (n, H, W, 3) uint8, memory maps too; without `images_b`, pairs i < j within `images_a`.
    Returns a DataFrame of the duplicates (i, j, hamming, correlation) and the number of candidates.
    """
    import pandas as pd

    within, hashes_a = images_b is None, _hashes(images_a)
    images_b, hashes_b = (images_a, hashes_a) if within else (images_b, _hashes(images_b))
    found = []
    for start in range(0, len(hashes_a), 1024):
        equal = hashes_a[start : start + 1024] @ hashes_b.T  # equal bits less different ones
        i, j = np.nonzero(equal >= 64 - 2 * max_distance)
        found.append(np.stack([start + i, j, (64 - equal[i, j]) / 2]).astype(np.int64))
    candidates = np.concatenate(found, axis=1)
    candidates = candidates[:, candidates[0] < candidates[1]] if within else candidates
    rows = []
    for start in range(0, candidates.shape[1], 4096):
        part = candidates[:, start : start + 4096]
        sides = _unit_details(images_a, part[0]), _unit_details(images_b, part[1])
        alike = part[:, np.einsum("kd,kd->k", *sides) >= _ROUGH].T
        rows += [(i, j, d, _registered(images_a[i], images_b[j])) for i, j, d in alike]
    pairs = pd.DataFrame(rows, columns=["i", "j", "hamming", "correlation"])
    pairs = pairs[pairs["correlation"] >= min_correlation]
    return pairs.sort_values("correlation", ascending=False, ignore_index=True), candidates.shape[1]
