"""The ablation: each step adds to those before it, and what was trained once is not trained again."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from facelib import training
from facelib.data import catalog
from facelib.data.pairs import Pairs
from facelib.paper import ablation, choosing, setup
from facelib.training import Recipe


def test_the_steps_lead_from_the_papers_recipe_to_the_better_one():
    setting = setup("lfw")
    shared, steps = setting["ablation"]["recipe"], list(ablation.recipes(setting).values())
    assert steps[0] == replace(setting.recipe, **shared)
    better = setting.best_recipes["celebfaces-cosface"]
    assert steps[-1] == replace(better, **shared)
    for before, after in zip(steps, steps[1:], strict=False):
        changed = {name for name, value in asdict(after).items() if value != asdict(before)[name]}
        assert len(changed) == 1 or changed in ({"optimizer", "learning_rate"}, {"schedule", "warmup_epochs"})


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A setting of two steps whose trainings only note that they were asked for; four pairs choose and judge."""
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    setting, asked = (
        setup("demo", {"ablation": {"seeds": [3], "recipe": {"width": 8}, "steps": {"a": {}, "b": {}}}}),
        [],
    )
    pairs = Pairs(np.arange(4), np.arange(4) + 4, np.array([True, True, False, False]))
    faces = SimpleNamespace(labels=np.array([0, 1, 2, 3, 0, 1, 4, 5]), select=lambda rows: rows)
    vars(setting)["scored"], vars(setting)["pairs"] = faces, pairs
    vars(setting)["split"] = vars(setting)["best_split"] = SimpleNamespace(train=None, held_out=None, validation=None)

    def train(name, _, recipe, *others):
        asked.append((name, recipe.seed))
        return SimpleNamespace(weights=len(asked))

    monkeypatch.setattr(choosing, "development", lambda _: (faces, pairs))
    monkeypatch.setattr(choosing, "scored_on", lambda _: ["people"])
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "run_key", lambda _, recipe, *others: f"{recipe.seed} {recipe.width} {len(others)}")
    monkeypatch.setattr(ablation.inference, "features", lambda rows, weights, mirror: np.eye(8)[rows % 4 + weights % 2])
    return setting, asked


def test_each_step_is_trained_once(tiny):
    setting, asked = tiny
    found = ablation.outcomes(setting)
    assert list(found.kept) == ["a", "b", ablation.FULL]
    assert asked == [("ablation-a", 3), ("demo-resnet18", 0)], "b has a's recipe, and so its key"
    assert found.kept["a"][0]["development.cosine"].tolist() == [0, 0, 0, 0]
    ablation.outcomes(setting)
    assert len(asked) == 2
    assert setting.used["runs"]["ablation-a, seed 3"] == "3 8 2"


def test_nothing_is_trained_where_nothing_is_to_be(tiny, monkeypatch):
    setting, asked = tiny
    setting.values["bench_trains"] = False
    monkeypatch.setattr(training, "find_run", lambda name, key: name == "demo-resnet18")
    assert list(ablation.outcomes(setting).kept) == [ablation.FULL]
    assert asked == [("demo-resnet18", 0)], "a finished run is scored"


def test_what_is_chosen_anew_is_scored_once_and_then_read(tiny, monkeypatch):
    """Rows 0 to 3 against 4 to 7: the features of each pair are one unit vector, so that all lie at 0."""
    setting, _ = tiny
    row = {"name": "net", "key": "k"}
    monkeypatch.setattr(training, "find_run", lambda name, key: None)
    assert choosing.again(setting, row) is None, "neither weights nor distances are at hand"
    run = SimpleNamespace(weights=0, row={"validation_auc": "0.88902"})
    monkeypatch.setattr(training, "find_run", lambda name, key: run if (name, key) == ("net", "k") else None)
    auc, distances = choosing.again(setting, row)
    assert auc == 0.88902 and distances.tolist() == [0, 0, 0, 0]
    monkeypatch.setattr(training, "find_run", lambda name, key: None)
    auc, distances = choosing.again(setting, row)
    assert auc == 0.88902 and distances.tolist() == [0, 0, 0, 0]
    assert setting.used["runs"]["again: net"] == "k"


def test_a_network_without_features_is_told_and_left_out(tiny, monkeypatch, capsys):
    setting, _ = tiny
    monkeypatch.setattr(ablation.inference, "features", lambda rows, *_, **__: np.zeros((len(rows), 4)))
    assert not ablation.outcomes(setting).kept
    assert "ablation-a, seed 3, has no scores: row 0 is a zero vector" in capsys.readouterr().out


def test_without_the_photos_committed_runs_are_found_by_their_recipe(tiny, monkeypatch, tmp_path):
    setting, asked = tiny
    ablation.outcomes(setting)
    monkeypatch.setattr(catalog, "missing", lambda _: ["photos"])
    rows = [{"name": "ablation-a", "key": "3 8 2", "epochs": "20", "batch_size": "128", "learning_rate": "0.001"}]
    rows[0] |= {"seed": "3", "options": json.dumps(Recipe(width=8).options())}
    monkeypatch.setattr(training, "read_runs", lambda: rows)
    assert list(ablation.outcomes(setting).kept) == ["a"] and len(asked) == 2
    for file in tmp_path.rglob("step-*.npz"):
        file.unlink()
    assert not ablation.outcomes(setting).kept
