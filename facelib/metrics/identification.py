"""Who is it? Ranks in a gallery where everybody is enrolled (closed set), and detection where some are not (open set).

``distances`` (m, g) are those of probes to the photos of a gallery, ``gallery`` (g,) the identities of its photos, and
a person's distance is that of the nearest photo. After Phillips, Grother and Micheals 2011, "Evaluation methods in face
recognition" (Handbook of Face Recognition, chapter 21).
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from facelib.metrics.intervals import Estimate, estimate

RANKS, FARS = (1, 5), (1e-1, 1e-2)


@dataclass(frozen=True, eq=False)
class Probes:
    """What searching a gallery came to."""

    rank: Array  # (m,) int of enrolled probes: 1 if the right person is nearest, and nobody else as near
    distance: Array  # (m,) to the right person
    people: Array  # (m,) their identities
    strangers: Array  # (s,) distances of the probes who are not enrolled to whoever is nearest

    def cmc(self, most: int) -> Array:
        """Cumulative match characteristic: share of probes whose person is among the nearest 1, 2, ... (most,)."""
        return np.cumsum(np.bincount(self.rank, minlength=most + 1)[1 : most + 1]) / len(self.rank)

    def detected(self, far: float) -> float:
        """Detection and identification rate (DIR) at the threshold that takes a share of strangers for somebody."""
        return _detected(self, np.ones(len(self.rank)), self.strangers, far)

    @property
    def fars(self) -> list[float]:
        """Those of `FARS` at which a stranger or more would pass."""
        return [far for far in FARS if far * len(self.strangers) >= 1 - 1e-9]

    def judge(self, replicates: int = 1000, seed: int = 0) -> dict[str, Estimate]:
        """``rank1``, ``rank5``, ``dir_at_far_1e-1`` and ``dir_at_far_1e-2``, with 95 % intervals over people.

        A FAR of less than one stranger is left out. People are drawn with replacement, enrolled ones with all their
        probes, and strangers; the gallery stays.
        """
        _, person = np.unique(self.people, return_inverse=True)
        rng, fars = np.random.default_rng(seed), self.fars
        values = []
        for replicate in range(replicates + 1):
            weights, strangers = np.ones(len(person)), self.strangers
            if replicate:
                count = person.max() + 1
                weights = np.bincount(rng.integers(count, size=count), minlength=count)[person].astype(float)
                strangers = rng.choice(strangers, len(strangers))
            found = {f"rank{rank}": np.average(self.rank <= rank, weights=weights) for rank in RANKS}
            found |= {f"dir_at_far_1e-{-np.log10(far):.0f}": _detected(self, weights, strangers, far) for far in fars}
            values.append(found)
        counts = {name: len(self.rank) + len(self.strangers) * name.startswith("dir") for name in values[0]}
        people = int(person.max()) + 1
        return {name: estimate([each[name] for each in values], n, people) for name, n in counts.items()}


def search(distances: Array, probes: Array, gallery: Array) -> Probes:
    """`Probes` of identities (m,), those who have no photo in the gallery being the strangers."""
    people, column = np.unique(gallery, return_inverse=True)
    nearest = np.full((len(distances), len(people)), np.inf)
    for place, person in enumerate(column):
        np.minimum(nearest[:, person], distances[:, place], out=nearest[:, person])
    enrolled = np.isin(probes, people)
    own = np.searchsorted(people, probes[enrolled])
    right = nearest[enrolled, own] if len(own) else np.empty(0)
    rank = (nearest[enrolled] <= right[:, None]).sum(1)
    return Probes(rank, right, probes[enrolled], nearest[~enrolled].min(1))


def threshold(strangers: Array, far: float) -> float:
    """The largest distance within which at most a share of strangers' nearest distances (s,) lies."""
    ordered = np.sort(strangers)
    most = int(far * len(ordered) + 1e-9)
    return float(np.nextafter(ordered[most], -np.inf)) if most < len(ordered) else np.inf


def _detected(found: Probes, weights: Array, strangers: Array, far: float) -> float:
    hits = (found.rank == 1) & (found.distance <= threshold(strangers, far))
    return float(np.average(hits, weights=weights))
