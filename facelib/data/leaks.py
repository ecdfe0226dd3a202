"""Leaks between two sets: people of one name, and photographs that both hold."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product

import cv2
import numpy as np
from numpy import ndarray as Array
from PIL import Image

from facelib import runtime
from facelib.data.archives import DatasetError, digest
from facelib.data.packed import PackedFaces
from facelib.data.people import is_number, plain
from facelib.files import write_atomically

FEW = 0.01  # share up to which equal photographs, or people with such, are mistakes in the labels and not copies
COPIES_VERSION = 1  # raised when `near_duplicates` finds others
_ROUGH = 0.55  # what duplicates correlate at least before any shift, rotation and zoom
_SIDE, _INNER, _SHIFT = 48, 34, 3  # pixels: a thumbnail, the square compared, how far it may move
_POSES = tuple(product((-4, -2, 0, 2, 4), (0.92, 0.96, 1, 1.04, 1.08)))  # degrees, zoom


def check_disjoint(names_a: Iterable[str], names_b: Iterable[str]) -> list[str]:
    """Names of a that b has too, sorted; case, spaces, underscores and the Unicode form do not matter.

    Of a name with folders before it, as in sets that were joined, the last part counts. Names without a letter number
    the people of a set and prove nothing across two of them.
    """
    known = {plain(name.rpartition("/")[2]) for name in names_b}
    last = {name: name.rpartition("/")[2] for name in names_a}
    return sorted(name for name, part in last.items() if not is_number(part) and plain(part) in known)


def check_sets(train: PackedFaces, test: PackedFaces, train_set: str, test_set: str) -> list[str]:
    """What to know of two sets of which one trains, a sentence each; DatasetError where people are in both."""
    so = "so the test would score people who were trained on"
    shared = np.flatnonzero(np.isin(test.digests, train.digests))
    if len(shared) > FEW * min(len(train), len(test)):
        raise DatasetError(
            f"'{train_set}' and '{test_set}' hold the same images ({len(shared):,} of {len(test):,}, such as "
            f"'{test.paths[shared[0]]}'), {so}. Choose another test set."
        )
    if people := check_disjoint(train.names, test.names):
        raise DatasetError(
            f"{len(people):,} people of '{train_set}' are in '{test_set}' too by their names, such as '{people[0]}', "
            f"{so}. Choose another test set, leave them out of the training (without), or rename who is somebody else."
        )
    if not len(shared):
        return []
    return [f"{_photographs_are(len(shared), test_set)} in '{train_set}' too, such as '{test.paths[shared[0]]}'."]


def check_people(faces: PackedFaces, name: str) -> list[str]:
    """What to know of a set by equal files, a sentence each; DatasetError where many people are there twice."""
    order = np.lexsort((faces.labels, faces.digests))
    digests, labels = faces.digests[order], faces.labels[order]
    copies = digests[1:] == digests[:-1]
    other = np.flatnonzero(copies & (labels[1:] != labels[:-1]))
    sharing = Counter(zip(labels[other].tolist(), labels[other + 1].tolist(), strict=True))
    sizes = faces.images_per_identity
    twins = [(a, b) for (a, b), shared in sharing.items() if 2 * shared >= min(sizes[a], sizes[b])]
    if len(twins) > FEW * len(faces.names):
        a, b = twins[0]
        raise DatasetError(
            f"'{name}' has people under two names ({len(twins):,}): '{faces.names[a]}' and '{faces.names[b]}' hold the "
            "same photographs. Remove one of the two folders, or put different people's photos into them."
        )
    notes, within = [], int((copies & (labels[1:] == labels[:-1])).sum())
    if sharing:
        a, b = next(iter(sharing))
        pair = f"'{faces.names[a]}' and '{faces.names[b]}'"
        notes.append(f"{_photographs_are(len(other), name)} under two people, such as {pair}.")
    if within:
        notes.append(f"{_photographs_are(within, name)} in the set twice under one person.")
    return notes


def without_copies(faces: PackedFaces, others: PackedFaces) -> PackedFaces:
    """Leave out everybody of whom a photograph is a near-duplicate of one of the others (`near_duplicates`).

    Not that photograph alone: whoever is on it is in the other set. What was found is kept in the cache; finding it
    compares every photo with every other one, some minutes for CelebA and LFW.
    """
    record = runtime.cache_dir() / "copies" / f"{digest([COPIES_VERSION, faces.key, others.key])}.json"
    if not record.exists():
        found, _ = near_duplicates(faces.pixels, others.pixels)  # the maps, which need no memory
        theirs = np.isin(found["j"], others.rows)  # a map holds the photos that a selection leaves out, too
        ours = np.isin(faces.rows, found["i"][theirs])
        write_atomically(record, json.dumps(faces.select(ours).names))
    kept = faces.without(json.loads(record.read_text(encoding="utf-8")))
    if not len(kept):
        raise DatasetError(
            f"'{faces.manifest['source']}' holds nobody of whom '{others.manifest['source']}' has no photograph, too."
        )
    return kept


def _photographs_are(count: int, name: str) -> str:
    return f"1 photograph of '{name}' is" if count == 1 else f"{count:,} photographs of '{name}' are"


def _details(image: Array, poses: Sequence = ((0, 1),)) -> Array:
    """Thumbnail in each pose (p, 48, 48) float32, less the shading that all aligned faces share."""
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
    posed = _details(other, _POSES)[:, wide, wide]
    return float(max(cv2.matchTemplate(each, template, cv2.TM_CCOEFF_NORMED).max() for each in posed))


def _unit_details(images: Array, rows: Array) -> Array:
    distinct, index = np.unique(rows, return_inverse=True)
    details = np.stack([_details(images[row]).ravel() for row in distinct])
    details -= details.mean(axis=1, keepdims=True)
    return (details / np.maximum(np.linalg.norm(details, axis=1, keepdims=True), 1e-6))[index]


def _hashes(images: Array) -> Array:
    import imagehash

    bits = [imagehash.phash(Image.fromarray(image)).hash.ravel() for image in images]
    return np.where(bits, np.float32(1), np.float32(-1))


def near_duplicates(images_a: Array, images_b=None, max_distance=12, min_correlation=0.88):
    """Pairs of images from one photograph, or from two of one moment, that are framed much alike.

    Candidates differ in at most ``max_distance`` of the 64 bits of their perceptual hashes. Aligned faces of different
    people do so too; hence details must correlate as well, by ``min_correlation`` after the best small shift, rotation
    and zoom. The limit comes from pairs of CelebA and LFW that were looked at: above .88 all were duplicates, below .82
    most were not. Copies turned by 4 degrees, zoomed by 4 % or moved by 2 % are found, beyond that fewer and fewer.

    Takes (n, H, W, 3) uint8, memory maps too; without ``images_b``, pairs i < j within ``images_a``. Returns a
    DataFrame of the duplicates (i, j, hamming, correlation) and the number of candidates.
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
