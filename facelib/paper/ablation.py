"""From the paper's recipe to the better one, a step at a time, and the paper's recipe with other seeds."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from facelib import inference, metrics, training
from facelib.benchmarks.scores import kept_distances, scores_file
from facelib.data import archives, catalog
from facelib.data.splits import Experiment
from facelib.metrics import Bootstrap
from facelib.paper import choosing
from facelib.paper.outcomes import Outcomes
from facelib.paper.setting import Setting

FULL = "paper, full width"  # the paper's own recipe among the steps


def recipes(setting: Setting) -> dict:
    """The `training.Recipe` of each step with seed 0: each changes the one before as ``ablation`` says."""
    options, found = dict(setting["ablation"]["recipe"]), {}
    for name, changed in setting["ablation"]["steps"].items():
        options |= changed
        found[name] = training.Recipe(**options)
    return found


def outcomes(setting: Setting) -> Outcomes:
    """Of each step, and of the paper's recipe, finished trainings; others are trained where ``bench_trains`` says so.

    Features are mirrored and as the photos are framed. ``development`` are the pairs that choose, ``test`` those that
    judge.
    """
    seeds = setting["ablation"]["seeds"]
    asked = {(name, seed): recipe for name, recipe in recipes(setting).items() for seed in seeds}
    asked |= {(FULL, seed): setting.recipe for seed in setting["paper_seeds"]}
    kept: dict[str, list] = {}
    for (name, seed), recipe in asked.items():
        if found := distances(setting, name, replace(recipe, seed=seed), setting["bench_trains"]):
            kept.setdefault(name, []).append(found)
    faces, chosen = choosing.development(setting)
    people = Bootstrap(chosen, faces.labels, setting["replicates"], setting["seed"])
    return Outcomes(pd.DataFrame(), kept, people)


def distances(setting: Setting, name: str, recipe, trains: bool = True) -> dict[str, np.ndarray] | None:
    """Those of one training, kept in ``data/scores``; None where it is not finished and is not to be trained here."""
    run_name = setting["run"] if name == FULL else f"ablation-{name}"
    at_hand = not catalog.missing(setting.values["train_set"])
    if at_hand:
        key = training.run_key(*_parts(setting, name, recipe))
    else:  # the committed run of this name and recipe
        rows = [row for row in training.read_runs() if row["name"] == run_name]
        key = next((row["key"] for row in rows if training.Recipe.of_run(row) == recipe), "")
    file = f"step-{archives.digest([key, setting['train_set'], *choosing.scored_on(setting)])}"
    if not scores_file(file).exists() and not (at_hand and (trains or training.find_run(run_name, key))):
        return None
    setting.used["runs"][f"{run_name}, seed {recipe.seed}"] = key
    try:
        return kept_distances(file, partial(_scored, setting, name, run_name, recipe))
    except ValueError as error:  # a photo without any feature has no angle to others
        print(f"{run_name}, seed {recipe.seed}, has no scores: {error}")
        return None


def _parts(setting: Setting, name: str, recipe) -> tuple:
    if name == FULL:
        split: Experiment = setting.split
        return split.train, recipe, split.held_out
    split = setting.best_split
    return split.train, recipe, split.held_out, split.validation


def _scored(setting: Setting, name: str, run_name: str, recipe) -> dict[str, np.ndarray]:
    run = training.train(run_name, *_parts(setting, name, recipe))
    people, development = choosing.development(setting)
    found = {}
    for where, faces, pairs in (("development", people, development), ("test", setting.scored, setting.pairs)):
        rows, some = pairs.compact()
        vectors = inference.features(faces.select(rows), run.weights, mirror=True)
        found[f"{where}.cosine"] = metrics.cosine_distance(vectors[some.left], vectors[some.right])
    return found
