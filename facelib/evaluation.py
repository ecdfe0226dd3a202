"""What trained networks are worth: the same pairs for runs of several seeds, kept in a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from facelib import metrics, results, training
from facelib.catalog import Experiment
from facelib.embedding import EMBEDDER_VERSION, features
from facelib.pairs import Pairs
from facelib.recipe import Recipe

METRICS = ("cosine", "euclidean")
FARS = {"tar_at_far_1e-2": 1e-2, "tar_at_far_1e-3": 1e-3}


def scores(vectors: np.ndarray, chosen: Pairs, centre: bool = False) -> dict[str, float]:
    """Numbers of one network on pairs of its features (n, d), by metric.

    ``<metric>.fold_<k>`` are the accuracies on each fold at the threshold chosen on the others: LFW's folds, whose
    people are disjoint; of another list every tenth pair, where people occur in several folds. ``<metric>.accuracy`` is
    their mean; then AUC, EER, and the TAR at `FARS`, of all folds together. ``centre`` as in `fold_distances`.
    """
    fold = _folds(chosen)
    found = {}
    for metric in METRICS:
        by_fold = fold_distances(vectors, chosen, metric, centre)
        accuracies = [
            metrics.ten_fold(distances, chosen.genuine, fold).accuracies[k] for k, distances in enumerate(by_fold)
        ]
        distances = own_fold(by_fold, chosen)
        found |= {f"{metric}.fold_{k}": float(accuracy) for k, accuracy in enumerate(accuracies)}
        found[f"{metric}.accuracy"] = float(np.mean(accuracies))
        found[f"{metric}.auc"] = metrics.auc(distances, chosen.genuine)
        found[f"{metric}.eer"] = metrics.equal_error_rate(distances, chosen.genuine)
        for name, far in FARS.items():
            found[f"{metric}.{name}"] = metrics.tar_at_far(distances, chosen.genuine, far).tar
    return found


def fold_distances(vectors: np.ndarray, chosen: Pairs, metric: str, centre: bool) -> np.ndarray:
    """Distances of all pairs as each fold may see them: (folds, n) for features (m, d) and n pairs.

    With ``centre``, row k is that after subtracting the mean feature of the images in the pairs of all folds but k,
    which takes no label: a collection of other people and photographs than those trained on may move all features
    one way, and the cosine with it (as in speaker recognition, Garcia-Romero and Espy-Wilson 2011). Else the rows are
    alike.
    """
    fold = _folds(chosen)
    rows = []
    for k in np.unique(fold):
        seen = np.unique(np.concatenate([chosen.left[fold != k], chosen.right[fold != k]]))
        moved = vectors - vectors[seen].mean(0) if centre else vectors
        rows.append(metrics.distance(moved[chosen.left], moved[chosen.right], metric))
        if not centre:
            return np.broadcast_to(rows[0], (len(np.unique(fold)), len(chosen)))
    return np.array(rows)


def centred(features: np.ndarray, collections: np.ndarray) -> np.ndarray:
    """Features (n, d) minus the mean of those of the same collection; collections are (n,) int."""
    moved = features.copy()
    for collection in np.unique(collections):
        moved[collections == collection] -= features[collections == collection].mean(0)
    return moved


def own_fold(by_fold: np.ndarray, chosen: Pairs) -> np.ndarray:
    """Of `fold_distances` (folds, n) each pair's distance as its own fold sees it: (n,)."""
    return by_fold[np.unique(_folds(chosen), return_inverse=True)[1], np.arange(len(chosen))]


def _folds(chosen: Pairs) -> np.ndarray:
    return np.arange(len(chosen)) % 10 if chosen.fold is None else chosen.fold


def over_seeds(
    path: Path,
    combinations: dict[str, dict[str, Recipe]],
    seeds: list[int],
    split: Experiment,
    chosen: Pairs,
    mirror: bool,
) -> pd.DataFrame:
    """`scores` of networks trained with several seeds, alone or combined: a row for each combination and seed.

    Those of the centred cosine stand beside them, as ``centred...``; of the validation people each source is centred
    by itself.

    A row that the table at ``path`` holds for the same trainings and the same pairs is taken from there, so that
    networks whose weights are not at hand need not be trained again; the others are trained or loaded, and
    the table is written anew.

    Parameters
    ----------
    path
        A CSV file.
    combinations
        Under the name of each, its networks (see `embedding.Embedder`): the recipe under the name of its runs.
    mirror
        See `embedding.features`.
    """
    nothing = pd.DataFrame({"key": [], "test": []})
    known = pd.read_csv(path, dtype={"key": str, "test": str}) if path.exists() else nothing
    kind = f"{' mirrored' if mirror else ''} v{EMBEDDER_VERSION}"
    test = f"{split.validation.key} {split.test.key} {len(chosen)}{kind}"
    rows = []
    for name, recipes in combinations.items():
        for seed in seeds:
            facts = {"networks": name, "seed": seed, "key": run_keys(recipes, seed, split), "test": test}
            recorded = known[(known["key"] == facts["key"]) & (known["test"] == test)]
            if len(recorded):
                rows.append(recorded.iloc[0].to_dict() | facts)
                continue
            done = trained(recipes, seed, split)
            weights = [run.weights for run in done]
            validated = features(split.validation, weights, mirror=mirror)
            facts["validation_auc"] = training.auc_by_source(validated, split.validation)
            moved = centred(validated, split.validation.sources)
            facts["centred.validation_auc"] = training.auc_by_source(moved, split.validation)
            facts["seconds"] = sum(float(run.row["seconds"]) for run in done)
            vectors = features(split.test, weights, mirror=mirror)
            found = scores(vectors, chosen, centre=True)
            facts |= {f"centred.{name}": found[name] for name in found if name.startswith("cosine")}
            rows.append(facts | scores(vectors, chosen))
    table = pd.DataFrame(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    results.write_whole(path, table.to_csv(index=False))
    return table


def trained(recipes: dict[str, Recipe], seed: int, split: Experiment) -> list[training.Run]:
    """The run of each recipe with this seed, by the name of its runs, trained where need be."""
    parts = split.train, split.held_out, split.validation
    seeded = {name: replace(recipe, seed=seed) for name, recipe in recipes.items()}
    return [training.train(name, parts[0], recipe, *parts[1:]) for name, recipe in seeded.items()]


def run_keys(recipes: dict[str, Recipe], seed: int, split: Experiment) -> str:
    """The keys of `trained`'s runs, with blanks between them."""
    parts = split.train, split.held_out, split.validation
    seeded = [replace(recipe, seed=seed) for recipe in recipes.values()]
    return " ".join(training.run_key(parts[0], recipe, *parts[1:]) for recipe in seeded)


def nearest(vectors: np.ndarray, gallery: np.ndarray, block: int = 1024) -> np.ndarray:
    """Cosine similarity of each of some features (n, d) to the most similar one of a gallery (m, d): (n,) float32."""
    vectors, gallery = metrics.l2_normalise(vectors), metrics.l2_normalise(gallery)
    starts = range(0, len(vectors), block)
    return np.concatenate([(vectors[start : start + block] @ gallery.T).max(1) for start in starts])
