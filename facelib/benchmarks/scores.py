"""Distances of pairs that ``data/scores`` keeps, so that paired tests never need the networks again."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from facelib import runtime
from facelib.files import whole


def scores_file(name: str) -> Path:
    """Where the arrays of this name are: in `runtime.records_dir`, the output folder, or among the committed ones."""
    folders = runtime.records_dir(), runtime.output_dir() / "data", runtime.ROOT / "data"
    files = [folder / "scores" / f"{name}.npz" for folder in folders]
    return next((file for file in files if file.exists()), files[-1])


def keep_scores(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Keep arrays in `runtime.records_dir`."""
    with whole(runtime.records_dir() / "scores" / f"{name}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)


def kept_distances(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Distances (m,) of pairs by some names, kept in float16; made by ``make`` where they are not kept yet."""
    if not scores_file(name).exists():
        keep_scores(name, {each: values.astype(np.float16) for each, values in make().items()})
    return {each: values.astype(float) for each, values in read_scores(name).items()}


def read_scores(name: str) -> dict[str, np.ndarray]:
    """The arrays of this name; ValueError, and what to do, where the file is damaged."""
    try:
        with np.load(file := scores_file(name)) as kept:
            return dict(kept)
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        what = f"restore it (`git checkout -- {file}`) or, where git has none, delete it and run this again"
        raise ValueError(f"'{file}' is damaged ({error}): {what}.") from None
