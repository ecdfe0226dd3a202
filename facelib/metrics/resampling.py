"""A list of pairs with its people, resampled: intervals and paired tests in one call each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy import ndarray as Array

from facelib.data.pairs import Pairs
from facelib.metrics import bands, curves, intervals
from facelib.metrics.intervals import Comparison, Estimate


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The bootstrap over people (see `intervals.identity_weights`) of one list of pairs.

    Attributes
    ----------
    pairs
        The pairs whose distances are given.
    labels
        (n,) identities of the images that the pairs' rows count.
    replicates, seed
        How often people are drawn with replacement; from which state. Two estimates see the same draws.
    """

    pairs: Pairs
    labels: Array
    replicates: int = 1000
    seed: int = 0

    def estimate(self, statistic: str, distances: Array, at: float | None = None) -> Estimate:
        """One of `intervals.STATISTICS` with its 95 % interval; see `intervals.bootstrap`."""
        return intervals.bootstrap(statistic, distances, self.pairs.genuine, *self._people, at=at, **self._drawn)

    def values(self, statistic: str, distances: Array, at: float | None = None) -> Array:
        """The same, and of each draw of people: (1 + replicates,)."""
        given = distances, self.pairs.genuine, *self._people
        return intervals.resampled(statistic, *given, at=at, **self._drawn)

    def paired(self, statistic: str, a: Array, b: Array, at=None) -> Comparison:
        """Whether distances a are better than b on the same pairs and draws; see `intervals.paired_bootstrap`."""
        return intervals.paired_bootstrap(statistic, a, b, self.pairs.genuine, *self._people, at=at, **self._drawn)

    def rank_correlation(self, statistic: str, stated, distances, at: float | None = None) -> Estimate:
        """Whether k distances (k, n) order as stated values (k,) do; see `intervals.rank_correlation`."""
        ours = [self.values(statistic, each, at) for each in distances]
        return intervals.rank_correlation(stated, ours, len(self.pairs))

    def band(self, distances: Array, recalls: Array) -> tuple[Array, Array, Array]:
        """Low, median and high precision at recalls; see `bands.precision_recall_band`."""
        return bands.precision_recall_band(distances, self.pairs.genuine, *self._people, recalls, **self._drawn)

    def roc(self, distances: Array) -> tuple[Array, ...]:
        """FAR and TAR over all thresholds; then FARs from the smallest that shows, and the TAR's band there."""
        far, tar, _ = curves.roc(distances, self.pairs.genuine)
        grid = np.geomspace(1 / (~self.pairs.genuine).sum(), 1, 60)
        given = distances, self.pairs.genuine, *self._people, grid
        return far, tar, grid, *bands.roc_band(*given, **self._drawn)

    def enclosure(self, a: Array, b: Array, recalls: Array) -> Estimate:
        """At what share of recalls the P-R curve of distances a is not below that of b; see `bands.enclosure`."""
        return bands.enclosure(a, b, self.pairs.genuine, *self._people, recalls, **self._drawn)

    def far_ratio(self, distances: Array, threshold: float, part: Array) -> Estimate:
        """FAR among the pairs of ``part`` ((n,) bool) over the FAR among the others, at a threshold."""
        drawn = intervals.identity_weights(*self._people, **self._drawn)
        weights, passed = np.concatenate([np.ones_like(drawn[:1]), drawn]), distances <= threshold
        some, others = ~self.pairs.genuine & part, ~self.pairs.genuine & ~part
        fars = [curves.ratio(weights[:, k & passed].sum(1), weights[:, k].sum(1)) for k in (some, others)]
        values = curves.ratio(*fars)
        low, high = np.nanquantile(values[1:], [0.025, 0.975])
        return Estimate(float(values[0]), float(low), float(high), int((some | others).sum()))

    def accuracies(self, distances: Array, thresholds: Array) -> tuple[Array, Array]:
        """Accuracy over thresholds (k,), and over the draws (replicates, k); see `bands.accuracy_curves`."""
        return bands.accuracy_curves(distances, self.pairs.genuine, self._people, thresholds, **self._drawn)

    def thresholds(self, distances: Array) -> Array:
        """Most accurate threshold of the pairs, and of each draw of people within each fold (source): (1 + draws,)."""
        weights = np.ones((1 + self.replicates, len(self.pairs)), int)
        folds = np.zeros(len(self.pairs)) if self.pairs.fold is None else self.pairs.fold
        for number, fold in enumerate(np.unique(folds), 1):
            left, right = (side[folds == fold] for side in self._people)
            weights[1:, folds == fold] = intervals.identity_weights(left, right, self.replicates, self.seed + number)
        chosen = (curves.best_threshold(distances, self.pairs.genuine, each) for each in weights if each.any())
        return np.fromiter(chosen, float)

    def nested(self, rate: str, distances: Array, thresholds: Array) -> Estimate:
        """One of `curves.RATES` at the first of some `thresholds`, which other people chose.

        The interval holds both kinds of chance: who was judged, and who chose, whose draws are the other thresholds.
        """
        genuine, draws = self.pairs.genuine, len(thresholds) - 1
        weights = np.ones((1 + draws, len(genuine)), int)
        weights[1:] = intervals.identity_weights(*self._people, draws, self.seed)
        accepted = weights * (distances <= thresholds[:, None])
        positive, negative = (weights[:, kind].sum(1) for kind in (genuine, ~genuine))
        tp, fp = (accepted[:, kind].sum(1) for kind in (genuine, ~genuine))
        values = getattr(curves.Confusion(tp, fp, negative - fp, positive - tp), rate)
        low, high = np.nanquantile(values[1:], [0.025, 0.975])
        return Estimate(float(values[0]), float(low), float(high), len(genuine))

    @property
    def people(self) -> int:
        """How many people the pairs show."""
        return len(np.unique(np.concatenate(self._people)))

    @cached_property
    def _people(self) -> tuple[Array, Array]:
        return self.pairs.people(self.labels)

    @property
    def _drawn(self) -> dict[str, int]:
        return {"replicates": self.replicates, "seed": self.seed}


def thirds(values: Array) -> dict[str, Array]:
    """Which of some values (n,) are in the lowest, middle and highest third: (n,) bool each; nan is in none."""
    low, high = np.nanquantile(values, [1 / 3, 2 / 3])
    return {"low": values <= low, "middle": (low < values) & (values <= high), "high": values > high}
