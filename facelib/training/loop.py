"""Training: history, a checkpoint per epoch, exact resume, several processes, finished runs."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
from paddle import distributed
from paddle.callbacks import Callback
from paddle.io import DataLoader, Dataset

from facelib import models, runtime
from facelib.data.packed import PackedFaces, to_input
from facelib.metrics.protocol import auc_by_source
from facelib.training import processes
from facelib.training.augmentation import AUGMENTATIONS, Augmentation
from facelib.training.distillation import Targets
from facelib.training.recipe import Recipe, build
from facelib.training.runs import Run, _append_run, _run_folder, _sha256, find_run, run_key
from facelib.training.samplers import EpochSampler

KEPT_CHECKPOINTS = 2  # the newest, and the one before it in case the newest is damaged


class FaceDataset(Dataset):
    """Packed faces as a Paddle data set: image (3, H, W) float32 in [-1, 1] and what a network is to make of it.

    That is the label, (1,) int64 of labels (n,); or, of a teacher's features (n, 2, d) of images and of their mirror
    images, those of the one that is shown, (d,) float32.
    With an augmentation the image is changed at random, by seed, ``epoch`` and its row alone.
    """

    def __init__(self, faces: PackedFaces, wanted: np.ndarray, augment: Augmentation | None = None, seed: int = 0):
        super().__init__()
        self.faces, self.wanted, self.augment, self.seed, self.epoch = faces, wanted, augment, seed, 0

    def __getitem__(self, index: int):
        face, flipped = self.faces.take([index]), False
        if self.augment is not None:
            changed, flipped = self.augment.change(face[0], np.random.default_rng([self.seed, self.epoch, index]))
            face = changed[None]
        wanted = self.wanted[index : index + 1]
        return to_input(face)[0], wanted[0, int(flipped)] if wanted.ndim == 3 else wanted

    def __len__(self) -> int:
        return len(self.faces)


def train(
    name: str,
    faces: PackedFaces,
    recipe: Recipe,
    held_out: PackedFaces | None = None,
    validation: PackedFaces | None = None,
    progress: bool = True,
    targets: Targets | None = None,
) -> Run:
    """Train a network, or return the finished run if there is one with the same key.

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
    validation
        Other people, the AUC of whose pairs (see `auc_by_source`) is recorded after each epoch and chooses the
        weights that are kept where the recipe says ``keep="best"``.
    targets
        The teacher's features of ``faces``, for the loss ``"distillation"``; labels then count for nothing.

    Raises
    ------
    ValueError
        ``held_out`` shows people that ``faces`` lacks, a loss is no longer finite, the best weights
        are asked for without validation people, or targets and loss do not go together.
    RuntimeError
        One of several processes ended early; what the last whole epoch left can be resumed.
    """
    if validation is None and (recipe.keep == "best" or recipe.patience):
        raise ValueError("Choosing the best epoch needs validation people: pass them, or use keep='last'.")
    if targets is not None or recipe.loss == "distillation":
        _check_targets(targets, faces, recipe, held_out)
    key = run_key(faces, recipe, held_out, validation, targets)
    if run := find_run(name, key):
        return run
    labels = None if held_out is None else _matching_labels(faces, held_out)
    with processes.Bar(recipe.epochs, progress and distributed.get_rank() == 0) as bar:
        if recipe.processes > 1 and distributed.get_world_size() == 1:
            arguments = (name, faces, recipe, held_out, validation, True, targets)
            processes.run(train, arguments, recipe.processes, bar)
        else:
            _fit(name, key, faces, recipe, (held_out, labels), validation, targets, bar)
    return find_run(name, key)


def _fit(name, key, faces, recipe, held_out, validation, targets, bar) -> None:
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    folder = _run_folder(name, key)
    folder.mkdir(parents=True, exist_ok=True)
    sampling = (recipe.sampling, recipe.images_each, recipe.accumulate, rank, ranks)
    sampler = EpochSampler(faces.labels, recipe.batch_size, recipe.seed, *sampling)
    augment = None if recipe.augmentation == "none" else AUGMENTATIONS[recipe.augmentation]
    dataset = FaceDataset(faces, faces.labels if targets is None else targets.features, augment, recipe.seed)
    recorder = Recorder(folder, recipe, sampler, dataset, held_out, validation, bar)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=0)
    # Paddle finds the optimiser's moments in a checkpoint by parameter names, which it numbers through
    # within a process; inside the guard the numbers start anew, so that a resume finds them all.
    with paddle.utils.unique_name.guard():
        model = build(len(faces.names), faces.pixels.shape[1], len(sampler), recipe)
        done = recorder.resume(model)
        if done < recipe.epochs and not recorder.ended():
            model.fit(
                loader,
                epochs=recipe.epochs - done,
                verbose=0,
                callbacks=[recorder],
                accumulate_grad_batches=recipe.accumulate,
            )
    if rank == 0:
        _finish(name, key, folder, model.network.embedding, faces, recipe, recorder.rows)
    if ranks > 1:
        distributed.barrier()  # so that all of them find the finished run


class Recorder(Callback):
    """Progress, loss and accuracy to CSV and TensorBoard, and a checkpoint after each epoch."""

    def __init__(self, folder, recipe: Recipe, sampler: EpochSampler, dataset: FaceDataset, held_out, validation, bar):
        super().__init__()
        self.folder, self.recipe, self.sampler, self.dataset, self.bar = folder, recipe, sampler, dataset, bar
        self.held_out, self.held_out_labels = held_out
        self.validation = validation
        self.rows: list[dict] = []

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
            self.bar.start(len(self.rows))
            return len(self.rows)
        return 0

    def ended(self) -> bool:
        """Whether the patience is over: so many epochs without a better AUC on the validation people."""
        return self.recipe.patience is not None and len(self.rows) - self._best() > self.recipe.patience

    def _best(self) -> int:
        """Epoch, from 1, with the highest AUC so far; 0 before the first."""
        return int(np.argmax([row["validation_auc"] for row in self.rows])) + 1 if self.rows else 0

    def on_epoch_begin(self, epoch, logs=None):
        # Model.fit counts from zero after a resume too; the history knows the true epoch. Seeding
        # by epoch makes the random state after a resume the one of an unbroken run.
        epoch = self.sampler.epoch = self.dataset.epoch = len(self.rows)
        runtime.seed_everything(self.recipe.seed * 100_003 + epoch + 7919 * distributed.get_rank())
        self.losses, self.sizes, self.started = [], [], time.perf_counter()

    def on_train_batch_end(self, step, logs=None):
        loss = float(np.ravel(logs["loss"])[0]) * self.recipe.accumulate
        if not np.isfinite(loss):
            raise ValueError(f"The loss is {loss} in epoch {len(self.rows) + 1}: lower the learning rate.")
        self.losses.append(loss)
        self.sizes.append(logs["batch_size"])
        self.bar.show(len(self.rows) + (step + 1) / len(self.sampler), loss=loss, accuracy=logs["acc"])

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.started
        row = {
            "epoch": len(self.rows) + 1,
            "loss": float(np.average(self.losses, weights=self.sizes)),
            "accuracy": float(logs["acc"]),
            "seconds": round(seconds, 3),
            "images_per_s": round(sum(self.sizes) / seconds, 2),
        }
        network = self.model.network
        network.eval()
        if distributed.get_rank() == 0 and self.held_out is not None:
            row["held_out_accuracy"] = _recognised_share(network, self.held_out, self.held_out_labels)
        if self.validation is not None:
            row["validation_auc"] = _from_first(_validation_auc(network.embedding, self.validation))
        self.rows.append(row)
        if distributed.get_rank() == 0:
            self._save()
        self.model.stop_training = self.ended()

    def _save(self) -> None:
        if self.recipe.keep == "best" and self._best() == len(self.rows):
            models.save_weights(self.model.network.embedding, self.folder / "best.npz")
        final = self.folder / f"epoch_{len(self.rows):04d}"
        temporary = self.folder / f"writing_{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        self.model.save(str(temporary / "model"))
        (temporary / "history.json").write_text(json.dumps(self.rows))
        shutil.rmtree(final, ignore_errors=True)  # a damaged one that the resume passed over
        os.replace(temporary, final)
        pd.DataFrame(self.rows).to_csv(self.folder / "history.csv", index=False)
        _write_tensorboard(self.folder / "tensorboard", self.rows)
        for old in sorted(self.folder.glob("epoch_[0-9]*"))[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old, ignore_errors=True)


def _write_tensorboard(folder: Path, rows: list[dict]) -> None:
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for name, value in rows[-1].items():
            writer.add_scalar(name, value, rows[-1]["epoch"])


def _recognised_share(network: models.Recogniser, faces: PackedFaces, labels: np.ndarray, batch: int = 128) -> float:
    loader = DataLoader(FaceDataset(faces, labels), batch_size=batch)
    with paddle.no_grad():
        return float(np.concatenate([network(x, y)[1].numpy() for x, y in loader]).mean())


def _validation_auc(embedding: models.Embedding, faces: PackedFaces, batch: int = 128) -> float:
    loader = DataLoader(FaceDataset(faces, faces.labels), batch_size=batch)
    with paddle.no_grad():
        return auc_by_source(np.concatenate([embedding(x).numpy() for x, _ in loader]), faces)


def _from_first(value: float) -> float:
    """The first process's value, in all of them: their batch-norm statistics differ."""
    if distributed.get_world_size() == 1:
        return value
    shared = paddle.to_tensor([value], dtype="float64")
    distributed.broadcast(shared, 0)
    return float(shared)


def _finish(name, key, folder: Path, embedding: models.Embedding, faces: PackedFaces, recipe, rows: list[dict]) -> None:
    if recipe.keep == "best":
        os.replace(folder / "best.npz", folder / "weights.npz")
    else:
        models.save_weights(embedding, folder / "weights.npz")
    history = pd.DataFrame(rows)
    last = rows[-1]
    kept = max(rows, key=lambda row: row["validation_auc"]) if recipe.keep == "best" else last
    row = {
        "name": name,
        "key": key,
        "former_key": "",
        "data": faces.key,
        "identities": len(faces.names),
        "images": len(faces),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "seed": recipe.seed,
        "options": json.dumps(recipe.options()),
        "loss": round(last["loss"], 5),
        "accuracy": round(last["accuracy"], 5),
        "held_out_accuracy": round(last.get("held_out_accuracy", float("nan")), 5),
        "validation_auc": round(kept.get("validation_auc", float("nan")), 5),
        "best_epoch": kept["epoch"],
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


def _check_targets(targets: Targets | None, faces: PackedFaces, recipe: Recipe, held_out) -> None:
    if targets is None or recipe.loss != "distillation" or held_out is not None:
        raise ValueError("The loss 'distillation' needs targets, and no other loss or held-out images go with them.")
    if targets.features.shape != (len(faces), 2, recipe.features):
        expected = f"({len(faces)}, 2, {recipe.features})"
        raise ValueError(f"Targets of shape {targets.features.shape} do not fit the run: expected {expected}.")


def _matching_labels(faces: PackedFaces, held_out: PackedFaces) -> np.ndarray:
    class_of = {name: label for label, name in enumerate(faces.names)}
    unknown = [name for name in held_out.names if name not in class_of]
    if unknown:
        raise ValueError(f"{len(unknown)} held-out people are not in the training set, such as '{unknown[0]}'.")
    return np.array([class_of[held_out.names[label]] for label in held_out.labels], dtype=np.int64)
