"""The style that all figures share, grey-safe, and the file that a figure goes to."""

import os
import tempfile
from itertools import cycle, islice

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from facelib.paper.setting import Setting

# Dark blue against orange differs in grey as well; line styles say it a second time.
COLOURS = {"euclidean": "#1b4965", "cosine": "#e07a1f", "genuine": "#1b4965", "impostor": "#e07a1f"}
STYLES = {"euclidean": "-", "cosine": "--", "genuine": "-", "impostor": "--"}
NAMES = {"euclidean": "Euclidean distance", "cosine": "cosine similarity"}
_DASHES = ("-", "--", ":", "-.")
_HUES = ("#1b4965", "#e07a1f", "#2a9d8f", "#8a5a83", "#9aa5b1", "#c1121f", "#7f9c3b")


def use_style() -> None:
    """Set the style that all figures share, whatever the user's matplotlibrc says; the backend stays."""
    plt.rcdefaults()
    sns.set_theme(context="notebook", style="whitegrid", font="DejaVu Sans")
    plt.rcParams.update({"figure.dpi": 100, "savefig.dpi": 150, "figure.constrained_layout.use": True})


def looks(count: int) -> list[tuple[str, str]]:
    """Line style and colour of each of some lines, no two of them alike up to 28; ValueError for more."""
    most = len(_DASHES) * len(_HUES)
    if count > most:
        raise ValueError(f"{count} lines in one figure: no more than {most} can be told apart.")
    return list(islice(zip(cycle(_DASHES), cycle(_HUES), strict=False), count))


def axes(xlabel: str, ylabel: str, width: float = 6.4) -> Axes:
    """New axes with named quantities."""
    _, axis = plt.subplots(figsize=(width, 4.2))
    axis.set(xlabel=xlabel, ylabel=ylabel)
    return axis


def save(axes: Axes | np.ndarray, setting: Setting, name: str, rendered: bool = False) -> None:
    """Write the figure of ``axes`` to ``<name>.png`` in the setting's folder; one of rendered faces says so."""
    figure = np.ravel(axes)[0].figure
    if rendered or setting.is_rendered:
        strip = 0.25 / figure.get_figheight()  # a strip of its own below the axes
        figure.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))
        figure.text(0.01, 0.2 * strip, "DEMO: rendered faces", color="#b3261e", fontsize=9, weight="bold")
    setting.figures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=setting.figures) as folder:  # whole or not at all
        figure.savefig(os.path.join(folder, "figure.png"))
        os.replace(os.path.join(folder, "figure.png"), setting.figures / f"{name}.png")
