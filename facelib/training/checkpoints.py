"""What is kept of each epoch: its numbers, and a checkpoint from which training goes on as if never interrupted."""

import json
import os
import shutil
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
from paddle import distributed
from paddle.callbacks import Callback

from facelib import models, runtime
from facelib.data.packed import PackedFaces, to_input
from facelib.files import write_atomically
from facelib.metrics.protocol import auc_by_source
from facelib.training.recipe import Recipe
from facelib.training.samplers import EpochSampler

KEPT = 2  # checkpoints: the newest, and the one before it in case the newest is damaged
BATCH = 128  # images at once where nothing is trained


class Diverged(ValueError):
    """A training whose loss is no longer finite."""


class Checkpoints(Callback):
    """Progress and running numbers of each epoch, over all processes, to CSV and TensorBoard, and a checkpoint."""

    def __init__(self, folder, recipe: Recipe, sampler: EpochSampler, dataset, held_out, validation, bar):
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
        return int(np.argmax(np.nan_to_num([row["validation_auc"] for row in self.rows]))) + 1 if self.rows else 0

    def on_epoch_begin(self, epoch, logs=None):
        # Model.fit counts from zero after a resume too; the history knows the true epoch. Seeding
        # by epoch makes the random state after a resume the one of an unbroken run.
        epoch = self.sampler.epoch = self.dataset.epoch = len(self.rows)
        self.model.network.head.progress = epoch / self.recipe.epochs
        runtime.seed_everything(self.recipe.seed * 100_003 + epoch + 7919 * distributed.get_rank())
        self.losses, self.sizes, self.started = [], [], time.perf_counter()

    def on_train_batch_end(self, step, logs=None):
        loss = float(np.ravel(logs["loss"])[0]) * self.recipe.accumulate
        if not np.isfinite(loss):
            raise Diverged(f"The loss is {loss} in epoch {len(self.rows) + 1}: lower the learning rate.")
        self.losses.append(loss)
        self.sizes.append(logs["batch_size"])
        self.bar.show(len(self.rows) + (step + 1) / len(self.sampler), loss=loss, accuracy=logs["acc"])

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.started
        loss, accuracy = _mean(np.average(self.losses, weights=self.sizes), logs["acc"])
        row = {"epoch": len(self.rows) + 1, "loss": loss, "accuracy": accuracy}
        row |= {"seconds": round(seconds, 3), "images_per_s": round(sum(self.sizes) / seconds, 2)}
        network = self.model.network
        if self.held_out is not None:
            found = evaluated(network, self.held_out, self.held_out_labels)
            row |= dict(zip(("held_out_loss", "held_out_accuracy"), found, strict=True))
        if self.validation is not None:
            row["validation_auc"] = _validation_auc(network, self.validation)
        self.rows.append(row)
        if distributed.get_rank() == 0:
            self._save()
        self.model.stop_training = self.ended()

    def _save(self) -> None:
        from tensorboardX import SummaryWriter

        if self.recipe.keep == "best" and self._best() == len(self.rows):
            models.save_weights(self.model.network.embedding, self.folder / "best.npz")
        final = self.folder / f"epoch_{len(self.rows):04d}"
        temporary = self.folder / f"writing_{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        self.model.save(str(temporary / "model"))
        (temporary / "history.json").write_text(json.dumps(self.rows))
        shutil.rmtree(final, ignore_errors=True)  # a damaged one that the resume passed over
        os.replace(temporary, final)
        write_atomically(self.folder / "history.csv", pd.DataFrame(self.rows).to_csv(index=False))
        with SummaryWriter(str(self.folder / "tensorboard")) as writer:
            for name, value in self.rows[-1].items():
                writer.add_scalar(name, value, len(self.rows))
        for old in sorted(self.folder.glob("epoch_[0-9]*"))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def evaluated(network: models.Recogniser, faces: PackedFaces, labels: np.ndarray) -> tuple[float, float]:
    """Mean loss, and share of faces whose class, labels (n,), scores highest, of the network as it is in evaluation.

    Each of several processes takes its part of the faces, with the first one's batch-norm statistics; so none waits
    for another longer than the exchange allows (half a minute on a CPU).
    """
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    for name, tensor in network.state_dict().items() if ranks > 1 else ():
        if name.endswith(("._mean", "._variance")):
            distributed.broadcast(tensor, 0)
    total = np.zeros(2)
    network.eval()
    with paddle.no_grad():
        for x, rows in _batches(faces, np.arange(rank, len(faces), ranks)):
            loss, right = network(x, paddle.to_tensor(labels[rows]))
            total += len(rows) * float(loss), float(right.sum())
    loss, share = (ranks * each / len(faces) for each in _mean(*total))
    return loss, share


def _validation_auc(network: models.Recogniser, faces: PackedFaces) -> float:
    """`auc_by_source` of the first process, in all of them: their batch-norm statistics may differ."""
    network.eval()
    with paddle.no_grad():
        features = [network.embedding(x).numpy() for x, _ in _batches(faces, np.arange(len(faces)))]
    try:
        auc = auc_by_source(np.concatenate(features), faces)
    except ValueError:  # a photo without any feature has no angle to others: no AUC yet, the training goes on
        auc = np.nan
    return distributed.get_world_size() * _mean(auc if distributed.get_rank() == 0 else 0.0)[0]


def _batches(faces: PackedFaces, rows: np.ndarray) -> Iterator[tuple[paddle.Tensor, np.ndarray]]:
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        yield paddle.to_tensor(to_input(faces.take(some))), some


def _mean(*values: float) -> list[float]:
    """Means over the processes, in all of them."""
    if distributed.get_world_size() == 1:
        return [float(value) for value in values]
    shared = paddle.to_tensor(values, dtype="float64")
    distributed.all_reduce(shared)
    return (shared / distributed.get_world_size()).tolist()
