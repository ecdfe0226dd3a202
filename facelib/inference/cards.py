"""The card of a network, made from LFW's photos that judge nothing: thresholds, and the probability of one person."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facelib.data import aligned, archives, catalog, pairs, protocols
from facelib.inference.decision import Card, Weights, weights_folder
from facelib.inference.embedder import Embedder
from facelib.metrics import curves
from facelib.metrics.calibration import far_thresholds, fit_logistic
from facelib.metrics.distances import distance

FARS = (1e-1, 1e-2, 1e-3)
_VARIANTS = {"lfw": "deep-funneled", "lfw-funneled": "funneled"}


def make_card(
    name: str, weights: Sequence[str], trained_on: str, mirror: bool = True, metric: str = "cosine", size: int = 64
) -> Card:
    """Thresholds and calibration of exported networks, from LFW's photos with faces framed by `detection`.

    Thresholds are chosen on all impostor pairs of the people who do not occur in View 2, the probability on View 1's
    DevTest pairs without the genuine ones that View 2 holds too; what is known of View 2 are its names. A photo shows
    the face that is nearest to its middle; photos without one are left out. ``weights`` are names of ``.onnx`` files in
    ``data/weights/``, ``trained_on`` says in words on what.
    """
    files = [weights_folder() / f"{each}.onnx" for each in weights]
    judged = protocols.people(pairs.read_lfw_pairs(catalog.lfw_pairs_file()))
    photos, development = lfw_photos(), protocols.view1("test")
    outside = [path for path in photos if _person(path) not in judged]
    named = {image for pair in development for image in _images(pair)}
    faces = aligned_lfw(sorted({*outside, *(path for path in photos if _image(path) in named)}), size)
    embedder = Embedder(files, "onnx", mirror=mirror)
    features = dict(zip(faces, embedder(np.stack(list(faces.values()))), strict=True))

    outside = [path for path in outside if path in features]
    vectors = np.stack([features[path] for path in outside])
    people = np.array([_person(path) for path in outside])
    by_image = {_image(path): vector for path, vector in features.items()}
    usable = [pair for pair in development if all(image in by_image for image in _images(pair))]
    sides = [np.stack([by_image[_images(pair)[side]] for pair in usable]) for side in (0, 1)]
    distances, genuine = distance(sides[0], sides[1], metric), np.array([pair.genuine for pair in usable])
    chosen_on = (
        f"{_VARIANTS[catalog.lfw_variant()]} LFW: thresholds on every impostor pair of the {len(set(people)):,} people "
        f"({len(people):,} photos) who do not occur in View 2; probability on {len(usable)} pairs of View 1 (DevTest) "
        "that View 2 does not hold"
    )
    return fit_card(
        (vectors, people),
        (distances, genuine),
        name=name,
        weights=tuple(Weights(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files),
        size=size,
        frame="detect",
        metric=metric,
        mirror=mirror,
        trained_on=trained_on,
        chosen_on=chosen_on,
    )


def fit_card(
    choosing: tuple[np.ndarray, np.ndarray], calibrating: tuple[np.ndarray, np.ndarray], metric: str = "cosine", **facts
) -> Card:
    """A card with thresholds and calibration of its own, and the other facts as given.

    ``choosing`` are features (n, d) and identities (n,) of photos whose impostor pairs, all of them, choose the
    thresholds; ``calibrating`` distances (m,) of people's pairs, and whether each is genuine: what the probability is
    fitted on, and ``tar`` counted.
    """
    vectors, people = choosing
    among = np.stack([distance(np.broadcast_to(one, vectors.shape), vectors, metric) for one in vectors])
    thresholds = far_thresholds(among, people, FARS)
    distances, genuine = calibrating
    return Card(
        **facts,
        metric=metric,
        thresholds=tuple(thresholds),
        tar=tuple(
            None if each.threshold is None else curves.confusion(distances, genuine, each.threshold).recall
            for each in thresholds
        ),
        calibration=fit_logistic(distances, genuine),
    )


def lfw_photos() -> frozenset[str]:
    """Paths of LFW's photos as its archive or folder has them."""
    return archives.members(catalog.find("lfw")).images


def aligned_lfw(paths: Sequence[str], size: int = 64, progress: bool = True) -> dict[str, np.ndarray]:
    """Faces (size, size, 3) uint8 of some of `lfw_photos`, framed by `detection`, by path; without those not found."""
    return aligned.faces(catalog.find("lfw"), paths, size, "central", progress)


def _person(path: str) -> str:
    return Path(path).parent.name


def _image(path: str) -> tuple[str, int]:
    return _person(path), int(Path(path).stem.rpartition("_")[2])


def _images(pair: pairs.LfwPair) -> tuple[tuple[str, int], tuple[str, int]]:
    return (pair.name_left, pair.number_left), (pair.name_right, pair.number_right)
