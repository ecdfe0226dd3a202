"""What the distances of pairs of faces show about them.

A lower distance means more similar; a pair is accepted as one person if ``distance <= threshold``. Throughout,
``distances`` is (n,) real and finite, ``genuine`` (n,) bool (True: same person). ``weights`` says how often each pair
counts: (n,), or (r, n) for r replicates at once, and each number in a result is then (r,). A rate with an empty
denominator, such as the precision where nothing is accepted, is nan. Arrays of another shape, without pairs or not
finite raise ValueError.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array

_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996, and still permits 29


def _checked(distances: Array, genuine: Array) -> tuple[Array, Array]:
    distances, genuine = np.asarray(distances, dtype=np.float64), np.asarray(genuine)
    if distances.ndim != 1 or distances.shape != genuine.shape or genuine.dtype != bool:
        found = f"{distances.shape} and {genuine.shape} {genuine.dtype}"
        raise ValueError(f"expected distances (n,) and genuine (n,) bool, got {found}")
    if not len(distances):
        raise ValueError("there are no pairs")
    for pair in np.flatnonzero(~np.isfinite(distances))[:1]:
        raise ValueError(f"the distance of pair {pair} is not finite")
    return distances, genuine


def cumulative(distances: Array, genuine: Array, weights: Array | None) -> tuple[Array, Array, Array]:
    """Thresholds (m,): -inf, each distinct distance; (..., m) genuine, impostor weight accepted."""
    distances, genuine = _checked(distances, genuine)
    weights = np.ones(len(distances), dtype=int) if weights is None else np.asarray(weights)
    if weights.shape[-1:] != distances.shape:
        raise ValueError(f"{len(distances)} pairs have weights of shape {weights.shape}")
    order = np.argsort(distances)
    thresholds = np.concatenate([[-np.inf], distances[order]])
    ordered, which = weights[..., order], genuine[order]
    accepted = np.zeros((2, *weights.shape[:-1], len(thresholds)), dtype=np.result_type(weights, np.int64))
    for part, kind in zip(accepted, (which, ~which), strict=True):
        np.multiply(ordered, kind, out=part[..., 1:])
    np.cumsum(accepted, axis=-1, out=accepted)
    distinct = np.flatnonzero(np.diff(thresholds, append=np.inf))  # the last of equal ones
    tp, fp = accepted if len(distinct) == len(thresholds) else accepted[..., distinct]
    return thresholds[distinct], tp, fp


def _plain(x: Array) -> Any:
    return x if np.ndim(x) else x.item()


def _pick(curve: Array, index: Array) -> Array:
    return np.take_along_axis(curve, index[..., None], axis=-1)[..., 0]


def ratio(part: Array, whole: Array) -> Any:
    undefined = np.full(np.broadcast(part, whole).shape, np.nan)
    return _plain(np.divide(part, whole, out=undefined, where=np.asarray(whole) > 0))


@dataclass(frozen=True)
class Confusion:
    """Pairs by decision, numbers or arrays: genuine accepted (tp) or not (fn), impostor accepted (fp) or not (tn)."""

    tp: int | Array
    fp: int | Array
    tn: int | Array
    fn: int | Array

    n = property(lambda c: c.tp + c.fp + c.tn + c.fn)
    accuracy = property(lambda c: ratio(c.tp + c.tn, c.n))
    precision = property(lambda c: ratio(c.tp, c.tp + c.fp), doc="Equation 5.3.")
    recall = property(lambda c: ratio(c.tp, c.tp + c.fn), doc="Equation 5.4.")
    f1 = property(lambda c: ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn), doc="Harmonic mean of both.")
    far = property(lambda c: ratio(c.fp, c.fp + c.tn), doc="False accept rate.")
    frr = property(lambda c: ratio(c.fn, c.tp + c.fn), doc="False reject rate.")


RATES = ("accuracy", "precision", "recall", "f1", "far", "frr")


def confusion(distances: Array, genuine: Array, threshold, weights=None) -> Confusion:
    """Decisions at one threshold, or at (k,) thresholds: then every count is (..., k)."""
    if np.isnan(threshold).any():
        raise ValueError("the threshold is nan")
    if np.ndim(threshold) == 0 and np.ndim(weights) == 2:  # sums alone are quicker than curves
        return _at_one(*_checked(distances, genuine), threshold, weights)
    thresholds, tp, fp = cumulative(distances, genuine, weights)
    at = np.searchsorted(thresholds, np.atleast_1d(threshold), side="right") - 1
    counts = tp[..., at], fp[..., at], fp[..., -1:] - fp[..., at], tp[..., -1:] - tp[..., at]
    return Confusion(*(c if np.ndim(threshold) else _plain(c[..., 0]) for c in counts))


def _at_one(distances: Array, genuine: Array, threshold: float, weights: Array) -> Confusion:
    if weights.shape[-1:] != distances.shape:
        raise ValueError(f"{len(distances)} pairs have weights of shape {weights.shape}")
    accepted = distances <= threshold
    kinds = genuine & accepted, ~genuine & accepted, ~genuine & ~accepted, genuine & ~accepted
    return Confusion(*(weights[:, kind].sum(1) for kind in kinds))


def best_threshold(distances: Array, genuine: Array, weights: Array | None = None) -> float:
    """Threshold of the highest accuracy; weights are (n,).

    Candidates are the midpoints of neighbouring distances, the largest distance and the number just below the smallest.
    Of equally good ones the one in the widest gap wins, as the least sensitive to the sample; then the smallest.
    """
    distances, genuine = _checked(distances, genuine)
    weights = np.ones(len(distances), dtype=int) if weights is None else np.asarray(weights)
    thresholds, tp, fp = cumulative(*(x[weights > 0] for x in (distances, genuine, weights)))
    values, right = thresholds[1:], tp - fp  # right decisions, beyond those of accepting none
    below = np.nextafter(values, -np.inf)  # adjacent floats have no midpoint: it rounds
    middle = np.minimum((values[:-1] + values[1:]) / 2, below[1:])
    gap = np.concatenate([[0], np.diff(values), [0]])
    tied = right >= right.max() - _ROUNDING * weights.sum()  # weights need not be whole numbers
    return float([below[0], *middle, values[-1]][np.argmax(np.where(tied, gap, -1))])


def precision_recall(distances: Array, genuine: Array) -> tuple[Array, Array, Array]:
    """Precision (k + 1,), recall (k + 1,), thresholds (k,), from all pairs accepted to none."""
    from sklearn.metrics import precision_recall_curve

    distances, genuine = _checked(distances, genuine)
    precision, recall, scores = precision_recall_curve(genuine, -distances)
    return precision, recall, -scores


def roc(distances: Array, genuine: Array) -> tuple[Array, Array, Array]:
    """FAR, TAR and thresholds, (k,) each, from no pair accepted (threshold -inf) to all."""
    from sklearn.metrics import roc_curve

    distances, genuine = _checked(distances, genuine)
    far, tar, scores = roc_curve(genuine, -distances, drop_intermediate=False)
    return far, tar, -scores


def average_precision(distances: Array, genuine: Array, weights=None) -> float | Array:
    """Area under the steps of the precision-recall curve, as scikit-learn defines it."""
    _, tp, fp = cumulative(distances, genuine, weights)
    accepted = tp + fp
    precision = np.divide(tp, accepted, out=np.zeros(accepted.shape), where=accepted > 0)  # of none no recall is gained
    return ratio((np.diff(tp) * precision[..., 1:]).sum(axis=-1), tp[..., -1])


def auc(distances: Array, genuine: Array, weights=None) -> float | Array:
    """Area under the ROC: how often a genuine pair is closer than an impostor pair, ties half."""
    _, tp, fp = cumulative(distances, genuine, weights)
    steps = np.diff(fp)
    trapezia = sum(np.einsum("...i,...i", steps, side) for side in (tp[..., 1:], tp[..., :-1])) / 2
    return ratio(trapezia, tp[..., -1] * fp[..., -1])


def equal_error_rate(distances: Array, genuine: Array, weights=None) -> float | Array:
    """FAR where it equals FRR, on the straight line between neighbouring points of the ROC."""
    _, tp, fp = cumulative(distances, genuine, weights)
    far, tar = ratio(fp, fp[..., -1:]), ratio(tp, tp[..., -1:])
    gap = far + tar - 1  # FAR - FRR, rising from -1 to 1
    after = np.argmax(gap >= 0, axis=-1)
    far0, far1, gap0, gap1 = (_pick(x, k) for x in (far, gap) for k in (after - 1, after))
    return _plain(far0 + (far1 - far0) * gap0 / (gap0 - gap1))


class TarAtFar(NamedTuple):
    """Share of genuine pairs accepted at the largest threshold that keeps within a FAR."""

    tar: float | Array
    threshold: float | Array  # one of the distances, or -inf: nothing may be accepted
    false_accepts: int | Array


def tar_at_far(distances: Array, genuine: Array, far: float, weights=None) -> TarAtFar:
    """`TarAtFar` over all pairs pooled; far in [0, 1].

    Where the impostor pairs are too few to show so small a FAR, it is the share accepted without any false accept.
    """
    if not 0 <= far <= 1:
        raise ValueError(f"a false accept rate lies in [0, 1], got {far}")
    thresholds, tp, fp = cumulative(distances, genuine, weights)
    last = (fp <= far * fp[..., -1:] + _ROUNDING).sum(axis=-1) - 1
    tar = ratio(_pick(tp, last), np.where(fp[..., -1] > 0, tp[..., -1], 0))
    return TarAtFar(tar, _plain(thresholds[last]), _plain(_pick(fp, last)))


class TenFold(NamedTuple):
    """Accuracy on each of k folds at the threshold chosen on the others (Huang et al. 2007)."""

    accuracies: Array
    thresholds: Array

    @property
    def standard_error(self) -> float:
        """Of the mean accuracy."""
        return float(self.accuracies.std(ddof=1) / np.sqrt(len(self.accuracies)))


def ten_fold(distances: Array, genuine: Array, fold: Array) -> TenFold:
    """LFW's protocol for View 2; fold (n,) names the part that a pair belongs to."""
    distances, genuine = _checked(distances, genuine)
    tests = [np.asarray(fold) == k for k in np.unique(fold)]
    thresholds = [best_threshold(distances[~test], genuine[~test]) for test in tests]
    parts = zip(tests, thresholds, strict=True)
    accuracies = [confusion(distances[test], genuine[test], t).accuracy for test, t in parts]
    return TenFold(np.array(accuracies), np.array(thresholds))
