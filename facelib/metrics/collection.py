"""All pairs of a collection's photos, its people resampled: rates as low as so many pairs can show."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from facelib.metrics.calibration import FEWEST
from facelib.metrics.curves import ratio
from facelib.metrics.distances import l2_normalise
from facelib.metrics.intervals import Estimate, estimate

REACH = 4  # times as many impostor pairs are kept as the largest rate asks for


@dataclass(frozen=True, eq=False)
class EveryPair:
    """Cosine distances of all genuine pairs, and of the closest impostor pairs, in ascending order.

    The latter are four times as many as the largest rate asks for: what people's draws can reach, but for rare ones
    of very uneven collections, which stop there.
    """

    genuine: Array  # (g,)
    owner: Array  # (g,) whose pair it is; people are counted from 0
    impostor: Array  # (k,)
    left: Array  # (k,) its two people
    right: Array  # (k,)
    photos: Array  # (p,) each person has

    @property
    def impostors(self) -> int:
        """How many pairs of two people there are."""
        return int(self.photos.sum() ** 2 - (self.photos**2).sum()) // 2

    def matched(self, fmrs: Iterable[float], replicates: int = 1000, seed: int = 0) -> dict[float, list[Estimate]]:
        """TAR at false match rates, of all genuine pairs and with each person counting alike; n counts all pairs.

        1 - TAR is the false non-match rate of ISO/IEC 19795-1, FNMR@FMR. The threshold is the largest that keeps the
        rate, in every draw of people anew (see `intervals.identity_weights`). Rates of fewer than 30 pairs are left
        out.
        """
        rates = [rate for rate in fmrs if rate * self.impostors >= FEWEST]
        if max(rates, default=0) * self.impostors > len(self.impostor) / (REACH - 1):
            raise ValueError(
                f"The closest {len(self.impostor):,} impostor pairs do not tell of a rate of {max(rates)}."
            )
        people, rng = len(self.photos), np.random.default_rng(seed)
        pairs = np.bincount(self.owner, minlength=people)
        values = np.empty((1 + replicates, len(rates), 2))
        for number, row in enumerate(values):
            drawn = np.bincount(rng.integers(people, size=people), minlength=people) if number else np.ones(people)
            passed, all_of = np.cumsum(drawn[self.left] * drawn[self.right]), drawn * self.photos
            total = (all_of.sum() ** 2 - (all_of**2).sum()) / 2
            for place, rate in enumerate(rates):
                beyond = min(np.searchsorted(passed, rate * total + 1e-9, side="right"), len(passed) - 1)
                right = self.owner[: np.searchsorted(self.genuine, self.impostor[beyond])]
                accepted = np.bincount(right, minlength=people)
                of_each = accepted / np.maximum(pairs, 1)
                row[place] = ratio(drawn @ accepted, drawn @ pairs), ratio(drawn @ of_each, drawn[pairs > 0].sum())
        n, several = self.impostors + len(self.genuine), int((pairs > 0).sum())
        return {rate: [estimate(each, n, several) for each in values[:, k].T] for k, rate in enumerate(rates)}

    def accepted(self, threshold: float, replicates: int = 1000, seed: int = 0) -> Estimate:
        """TAR of a threshold among all genuine pairs, 95 % over people; n counts these pairs."""
        people = len(self.photos)
        draws = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), replicates)
        drawn = np.vstack([np.ones(people), draws])
        pairs = np.bincount(self.owner, minlength=people)
        within = np.bincount(self.owner[self.genuine <= threshold], minlength=people)
        return estimate(ratio(drawn @ within, drawn @ pairs), len(self.genuine), int((pairs > 0).sum()))


def every_pair(vectors: Array, people: Array, fmr: float = 1e-3, block: int = 1024) -> EveryPair:
    """`EveryPair` of features (n, d) and identities (n,), for false match rates up to ``fmr``.

    A block of rows at a time, so that memory holds ``block`` x n cosines.
    """
    unit = l2_normalise(vectors).astype(np.float32)
    _, person, photos = np.unique(people, return_inverse=True, return_counts=True)
    most = REACH * int(fmr * (len(person) ** 2 - (photos**2).sum()) / 2) + 2
    genuine, owner, near, at = [], [], np.empty(0, np.float32), np.empty((2, 0), int)
    for start in range(0, len(unit), block):
        cosine = unit[start : start + block] @ unit[start:].T
        same = person[start : start + block, None] == person[start:]
        one, _ = own = np.nonzero(np.triu(same, 1))
        genuine.append(1 - cosine[own])
        owner.append(person[start + one])
        cosine[same] = -np.inf
        cosine[np.tril_indices(*cosine.shape[:1])] = -np.inf
        least = np.partition(cosine, cosine.size - most, axis=None)[-most] if cosine.size > most else -1
        new = np.nonzero(cosine >= max(least, -1))
        near = np.concatenate([near, 1 - cosine[new]])
        at = np.concatenate([at, start + np.array(new)], axis=1)
        closest = np.argsort(near, kind="stable")[:most]
        near, at = near[closest], at[:, closest]
    order = np.argsort(np.concatenate(genuine))
    left, right = person[at]
    return EveryPair(np.concatenate(genuine)[order], np.concatenate(owner)[order], near, left, right, photos)


def far_of_all(
    vectors: Array, people: Array, thresholds: Iterable[float], replicates: int = 1000, seed: int = 0, block: int = 1024
) -> list[Estimate]:
    """Share of all impostor pairs of features (n, d) and identities (n,) within each cosine distance; 95 % over people.

    Pairs are counted by their two people: an identity drawn c times counts c times in each of its pairs (see
    `intervals.identity_weights`). About ``block`` rows at a time, so that memory holds ``block`` x n cosines.
    """
    order = np.argsort(people, kind="stable")
    unit = l2_normalise(np.asarray(vectors)[order]).astype(np.float32)
    _, begin, photos = np.unique(np.asarray(people)[order], return_index=True, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(photos), np.full(len(photos), 1 / len(photos)), replicates)
    drawn = np.vstack([np.ones(len(photos)), draws]).astype(np.float32)  # sums of counts are exact below 2 ** 24
    limits = list(thresholds)
    accepted = np.zeros((len(limits), 1 + replicates))
    for some in np.array_split(np.arange(len(photos)), min(len(photos), -(-len(unit) // block))):
        first = begin[some[0]]
        distances = 1 - unit[first : begin[some[-1]] + photos[some[-1]]] @ unit.T
        for place, limit in enumerate(limits):
            near = np.add.reduceat(distances <= limit, begin, axis=1, dtype=np.float32)
            near = np.add.reduceat(near, begin[some] - first, axis=0)
            near[np.arange(len(some)), some] = 0  # pairs of one person
            accepted[place] += ((drawn @ near.T) * drawn[:, some]).sum(1, dtype=float)
    total = (drawn @ photos.astype(float)) ** 2 - (drawn**2) @ (photos.astype(float) ** 2)
    return [estimate(ratio(each, total), int(total[0]) // 2, len(photos)) for each in accepted]


def fisher_ratio(vectors: Array, people: Array, replicates: int = 1000, seed: int = 0) -> Estimate:
    """tr(S_B) / tr(S_W) of features of length one, over people with two photos or more; n counts photos.

    S_B = sum_i n_i (m_i - m)(m_i - m)', and S_W is the scatter around each person's own mean m_i. 95 % over people.
    """
    _, person, photos = np.unique(people, return_inverse=True, return_counts=True)
    sums = np.zeros((len(photos), vectors.shape[1]))
    np.add.at(sums, person, l2_normalise(vectors))
    sums, photos = sums[photos > 1], photos[photos > 1]
    centred = (sums**2).sum(1) / photos  # n_i |m_i|^2
    draws = np.random.default_rng(seed).multinomial(len(photos), np.full(len(photos), 1 / len(photos)), replicates)
    counts = np.vstack([np.ones(len(photos)), draws])
    between = counts @ centred - ((counts @ sums) ** 2).sum(1) / (counts @ photos)
    ratios = between / (counts @ (photos - centred))
    return estimate(ratios, int(photos.sum()))


def scatter(features: Array, labels: Array) -> Array:
    """Within and between people, (2, k): the parts of tr(S_W) and tr(S_B) of each; features (n, d), labels (n,)."""
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), features.shape[1]))
    np.add.at(sums, labels, features)
    means = sums / counts[:, None]
    within = np.bincount(labels, ((features - means[labels]) ** 2).sum(1))
    return np.stack([within, counts * ((means - features.mean(0)) ** 2).sum(1)])
