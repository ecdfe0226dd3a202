"""How good probabilities and likelihood ratios are, on pairs that did not fit them.

`genuine` (n,) bool says of each pair whether it shows one person; `weights` (n,) how often it counts, by default once.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from facelib.data.pairs import Pairs
from facelib.metrics.calibration import Calibration
from facelib.metrics.intervals import Estimate, estimate, identity_weights

BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """Pairs by their probability, in bins of equal width: of each that holds pairs the mean, and what came of them."""

    probability: Array  # (k,)
    share: Array  # (k,) of genuine pairs
    weight: Array  # (k,) part of all pairs
    bin: Array  # (k,) its number

    error = property(
        lambda r: float((r.weight * abs(r.share - r.probability)).sum()),
        doc="Expected calibration error (Naeini et al. 2015; Guo et al. 2017).",
    )


def reliability(probabilities: Array, genuine: Array, weights: Array | None = None, bins: int = BINS) -> Reliability:
    """`Reliability` of probabilities (n,) between 0 and 1; 1 itself is in the last bin."""
    weights = np.ones(len(genuine)) if weights is None else weights
    number = np.minimum((np.asarray(probabilities) * bins).astype(int), bins - 1)
    weight, total, hits = (np.bincount(number, w, bins) for w in (weights, weights * probabilities, weights * genuine))
    held = np.flatnonzero(weight)
    return Reliability(total[held] / weight[held], hits[held] / weight[held], weight[held] / weight.sum(), held)


def brier(probabilities: Array, genuine: Array, weights: Array | None = None) -> float:
    """Mean square of probability minus outcome (Brier 1950); always saying .5 has .25."""
    return float(np.average((probabilities - genuine) ** 2, weights=weights))


def cllr(log_ratios: Array, genuine: Array, weights: Array | None = None) -> float:
    """Cost of log-likelihood ratios in bits, both kinds of pairs weighted alike; 1 says nothing.

    Equation 14 of Brümmer and du Preez 2006, "Application-independent evaluation of speaker detection"; ``log_ratios``
    (n,) are natural logarithms.
    """
    weights = np.ones(len(genuine)) if weights is None else weights
    cost = np.logaddexp(0, np.where(genuine, -log_ratios, log_ratios)) / np.log(2)
    return float(sum(np.average(cost[some], weights=weights[some]) for some in (genuine, ~genuine)) / 2)


def min_cllr(distances: Array, genuine: Array, weights: Array | None = None) -> float:
    """`cllr` of the best ratios that fall with the distance, of isotonic regression: calibrated on these very pairs."""
    from sklearn.isotonic import IsotonicRegression

    weights = np.ones(len(genuine)) if weights is None else weights
    some = weights > 0
    distances, genuine, weights = np.asarray(distances, dtype=np.float64)[some], genuine[some], weights[some]
    even = np.where(genuine, weights / weights[genuine].sum(), weights / weights[~genuine].sum())
    probability = IsotonicRegression(increasing=False).fit(distances, genuine.astype(float), even).predict(distances)
    with np.errstate(divide="ignore"):
        ratios = np.log(probability) - np.log1p(-probability)
    return cllr(ratios, genuine, weights)


def judge(
    calibration: Calibration, distances: Array, pairs: Pairs, labels: Array, replicates: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """``ece``, ``brier``, ``cllr`` and ``min_cllr`` of a calibration on a list of pairs, with intervals over people.

    ``distances`` (n,) are the pairs', ``labels`` the identities of the images that their rows count. Probabilities are
    those for the list's own share of genuine pairs. The interval of ``ece`` begins at 0 and ends at its 95th
    percentile: drawing people anew adds to a sum of absolute errors, so that the lower end would mean nothing.
    """
    genuine, people = pairs.genuine, pairs.people(labels)
    probabilities = calibration.probability(distances, float(genuine.mean()))
    ratios = calibration.log_ratio(distances)
    drawn = identity_weights(*people, replicates, seed).astype(float)
    weights = [np.ones(len(genuine)), *(w for w in drawn if w[genuine].any() and w[~genuine].any())]
    values = {
        "ece": [reliability(probabilities, genuine, w).error for w in weights],
        "brier": [brier(probabilities, genuine, w) for w in weights],
        "cllr": [cllr(ratios, genuine, w) for w in weights],
        "min_cllr": [min_cllr(distances, genuine, w) for w in weights],
    }
    ece = Estimate(values["ece"][0], 0.0, float(np.quantile(values["ece"][1:], 0.95)), len(genuine))
    return {name: estimate(found, len(genuine)) for name, found in values.items()} | {"ece": ece}


def shares(
    probabilities: Array, pairs: Pairs, labels: Array, replicates: int = 1000, seed: int = 0
) -> tuple[Reliability, Array]:
    """`reliability` and the 95 % interval over people of each bin's share of genuine pairs, (2, k)."""
    measured = reliability(probabilities, pairs.genuine)
    drawn = np.full((replicates, BINS), np.nan)
    for row, weights in zip(drawn, identity_weights(*pairs.people(labels), replicates, seed), strict=True):
        found = reliability(probabilities, pairs.genuine, weights)
        row[found.bin] = found.share
    return measured, np.nanquantile(drawn[:, measured.bin], [0.025, 0.975], axis=0)
