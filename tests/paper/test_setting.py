"""What a setting hands out is noted, so that the provenance of a number is complete."""

import json

import pytest

from facelib import training
from facelib.data import splits
from facelib.paper import Recorder, results, setup
from facelib.paper import setting as setting_module
from facelib.training import Recipe, Run


@pytest.fixture
def tiny(tree):
    """Overrides for two small folders: 9 people to train on, 6 to test, 4 flat photos each."""
    sets = {
        f"{name}_set": str(tree([f"{name}_{person}/{k}.png" for person in range(people) for k in range(4)], name))
        for name, people in (("train", 9), ("test", 6))
    }
    small = {
        "epochs": 1,
        "batch_size": 32,
        "all_pairs": 30,
        "processes": 1,
        "validation_share": 0.3,
        "held_out_from": 4,
    }
    return {**sets, **small, "scale_source": sets["train_set"], "profile": "tiny"}


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    return tmp_path


@pytest.fixture
def trained(monkeypatch):
    """Trainings that end at once; what they were asked for."""
    asked = []

    def train(name, train, recipe, held_out=None, validation=None):
        asked.append((name, train.key, recipe, held_out, validation))
        return Run("w.npz", None, {"name": name, "key": f"key of {name}", "weights_sha256": f"sha of {name}"})

    monkeypatch.setattr(training, "train", train)
    return asked


def test_parameters_are_noted_when_they_are_read(tiny):
    made = setup("demo", tiny)
    assert made.used["parameters"] == {}
    made["epochs"], made["seed"]  # noqa: B018
    assert made.used["parameters"] == {"epochs": 1, "seed": 0}
    with pytest.raises(KeyError):
        made["epohcs"]


def test_the_paper_s_run_is_that_of_splits_and_recipe(trained, tiny):
    made = setup("demo", tiny)
    assert made.run is made.run and len(trained) == 1
    name, key, recipe, held_out, validation = trained[0]
    train_set, test_set = tiny["train_set"], tiny["test_set"]
    split = splits.experiment(train_set, test_set, 2, None, 0.3, 4, 0, progress=False)
    assert (name, key, held_out.key, validation) == ("demo-resnet18", split.train.key, split.held_out.key, None)
    assert recipe == Recipe(epochs=1, batch_size=32)
    assert made.used["parts"]["validation"] == split.validation.key
    contents = split.train.manifest["content"], split.test.manifest["content"]
    assert made.used["sets"] == dict(zip((train_set, test_set), contents, strict=True))
    assert made.used["runs"] == {"demo-resnet18": "key of demo-resnet18"}
    assert made.used["weights"] == {"demo-resnet18": "sha of demo-resnet18"}
    assert {"epochs", "processes", "train_set", "held_out_from"} <= set(made.used["parameters"])


def test_pairs_are_those_of_the_test_set(tiny):
    made = setup("demo", tiny)
    assert len(made.pairs) == 60 and list(made.used["pairs"]) == [tiny["test_set"]]
    other = setup("demo", tiny | {"seed": 1})
    assert other.pairs is not None and other.used["pairs"] != made.used["pairs"]


def test_the_better_recipe_leaves_people_out_and_takes_others_in(trained, tiny):
    made = setup("demo", tiny | {"without": ["train_1"], "best_networks": {"a": {"epochs": 2, "width": 8}}})
    assert made.best_recipes == {"a": Recipe(epochs=2, width=8, batch_size=32)}
    names = {name for part in (made.best_split.train, made.best_split.validation) for name in part.names}
    assert names == set(made.load("train_set").names) - {"train_1"}
    assert {"best training", "best validation"} <= set(made.used["parts"])


def test_the_kept_networks_are_the_shipped_ones_where_nobody_can_be_trained_on(monkeypatch, tiny):
    made = setup("demo", tiny | {"best_networks": {"a": {"epochs": 2, "width": 8}}})
    own = [Run("w.npz", None, {"name": "a", "key": "seed 3", "weights_sha256": "s"})]
    monkeypatch.setattr(training, "trained", lambda recipes, seed, split: own if (*recipes, seed) == ("a", 3) else None)
    assert [run.row["key"] for run in made.best_runs(3)] == ["seed 3"]
    monkeypatch.setattr(setting_module.catalog, "missing", lambda name: [name])
    shipped = {"a": Run("w.npz", None, {"name": "a", "key": "k", "weights_sha256": "s"})}
    monkeypatch.setattr(training, "shipped_run", shipped.get)
    other = setup("demo", tiny | {"best_networks": {"a": {"epochs": 2, "width": 8}}})
    assert [run.row["key"] for run in other.best_runs(3)] == ["k"] and other.used["weights"] == {"a": "s"}


def test_rendered_faces_are_told_by_the_data_and_not_by_the_name():
    assert setup("demo").is_rendered and setup("lfw", {"test_set": "demo-test"}).is_rendered
    assert not setup("lfw").is_rendered
    assert not setup("demo", {"train_set": "celebfaces", "test_set": "lfw"}).is_rendered


def test_sets_that_were_named_alone_are_noted_too(tiny):
    made = setup("demo", tiny)
    made["scale_source"]  # noqa: B018
    Recorder("13_scale", made).save()
    consumed = results.provenance("tiny", "13_scale")["consumed"]
    assert consumed["sets"] == {tiny["train_set"]: made.load("train_set").manifest["content"]}


def test_another_notebook_s_numbers_and_runs_are_noted(trained, monkeypatch, tiny):
    made = setup("demo", tiny)
    with pytest.raises(FileNotFoundError, match="no numbers of 14_recipes yet: run that notebook first"):
        made.result("14_recipes", "best.centred")
    first = setup("demo", tiny)
    assert first.run
    record = Recorder("14_recipes", first)
    record("best.centred", 1)
    record.save()
    assert made.result("14_recipes", "best.centred") == 1
    found = {"key of demo-resnet18": Run("w.npz", None, {"name": "demo-resnet18", "key": "new", "weights_sha256": "s"})}
    monkeypatch.setattr(training, "find_run", lambda name, key: found.get(key))
    assert [run.row["key"] for run in made.runs_of("14_recipes", ["demo-resnet18"])] == ["new"]
    expected = {"best.centred": 1, "runs": {"demo-resnet18": "key of demo-resnet18"}}
    assert made.used["results"] == {"14_recipes": expected}
    found.clear()
    with pytest.raises(FileNotFoundError, match="weights of demo-resnet18 are not at hand: run 14_recipes first"):
        made.runs_of("14_recipes", ["demo-resnet18"])


def test_everything_is_plain_data(tiny):
    made = setup("demo", tiny)
    assert made.pairs is not None and json.dumps(made.used)
