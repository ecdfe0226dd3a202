import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facelib.paper import plots


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    plt.switch_backend("Agg")
    plots.use_style()
    yield tmp_path
    plt.close("all")


def texts(axis):
    return [text.get_text() for text in axis.figure.texts]


@pytest.mark.parametrize(("profile", "marks"), [("demo", 1), ("lfw", 0)])
def test_demo_figures_carry_a_mark(output, profile, marks):
    axis = plots.feature_vector(np.random.default_rng(0).random(512))
    plots.save(axis, profile, "figure_6")
    path = output / "figures" / profile / "figure_6.png"
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
        plots.startup(runs),
    ):
        assert axis.get_xlabel() and axis.get_ylabel()


def test_curves_show_the_numbers_they_are_given():
    history = pd.DataFrame({"epoch": [1, 2, 3], "accuracy": [0.1, 0.5, 0.9], "held_out_accuracy": [0.1, 0.3, 0.2]})
    training, held_out = plots.training_curve(history, "accuracy").lines
    assert list(training.get_ydata()) == [0.1, 0.5, 0.9] and list(held_out.get_ydata()) == [0.1, 0.3, 0.2]


def test_similarities_count_people_beside_a_limit():
    axis = plots.similarities({"a": np.array([0.1, 0.2, 0.2]), "b": np.array([0.9])}, limit=0.5, meaning="a limit")
    assert [sum(patch.get_data()[0]) for patch in axis.patches] == [3, 1]
    assert list(axis.lines[0].get_xdata()) == [0.5, 0.5] and axis.get_xlabel() and axis.get_ylabel()


def test_histogram_counts_people():
    axis = plots.images_per_person({"a": np.array([1, 2, 2, 4])})
    values, edges, _ = axis.patches[0].get_data()
    assert dict(zip(edges[:-1], values, strict=True)) == {1: 1, 2: 2, 3: 0, 4: 1}
