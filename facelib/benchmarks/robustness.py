"""Networks under worse photos, under attack and under updates."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facelib import inference, metrics
from facelib.benchmarks.scores import kept_distances
from facelib.data import aligned, archives, catalog, corruptions, images
from facelib.data.packed import PackedFaces
from facelib.data.pairs import Pairs
from facelib.inference import attack, updates
from facelib.inference.updates import Batch
from facelib.metrics import Bootstrap, Estimate, curves
from facelib.training import distillation

SIDE = 128  # of the photos that are made worse: LFW's faces have about so many pixels
NN1_SIDE = 220  # of the input of FaceNet's NN1, on which its tables rest
PEER = "SFace"
LEAST = 4  # photos of a person in the stream, the control photo among them
_BLOCK = 512
Embed = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Bench:
    """Photos (n, SIDE, SIDE, 3) uint8, their identities (n,), pairs of their rows, those pairs' places in the list."""

    photos: np.ndarray
    labels: np.ndarray
    pairs: Pairs
    numbers: np.ndarray

    def first(self, count: int) -> "Bench":
        """The first pairs of each kind and their photos."""
        kinds = self.pairs.genuine, ~self.pairs.genuine
        chosen = np.sort(np.concatenate([np.flatnonzero(kind)[:count] for kind in kinds]))
        rows, pairs = self.pairs.select(chosen).compact()
        return Bench(self.photos[rows], self.labels[rows], pairs, self.numbers[chosen])

    def features(self, networks: dict[str, Embed], kind: str | None = None, severity=None) -> dict[str, np.ndarray]:
        """Features (n, d) of the photos under one of `corruptions.SEVERITIES`, by network; by default as they are."""
        found: dict[str, list] = {name: [] for name in networks}
        for start in range(0, len(self.photos), _BLOCK):
            photos = self.photos[start : start + _BLOCK]
            worse = corruptions.corrupt(photos, kind, severity) if kind else photos
            for name, embed in networks.items():
                found[name].append(embed(worse))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def distances(self, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Cosine distances (m,) of the pairs, by network."""
        left, right = self.pairs.left, self.pairs.right
        return {name: metrics.distance(each[left], each[right], "cosine") for name, each in vectors.items()}

    def thresholds(self, distances: np.ndarray) -> np.ndarray:
        """Of each pair the threshold that is best on the other folds: (m,)."""
        found = curves.ten_fold(distances, self.pairs.genuine, self.pairs.fold)
        return found.thresholds[np.unique(self.pairs.fold, return_inverse=True)[1]]


def bench(faces: PackedFaces, chosen: Pairs, name: str) -> Bench:
    """Pairs of a packed set of this name with their photos, framed as they were packed but with `SIDE` pixels."""
    rows, pairs = Pairs(chosen.left, chosen.right, chosen.genuine, chosen.folds).compact()
    faces = faces.select(rows)
    source = catalog.source(name)
    listing = archives.members(source)
    inside = {listing.root + path: row for row, path in enumerate(faces.paths)}
    photos = np.empty((len(faces), SIDE, SIDE, 3), np.uint8)
    which, *_ = faces.manifest.get("detect") or [None]
    found = aligned.faces(source, list(inside), SIDE, which) if which else {}
    for path, face in found.items():
        photos[inside[path]] = face
    for path, content in listing.read([path for path in inside if path not in found]):
        if isinstance(content, str):
            raise images.Unreadable(f"'{path}' {content}: it was packed, restore it.")
        photos[inside[path]] = images.decode(content, SIDE, faces.manifest["crop"]).pixels
    return Bench(photos, faces.labels, pairs, np.arange(len(pairs)))


def embedders(weights: dict[str, Path], size: int) -> dict[str, Embed]:
    """Of each network what takes photos to features, unmirrored, by its fastest engine; ``size`` in pixels."""

    def embed(path: Path) -> Embed:
        engine = inference.Embedder(path, inference.exact_backend(path))
        return lambda photos: engine(small(photos, size))

    return {name: embed(path) for name, path in weights.items()}


def small(photos: np.ndarray, size: int) -> np.ndarray:
    """Photos (n, S, S, 3) with (size, size) pixels."""
    return np.stack([corruptions.resize(photo, size) for photo in photos])


def by_side(table: dict[int, float], size: int) -> dict[int, float]:
    """FaceNet's table by numbers of pixels, under our sides that are about as large a part of the input."""
    sides = np.array(corruptions.SEVERITIES["pixels"])
    wanted = {size * count**0.5 / NN1_SIDE: value for count, value in table.items()}
    return {int(sides[abs(sides - side).argmin()]): value for side, value in wanted.items()}


def peer(judged: Bench, count: int, kinds: Iterable[str], key: str, rendered: bool) -> dict[str, np.ndarray]:
    """SFace's distances: of all pairs as they are (``"clean"``), and of the first ``count`` of each kind made worse.

    The latter under a corruption of ``kinds`` and its severity, ``"jpeg.50"``. They are kept in ``data/scores``, with
    the ``key`` of the faces, since a face takes it some 17 ms. FileNotFoundError where they are neither there nor can
    be computed; ``rendered`` faces are no test of a network for real ones.
    """
    named = {f"{kind}.{each}": (kind, each) for kind in kinds for each in corruptions.SEVERITIES[kind]}
    columns = [column.tolist() for column in (judged.pairs.left, judged.pairs.right)]
    parts = columns, count, sorted(named), corruptions.CORRUPTIONS_VERSION, distillation.TEACHER_SHA256

    def seen() -> dict[str, np.ndarray]:
        if rendered:
            raise FileNotFoundError("SFace was made for real faces; these are rendered.")
        views = {PEER: lambda photos: distillation.teacher_sees(photos, len(photos))}
        found, part = {"clean": judged.distances(judged.features(views))[PEER]}, judged.first(count)
        for name, (kind, severity) in tqdm(named.items(), desc=PEER, file=sys.stdout):
            found[name] = part.distances(part.features(views, kind, severity))[PEER]
        return found

    return kept_distances(f"sface-{archives.digest([key, *parts])}", seen)


def attacks(
    part: Bench,
    weights: dict[str, Path],
    networks: dict[str, Embed],
    limits: dict[str, np.ndarray],
    size: int,
    epsilons: Sequence[int],
    drawn: tuple[int, int],
) -> dict[tuple[str, str, int], Estimate]:
    """Share of the right decisions that stay right when one photo of each pair is attacked.

    Under (the network whose gradients are used, the network that decides, epsilon). ``limits`` are the thresholds (m,)
    of the pairs by network, ``drawn`` replicates and seed of the bootstrap over people.
    """
    clean, pairs = part.features(networks), part.pairs
    right = {name: (found <= limits[name]) == pairs.genuine for name, found in part.distances(clean).items()}
    faces, found = small(part.photos[pairs.right], size), {}
    for source, path in weights.items():
        ways = attack.signs(path, faces, clean[source][pairs.left])
        ways[pairs.genuine] *= -1  # away from a photo of the same person, towards one of another
        for epsilon in epsilons:
            worse = attack.attacked(faces, ways, epsilon)
            for name, embed in networks.items():
                moved = metrics.distance(clean[name][pairs.left], embed(worse), "cosine") - limits[name]
                kept = Bootstrap(pairs.select(right[name]), part.labels, *drawn)
                found[source, name, epsilon] = kept.estimate("accuracy", moved[right[name]], 0.0)
    return found


def arrivals(vectors: np.ndarray, labels: np.ndarray, batches: int, seed: int) -> tuple[list[Batch], Batch]:
    """A stream of photos in random order, and the first photo of each person, for control, which is never in it.

    People have `LEAST` photos or more of the features (n, d), or as many as there are of anybody.
    """
    names, places = np.array([str(label) for label in labels]), np.arange(len(labels))
    known = np.bincount(labels)[labels] >= min(LEAST, np.bincount(labels).max())
    control = np.unique(labels, return_index=True)[1]
    control = control[known[control]]
    order = np.random.default_rng(seed).permutation(places[known & ~np.isin(places, control)])
    stream = [(names[rows], vectors[rows]) for rows in np.array_split(order, batches)]
    return stream, (names[control], vectors[control])


def poisoned(batch: Batch, seed: int) -> Batch:
    """The batch with its names dealt out anew."""
    return np.random.default_rng(seed).permutation(batch[0]), batch[1]


def releases(whole: Bench, embed: Embed, vectors: dict[str, np.ndarray], current: str) -> dict[str, np.ndarray]:
    """Whether each pair is decided right (m,), by networks in place of the current one, and by ways to run that."""
    mirrored = np.concatenate([embed(part[:, :, ::-1]) for part in np.array_split(whole.photos, 16) if len(part)])
    ways = {
        "mirrored_photos": mirrored,
        "with_mirror": vectors[current] + mirrored,
        "half_its_features": vectors[current][:, ::2],
    }
    found = whole.distances(vectors | ways)
    return {name: (each <= whole.thresholds(each)) == whole.pairs.genuine for name, each in found.items()}


def passing(new: np.ndarray, old: np.ndarray, whole: Bench, times: int, seed: int) -> Estimate:
    """How often `updates.p_value` lets a network through on the pairs among a random half of the people."""
    left, right = whole.pairs.people(whole.labels)
    people = np.unique([left, right])
    rng = np.random.default_rng(seed)
    passed = 0
    for _ in range(times):
        half = np.zeros(people.max() + 1, bool)
        half[rng.choice(people, len(people) // 2, replace=False)] = True
        inside = half[left] & half[right]
        passed += updates.p_value(new[inside], old[inside]) < updates.LEVEL
    return metrics.wilson_interval(int(passed), times)
