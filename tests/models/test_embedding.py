import numpy as np
import pytest

from facelib import models, runtime
from facelib._paddle import paddle
from facelib.models import embedding

SHIPPED = runtime.ROOT / "data" / "weights"

NECKS = [("pool", {}), ("linear", {"dropout": 0.3}), ("depthwise", {})]


def test_a_fine_resnet18_is_resnet18_with_3_x_3_filters_first_and_maps_of_twice_the_sides():
    plain, fine = models.resnet18_of_width(16), models.resnet18_of_width(16, fine=True)
    assert embedding.map_shape(plain, 64) == [128, 2, 2] and embedding.map_shape(fine, 64) == [128, 4, 4]
    shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in (plain, fine)]
    assert shapes[0].pop("conv1.weight") == [16, 3, 7, 7] and shapes[1].pop("conv1.weight") == [16, 3, 3, 3]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("width", [16, 32])
def test_width_scales_every_channel_but_the_images(width):
    wide, narrow = models.resnet18_of_width(64).state_dict(), models.resnet18_of_width(width).state_dict()
    assert list(wide) == list(narrow)
    for name, tensor in wide.items():
        scaled = [side if side in (1, 3, 7) else side * width // 64 for side in tensor.shape]
        assert list(narrow[name].shape) == scaled, name


def test_linear_neck_is_linear_and_batch_norm_of_the_flattened_map():
    network = models.Embedding(width=16, neck="linear", dropout=0.5, size=64)
    network.eval()
    x = paddle.rand([2, 3, 64, 64])
    with paddle.no_grad():
        flat = network.backbone(x).numpy().reshape(2, -1).astype(np.float64)
        features = network(x).numpy()
    weight, norm = network.neck["linear"].weight.numpy(), network.neck["norm"]
    mean, variance = norm._mean.numpy(), norm._variance.numpy()
    expected = (flat @ weight - mean) / np.sqrt(variance + 1e-5) * norm.weight.numpy() + norm.bias.numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", models.BACKBONES)
def test_every_backbone_makes_an_embedding(backbone):
    network = models.Embedding(backbone, width=16)
    network.eval()
    with paddle.no_grad():
        assert list(network(paddle.rand([2, 3, 64, 64])).shape) == [2, network.features]


def test_unknown_parts_are_named():
    with pytest.raises(ValueError, match="resnet19"):
        models.Embedding("resnet19")
    with pytest.raises(ValueError, match="throat"):
        models.Embedding(neck="throat")


@pytest.mark.parametrize(("neck", "options"), NECKS)
def test_weights_survive_the_file(tmp_path, neck, options):
    network = models.Embedding(width=16, neck=neck, **options)
    network.eval()
    models.save_weights(network, tmp_path / "w.npz")
    again = models.load_weights(tmp_path / "w.npz")
    x = paddle.rand([2, 3, 64, 64])
    with paddle.no_grad():
        expected, found = network(x).numpy(), again(x).numpy()
    np.testing.assert_allclose(found, expected, atol=5e-3 * np.abs(expected).max())  # float16 weights


def test_features_of_the_paper_are_the_input_of_its_last_layer(tmp_path):
    paddle.seed(0)
    stock = paddle.vision.models.resnet18(num_classes=9)
    stock.eval()
    network = models.Embedding()
    network.backbone.set_state_dict({k: v for k, v in stock.state_dict().items() if not k.startswith("fc.")})
    network.eval()
    x = paddle.rand([2, 3, 64, 64])
    with paddle.no_grad():
        features = network(x)
        logits = features.matmul(stock.fc.weight) + stock.fc.bias
        expected = stock(x).numpy()
    assert list(features.shape) == [2, 512] and float(features.min()) >= 0
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_weights_file_holds_plain_arrays_under_paddles_names(tmp_path):
    models.save_weights(models.Embedding(), tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as arrays:
        kinds = {name: arrays[name].dtype for name in arrays if name != "architecture"}
    assert all((kind == np.float32) == name.endswith(("_mean", "_variance")) for name, kind in kinds.items())
    assert set(kinds) == set(paddle.vision.models.resnet18(num_classes=0).state_dict())


def test_missing_or_foreign_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="02_train"):
        models.load_weights(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="other.npz"):
        models.load_weights(tmp_path / "other.npz")
    np.savez(tmp_path / "unknown.npz", architecture='{"backbone": "resnet19"}')
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("no weights")
    for name in ("unknown.npz", "array.npy", "text.npz"):
        with pytest.raises(ValueError, match=name):
            models.load_weights(tmp_path / name)


@pytest.mark.parametrize("neck", ["linear", "plain"])
def test_the_length_of_features_travels_with_the_weights(tmp_path, neck):
    network = models.Embedding(width=8, neck=neck, size=32, features=16)
    models.save_weights(network, tmp_path / "w.npz")
    loaded = models.load_weights(tmp_path / "w.npz")
    assert loaded.features == 16 and loaded(paddle.zeros([1, 3, 32, 32])).shape == [1, 16]
    assert "features" not in models.Embedding(width=8, neck="linear", size=32).architecture  # as in older files


def test_a_plain_neck_is_an_affine_map_of_the_flattened_map():
    network = models.Embedding(width=8, neck="plain", dropout=0.5, size=64, features=3)
    network.eval()
    x = paddle.randn([2, 3, 64, 64])
    with paddle.no_grad():
        flat = network.backbone(x).numpy().reshape(2, -1)
        weight, bias = network.neck.linear.weight.numpy(), network.neck.linear.bias.numpy()
        np.testing.assert_allclose(network(x).numpy(), flat @ weight + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.npz")), ids=lambda path: path.stem)
def test_shipped_weights_load(path):
    network = models.load_weights(path)
    assert not network.training
    assert network(paddle.zeros([1, 3, 64, 64])).shape == [1, network.features]
