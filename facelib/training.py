"""Training the classifier: recipe, history, a checkpoint per epoch, exact resume, finished runs."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from facelib.runtime import paddle  # isort: skip  (first, so that its import is quiet)
from paddle import nn
from paddle.callbacks import Callback
from paddle.io import BatchSampler, DataLoader, Dataset
from tqdm import tqdm

from facelib import models, runtime
from facelib.datasets import PackedFaces, to_input
from facelib.sources import normalised_source

KEPT_CHECKPOINTS = 2  # the newest, and the one before it in case the newest is damaged


@dataclass(frozen=True)
class Recipe:
    """What a training run does, apart from its data. The defaults are the paper's, or fill its gaps."""

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Run:
    """A finished run: where its weights lie, its history per epoch, and its row of ``runs.csv``."""

    weights: Path
    history: pd.DataFrame
    row: dict


class FaceDataset(Dataset):
    """Packed faces as a Paddle data set: image (3, H, W) float32 in [-1, 1], label (1,) int64."""

    def __init__(self, faces: PackedFaces, labels: np.ndarray):
        super().__init__()
        self.faces, self.labels = faces, labels

    def __getitem__(self, index: int):
        return to_input(self.faces.take([index]))[0], self.labels[index : index + 1]

    def __len__(self) -> int:
        return len(self.faces)


class EpochSampler(BatchSampler):
    """Batches in an order that depends on the seed and the epoch alone, so that a resume repeats it."""

    def __init__(self, count: int, batch_size: int, seed: int):
        self.count, self.batch_size, self.seed, self.epoch = count, batch_size, seed, 0

    def __iter__(self):
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        for start in range(0, self.count, self.batch_size):
            yield order[start : start + self.batch_size].tolist()

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)


def build(num_classes: int, recipe: Recipe) -> paddle.Model:
    """The paper's model: ResNet-18, Adam, cross-entropy (equation 4.1), accuracy."""
    runtime.seed_everything(recipe.seed)
    model = paddle.Model(models.classifier(num_classes))
    adam = paddle.optimizer.Adam(recipe.learning_rate, parameters=model.parameters())
    model.prepare(adam, nn.CrossEntropyLoss(), paddle.metric.Accuracy())
    return model


def train(
    name: str,
    faces: PackedFaces,
    recipe: Recipe,
    held_out: PackedFaces | None = None,
    progress: bool = True,
) -> Run:
    """Train the classifier, or return the finished run if there is one with the same key.

    An interrupted run goes on after its last whole epoch and ends with the same weights, bit for
    bit, as one that was never interrupted (same machine, versions and threads).

    Parameters
    ----------
    name
        Name of the run, for its folder and for its row in ``data/runs.csv``.
    faces
        The training images; every identity is a class.
    held_out
        Other images of the same people, whose accuracy is recorded after each epoch.

    Raises
    ------
    ValueError
        ``held_out`` shows people that ``faces`` lacks, or a loss is no longer finite.
    """
    key = run_key(faces, recipe, held_out)
    return find_run(name, key) or _fit(name, key, faces, recipe, held_out, progress)


def run_key(faces: PackedFaces, recipe: Recipe, held_out: PackedFaces | None = None) -> str:
    """Hash of data, recipe and the code that shapes the weights; not of comments or docstrings."""
    shaping = (to_input, FaceDataset, EpochSampler, build, models.classifier)
    parts = [faces.key, held_out.key if held_out else "", asdict(recipe), *map(normalised_source, shaping)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def find_run(name: str, key: str) -> Run | None:
    """The finished run with this key, from the cache or from the committed ``data/weights``."""
    folder = _run_folder(name, key)
    if (folder / "row.json").exists():
        row = json.loads((folder / "row.json").read_text())
        return Run(folder / "weights.npz", pd.read_csv(folder / "history.csv"), row)
    shipped = runtime.ROOT / "data" / "weights" / f"{name}.npz"
    rows = [row for row in read_runs() if row["key"] == key]
    if rows and shipped.exists() and _sha256(shipped) == rows[0]["weights_sha256"]:
        return Run(shipped, pd.read_csv(shipped.with_suffix(".csv")), rows[0])
    return None


def read_runs() -> list[dict]:
    """Rows of the committed ``data/runs.csv``."""
    path = runtime.ROOT / "data" / "runs.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _fit(name, key, faces, recipe, held_out, progress) -> Run:
    folder = _run_folder(name, key)
    folder.mkdir(parents=True, exist_ok=True)
    sampler = EpochSampler(len(faces), recipe.batch_size, recipe.seed)
    recorder = Recorder(folder, recipe.epochs, sampler, held_out is not None, progress)
    loader = DataLoader(FaceDataset(faces, faces.labels), batch_sampler=sampler, num_workers=0)
    check = None
    if held_out is not None:
        check = DataLoader(FaceDataset(held_out, _matching_labels(faces, held_out)), batch_size=recipe.batch_size)
    # Paddle finds the optimiser's moments in a checkpoint by parameter names, which it numbers through
    # within a process; inside the guard the numbers start anew, so that a resume finds them all.
    with recorder, paddle.utils.unique_name.guard():
        model = build(len(faces.names), recipe)
        done = recorder.resume(model)
        if done < recipe.epochs:
            model.fit(loader, check, epochs=recipe.epochs - done, verbose=0, callbacks=[recorder])
    return _finish(name, key, folder, model, faces, recipe, recorder.rows)


class Recorder(Callback):
    """Progress bar, loss and accuracy to CSV, and a checkpoint after each epoch."""

    def __init__(self, folder: Path, epochs: int, sampler: EpochSampler, has_held_out: bool, progress: bool):
        super().__init__()
        self.folder, self.sampler, self.has_held_out = folder, sampler, has_held_out
        self.rows: list[dict] = []
        layout = "{desc} {percentage:3.0f} %|{bar}| {n:.2f}/{total} epochs [{elapsed}<{remaining}]{postfix}"
        self.bar = tqdm(total=epochs, bar_format=layout, disable=not progress, desc="training", file=sys.stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def resume(self, model: paddle.Model) -> int:
        """Load the newest whole checkpoint and return the number of epochs it has behind it."""
        for checkpoint in sorted(self.folder.glob("epoch_[0-9]*"), reverse=True):
            try:
                self.rows = json.loads((checkpoint / "history.json").read_text())
                model.load(str(checkpoint / "model"))
            except Exception as error:  # unpickling half a file raises almost anything
                print(f"Checkpoint '{checkpoint}' cannot be read ({error}); trying the one before it.")
                self.rows = []
                continue
            self.bar.n = self.bar.initial = len(self.rows)
            return len(self.rows)
        return 0

    def on_epoch_begin(self, epoch, logs=None):
        # Model.fit counts from zero after a resume too; the history knows the true epoch. Seeding
        # by epoch makes the random state after a resume the one of an unbroken run.
        self.sampler.epoch = len(self.rows)
        runtime.seed_everything(self.sampler.seed * 100_003 + self.sampler.epoch)
        self.losses, self.sizes, self.started = [], [], time.perf_counter()

    def on_train_batch_end(self, step, logs=None):
        loss = float(np.ravel(logs["loss"])[0])
        if not np.isfinite(loss):
            raise ValueError(f"The loss is {loss} in epoch {len(self.rows) + 1}: lower the learning rate.")
        self.losses.append(loss)
        self.sizes.append(logs["batch_size"])
        self.bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{logs['acc']:.3f}", refresh=False)
        self.bar.update(len(self.rows) + (step + 1) / len(self.sampler) - self.bar.n)

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.started
        self.row = {
            "epoch": len(self.rows) + 1,
            "loss": float(np.average(self.losses, weights=self.sizes)),
            "accuracy": float(logs["acc"]),
            "seconds": round(seconds, 3),
            "images_per_s": round(sum(self.sizes) / seconds, 2),
        }
        if not self.has_held_out:
            self._save()

    def on_eval_end(self, logs=None):
        self.row["held_out_accuracy"] = float(logs["acc"])
        self._save()

    def _save(self) -> None:
        self.rows.append(self.row)
        final = self.folder / f"epoch_{len(self.rows):04d}"
        temporary = self.folder / f"writing_{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        self.model.save(str(temporary / "model"))
        (temporary / "history.json").write_text(json.dumps(self.rows))
        shutil.rmtree(final, ignore_errors=True)  # a damaged one that the resume passed over
        os.replace(temporary, final)
        pd.DataFrame(self.rows).to_csv(self.folder / "history.csv", index=False)
        for old in sorted(self.folder.glob("epoch_[0-9]*"))[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old, ignore_errors=True)


def _finish(name, key, folder: Path, model: paddle.Model, faces: PackedFaces, recipe: Recipe, rows: list[dict]) -> Run:
    models.save_weights(model.network, folder / "weights.npz")
    history = pd.DataFrame(rows)
    last = rows[-1]
    row = {
        "name": name,
        "key": key,
        "data": faces.key,
        "identities": len(faces.names),
        "images": len(faces),
        **asdict(recipe),
        "loss": round(last["loss"], 5),
        "accuracy": round(last["accuracy"], 5),
        "held_out_accuracy": round(last.get("held_out_accuracy", float("nan")), 5),
        "images_per_s": round(float(history["images_per_s"].median()), 1),
        "seconds": round(float(history["seconds"].sum()), 1),
        "date": date.today().isoformat(),
        "weights_sha256": _sha256(folder / "weights.npz"),
        **{k.replace(" ", "_"): v for k, v in runtime.hardware().items() if k != "memory"},
    }
    history.to_csv(folder / "history.csv", index=False)
    _append_run(row)
    (folder / "row.json").write_text(json.dumps(row, indent=1))
    for checkpoint in folder.glob("epoch_[0-9]*"):
        shutil.rmtree(checkpoint, ignore_errors=True)
    return Run(folder / "weights.npz", history, row)


def _append_run(row: dict) -> None:
    path = runtime.output_dir() / "data" / "runs.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = pd.read_csv(path, dtype=str) if path.exists() else pd.DataFrame()
    if len(known) and row["key"] in set(known["key"]):
        return
    rows = pd.concat([known, pd.DataFrame([row])], ignore_index=True)
    temporary = path.with_suffix(".csv.tmp")
    rows.to_csv(temporary, index=False)
    os.replace(temporary, path)


def _matching_labels(faces: PackedFaces, held_out: PackedFaces) -> np.ndarray:
    class_of = {name: label for label, name in enumerate(faces.names)}
    unknown = [name for name in held_out.names if name not in class_of]
    if unknown:
        raise ValueError(f"{len(unknown)} held-out people are not in the training set, such as '{unknown[0]}'.")
    return np.array([class_of[held_out.names[label]] for label in held_out.labels], dtype=np.int64)


def _run_folder(name: str, key: str) -> Path:
    return runtime.cache_dir() / "runs" / f"{name}-{key}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
