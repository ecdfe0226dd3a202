"""Finished runs: their keys, their weights in the cache or in the repository, their rows of ``data/runs.csv``."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from facelib import runtime
from facelib.data.packed import PackedFaces
from facelib.files import locked, write_atomically
from facelib.training.distillation import Targets
from facelib.training.recipe import ALWAYS, RECIPE_VERSION, Recipe


@dataclass(frozen=True)
class Run:
    """A finished run: where its weights lie, its history per epoch, and its row of ``runs.csv``."""

    weights: Path
    history: pd.DataFrame
    row: dict


def run_key(
    faces: PackedFaces,
    recipe: Recipe,
    held_out: PackedFaces | None = None,
    validation: PackedFaces | None = None,
    targets: Targets | None = None,
) -> str:
    """Hash of the data, the recipe, and the version of the code that makes weights of them.

    Options of the recipe count where they differ from the default, so that a new option leaves the
    keys of finished runs alone.
    """
    parts = [faces.key, held_out.key if held_out else "", validation.key if validation else ""]
    parts += [targets.key] if targets else []
    always = {name: getattr(recipe, name) for name in ALWAYS}
    content = json.dumps([*parts, always | recipe.options(), RECIPE_VERSION], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def find_run(name: str, key: str) -> Run | None:
    """The finished run with this key or former key, from the cache or from the committed ``data/weights``."""
    rows = [row for row in read_runs() if key and key in (row["key"], row.get("former_key"))]
    known = {key, *(row[column] for row in rows for column in ("key", "former_key") if row.get(column))}
    for folder in (_run_folder(name, one) for one in sorted(known)):
        if (folder / "row.json").exists():
            row = json.loads((folder / "row.json").read_text())
            keys = {column: rows[0].get(column, "") for column in ("key", "former_key")} if rows else {}
            return Run(folder / "weights.npz", pd.read_csv(folder / "history.csv"), row | keys)
    shipped = runtime.ROOT / "data" / "weights" / f"{name}.npz"
    if rows and shipped.exists() and _sha256(shipped) == rows[0]["weights_sha256"]:
        return Run(shipped, pd.read_csv(shipped.with_suffix(".csv")), rows[0])
    return None


def read_runs() -> list[dict]:
    """Rows of the committed ``data/runs.csv``, and of the output folder's where that is another one."""
    rows = {}
    for folder in (runtime.output_dir(), runtime.ROOT):
        if (path := folder / "data" / "runs.csv").exists():
            with open(path, newline="") as file:
                rows |= {row["key"]: row for row in csv.DictReader(file)}
    return list(rows.values())


def _append_run(row: dict) -> None:
    path = runtime.output_dir() / "data" / "runs.csv"
    with locked(path):
        known = pd.read_csv(path, dtype=str).to_dict("records") if path.exists() else []
        if all(row["key"] != other["key"] for other in known):
            table = pd.DataFrame([*known, row], columns=list(row | dict(*known[:1])))
            write_atomically(path, table.to_csv(index=False))


def _run_folder(name: str, key: str) -> Path:
    return runtime.cache_dir() / "runs" / f"{name}-{key}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
