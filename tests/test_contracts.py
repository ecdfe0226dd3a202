"""What every loss, backbone, neck, reader and backend owes its callers: a new one is tested once it is registered."""

import importlib
import inspect

import numpy as np
import pytest

from facelib import inference, models
from facelib._paddle import paddle
from facelib.data import archives, packing
from facelib.data.archives import DatasetError
from facelib.models import losses

CLASSES, FEATURES = 6, 16


def head(name):
    """The loss, as in evaluation: nothing but its arguments decides what it gives."""
    paddle.seed(1)
    kind = losses.LOSSES[name]
    sizes = {"features": FEATURES, "classes": CLASSES}
    made = kind(**{size: n for size, n in sizes.items() if size in inspect.signature(kind).parameters})
    made.eval()
    return made


def answers(name, labels):
    """What a loss compares features with: labels, or for one that learns from a teacher some features."""
    if "targets" not in inspect.signature(losses.LOSSES[name].forward).parameters:
        return paddle.to_tensor(labels)
    return paddle.to_tensor(np.random.default_rng(2).normal(size=(len(labels), FEATURES)).astype(np.float32))


def loss_of(head, x, answers):
    paddle.seed(7)  # some draw negatives
    return head(paddle.to_tensor(x), answers)


def aligned(name, head):
    """Features at angles of 0 and 180 degrees to what the loss compares them with, and one without direction."""
    labels = np.repeat(np.arange(3), 4)
    directions = np.eye(FEATURES)[labels]
    if "targets" in inspect.signature(head.forward).parameters:
        directions = answers(name, labels).numpy()
    for weight in head.parameters():
        if list(weight.shape) == [FEATURES, CLASSES]:
            directions = weight.numpy().T[labels]
    x = directions * np.resize([1.0, -1.0, 30.0, -0.01], (len(labels), 1))
    return np.vstack([x, np.zeros(FEATURES)]).astype(np.float32), np.append(labels, 0)


@pytest.mark.parametrize("name", losses.LOSSES)
class TestLoss:
    def test_it_is_finite_with_its_gradients_at_cosines_of_one(self, name):
        layer = head(name)
        x, labels = aligned(name, layer)
        target = answers(name, labels)
        if target.ndim == 2:  # of the aligned ones; the last has no direction to be aligned with
            target = paddle.concat([answers(name, labels[:-1]), paddle.ones([1, FEATURES])])
        x = paddle.to_tensor(x, stop_gradient=False)
        loss, right = layer(x, target)
        loss.backward()
        assert np.isfinite(float(loss)) and np.isfinite(right.numpy()).all()
        for tensor in (x, *layer.parameters()):
            assert tensor.grad is not None and np.isfinite(tensor.grad.numpy()).all()

    @pytest.mark.parametrize("seed", [0, 1])
    def test_its_gradients_are_those_of_its_differences(self, name, seed):
        layer = head(name)
        rng = np.random.default_rng(seed)
        labels = np.arange(12) % 4
        target = answers(name, labels)
        x = paddle.to_tensor(rng.normal(size=(12, FEATURES)).astype(np.float32), stop_gradient=False)
        paddle.seed(7)
        layer(x, target)[0].backward()
        for tensor in (x, *layer.parameters()):
            gradient, start = tensor.grad.numpy().astype(np.float64), tensor.numpy().copy()
            other = rng.normal(size=gradient.shape)
            for way in (gradient, other):
                way = way / max(np.linalg.norm(way), 1e-12)
                step = 2e-3 * max(1.0, np.linalg.norm(start) / 4)
                ends = []
                for sign in (1, -1):
                    with paddle.no_grad():
                        tensor.set_value((start + sign * step * way).astype(np.float32))
                        ends.append(float(loss_of(layer, x, target)[0]))
                        tensor.set_value(start)
                slope = (ends[0] - ends[1]) / (2 * step)
                room = 1e-6 * abs(ends[0]) / step + 1e-3 * np.linalg.norm(gradient)
                assert slope == pytest.approx((gradient * way).sum(), rel=1e-2, abs=room)

    def test_labels_may_be_a_column_and_recognised_is_one(self, name):
        layer = head(name)
        x = np.random.default_rng(3).normal(size=(8, FEATURES)).astype(np.float32)
        flat = answers(name, np.arange(8) % 3)
        loss, right = loss_of(layer, x, flat)
        assert list(loss.shape) == [] and loss.dtype == paddle.float32
        assert list(right.shape) == [8, 1] and right.dtype == paddle.float32
        assert set(right.numpy().ravel()) <= {0.0, 1.0}
        if flat.ndim == 1:
            column = loss_of(layer, x, flat.unsqueeze(1))
            assert float(column[0]) == float(loss) and np.array_equal(column[1].numpy(), right.numpy())

    def test_it_has_classes_or_is_listed_without(self, name):
        classes = inspect.signature(losses.LOSSES[name]).parameters.get("classes")
        needs_them = classes is not None and classes.default is inspect.Parameter.empty
        assert needs_them != (name in losses.WITHOUT_CLASSES)

    def test_the_room_hands_it_out(self, name):
        assert getattr(models, losses.LOSSES[name].__name__) is losses.LOSSES[name]
        assert losses.LOSSES[name].__doc__


def embedding(backbone, neck):
    """A small network whose batch-norm statistics have moved away from their start."""
    paddle.seed(4)
    network = models.Embedding(backbone, width=8, neck=neck, size=32)
    network.train()
    network(paddle.randn([16, 3, 32, 32]))
    network.eval()
    return network


@pytest.mark.parametrize("neck", models.NECKS)
@pytest.mark.parametrize("backbone", models.BACKBONES)
class TestNetwork:
    def test_features_are_of_the_stated_length_and_of_each_image_alone(self, backbone, neck):
        network = embedding(backbone, neck)
        x = paddle.randn([5, 3, 32, 32])
        with paddle.no_grad():
            together = network(x).numpy()
            alone = np.concatenate([network(x[i : i + 1]).numpy() for i in range(5)])
        assert together.shape == (5, network.features) and together.dtype == np.float32
        assert np.isfinite(together).all() and np.ptp(together, axis=0).max() > 0
        np.testing.assert_allclose(together, alone, atol=1e-4 * np.abs(alone).max())

    def test_every_weight_has_a_finite_gradient(self, backbone, neck):
        network = embedding(backbone, neck)
        network.train()
        network(paddle.randn([8, 3, 32, 32])).square().sum().backward()
        learnt = {name: p for name, p in network.named_parameters() if not p.stop_gradient}
        without = [name for name, p in learnt.items() if p.grad is None or not np.isfinite(p.grad.numpy()).all()]
        assert learnt and not without

    def test_it_survives_its_file(self, backbone, neck, tmp_path):
        network = embedding(backbone, neck)
        models.save_weights(network, tmp_path / "w.npz")
        again = models.load_weights(tmp_path / "w.npz")
        assert again.architecture == network.architecture and not again.training
        x = paddle.randn([4, 3, 32, 32])
        with paddle.no_grad():
            expected, found = network(x).numpy(), again(x).numpy()
        np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())  # weights in float16


FILES = {f"{name}/{n}.png": (40 * i, 30 * n, 9) for i, name in enumerate(("Ann", "bob", "\u738b")) for n in range(3)}
KINDS = ("folder", ".tar", ".tgz", ".tar.gz", "tar of .", ".zip", "zip of .")


@pytest.mark.parametrize("kind", KINDS)
class TestReader:
    def test_it_gives_the_faces_of_the_folder(self, tree, containers, kind):
        root = tree(FILES)
        made = containers(root)
        assert set(made) == set(KINDS)
        expected, found = (packing.pack(source, size=8, progress=False) for source in (root, made[kind]))
        assert found.names == expected.names and np.array_equal(found.labels, expected.labels)
        assert np.array_equal(found.take(np.arange(9)), expected.take(np.arange(9)))
        assert found.manifest["content"] == expected.manifest["content"]

    def test_one_file_that_is_no_image_is_left_out_and_named(self, tree, containers, kind):
        made = containers(tree(FILES | {"bob/7.png": b"no image"}))
        faces = packing.pack(made[kind], size=8, progress=False)
        assert len(faces) == 9
        assert [path.rpartition("/")[2] for path in faces.manifest["skipped"]] == ["7.png"]

    def test_what_holds_no_identities_is_an_error_that_names_it(self, tree, containers, kind):
        made = containers(tree({"1.txt": b"x", "ann/2.txt": b"x"}))
        with pytest.raises(DatasetError, match="one folder per person") as error:
            archives.members(made[kind])
        assert str(made[kind]) in str(error.value)

    def test_what_is_missing_is_an_error_that_names_it(self, tree, containers, kind):
        made = containers(tree(FILES))[kind]
        made.rename(made.with_name(f"away-{made.name}"))
        with pytest.raises(FileNotFoundError, match=made.name):
            packing.pack(made, size=8, progress=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.npz"
    models.save_weights(embedding("resnet18", "linear"), path)
    return path


@pytest.fixture
def file(backend, weights):
    """The file that a backend reads."""
    if backend != "onnx":
        return weights
    pytest.importorskip("paddle2onnx")
    return importlib.import_module("facelib.inference.export").to_onnx(weights)


# Engines of an extra, and rounded ones, have their contract in tests/inference/test_backends.py.
@pytest.mark.parametrize("backend", [each for each in inference.BACKENDS if not each.startswith(("openvino", "onnx_"))])
class TestBackend:
    def test_features_are_those_of_the_network(self, backend, weights, file):
        faces = np.random.default_rng(5).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
        found = inference.Embedder(weights, backend, batch_size=2)(faces)
        x = paddle.to_tensor(faces.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
        with paddle.no_grad():
            expected = models.load_weights(weights)(x).numpy()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())

    def test_no_faces_give_no_features(self, backend, weights, file):
        none = np.zeros((0, 32, 32, 3), np.uint8)
        assert inference.Embedder(weights, backend)(none).shape == (0, 512)

    @pytest.mark.parametrize(
        "bad",
        [
            np.zeros((2, 32, 32, 3), np.float32),
            np.zeros((32, 32, 3), np.uint8),
            np.zeros((2, 3, 32, 32), np.uint8),
            np.zeros((2, 32, 32, 4), np.uint8),
        ],
        ids=["float", "one face", "channels first", "four channels"],
    )
    def test_other_faces_are_refused_with_shape_and_type(self, backend, weights, file, bad):
        with pytest.raises(ValueError, match="uint8 faces of shape") as error:
            inference.Embedder(weights, backend)(bad)
        assert str(bad.shape) in str(error.value) and str(bad.dtype) in str(error.value)

    def test_missing_weights_are_named(self, backend, tmp_path):
        with pytest.raises(FileNotFoundError, match="none"):
            inference.Embedder(tmp_path / "none.npz", backend)

    @pytest.mark.parametrize("keep", [0.5, 0.0], ids=["half", "nothing"])
    def test_damaged_weights_are_named(self, backend, weights, file, tmp_path, keep):
        for source in {weights, file}:
            content = source.read_bytes()
            (tmp_path / source.name).write_bytes(content[: int(keep * len(content))] if source == file else content)
        with pytest.raises(ValueError, match=file.name):
            inference.Embedder(tmp_path / weights.name, backend)


def test_an_unknown_backend_lists_the_known_ones(weights):
    with pytest.raises(ValueError, match=", ".join(inference.BACKENDS)):
        inference.Embedder(weights, "torch")
