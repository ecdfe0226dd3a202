"""The bench of 06_losses: the runs that ``data/bench.csv`` plans, each trained once, and what is kept of each."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from sklearn.neighbors import NearestCentroid

from facelib import inference, metrics, runtime, training
from facelib.benchmarks import fresh
from facelib.benchmarks.scores import keep_scores, read_scores, scores_file
from facelib.data import archives, catalog, pairs, splits
from facelib.data.packed import PackedFaces, to_input
from facelib.data.pairs import Pairs
from facelib.inference import decision
from facelib.paper import choosing
from facelib.paper.setting import Setting
from facelib.training.recipe import RECIPE_VERSION


def plan(setting: Setting) -> pd.DataFrame:
    """The rows of ``data/bench.csv`` that the profile asks for, the next to train first, with what has become of them.

    Columns: ``group, setting, seed, recipe, faces, core_minutes`` as planned; of finished runs ``key``, ``scores`` (see
    `scores_name`), ``images``, ``images_per_s`` and ``minutes``; ``failed`` where the loss was no longer finite.
    """
    rows = pd.read_csv(runtime.ROOT / "data" / "bench.csv", keep_default_na=False)[: setting["bench_runs"]]
    known, judged = training.read_runs(), choosing.scored_on(setting)
    done = pd.DataFrame([_found(setting, row, known, judged) for row in rows.to_dict("records")], rows.index)
    return pd.concat([rows, done], axis=1)


def state(table: pd.DataFrame) -> str:
    """Changes when another run of a plan is finished."""
    return archives.digest(sorted(table["key"]))


def train_missing(setting: Setting, most: int | None = None) -> None:
    """Train and score the plan's next missing runs, ``most`` of them; what another process is at is left to it."""
    trained, judged = 0, choosing.scored_on(setting)
    for row in plan(setting).query("key == ''").to_dict("records"):
        if trained == most:
            break
        lock = runtime.cache_dir() / "bench" / f"{_name(row)}-{row['seed']}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, blocking=False):
                known = training.read_runs()  # another process may have finished it by now
                if not _found(setting, row, known, judged)["key"]:
                    _train(setting, row)
                    trained += 1
        except Timeout:
            continue


def scores_name(setting: Setting, key: str, judged: list) -> str:
    """Of what is kept of a run: another one for other people (see `choosing.scored_on`)."""
    return f"bench-{archives.digest([key, setting['train_set'], RECIPE_VERSION, *judged])}"


def scores(name: str) -> dict[str, np.ndarray]:
    """What is kept of a run under `scores_name`.

    ``<where>.<metric>``: float16 distances of the pairs of ``held_out``, ``development`` and ``test``, by ``cosine``
    and ``euclidean``. ``scatter.<metric>``: (2, k) float32, the squared distances of each held-out person's features
    from their mean, summed, and that mean's from the mean of all, times the photos; by ``cosine`` of features of length
    one. ``trunk.<metric>``: as ``development``, of the frozen network alone. ``left_out.own``: whether each photo left
    out is nearest to its own person's mean feature (length one) among all who train, ``left_out.photos``: with how many
    that person trains. ``history``: (2, epochs) float32, AUC on the held-out people (of fewer faces the loss) and
    seconds. ``pairs``: see `held_out_pairs`.
    """
    return read_scores(name)


def held_out_pairs(key: str) -> tuple[Pairs, np.ndarray]:
    """Held-out pairs as rows of two photos each, and who is on these photos; folds are sources."""
    kept = read_scores(f"bench-pairs-{key}")
    left, right, source = (kept[name].astype(np.int64) for name in ("left", "right", "source"))
    n = len(left)
    return Pairs(np.arange(n), n + np.arange(n), left == right, source), np.concatenate([left, right])


def planes(setting: Setting, kinds: dict[str, dict], people: int = 10) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features of two numbers (n, 2) that losses make of rendered people, by the loss's name, and who these are (n,).

    ``kinds`` are options of `training.Recipe` by name; the networks are tiny and show their own training images.
    """
    _ = setting.device
    rendered = catalog.load("demo-train", progress=False)
    setting.used["sets"]["demo-train"] = rendered.manifest["content"]
    faces, found = rendered.select(rendered.labels < people), {}
    for name, options in kinds.items():
        recipe = training.Recipe(width=8, neck="plain", features=2, **options)
        run = training.train(f"plane-{name}", faces, recipe, progress=False)
        setting.used["runs"][f"plane-{name}"] = run.row["key"]
        found[name] = inference.features(faces, run.weights, progress=False)
    return found, faces.labels


def speeds(setting: Setting, train: PackedFaces, rows: list[dict]) -> pd.DataFrame:
    """Training images per second by setting, a row per round: the median step on an epoch's first batch, in turns."""
    steps = {}
    for row in rows:
        asked = recipe_of(setting, row)
        order = asked.batch_size, asked.seed, asked.sampling, asked.images_each
        sampler = training.EpochSampler(train.labels, *order)
        batch = next(iter(sampler))
        images, labels = to_input(train.take(batch)), train.labels[batch][:, None]
        model = training.build(len(train.names), train.pixels.shape[1], len(sampler), asked)
        steps[row["setting"]] = partial(model.train_batch, [images, labels]), len(batch)
    count = setting["engine_steps"]
    rounds = [
        {name: fresh.median_step(step, size, count)["images_per_s"] for name, (step, size) in steps.items()}
        for _ in range(setting["engine_rounds"])
    ]
    return pd.DataFrame(rounds)


def faces_of(row: dict, train: PackedFaces) -> PackedFaces:
    """The training faces of a run: all, a share of the ``people``, or some ``photos`` of each who has the most asked.

    People are stratified by source and number of photos. Those who have 20 photos or more are all of one source.
    ``left_out``: without one photo of each person with so many.
    """
    asked = json.loads(row["faces"])
    if "left_out" in asked:
        return splits.hold_out(train, asked["left_out"], seed=0)[0]
    if "people" in asked:
        return splits.split_people(train, asked["people"], seed=0)[1]
    return train.filter(20, asked["photos"]) if asked else train


def recipe_of(setting: Setting, row: dict):
    """The `training.Recipe` of a run on all faces; on fewer the epochs are more, so that all see as many images."""
    return training.Recipe(**setting["bench_recipe"] | json.loads(row["recipe"]), seed=int(row["seed"]))


def _found(setting: Setting, row: dict, runs: list[dict], judged: list) -> dict:
    """Of a run with this name and recipe what ``data/runs.csv`` says; empty where there is none, or no scores."""
    recipe, found = recipe_of(setting, row), {"key": "", "scores": "", "images": 0}
    found |= {"images_per_s": np.nan, "minutes": np.nan}
    for known in runs:
        if (known["name"], known["seed"]) != (_name(row), str(row["seed"])):
            continue
        ran, failed = training.Recipe.of_run(known), not known.get("seconds")
        same = replace(ran, epochs=recipe.epochs) == recipe and (ran.epochs == recipe.epochs or row["faces"] != "{}")
        kept = scores_name(setting, known["key"], judged) if same else ""
        if same and (failed or scores_file(kept).exists()):
            speed, images = float(known.get("images_per_s") or "nan"), int(known["images"])
            # Not its seconds: a training that was stopped for a while goes on counting them.
            minutes = np.nan if failed else images * ran.epochs / speed / 60
            found = {"key": known["key"], "scores": kept, "images": images, "images_per_s": speed, "minutes": minutes}
    return found | {"failed": bool(found["key"]) and not np.isfinite(found["minutes"])}


def _train(setting: Setting, row: dict) -> None:
    _ = setting.device  # prepared before the recipe asks for it
    split, recipe = setting.best_split, recipe_of(setting, row)
    faces = faces_of(row, split.train)
    recipe = replace(recipe, epochs=round(recipe.epochs * len(split.train) / len(faces)))
    validation = None if len(faces) < len(split.train) else split.validation  # many short epochs need none
    print(f"{_name(row)}, seed {row['seed']}: {recipe.epochs} epochs of {len(faces):,} images", flush=True)
    try:
        run = training.train(_name(row), faces, recipe, None, validation, progress=False)
    except training.Diverged as error:
        print(error)
        facts = {"data": faces.key, "identities": len(faces.names), "images": len(faces), "epochs": recipe.epochs}
        facts |= {"batch_size": recipe.batch_size, "learning_rate": recipe.learning_rate, "seed": recipe.seed}
        key = training.run_key(faces, recipe, None, validation)
        own = {"name": _name(row), "key": key, "former_key": ""}
        training.append_run(own | facts | {"options": json.dumps(recipe.options()), "loss": "nan"})
        return
    try:
        found = _scored(setting, run.weights, recipe.trunk)
        if "left_out" in row["faces"]:
            found |= recognised(inference.Embedder(run.weights), faces, split.train)
    except ValueError as error:  # features that are not finite: the other runs go on
        print(f"{_name(row)}, seed {row['seed']}, has no scores: {error}", flush=True)
        return
    history = run.history[["validation_auc", "seconds"]] if validation else run.history[["loss", "seconds"]]
    name = scores_name(setting, run.row["key"], choosing.scored_on(setting))
    keep_scores(name, found | {"history": history.to_numpy(np.float32).T})
    shutil.rmtree(run.weights.parent)


def _scored(setting: Setting, weights: Path, trunk: str) -> dict[str, np.ndarray]:
    people, development = choosing.development(setting)
    validation = setting.best_split.validation
    drawn = pairs.draw_by_source(validation.labels, validation.sources, metrics.VALIDATION_PAIRS, seed=0)
    columns = np.array([*drawn.people(validation.labels), drawn.fold], np.int32)
    keep_scores(f"bench-pairs-{validation.key}", dict(zip(("left", "right", "source"), columns, strict=True)))
    embed, found = inference.Embedder(weights), {"pairs": np.array(validation.key)}
    found |= _distances("held_out", embed, validation, drawn) | _distances("development", embed, people, development)
    found |= _distances("test", embed, setting.scored, setting.pairs)
    if trunk:
        alone = inference.Embedder(decision.weights_folder() / f"{trunk}.npz")
        found |= _distances("trunk", alone, people, development)
    vectors = embed(validation.take(np.arange(len(validation))))
    for metric, features in (("cosine", metrics.l2_normalise(vectors)), ("euclidean", vectors)):
        found[f"scatter.{metric}"] = metrics.scatter(features, validation.labels).astype(np.float32)
    return found


def _distances(where: str, embed, faces: PackedFaces, some: Pairs) -> dict[str, np.ndarray]:
    rows, some = some.compact()
    vectors = embed(faces.take(rows))
    sides = vectors[some.left], vectors[some.right]
    return {f"{where}.{metric}": metrics.distance(*sides, metric).astype(np.float16) for metric in metrics.METRICS}


def recognised(embed, faces: PackedFaces, everybody: PackedFaces) -> dict[str, np.ndarray]:
    """``left_out.own`` and ``left_out.photos`` (see `scores`) of the photos (n,) of ``everybody`` not in ``faces``."""
    left_out = everybody.select(~np.isin(everybody.rows, faces.rows))
    known, asked = (metrics.l2_normalise(embed(each.take(np.arange(len(each))))) for each in (faces, left_out))
    number = {name: label for label, name in enumerate(faces.names)}
    own = np.array([number[left_out.names[label]] for label in left_out.labels])
    nearest = NearestCentroid().fit(known, faces.labels).predict(asked)
    return {"left_out.own": nearest == own, "left_out.photos": faces.images_per_identity[own]}


def _name(row: dict) -> str:
    return f"bench-{row['group']}-{row['setting']}"
