"""What trained networks are worth: the same pairs for runs of several seeds, kept in a table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from facelib.data.pairs import Pairs
from facelib.data.splits import Experiment
from facelib.files import write_atomically
from facelib.inference.embedder import EMBEDDER_VERSION, features
from facelib.metrics.protocol import auc_by_source, centred, scores
from facelib.training.loop import train
from facelib.training.recipe import Recipe
from facelib.training.runs import Run, run_key


def over_seeds(
    path: Path,
    combinations: dict[str, dict[str, Recipe]],
    seeds: list[int],
    split: Experiment,
    chosen: Pairs,
    mirror: bool,
    committed: Sequence[Path] = (),
) -> pd.DataFrame:
    """`scores` of networks trained with several seeds, alone or combined: a row for each combination and seed.

    Those of the centred cosine stand beside them, as ``centred...``; of the validation people each source is centred
    by itself. ``combinations`` has under the name of each its networks (see `inference.Embedder`): the recipe under the
    name of its runs. A row that the CSV table at ``path``, or one of ``committed``, holds for the same trainings and
    pairs is taken from there, so that networks whose weights are not at hand need not be trained again; the others are
    trained or loaded, and the table is written anew.
    """
    tables = [table for table in (path, *committed) if table.exists()]
    nothing = pd.DataFrame({"key": [], "test": []})
    known = pd.concat([pd.read_csv(table, dtype={"key": str, "test": str}) for table in tables] or [nothing])
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
            facts["validation_auc"] = auc_by_source(validated, split.validation)
            moved = centred(validated, split.validation.sources)
            facts["centred.validation_auc"] = auc_by_source(moved, split.validation)
            facts["seconds"] = sum(float(run.row["seconds"]) for run in done)
            vectors = features(split.test, weights, mirror=mirror)
            found = scores(vectors, chosen, centre=True)
            facts |= {f"centred.{name}": found[name] for name in found if name.startswith("cosine")}
            rows.append(facts | scores(vectors, chosen))
    table = pd.DataFrame(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, table.to_csv(index=False))
    return table


def trained(recipes: dict[str, Recipe], seed: int, split: Experiment) -> list[Run]:
    """The run of each recipe with this seed, by the name of its runs, trained where need be."""
    others = split.held_out, split.validation
    return [train(name, split.train, replace(recipe, seed=seed), *others) for name, recipe in recipes.items()]


def run_keys(recipes: dict[str, Recipe], seed: int, split: Experiment) -> str:
    """The keys of `trained`'s runs, with blanks between them."""
    others = split.held_out, split.validation
    return " ".join(run_key(split.train, replace(recipe, seed=seed), *others) for recipe in recipes.values())
