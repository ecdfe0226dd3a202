"""Figures of decisions: probabilities against what came of them, promised rates against measured ones."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter, PercentFormatter

from facelib.metrics import Estimate, Reliability
from facelib.paper.style import COLOURS

_MEASURED = "measured, 95 % over people"
_BARS = {"capsize": 3, "markersize": 6, "linewidth": 1.6}


def reliability(found: Reliability, interval: np.ndarray, bins: int = 10) -> np.ndarray:
    """Reliability diagram: each bin's share of genuine pairs over its mean probability, and below it where pairs lie.

    ``interval`` (2, k) are the ends of that of each bin's share.
    """
    _, axes = plt.subplots(2, 1, figsize=(5.6, 5.8), sharex=True, height_ratios=[3, 1])
    axes[0].plot([0, 1], [0, 1], ":", color="black", label="as promised")
    bars = np.clip([found.share - interval[0], interval[1] - found.share], 0, None)
    axes[0].errorbar(found.probability, found.share, bars, fmt="o-", color=COLOURS["genuine"], label=_MEASURED, **_BARS)
    axes[0].set(ylabel="share of pairs of one person", xlim=(0, 1), ylim=(-0.02, 1.02))
    axes[0].legend(loc="lower right")
    axes[1].bar((found.bin + 0.5) / bins, found.weight, 0.9 / bins, color=COLOURS["impostor"])
    axes[1].set(xlabel="probability of one person", ylabel="share of pairs")
    axes[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return axes


def rates(far: dict[float, Estimate], tar: dict[float, Estimate]) -> np.ndarray:
    """What thresholds do on other people, over the FAR that each was chosen for: the FAR measured, and the TAR."""
    _, axes = plt.subplots(1, 2, figsize=(9.6, 4.2))
    targets = np.array(list(far))
    shown = (targets.min() / 2, targets.max() * 2) if len(targets) else (1e-3, 1)
    axes[0].plot(targets, targets, ":", color="black", label="as promised")
    for axis, found, look in ((axes[0], far, "impostor"), (axes[1], tar, "genuine")):
        values = np.array([each.value for each in found.values()])
        low, high = (np.array([getattr(each, end) for each in found.values()]) for end in ("low", "high"))
        bars = np.clip([values - low, high - values], 0, None)
        axis.errorbar(targets, values, bars, fmt="o", color=COLOURS[look], label=_MEASURED, **_BARS)
        axis.set_xscale("log")
        axis.set_xticks(targets, [f"{target:g}" for target in targets])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set(xlabel="FAR that the threshold was chosen for", xlim=shown)
        if not len(targets):
            axis.text(0.5, 0.5, "too few pairs for any threshold", ha="center", transform=axis.transAxes)
            axis.set_ylim(*shown)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("false accept rate (FAR)")
    axes[0].legend(loc="upper left")
    axes[1].set(ylabel="true accept rate (TAR)", ylim=(0, 1.02))
    return axes


def transfer(got: dict[tuple[str, str], dict[str, Estimate]]) -> np.ndarray:
    """Heat maps of the FAR and the accuracy that thresholds get, by who chose them and on whom they are used."""
    rows, columns = (list(dict.fromkeys(pair[k] for pair in got)) for k in (0, 1))
    _, axes = plt.subplots(1, 2, figsize=(9.6, 1.6 + 0.55 * len(rows)), sharey=True)
    for axis, rate, title in zip(axes, ("far", "accuracy"), ("false accept rate (FAR)", "accuracy"), strict=True):
        values = np.array([[got[row, column][rate].value for column in columns] for row in rows])
        bad = values if rate == "far" else 1 - values
        axis.imshow(bad, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if bad[row, column] > 0.5 else "black"
            axis.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour)
        axis.set_xticks(range(len(columns)), [name.replace("_", " ") for name in columns], rotation=30, ha="right")
        axis.set_yticks(
            range(len(rows)), ["the paper's 9" if name == "paper_9" else name.replace("_", " ") for name in rows]
        )
        axis.set(title=title, xlabel="used on")
        axis.grid(False)
    axes[0].set_ylabel("chosen on")
    return axes


def pairs_needed(table: pd.DataFrame) -> np.ndarray:
    """Widths of 95 % of accuracies (``spread``, ``wilson``) and the share of ``wrong`` rankings by number of pairs."""
    _, axes = plt.subplots(1, 2, figsize=(9.6, 3.8))
    axes[0].plot(table.index, table["spread"], "o-", color=COLOURS["genuine"], label="draws, 95 %")
    axes[0].plot(table.index, table["wilson"], ":", color="black", label="Wilson's interval")
    axes[0].set(ylabel="width in accuracy", ylim=(0, None))
    axes[0].legend()
    axes[1].plot(table.index, table["wrong"], "o-", color=COLOURS["impostor"])
    axes[1].set(ylabel="draws that rank wrongly", ylim=(-0.02, 0.6))
    for axis in axes:
        axis.set(xlabel="pairs", xscale="log")
        axis.set_xticks(table.index, [f"{count:,}" for count in table.index])
        axis.xaxis.set_minor_formatter(NullFormatter())
    return axes
