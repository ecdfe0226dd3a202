"""The network that decides, its card, and the features of the people who judge it."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from facelib import inference, metrics
from facelib.data import aligned, archives, catalog, corruptions, pairs, protocols, quality
from facelib.data.packed import PackedFaces
from facelib.data.pairs import Pairs
from facelib.inference import cards, decision
from facelib.inference.decision import Card
from facelib.paper import choosing
from facelib.paper.setting import Setting


@dataclass(frozen=True, eq=False)
class Judging:
    """A card, and test people who neither trained its network nor chose its thresholds and probability."""

    card: Card  # the shipped one, or one that is fitted on validation people
    faces: PackedFaces  # all photos of the test people
    pairs: Pairs  # of rows of ``faces``
    vectors: np.ndarray  # (n, d) features of ``faces``
    # Distances (k,) of the pairs that fitted the card's probability, and whether each is genuine; None if not at hand.
    calibrated_on: tuple[np.ndarray, np.ndarray] | None = None
    lost: int = 0  # how many photos show no face to the detector and are cut as packed

    def between(self, some: Pairs) -> np.ndarray:
        """Distances (m,) of pairs of ``faces``."""
        return metrics.distance(self.vectors[some.left], self.vectors[some.right], self.card.metric)

    @property
    def distances(self) -> np.ndarray:
        """(m,) of the pairs."""
        return self.between(self.pairs)


def shipped(setting: Setting, name: str = decision.DEFAULT, everybody: bool = True) -> Judging:
    """A shipped network on the test pairs, its faces framed by the detector as the card wants them.

    Without ``everybody`` of LFW's photos only those count that View 1 or View 2 names.
    """
    card = decision.read_card(name)
    setting.used["cards"][name] = card_key(card)
    faces, test, is_lfw = setting.scored, setting.pairs, setting["test_set"] in catalog.LFW_SETS
    view1 = (
        {part: pairs.match_lfw_pairs(protocols.view1(part), faces.paths) for part in ("train", "test")}
        if is_lfw
        else {}
    )
    if is_lfw and not everybody:
        rows = np.unique(np.concatenate([side for each in (test, *view1.values()) for side in (each.left, each.right)]))
        faces, test, view1 = faces.select(rows), test.among(rows), {p: each.among(rows) for p, each in view1.items()}
    named = np.zeros(len(faces), bool)
    named[np.concatenate([test.left, test.right])] = True
    vectors, lost = None, 0
    for rows in filter(len, (np.flatnonzero(named), np.flatnonzero(~named))):  # others frame those of the pairs alone
        pixels, missed = framed(setting, faces.select(rows), card.size)
        found, lost = embedded(card, pixels), lost + missed
        vectors = np.empty((len(faces), found.shape[1]), found.dtype) if vectors is None else vectors
        vectors[rows] = found
    judged = Judging(card, faces, test, vectors, lost=lost)
    known = (judged.between(view1["test"]), view1["test"].genuine) if is_lfw else None
    return replace(judged, calibrated_on=known)


def other_networks(setting: Setting) -> dict[str, Judging]:
    """`shipped` of the other networks with a card: 02's, and those that ``robust_networks`` names.

    Where 02's network has no shipped card, that of `compare`, if the people are real, not CelebA's, and of one set.
    """
    if not setting["shipped_card"]:
        name, *others = catalog.parts_of(setting["test_set"])
        left_out = others or name in catalog.DEMO_SETS or name.startswith("celeb")
        return {} if left_out else {decision.DEFAULT: shipped(setting)}
    names = [setting["run"], *setting["robust_networks"]]
    carded = [name for name in names if (decision.weights_folder() / f"{name}.json").exists()]
    return {name: shipped(setting, name, everybody=False) for name in carded if name != decision.DEFAULT}


def embedded(card: Card, pixels: np.ndarray) -> np.ndarray:
    """Features (n, d) of framed faces (n, S, S, 3) by a shipped network's fastest engine, computed once and kept."""
    files = [decision.weights_folder() / each.file for each in card.weights]
    backend = inference.exact_backend(files[0])
    return inference.features(pixels, files, progress=False, mirror=card.mirror, backend=backend)


def framed_pairs(setting: Setting, chosen: Pairs, size: int) -> tuple[PackedFaces, np.ndarray, Pairs, int]:
    """The photos that pairs of the test set name, framed by the detector.

    Returns the photos; (n, size, size, 3) uint8; the pairs as rows of these; how many show no face and are cut as
    packed.
    """
    rows, chosen = chosen.compact()
    faces = setting.scored.select(rows)
    pixels, lost = framed(setting, faces, size)
    return faces, pixels, chosen, lost


def framed(setting: Setting, faces: PackedFaces, size: int, **how) -> tuple[np.ndarray, int]:
    """Faces of the test set as the detector or a crop frames them, and how many stay as packed; see `aligned.faces`.

    Of several faces in a photo LFW means the central one, and any other set, as `packing.pack` does, the largest.
    """
    source = catalog.source(setting["test_set"])
    root, which = archives.members(source).root, "central" if setting["test_set"] in catalog.LFW_SETS else "largest"
    found = aligned.faces(source, [root + path for path in faces.paths], size, which, **how)
    pixels = faces.take(np.arange(len(faces)))
    for row, path in enumerate(faces.paths):
        pixels[row] = found.get(root + path, pixels[row])
    return pixels, len(faces) - len(found)


def by_frame(setting: Setting, judged: Judging) -> dict[str, np.ndarray]:
    """How far the pairs lie from the threshold of the other folds (m,), by how photos are framed.

    Under ``centre.`` (a fixed crop), ``box.`` and ``aligned.`` (the detector's box, and its landmarks); the first and
    last with each photo moved too (see `framing.shaken`), as ``centre.perturbed_``. Nothing of a network that wants
    faces as packed, or of photos without a fixed crop.
    """
    rows, chosen = judged.pairs.compact()
    faces, card, seed = judged.faces.select(rows), judged.card, setting["seed"]
    if card.frame != "detect" or not faces.manifest["crop"]:
        return {}
    crop = tuple(faces.manifest["crop"])
    ways = {
        "centre.perturbed_": {"crop": crop, "moved": seed},
        "box.": {"box": True},
        "aligned.perturbed_": {"moved": seed},
    }
    pixels = {"centre.": faces.take(np.arange(len(faces)))}
    pixels |= {name: framed(setting, faces, card.size, **how)[0] for name, how in ways.items()}
    vectors = {name: embedded(card, each) for name, each in pixels.items()} | {"aligned.": judged.vectors[rows]}
    found = {}
    for name, each in sorted(vectors.items()):
        distances = metrics.distance(each[chosen.left], each[chosen.right], card.metric)
        found[name] = metrics.margins(distances, chosen)
    return found


def by_difficulty(setting: Setting, judged: Judging) -> dict[str, tuple[Pairs, np.ndarray, np.ndarray]]:
    """The pairs by how hard their photos are, with their distances and margins (m,), as `metrics.margins` has them.

    By the head that is turned further: ``easy`` and ``medium`` are the first two thirds, the last one is ``turned``.
    The easy pairs come again with both photos taken in 32 x 32 pixels, and with a mask on one of them: ``small`` and
    ``masked``. ``hard`` is these three together. Pairs in which no face is found in the framed photo are left out.
    """
    rows, chosen = judged.pairs.compact()
    faces, card = judged.faces.select(rows), judged.card
    pixels = framed(setting, faces, card.size)[0] if card.frame == "detect" else faces.take(np.arange(len(faces)))
    turn = quality.turned(pixels)
    if np.isnan(turn).all():
        return {}
    limits = judged.distances - metrics.margins(judged.distances, judged.pairs)
    thirds = metrics.thirds(np.maximum(turn[chosen.left], turn[chosen.right]))
    easy, vectors = chosen.select(thirds["low"]), judged.vectors[rows]
    small, masked = vectors.copy(), vectors.copy()
    some = np.union1d(easy.left, easy.right)
    small[some] = vectors_of(setting, corruptions.corrupt(pixels[some], "pixels", 32))
    some = np.unique(easy.right)
    masked[some] = vectors_of(setting, corruptions.corrupt(pixels[some], "mask", 1))
    sides = {"small": (small, small), "masked": (vectors, masked)}
    parts = {}
    for name, third in {"easy": "low", "medium": "middle", "turned": "high", "small": "low", "masked": "low"}.items():
        some, (left, right) = thirds[third], sides.get(name, (vectors, vectors))
        parts[name] = some, metrics.distance(left[chosen.left[some]], right[chosen.right[some]], card.metric)
    levels = {"easy": ["easy"], "medium": ["medium"], "hard": ["turned", "small", "masked"]}
    found = {}
    for level, names in (levels | {name: [name] for name in levels["hard"]}).items():
        some = np.concatenate([np.flatnonzero(parts[name][0]) for name in names])
        distances = np.concatenate([parts[name][1] for name in names])
        if 0 < judged.pairs.genuine[some].sum() < len(some):
            found[level] = judged.pairs.select(some), distances, distances - limits[some]
    return found


def fitted(setting: Setting) -> Judging:
    """The network of 02 on the test pairs, its card fitted on the validation people as a shipped one is on LFW's."""
    split, done = setting.split, setting.run
    validation, labels = inference.features(split.validation, done.weights, mirror=True), split.validation.labels
    chosen = choosing.by_source(setting, split.validation)
    distances = metrics.distance(validation[chosen.left], validation[chosen.right], "cosine")
    card = cards.fit_card(
        (validation, labels),
        (distances, chosen.genuine),
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
    return Judging(card, split.test, setting.pairs, vectors, (distances, chosen.genuine))


def judging(setting: Setting) -> Judging:
    """`shipped` where the parameter ``shipped_card`` says so, else `fitted`."""
    return shipped(setting) if setting["shipped_card"] else fitted(setting)


def files(setting: Setting) -> dict[str, Path]:
    """Weights by network: that of 02, then the shipped ones that ``robust_networks`` names, the most important last."""
    found = {setting.run.row["name"]: setting.run.weights}
    for name in setting["robust_networks"]:
        setting.used["cards"][name] = card_key(decision.read_card(name))
        found[name] = decision.weights_folder() / f"{name}.npz"
    return found


def card_key(card: Card) -> str:
    """Changes when anything on the card does that decides, its weights' hash among it."""
    return archives.digest({name: value for name, value in asdict(card).items() if name != "far_of_all"})


def vectors(setting: Setting, faces: PackedFaces) -> np.ndarray:
    """(n, d) features of packed faces, as they are framed, by the network that `judging` judges."""
    return vectors_of(setting, faces.take(np.arange(len(faces))))


def vectors_of(setting: Setting, pixels: np.ndarray, network: str = decision.DEFAULT) -> np.ndarray:
    """The same of framed faces (n, S, S, 3) uint8; ``network`` names another shipped one, where it is one of these."""
    if not setting["shipped_card"]:
        return inference.features(pixels, setting.run.weights, progress=False, mirror=True)
    card = decision.read_card(network)
    setting.used["cards"][card.name] = card_key(card)
    return embedded(card, pixels)
