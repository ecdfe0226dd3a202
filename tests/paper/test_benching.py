"""The bench: a plan that stands before its runs, runs that are trained once, and scores that need no weights."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from sklearn.metrics import pairwise_distances

from facelib import metrics, runtime
from facelib.data import packing
from facelib.paper import benching, choosing, setup
from facelib.training import Recipe

PLAN = pd.read_csv(runtime.ROOT / "data" / "bench.csv", keep_default_na=False)


def test_the_plan_keeps_to_its_budget():
    assert len(PLAN) <= 110 and PLAN["core_minutes"].sum() <= 18 * 60
    assert not PLAN.duplicated(["group", "setting", "seed"]).any()
    seeds = PLAN[PLAN["group"] == "losses"].groupby("setting")["seed"].apply(sorted)
    assert len(seeds) >= 10 and all(each == [0, 1, 2] for each in seeds)
    assert [*PLAN["setting"][:3]] == ["softmax", "cosface", "arcface"]


def test_every_planned_run_is_one_that_can_be_trained():
    setting = setup("lfw")
    recipes = [benching.recipe_of(setting, row) for row in PLAN.to_dict("records")]
    assert {recipe.loss for recipe in recipes} >= {"softmax", "focal", "center", "l-softmax", "triplet"}
    told = [json.dumps([vars(recipe), row], default=str) for recipe, row in zip(recipes, PLAN["faces"], strict=True)]
    assert len(set(told)) == len(PLAN), "two rows of the plan are the same run"


def named(setting, key):
    return benching.scores_name(setting, key, choosing.scored_on(setting))


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The demo's setting with trainings that only say what they were asked for, and an output folder of its own."""
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    asked = []

    def train(setting, row):
        from facelib import training

        recipe = benching.recipe_of(setting, row)
        asked.append((row["setting"], row["seed"]))
        known = {"name": f"bench-{row['group']}-{row['setting']}", "key": f"{row['setting']}{row['seed']}", "images": 9}
        always = {name: getattr(recipe, name) for name in ("epochs", "batch_size", "learning_rate", "seed")}
        rest = {
            "options": json.dumps(recipe.options()),
            "images_per_s": 9 * 77 / 60,
            "seconds": 999.0,
        }  # it was stopped a while
        training.append_run(known | always | rest)
        benching.keep_scores(named(setting, known["key"]), {"pairs": np.array("abc")})

    monkeypatch.setattr(benching, "_train", train)
    monkeypatch.setattr(choosing, "scored_on", lambda setting: [setting["validation_pairs"]])
    setting = setup("demo", {"seed": 5, "bench_runs": 3, "bench_recipe": {"epochs": 77}})
    return setting, asked


def test_runs_are_trained_in_order_and_once(tiny):
    setting, asked = tiny
    assert list(benching.plan(setting)["key"]) == [""] * 3
    benching.train_missing(setting, 2)
    assert asked == [("softmax", 0), ("cosface", 0)]
    found = benching.plan(setting)
    assert benching.state(found) != benching.state(found.assign(key=""))
    assert list(found["key"]) == ["softmax0", "cosface0", ""] and list(found["minutes"][:2].round(9)) == [1, 1]
    benching.train_missing(setting)
    benching.train_missing(setting)
    assert asked == [("softmax", 0), ("cosface", 0), ("arcface", 0)]


class Few(list):
    key, names = "few", ("ann", "bob")


def with_few_faces():
    """The demo's setting with nine training faces, none of which is looked at."""
    setting = setup("demo", {"seed": 5, "bench_runs": 3, "bench_recipe": {"epochs": 77}})
    vars(setting)["best_split"] = SimpleNamespace(train=Few(range(9)), validation=Few(range(4)))
    return setting


def test_a_run_that_cannot_be_scored_does_not_stop_the_others(monkeypatch, capsys):
    from facelib import training

    run = SimpleNamespace(weights=Path("weights.npz"))
    monkeypatch.setattr(training, "train", lambda *_, **__: run)

    def broken(*_):
        raise ValueError("row 0 is not finite")

    monkeypatch.setattr(benching, "_scored", broken)
    benching._train(with_few_faces(), PLAN.iloc[0].to_dict())
    assert "softmax, seed 0, has no scores: row 0 is not" in capsys.readouterr().out


def test_a_training_that_diverges_is_kept_as_such(monkeypatch, tmp_path):
    from facelib import training

    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))

    def diverges(*_, **__):
        raise training.Diverged("The loss is nan in epoch 1: lower the learning rate.")

    monkeypatch.setattr(training, "train", diverges)
    monkeypatch.setattr(choosing, "scored_on", lambda setting: [])
    setting = with_few_faces()
    benching._train(setting, PLAN.iloc[0].to_dict())
    assert benching.plan(setting)["failed"].tolist() == [True, False, False]


def test_other_people_have_scores_of_their_own(tiny):
    setting, _ = tiny
    benching.train_missing(setting, 1)
    others = setup("demo", {"seed": 5, "bench_runs": 3, "bench_recipe": {"epochs": 77}, "validation_pairs": 50})
    assert list(benching.plan(others)["key"]) == [""] * 3, "the pairs that choose are others"


def test_what_another_process_trains_is_left_to_it(tiny):
    setting, asked = tiny
    lock = Path(runtime.cache_dir(), "bench", "bench-losses-softmax-0.lock")
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        other = threading.Thread(target=benching.train_missing, args=(setting, 1))  # a lock is its thread's own
        other.start()
        other.join()
    assert asked == [("cosface", 0)]


def test_a_run_of_another_recipe_or_without_scores_does_not_count(tiny):
    setting, _ = tiny
    benching.train_missing(setting, 1)
    changed = setup("demo", {"seed": 5, "bench_runs": 3, "bench_recipe": {"epochs": 77, "width": 8}})
    assert list(benching.plan(changed)["key"]) == [""] * 3
    benching.scores_file(named(setting, "softmax0")).unlink()
    assert list(benching.plan(setting)["key"]) == [""] * 3


def test_scatter_adds_up_to_the_whole():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 4)), np.repeat(np.arange(5), 6)
    within, between = metrics.scatter(features, labels)
    total = ((features - features.mean(0)) ** 2).sum()
    assert within.sum() + between.sum() == pytest.approx(total)
    one = pairwise_distances(features[:6]) ** 2
    assert within[0] == pytest.approx(one.sum() / 12)  # the sum over pairs is n times that about the mean


def at_angles(degrees):
    """A person a, b, c for each list, a photo of one grey for each angle."""
    shown = {f"{name}/{k}.png": each for name, some in zip("abc", degrees, strict=True) for k, each in enumerate(some)}
    images = ((path, np.full((4, 4, 3), each, np.uint8)) for path, each in shown.items())
    return packing.store("angles", degrees, 4, images)


def test_a_photo_left_out_is_recognised_where_its_own_persons_mean_is_nearest(monkeypatch, tmp_path):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path))

    def embed(pixels):
        angle = np.radians(pixels[:, 0, 0, 0].astype(float))
        return 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def found(third):
        everybody = at_angles([[0, 4, third], [90, 94, 80], [50, 54]])
        kept = everybody.select([0, 1, 3, 4, 6, 7])  # left out is the third photo of the first two people
        return benching.recognised(embed, kept, everybody)

    assert found(8)["left_out.own"].tolist() == [True, True] and found(8)["left_out.photos"].tolist() == [2, 2]
    assert found(40)["left_out.own"].tolist() == [False, True]  # the third person's mean lies at 52 degrees


def test_runs_that_leave_photos_out_train_without_one_of_each_person_with_enough():
    train = SimpleNamespace(labels=np.repeat([0, 1, 2], [2, 3, 5]), images_per_identity=np.array([2, 3, 5]))
    train.positions, train.select = np.array([0, 1, 0, 1, 2, 0, 1, 2, 3, 4]), lambda rows: train.labels[rows]
    row = PLAN[PLAN["setting"] == "left-out-balanced"].iloc[0].to_dict()
    assert np.bincount(benching.faces_of(row, train)).tolist() == [2, 2, 4]


def test_the_recipe_of_a_run_holds_its_options():
    setting = setup("lfw")
    row = PLAN[PLAN["setting"] == "frozen-triplet"].iloc[0].to_dict()
    recipe = benching.recipe_of(setting, row)
    assert (recipe.loss, recipe.trunk, recipe.features, recipe.seed) == ("triplet", "celebfaces-distilled", 128, 0)
    assert isinstance(recipe, Recipe) and recipe.epochs == setting["bench_recipe"]["epochs"]


def test_speeds_are_of_real_training_steps_of_each_setting():
    setting = setup("demo", {"engine_steps": 1, "engine_rounds": 2})
    rows = PLAN[PLAN["setting"].isin(["softmax", "triplet-random"])].drop_duplicates("setting").to_dict("records")
    found = benching.speeds(setting, setting.best_split.train, rows)
    assert found.shape == (2, 2) and (found > 0).all(axis=None) and set(found) == {"softmax", "triplet-random"}
