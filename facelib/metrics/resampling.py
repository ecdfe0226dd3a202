"""A list of pairs with its people, resampled: intervals and paired tests in one call each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy import ndarray as Array

from facelib.data.pairs import Pairs
from facelib.metrics import intervals
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

    def paired(self, statistic: str, a: Array, b: Array, at=None) -> Comparison:
        """Whether distances a are better than b on the same pairs and draws; see `intervals.paired_bootstrap`."""
        return intervals.paired_bootstrap(statistic, a, b, self.pairs.genuine, *self._people, at=at, **self._drawn)

    def rank_correlation(self, statistic: str, stated, distances, at: float | None = None) -> Estimate:
        """Whether k distances (k, n) order as stated values (k,) do; see `intervals.rank_correlation`."""
        given = stated, distances, self.pairs.genuine, *self._people
        return intervals.rank_correlation(statistic, *given, at=at, **self._drawn)

    def band(self, distances: Array, recalls: Array) -> tuple[Array, Array, Array]:
        """Low, median and high precision at recalls; see `intervals.precision_recall_band`."""
        return intervals.precision_recall_band(distances, self.pairs.genuine, *self._people, recalls, **self._drawn)

    def accuracies(self, distances: Array, thresholds: Array) -> tuple[Array, Array]:
        """Accuracy over thresholds (k,), and over the draws (replicates, k); see `intervals.accuracy_curves`."""
        return intervals.accuracy_curves(distances, self.pairs.genuine, self._people, thresholds, **self._drawn)

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
