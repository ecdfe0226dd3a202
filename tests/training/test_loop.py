import subprocess
import sys
from dataclasses import replace
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest
from paddle import nn
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import log_loss, roc_auc_score

from facelib import models
from facelib._paddle import paddle
from facelib.data import packed, packing, pairs, splits
from facelib.metrics import protocol
from facelib.training import checkpoints, loop, recipe, runs
from facelib.training.augmentation import AUGMENTATIONS
from facelib.training.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=1e-3, seed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six people of one colour each, five noisy 32 x 32 images of each."""
    root, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for person in range(6):
        (root / f"p{person}").mkdir()
        for shot in range(5):
            noisy = rng.normal(40 * person, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / f"p{person}" / f"{shot}.png")
    return root


@pytest.fixture
def parts(folder, tmp_path, monkeypatch):
    """(training, held-out) faces, with cache and output of this test alone."""
    isolate(monkeypatch, tmp_path)
    return splits.hold_out(packing.pack(folder, size=32, progress=False), 5, seed=0)


@pytest.fixture
def small(monkeypatch):
    """A network with all that a checkpoint must keep (batch norm, Adam's moments), and little of it."""

    def backbone(width):
        return nn.Sequential(nn.Conv2D(3, 8, 3, 2), nn.BatchNorm2D(8), nn.ReLU(), nn.AdaptiveAvgPool2D(2))

    monkeypatch.setitem(models.BACKBONES, "resnet18", backbone)


def isolate(monkeypatch, place):
    monkeypatch.setenv("FACELIB_CACHE", str(place / "cache"))
    monkeypatch.setenv("FACELIB_OUTPUT", str(place / "out"))


def train(parts, recipe=RECIPE, **options):
    return loop.train("test", parts[0], recipe, parts[1], progress=False, **options)


def test_few_images_are_trained_on_in_a_smaller_batch(parts, small, capsys):
    many = replace(RECIPE, batch_size=32, accumulate=2, epochs=1)
    run = train(parts, many)
    assert "24 images do not fill a batch of 32: of 24 instead." in capsys.readouterr().out
    assert int(run.row["batch_size"]) == 24 and train(parts, replace(many, batch_size=24)).row == run.row
    assert runs.run_key(parts[0], many, parts[1]) == run.row["key"]


def arrays(run):
    with np.load(run.weights) as stored:
        return dict(stored)


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values.tobytes() == other[name].tobytes(), name


class Killed(BaseException):
    pass


def kill_in_epoch(monkeypatch, epoch):
    """Stop training in the middle of an epoch, as a closed laptop would."""
    whole = checkpoints.Checkpoints.on_train_batch_end

    def deadly(self, step, logs=None):
        whole(self, step, logs)
        if len(self.rows) + 1 == epoch and step == 1:
            raise Killed

    monkeypatch.setattr(checkpoints.Checkpoints, "on_train_batch_end", deadly)


def test_history_has_a_row_per_epoch_and_the_loss_falls(small, parts):
    run = train(parts)
    assert list(run.history["epoch"]) == [1, 2, 3]
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
    assert run.history[["accuracy", "held_out_accuracy"]].to_numpy().min() >= 0
    assert run.history[["accuracy", "held_out_accuracy"]].to_numpy().max() <= 1


def test_recorded_loss_is_the_mean_cross_entropy_of_the_images(small, parts):
    once = Recipe(epochs=1, batch_size=24, learning_rate=0.0, seed=5)  # one batch of all: nothing moves
    assert len(parts[0]) == 24
    run = train(parts, once)
    network = recipe.build(6, 32, 1, once).network
    with paddle.no_grad():
        features = network.embedding(paddle.to_tensor(packed.to_input(parts[0].take(range(24)))))
        logits = network.head.linear(features).numpy().astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    labels = parts[0].labels
    assert run.history["loss"][0] == pytest.approx(-log_p[np.arange(24), labels].mean(), rel=1e-4)
    assert run.history["accuracy"][0] == pytest.approx((logits.argmax(axis=1) == labels).mean())


def accuracy_by_hand(parts, network):
    """Share of training images whose class has the highest logit, in evaluation, without facelib's own evaluation."""
    network.eval()
    with paddle.no_grad():
        features = network.embedding(paddle.to_tensor(packed.to_input(parts[0].take(range(len(parts[0]))))))
        logits = network.head.linear(features).numpy()
    return (logits.argmax(axis=1) == parts[0].labels).mean()


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_run_whose_row_could_not_be_written_is_finished_later(small, parts, folder, tmp_path, monkeypatch, keep):
    """And its accuracy is that of the last epoch's network on all training images."""
    aucs = iter([0.6, 0.9, 0.7] * 2)
    monkeypatch.setattr(checkpoints, "_validation_auc", lambda *_: next(aucs))
    options = replace(RECIPE, keep=keep, learning_rate=0.03)
    unbroken = validated(parts, folder, options)

    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    isolate(monkeypatch, tmp_path / "full")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_atomically", full)
        with pytest.raises(OSError, match="No space left"):
            validated(parts, folder, options)
    (checkpoint,) = (tmp_path / "full").rglob("epoch_0003")
    with paddle.utils.unique_name.guard():
        last = recipe.build(6, 32, 3, options)
        last.load(str(checkpoint / "model"))
    monkeypatch.setattr(paddle.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    finished = validated(parts, folder, options)
    assert_same_bits(arrays(unbroken), arrays(finished))
    assert finished.row["best_epoch"] == (2 if keep == "best" else 3)
    assert finished.accuracy == (round(accuracy_by_hand(parts, last.network), 5), 24, ANY)
    assert "all training images" in finished.accuracy.measured
    assert finished.accuracy.share != finished.row["accuracy"] == round(finished.history["accuracy"].iloc[-1], 5)
    assert not list(checkpoint.parent.glob("epoch_*")) and runs.find_run("test", finished.row["key"])


def test_rows_without_the_final_accuracy_say_so():
    row = {"images": "720", "accuracy": "0.92", "options": "{}"}
    history = pd.DataFrame()
    assert runs.Run(None, history, row).accuracy[:2] == (0.92, 720)
    for empty in ({}, {"final_accuracy": ""}, {"final_accuracy": float("nan")}):
        run = runs.Run(None, history, row | empty | {"options": '{"processes": 2}'})
        assert run.accuracy[:2] == (0.92, 360) and "one of 2 processes" in run.accuracy.measured
        assert "while the weights changed" in run.accuracy.measured
    assert runs.Run(None, history, row | {"final_accuracy": "0.95"}).accuracy[:2] == (0.95, 720)


def test_rows_of_other_versions_stay_when_one_is_added(tmp_path, monkeypatch):
    isolate(monkeypatch, tmp_path)
    table = tmp_path / "out" / "data" / "runs.csv"
    table.parent.mkdir(parents=True)
    table.write_text('name,key,accuracy,later\nold,a,0.5,"1, 2"\n')
    runs.append_run({"name": "new", "key": "b", "accuracy": 0.25, "final_accuracy": 0.75})
    runs.append_run({"name": "again", "key": "b"})
    assert table.read_text() == 'name,key,accuracy,final_accuracy,later\nold,a,0.5,,"1, 2"\nnew,b,0.25,0.75,\n'


def test_no_row_is_lost_between_processes(tmp_path, monkeypatch):
    isolate(monkeypatch, tmp_path)
    code = (
        "import sys\nfrom facelib.training import runs\n"
        "for number in range(10):\n    runs.append_run({'key': sys.argv[1] + str(number)})\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    keys = {row["key"] for row in runs.read_runs()}
    assert {f"{name}{number}" for name in "ab" for number in range(10)} <= keys


def test_two_runs_with_the_same_seed_give_the_same_bits(folder, tmp_path, monkeypatch):
    code = (
        "from facelib import training\nfrom facelib.data import packing, splits\n"
        f"parts = splits.hold_out(packing.pack({str(folder)!r}, size=32, progress=False), 5, seed=0)\n"
        f"run = training.train('test', parts[0], training.{RECIPE!r}, parts[1], progress=False)\n"
        "print(run.weights)"
    )
    runs = []
    for place in ("one", "other"):
        isolate(monkeypatch, tmp_path / place)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        with np.load(done.stdout.splitlines()[-1]) as stored:
            runs.append(dict(stored))
    assert_same_bits(*runs)


def test_another_seed_gives_other_weights(small, parts):
    one, other = arrays(train(parts)), arrays(train(parts, Recipe(epochs=3, batch_size=8, seed=6)))
    assert any(not np.array_equal(one[name], other[name]) for name in one)


def test_an_epoch_without_an_auc_does_not_end_the_training(small, parts, monkeypatch):
    found = iter((ValueError("row 3 is a zero vector"), 0.7, ValueError("row 3 is a zero vector")))

    def auc(*_):
        value = next(found)
        if isinstance(value, ValueError):
            raise value
        return value

    monkeypatch.setattr(checkpoints, "auc_by_source", auc)
    run = train(parts, replace(RECIPE, keep="best"), validation=parts[1])
    assert np.isnan(run.history["validation_auc"]).tolist() == [True, False, True] and int(run.row["best_epoch"]) == 2


def test_evaluated_are_the_mean_loss_and_the_share_recognised(small, parts, monkeypatch):
    monkeypatch.setattr(checkpoints, "BATCH", 7)  # the last batch is smaller
    faces = parts[0]
    network = recipe.build(6, 32, 1, RECIPE).network
    network.eval()
    with paddle.no_grad():
        x = paddle.to_tensor(packed.to_input(faces.take(np.arange(len(faces)))))
        logits = network.head.linear(network.embedding(x)).numpy().astype(np.float64)
    loss, share = checkpoints.evaluated(network, faces, faces.labels)
    assert loss == pytest.approx(log_loss(faces.labels, softmax(logits, axis=1), labels=range(6)), rel=1e-5)
    assert share == (logits.argmax(1) == faces.labels).mean()


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_resume_after_a_kill_equals_an_unbroken_run(small, parts, tmp_path, monkeypatch, epoch):
    unbroken = train(parts)
    isolate(monkeypatch, tmp_path / "killed")
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, epoch)
        with pytest.raises(Killed):
            train(parts)
    resumed = train(parts)
    assert_same_bits(arrays(unbroken), arrays(resumed))
    columns = ["epoch", "loss", "accuracy", "held_out_loss", "held_out_accuracy"]
    pd.testing.assert_frame_equal(unbroken.history[columns], resumed.history[columns])


def test_a_damaged_checkpoint_falls_back_to_the_one_before(small, parts, tmp_path, monkeypatch, capsys):
    unbroken = train(parts)
    isolate(monkeypatch, tmp_path / "damaged")
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 3)
        with pytest.raises(Killed):
            train(parts)
    newest = max((tmp_path / "damaged").rglob("epoch_0002"))
    (newest / "model.pdparams").write_bytes(b"half")
    resumed = train(parts)
    assert "epoch_0002" in capsys.readouterr().out
    assert_same_bits(arrays(unbroken), arrays(resumed))


def test_a_finished_run_is_loaded_and_not_trained_again(small, parts, monkeypatch):
    first = train(parts)
    monkeypatch.setattr(loop, "build", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(loop, "run_key", lambda *_: first.row["key"])
    assert train(parts).row == first.row


@pytest.mark.parametrize(("name", "keep"), [("weights.npz", 0.5), ("row.json", 0.5), ("weights.npz", None)])
def test_a_damaged_finished_run_is_named_and_made_again(small, parts, capsys, name, keep):
    run = train(parts)
    before, file = arrays(run), run.weights.parent / name
    content = file.read_bytes()
    file.unlink() if keep is None else file.write_bytes(content[: int(keep * len(content))])
    assert_same_bits(arrays(train(parts)), before)
    assert "damaged" in (said := capsys.readouterr().out) and str(file.parent) in said
    assert file.exists() and runs.find_run("test", run.row["key"]) and not capsys.readouterr().out


def test_a_finished_run_appends_one_row_to_runs_csv(small, parts, tmp_path):
    run = train(parts)
    train(parts, Recipe(epochs=1, batch_size=8))
    rows = pd.read_csv(tmp_path / "out" / "data" / "runs.csv", dtype=str)
    assert len(rows) == 2 and rows["key"].nunique() == 2
    row = rows.set_index("key").loc[run.row["key"]]
    assert (row["identities"], row["images"], row["epochs"]) == ("6", "24", "3")
    assert row["weights_sha256"] == run.row["weights_sha256"]


def test_the_committed_weights_stand_in_for_a_run(small, parts, tmp_path, monkeypatch):
    run = train(parts)
    shipped = tmp_path / "clone" / "data"
    (shipped / "weights").mkdir(parents=True)
    (shipped / "weights" / "test.npz").write_bytes(run.weights.read_bytes())
    run.history.to_csv(shipped / "weights" / "test.csv", index=False)
    (shipped / "runs.csv").write_bytes((tmp_path / "out" / "data" / "runs.csv").read_bytes())
    monkeypatch.setattr(runs.runtime, "ROOT", tmp_path / "clone")
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "empty"))
    found = runs.find_run("test", run.row["key"])
    assert found.weights == shipped / "weights" / "test.npz"
    (shipped / "weights" / "test.npz").write_bytes(b"other weights")
    assert runs.find_run("test", run.row["key"]) is None


def test_a_former_key_finds_the_run_and_the_new_one_its_old_folder(small, parts, tmp_path):
    run = train(parts)
    key = run.row["key"]
    table = tmp_path / "out" / "data" / "runs.csv"
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    rows["key"], rows["former_key"] = "new", key
    rows.to_csv(table, index=False)
    for asked in ("new", key):
        found = runs.find_run("test", asked)
        assert found.weights == run.weights and found.row["key"] == "new" and found.row["former_key"] == key
    assert runs.find_run("test", "") is None


def test_the_key_follows_data_and_recipe_but_not_comments(parts):
    key = runs.run_key(parts[0], RECIPE, parts[1])
    assert key == runs.run_key(parts[0].select(range(len(parts[0]))), RECIPE, parts[1])
    assert key != runs.run_key(parts[0].select(range(10)), RECIPE, parts[1])
    assert key != runs.run_key(parts[0], Recipe(epochs=4, batch_size=8, seed=5), parts[1])


def test_strangers_among_the_held_out_people_are_refused(parts):
    with pytest.raises(ValueError, match="p5"):
        loop.train("test", parts[0].select(range(20)), RECIPE, parts[1], progress=False)


def test_a_diverging_run_says_what_to_do(small, parts):
    recipe = Recipe(epochs=3, batch_size=8, learning_rate=float("inf"))
    with pytest.raises(ValueError, match="learning rate"):
        train(parts, recipe)


def validated(parts, folder_of_others, recipe, **options):
    others = packing.pack(folder_of_others, size=32, progress=False)
    return loop.train("test", parts[0], recipe, parts[1], others, progress=False, **options)


def test_best_weights_are_those_of_the_epoch_with_the_highest_validation_auc(small, parts, folder, monkeypatch):
    aucs = iter([0.6, 0.9, 0.7])
    kept = []
    whole = models.save_weights
    monkeypatch.setattr(checkpoints, "_validation_auc", lambda *_: next(aucs))
    monkeypatch.setattr(models, "save_weights", lambda network, path: kept.append(path) or whole(network, path))
    run = validated(parts, folder, replace(RECIPE, keep="best"))
    assert list(run.history["validation_auc"]) == [0.6, 0.9, 0.7]
    assert [path.name for path in kept] == ["best.npz", "best.npz"]  # epochs 1 and 2
    assert run.row["best_epoch"] == 2


def test_patience_ends_a_run_early(small, parts, folder, monkeypatch):
    aucs = iter([0.6, 0.9, 0.7, 0.8, 0.95, 0.99])
    monkeypatch.setattr(checkpoints, "_validation_auc", lambda *_: next(aucs))
    run = validated(parts, folder, replace(RECIPE, epochs=6, patience=1))
    assert list(run.history["epoch"]) == [1, 2, 3, 4]


def test_validation_auc_is_scikit_learns(parts, folder):
    others = packing.pack(folder, size=32, progress=False)
    network = recipe.build(6, 32, 1, replace(RECIPE, width=16)).network
    network.eval()
    with paddle.no_grad():
        features = network.embedding(paddle.to_tensor(packed.to_input(others.take(range(30))))).numpy()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    drawn = pairs.draw_pairs(others.labels, 60, 60, seed=0)
    similarity = (unit[drawn.left] * unit[drawn.right]).sum(1)
    assert checkpoints._validation_auc(network, others) == pytest.approx(roc_auc_score(drawn.genuine, similarity))


def test_validation_auc_is_the_mean_over_the_sources(parts):
    """Two sources whose people look alike within each: pooled, the source alone would tell genuine from impostor."""
    rng = np.random.default_rng(2)
    labels = np.concatenate([np.repeat([0, 1, 2], 20), np.repeat(np.arange(3, 33), 2)])
    widths = np.where(labels < 3, 64, 112)
    vectors = rng.normal(size=(120, 4)) + np.where(labels < 3, 3, -3)[:, None] * np.arange(4)
    faces = replace(parts[0], rows=np.arange(120), labels=labels, names=tuple(map(str, range(33))), widths=widths)
    drawn = pairs.draw_by_source(labels, widths, protocol.VALIDATION_PAIRS, seed=0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = (unit[drawn.left] * unit[drawn.right]).sum(1)
    alone = [roc_auc_score(drawn.genuine[some], similarity[some]) for some in (drawn.fold == 0, drawn.fold == 1)]
    assert protocol.auc_by_source(vectors, faces) == pytest.approx(np.mean(alone))
    assert protocol.auc_by_source(vectors, faces) != pytest.approx(roc_auc_score(drawn.genuine, similarity))


def test_the_best_epoch_needs_validation_people(parts):
    with pytest.raises(ValueError, match="validation"):
        train(parts, replace(RECIPE, keep="best"))


OPTIONS = {
    "sgd": {"optimizer": "sgd", "schedule": "cosine", "warmup_epochs": 1.0, "weight_decay": 1e-4},
    "augmented": {"augmentation": "moderate", "neck": "linear", "dropout": 0.3},
    "margin": {"loss": "arcface", "loss_options": {"scale": 8.0, "margin": 0.2}},
    "center": {"loss": "center", "accumulate": 2},
    "triplet": {"loss": "triplet", "sampling": "identities", "images_each": 2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_resumes_exactly(small, parts, tmp_path, monkeypatch, options):
    recipe = replace(RECIPE, **options)
    unbroken = train(parts, recipe)
    isolate(monkeypatch, tmp_path / "killed")
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 3)
        with pytest.raises(Killed):
            train(parts, recipe)
    assert_same_bits(arrays(unbroken), arrays(train(parts, recipe)))


def test_augmented_images_differ_between_epochs_and_repeat_with_the_seed(parts):
    dataset = loop.FaceDataset(parts[0], parts[0].labels, AUGMENTATIONS["moderate"], seed=1)
    first = dataset[3][0]
    assert np.array_equal(first, dataset[3][0])
    dataset.epoch = 1
    assert not np.array_equal(first, dataset[3][0])
    assert first.shape == (3, 32, 32) and first.dtype == np.float32 and np.abs(first).max() <= 1


def test_options_that_are_the_defaults_leave_the_key_alone(parts):
    plain = runs.run_key(parts[0], RECIPE, parts[1])
    assert plain == runs.run_key(parts[0], replace(RECIPE, optimizer="adam", keep="last"), parts[1])
    assert plain != runs.run_key(parts[0], replace(RECIPE, optimizer="sgd"), parts[1])


def test_another_trunk_under_the_same_name_is_another_run(parts, tmp_path, monkeypatch):
    keys, trunk = set(), tmp_path / "data" / "weights" / "trunk.npz"
    trunk.parent.mkdir(parents=True)
    monkeypatch.setattr(runs.runtime, "ROOT", tmp_path)
    for content in (b"one", b"two", b"two"):
        trunk.write_bytes(content)
        keys.add(runs.run_key(parts[0], replace(RECIPE, trunk="trunk")))
    assert len(keys) == 2


def test_history_goes_to_tensorboard_too(small, parts):
    run = train(parts)
    assert list(run.weights.parent.glob("tensorboard/events.*"))
