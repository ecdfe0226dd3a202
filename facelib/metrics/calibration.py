"""From a distance to a decision: the threshold for a false accept rate, and the probability of one person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

FEWEST = 30  # false accepts that a threshold must rest on: a rate of 0 to 1 % with fewer is a guess


@dataclass(frozen=True)
class FarThreshold:
    """The largest threshold that keeps the false accept rate of some people within a target.

    Both intervals are 95 % over resampled people: of the threshold that would have been chosen, and of the rate that
    other such people would have at a threshold chosen so, with both kinds of chance: who chose and who was scored.
    Where the pairs are too few, ``reason`` stands in the place of numbers.
    """

    far: float
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    far_low: float | None = None
    far_high: float | None = None
    reason: str = ""


def far_thresholds(
    distances: Array, people: Array, fars: Sequence[float], replicates: int = 1000, seed: int = 0
) -> list[FarThreshold]:
    """Thresholds for target rates from every impostor pair of a collection, by the distances (n, n) of its photos.

    ``people`` (n,) are the photos' identities, which are drawn with replacement: an identity drawn c times counts c
    times in each of its pairs (see `intervals.identity_weights`).
    """
    _, person, photos = np.unique(people, return_inverse=True, return_counts=True)
    left, right = np.triu_indices(len(person), 1)
    other = person[left] != person[right]
    left, right = person[left[other]], person[right[other]]
    values = distances[np.triu_indices(len(person), 1)][other].astype(np.float64)
    count = len(values)
    reach = min(count, 2 * int(max(fars) * count) + 1)  # resampling seldom moves a quantile further
    order = np.argsort(values)[:reach]
    values, left, right = values[order], left[order], right[order]
    accepted = {far: _accepted(values, int(far * count + 1e-9)) for far in fars if far * count >= FEWEST}
    enough = [far for far in accepted if accepted[far]]

    rng = np.random.default_rng(seed)
    chosen, rates = {far: [] for far in enough}, {far: [] for far in enough}
    last = {far: accepted[far] - 1 for far in enough}  # the pair at the threshold of an independent draw: that before
    for _ in range(replicates if enough else 0):
        drawn = np.bincount(rng.integers(len(photos), size=len(photos)), minlength=len(photos))
        weights = np.cumsum(drawn[left] * drawn[right])
        each = drawn * photos
        total = (each.sum() ** 2 - (each**2).sum()) / 2
        if not total:  # one person alone was drawn
            continue
        for far in enough:
            rates[far].append(weights[last[far]] / total)
            last[far] = max(0, np.searchsorted(weights, far * total, side="right") - 1)
            chosen[far].append(values[last[far]])
    return [
        FarThreshold(far, float(values[accepted[far] - 1]), *_ends(chosen[far]), *_ends(rates[far]))
        if far in enough
        else FarThreshold(far, reason=f"not enough pairs: {far:g} of {count:,} different ones are under {FEWEST}")
        for far in fars
    ]


def _accepted(values: Array, most: int) -> int:
    """How many of the ascending values the largest threshold accepts that accepts no more than `most` of them."""
    if most < len(values) and values[most] == values[most - 1]:  # all equal ones are accepted together, or none
        most = int(np.searchsorted(values, values[most], side="left"))
    return most


def _ends(values: list[float]) -> tuple[float, float]:
    return tuple(np.quantile(values, [0.025, 0.975]).tolist())


class Calibration:
    """A distance as evidence: its `log_ratio`, the natural logarithm of how many times likelier it is for one person.

    Ratios are cut where they would pass the number of pairs of the rarer kind that fitted them: so many show no more.
    """

    def probability(self, distance, prior: float = 0.5):
        """For a distance, or an array of them, where a share `prior` of all pairs shows one person."""
        if not 0 < prior < 1:
            raise ValueError(f"The prior is the share of pairs that show one person, between 0 and 1; got {prior}.")
        odds = np.exp(self.log_ratio(distance)) * prior / (1 - prior)
        return odds / (1 + odds)

    def log_ratio(self, distance):
        raise NotImplementedError


@dataclass(frozen=True)
class Logistic(Calibration):
    """A line for the logarithm of the ratio, cut at `most` and at its inverse."""

    slope: float
    intercept: float
    most: float
    genuine: int  # pairs that it was fitted on
    impostor: int

    def log_ratio(self, distance):
        line = self.slope * np.asarray(distance, dtype=np.float64) + self.intercept
        return np.clip(line, -np.log(self.most), np.log(self.most))


@dataclass(frozen=True, eq=False)
class Isotonic(Calibration):
    """Ratios that fall with the distance: straight lines between the logarithms `ratios` (k,) at `distances` (k,)."""

    distances: Array
    ratios: Array

    def log_ratio(self, distance):
        return np.interp(distance, self.distances, self.ratios)


def fit_isotonic(distances: Array, genuine: Array) -> Isotonic:
    """Pool adjacent violators with both kinds of pairs weighted alike (Zadrozny and Elkan 2002), cut as `Logistic`."""
    from sklearn.isotonic import IsotonicRegression

    genuine = np.asarray(genuine, dtype=bool)
    count = np.array([(~genuine).sum(), genuine.sum()])
    if not count.all():
        raise ValueError(f"A calibration needs pairs of both kinds: got {count[1]} genuine, {count[0]} impostor.")
    least = 1 / (1 + count.min())
    model = IsotonicRegression(y_min=least, y_max=1 - least, increasing=False)
    model.fit(distances, genuine.astype(float), 1 / count[genuine.astype(int)])
    shares = model.y_thresholds_
    return Isotonic(model.X_thresholds_, np.log(shares / (1 - shares)))


def fit_logistic(distances: Array, genuine: Array) -> Logistic:
    """Maximum likelihood with both kinds of pairs weighted alike, so that the line is of the likelihood ratio.

    Prior-weighted logistic regression (Brümmer and du Preez 2006, "Application-independent evaluation of speaker
    detection"). ValueError where one kind is missing, or the kinds do not overlap (then any slope is steep enough).
    """
    from sklearn.linear_model import LogisticRegression

    distances, genuine = np.asarray(distances, dtype=np.float64), np.asarray(genuine, dtype=bool)
    count = int(genuine.sum()), int((~genuine).sum())
    if not all(count):
        raise ValueError(f"A calibration needs pairs of both kinds: got {count[0]} genuine, {count[1]} impostor.")
    same, other = distances[genuine], distances[~genuine]
    if same.max() <= other.min() or other.max() <= same.min():
        raise ValueError("A calibration needs distances that overlap: here every pair of one kind is the closer one.")
    centre, spread = distances.mean(), distances.std() or 1.0
    model = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-8, max_iter=1000)
    model.fit((distances[:, None] - centre) / spread, genuine)
    slope = float(model.coef_[0, 0]) / spread
    return Logistic(slope, float(model.intercept_[0]) - slope * centre, float(min(count)), *count)
