"""Figures of times and speeds: arrays in, axes out."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from facelib.paper import style
from facelib.paper.style import COLOURS


def speeds(values: dict[str, np.ndarray], quantity: str) -> Axes:
    """Each measurement as a dot, a row per label, and a bar at the median.

    ``values`` are per label the measurements, one per round, ``quantity`` name and unit of the axis, which starts at
    zero.
    """
    _, axis = plt.subplots(figsize=(7.6, 0.55 * len(values) + 1.4))
    for row, measured in enumerate(values.values()):
        axis.barh(row, np.median(measured), color="#b9d6e6", height=0.6)
        axis.plot(measured, np.full(len(measured), row), "o", color=COLOURS["euclidean"], markersize=4)
        axis.annotate(
            f"{np.median(measured):.3g}", (np.max(measured), row), (8, 0), textcoords="offset points", va="center"
        )
    axis.set_yticks(range(len(values)), list(values))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlim(0, 1.12 * max(map(np.max, values.values())))
    axis.set_xlabel(quantity)
    return axis


def startup(runs) -> Axes:
    """The paper's second figure 6: start-up times, stacked by what they are spent on."""
    axis = style.axes("run", "seconds")
    bottom = np.zeros(len(runs))
    parts = (("import", "interpreter and imports", "#1b4965", ""), ("model", "model and weights", "#b9d6e6", "//"))
    for name, label, colour, hatch in (*parts, ("first", "first inference", "#e07a1f", "")):
        look = {"label": label, "color": colour, "hatch": hatch, "edgecolor": "white"}
        axis.bar(np.arange(1, len(runs) + 1), runs[name], bottom=bottom, **look)
        bottom += runs[name].to_numpy()
    axis.axhline(runs["total"].mean(), color="black", linestyle=":", label=f"mean {runs['total'].mean():.2f} s")
    axis.set_ylim(0, 1.35 * bottom.max())
    axis.legend(ncols=2, loc="upper left", fontsize=9)
    return axis


def inference(times: dict[str, np.ndarray]) -> Axes:
    """Box plots of inference times in milliseconds, one per call; whiskers hold 95 % of the calls."""
    axis = style.axes("milliseconds per call", "")
    axis.boxplot(
        list(times.values()), vert=False, whis=(2.5, 97.5), showfliers=False, medianprops={"color": COLOURS["cosine"]}
    )
    axis.set_yticks(range(1, len(times) + 1), list(times))
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    return axis
