"""The network that decides, its card, and the features of the people who judge it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from facelib import inference, metrics
from facelib.data import aligned, archives, catalog, pairs
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
    faces, chosen = setting.scored, setting.pairs
    rows = np.unique([chosen.left, chosen.right])
    places = np.searchsorted(rows, chosen.left), np.searchsorted(rows, chosen.right)
    faces, card = faces.select(rows), decision.read_card(name)
    setting.used["cards"] = {name: card_key(card)}
    [(pixels, lost)] = framed(setting, [faces], card.size)
    vectors = decision.load(name).embedder(pixels)
    return Judging(card, faces, Pairs(*places, chosen.genuine, chosen.fold), vectors, lost)


def framed(setting: Setting, parts: list[PackedFaces], size: int) -> list[tuple[np.ndarray, int]]:
    """Of parts of the test set the faces as the detector frames them, (n, size, size, 3) uint8 each.

    A photo in which it finds none is cut as packed; how many there were stands beside the faces.
    """
    source = catalog.source(setting["test_set"])
    root = archives.members(source).root
    done = []
    for faces in parts:
        inside = [root + path for path in faces.paths]
        found = aligned.faces(source, inside, size)
        pixels = faces.take(np.arange(len(faces)))
        for row, path in enumerate(inside):
            pixels[row] = found.get(path, pixels[row])
        done.append((pixels, len(inside) - len(found)))
    return done


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


def card_key(card: Card) -> str:
    """Changes when anything on the card does, its weights' hash among it."""
    return archives.digest(asdict(card))
