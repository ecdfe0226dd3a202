"""How sure a number is: values with their intervals, and identities that are drawn anew (see `resampling`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray as Array

from facelib.data.pairs import Pairs
from facelib.metrics import curves
from facelib.metrics.distances import CHUNK


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; n is the number of pairs it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """The difference a - b, its two-sided p-value, and the verdict on 'a is better than b'."""

    difference: Estimate
    p_value: float
    verdict: str  # "holds", "fails" or "undecided"


def estimate(values, n: int, people: int | None = None) -> Estimate:
    """The first of some values (1 + r,) with the 95 % interval of the others, its replicates; nan is left out.

    Drawing ``people`` anew cannot show what none of them did: a share of 0, or of 1, in every draw gets the score
    interval of as many trials instead (see `wilson_interval`), of people and not of pairs, which is the wider one. Any
    other value than -1, 0 and 1 that all draws share, as of two people, has no interval: its ends are nan.
    """
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    if people and values[0] in (0, 1) and low == high == values[0]:
        found = wilson_interval(round(people * values[0]), people)
        low, high = found.low, found.high
    elif low == high and values[0] not in (-1, 0, 1):
        low = high = np.nan
    return Estimate(float(values[0]), float(low), float(high), n)


def compared(values: Array, n: int, sign: int = 1) -> Comparison:
    """A difference and its draws (1 + r,) as a `Comparison`; with the sign -1 a lower one is better.

    'a is better' holds if the whole interval lies on the better side of 0, fails if it lies on the worse side, and is
    undecided otherwise, as where draws do not differ: then it has no interval but at 0.
    """
    difference = estimate(values, n)
    if difference.low == difference.high != 0:
        difference = replace(difference, low=np.nan, high=np.nan)
    drawn = values[1:][np.isfinite(values[1:])]
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p_value = min(1.0, 2 * float(1 + tail) / (1 + len(drawn))) if np.isfinite(difference.low) else 1.0
    worst, best = sorted((sign * difference.low, sign * difference.high))
    return Comparison(difference, p_value, "holds" if worst > 0 else "fails" if best < 0 else "undecided")


def rank_correlation(stated, ours, n: int) -> Estimate:
    """Spearman's correlation of stated values (k,) with ours and those of each draw, (k, 1 + r)."""
    from scipy.stats import spearmanr

    found = [float(spearmanr(stated, row).statistic) if np.ptp(row) else 0.0 for row in np.transpose(ours)]
    return estimate(found, n)


def holm(p_values: Array) -> Array:
    """P-values (k,) of one family, adjusted so that its chance of any false alarm holds (Holm 1979)."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Share of successes in n independent trials, with its score interval (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def student_interval(values: Array, n: int, confidence: float = 0.95) -> Estimate:
    """Mean of k independent values, such as accuracies of folds, with Student's interval; n is what they rest on.

    Shares that are all 0, or all 1, get the score interval of n trials: they show no spread to go by. Ends are nan
    where all are another number.
    """
    from scipy.stats import t

    if not np.ptp(values) and values[0] in (0, 1):
        return wilson_interval(round(n * values[0]), n, confidence)
    if np.ptp(values) < 1e-12:
        return Estimate(float(values[0]), np.nan, np.nan, n)
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    margin = t.ppf((1 + confidence) / 2, len(values) - 1) * error
    return Estimate(float(mean), float(mean - margin), float(mean + margin), n)


def mean_difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Mean of values, one per training, minus that of others, with Welch's 95 % interval.

    Its ends are nan where one is alone, or where neither shows a spread.
    """
    from scipy.stats import ttest_ind

    known = min(len(a), len(b)) > 1 and max(np.ptp(a), np.ptp(b)) > 0
    ends = ttest_ind(a, b, equal_var=False).confidence_interval() if known else (np.nan, np.nan)
    return Estimate(float(np.mean(a) - np.mean(b)), float(ends[0]), float(ends[1]), len(a) + len(b))


def over_folds(accuracies: Array, chosen: Pairs) -> Estimate:
    """Mean of accuracies (10,), with `student_interval` for the folds of LFW; other lists' share people: none there."""
    if chosen.fold is not None:
        return student_interval(accuracies, len(chosen))
    return Estimate(float(np.mean(accuracies)), np.nan, np.nan, len(chosen))


def mean_over_people(values: Array, people: Array, replicates: int = 1000, seed: int = 0) -> Estimate:
    """Mean of values (n,), one per photo, with its 95 % interval over the photos' people, drawn with replacement."""
    _, person, counts = np.unique(people, return_inverse=True, return_counts=True)
    sums = np.bincount(person, values)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(replicates, len(counts)))
    drawn_means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return estimate(np.append(np.mean(values), drawn_means), len(values), len(counts))


def identity_weights(people_left, people_right, replicates: int, seed: int) -> Array:
    """How often each pair counts if identities are drawn with replacement: (replicates, n) int32.

    ``people_left`` and ``people_right`` (n,) are the identities of a pair's two images. An identity drawn c times gives
    its genuine pairs the weight c, and two identities give their impostor pairs the product of their counts, so that
    pairs with a person in common rise and fall together: the subset bootstrap of Bolle, Ratha and Pankanti (2004),
    which is the vertex bootstrap of Snijders and Borgatti (1999) on the graph whose edges are the pairs. Where few
    pairs share a person the products vary more than need be, and intervals err on the wide side.
    """
    return np.concatenate(list(weights_in_parts(people_left, people_right, replicates, seed)))


def weights_in_parts(people_left, people_right, replicates: int, seed: int) -> Iterator[Array]:
    """`identity_weights`, some replicates at a time."""
    people, index = np.unique(np.concatenate([people_left, people_right]), return_inverse=True)
    left, right = np.split(index, 2)
    rng, impostor = np.random.default_rng(seed), np.flatnonzero(left != right)
    step = max(1, CHUNK // len(index))
    for start in range(0, replicates, step):
        rows = np.arange(min(step, replicates - start))[:, None]
        drawn = len(people) * rows + rng.integers(len(people), size=(len(rows), len(people)))
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.int32)
        weights = counts[:, left]
        weights[:, impostor] *= counts[:, right[impostor]]
        yield weights


_OF_CURVES = {f.__name__: f for f in (curves.average_precision, curves.auc, curves.equal_error_rate)}
STATISTICS = (*_OF_CURVES, *curves.RATES, "tar_at_far")


def statistic(name: str, distances: Array, genuine: Array, weights: Array, at: float | None) -> Array:
    """One of `STATISTICS` for each row of weights (r, n); ``at`` is the threshold of the `curves.RATES`, or the FAR."""
    if name not in STATISTICS:
        raise ValueError(f"unknown statistic {name!r}: expected one of {', '.join(STATISTICS)}")
    if (at is None) != (name in _OF_CURVES):
        raise ValueError(f"{name} {'needs a' if at is None else 'has no'} threshold or FAR as `at`")
    if name in _OF_CURVES:
        return _OF_CURVES[name](distances, genuine, weights)
    if name == "tar_at_far":
        return curves.tar_at_far(distances, genuine, at, weights).tar
    return getattr(curves.confusion(distances, genuine, at, weights), name)
