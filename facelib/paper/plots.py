"""One function per figure: arrays in, axes out, one shared style that survives grey printing."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MultipleLocator, NullFormatter, PercentFormatter, ScalarFormatter

from facelib import runtime

# Dark blue against orange differs in grey as well; line styles say it a second time.
COLOURS = {"euclidean": "#1b4965", "cosine": "#e07a1f", "genuine": "#1b4965", "impostor": "#e07a1f"}
STYLES = {"euclidean": "-", "cosine": "--", "genuine": "-", "impostor": "--"}
LINES = (("-", "#1b4965"), ("--", "#e07a1f"), (":", "#2a9d8f"), ("-.", "#8a5a83"), ("-", "#9aa5b1"))
NAMES = {"euclidean": "Euclidean distance", "cosine": "cosine similarity"}


def use_style() -> None:
    """Set the style that all figures share."""
    sns.set_theme(context="notebook", style="whitegrid", font="DejaVu Sans")
    plt.rcParams.update({"figure.dpi": 100, "savefig.dpi": 150, "figure.constrained_layout.use": True})


def save(axes: Axes | np.ndarray, profile: str, name: str) -> None:
    """Write the figure of ``axes`` to ``figures/<profile>/<name>.png``; demo figures get a visible mark."""
    figure = np.ravel(axes)[0].figure
    if profile == "demo":
        strip = 0.25 / figure.get_figheight()  # a strip of its own below the axes
        figure.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))
        figure.text(0.01, 0.2 * strip, "DEMO: rendered faces", color="#b3261e", fontsize=9, weight="bold")
    path = runtime.output_dir() / "figures" / profile / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    figure.savefig(temporary, format="png")
    temporary.replace(path)


def faces(images: np.ndarray, titles: list[str], columns: int = 2) -> np.ndarray:
    """A grid of faces (n, H, W, 3) with a title each (figures 1-3)."""
    rows = -(-len(images) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(1.9 * columns, 2.25 * rows + 0.2), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=9)
    return axes


def images_per_person(counts: dict[str, np.ndarray]) -> Axes:
    """Histogram of the number of images per person, one step line per set; wide bins count all people in them."""
    axis = _axes("images of a person", "people per bin")
    most = max(values.max() for values in counts.values())
    edges = np.arange(1, most + 2) if most <= 60 else np.unique(np.geomspace(1, most + 1, 30).round())
    for (name, values), style in zip(counts.items(), ("-", "--", ":", "-."), strict=False):
        heights, _ = np.histogram(values, edges)
        label, colour = f"{name}: {len(values):,} people", COLOURS["impostor" if style == "--" else "genuine"]
        axis.stairs(heights, edges, label=label, linestyle=style, linewidth=2, color=colour)
    if most > 60:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.set_yscale("symlog", linthresh=1)
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.set_ylim(0, 2 * axis.dataLim.ymax)
    axis.legend()
    return axis


def training_curve(history, quantity: str) -> Axes:
    """Figures 4 and 5: ``accuracy`` or ``loss`` over the epochs, from the history CSV."""
    axis = _axes("epoch", quantity)
    axis.plot(
        history["epoch"], history[quantity], "o-", color=COLOURS["euclidean"], label="training images", markersize=4
    )
    if quantity == "accuracy":
        if "held_out_accuracy" in history:
            axis.plot(
                history["epoch"],
                history["held_out_accuracy"],
                "s--",
                color=COLOURS["cosine"],
                label="held-out images of the same people",
                markersize=4,
            )
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.set_ylim(0, 1.02)
        axis.legend()
    else:
        axis.set_ylabel("cross-entropy loss")
        axis.set_ylim(bottom=0)
    axis.xaxis.get_major_locator().set_params(integer=True)
    return axis


def feature_vector(vector: np.ndarray) -> Axes:
    """The paper's first figure 6: the 512 components of one face's features."""
    axis = _axes("component", "feature value", width=8)
    axis.vlines(np.arange(len(vector)), 0, vector, color=COLOURS["euclidean"], linewidth=0.8)
    axis.set_xlim(-2, len(vector) + 1)
    axis.set_ylim(bottom=0)
    return axis


def precision_recall(panels: list[tuple[str, dict]]) -> np.ndarray:
    """Figure 7: P-R curves with bootstrap bands.

    Parameters
    ----------
    panels
        Title and, per metric, ``(recall, precision, grid, low, high)``: the curve, and the band on a recall grid.
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
    axis = _axes(f"{metric} distance", "density of pairs")
    edges = np.linspace(values.min(), values.max(), 50)
    for name, chosen in (("genuine", genuine), ("impostor", ~genuine)):
        axis.hist(values[chosen], edges, density=True, color=COLOURS[name], alpha=0.2)
        axis.hist(
            values[chosen],
            edges,
            density=True,
            histtype="step",
            linestyle=STYLES[name],
            color=COLOURS[name],
            label=name,
            linewidth=1.8,
        )
    if threshold is not None:
        axis.axvline(threshold, color="black", linestyle=":", label=f"threshold {threshold:.3g}")
    axis.legend()
    return axis


def accuracy_over_thresholds(paper: tuple, fine: tuple, chosen: float) -> np.ndarray:
    """Figure 8: accuracy over the paper's grid [0, 20), and over a fine grid in the feature's own scale.

    Parameters
    ----------
    paper, fine
        ``(thresholds, accuracy)``; ``fine`` also has ``low`` and ``high`` of a band.
    chosen
        Threshold chosen on the validation pairs.
    """
    _, axes = plt.subplots(1, 2, figsize=(10.5, 4.2), sharey=True)
    axes[0].plot(*paper, "o-", color=COLOURS["euclidean"])
    axes[0].set(
        title="the paper's grid: [0, 20) in steps of 1", xlabel="threshold", ylabel="accuracy on the test pairs"
    )
    thresholds, accuracy, low, high = fine
    axes[1].fill_between(thresholds, low, high, color=COLOURS["euclidean"], alpha=0.2, linewidth=0, label="95 % band")
    axes[1].plot(thresholds, accuracy, color=COLOURS["euclidean"])
    axes[1].axvline(chosen, color="black", linestyle=":", label="chosen on validation pairs")
    best = thresholds[np.argmax(accuracy)]
    axes[1].axvline(best, color=COLOURS["cosine"], linestyle="--", label="best on these test pairs")
    axes[1].set(title="a fine grid in the scale of the features", xlabel="threshold")
    axes[1].figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    axes[0].set_xticks(range(0, 20, 3))
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return axes


def draws(values: np.ndarray, labels: tuple[str, str], reference: tuple[float, str]) -> Axes:
    """Histogram of a quantity over many draws of pairs, with a reference value and its name."""
    axis = _axes(*labels)
    levels = np.unique(values)
    steps = np.diff(levels).min() if 1 < len(levels) <= 60 else None  # shares of few pairs come in steps
    edges = 40 if steps is None else np.arange(levels[0] - steps / 2, levels[-1] + steps, steps)
    axis.hist(values, edges, color=COLOURS["euclidean"], alpha=0.9, zorder=2)
    axis.axvline(reference[0], color="black", linestyle=":", label=reference[1], zorder=3)
    low, high = np.percentile(values, [2.5, 97.5])
    axis.axvspan(
        low, high, color=COLOURS["cosine"], alpha=0.2, zorder=0, label=f"95 % of the draws: {low:.3f} to {high:.3f}"
    )
    axis.set_ylim(top=1.3 * axis.get_ylim()[1])
    axis.legend(loc="upper left")
    return axis


def roc(curves: dict[str, tuple[np.ndarray, np.ndarray]], smallest_far: float) -> Axes:
    """ROC with a logarithmic false-accept axis, from the smallest FAR that the pairs can show.

    Parameters
    ----------
    curves
        Per metric, or other label, ``(far, tar)``.
    """
    axis = _axes("false accept rate (FAR)", "true accept rate (TAR)")
    for (name, (far, tar)), (style, colour) in zip(curves.items(), LINES, strict=False):
        style, colour = STYLES.get(name, style), COLOURS.get(name, colour)
        label = NAMES.get(name, name)
        axis.plot(far, tar, style, color=colour, label=label, drawstyle="steps-post", linewidth=1.8)
    axis.set_xscale("log")
    axis.set_xlim(smallest_far, 1)
    axis.set_ylim(0, 1.02)
    axis.legend(loc="upper left")
    return axis


def similarities(values: dict[str, np.ndarray], limit: float, meaning: str) -> Axes:
    """Histograms of each person's highest cosine similarity to training images, and a line at a limit."""
    axis = _axes("highest cosine similarity to a training image", "people")
    together = np.concatenate(list(values.values()))
    edges = np.linspace(together.min(), together.max(), 60)
    for (name, found), (style, colour) in zip(values.items(), LINES, strict=False):
        axis.stairs(np.histogram(found, edges)[0], edges, label=name, linestyle=style, linewidth=1.8, color=colour)
    axis.axvline(limit, color="black", linestyle=":", linewidth=1.2, label=meaning)
    axis.set_ylim(bottom=0)
    axis.legend()
    return axis


def target_logits(degrees: np.ndarray, curves: dict[str, np.ndarray]) -> Axes:
    """What each loss puts in the place of the cosine of the right class, over the angle in degrees."""
    axis = _axes("angle between feature and weight of its class (degrees)", "value in place of the cosine")
    for (name, values), (style, colour) in zip(curves.items(), LINES, strict=False):
        axis.plot(degrees, values, style, color=colour, label=name, linewidth=1.8)
    axis.set(xlim=(0, 180), ylim=(-3, 1.1))  # SphereFace's falls on to -7
    axis.xaxis.set_major_locator(MultipleLocator(30))
    axis.legend(loc="lower right")
    return axis


def validation_curves(histories: dict[str, object]) -> Axes:
    """AUC on the validation people over the epochs, one line per run; a ring marks the best epoch.

    Parameters
    ----------
    histories
        Per label a table with the columns ``epoch`` and ``validation_auc``.
    """
    axis = _axes("epoch", "AUC on pairs of validation people")
    for (name, history), (style, colour) in zip(histories.items(), LINES, strict=False):
        auc = history["validation_auc"].to_numpy()
        axis.plot(history["epoch"], auc, style, color=colour, label=name, linewidth=1.8)
        best = auc.argmax()
        axis.plot(history["epoch"].iloc[best], auc[best], "o", color=colour, markersize=9, fillstyle="none")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(loc="lower right")
    return axis


def speeds(values: dict[str, np.ndarray], quantity: str) -> Axes:
    """Each measurement as a dot, a row per label, and a bar at the median.

    Parameters
    ----------
    values
        Per label the measurements, one per round.
    quantity
        Name and unit of the horizontal axis, which starts at zero.
    """
    _, axis = plt.subplots(figsize=(7.6, 0.55 * len(values) + 1.4))
    for row, measured in enumerate(values.values()):
        axis.barh(row, np.median(measured), color="#b9d6e6", height=0.6)
        axis.plot(measured, np.full(len(measured), row), "o", color=COLOURS["euclidean"], markersize=4)
        median, longest = np.median(measured), max(map(np.max, values.values()))
        side = "left" if median < 0.2 * longest else "right"  # within a long bar, beyond the end of a short one
        axis.text(median, row + 0.36, f"{median:.3g}", fontsize=9, ha=side, va="bottom")
    axis.set_yticks(range(len(values)), list(values))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlim(left=0)
    axis.set_xlabel(quantity)
    return axis


def startup(runs) -> Axes:
    """The paper's second figure 6: start-up times, stacked by what they are spent on."""
    axis = _axes("run", "seconds")
    bottom = np.zeros(len(runs))
    parts = (("import", "interpreter and imports", "#1b4965", ""), ("model", "model and weights", "#b9d6e6", "//"))
    for name, label, colour, hatch in (*parts, ("first", "first inference", "#e07a1f", "")):
        axis.bar(
            np.arange(1, len(runs) + 1),
            runs[name],
            bottom=bottom,
            label=label,
            color=colour,
            hatch=hatch,
            edgecolor="white",
        )
        bottom += runs[name].to_numpy()
    axis.axhline(runs["total"].mean(), color="black", linestyle=":", label=f"mean {runs['total'].mean():.2f} s")
    axis.set_ylim(0, 1.35 * bottom.max())
    axis.legend(ncols=2, loc="upper left", fontsize=9)
    return axis


def inference(times: dict[str, np.ndarray]) -> Axes:
    """Box plots of inference times in milliseconds, one per call; whiskers hold 95 % of the calls."""
    axis = _axes("milliseconds per call", "")
    axis.boxplot(
        list(times.values()), vert=False, whis=(2.5, 97.5), showfliers=False, medianprops={"color": COLOURS["cosine"]}
    )
    axis.set_yticks(range(1, len(times) + 1), list(times))
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    return axis


def _axes(xlabel: str, ylabel: str, width: float = 6.4) -> Axes:
    _, axis = plt.subplots(figsize=(width, 4.2))
    axis.set(xlabel=xlabel, ylabel=ylabel)
    return axis
