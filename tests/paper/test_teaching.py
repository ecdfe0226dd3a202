from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from facelib import models, runtime, training
from facelib.data.pairs import Pairs
from facelib.metrics import Bootstrap
from facelib.paper import teaching

GENUINE = np.array([True, True, False, False])
PAIRS = Pairs([0, 2, 0, 2], [1, 3, 2, 4], GENUINE, [0, 1, 0, 1])
DISTANCES = np.array([[0.1, 0.6, 0.5, 0.9], [0.2, 0.3, 0.7, 0.25]])


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path / "out"))
    monkeypatch.setattr(runtime, "ROOT", tmp_path / "root")
    return tmp_path


def test_numbers_of_several_trainings_are_means():
    taught = teaching.Taught([], DISTANCES, DISTANCES)
    each = [roc_auc_score(GENUINE, -one) for one in DISTANCES]
    assert taught.choosing_auc(GENUINE) == pytest.approx(np.mean(each))
    over_people = Bootstrap(PAIRS, np.array([0, 0, 1, 1, 2]), 50)
    alone = [over_people.estimate("auc", one) for one in DISTANCES]
    pooled = taught.pooled(over_people, "auc", None)
    assert (pooled.value, pooled.n) == (pytest.approx(np.mean(each)), 4)
    assert pooled.low == pytest.approx(np.mean([one.low for one in alone]))
    # Of the first training each fold's best threshold decides the other: .1 or so rejects .6, and .6 accepts .5.
    assert taught.accuracies(PAIRS)[0].tolist() == [0.5, 0.5]


def test_a_network_costs_its_parameters():
    row = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1, "seed": 0}
    options = '{"loss": "distillation", "width": 8, "neck": "plain", "features": 16}'
    row = {name: str(value) for name, value in row.items()} | {"options": options}
    cost = teaching.Taught([row], DISTANCES, DISTANCES).cost(64)
    network = models.Embedding("resnet18", 8, "plain", 0.0, 64, 16)
    learnt = [p for name, p in network.named_parameters() if "_mean" not in name and "_variance" not in name]
    assert cost["parameters"] == sum(int(np.prod(p.shape)) for p in learnt)
    assert training.Recipe.of_run(row).width == 8


def test_the_worst_mistakes_of_each_kind_come_first():
    margins = np.array([0.3, 0.1, -0.2, -0.4, -9.0, 9.0])
    genuine = np.array([True, True, False, False, True, False])
    assert teaching.worst(margins, SimpleNamespace(genuine=genuine), 1).tolist() == [3, 0]
    assert teaching.worst(margins, SimpleNamespace(genuine=genuine), 5).tolist() == [3, 2, 0, 1]


def test_distances_are_made_once_and_committed_ones_are_taken(folders):
    made = []

    def make():
        made.append(1)
        return {"judging": DISTANCES[0]}

    for _ in range(2):
        np.testing.assert_allclose(teaching.kept_distances("run", make)["judging"], DISTANCES[0], atol=1e-3)
    assert made == [1]
    (folders / "root" / "data").mkdir(parents=True)
    (folders / "out" / "data" / "scores").rename(folders / "root" / "data" / "scores")
    assert len(teaching.kept_distances("run", make)["judging"]) == 4 and made == [1]


def test_a_run_without_weights_or_distances_is_left_out_and_named(folders, monkeypatch, capsys):
    row = {"name": "student", "key": "abc"}
    monkeypatch.setattr(teaching.training, "read_runs", lambda: [row])
    monkeypatch.setattr(teaching, "_name", lambda setting, key: key)
    monkeypatch.setattr(teaching.training, "find_run", lambda name, key: None)
    setting = type("Setting", (dict,), {"used": {"runs": {}}})(students={"student": ["abc"]})
    assert teaching.students(setting) == {} and not setting.used["runs"]
    assert "run abc (student)" in capsys.readouterr().out


def test_slices_are_thirds_by_the_worse_photo(monkeypatch):
    values = {"sharpness": np.array([1.0, 9.0, 2.0, 8.0, 3.0, 7.0])}
    monkeypatch.setattr(teaching.quality, "measured", lambda faces: values)
    pairs = Pairs([0, 2, 4], [1, 3, 5], [True, True, False])  # the worse photos: 1, 2, 3
    faces = SimpleNamespace(take=lambda rows: rows, labels=np.array([0, 0, 1, 1, 2, 3]))
    setting = type("Setting", (dict,), {"pairs": pairs, "scored": faces})(replicates=20, seed=0)
    found = teaching.slices(setting, {"student": np.array([-0.1, 0.1, 0.1])})
    rates = {name: each["student"].value for name, each in found.items()}
    assert rates == {"sharpness.low": 1.0, "sharpness.middle": 0.0, "sharpness.high": 1.0}
