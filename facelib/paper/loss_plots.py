"""Figures of losses: features in a plane, settings beside each other, distances by loss."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from facelib.metrics import Estimate
from facelib.paper.style import COLOURS, STYLES

_BARS = {"capsize": 3, "markersize": 6, "linewidth": 1.6}
_MARKS = "osD^vP*Xph<>"


def planes(found: dict[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Features of two numbers, (n, 2) by loss, of people (n,): a panel each, the origin marked."""
    _, axes = plt.subplots(1, len(found), figsize=(3.6 * len(found), 3.8), squeeze=False)
    for axis, (name, vectors) in zip(axes[0], found.items(), strict=True):
        for person, colour in zip(np.unique(labels), plt.get_cmap("tab10").colors, strict=False):
            mark = _MARKS[person % len(_MARKS)]
            axis.scatter(*vectors[labels == person].T, s=14, color=colour, marker=mark, linewidth=0)
        axis.plot(0, 0, "+", color="black", markersize=10)
        axis.set(title=name, xlabel="first feature", aspect="equal", adjustable="datalim")
    axes[0, 0].set_ylabel("second feature")
    return axes


def beside(found: dict[str, Estimate], trainings: dict, quantity: str, reference: str, ranked: bool = True) -> Axes:
    """A line per setting: mean with its interval over people, its trainings as rings; dotted where the reference is.

    The best stands on top, or the first where they are not to be ranked.
    """
    _, axis = plt.subplots(figsize=(7.2, 1.2 + 0.34 * len(found)))
    order = sorted(found, key=lambda name: found[name].value) if ranked else [*found][::-1]
    ring = {"color": COLOURS["impostor"], "fillstyle": "none", "markersize": 9, "zorder": 4}
    for height, name in enumerate(order):
        each = found[name]
        bars = [[each.value - each.low], [each.high - each.value]]
        axis.errorbar(each.value, height, xerr=bars, fmt="o", color=COLOURS["genuine"], **_BARS)
        axis.plot(trainings[name], np.full(len(trainings[name]), height), "o", **ring)
    if reference in found:
        axis.axvline(found[reference].value, color="black", linestyle=":", linewidth=1.2)
    axis.set_yticks(range(len(order)), order)
    axis.set(xlabel=quantity, ylim=(-0.7, len(order) - 0.3))
    axis.plot([], [], "o", color=COLOURS["genuine"], label="mean, 95 % over people")
    axis.plot([], [], "o", label="one training", **ring)
    axis.figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    return axis


def over(panels: dict[str, dict[float, Estimate]], quantity: str) -> np.ndarray:
    """A panel per axis label: a quantity with its interval over the values of a setting."""
    _, axes = plt.subplots(1, len(panels), figsize=(4.4 * len(panels), 4.2), sharey=True, squeeze=False)
    for axis, (label, points) in zip(axes[0], panels.items(), strict=True):
        x, values = sorted(points), [points[each] for each in sorted(points)]
        middle = np.array([each.value for each in values])
        bars = [middle - [each.low for each in values], [each.high for each in values] - middle]
        axis.errorbar(x, middle, bars, fmt="o-", color=COLOURS["genuine"], **_BARS)
        axis.set_xlabel(label)
        if not points:
            axis.text(0.5, 0.5, "no finished run", ha="center", transform=axis.transAxes)
        elif x[-1] > 2:
            axis.set_xscale("log", base=2)
            axis.set_xticks(x, [f"{each:g}" for each in x])
    axes[0, 0].set_ylabel(quantity)
    return axes


def distances(found: dict[str, np.ndarray], genuine: np.ndarray, columns: int = 3) -> np.ndarray:
    """A panel per loss: histograms of the cosine distances of genuine and impostor pairs, (n,) each."""
    rows = max(1, -(-len(found) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.1 * rows + 0.5), sharex=True, squeeze=False)
    for axis in axes.flat[len(found) :]:
        axis.axis("off")
    for axis, (name, values) in zip(axes.flat, found.items(), strict=False):
        edges = np.linspace(0, max(1.2, *(each.max() for each in found.values())), 40)
        for kind, chosen in (("genuine", genuine), ("impostor", ~genuine)):
            look = {"linestyle": STYLES[kind], "color": COLOURS[kind], "linewidth": 1.6}
            axis.stairs(np.histogram(values[chosen], edges, density=True)[0], edges, label=kind, **look)
        axis.set_title(name, fontsize=10)
    figure.supxlabel("cosine distance", fontsize=11)
    figure.supylabel("density of pairs", fontsize=11)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=9)
    return axes


def cost(found: dict[str, tuple[float, Estimate]], quantity: str) -> np.ndarray:
    """A row per loss: a quantity with its interval, and the seconds that 1,000 images of training take."""
    _, axes = plt.subplots(1, 2, figsize=(8.6, 1.3 + 0.3 * len(found)), sharey=True, width_ratios=[3, 2])
    for height, (seconds, each) in enumerate(reversed(found.values())):
        bars = [[each.value - each.low], [each.high - each.value]]
        axes[0].errorbar(each.value, height, xerr=bars, fmt="o", color=COLOURS["genuine"], **_BARS)
        axes[1].barh(height, seconds, 0.6, color=COLOURS["impostor"])
    axes[0].set_yticks(range(len(found)), [*found][::-1])
    axes[0].set_xlabel(f"{quantity}, 95 % over people")
    axes[1].set_xlabel("seconds per 1,000 images")
    return axes
