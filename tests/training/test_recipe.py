"""Schedules by hand, and the updates of `recipe.build` against the optimisers' equations in NumPy."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.callbacks import Callback
from paddle.io import DataLoader, Dataset

from facelib import models, runtime
from facelib.models import embedding, losses
from facelib.training.recipe import OPTIMIZERS, Recipe, RecognisedShare, build, rate_at
from facelib.training.samplers import EpochSampler

CLASSES, SIZE = 3, 4
TINY = Recipe(epochs=2, batch_size=8, learning_rate=0.05, backbone="tiny", width=5)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A backbone without batch norm: one linear map of the colours of each pixel."""
    monkeypatch.setitem(models.BACKBONES, "tiny", lambda width: nn.Conv2D(3, width, 1, bias_attr=False))


class Noise(Dataset):
    """Sixteen images of noise."""

    def __init__(self):
        rng = np.random.default_rng(7)
        self.images = rng.normal(size=(16, 3, SIZE, SIZE)).astype(np.float32)
        self.labels = rng.integers(0, CLASSES, (16, 1))

    def __getitem__(self, index):
        return self.images[index], self.labels[index]

    def __len__(self):
        return len(self.images)


def values(model):
    return {name: p.numpy().copy() for name, p in model.network.named_parameters()}


def fit(recipe, callbacks=None):
    """Train on the noise and return the model."""
    data = Noise()
    sampler = EpochSampler(data.labels.ravel(), recipe.batch_size, recipe.seed, parts=recipe.accumulate)
    model = build(CLASSES, SIZE, len(sampler), recipe)
    loader = DataLoader(data, batch_sampler=sampler, num_workers=0)
    options = {"callbacks": callbacks, "accumulate_grad_batches": recipe.accumulate}
    model.fit(loader, epochs=recipe.epochs, verbose=0, **options)
    return model


# The recipe


def test_options_are_what_differs_from_the_defaults():
    assert Recipe().options() == {}
    assert Recipe(epochs=3, batch_size=7, learning_rate=0.5, seed=9).options() == {}
    changed = {"optimizer": "sgd", "loss": "arcface", "loss_options": {"margin": 0.3}, "patience": 2}
    assert Recipe(seed=9, width=64, **changed).options() == changed


@pytest.mark.parametrize(
    ("options", "images", "batch"),
    [
        ({}, 21, 32),  # one process takes an incomplete batch
        ({"processes": 2}, 21, 20),
        ({"processes": 2}, 33, 32),
        ({"accumulate": 4}, 30, 28),
        ({"processes": 2, "sampling": "identities", "images_each": 4}, 31, 24),
        ({"processes": 2}, 1, 32),  # nothing fits: the sampler refuses
    ],
)
def test_a_batch_is_no_larger_than_the_images_fill(options, images, batch):
    assert Recipe(batch_size=32, **options).fitting(images) == Recipe(batch_size=batch, **options)


def test_a_row_of_the_runs_gives_its_recipe_back():
    recipe = Recipe(3, 7, 0.5, 9, optimizer="sgd", loss="arcface", loss_options={"margin": 0.3}, keep="best")
    row = {"epochs": "3", "batch_size": "7", "learning_rate": "0.5", "seed": "9", "loss": "1.25"}
    assert Recipe.of_run({**row, "options": json.dumps(recipe.options())}) == recipe


@pytest.mark.parametrize("device, cores, expected", [("cpu", 8, 2), ("cpu", 2, 2), ("cpu", 1, 1), ("gpu:0", 8, 1)])
def test_the_usual_number_of_processes(monkeypatch, device, cores, expected):
    monkeypatch.setattr(runtime, "cores", lambda: cores)
    monkeypatch.setattr(paddle, "get_device", lambda: device)
    assert Recipe(processes=None) == Recipe(processes=expected)
    assert Recipe(processes=None).options() == ({"processes": 2} if expected == 2 else {})


def test_a_recipe_cannot_be_changed_by_accident():
    with pytest.raises(FrozenInstanceError):
        Recipe().epochs = 3


@pytest.mark.parametrize(
    "name, known",
    [
        ("optimizer", "adam, sgd"),
        ("schedule", "constant, cosine"),
        ("loss", "softmax, focal"),
        ("augmentation", "none, flip"),
        ("precision", "float32, float16"),
        ("keep", "last, best"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(name, known):
    with pytest.raises(ValueError, match=f"{name} 'other'.*{known}"):
        Recipe(**{name: "other"})


@pytest.mark.parametrize("name", ["backbone", "neck"])
def test_unknown_networks_are_refused(name):
    with pytest.raises(ValueError, match="'other'.*resnet18.*pool"):
        build(CLASSES, SIZE, 1, replace(TINY, **{name: "other"}))


# The learning rate


def test_warm_up_rises_linearly_from_a_hundredth():
    for schedule in ("constant", "cosine"):
        recipe = Recipe(epochs=10, schedule=schedule, warmup_epochs=2)
        rates = [rate_at(step, 5, recipe) for step in (0, 1, 5, 9, 10)]
        assert rates == pytest.approx([0.01, 0.01 + 0.099, 0.505, 0.01 + 9 * 0.099, 1])
    assert rate_at(2, 8, Recipe(warmup_epochs=0.5)) == pytest.approx(0.505)


def test_cosine_is_half_way_at_half_time_and_ends_at_the_final_rate():
    plain = Recipe(epochs=10, schedule="cosine")
    quarters = [rate_at(step, 4, plain) for step in (0, 10, 20, 30, 40)]
    assert quarters == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0])
    # Warm-up until step 8, middle at (8 + 40) / 2, final rate a tenth of 0.2.
    other = replace(plain, learning_rate=0.2, warmup_epochs=2, final_rate=0.02)
    assert [rate_at(step, 4, other) for step in (8, 24, 40, 99)] == pytest.approx([1, 0.55, 0.1, 0.1])


def test_the_rate_never_rises_after_the_warm_up():
    recipe = Recipe(epochs=6, schedule="cosine", warmup_epochs=1.5, final_rate=1e-4)
    rates = [rate_at(step, 10, recipe) for step in range(60)]
    assert np.argmax(rates) == 15 and (np.diff(rates[:16]) > 0).all() and (np.diff(rates[15:]) < 0).all()


def test_constant_is_constant():
    assert {rate_at(step, 5, Recipe(epochs=2)) for step in range(12)} == {1.0}


class Rates(Callback):
    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_begin(self, step, logs=None):
        self.seen.append(self.model._optimizer.get_lr())


@pytest.mark.parametrize("accumulate", [1, 4])
def test_training_follows_the_schedule(accumulate):
    rates = Rates()
    recipe = replace(TINY, epochs=4, schedule="cosine", warmup_epochs=1, final_rate=0.01, accumulate=accumulate)
    fit(recipe, [rates])
    expected = [0.05 * rate_at(step, 2 * accumulate, recipe) for step in range(8 * accumulate)]
    assert rates.seen == pytest.approx(expected) and len(set(expected)) > 4


# The updates


def gradients(parameters, images, labels):
    """Cross-entropy's gradients for mean colours m: features m K', logits m K' A + b."""
    kernel, a, b = parameters
    means = images.mean((2, 3))  # (n, 3)
    features = means @ kernel.T
    logits = features @ a + b
    p = np.exp(logits - logits.max(1, keepdims=True))
    error = (p / p.sum(1, keepdims=True) - np.eye(CLASSES)[labels.ravel()]) / len(labels)
    return [(error @ a.T).T @ means, features.T @ error, error.sum(0)]


def by_sgd(parameters, data, steps, rate, decay, momentum):
    velocity = [0] * 3
    for _ in range(steps):
        slopes = [g + decay * p for g, p in zip(gradients(parameters, *data), parameters, strict=True)]
        velocity = [momentum * v + g for v, g in zip(velocity, slopes, strict=True)]
        parameters = [p - rate * v for p, v in zip(parameters, velocity, strict=True)]
    return parameters


def by_adam(parameters, data, steps, rate, decay, beta1=0.9, beta2=0.999):
    first, second = [0] * 3, [0] * 3
    for t in range(1, steps + 1):
        slopes = [g + decay * p for g, p in zip(gradients(parameters, *data), parameters, strict=True)]
        first = [beta1 * m + (1 - beta1) * g for m, g in zip(first, slopes, strict=True)]
        second = [beta2 * v + (1 - beta2) * g**2 for v, g in zip(second, slopes, strict=True)]
        moments = zip(parameters, first, second, strict=True)
        parameters = [p - rate * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + 1e-8) for p, m, v in moments]
    return parameters


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(
    "options, equation, more",
    [
        ({"optimizer": "sgd"}, by_sgd, {"momentum": 0.9}),
        ({"optimizer": "sgd", "momentum": 0.5}, by_sgd, {"momentum": 0.5}),
        ({}, by_adam, {}),
    ],
)
def test_updates_equal_the_optimisers_equations(options, equation, more, decay, steps):
    model, data = build(CLASSES, SIZE, 1, replace(TINY, weight_decay=decay, **options)), Noise()
    before = values(model)
    assert list(before) == ["embedding.backbone.weight", "head.linear.weight", "head.linear.bias"]
    for _ in range(steps):
        model.train_batch([data.images, data.labels])
    kernel, *head = (value.astype(np.float64) for value in before.values())
    everything = (data.images.astype(np.float64), data.labels)
    expected = equation([kernel[:, :, 0, 0], *head], everything, steps, 0.05, decay, **more)
    for (name, after), by_hand in zip(values(model).items(), expected, strict=True):
        change = np.abs(by_hand.reshape(after.shape) - before[name]).max()
        assert change > 1e-4
        np.testing.assert_allclose(after, by_hand.reshape(after.shape), rtol=0, atol=2e-4 * change, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("loss", ["softmax", "cosface"])
def test_a_batch_in_parts_gives_the_update_of_the_whole_one(optimizer, parts, loss):
    whole = replace(TINY, optimizer=optimizer, weight_decay=0.1, loss=loss)
    start, once, in_parts = values(build(CLASSES, SIZE, 1, whole)), fit(whole), fit(replace(whole, accumulate=parts))
    for name, expected in values(once).items():
        change = np.abs(expected - start[name]).max()
        assert change > 1e-3
        np.testing.assert_allclose(values(in_parts)[name], expected, rtol=0, atol=1e-3 * change, err_msg=name)


def test_loss_and_recognised_share_are_reported():
    data, recipe = Noise(), replace(TINY, accumulate=2)
    model = build(CLASSES, SIZE, 1, recipe)
    kernel, a, b = values(model).values()
    logits = data.images.mean((2, 3)) @ kernel[:, :, 0, 0].T @ a + b
    own = np.take_along_axis(logits, data.labels, 1).ravel()
    (loss,), (share,) = model.train_batch([data.images, data.labels])
    assert float(loss) == pytest.approx(np.mean(np.log(np.exp(logits).sum(1)) - own) / 2, rel=1e-5)
    assert share == pytest.approx((logits.argmax(1) == data.labels.ravel()).mean())


def test_the_share_adds_up_over_batches():
    share = RecognisedShare()
    for right in ([[1], [0], [1]], [[0]], [[1], [1], [1], [1]]):
        share.update(share.compute(None, np.array(right, np.float32)))
    assert share.accumulate() == pytest.approx(6 / 8)


# The model


def test_the_seed_alone_decides_the_start():
    one, same, other = (values(build(CLASSES, SIZE, 1, replace(TINY, seed=seed))) for seed in (4, 4, 5))
    for name in one:
        assert one[name].tobytes() == same[name].tobytes()
    assert (one["head.linear.weight"] != other["head.linear.weight"]).any()


OPTIONS = {
    "softmax": {"label_smoothing": 0.1},
    "focal": {"gamma": 1.0},
    "center": {"rate": 0.1},
    "l-softmax": {"annealing": 1.0},
    "sphereface": {"margin": 3},
    "normface": {"scale": 8.0},
    "cosface": {"scale": 8.0, "margin": 0.1},
    "arcface": {"margin": 0.2},
    "triplet": {"mining": "hard", "margin": 0.4},
    "distillation": {"scale": 5.0},
}


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_every_loss_trains_with_its_options(loss):
    model, data = build(CLASSES, SIZE, 1, replace(TINY, loss=loss, loss_options=OPTIONS[loss])), Noise()
    head = model.network.head
    assert type(head) is losses.LOSSES[loss]
    assert {name: getattr(head, name) for name in OPTIONS[loss]} == OPTIONS[loss]
    before = values(model)
    length = model.network.embedding.features
    targets = np.random.default_rng(0).normal(size=(len(data.labels), length)).astype(np.float32)
    model.train_batch([data.images, targets if loss == "distillation" else data.labels])
    for name, value in values(model).items():
        assert np.isfinite(value).all() and (value != before[name]).any(), name


def test_float16_on_the_cpu_computes_in_float32():
    single, half = values(fit(TINY)), values(fit(replace(TINY, precision="float16")))
    for name, value in single.items():
        assert value.tobytes() == half[name].tobytes()


def test_the_recipe_shapes_the_network():
    chosen = {"backbone": "tiny", "width": 6, "neck": "linear", "dropout": 0.3}
    model = build(CLASSES, SIZE, 1, replace(TINY, **chosen))
    assert model.network.embedding.architecture == chosen | {"size": SIZE}
    assert model.network.head.linear.weight.shape == [embedding.FEATURES, CLASSES]


def test_the_defaults_are_the_papers_model():
    model = build(11, 64, 1, Recipe())
    assert model.network.embedding.features == 512 and type(model.network.head) is losses.Softmax
    assert sum(not p.stop_gradient for p in model.parameters()) == 62  # 20 convolutions, their batch norms, one layer
    assert type(model._optimizer).__name__ == "Adam" and model._optimizer.get_lr() == 1e-3
    assert model._optimizer.regularization is None


@pytest.mark.parametrize(
    "given", [{"epochs": 0}, {"batch_size": 0}, {"processes": 0}, {"width": -1}, {"learning_rate": -1}]
)
def test_values_that_train_nothing_are_refused(given):
    with pytest.raises(ValueError, match=f"{next(iter(given))} is .*: expected"):
        Recipe(**given)
