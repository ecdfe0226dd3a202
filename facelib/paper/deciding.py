"""The network that decides, its card, and the features of the people who judge it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facelib import inference, metrics
from facelib.data import aligned, archives, catalog, pairs, protocols
from facelib.data.packed import PackedFaces
from facelib.data.pairs import Pairs
from facelib.inference import cards, decision
from facelib.inference.decision import Card
from facelib.paper.setting import Setting


@dataclass(frozen=True, eq=False)
class Judging:
    """A card, and test people who neither trained its network nor chose its thresholds and probability.

    Attributes
    ----------
    card
        The shipped one, or one that is fitted on validation people.
    faces
        The photos that the pairs name.
    pairs
        Of rows of ``faces``.
    vectors
        (n, d) features of ``faces``.
    lost
        How many photos show no face to the detector and are cut as packed.
    """

    card: Card
    faces: PackedFaces
    pairs: Pairs
    vectors: np.ndarray
    lost: int = 0

    @property
    def distances(self) -> np.ndarray:
        """(m,) of the pairs."""
        return metrics.distance(self.vectors[self.pairs.left], self.vectors[self.pairs.right], self.card.metric)


def shipped(setting: Setting, name: str = decision.DEFAULT) -> Judging:
    """A shipped network on the test pairs, its faces framed by the detector as the card wants them."""
    card = decision.read_card(name)
    setting.used["cards"] = {name: card_key(card)}
    faces, pixels, chosen, lost = framed_pairs(setting, setting.pairs, card.size)
    return Judging(card, faces, chosen, decision.load(name).embedder(pixels), lost)


def framed_pairs(setting: Setting, chosen: Pairs, size: int) -> tuple[PackedFaces, np.ndarray, Pairs, int]:
    """The photos that pairs of the test set name, framed by the detector.

    Returns
    -------
    The photos; (n, size, size, 3) uint8; the pairs as rows of these; how many show no face and are cut as packed.
    """
    rows = np.unique([chosen.left, chosen.right])
    places = np.searchsorted(rows, chosen.left), np.searchsorted(rows, chosen.right)
    faces = setting.scored.select(rows)
    pixels, lost = framed(setting, faces, size)
    return faces, pixels, Pairs(*places, chosen.genuine, chosen.fold), lost


def framed(setting: Setting, faces: PackedFaces, size: int, **how) -> tuple[np.ndarray, int]:
    """Faces of the test set as the detector or a crop frames them, and how many stay as packed; see `aligned.faces`."""
    source = catalog.source(setting["test_set"])
    root = archives.members(source).root
    found = aligned.faces(source, [root + path for path in faces.paths], size, **how)
    pixels = faces.take(np.arange(len(faces)))
    for row, path in enumerate(faces.paths):
        pixels[row] = found.get(root + path, pixels[row])
    return pixels, len(faces) - len(found)


def by_frame(setting: Setting, judged: Judging) -> dict[str, np.ndarray]:
    """How far the pairs lie from the threshold of the other folds (m,), by how photos are framed: cropped, detected.

    Under ``crop.`` and ``detect.``, and both with each photo moved first (see `framing.shaken`), as
    ``crop.perturbed_`` and ``detect.perturbed_``. Nothing of a network that wants faces as packed, or of photos
    without a fixed crop.
    """
    faces, size, chosen = judged.faces, judged.card.size, judged.pairs
    if judged.card.frame != "detect" or not faces.manifest["crop"]:
        return {}
    crop, seed = tuple(faces.manifest["crop"]), setting["seed"]
    pixels = {
        "crop.": faces.take(np.arange(len(faces))),
        "crop.perturbed_": framed(setting, faces, size, crop=crop, moved=seed)[0],
        "detect.perturbed_": framed(setting, faces, size, moved=seed)[0],
    }
    embed = decision.load(judged.card.name).embedder
    vectors = {"detect.": judged.vectors} | {name: embed(each) for name, each in pixels.items()}
    found = {}
    for name in ("crop.", "crop.perturbed_", "detect.", "detect.perturbed_"):
        distances = metrics.distance(vectors[name][chosen.left], vectors[name][chosen.right], judged.card.metric)
        thresholds = metrics.ten_fold(distances, chosen.genuine, chosen.fold).thresholds
        found[name] = distances - thresholds[np.unique(chosen.fold, return_inverse=True)[1]]
    return found


def fitted(setting: Setting) -> Judging:
    """The network of 02 on the test pairs, its card fitted on the validation people as a shipped one is on LFW's."""
    split, done = setting.split, setting.run
    validation, labels = inference.features(split.validation, done.weights, mirror=True), split.validation.labels
    chosen = pairs.draw_by_source(labels, split.validation.sources, setting["validation_pairs"], setting["seed"])
    card = cards.fit_card(
        (validation, labels),
        (metrics.distance(validation[chosen.left], validation[chosen.right], "cosine"), chosen.genuine),
        name=done.row["name"],
        weights=(),
        size=split.test.manifest["size"],
        frame="packed",
        mirror=True,
        trained_on=f"{len(split.train):,} photos of {len(split.train.names):,} people of {setting['train_set']}",
        chosen_on=f"the {len(split.validation.names):,} validation people ({len(split.validation):,} photos): "
        f"thresholds on every impostor pair, probability on {len(chosen):,} drawn pairs",
    )
    vectors = inference.features(split.test, done.weights, mirror=True)
    return Judging(card, split.test, setting.pairs, vectors)


def judging(setting: Setting) -> Judging:
    """`shipped` where the parameter ``shipped_card`` says so, else `fitted`."""
    return shipped(setting) if setting["shipped_card"] else fitted(setting)


def files(setting: Setting) -> dict[str, Path]:
    """Weights by network: that of 02, then the shipped ones that ``robust_networks`` names, the most important last."""
    found = {setting.run.row["name"]: setting.run.weights}
    for name in setting["robust_networks"]:
        setting.used.setdefault("cards", {})[name] = card_key(decision.read_card(name))
        found[name] = decision.weights_folder() / f"{name}.npz"
    return found


def card_key(card: Card) -> str:
    """Changes when anything on the card does, its weights' hash among it."""
    return archives.digest(asdict(card))


def development(setting: Setting) -> tuple[PackedFaces, Pairs]:
    """Faces and pairs that choose: LFW's View 1 without the pairs of View 2, else validation people's."""
    if setting["test_set"] in catalog.LFW_SETS:
        faces = setting.scored
        found = pairs.match_lfw_pairs(protocols.view1("train"), faces.paths)
    else:
        faces = setting.best_split.validation
        found = pairs.draw_by_source(faces.labels, faces.sources, setting["validation_pairs"], setting["seed"])
    return faces, Pairs(found.left, found.right, found.genuine)


def vectors(setting: Setting, faces: PackedFaces) -> np.ndarray:
    """(n, d) features of packed faces, as they are framed, by the network that `judging` judges."""
    if not setting["shipped_card"]:
        return inference.features(faces, setting.run.weights, mirror=True)
    setting.used["cards"] = {decision.DEFAULT: card_key(decision.read_card(decision.DEFAULT))}
    return decision.load(decision.DEFAULT).embedder(faces.take(np.arange(len(faces))))
