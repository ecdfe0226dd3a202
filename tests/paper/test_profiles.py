"""Profiles, overrides and a user's own files: one way, checked before any work."""

import json

import numpy as np
import pytest
import yaml

from facelib import benchmarks, runtime, training
from facelib.benchmarks.scores import keep_scores, scores_file
from facelib.paper import ParameterError, profiles, setting, setup, shipped
from facelib.training import recipe


@pytest.fixture
def own(tmp_path):
    """Write a profile of the user's own and return its path."""

    def own(content, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return own


def test_a_profile_has_a_value_for_every_parameter():
    for name in shipped():
        made = setup(name)
        assert set(made.values) == set(setting.rules()) and made.profile == name and not made.changed
        assert made.place == name or (name, made.place) == ("lfw", "lfw-funneled")  # whichever LFW is at hand
    demo = yaml.safe_load((runtime.ROOT / "notebooks" / "profiles" / "demo.yaml").read_text())
    assert set(demo) == {"profile", *setting.rules()}, "what other profiles start from is complete"


def test_values_come_from_the_file_and_what_it_leaves_out_from_demo():
    assert setup("demo")["epochs"] == 6 and setup("lfw")["epochs"] == 20
    assert setup("lfw")["draws"] == setup("demo")["draws"] == 1000


@pytest.mark.parametrize(
    "given", [{"epochs": 3, "max_images": 5}, '{"epochs": 3, "max_images": 5}', "epochs: 3\nmax_images: 5"]
)
def test_overrides_are_a_mapping_or_its_text(given):
    made = setup("demo", given)
    assert (made["epochs"], made["max_images"], made["seed"]) == (3, 5, 0)
    assert made.changed == {"epochs": 3, "max_images": 5}


def test_with_changes_numbers_go_to_a_folder_of_their_own():
    assert setup("demo", {"epochs": 3}).place == "demo-changed"
    assert setup("demo", {"epochs": 6}).place == "demo", "nothing is changed"
    assert setup("demo", {"epochs": 3, "profile": "mine"}).place == "mine"
    assert setup("lfw", {"profile": "mine"}).place == "mine"


def test_what_comes_of_one_s_own_photos_stays_out_of_the_projects_data(own, tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    row, scores = {"key": "abc", "name": "mine"}, {"development.cosine": np.zeros(2)}
    setup(own({"base": "demo", "seed": 3}))
    training.append_run(row)
    keep_scores("of_mine", scores)
    folder = tmp_path / "figures" / "mine" / "data"
    assert (folder / "runs.csv").exists() and (folder / "scores" / "of_mine.npz") == scores_file("of_mine")
    assert row["key"] in {each["key"] for each in training.read_runs()} and not (tmp_path / "data").exists()
    setup("demo")
    training.append_run(row)
    assert (tmp_path / "data" / "runs.csv").exists()


def test_people_left_out_of_one_training_set_are_not_those_of_another(own, tmp_path):
    mine = {"train_set": str(tmp_path)}
    assert setup("lfw")["without"] == ["07261"] and setup("lfw", {"epochs": 3})["without"] == ["07261"]
    assert setup("lfw", mine)["without"] == [] == setup(own({"base": "lfw", **mine}))["without"]
    assert setup("lfw", {**mine, "without": ["ann"]})["without"] == ["ann"]


def test_what_rests_on_lfw_s_own_pairs_is_not_asked_of_other_people(own, tmp_path):
    """Cards chosen on View 1, students judged on View 2, runs that are only read: other people have none of them."""
    theirs = {"test_set": str(tmp_path)}
    for base, found in {"lfw": setup("lfw", theirs), "celeba": setup(own({"base": "celeba", **theirs}))}.items():
        assert not found["shipped_card"] and found["students"] == {} and found["bench_trains"]
        assert found["epochs"] == setup(base)["epochs"] and found["batch_size"] == 128, "the recipe is the profile's"
    asked = {"bench_trains": False, "without": ["07261"], "train_set": str(tmp_path)}  # as the profile has them, too
    found = setup("lfw", {**theirs, **asked})
    assert not found["bench_trains"] and found["without"] == ["07261"]
    assert setup("lfw", {"train_set": str(tmp_path)})["shipped_card"] and setup("lfw", {"epochs": 3})["students"]


@pytest.mark.parametrize("overrides", [{"profile": "lfw"}, {"profile": "demo", "epochs": 3}])
def test_the_committed_numbers_are_not_overwritten_by_name_either(overrides):
    with pytest.raises(ParameterError, match=r"holds the numbers of \w+.yaml: choose another profile=NAME"):
        setup("demo", overrides)


@pytest.mark.parametrize("name", ["", "a/b", "..", 3, ".hidden"])
def test_a_folders_name_is_one(name):
    with pytest.raises(ParameterError, match="names a folder in figures"):
        setup("demo", {"profile": name})


def test_an_own_file_names_what_differs(own, tmp_path):
    made = setup(own({"train_set": "celebfaces", "run": "mine", "epochs": 2}))
    assert (made.place, made["train_set"], made["epochs"], made["test_set"]) == ("mine", "celebfaces", 2, "demo-test")
    assert made.profile == str(tmp_path / "mine.yaml") and not made.changed
    made = setup(own({"base": "lfw", "profile": "other", "draws": 10}))
    assert (made.place, made["draws"], made["run"]) == ("other", 10, "celebfaces-resnet18")
    assert setup(own({"draws": 10}), {"draws": 20}).place == "mine-changed"


def test_paths_of_sets_are_absolute_from_the_file_or_from_here(own, tmp_path, monkeypatch):
    (tmp_path / "faces").mkdir()
    assert setup(own({"train_set": "faces"}))["train_set"] == str(tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    made = setup("demo", {"train_set": "faces", "test_set": "./faces"})
    assert made["train_set"] == made["test_set"] == str(tmp_path / "faces")
    (tmp_path / "lfw").mkdir()
    assert setup("demo", {"test_set": "lfw"})["test_set"].startswith("lfw"), "a known set is no folder"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "0 is less than the minimum of 1"),
        ("batch_size", 0, "0 is less than the minimum of 1"),
        ("seed", -1, "-1 is less than the minimum of 0"),
        ("draws", 0, "0 is less than the minimum of 1"),
        ("max_images", "abc", "'abc' is not of type 'integer', 'null'"),
        ("epochs", 2.5, "2.5 is not of type 'integer'"),
        ("epochs", True, "True is not of type 'integer'"),
        ("learning_rate", 0, "0 is less than or equal to the minimum of 0"),
        ("learning_rate", True, "True is not of type 'number'"),
        ("validation_share", 1, "1 is greater than or equal to the maximum of 1"),
        ("precision", "float8", "'float8' is not one of"),
        ("train_set", 3, "3 is not of type 'string'"),
        ("engines", ["stock", "warp"], "'warp' is not one of"),
        ("best_seeds", [], "should be non-empty"),
        ("run", "../../x", "names a folder"),
        ("run", "a/b", "names a folder"),
        ("best_networks", {"../a": {}}, "does not match"),
        ("best_networks", {"a": {"epoch": 3}}, "unexpected keyword argument 'epoch'"),
        ("best_networks", {"a": {"epochs": 0}}, "epochs"),
        ("best_networks", {"a": {"loss": "hope"}}, "Unknown loss 'hope'"),
        ("epohcs", 3, "there is no parameter 'epohcs'; did you mean epochs?"),
        ("xyzzy", 3, "there is no parameter 'xyzzy': there are ablation, all_pairs"),
    ],
)
def test_a_wrong_value_is_one_clear_line(own, name, value, message):
    for given in (("demo", {name: value}), ("demo", json.dumps({name: value})), (own({name: value}),)):
        with pytest.raises(ParameterError) as raised:
            setup(*given)
        assert message in str(raised.value) and "\n" not in str(raised.value)
        assert str(raised.value).startswith("overrides: " if len(given) == 2 else "mine.yaml: ")


def test_every_fault_is_told_at_once():
    with pytest.raises(ParameterError) as raised:
        setup("demo", {"epochs": 0, "seed": -1})
    assert len(str(raised.value).splitlines()) == 2


def test_a_whole_number_is_a_rate_and_nothing_else_changes():
    rate = setup("demo", {"learning_rate": 1})["learning_rate"]
    assert rate == 1.0 and isinstance(rate, float), "keys of runs are made of its text"


@pytest.mark.parametrize("overrides", ["{", "[1, 2]", "epochs", 3])
def test_overrides_that_are_no_mapping(overrides):
    with pytest.raises(ParameterError, match="overrides: "):
        setup("demo", overrides)


def test_a_profile_that_is_not_there(own, tmp_path):
    with pytest.raises(ParameterError, match="Unknown profile 'lwf': there are celeba, demo, lfw, paper, or the path"):
        setup("lwf")
    with pytest.raises(ParameterError, match="There is no file .*none.yaml"):
        setup(str(tmp_path / "none.yaml"))
    with pytest.raises(ParameterError, match="base 'moon'"):
        setup(own({"base": "moon"}))
    with pytest.raises(ParameterError, match="neither JSON nor YAML"):
        setup(own("epochs: [3"))
    with pytest.raises(ParameterError, match="demo.yaml: choose another"):
        setup(own({"epochs": 3}, name="demo.yaml"))


def test_funneled_lfw_never_mixes_with_deep_funneled(monkeypatch, capsys):
    monkeypatch.setattr(profiles.catalog, "lfw_variant", lambda: "lfw-funneled")
    made = setup("lfw")
    assert (made.place, made["test_set"]) == ("lfw-funneled", "lfw-funneled")
    assert "funneled variant is used instead" in capsys.readouterr().out
    assert setup("lfw", {"draws": 5}).place == "lfw-funneled-changed"
    assert setup("demo").place == "demo"


def test_the_schema_knows_what_the_code_knows():
    rules = setting.rules()
    assert tuple(rules["precision"]["enum"]) == recipe.PRECISIONS
    assert set(rules["engines"]["items"]["enum"]) == set(benchmarks.ENGINES)
    assert all(rule["description"] for rule in rules.values())
