import os
import subprocess
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facelib import runtime
from facelib.metrics import Estimate, reliability
from facelib.paper import decision_plots, loss_plots, plots, speed_plots, style


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    plt.switch_backend("Agg")
    style.use_style()
    yield tmp_path
    plt.close("all")


def texts(axis):
    return [text.get_text() for text in axis.figure.texts]


@pytest.mark.parametrize("marks", [1, 0])
def test_figures_of_rendered_faces_carry_a_mark(output, marks):
    axis = plots.feature_vector(np.random.default_rng(0).random(512))
    style.save(axis, SimpleNamespace(figures=output / "figures" / "lfw", is_rendered=bool(marks)), "figure_6")
    path = output / "figures" / "lfw" / "figure_6.png"
    assert [file.name for file in path.parent.iterdir()] == ["figure_6.png"]
    assert sum("DEMO" in text for text in texts(axis)) == marks
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 300


def test_every_axis_is_named(output):
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.1, 0.5], "held_out_accuracy": [0.1, 0.3]}
    )
    runs = pd.DataFrame({"import": [1.0, 1.1], "model": [0.2, 0.2], "first": [0.1, 0.1], "total": [1.3, 1.4]})
    rng = np.random.default_rng(0)
    distances, genuine = rng.random(100), rng.random(100) > 0.5
    for axis in (
        plots.training_curve(history, "accuracy"),
        plots.training_curve(history, "loss"),
        plots.images_per_person({"a": np.array([1, 2, 2]), "b": np.array([5])}),
        plots.images_per_person({"a": np.array([1, 2, 500])}),
        plots.distances(distances, genuine, "Euclidean", 0.5),
        plots.draws(distances, ("difference", "draws"), (0.5, "half")),
        plots.roc({"cosine": (np.array([0, 0.5, 1]), np.array([0, 0.9, 1]))}, 1e-2),
        speed_plots.startup(runs),
    ):
        assert axis.get_xlabel() and axis.get_ylabel()


def test_curves_show_the_numbers_they_are_given():
    history = pd.DataFrame({"epoch": [1, 2, 3], "accuracy": [0.1, 0.5, 0.9], "held_out_accuracy": [0.1, 0.3, 0.2]})
    training, held_out = plots.training_curve(history, "accuracy").lines
    assert list(training.get_ydata()) == [0.1, 0.5, 0.9] and list(held_out.get_ydata()) == [0.1, 0.3, 0.2]
    history = history.assign(loss=[3.0, 2.0, 1.0])  # of an older run, which kept no held-out loss
    assert [list(line.get_ydata()) for line in plots.training_curve(history, "loss").lines] == [[3, 2, 1]]
    _, held_out = plots.training_curve(history.assign(held_out_loss=[3.0, 2.5, 2.7]), "loss").lines
    assert list(held_out.get_ydata()) == [3.0, 2.5, 2.7]
    again = history.assign(loss=[3.1, 2.1, 1.1], held_out_loss=[3.2, 2.6, 2.8])
    axis = plots.training_curve(history, "loss", again)
    assert [list(line.get_ydata()) for line in axis.lines] == [[3, 2, 1], [3.1, 2.1, 1.1], [3.2, 2.6, 2.8]]
    assert sum("trained again" in text for text in axis.get_legend_handles_labels()[1]) == 2
    assert len(plots.training_curve(again, "loss", again).lines) == 2  # it has its own


def test_probabilities_stand_over_what_came_of_them():
    found = reliability(np.array([0.2, 0.2, 0.7, 0.7]), np.array([False, True, True, True]))
    upper, lower = decision_plots.reliability(found, np.array([[0.3, 0.9], [0.8, 1.0]]))
    bar = upper.containers[0]
    np.testing.assert_allclose(bar[0].get_xydata(), [[0.2, 0.5], [0.7, 1.0]])
    np.testing.assert_allclose(bar[2][0].get_segments(), [[[0.2, 0.3], [0.2, 0.8]], [[0.7, 0.9], [0.7, 1.0]]])
    assert [patch.get_height() for patch in lower.patches] == [0.5, 0.5]
    assert [patch.get_x() + patch.get_width() / 2 for patch in lower.patches] == pytest.approx([0.25, 0.75])
    assert upper.get_ylabel() and lower.get_xlabel() and lower.get_ylabel()


def test_measured_rates_stand_over_promised_ones():
    far = {0.1: Estimate(0.2, 0.15, 0.25, 100), 0.01: Estimate(0.0, 0.0, 0.02, 100)}
    tar = {0.1: Estimate(0.9, 0.85, 0.95, 100), 0.01: Estimate(0.5, 0.4, 0.6, 100)}
    left, right = decision_plots.rates(far, tar)
    np.testing.assert_allclose(left.containers[0][0].get_xydata(), [[0.1, 0.2], [0.01, 0.0]])
    np.testing.assert_allclose(right.containers[0][0].get_xydata(), [[0.1, 0.9], [0.01, 0.5]])
    left.figure.canvas.draw()
    assert left.get_ylabel() and right.get_ylabel() and left.get_xlabel() == right.get_xlabel() != ""


def test_similarities_count_people_beside_a_limit():
    axis = plots.similarities({"a": np.array([0.1, 0.2, 0.2]), "b": np.array([0.9])}, limit=0.5, meaning="a limit")
    assert [sum(patch.get_data()[0]) for patch in axis.patches] == [3, 1]
    assert list(axis.lines[0].get_xdata()) == [0.5, 0.5] and axis.get_xlabel() and axis.get_ylabel()


def test_histogram_counts_people():
    axis = plots.images_per_person({"a": np.array([1, 2, 2, 4])})
    values, edges, _ = axis.patches[0].get_data()
    assert dict(zip(edges[:-1], values, strict=True)) == {1: 1, 2: 2, 3: 0, 4: 1}


def test_every_loss_is_drawn_and_none_twice():
    names = [f"loss {k}" for k in range(9)]
    degrees = np.arange(5.0)
    lines = plots.target_logits(degrees, {name: degrees * k for k, name in enumerate(names)}).lines
    assert [line.get_label() for line in lines] == names
    assert len({(line.get_linestyle(), line.get_color()) for line in lines}) == 9


def test_more_lines_than_can_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="29 lines in one figure"):
        style.looks(29)
    assert len(set(style.looks(28))) == 28


def test_a_face_without_a_title_is_a_mistake():
    with pytest.raises(ValueError):
        plots.faces(np.zeros((3, 4, 4, 3), np.uint8), ["a", "b"])
    assert len(plots.faces(np.zeros((3, 4, 4, 3), np.uint8), ["a", "b", "c"]).ravel()) == 4


@pytest.mark.parametrize(
    ("values", "bins"),
    [
        ([0.1 + 0.2, 0.3, 0.5], 2),  # equal up to rounding: the step is 0.2
        ([0.5, 0.5, 0.5], 40),
        ([0.0, 0.25, 1.0], 5),
        ([0.0, 1e-7, 1.0], 40),  # a step that would ask for millions of bins
        (np.linspace(0, 1, 200), 40),
    ],
)
def test_draws_take_few_bins_whatever_the_values(values, bins):
    axis = plots.draws(np.array(values), ("a share", "draws"), (0.5, "half"))
    heights = [patch.get_height() for patch in axis.patches if hasattr(patch, "get_height")][:bins]
    assert sum(heights) == len(values)


@pytest.mark.parametrize("backend", ["Agg", "svg"])
def test_the_user_s_matplotlibrc_changes_nothing_but_the_backend(tmp_path, backend):
    (tmp_path / "matplotlibrc").write_text(f"text.usetex: True\nbackend: {backend}\nlines.linewidth: 9\n")
    code = (
        "import matplotlib.pyplot as plt\n"
        "from facelib.paper import style\n"
        "style.use_style()\n"
        "print(plt.rcParams['text.usetex'], plt.rcParams['lines.linewidth'], plt.get_backend())\n"
    )
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(runtime.ROOT)}
    environment.pop("MPLBACKEND", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    usetex, width, found = done.stdout.split()
    assert (usetex, found.lower()) == ("False", backend.lower()) and float(width) < 3


def test_a_roc_has_the_band_that_it_is_given():
    far, tar = np.array([0, 0.5, 1]), np.array([0, 0.9, 1])
    grid, low, high = np.array([0.1, 1.0]), np.array([0.0, 0.9]), np.array([0.2, 1.0])
    axis = plots.roc({"cosine": (far, tar, grid, low, high), "other": (far, tar)}, 1e-2)
    [band] = axis.collections
    corners = band.get_paths()[0].vertices
    assert {(0.1, 0.0), (0.1, 0.2), (1.0, 0.9), (1.0, 1.0)} <= set(map(tuple, corners.tolist()))
    assert len(axis.lines) == 2


def test_each_label_stands_right_of_its_farthest_point():
    axis = speed_plots.speeds({"a": np.array([10.0, 14.0, 11.0]), "b": np.array([100.0])}, "images per second")
    assert [(text.get_text(), text.xy) for text in axis.texts] == [("11", (14.0, 0)), ("100", (100.0, 1))]
    assert axis.get_xlim()[1] > 110


def test_a_flat_grid_says_why_it_is_flat():
    fine = np.array([8.7, 40.0, 63.0]), np.array([0.5, 0.8, 0.5]), np.zeros(3), np.ones(3)
    left, _ = plots.accuracy_over_thresholds((np.arange(20.0), np.full(20, 0.5)), fine, 41)
    assert "smallest distance of a pair is 8.7" in left.texts[0].get_text()
    assert [line.get_xdata()[0] for line in left.lines[1:]] == [8.7]


def test_the_legend_of_draws_lies_outside_the_axes():
    axis = plots.draws(np.linspace(0, 1, 200), ("a share", "draws"), (0.5, "half"))
    axis.figure.canvas.draw()
    [legend] = axis.figure.legends
    assert axis.get_legend() is None and legend.get_window_extent().y0 > axis.get_window_extent().y1


def test_losses_stand_in_the_order_of_their_auc_with_their_trainings():
    found = {"a": Estimate(0.9, 0.8, 0.95, 5), "b": Estimate(0.7, 0.6, 0.8, 5)}
    axis = loss_plots.beside(found, {"a": np.array([0.88, 0.92]), "b": np.array([0.7])}, "AUC", "b")
    assert [label.get_text() for label in axis.get_yticklabels()] == ["b", "a"]
    rings = [line.get_xdata().tolist() for line in axis.lines if line.get_fillstyle() == "none"]
    assert [0.88, 0.92] in rings and [0.7] in rings


def test_panels_without_a_finished_run_say_so():
    axes = loss_plots.over({"margin": {0.3: Estimate(0.9, 0.8, 0.95, 5)}, "photos": {}}, "AUC")[0]
    assert [axis.get_xlabel() for axis in axes] == ["margin", "photos"]
    assert [[text.get_text() for text in axis.texts] for axis in axes] == [[], ["no finished run"]]


def test_each_loss_has_a_panel_of_its_own():
    rng = np.random.default_rng(0)
    names = ["softmax", "center", "arcface", "cosface"]
    planes = loss_plots.planes({name: rng.normal(size=(20, 2)) for name in names[:3]}, np.repeat(np.arange(4), 5))
    assert [axis.get_title() for axis in planes[0]] == names[:3]
    assert [sum(len(each.get_offsets()) for each in axis.collections) for axis in planes[0]] == [20, 20, 20]
    histograms = loss_plots.distances({name: rng.uniform(size=30) for name in names}, np.arange(30) < 15)
    assert [axis.get_title() for axis in histograms.flat if axis.get_title()] == names
    two = {"softmax": (3.0, Estimate(0.9, 0.8, 0.95, 5)), "center": (4.0, Estimate(0.8, 0.7, 0.9, 5))}
    axes = loss_plots.cost(two, "AUC")
    assert axes[0].get_xlabel() == "AUC, 95 % over people"
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["center", "softmax"]
    assert [bar.get_width() for bar in axes[1].patches] == [4, 3]
