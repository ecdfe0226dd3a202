"""Figures of identification: ranks, open-set rates, and faces sorted by who they are taken for."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from facelib.data.packed import PackedFaces
from facelib.metrics import Estimate
from facelib.metrics.identification import RANKS, Probes
from facelib.paper import plots
from facelib.paper.style import COLOURS


def identification(found: Probes, judged: dict[str, Estimate], most: int = 20) -> np.ndarray:
    """The cumulative match characteristic, and the detection and identification rate over the false alarm rate.

    The bars are what `Probes.judge` gave, ``judged``.
    """
    _, axes = plt.subplots(1, 2, figsize=(9.6, 4.2))
    most = min(most, len(np.unique(found.people)))
    axes[0].plot(np.arange(1, most + 1), found.cmc(most), "o-", color=COLOURS["genuine"], markersize=4)
    axes[0].set(xlabel="rank", ylabel="share of probes", ylim=(0, 1.02))
    fars = np.geomspace(max(1 / len(found.strangers), 1e-3), 1, 60)
    axes[1].plot(fars, [found.detected(far) for far in fars], color=COLOURS["impostor"])
    axes[1].set(xlabel="share of strangers taken for somebody", ylabel="detected and identified (DIR)")
    axes[1].set(xscale="log", ylim=(0, 1.02))
    for axis, at, name in ((axes[0], RANKS, "rank"), (axes[1], found.fars, "dir")):
        chosen = [each for key, each in judged.items() if key.startswith(name)]
        ends = [[each.low for each in chosen], [each.high for each in chosen]]
        axis.vlines(at, *ends, color="black", linewidth=1.6, label="95 % over people")
        if chosen:
            axis.legend(loc="best", fontsize=9)
    return axes


def contact_sheet(faces: PackedFaces, clusters: np.ndarray, rows: int = 4, columns: int = 6) -> np.ndarray:
    """A row for each of the largest clusters (numbers (n,), 0 the largest): its first faces, by whom they show."""
    grid, titles = [], []
    for number in range(min(rows, clusters.max() + 1)):
        some = np.flatnonzero(clusters == number)[:columns]
        shown = faces.take(some)
        grid.append(np.concatenate([shown, np.full((columns - len(some), *shown.shape[1:]), 255, np.uint8)]))
        titles += [faces.names[label].replace("_", "\n") for label in faces.labels[some]] + [""] * (columns - len(some))
    return plots.faces(np.concatenate(grid), titles, columns)


def picture(pixels: np.ndarray) -> Axes:
    """A picture with what is drawn on it."""
    _, axis = plt.subplots(figsize=(9.6, 9.6 * pixels.shape[0] / pixels.shape[1]))
    axis.imshow(pixels)
    axis.axis("off")
    return axis
