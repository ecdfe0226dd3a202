"""A threshold chosen on some people and used on others: collections with people who choose and people who judge."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy import ndarray as Array

from facelib import metrics
from facelib.data import archives, catalog, pairs
from facelib.data.packed import PackedFaces
from facelib.data.pairs import Pairs
from facelib.metrics import Bootstrap, Estimate
from facelib.paper import choosing, deciding
from facelib.paper.deciding import Judging
from facelib.paper.setting import Setting
from facelib.training import distillation

PAPER = 9.0  # the paper's threshold of Euclidean distances (section 7.1)


@dataclass(frozen=True, eq=False)
class Collection:
    """Features (n, d), identities (n,), pairs that choose a threshold (None: there are none), and pairs that judge."""

    vectors: Array
    labels: Array
    choose: Pairs | None
    judge: Pairs
    role: str = "other"  # or "held out", "test"

    def distances(self, some: Pairs, metric: str, centre: Array | float = 0) -> Array:
        """Distances (m,) of pairs after subtracting one feature (d,) from all."""
        return metrics.distance(self.vectors[some.left] - centre, self.vectors[some.right] - centre, metric)

    @property
    def mean(self) -> Array:
        """Mean feature (d,) of the photos that choose."""
        return self.vectors[self.choose.compact()[0]].mean(0) if self.choose else np.zeros(self.vectors.shape[1])


def collections(setting: Setting, judged: Judging, held_out: PackedFaces, others: str) -> dict[str, Collection]:
    """People held out of training, the test people, and those of the sets that a parameter names, by the sets' names.

    Half of the people (families) choose and half judge; of LFW View 1 without the pairs of View 2 chooses, View 2
    judges. ``relatives`` has impostor pairs of one family, which is what stands before the ``-`` of a person's name.
    No set on which the network was trained is among the others, and none whose halves lack pairs of either kind; nor
    rendered people beside photos of the user's own.
    """
    found: dict[str, Collection] = {}

    def put(name: str, faces: PackedFaces, groups: Array | None, role: str = "other", vectors: Array | None = None):
        groups = np.array(faces.names)[faces.labels] if groups is None else groups
        first = np.isin(groups, np.unique(groups)[::2])
        if not all(pairs.at_most(faces.labels[half], 1) for half in (first, ~first)):
            return  # a half lacks pairs of one kind
        whole, relatives = _halves(setting, faces, groups, first, vectors, name == "families", judged.card.name)
        found[_key(name) + "_test" * (_key(name) in found)] = replace(whole, role=role)
        found.update({"relatives": relatives} if relatives and role == "other" else {})

    put(setting["train_set"], held_out, None, "held out")
    if setting["test_set"] in catalog.LFW_SETS:
        choose = choosing.lfw_chooses(judged.faces, setting["seed"])
        found[_key(setting["test_set"])] = Collection(judged.vectors, judged.faces.labels, choose, judged.pairs, "test")
    else:
        put(setting["test_set"], judged.faces, None, "test", judged.vectors)
    contents = {}
    for name in catalog.parts_of(setting[others]):
        if name in judged.card.trained_on or setting.is_of_the_user and name in catalog.DEMO_SETS:
            continue
        faces = catalog.load(name, progress=False)
        contents[name] = faces.manifest["content"]
        family = np.array([person.split("-")[0] for person in faces.names])[faces.labels]
        put(name, faces, family)
    setting.used["sets"][setting[others]] = archives.digest(contents)
    return found


def got(found: dict[str, Collection], metric: str, replicates: int, seed: int) -> dict[tuple[str, str], dict]:
    """FAR and accuracy (`Estimate`) by who chose the threshold and on whom it is used, with both kinds of chance.

    Thresholds are the most accurate ones of those who choose; ``paper_9`` is the paper's, of Euclidean distances.
    """
    chosen = {"paper_9": ("euclidean", np.full(1 + replicates, PAPER))}
    for name, each in found.items():
        if each.choose:
            people = Bootstrap(each.choose, each.labels, replicates, seed)
            chosen[name] = metric, people.thresholds(each.distances(each.choose, metric))
    table: dict[tuple[str, str], dict[str, Estimate]] = {}
    for name, each in found.items():
        people = Bootstrap(each.judge, each.labels, replicates, seed)
        for of, (used, thresholds) in chosen.items():
            distances = each.distances(each.judge, used)
            rates = {rate: people.nested(rate, distances, thresholds) for rate in ("far", "accuracy")}
            table[of, name] = rates
    return table


def _halves(
    setting: Setting, faces: PackedFaces, groups: Array, first: Array, vectors: Array | None, padded: bool, network: str
) -> tuple[Collection, Collection | None]:
    """The first half (n,) bool of the photos and the rest; and relatives, where a group (n,) has several people."""
    count, seed = setting["validation_pairs"], setting["seed"]
    lists = []
    for half in (first, ~first):
        rows = np.flatnonzero(half)
        drawn = pairs.draw_by_source(faces.labels[rows], faces.sources[rows], count, seed)
        lists.append(Pairs(rows[drawn.left], rows[drawn.right], drawn.genuine, drawn.fold))
    rows = np.flatnonzero(~first)
    of = {group: rows[groups[rows] == group] for group in np.unique(groups[rows])}
    related = sum(pairs.existing(faces.labels[some])[1] for some in of.values())
    related = pairs.at_most(faces.labels[rows], min(count, related))
    if related:
        drawn = pairs.draw_pairs(faces.labels[rows], related, related, seed, groups[rows])
        lists.append(Pairs(rows[drawn.left], rows[drawn.right], drawn.genuine))
    if vectors is None:
        rows = np.unique(np.concatenate([side for each in lists for side in (each.left, each.right)]))
        pixels = faces.take(rows)
        pixels = np.stack([distillation.padded(face) for face in pixels]) if padded else pixels
        some = deciding.vectors_of(setting, pixels, network)
        vectors = np.zeros((len(faces), some.shape[1]), some.dtype)
        vectors[rows] = some
    whole = Collection(vectors, faces.labels, lists[0], lists[1])
    return whole, Collection(vectors, faces.labels, None, lists[2]) if related else None


def _key(name: str) -> str:
    return re.sub(r"\W+", "_", Path(name).name)
