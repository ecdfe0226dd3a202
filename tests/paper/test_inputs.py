"""A notebook is redone when what it declared changes, and then only."""

import json
from dataclasses import replace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from facelib import training
from facelib.inference import decision
from facelib.paper import Recorder, deciding, inputs, setup
from facelib.training import Run


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    return tmp_path


@pytest.fixture
def notebook(tmp_path):
    """Write a notebook of code cells."""

    def notebook(*code, stem="01_one"):
        path = tmp_path / f"{stem}.ipynb"
        nbformat.write(new_notebook(cells=[new_code_cell(source) for source in code]), path)
        return path

    return notebook


def state(path, setting, own=None):
    return json.dumps(inputs.declared(path, setting, own or {}))


def run(stem, setting, *read):
    """What a notebook does that reads some parameters and records."""
    for name in read:
        setting[name]
    Recorder(stem, setting).save()


def test_what_has_not_run_has_declared_nothing(notebook):
    assert inputs.declared(notebook("1"), setup("demo"), {}) is None


def test_what_an_older_version_has_recorded_declares_nothing(notebook, output):
    run("01_one", setup("demo"), "seed")
    path = output / "figures" / "demo" / "results.json"
    stored = json.loads(path.read_text())
    stored["_provenance"]["01_one"] = {"consumed": {"weights": "abc", "test": "def"}, "parameters": {"seed": 0}}
    path.write_text(json.dumps(stored))
    assert inputs.declared(notebook("1"), setup("demo"), {}) is None


def test_parameters_count_where_they_were_read(notebook):
    path = notebook("1")
    run("01_one", setup("demo"), "seed", "draws")
    before = state(path, setup("demo"))
    for change, expected in (({"draws": 5}, False), ({"seed": 1}, False), ({"epochs": 3}, True)):
        made = setup("demo", change | {"profile": "x"})
        object.__setattr__(made, "place", "demo")  # as if the profile's file had been edited
        assert (state(path, made) == before) == expected, change


def test_own_parameters_of_the_cell_count(notebook, monkeypatch):
    path = notebook("1")
    monkeypatch.setattr("facelib.paper.results.own_values", lambda stem: {"depth": 3})
    run("01_one", setup("demo"))
    assert state(path, setup("demo"), {"depth": 3}) != state(path, setup("demo"), {"depth": 4})


def test_a_changed_set_counts_whatever_its_parameter_is_called(notebook, tree):
    faces = tree([f"p{k}/{n}.png" for k in range(3) for n in range(2)])
    mine = {"scale_source": str(faces), "profile": "mine"}
    path = notebook("1")
    run("01_one", setup("demo", mine), "scale_source")
    before = state(path, setup("demo", mine))
    assert state(path, setup("demo", mine)) == before
    (faces / "p0" / "9.png").write_bytes((faces / "p0" / "0.png").read_bytes())
    assert state(path, setup("demo", mine)) != before


def record(stem, setting, **numbers):
    recorder = Recorder(stem, setting)
    for key, value in numbers.items():
        recorder(key, value)
    recorder.save()


def test_numbers_of_another_notebook_count_where_they_were_read(notebook):
    path = notebook("1")
    record("14_recipes", setup("demo"), centred=1, seconds=7.5)
    made = setup("demo")
    made.result("14_recipes", "centred")
    run("01_one", made)
    before = state(path, setup("demo"))
    record("14_recipes", setup("demo"), centred=1, seconds=99.0)
    assert state(path, setup("demo")) == before, "a timing that nobody read"
    record("14_recipes", setup("demo"), centred=0, seconds=7.5)
    assert state(path, setup("demo")) != before


def test_runs_of_another_notebook_count(notebook, monkeypatch):
    found = {"k1": "a", "k2": "b"}  # hash of the weights by key

    def find_run(name, key):
        return Run("w.npz", None, {"name": "net", "key": key, "weights_sha256": found[key]}) if key in found else None

    monkeypatch.setattr(training, "find_run", find_run)
    monkeypatch.setattr(inputs, "code_hash", lambda path, rooms: "")
    path = notebook("1")

    def kept(key):
        made = setup("demo")
        made._noted([find_run("net", key)])
        Recorder("14_recipes", made).save()

    kept("k1")
    made = setup("demo")
    made.runs_of("14_recipes", ["net"])
    run("01_one", made)
    before = state(path, setup("demo"))
    found["k1"] = "other weights under the same key"
    assert state(path, setup("demo")) != before
    del found["k1"]
    assert state(path, setup("demo")) == before, "not at hand now, and not known to have changed"
    kept("k2")
    assert state(path, setup("demo")) != before


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from facelib.metrics import auc", {"metrics.curves"}),
        ("from facelib.metrics import curves as c", {"metrics.curves"}),
        ("from facelib.metrics.curves import auc", {"metrics.curves"}),
        ("from facelib import metrics\nmetrics.wilson_interval(1, 2)", {"metrics.intervals", "metrics.curves"}),
        ("from facelib import metrics as m\nprint(m)", {"metrics.curves", "metrics.draws", "metrics.resampling"}),
        ("from facelib import runtime", {"runtime"}),
        ("%time 1\nfrom facelib.data import load", {"data.catalog", "data.packing", "runtime"}),
        ("from facelib.training import train", {"training.loop", "models.onednn", "models.losses", "data.pairs"}),
        ("from facelib import benchmarks\nbenchmarks.training_speed", {"benchmarks.engines", "benchmarks.fresh"}),
        ("import numpy", set()),
    ],
)
def test_a_name_of_a_room_counts_as_its_module(code, expected):
    used = set(inputs.used_modules([code]))
    assert expected <= used
    if code.startswith("from facelib.metrics"):
        assert "metrics.draws" not in used


def test_code_that_trains_counts_where_a_run_was_used_alone(notebook):
    data = notebook("from facelib.paper import setup")
    assert "training.loop" not in inputs.used_modules(["from facelib.paper import setup"])
    assert inputs.code_hash(data, []) != inputs.code_hash(data, ["training"])


def test_the_card_of_a_shipped_network_counts(notebook, monkeypatch):
    path, setting = notebook("1"), setup("demo")
    card = decision.read_card(decision.DEFAULT)
    setting.used["cards"] = {card.name: deciding.card_key(card)}
    run("01_one", setting)
    before = state(path, setup("demo"))
    assert inputs.declared(path, setup("demo"), {})["cards"] == setting.used["cards"]
    monkeypatch.setattr(decision, "read_card", lambda name: replace(card, mirror=not card.mirror))
    assert state(path, setup("demo")) != before


def test_comments_and_layout_change_nothing(notebook):
    first = inputs.code_hash(notebook("x = 1  # one\ny = (2)"), [])
    assert inputs.code_hash(notebook("x=1\n\ny = 2"), []) == first
    assert inputs.code_hash(notebook("x = 1\ny = 3"), []) != first


def test_texts_of_the_code(notebook):
    assert inputs.strings(notebook("a = 'one'\n!ls 'x'", "f('two', b=3)")) == {"one", "two"}
