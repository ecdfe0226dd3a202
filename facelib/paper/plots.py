"""One function per figure: arrays in, axes out, in the style of `style`."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MultipleLocator, NullFormatter, PercentFormatter, ScalarFormatter

from facelib.paper import style
from facelib.paper.style import COLOURS, NAMES, STYLES


def faces(images: np.ndarray, titles: list[str], columns: int = 2, note: str = "") -> np.ndarray:
    """A grid of faces (n, H, W, 3) with a title each (figures 1-3), and a note on all of them."""
    rows = -(-len(images) // columns)
    lines = 1 + max(title.count("\n") for title in titles)
    size = (1.9 * columns, (1.9 + 0.15 * lines) * rows + (0.21 if note else 0))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    if note:
        figure.suptitle(note, fontsize=8)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat[: len(images)], images, titles, strict=True):
        axis.imshow(image)
        axis.set_title(title, fontsize=9)
    return axes


def images_per_person(counts: dict[str, np.ndarray]) -> Axes:
    """Histogram of the number of images per person, one step line per set; wide bins count all people in them."""
    axis = style.axes("images of a person", "people per bin")
    most = max(values.max() for values in counts.values())
    edges = np.arange(1, most + 2) if most <= 60 else np.unique(np.geomspace(1, most + 1, 30).round())
    for (name, values), (dashes, colour) in zip(counts.items(), style.looks(len(counts)), strict=True):
        heights, _ = np.histogram(values, edges)
        label = f"{name}: {len(values):,} people"
        axis.stairs(heights, edges, label=label, linestyle=dashes, linewidth=2, color=colour)
    if most > 60:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.set_yscale("symlog", linthresh=1)
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.set_ylim(0, 2 * axis.dataLim.ymax)
    axis.figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    return axis


def training_curve(history, quantity: str, again=None) -> Axes:
    """Figures 4 and 5: ``accuracy`` or ``loss`` over the epochs, from the history CSV.

    Where it lacks that of held-out images, both curves of ``again``, the same recipe trained again, stand beside it.
    """
    axis = style.axes("epoch", {"loss": "cross-entropy loss"}.get(quantity, quantity))
    held_out, others = f"held_out_{quantity}", "held-out images of the same people"
    lines = [(history, quantity, "training images", "o-", "euclidean")]
    if held_out in history or again is None:
        lines += [(history, held_out, others, "s--", "cosine")]
    else:
        lines += [(again, quantity, "training images, trained again", ":", "euclidean")]
        lines += [(again, held_out, f"{others}, trained again", "s--", "cosine")]
    for table, name, label, mark, colour in lines:
        if name in table:
            axis.plot(table["epoch"], table[name], mark, color=COLOURS[colour], label=label, markersize=4)
    axis.figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    if quantity == "accuracy":
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.set_ylim(0, 1.02)
    else:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.get_major_locator().set_params(integer=True)
    return axis


def feature_vector(vector: np.ndarray) -> Axes:
    """The paper's first figure 6: the 512 components of one face's features."""
    axis = style.axes("component", "feature value", width=8)
    axis.vlines(np.arange(len(vector)), 0, vector, color=COLOURS["euclidean"], linewidth=0.8)
    axis.set_xlim(-2, len(vector) + 1)
    axis.set_ylim(bottom=0)
    return axis


def precision_recall(panels: list[tuple[str, dict]]) -> np.ndarray:
    """Figure 7: P-R curves with bootstrap bands.

    Each of ``panels`` has a title and, per metric, ``(recall, precision, grid, low, high)``: the curve, and the band on
    a recall grid.
    """
    _, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 4.4), sharey=True, squeeze=False)
    for axis, (title, curves) in zip(axes[0], panels, strict=True):
        for metric, (recall, precision, grid, low, high) in curves.items():
            axis.fill_between(grid, low, high, color=COLOURS[metric], alpha=0.18, linewidth=0)
            axis.plot(recall, precision, STYLES[metric], color=COLOURS[metric], label=NAMES[metric], linewidth=1.8)
        axis.set(title=title, xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0.4, 1.02))
        axis.legend(loc="lower left")
    return axes


def distances(values: np.ndarray, genuine: np.ndarray, metric: str, threshold: float | None = None) -> Axes:
    """Histograms of the distances of genuine and impostor pairs, with a threshold."""
    axis = style.axes(f"{metric} distance", "density of pairs")
    edges = np.linspace(values.min(), values.max(), 50)
    for name, chosen in (("genuine", genuine), ("impostor", ~genuine)):
        look = {"density": True, "color": COLOURS[name]}
        axis.hist(values[chosen], edges, alpha=0.2, **look)
        axis.hist(values[chosen], edges, histtype="step", linestyle=STYLES[name], label=name, linewidth=1.8, **look)
    if threshold is not None:
        axis.axvline(threshold, color="black", linestyle=":", label=f"threshold {threshold:.3g}")
    axis.legend()
    return axis


def accuracy_over_thresholds(paper: tuple, fine: tuple, chosen: float) -> np.ndarray:
    """Figure 8: accuracy over the paper's grid [0, 20), and over a fine grid in the feature's own scale.

    ``paper`` and ``fine`` are ``(thresholds, accuracy)``; ``fine`` also has ``low`` and ``high`` of a band. ``chosen``
    is the threshold chosen on the validation pairs.
    """
    _, axes = plt.subplots(1, 2, figsize=(10.5, 4.2), sharey=True)
    axes[0].plot(*paper, "o-", color=COLOURS["euclidean"])
    smallest = f"The smallest distance of a pair is {fine[0][0]:.3g}:\nup to there all pairs are rejected."
    smallest += f"\nAt {paper[0][-1]:g} the accuracy is {paper[1][-1]:.1%}."
    white = {"facecolor": "white", "edgecolor": "none"}
    axes[0].text(0.03, 0.95, smallest, transform=axes[0].transAxes, va="top", fontsize=10, bbox=white)
    if fine[0][0] <= paper[0][-1]:
        axes[0].axvline(fine[0][0], color="black", linestyle="-.", linewidth=1)
    axes[0].set(
        title="the paper's grid: [0, 20) in steps of 1", xlabel="threshold", ylabel="accuracy on the test pairs"
    )
    thresholds, accuracy, low, high = fine
    axes[1].fill_between(thresholds, low, high, color=COLOURS["euclidean"], alpha=0.2, linewidth=0, label="95 % band")
    axes[1].plot(thresholds, accuracy, color=COLOURS["euclidean"])
    axes[1].axvline(chosen, color="black", linestyle=":", label="chosen on other pairs")
    best = thresholds[np.argmax(accuracy)]
    axes[1].axvline(best, color=COLOURS["cosine"], linestyle="--", label="best on these test pairs")
    axes[1].set(title="a fine grid in the scale of the features", xlabel="threshold")
    axes[1].figure.legend(loc="outside upper center", ncols=3, fontsize=9)
    axes[0].set_xticks(range(0, 20, 3))
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return axes


def draws(values: np.ndarray, labels: tuple[str, str], reference: tuple[float, str]) -> Axes:
    """Histogram of a quantity over many draws of pairs, with a reference value and its name."""
    axis = style.axes(*labels)
    low, high = np.percentile(values, [2.5, 97.5])
    axis.hist(values, _steps(values), color=COLOURS["euclidean"], alpha=0.9, zorder=2)
    axis.axvline(reference[0], color="black", linestyle=":", label=reference[1], zorder=3)
    axis.axvspan(
        low, high, color=COLOURS["cosine"], alpha=0.2, zorder=0, label=f"95 % of the draws: {low:.3f} to {high:.3f}"
    )
    axis.figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    return axis


def _steps(values: np.ndarray) -> np.ndarray | int:
    """Edges that give each of few values a bin, as shares of few pairs come in steps; else a number of bins."""
    levels = np.unique(values)
    width = levels[-1] - levels[0]
    levels = levels[np.diff(levels, prepend=-np.inf) > 1e-9 * width]  # values equal up to rounding are one
    step = np.diff(levels).min() if len(levels) > 1 else 0
    if not step or len(levels) > 60 or width > 1000 * step:
        return 40
    return np.arange(levels[0] - step / 2, levels[-1] + step, step)


def roc(curves: dict[str, tuple[np.ndarray, ...]], smallest_far: float) -> Axes:
    """ROC with a logarithmic false-accept axis, from the smallest FAR that the pairs can show.

    ``curves`` has per metric, or other label, ``(far, tar)``, or with a band ``(far, tar, grid, low, high)``.
    """
    axis = style.axes("false accept rate (FAR)", "true accept rate (TAR)")
    for (name, (far, tar, *band)), (dashes, colour) in zip(curves.items(), style.looks(len(curves)), strict=True):
        dashes, colour = STYLES.get(name, dashes), COLOURS.get(name, colour)
        label = NAMES.get(name, name)
        if band:
            axis.fill_between(*band, color=colour, alpha=0.18, linewidth=0)
        axis.plot(far, tar, dashes, color=colour, label=label, drawstyle="steps-post", linewidth=1.8)
    axis.set_xscale("log")
    axis.set_xlim(smallest_far, 1)
    axis.set_ylim(0, 1.02)
    axis.figure.legend(loc="outside upper center", ncols=3, fontsize=9)
    return axis


def similarities(values: dict[str, np.ndarray], limit: float, meaning: str) -> Axes:
    """Histograms of each person's highest cosine similarity to training images, and a line at a limit."""
    axis = style.axes("highest cosine similarity to a training image", "people")
    together = np.concatenate(list(values.values()))
    edges = np.linspace(together.min(), together.max(), 60)
    for (name, found), (dashes, colour) in zip(values.items(), style.looks(len(values)), strict=True):
        axis.stairs(np.histogram(found, edges)[0], edges, label=name, linestyle=dashes, linewidth=1.8, color=colour)
    axis.axvline(limit, color="black", linestyle=":", linewidth=1.2, label=meaning)
    axis.set_ylim(bottom=0)
    axis.legend()
    return axis


def target_logits(degrees: np.ndarray, curves: dict[str, np.ndarray]) -> Axes:
    """What each loss puts in the place of the cosine of the right class, over the angle in degrees."""
    axis = style.axes("angle between feature and weight of its class (degrees)", "value in place of the cosine")
    for (name, values), (dashes, colour) in zip(curves.items(), style.looks(len(curves)), strict=True):
        axis.plot(degrees, values, dashes, color=colour, label=name, linewidth=1.8)
    axis.set(xlim=(0, 180), ylim=(-3, 1.1))  # SphereFace's falls on to -7
    axis.xaxis.set_major_locator(MultipleLocator(30))
    axis.legend(loc="lower right")
    return axis


def validation_curves(histories: dict[str, Any]) -> Axes:
    """AUC on the validation people over the epochs, one line per run; a ring marks the best epoch.

    ``histories`` has per label a table with the columns ``epoch`` and ``validation_auc``.
    """
    axis = style.axes("epoch", "AUC on pairs of validation people")
    for (name, history), (dashes, colour) in zip(histories.items(), style.looks(len(histories)), strict=True):
        auc = history["validation_auc"].to_numpy()
        axis.plot(history["epoch"], auc, dashes, color=colour, label=name, linewidth=1.8)
        best = auc.argmax()
        axis.plot(history["epoch"].iloc[best], auc[best], "o", color=colour, markersize=9, fillstyle="none")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(loc="lower right")
    return axis
