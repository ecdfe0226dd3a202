"""A list of pairs with its people, resampled: intervals, paired tests and bands of curves in one call each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy import ndarray as Array

from facelib.data.pairs import Pairs
from facelib.metrics import curves
from facelib.metrics.intervals import (
    Comparison,
    Estimate,
    compared,
    estimate,
    identity_weights,
    rank_correlation,
    statistic,
    student_interval,
    weights_in_parts,
)
from facelib.metrics.protocol import margins

KEPT = 1 << 25  # weights that stay in memory for the next estimate, of four bytes


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The bootstrap over people (see `intervals.identity_weights`) of one list of pairs, of 95 %.

    ``labels`` (n,) are the identities of the images that the pairs' rows count; ``replicates`` says how often people
    are drawn with replacement, ``seed`` from which state: two estimates see the same draws. Distances are (m,), one
    per pair. ValueError where a pair is genuine and its people differ, or the other way round.
    """

    pairs: Pairs
    labels: Array
    replicates: int = 1000
    seed: int = 0

    def estimate(self, name: str, distances: Array, at: float | None = None) -> Estimate:
        """One of `intervals.STATISTICS`; replicates that leave it undefined are left out.

        ``at`` is the threshold of the `curves.RATES`, the FAR of "tar_at_far", None for the others.
        """
        return estimate(self.values(name, distances, at), len(self.pairs), self.fewest)

    def values(self, name: str, distances: Array, at: float | None = None) -> Array:
        """The same, and of each draw of people: (1 + replicates,)."""
        return np.concatenate([statistic(name, distances, self.pairs.genuine, w, at) for w in self._weights()])

    def paired(self, name: str, a: Array, b: Array, at=None) -> Comparison:
        """Whether distances a are better than b on the same pairs and draws; ``at`` may be one for each."""
        at_a, at_b = at if isinstance(at, tuple) else (at, at)
        difference = self.values(name, a, at_a) - self.values(name, b, at_b)
        return compared(difference, len(self.pairs), -1 if name in ("far", "frr", "equal_error_rate") else 1)

    def ten_fold(self, distances: Array, minus: Array | None = None) -> Estimate:
        """Accuracy by ten folds of distances (m,), or the mean of k such (k, m); ``minus`` that of others.

        LFW's folds show different people, and the interval is Student's over them. In the tenths of any other list
        people occur again and again: there it is over people.
        """
        rates = []
        for each in (distances,) if minus is None else (distances, minus):
            rates.append(np.mean([self._tenths(row) for row in np.atleast_2d(each)], axis=0))
        found = rates[0] - sum(rates[1:])
        if minus is not None and (self.pairs.fold is None or not found.any()):  # a difference is no share
            return compared(found, len(self.pairs)).difference
        if self.pairs.fold is not None:
            return student_interval(found, len(self.pairs))
        return estimate(found, len(self.pairs), self.fewest)

    def rank_correlation(self, name: str, stated, distances, at: float | None = None) -> Estimate:
        """Spearman's correlation of stated values (k,) with a statistic of k distances (k, m)."""
        return rank_correlation(stated, [self.values(name, each, at) for each in distances], len(self.pairs))

    def band(self, distances: Array, recalls: Array) -> tuple[Array, Array, Array]:
        """Low, median and high precision at recalls in (0, 1]: (k,) each.

        The precision at recall r is that of the smallest threshold whose recall reaches r: the steps whose area is the
        average precision.
        """
        if np.min(recalls) <= 0 or np.max(recalls) > 1:
            raise ValueError("recalls must lie in (0, 1]")
        # Without a recall of 1 no genuine pair was drawn.
        drawn = [p[np.searchsorted(r, recalls)] for r, p, _ in self._rates(distances) if r[-1] == 1]
        return tuple(np.quantile(drawn[1:], [0.025, 0.5, 0.975], axis=0))

    def roc(self, distances: Array) -> tuple[Array, ...]:
        """FAR and TAR over all thresholds; then FARs from the smallest that shows, and the TAR's band there."""
        far, tar, _ = curves.roc(distances, self.pairs.genuine)
        grid = np.geomspace(1 / (~self.pairs.genuine).sum(), 1, 60)
        rates = (each for each in self._rates(distances) if each[0][-1] == each[2][-1] == 1)
        drawn = [r[np.searchsorted(f, grid, "right") - 1] for r, _, f in rates]
        return far, tar, grid, *np.quantile(drawn[1:], [0.025, 0.975], axis=0)

    def enclosure(self, a: Array, b: Array, recalls: Array) -> Estimate:
        """Share of the recalls at which the P-R curve of a is nowhere below that of b: 1 if it encloses it."""
        shares = []
        for (r, p, _), (s, q, _) in zip(self._rates(a), self._rates(b), strict=True):
            if r[-1] == 1:
                shares.append((p[np.searchsorted(r, recalls)] >= q[np.searchsorted(s, recalls)]).mean())
        return estimate(shares, len(self.pairs))

    def accuracies(self, distances: Array, thresholds: Array) -> tuple[Array, Array]:
        """Accuracy over ascending thresholds: (k,) as measured, and (replicates, k)."""
        found = [curves.confusion(distances, self.pairs.genuine, thresholds, w).accuracy for w in self._weights()]
        return found[0][0], np.concatenate(found[1:])

    def far_ratio(self, distances: Array, threshold: float, part: Array) -> Estimate:
        """FAR among the pairs of ``part`` ((m,) bool) over the FAR among the others, at a threshold."""
        weights, passed = np.concatenate(list(self._weights())), distances <= threshold
        some, others = ~self.pairs.genuine & part, ~self.pairs.genuine & ~part
        fars = [curves.ratio(weights[:, k & passed].sum(1), weights[:, k].sum(1)) for k in (some, others)]
        return estimate(curves.ratio(*fars), int((some | others).sum()))

    def thresholds(self, distances: Array) -> Array:
        """Most accurate threshold of the pairs, and of each draw of people within each fold (source): (1 + draws,)."""
        weights = np.ones((1 + self.replicates, len(self.pairs)), int)
        folds = np.zeros(len(self.pairs)) if self.pairs.fold is None else self.pairs.fold
        for number, fold in enumerate(np.unique(folds), 1):
            left, right = (side[folds == fold] for side in self._people)
            weights[1:, folds == fold] = identity_weights(left, right, self.replicates, self.seed + number)
        chosen = (curves.best_threshold(distances, self.pairs.genuine, each) for each in weights if each.any())
        return np.fromiter(chosen, float)

    def nested(self, rate: str, distances: Array, thresholds: Array) -> Estimate:
        """One of `curves.RATES` at the first of some `thresholds`, which other people chose.

        The interval holds both kinds of chance: who was judged, and who chose, whose draws are the other thresholds. It
        takes them for other people.
        """
        genuine, draws = self.pairs.genuine, len(thresholds) - 1
        weights = np.ones((1 + draws, len(genuine)), int)
        weights[1:] = identity_weights(*self._people, draws, self.seed)
        accepted = weights * (distances <= thresholds[:, None])
        positive, negative = (weights[:, kind].sum(1) for kind in (genuine, ~genuine))
        tp, fp = (accepted[:, kind].sum(1) for kind in (genuine, ~genuine))
        found = getattr(curves.Confusion(tp, fp, negative - fp, positive - tp), rate)
        return estimate(found, len(genuine), self.fewest)

    @property
    def people(self) -> int:
        """How many people the pairs show."""
        return len(np.unique(np.concatenate(self._people)))

    @cached_property
    def fewest(self) -> int:
        """People of the genuine pairs, or of the others, whichever are fewer."""
        kinds = self.pairs.genuine, ~self.pairs.genuine
        return min(len(np.unique([side[kind] for side in self._people])) for kind in kinds)

    @cached_property
    def _people(self) -> tuple[Array, Array]:
        left, right = self.pairs.people(self.labels)
        if not np.array_equal(left == right, self.pairs.genuine):
            raise ValueError("a pair must be genuine exactly if its two people are the same")
        return left, right

    def _weights(self) -> Iterator[Array]:
        """Weights (r, m) in parts: first the pairs as they are (r = 1), then resampled."""
        yield np.ones((1, len(self.pairs)), dtype=np.int32)
        yield from self._drawn if self.replicates * len(self.pairs) <= KEPT else self._draws()

    def _draws(self) -> Iterator[Array]:
        return weights_in_parts(*self._people, self.replicates, self.seed)

    @cached_property
    def _drawn(self) -> list[Array]:
        return list(self._draws())

    def _tenths(self, distances: Array) -> Array:
        if self.pairs.fold is None:
            return self.values("accuracy", margins(distances, self.pairs), 0.0)
        return curves.ten_fold(distances, self.pairs.genuine, self.pairs.fold).accuracies

    def _rates(self, distances: Array) -> Iterator[tuple]:
        """Recall (TAR), precision and FAR over all thresholds: as measured, then of each replicate."""
        for weights in self._weights():
            _, tp, fp = curves.cumulative(distances, self.pairs.genuine, weights)
            rates = curves.ratio(tp, tp[:, -1:]), curves.ratio(tp, tp + fp), curves.ratio(fp, fp[:, -1:])
            yield from zip(*rates, strict=True)


def thirds(values: Array) -> dict[str, Array]:
    """Which of some values (n,) are in the lowest, middle and highest third: (n,) bool each; nan is in none."""
    low, high = np.nanquantile(values, [1 / 3, 2 / 3])
    return {"low": values <= low, "middle": (low < values) & (values <= high), "high": values > high}
