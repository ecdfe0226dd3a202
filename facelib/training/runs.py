"""Finished runs: their keys, their weights in the cache or in the repository, their rows of ``data/runs.csv``."""

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from facelib import runtime
from facelib.data.packed import PackedFaces
from facelib.files import checksum, locked, write_atomically
from facelib.training.distillation import Targets
from facelib.training.recipe import ALWAYS, RECIPE_VERSION, Recipe


class Accuracy(NamedTuple):
    """A share of ``n`` training images that a network recognises, and which network and images that means."""

    share: float
    n: int
    measured: str


@dataclass(frozen=True)
class Run:
    """A finished run: where its weights lie, its history per epoch, and its row of ``runs.csv``."""

    weights: Path
    history: pd.DataFrame
    row: dict

    @property
    def again(self) -> pd.DataFrame | None:
        """History of the same recipe trained again, kept beside shipped weights (``<name>.again.csv``), or None."""
        path = self.weights.with_suffix(".again.csv")
        return pd.read_csv(path) if path.exists() else None

    @property
    def accuracy(self) -> Accuracy:
        """Accuracy on the training images: that of the network after the last epoch on all of them, as they are.

        Rows without ``final_accuracy`` (runs of an older version, losses without classes) have the running one of the
        last epoch: over batches as they were augmented, while the weights changed; of several processes the first's.
        """
        images = int(self.row["images"])
        share = float(self.row.get("final_accuracy") or "nan")
        if share == share:
            return Accuracy(share, images, "the network after the last epoch, on all training images")
        ranks = json.loads(self.row["options"]).get("processes", 1)
        part = f", in one of {ranks} processes" if ranks > 1 else ""
        measured = f"the last epoch's batches, while the weights changed{part}"
        return Accuracy(float(self.row["accuracy"]), images // ranks, measured)


def run_key(
    faces: PackedFaces,
    recipe: Recipe,
    held_out: PackedFaces | None = None,
    validation: PackedFaces | None = None,
    targets: Targets | None = None,
) -> str:
    """Hash of the data, the options of the recipe that differ from the defaults, and the version of the code.

    Of a recipe whose batch the images do not fill it is that of `Recipe.fitting`.
    """
    recipe = recipe.fitting(len(faces))
    parts = [faces.key, held_out.key if held_out else "", validation.key if validation else ""]
    parts += [targets.key] if targets else []
    parts += [checksum(recipe.trunk_file())] if recipe.trunk else []
    always = {name: getattr(recipe, name) for name in ALWAYS}
    content = json.dumps([*parts, always | recipe.options(), RECIPE_VERSION], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def find_run(name: str, key: str) -> Run | None:
    """The finished run with this key or former key, from the cache or from the committed ``data/weights``."""
    rows = [row for row in read_runs() if key and key in (row["key"], row.get("former_key"))]
    known = {key, *(row[column] for row in rows for column in ("key", "former_key") if row.get(column))}
    for folder in (_run_folder(name, one) for one in sorted(known)):
        if row := _whole_row(folder):
            keys = {column: rows[0].get(column, "") for column in ("key", "former_key")} if rows else {}
            return Run(folder / "weights.npz", pd.read_csv(folder / "history.csv"), row | keys)
    shipped = runtime.ROOT / "data" / "weights" / f"{name}.npz"
    if rows and shipped.exists() and checksum(shipped) == rows[0]["weights_sha256"]:
        return Run(shipped, pd.read_csv(shipped.with_suffix(".csv")), rows[0])
    return None


def shipped_run(name: str) -> Run | None:
    """The run whose weights ``data/weights`` holds under this name, or None; its training data need not be at hand."""
    hashes = {row["weights_sha256"]: row["key"] for row in read_runs() if row["name"] == name}
    weights = runtime.ROOT / "data" / "weights" / f"{name}.npz"
    return find_run(name, hashes.get(checksum(weights), "")) if weights.exists() else None


def _whole_row(folder: Path) -> dict | None:
    if not (folder / "row.json").exists():
        return None
    try:
        row = json.loads((folder / "row.json").read_text())
        if checksum(folder / "weights.npz") == row["weights_sha256"]:
            return row
        fault = "its weights have changed"
    except (OSError, KeyError, ValueError) as error:
        fault = str(error)
    print(f"The finished run in '{folder}' is damaged ({fault}) and not used.")
    return None


def read_runs() -> list[dict]:
    """Rows of the committed ``data/runs.csv``, of the output folder's, and of one's own profile's."""
    rows = {}
    for folder in (runtime.records_dir(), runtime.output_dir() / "data", runtime.ROOT / "data"):
        if (path := folder / "runs.csv").exists():
            with open(path, newline="") as file:
                rows |= {row["key"]: row for row in csv.DictReader(file)}
    return list(rows.values())


def append_run(row: dict) -> None:
    """Add a row to ``runs.csv`` of `runtime.records_dir`, unless its key is there."""
    path = runtime.records_dir() / "runs.csv"
    with locked(path):
        known = pd.read_csv(path, dtype=str).to_dict("records") if path.exists() else []
        if all(row["key"] != other["key"] for other in known):
            table = pd.DataFrame([*known, row], columns=list(row | dict(*known[:1])))
            write_atomically(path, table.to_csv(index=False))


def _run_folder(name: str, key: str) -> Path:
    return runtime.cache_dir() / "runs" / f"{name}-{key}"
