import gc
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from paddle import nn

from facelib import models
from facelib._paddle import paddle
from facelib.models import dnnl, onednn

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


def in_a_process(code, *arguments):
    """What new Python code prints; a hang or an abort is a failure of the test, not of all of them."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300)


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
    """To 8 bits of mantissa, halves to even; Paddle 2.6 casts to bfloat16 by cutting the others off."""
    mantissa, exponent = np.frexp(tensor.numpy())
    return paddle.to_tensor(np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(np.float32))


def test_rounding_to_bfloat16_by_hand():
    bits = {1 + 1 / 256: 1.0, 1 + 3 / 256: 1 + 4 / 256, 1 + 1.01 / 256: 1 + 2 / 256, -(1 + 1.01 / 256): -(1 + 2 / 256)}
    assert rounded(paddle.to_tensor(list(bits))).tolist() == list(bits.values())


@pytest.mark.skipif(not dnnl.has_bfloat16(), reason="oneDNN has no instructions for bfloat16 here")
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
    monkeypatch.setattr(dnnl, "has_bfloat16", lambda: able)
    used = {
        precision: models.on_this_device(nn.Sequential(nn.Conv2D(3, 4, 3, bias_attr=False)), precision)[0].precision
        for precision in ("float32", "float16", "bfloat16")
    }
    assert used == {"float32": "float32", "float16": "float32", "bfloat16": "bfloat16" if able else "float32"}


def test_a_network_multiplies_in_float32_where_onednn_is_forbidden_the_instructions_for_bfloat16():
    code = (
        "import os\n"
        "os.environ['ONEDNN_MAX_CPU_ISA'] = 'AVX2'\n"
        "from facelib import models\n"
        "from facelib._paddle import paddle\n"
        "from paddle import nn\n"
        "paddle.set_device('cpu')\n"
        "network = models.on_this_device(nn.Sequential(nn.Conv2D(3, 4, 3, bias_attr=False)), 'bfloat16')\n"
        "network(paddle.ones([1, 3, 8, 8])).sum().backward()\n"
        "print(network[0].precision)\n"
    )
    done = in_a_process(code)
    assert done.stdout.strip() == "float32", done.stderr[-2000:]


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


THREADS = """
import os, sys, threading
import numpy as np
from facelib import models
from facelib.models import onednn
from facelib.inference import Embedder
from facelib._paddle import paddle

paddle.set_device("cpu")
embedder = Embedder(sys.argv[1])
rng = np.random.default_rng(0)
faces = [rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8) for count in (1, 2, 3, 5, 8, 13)]
layers = [onednn.accelerate(models.resnet18_of_width(16)) for _ in range(4)]
for layer in layers:
    layer.set_state_dict(layers[0].state_dict())

def gradients(layer):
    layer.clear_gradients()
    (layer(paddle.to_tensor(faces[5].transpose(0, 3, 1, 2).astype(np.float32))) ** 2).sum().backward()
    return np.concatenate([p.grad.numpy().ravel() for p in layer.parameters() if p.grad is not None])

features, trained = [embedder(some) for some in faces], gradients(layers[0])
same = []

def work(number):
    for _ in range(4):
        for which in np.random.default_rng(number).permutation(len(faces)):
            same.append(np.array_equal(embedder(faces[which]), features[which]))
        same.append(np.array_equal(gradients(layers[number]), trained))

threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(same), all(same))
"""


def test_threads_that_embed_and_train_at_once_get_what_one_gets(tmp_path):
    models.save_weights(models.Embedding(width=16), tmp_path / "weights.npz")
    done = in_a_process(THREADS, str(tmp_path / "weights.npz"))
    assert done.stdout.split() == [str(4 * 4 * 7), "True"], done.stderr[-2000:]


def resident_mib(shapes):
    """Resident memory after each of so many distinct shapes, forward and backward, in a new process."""
    code = (
        "import sys, psutil\n"
        "from facelib.models import onednn\n"
        "from facelib._paddle import paddle\n"
        "from paddle import nn\n"
        "conv = onednn.OneDNNConv2D(nn.Conv2D(16, 16, 3, 1, 1, bias_attr=False))\n"
        "for number in range(int(sys.argv[1])):\n"
        "    x = paddle.zeros([1 + number % 10, 16, 2 + number // 10, 9])\n"
        "    x.stop_gradient = False\n"
        "    conv(x).sum().backward()\n"
        "    print(psutil.Process().memory_info().rss / 2**20)\n"
    )
    done = in_a_process(code, str(shapes))
    assert not done.returncode, done.stderr[-2000:]
    return list(map(float, done.stdout.split()))


def test_forgotten_shapes_give_their_memory_back():
    # oneDNN itself keeps the code of the last 1024 primitives, of which a shape has eight or nine.
    sizes = resident_mib(500)
    assert len(sizes) == 500 > 2 * onednn.KEPT_SHAPES
    assert sizes[-1] - sizes[199] < 40  # 300 shapes; with the handles never destroyed they take 150 MiB


def test_what_is_made_for_a_shape_is_destroyed_with_it(monkeypatch):
    counts = Counter()

    class Counting:
        def __getattr__(self, name):
            return lambda *arguments: counts.update([name]) or getattr(library, name)(*arguments)

    onednn._convolution.cache_clear()
    library = dnnl.library
    monkeypatch.setattr(dnnl, "library", Counting())
    for count in range(1, 4):
        x = paddle.zeros([count, 3, 8, 8])
        x.stop_gradient = False
        onednn.OneDNNConv2D(nn.Conv2D(3, 4, 3, bias_attr=False))(x).sum().backward()
    onednn._convolution.cache_clear()
    del x
    gc.collect()
    for kind in ("memory_desc", "primitive_desc", "primitive", "memory"):
        made = sum(number for name, number in counts.items() if f"{kind}_create" in name)
        assert made == counts[f"dnnl_{kind}_destroy"] > 0, kind


def test_a_refused_call_is_an_error():
    with pytest.raises(RuntimeError, match="oneDNN"):
        dnnl.new("dnnl_memory_desc_create_with_tag", 99, dnnl.Dims(), 3, 1)
