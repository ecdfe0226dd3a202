import subprocess
import sys

import numpy as np
import pytest
from paddle import nn

from facelib import models, runtime
from facelib._paddle import paddle
from facelib.models import onednn

pytestmark = pytest.mark.skipif(not onednn.available(), reason="this build of Paddle brings no oneDNN")


def outcome(layer, x, weight):
    """Output, gradient of the input and gradient of the weight, for a loss that tells all outputs apart."""
    x = x.clone().detach()
    x.stop_gradient = False
    weight.clear_gradient()
    out = layer(x)
    (out * paddle.arange(out.size, dtype="float32").reshape(out.shape)).sum().backward()
    return [tensor.numpy() for tensor in (out, x.grad, weight.grad)]


def assert_close(ours, paddles, tolerance=1e-5):
    np.testing.assert_allclose(ours, paddles, rtol=0, atol=tolerance * np.abs(paddles).max())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"),
    [(7, 2, 3, 33), (3, 1, 1, 16), (3, 2, 1, 8), (3, 1, 1, 2), (3, 1, 1, 1), (1, 2, 0, 8), (1, 1, 0, 5), (3, 2, 0, 7)],
)
def test_convolution_equals_paddles_forward_and_backward(kernel, stride, padding, side):
    paddle.seed(0)
    conv = nn.Conv2D(5, 24, kernel, stride, padding, bias_attr=False)
    ours = onednn.OneDNNConv2D(conv)
    for count in (3, 1, 3):  # another batch size, and the first again
        x = paddle.randn([count, 5, side, side])
        for mine, paddles in zip(outcome(ours, x, conv.weight), outcome(conv, x, conv.weight), strict=True):
            assert_close(mine, paddles)


def rounded(tensor):
    return tensor.cast("bfloat16").cast("float32")


@pytest.mark.skipif(not runtime.has_bfloat16(), reason="this CPU has no instructions for bfloat16")
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"), [(7, 2, 3, 33), (3, 1, 1, 16), (3, 1, 1, 2), (1, 2, 0, 8)]
)
def test_in_bfloat16_the_factors_are_rounded_and_the_sums_are_not(kernel, stride, padding, side):
    paddle.seed(0)
    conv = nn.Conv2D(5, 24, kernel, stride, padding, bias_attr=False)
    ours = onednn.OneDNNConv2D(conv, "bfloat16")
    x, weight = paddle.randn([3, 5, side, side]), conv.weight.clone().detach()
    gradient = paddle.randn(conv(x).shape)

    def gradients(layer, x, gradient):
        x = x.clone().detach()
        x.stop_gradient = False
        conv.weight.clear_gradient()
        out = layer(x)
        (out * gradient).sum().backward()
        return [tensor.numpy() for tensor in (out, x.grad, conv.weight.grad)]

    mine = gradients(ours, x, gradient)
    conv.weight.set_value(rounded(weight))
    for got, expected in zip(mine, gradients(conv, rounded(x), rounded(gradient)), strict=True):
        assert_close(got, expected)
    conv.weight.set_value(weight)
    assert np.abs(mine[0] - conv(x).numpy()).max() > 1e-4  # rounding was not forgotten


@pytest.mark.parametrize("able", [True, False])
def test_a_network_is_asked_to_multiply_in_bfloat16_only_where_the_cpu_can(able, monkeypatch):
    monkeypatch.setattr(runtime, "has_bfloat16", lambda: able)
    used = {
        precision: models.on_this_device(nn.Sequential(nn.Conv2D(3, 4, 3, bias_attr=False)), precision)[0].precision
        for precision in ("float32", "float16", "bfloat16")
    }
    assert used == {"float32": "float32", "float16": "float32", "bfloat16": "bfloat16" if able else "float32"}


def test_a_convolution_by_hand():
    conv = nn.Conv2D(1, 1, 3, 1, 1, bias_attr=False)
    conv.weight.set_value(np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3))
    out = onednn.OneDNNConv2D(conv)(paddle.ones([1, 1, 2, 2]))
    assert out.numpy().reshape(-1).tolist() == [4 + 5 + 7 + 8, 3 + 4 + 6 + 7, 1 + 2 + 4 + 5, 0 + 1 + 3 + 4]


def test_tensors_that_are_not_contiguous():
    conv = nn.Conv2D(4, 6, 3, 1, 1, bias_attr=False)
    x = paddle.randn([2, 8, 8, 4]).transpose([0, 3, 1, 2])
    assert_close(onednn.OneDNNConv2D(conv)(x).numpy(), conv(x).numpy())


def test_an_input_without_gradient_gets_none():
    conv = onednn.OneDNNConv2D(nn.Conv2D(3, 4, 3, bias_attr=False))
    x = paddle.randn([2, 3, 8, 8])
    conv(x).sum().backward()
    assert x.grad is None and conv.weight.grad is not None


def test_a_frozen_weight_gets_no_gradient():
    conv = nn.Conv2D(4, 4, 3, bias_attr=False)
    x = paddle.randn([2, 4, 8, 8])
    _, expected, _ = outcome(conv, x, conv.weight)
    conv.weight.stop_gradient = True
    conv.weight.clear_gradient(False)
    x.stop_gradient = False
    out = onednn.OneDNNConv2D(conv)(x)
    (out * paddle.arange(out.size, dtype="float32").reshape(out.shape)).sum().backward()
    assert_close(x.grad.numpy(), expected)


def test_one_layer_used_twice_adds_its_gradients():
    conv = nn.Conv2D(4, 4, 3, 1, 1, bias_attr=False)
    ours = onednn.OneDNNConv2D(conv)
    x = paddle.randn([2, 4, 6, 6])
    for mine, paddles in zip(
        outcome(lambda t: ours(ours(t)), x, conv.weight), outcome(lambda t: conv(conv(t)), x, conv.weight), strict=True
    ):
        assert_close(mine, paddles)


def test_only_plain_convolutions_are_replaced():
    plain = nn.Conv2D(4, 4, 3, bias_attr=False)
    others = [nn.Conv2D(4, 4, 3), nn.Conv2D(4, 4, 3, groups=2, bias_attr=False)]
    others += [nn.Conv2D(4, 4, 3, dilation=2, bias_attr=False), nn.Conv2D(4, 4, 3, padding="same", bias_attr=False)]
    others += [nn.Conv2D(4, 4, 3, padding=[1, 0, 1, 0], bias_attr=False)]
    network = onednn.accelerate(nn.Sequential(plain, *others))
    assert isinstance(network[0], onednn.OneDNNConv2D) and network[0].weight is plain.weight
    assert all(type(layer) is nn.Conv2D for layer in network[1:])


def test_whole_network_equals_paddles_and_shares_its_parameter_names():
    paddle.seed(0)
    stock, ours = models.resnet18_of_width(64), onednn.accelerate(models.resnet18_of_width(64))
    assert sum(isinstance(layer, onednn.OneDNNConv2D) for layer in ours.sublayers()) == 20
    assert list(stock.state_dict()) == list(ours.state_dict())
    ours.set_state_dict(stock.state_dict())
    x, weight = paddle.randn([8, 3, 64, 64]), paddle.randn([8, 512, 2, 2])
    gradients = []
    for network in (stock, ours):
        (network(x) * weight).sum().backward()
        gradients.append({name: p.grad.numpy() for name, p in network.named_parameters() if p.grad is not None})
    assert len(gradients[0]) == len(gradients[1]) == 60  # 20 convolutions, 20 batch norms with scale and shift
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, 1e-4)  # rounding grows through 20 layers of batch norm


def test_forgotten_shapes_give_their_buffers_back():
    code = (
        "import psutil\n"
        "from facelib.models import onednn\n"
        "from facelib._paddle import paddle\n"
        "from paddle import nn\n"
        "conv = onednn.OneDNNConv2D(nn.Conv2D(64, 64, 3, 1, 1, bias_attr=False))\n"
        "sizes = [psutil.Process().memory_info().rss]\n"
        "for _ in range(6):\n"
        "    for count in range(20, 28):\n"
        "        x = paddle.zeros([count, 64, 16, 16])\n"
        "        x.stop_gradient = False\n"
        "        conv(x).sum().backward()\n"
        "    sizes.append(psutil.Process().memory_info().rss)\n"
        "    onednn._convolution.cache_clear()\n"
        "print(sizes[1] - sizes[0], sizes[-1] - sizes[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, later = map(int, done.stdout.split())
    assert later < first  # five more rounds of the same, without a buffer lost


def test_a_refused_call_is_an_error():
    with pytest.raises(RuntimeError, match="oneDNN"):
        onednn._new("dnnl_memory_desc_create_with_tag", 99, onednn._Dims(), 3, 1)
