import numpy as np
import pytest
from paddle import nn

from facelib import models
from facelib.runtime import paddle


def gradients(network, x, y):
    network.train()
    loss = nn.CrossEntropyLoss()(network(x), y)
    loss.backward()
    return float(loss), {name: p.grad.numpy() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("kernel", "stride", "side"),
    [(3, 1, 1), (3, 1, 2), (3, 2, 2), (1, 2, 2), (3, 1, 4), (3, 2, 4), (1, 2, 8), (3, 2, 7)],
)
def test_matmul_convolution_equals_paddles_forward_and_backward(kernel, stride, side):
    paddle.seed(0)
    conv = nn.Conv2D(5, 7, kernel, stride, padding=kernel // 2, bias_attr=False)
    x = paddle.randn([3, 5, side, side])
    outcomes = []
    for layer in (conv, models.MatmulConv2D(conv)):
        source = x.clone().detach()
        source.stop_gradient = False
        conv.clear_gradients()
        out = layer(source)
        (out * paddle.arange(out.size, dtype="float32").reshape(out.shape)).sum().backward()
        outcomes.append([t.numpy() for t in (out, source.grad, conv.weight.grad)])
    for ours, paddles in zip(outcomes[1], outcomes[0], strict=True):
        np.testing.assert_allclose(ours, paddles, rtol=0, atol=1e-5 * np.abs(paddles).max())


def test_whole_network_equals_paddles_and_shares_its_parameter_names():
    stock, ours = models.classifier(11, matmul=False), models.classifier(11, matmul=True)
    assert any(isinstance(layer, models.MatmulConv2D) for layer in ours.sublayers())
    assert list(stock.state_dict()) == list(ours.state_dict())
    ours.set_state_dict(stock.state_dict())
    rng = np.random.default_rng(0)
    x = paddle.to_tensor(rng.standard_normal((8, 3, 64, 64), dtype=np.float32))
    y = paddle.to_tensor(rng.integers(0, 11, (8, 1)))
    (loss_a, grad_a), (loss_b, grad_b) = gradients(stock, x, y), gradients(ours, x, y)
    assert loss_a == pytest.approx(loss_b, rel=1e-5)
    assert set(grad_a) == set(grad_b) and len(grad_a) == 62
    for name, gradient in grad_a.items():
        np.testing.assert_allclose(grad_b[name], gradient, rtol=0, atol=1e-4 * np.abs(gradient).max(), err_msg=name)


def test_features_are_the_input_of_the_last_layer(tmp_path):
    network = models.classifier(9)
    network.eval()
    models.save_weights(network, tmp_path / "w.npz")
    x = paddle.rand([2, 3, 64, 64])
    with paddle.no_grad():
        features = models.load_weights(tmp_path / "w.npz")(x)
        logits = features.matmul(network.fc.weight) + network.fc.bias
        expected = network(x).numpy()
    assert features.shape == [2, 512] and float(features.min()) >= 0
    np.testing.assert_allclose(logits.numpy(), expected, atol=5e-3 * np.abs(expected).max())  # float16 weights


def test_weights_file_holds_plain_arrays_without_the_classifier(tmp_path):
    models.save_weights(models.classifier(9), tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as arrays:
        assert not any(name.startswith("fc.") for name in arrays)
        kinds = {name: arrays[name].dtype for name in arrays}
    assert all((kind == np.float32) == name.endswith(("_mean", "_variance")) for name, kind in kinds.items())
    stock = paddle.vision.models.resnet18(num_classes=0)
    assert set(kinds) == set(stock.state_dict())


def test_missing_or_foreign_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="02_train"):
        models.load_weights(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="other.npz"):
        models.load_weights(tmp_path / "other.npz")
