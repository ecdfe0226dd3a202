"""Figures of worse photos, attacks and updates: arrays and estimates in, axes out."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import ScaledTranslation

from facelib.data import corruptions
from facelib.metrics import Estimate
from facelib.paper import style

_AXES = {"jpeg": "JPEG quality", "pixels": "pixels a side"}


def pictures(face: np.ndarray) -> np.ndarray:
    """One face (S, S, 3) uint8 under every severity of every corruption, a row each."""
    kinds, longest = len(corruptions.SEVERITIES), max(map(len, corruptions.SEVERITIES.values()))
    _, axes = plt.subplots(kinds, longest, figsize=(0.9 * longest, 1.1 * kinds))
    for row, (kind, severities) in zip(axes, corruptions.SEVERITIES.items(), strict=True):
        for axis, severity in zip(row, severities, strict=False):
            axis.imshow(corruptions.CORRUPTIONS[kind](face, severity))
            axis.set_title(str(severity), fontsize=9)
        row[0].set_ylabel(kind, visible=True)
    return _bare(axes)


def shapes(found: dict[str, dict[str, dict[int, Estimate]]], stated: dict[str, dict[int, float]]) -> np.ndarray:
    """TAR over the severity: a panel per corruption, a line per network, and the stated values in percent, dotted."""
    _, axes = plt.subplots(1, len(found), figsize=(5.2 * len(found), 4.2), sharey=True)
    for axis, (kind, networks) in zip(np.ravel(axes), found.items(), strict=True):
        for number, (name, values) in enumerate(networks.items()):
            _bars(axis, values, name, number, len(networks))
        at, percent = np.transpose(sorted(stated[kind].items()))
        axis.plot(at, percent / 100, "D:", color="black", label="FaceNet, at FAR 1e-3")
        axis.set(xlabel=_AXES.get(kind, kind), ylim=(0, 1.02))
    axes[0].set_ylabel("TAR at FAR 1e-2, 95 % over people")
    _doubling(axes[-1], list(next(iter(found["pixels"].values()))))
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=9)
    return axes


def drops(found: dict[str, Estimate], clean: Estimate) -> Axes:
    """Accuracy under each corruption, a row each, beside that on the photos as they are."""
    _, axis = plt.subplots(figsize=(7.2, 0.26 * len(found) + 1.2))
    axis.axvspan(clean.low, clean.high, color="#b9d6e6", alpha=0.6)
    axis.axvline(clean.value, color="black", linestyle=":", label="photos as they are")
    for row, each in enumerate(found.values()):
        axis.plot([each.low, each.high], [row, row], color=style.COLOURS["genuine"])
        axis.plot(each.value, row, "o", color=style.COLOURS["impostor"], markersize=5)
    axis.set_yticks(range(len(found)), list(found), fontsize=9)
    axis.invert_yaxis()
    axis.set_xlabel("accuracy, 95 % over people")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
    return axis


def survival(found: dict[tuple[str, str, int], Estimate], bar: float) -> np.ndarray:
    """Share of decisions that stay right over epsilon: a panel per deciding network, a line per attacked one."""
    names = list(dict.fromkeys(name for _, name, _ in found))
    rows, columns = -(-len(names) // 3), min(len(names), 3)
    size = max(4.4 * columns, 6.4), 3.8 * rows + 0.4
    _, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        for number, source in enumerate(names):
            values = {e: each for (a, b, e), each in found.items() if (a, b) == (source, name)}
            _bars(axis, values, f"by gradients of {source}", number, len(names))
        axis.axhline(bar, color="black", linestyle=":", label=f"asked for: {bar:.0%}")
        axis.set(title=f"decided by {name}", xlabel="epsilon, of 255", ylim=(0, 1.02))
        _doubling(axis, list(values))
    axes[0, 0].figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("right decisions that stay so,\n95 % over people")
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return axes


def example(photos: dict[str, np.ndarray]) -> np.ndarray:
    """Photos (H, W, 3) uint8 side by side under their titles."""
    _, axes = plt.subplots(1, len(photos), figsize=(2.4 * len(photos), 2.9), squeeze=False)
    for axis, (title, photo) in zip(axes[0], photos.items(), strict=True):
        axis.imshow(photo)
        axis.set_title(title, fontsize=9)
    return _bare(axes)


def streams(orders: np.ndarray, played: dict[str, Sequence[float]]) -> Axes:
    """Share of control photos recognised after each batch: the range of orders (r, k), and some streams as lines."""
    axis = style.axes("batches that have arrived", "share of control photos recognised")
    at = np.arange(1, orders.shape[1] + 1)
    axis.fill_between(at, orders.min(0), orders.max(0), color="#b9d6e6", label=f"range of {len(orders)} orders")
    for (name, values), (dash, colour) in zip(played.items(), style.looks(len(played)), strict=True):
        axis.plot(at[: len(values)], values, dash, color=colour, marker="o", markersize=4, label=name)
    axis.set_ylim(0, 1.02)
    axis.legend(fontsize=9)
    return axis


def _bars(axis: Axes, values: dict[int, Estimate], label: str, number: int, count: int) -> None:
    """One of ``count`` lines, each a little to the right of the one before, so that bars stand side by side."""
    (dash, colour), shift = style.looks(count)[number], 4 / 72 * (number - (count - 1) / 2)
    middle = [each.value for each in values.values()]
    ends = np.array([[each.value - each.low, each.high - each.value] for each in values.values()]).T.clip(0)
    beside = axis.transData + ScaledTranslation(shift, 0, axis.figure.dpi_scale_trans)
    look = {"fmt": "o", "linestyle": dash, "color": colour, "capsize": 2, "markersize": 4, "linewidth": 1.4}
    axis.errorbar(list(values), middle, ends, transform=beside, label=label, **look)


def _doubling(axis: Axes, ticks: list[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [str(each) for each in ticks])
    axis.set_xlim(min(ticks) / 1.2, max(ticks) * 1.2)  # room for what is drawn beside them


def _bare(axes: np.ndarray) -> np.ndarray:
    for axis in np.ravel(axes):
        axis.grid(visible=False)
        axis.set(xticks=[], yticks=[])
        for edge in axis.spines.values():
            edge.set_visible(False)
    return axes
