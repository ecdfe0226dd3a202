"""Real faces on a machine that has the test set alone: what can be rerun is, the rest is told and left as it was."""

import pytest

from facelib import runtime
from facelib.data import catalog
from facelib.paper import inputs, profiles, reproduce
from facelib.training import runs


@pytest.fixture
def only_lfw(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_DATA", str(tmp_path))
    (tmp_path / "lfw-deepfunneled").mkdir()
    return profiles.setup("lfw")


def test_notebooks_that_need_the_training_set_are_named_and_the_others_run(only_lfw):
    missing = {path.stem: inputs.missing_sets(only_lfw, path) for path in reproduce.notebooks()}
    assert missing["01_data"] == missing["04_threshold"] == ["celebfaces"]
    assert missing["12_more_data"] == ["celebfaces-tight", "families"]
    for runs_anywhere in ("00_overview", "03_similarity", "05_speed", "11_robustness", "13_scale"):
        assert missing[runs_anywhere] == [], runs_anywhere


def test_rendered_people_are_never_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_DATA", str(tmp_path))
    setting = profiles.setup("demo")
    assert not any(inputs.missing_sets(setting, path) for path in reproduce.notebooks())


def test_what_a_user_names_by_a_path_is_an_error_and_not_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_DATA", str(tmp_path))
    setting = profiles.setup("demo", {"train_set": "/nowhere/faces", "profile": "mine"})
    assert inputs.missing_sets(setting, runtime.ROOT / "notebooks" / "01_data.ipynb") == []
    with pytest.raises(FileNotFoundError, match="/nowhere/faces"):
        catalog.load("/nowhere/faces")


def test_rendered_people_stay_out_of_a_run_on_own_faces(tmp_path):
    own = {"train_set": str(tmp_path / "faces"), "test_set": str(tmp_path / "others"), "profile": "mine"}
    for setting, expected in (
        (profiles.setup("demo", own), {"12_more_data", "13_scale"}),
        (profiles.setup("demo"), set()),
    ):
        left_out = {path.stem for path in reproduce.notebooks() if inputs.has_no_set_of_the_user(setting, path)}
        assert left_out == expected


def test_the_shipped_run_stands_in_for_a_training_set_that_is_missing(only_lfw, monkeypatch, tmp_path):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    run = only_lfw.run
    assert run.weights == runtime.ROOT / "data" / "weights" / "celebfaces-resnet18.npz"
    assert run.row["name"] == "celebfaces-resnet18" and len(run.history) == 20
    assert only_lfw.used["runs"] == {"celebfaces-resnet18": run.row["key"]}
    changed = profiles.setup("lfw", {"epochs": 3})
    with pytest.raises(FileNotFoundError, match="celebfaces"):
        _ = changed.run


def test_a_run_that_is_not_shipped_is_none():
    assert runs.shipped_run("nobody") is None
