"""Test people in an album: who is enrolled, who is a stranger, and what becomes of their photos in galleries."""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import cosine_distances

from facelib import inference, metrics
from facelib.benchmarks import peers
from facelib.data import archives, catalog, detection, images
from facelib.data.packed import PackedFaces
from facelib.inference import decision, gallery, recognition
from facelib.inference.recognition import Seen
from facelib.metrics import clustering, identification
from facelib.paper import deciding
from facelib.paper.setting import Setting

MANY = 10  # photos of a person that a clustering is judged on, at least
ENROLLED = 3  # photos of each person in the gallery that pictures are held against


@dataclass(frozen=True, eq=False)
class Album:
    """All photos of the test people, and photos of other people who may choose."""

    card: decision.Card  # of the network; shipped, or fitted as `deciding.judging` says
    faces: PackedFaces
    vectors: np.ndarray  # (n, d) features of ``faces``
    choosing: tuple[np.ndarray, np.ndarray]  # features and identities of people who judge no clustering
    judge: np.ndarray  # (n,) bool: photos of people who did not choose
    lost: int = 0  # how many photos show no face to the detector and are cut as packed
    choosers: PackedFaces | None = None  # the photos of ``choosing``

    @property
    def fewest(self) -> int:
        """Photos that a person has at least on whom clustering is judged: `MANY`, two where hardly anybody has them."""
        judged = np.unique(self.faces.labels[self.judge])
        return MANY if (self.faces.images_per_identity[judged] >= MANY).sum() > 1 else 2

    def many(self) -> np.ndarray:
        """Rows of the people who did not choose and have `fewest` photos or more."""
        return np.flatnonzero(self.judge & (self.faces.images_per_identity[self.faces.labels] >= self.fewest))


def album(setting: Setting) -> Album:
    """The album of the shipped network, or of that of 02, as the parameter ``shipped_card`` says.

    In LFW those who may choose are the people who do not occur in View 2.
    """
    judged = deciding.judging(setting)
    if not setting["shipped_card"]:
        validation = setting.split.validation
        choosing = inference.features(validation, setting.run.weights, mirror=True), validation.labels
        judge = np.full(len(judged.faces), True)
        return Album(judged.card, judged.faces, judged.vectors, choosing, judge, choosers=validation)
    labels = judged.faces.labels
    judge = np.isin(labels, labels[np.concatenate([judged.pairs.left, judged.pairs.right])])
    choosing, choosers = (judged.vectors[~judge], labels[~judge]), judged.faces.select(np.flatnonzero(~judge))
    return Album(judged.card, judged.faces, judged.vectors, choosing, judge, judged.lost, choosers)


def search(album: Album) -> identification.Probes:
    """Everybody with two photos or more is enrolled with the first; the other photos ask, and so do strangers.

    Strangers are the people with one photo or, where nobody has just one, every third person.
    """
    labels, counts = album.faces.labels, album.faces.images_per_identity
    stranger = counts == 1 if (counts == 1).any() else np.arange(len(counts)) % 3 == 0
    enrolled = (album.faces.positions == 0) & ~stranger[labels]
    far = cdist(album.vectors[~enrolled], album.vectors[enrolled], album.card.metric)
    return identification.search(far, labels[~enrolled], labels[enrolled])


def thresholds(album: Album) -> pd.DataFrame:
    """How clusters at each of the card's thresholds agree with the people who choose; a row per FAR."""
    vectors, labels = album.choosing
    known = [each for each in album.card.thresholds if each.threshold is not None] if len(labels) else []
    rows = []
    for each in known:
        found = clustering.clusters(vectors, each.threshold, album.card.metric)
        rows.append({"far": each.far, "threshold": each.threshold} | clustering.agreement_of(found, labels))
    return pd.DataFrame(rows).set_index("far") if rows else pd.DataFrame()


def limit(album: Album, tried: pd.DataFrame) -> tuple[float | None, float]:
    """FAR and distance at which photos are sorted: of `thresholds` those that sort best, or the card's strictest.

    None, and the distance of even odds, where the card has no threshold.
    """
    known = {each.far: each.threshold for each in album.card.thresholds if each.threshold is not None}
    if not known:
        distances = np.linspace(0, 2, 2001)
        return None, float(distances[abs(album.card.calibration.probability(distances, 0.5) - 0.5).argmin()])
    agreed = tried["pairwise_f"].dropna() if len(tried) else tried
    far = float(agreed.idxmax()) if len(agreed) else min(known)
    return far, known[far]


def likeness(setting: Setting, faces: PackedFaces) -> tuple[np.ndarray, np.ndarray]:
    """`clustering.likeness` of the photos whose person has another one, and their labels, by `deciding.judging`'s."""
    found = clustering.likeness(deciding.vectors(setting, faces), faces.labels)
    return found[~np.isnan(found)], faces.labels[~np.isnan(found)]


def by_patterns(album: Album) -> tuple[np.ndarray, float]:
    """Clusters (n,) of the photos of `Album.many` by their local binary patterns, and the FAR of their threshold.

    By Bhattacharyya's coefficient of the histograms. Of the thresholds that let so many of the choosing people's
    impostor pairs pass as the card's FARs say, the one with the best pairwise F on those people.
    """

    def patterns(faces: PackedFaces) -> np.ndarray:
        return np.sqrt(peers.lbp_histograms(faces.take(np.arange(len(faces)))))

    vectors, labels = patterns(album.choosers), album.choosers.labels
    far = cosine_distances(vectors)[labels[:, None] > labels]
    limits = {each.far: float(np.quantile(far, each.far)) for each in album.card.thresholds}
    tried = {key: clustering.clusters(vectors, limit) for key, limit in limits.items()}
    best = max(tried, key=lambda key: np.nan_to_num(clustering.agreement_of(tried[key], labels)["pairwise_f"]))
    return clustering.clusters(patterns(album.faces.select(album.many())), limits[best]), best


def one_among_strangers(album: Album, threshold: float, strangers: int, seed: int = 0) -> pd.DataFrame:
    """Cluster each person's photos together with one photo each of drawn strangers, who did not choose either.

    Returns a row per person of `Album.many`: ``together``, the share of the photos in the cluster that has most of
    them, and ``pure``, the share of that cluster that is theirs.
    """
    labels = album.faces.labels
    first = np.flatnonzero((album.faces.positions == 0) & album.judge)
    rng = np.random.default_rng(seed)
    rows = []
    for person in np.unique(labels[album.many()]):
        others = first[labels[first] != person]
        others = rng.choice(others, min(strangers, len(others)), replace=False)
        mixed = np.concatenate([np.flatnonzero(labels == person), others])
        found, own = clustering.clusters(album.vectors[mixed], threshold, album.card.metric), labels[mixed] == person
        largest = np.bincount(found[own]).argmax()
        rows.append({"together": (found[own] == largest).mean(), "pure": own[found == largest].mean()})
    return pd.DataFrame(rows)


def misfiled(labels: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is another person's, and which those are: (n,) int and bool."""
    rng = np.random.default_rng(seed)
    wrong = np.zeros(len(labels), bool)
    wrong[rng.permutation(len(labels))[: round(share * len(labels))]] = True
    people = np.unique(labels)
    place = np.searchsorted(people, labels)
    moved = (place + rng.integers(1, len(people), len(labels))) % len(people)
    return people[np.where(wrong, moved, place)], wrong


@dataclass(frozen=True, eq=False)
class Pictures:
    """People enrolled from their photos, and pictures of three of them that were not enrolled.

    ``shown`` has of each picture its pixels, what was seen in it, and the three names; ``panels`` of each name the face
    nearest to the middle of its third, or None.
    """

    gallery: gallery.Gallery
    refused: dict[str, str]
    shown: list[tuple[np.ndarray, list[Seen], list[str]]] = field(default_factory=list)

    @property
    def panels(self) -> list[tuple[str, Seen | None]]:
        found = []
        for pixels, seen, names in self.shown:
            width = pixels.shape[1] / len(names)
            for place, name in enumerate(names):
                middle = np.array([(place + 0.5) * width, pixels.shape[0] / 2])
                inside = [each for each in seen if place * width <= each.face.centre[0] < (place + 1) * width]
                away = [np.linalg.norm(each.face.centre - middle) for each in inside]
                found.append((name, inside[int(np.argmin(away))] if inside else None))
        return found


def pictures(setting: Setting, most: int) -> Pictures | None:
    """Enrol three photos each of the test set's first people with four or more; show the fourth ones in threes.

    By the shipped network and the detector, from the photos as they are. Where fewer than three people have so many,
    two or one of each are enrolled, and pictures may show fewer people; None where no photo can be enrolled.
    """
    verifier = decision.load()
    listing = archives.members(catalog.source(setting["test_set"]))
    paths = defaultdict(list)
    for path in sorted(listing.images):
        paths[Path(path).parent.name].append(path)
    having = {each: [name for name in sorted(paths) if len(paths[name]) > each] for each in range(ENROLLED, 0, -1)}
    enrolled = next((each for each, names in having.items() if len(names) >= 3), 1)
    people = having[enrolled][:most]
    together = max(1, min(3, len(people)))
    people = people[: len(people) // together * together]
    content: dict[str, Any] = dict(listing.read([path for name in people for path in paths[name][: enrolled + 1]]))
    photos = [(name, path, content[path]) for name in people for path in paths[name][:enrolled]]
    with tempfile.TemporaryDirectory() as folder:
        try:
            known, refused = gallery.enrol(Path(folder, "people.npz"), photos, verifier, "central")
        except detection.FaceError as reason:
            print(f"No picture: {reason}")
            return None
    found = Pictures(known, refused)
    for start in range(0, len(people), together):
        names = people[start : start + together]
        pixels = side_by_side([images.decode_whole(content[paths[n][enrolled]], detection.LONGEST) for n in names])
        found.shown.append((*recognition.identify(known, pixels, verifier), names))
    return found


def side_by_side(photos: Sequence[np.ndarray]) -> np.ndarray:
    """Photos as one picture, each as a square of the first one's height."""
    side = len(photos[0])
    return np.hstack([np.asarray(Image.fromarray(photo).resize((side, side))) for photo in photos])


def named(found: Pictures) -> tuple[metrics.Estimate, metrics.Estimate]:
    """Share of the people in the pictures who get their own name, and of those who get another one."""
    given = [(name, seen.name if seen else None) for name, seen in found.panels]
    right = sum(name == other for name, other in given)
    wrong = sum(other is not None and name != other for name, other in given)
    return metrics.wilson_interval(right, len(given)), metrics.wilson_interval(wrong, len(given))
