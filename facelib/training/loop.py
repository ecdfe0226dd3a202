"""Training: exact resume, several processes, finished runs."""

import json
import os
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
from paddle import distributed
from paddle.io import DataLoader, Dataset

from facelib import models, runtime
from facelib.data.packed import PackedFaces, to_input
from facelib.files import checksum, write_atomically
from facelib.models import losses
from facelib.training import processes
from facelib.training.augmentation import AUGMENTATIONS, Augmentation
from facelib.training.checkpoints import Checkpoints, evaluated
from facelib.training.distillation import Targets
from facelib.training.recipe import ALWAYS, Recipe, build, target_size
from facelib.training.runs import Run, _run_folder, append_run, find_run, run_key
from facelib.training.samplers import EpochSampler


class FaceDataset(Dataset):
    """Packed faces as a Paddle data set: image (3, H, W) float32 in [-1, 1] and what a network is to make of it.

    That is the label, (1,) int64 of labels (n,); or, of a teacher's features (n, 2, d) of images and of their mirror
    images, those of the one that is shown. With an augmentation the image is changed by seed, ``epoch`` and its row.
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

    An interrupted run goes on after its last whole epoch and ends with the same weights, bit for bit, as one that was
    never interrupted (same machine, versions and threads). RuntimeError where one of several processes ended early.

    Every identity of ``faces`` is a class, or its ``targets``, a teacher's features, are what the loss
    ``"distillation"`` learns. After each epoch the accuracy on ``held_out``, other images of the same people, is
    recorded, and the AUC of the pairs of ``validation`` people (see `auc_by_source`), which chooses the weights where
    the recipe says ``keep="best"``. ``name`` is that of the run's folder and of its row in ``data/runs.csv``.
    """
    if validation is None and (recipe.keep == "best" or recipe.patience):
        raise ValueError("Choosing the best epoch needs validation people: pass them, or use keep='last'.")
    if (fitting := recipe.fitting(len(faces))) is not recipe:
        print(f"{len(faces)} images do not fill a batch of {recipe.batch_size}: of {fitting.batch_size} instead.")
        recipe = fitting
    if targets is not None or recipe.loss == "distillation":
        _check_targets(targets, faces, recipe, held_out)
    key = run_key(faces, recipe, held_out, validation, targets)
    if run := find_run(name, key):
        return run
    labels = None if held_out is None else _matching_labels(faces, held_out)
    with processes.Bar(recipe.epochs, progress and distributed.get_rank() == 0) as bar:
        if recipe.processes > 1 and distributed.get_world_size() == 1:
            arguments = (name, faces, recipe, held_out, validation, True, targets)
            try:
                processes.run(train, arguments, recipe.processes, bar)
            except RuntimeError as error:
                raise RuntimeError(f"{error} {_what_is_kept(_run_folder(name, key))}") from None
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
    checkpoints = Checkpoints(folder, recipe, sampler, dataset, held_out, validation, bar)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=0)
    # Paddle finds the optimiser's moments in a checkpoint by parameter names, which it numbers through
    # within a process; inside the guard the numbers start anew, so that a resume finds them all.
    with paddle.utils.unique_name.guard():
        model = build(len(faces.names), faces.pixels.shape[1], len(sampler), recipe)
        done = checkpoints.resume(model)
        if done < recipe.epochs and not checkpoints.ended():
            how = {"verbose": 0, "callbacks": [checkpoints], "accumulate_grad_batches": recipe.accumulate}
            model.fit(loader, epochs=recipe.epochs - done, **how)
    known = np.nan if recipe.loss in losses.WITHOUT_CLASSES else evaluated(model.network, faces, faces.labels)[1]
    if rank == 0:
        _finish(name, key, folder, model.network.embedding, faces, recipe, checkpoints.rows, known)
    if ranks > 1:
        distributed.barrier()  # so that all of them find the finished run


def _finish(name, key, folder: Path, embedding, faces: PackedFaces, recipe, rows: list[dict], accuracy: float) -> None:
    """Write weights, history and row; each step can be repeated where a later one failed, the checkpoints end last."""
    if recipe.keep == "last":
        models.save_weights(embedding, folder / "weights.npz")
    elif (folder / "best.npz").exists():  # else it was renamed before something failed
        os.replace(folder / "best.npz", folder / "weights.npz")
    history = pd.DataFrame(rows)
    last = rows[-1]
    kept = max(rows, key=lambda row: np.nan_to_num(row["validation_auc"])) if recipe.keep == "best" else last
    row = {
        "name": name,
        "key": key,
        "former_key": "",
        "data": faces.key,
        "identities": len(faces.names),
        "images": len(faces),
        **{option: getattr(recipe, option) for option in ALWAYS},
        "options": json.dumps(recipe.options()),
        "loss": round(last["loss"], 5),
        "accuracy": round(last["accuracy"], 5),
        "final_accuracy": round(accuracy, 5),
        "held_out_accuracy": round(last.get("held_out_accuracy", float("nan")), 5),
        "validation_auc": round(kept.get("validation_auc", float("nan")), 5),
        "best_epoch": kept["epoch"],
        "images_per_s": round(float(history["images_per_s"].median()), 1),
        "seconds": round(float(history["seconds"].sum()), 1),
        "date": date.today().isoformat(),
        "weights_sha256": checksum(folder / "weights.npz"),
        **{k.replace(" ", "_"): v for k, v in runtime.hardware().items() if k != "memory"},
    }
    write_atomically(folder / "history.csv", history.to_csv(index=False))
    append_run(row)
    write_atomically(folder / "row.json", json.dumps(row, indent=1))
    for checkpoint in folder.glob("epoch_[0-9]*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def _check_targets(targets: Targets | None, faces: PackedFaces, recipe: Recipe, held_out) -> None:
    if targets is None or recipe.loss != "distillation" or held_out is not None:
        raise ValueError("The loss 'distillation' needs targets, and no other loss or held-out images go with them.")
    if targets.features.shape != (len(faces), 2, target_size(recipe)):
        expected = f"({len(faces)}, 2, {target_size(recipe)})"
        raise ValueError(f"Targets of shape {targets.features.shape} do not fit the run: expected {expected}.")


def _what_is_kept(folder: Path) -> str:
    kept = sorted(folder.glob("epoch_[0-9]*"))
    if not kept:
        return "No epoch was finished: the next run starts from the beginning."
    return f"The checkpoint of epoch {int(kept[-1].name.removeprefix('epoch_'))} is kept: run again to go on from it."


def _matching_labels(faces: PackedFaces, held_out: PackedFaces) -> np.ndarray:
    class_of = {name: label for label, name in enumerate(faces.names)}
    if unknown := [name for name in held_out.names if name not in class_of]:
        raise ValueError(f"{len(unknown)} held-out people are not in the training set, such as '{unknown[0]}'.")
    return np.array([class_of[held_out.names[label]] for label in held_out.labels], dtype=np.int64)
