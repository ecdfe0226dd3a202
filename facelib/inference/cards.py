"""The card of a network, made from LFW's photos that judge nothing: thresholds, and the probability of one person."""

from collections.abc import Sequence

import numpy as np

from facelib.data import catalog, packing, pairs, protocols
from facelib.files import checksum
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
    ``data/weights/``, of ``.npz`` files where one has not been exported; ``trained_on`` says in words on what.
    """
    exported = all((weights_folder() / f"{each}.onnx").exists() for each in weights)
    files = [weights_folder() / f"{each}{'.onnx' if exported else '.npz'}" for each in weights]
    faces = packing.pack(catalog.source("lfw"), size, detect="central")
    outside, test = protocols.outside_view2(faces), pairs.match_lfw_pairs(protocols.view1("test"), faces.paths, True)
    embedder = Embedder(files, "onnx" if exported else "dygraph", mirror=mirror)
    left, right = (embedder(faces.take(rows)) for rows in (test.left, test.right))
    chosen_on = (
        f"{_VARIANTS[catalog.lfw_variant()]} LFW: thresholds on every impostor pair of the {len(outside.names):,} "
        f"people ({len(outside):,} photos) who do not occur in View 2; probability on {len(test)} pairs of View 1 "
        "(DevTest) that View 2 does not hold"
    )
    return fit_card(
        (embedder(outside.take(slice(None))), np.array(outside.names)[outside.labels]),
        (distance(left, right, metric), test.genuine),
        name=name,
        weights=tuple(Weights(file.name, checksum(file)) for file in files),
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
    limits = [each.threshold for each in thresholds]
    distances, genuine = calibrating
    return Card(
        **facts,
        metric=metric,
        thresholds=tuple(thresholds),
        tar=tuple(None if at is None else curves.confusion(distances, genuine, at).recall for at in limits),
        calibration=fit_logistic(distances, genuine),
    )
