import math

import numpy as np
import paddle.nn.functional as F
import pytest
from paddle import nn
from paddle.vision.models import vgg16

from facelib import models
from facelib._paddle import paddle
from facelib.models import backbones, losses, onednn
from facelib.models.costs import count, shapes_only


def output_shape(define, size, channels=3):
    with shapes_only():
        network = define()
        network.eval()
        return list(network(paddle.zeros([1, channels, size, size])).shape)


def image(size, n=2):
    paddle.seed(0)
    return paddle.rand([n, 3, size, size])


def lines(define, size):
    """Parameters with biases, and places of the output, of each convolution and linear layer in order of running."""
    found = []

    def look(layer, _, output):
        parameters = sum(math.prod(p.shape) for p in layer.parameters(include_sublayers=False))
        found.append((parameters, math.prod(output.shape[2:])))

    with shapes_only():
        network = define()
        for layer in network.sublayers():
            if isinstance(layer, (nn.Conv2D, nn.Linear)):
                layer.register_forward_post_hook(look)
        network(paddle.zeros([1, 3, size, size]))
    return np.array(found)


@pytest.mark.parametrize(("size", "side"), [(112, 7), (64, 4)])
def test_mobilefacenet_halves_the_image_four_times_and_its_neck_takes_the_whole_map(size, side):
    assert output_shape(backbones.mobilefacenet, size) == [1, 512, side, side]
    assert output_shape(lambda: backbones.GlobalDepthwise(side=side), side, channels=512) == [1, 128]


def test_mobilefacenet_has_the_papers_blocks():
    with shapes_only():
        layers = backbones.mobilefacenet().sublayers()
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2D)]
    assert sum(isinstance(layer, nn.PReLU) for layer in layers) == 2 + 2 * 15 + 1  # none after a bottleneck's last
    assert [c._in_channels for c in convs if c._groups > 1] == [64, 128, *[128] * 4, 256, *[256] * 6, 512, 256, 256]
    assert sum(getattr(layer, "residual", False) for layer in layers) == 4 + 6 + 2
    assert all(c._groups in (1, c._in_channels) and c.bias is None for c in convs)


def test_global_depthwise_convolution_weighs_each_place_of_each_channel():
    neck = backbones.GlobalDepthwise(6, 3, features=5)
    neck.eval()
    x = paddle.rand([2, 6, 3, 3])
    depthwise, _, linear, _ = neck.layers
    one_per_channel = (x * depthwise.weight.squeeze(1)).sum([2, 3])  # (n, 6)
    expected = one_per_channel.matmul(linear.weight.squeeze([2, 3]), transpose_y=True) / (1 + 1e-5)  # two fresh norms
    np.testing.assert_allclose(neck(x).numpy(), expected.numpy(), rtol=1e-4, atol=1e-6)
    assert neck(x).shape == [2, neck.features]


def test_resnet50_is_cut_before_pooling(counted):
    assert output_shape(backbones.resnet50, 64) == [1, 2048, 2, 2]
    ours = counted.loc["ResNet-50, 1000 classes"]
    with shapes_only():
        assert count(backbones.resnet50(), 64).parameters == ours.parameters - 2048 * 1000 - 1000
    # He et al. halve the map one convolution earlier in stages 3 to 5: a 1 x 1 from 2 c to c channels per stage.
    earlier = sum((1 - 1 / 4) * side**2 * 4 * c * 2 * c for c, side in ((64, 56), (128, 28), (256, 14)))
    assert 3.8e9 <= ours.multiply_adds - earlier < 3.9e9


def arcface_parameters(units, features=512, side=7):
    total, c = 3 * 64 * 9 + 2 * 64 + 64, 64
    for channels, n in zip((64, 128, 256, 512), units, strict=True):
        for unit in range(n):
            norms, slopes = 2 * (c + channels + channels), channels
            total += norms + slopes + 9 * c * channels + 9 * channels**2 + (0 if unit else c * channels + 2 * channels)
            c = channels
    return total + 2 * c + c * side**2 * features + features + 2 * features


def test_arcfaces_networks_have_no_bottleneck_so_document_4s_res50_is_another(counted):
    assert counted.parameters["ArcFace IR-50"] == arcface_parameters((3, 4, 14, 3))
    assert counted.parameters["ArcFace IR-100"] == arcface_parameters((3, 13, 30, 3))
    assert round(counted.parameters["ArcFace IR-50"] / 1e6, 1) == 43.6
    assert round(counted.parameters["ResNet-50, 1000 classes"] / 1e6, 1) == 25.6
    assert round(counted.parameters["ArcFace IR-100"] / 1e6) == 65
    assert round(counted.multiply_adds["ArcFace IR-100"] / 1e9) == 12
    assert output_shape(lambda: backbones.iresnet(50, size=64), 64) == [1, 512]
    with pytest.raises(ValueError, match="50 or 100 layers, not 34"):
        backbones.iresnet(34)


# Columns "param" and "FLPS" of table 1 from conv1 to fc7128, in thousands and millions, as document 1 shows them.
NN1_PARAMETERS = [9, 4, 111, 37, 664, 148, 885, 66, 590, 66, 590, 103_000, 34_000, 524]
NN1_FLOPS = [115, 13, 335, 29, 521, 29, 173, 13, 116, 13, 116, 103, 34, 0.5]


def test_nn1_is_table_1_line_by_line(counted):
    found = lines(backbones.nn1, 220)
    unit = np.array([1e6 if thousands >= 34_000 else 1e3 for thousands in NN1_PARAMETERS])
    np.testing.assert_array_equal(np.round(found[:, 0] / unit) * unit / 1e3, NN1_PARAMETERS)
    flops = found.prod(1) / 1e6  # every parameter once per place: multiply-adds, and one addition per bias
    np.testing.assert_array_equal([round(f, 1) if f < 1 else round(f) for f in flops], NN1_FLOPS)
    ours = counted.loc["FaceNet NN1"]
    assert round(ours.parameters / 1e6) == 140 and round(ours.multiply_adds / 1e9, 1) == 1.6
    assert output_shape(backbones.nn1, 220) == [1, 128]


# Columns "params" (thousands) and "FLOPS" (millions) of table 2: conv1, inception (2) to (5b), fully conn.
NN2_PARAMETERS = [9, 115, 164, 228, 398, 545, 595, 654, 722, 717, 1600, 1600, 131]
NN2_FLOPS = [119, 360, 128, 179, 108, 107, 117, 128, 142, 56, 78, 78, 0.1]
NN2_CONVOLUTIONS = [1, 2, 6, 6, 4, 6, 6, 6, 6, 4, 6, 6, 1]


def test_nn2_is_table_2_line_by_line(counted):
    found = lines(backbones.nn2, 224)
    assert len(found) == sum(NN2_CONVOLUTIONS)
    starts = np.cumsum([0, *NN2_CONVOLUTIONS[:-1]])
    parameters = np.add.reduceat(found[:, 0], starts) / 1e3
    flops = np.add.reduceat(found.prod(1), starts) / 1e6
    stated = np.array(NN2_PARAMETERS)
    assert (abs(parameters - stated) < np.where(stated == 1600, 50, 0.54)).all()  # (4a) has 545.54, stated as 545
    assert [round(f, 1) if f < 1 else round(f) for f in flops] == NN2_FLOPS
    ours = counted.loc["FaceNet NN2"]
    assert round(ours.parameters / 1e6, 1) == 7.5 and round(ours.multiply_adds / 1e9, 1) == 1.6


def test_nn2_gives_embeddings_of_length_one_with_gradients():
    network = backbones.nn2()
    x = image(64)
    y = network(x)
    (y * paddle.rand(y.shape)).sum().backward()
    np.testing.assert_allclose(y.norm(axis=1).numpy(), [1, 1], rtol=1e-5)
    assert y.shape == [2, 128]
    assert all(np.isfinite(p.grad.numpy()).all() for p in network.parameters())


def test_parts_of_facenet_follow_their_definitions():
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 3, 5, 4)), "float32")
    windows = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(windows, (3, 3), (2, 3))
    np.testing.assert_allclose(backbones._L2Pool()(x).numpy(), np.sqrt((windows**2).sum((4, 5))), rtol=1e-4)
    layer, x = backbones._Maxout(6, 4), paddle.rand([3, 6])
    both = (x.matmul(layer.linear.weight) + layer.linear.bias).numpy()
    np.testing.assert_allclose(layer(x).numpy(), np.maximum(both[:, ::2], both[:, 1::2]), rtol=1e-6)


@pytest.mark.skipif(not onednn.available(), reason="this Paddle has no oneDNN for training")
def test_networks_work_and_count_the_same_where_convolutions_are_replaced():
    paddle.seed(0)
    network = nn.Sequential(backbones.mobilefacenet(32), backbones.GlobalDepthwise(256, 4))
    network.eval()
    x, costs = image(64), count(network, 64)
    expected = network(x).numpy()
    onednn.accelerate(network)
    kinds = [type(layer) for layer in network.sublayers()]
    assert kinds.count(nn.Conv2D) == 1 + 15 + 1  # one per channel each: the second layer, the bottlenecks', GDConv
    assert kinds.count(onednn.OneDNNConv2D) == 1 + 2 * 15 + 1 + 1
    np.testing.assert_allclose(network(x).numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert count(network, 64) == costs


def test_mobilefacenet_is_a_backbone_of_an_embedding(monkeypatch):
    monkeypatch.setitem(models.BACKBONES, "mobilefacenet", backbones.mobilefacenet)
    embedding = models.Embedding("mobilefacenet", width=16, neck="linear", size=32)
    assert embedding(image(32)).shape == [2, embedding.features]


@pytest.fixture
def frozen():
    paddle.seed(0)
    return backbones.FrozenTrunk(models.Embedding(width=8, neck="linear", dropout=0.5, size=32))


def test_frozen_trunk_is_a_dense_layer_without_bias_on_features_and_a_length_of_one(frozen):
    x = image(32)
    frozen.train()
    assert [name for name, layer in frozen.named_sublayers() if layer.training] == ["head"]
    y = frozen(x)
    features = frozen.trunk(x)
    expected = F.normalize(features.matmul(frozen.head.weight), axis=1).numpy()
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(y.numpy(), axis=1), 1, rtol=1e-5)
    assert y.shape == [2, frozen.features] == [2, 128] and frozen.head.bias is None


def test_training_a_frozen_trunk_changes_its_head_alone(frozen):
    network = models.Recogniser(frozen, losses.Triplet(margin=2.0))  # on a CPU its convolutions are replaced
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    optimizer = paddle.optimizer.Momentum(0.1, parameters=network.parameters(), weight_decay=0.1)
    network.train()
    for _ in range(2):
        loss, _ = network(image(32, 6), paddle.to_tensor([[0], [0], [1], [1], [2], [2]]))
        loss.backward()
        with_gradient = [name for name, p in network.named_parameters() if p.grad is not None]
        optimizer.step()
        optimizer.clear_grad()
    assert with_gradient == ["embedding.head.weight"]
    after = {name: value.numpy() for name, value in network.state_dict().items()}
    assert [name for name in before if not np.array_equal(before[name], after[name])] == ["embedding.head.weight"]
    assert any(name.endswith("_mean") for name in before)


def test_a_frozen_trunk_is_saved_with_its_head(frozen, tmp_path):
    frozen.eval()
    models.save_weights(frozen, tmp_path / "weights.npz")
    again = models.load_weights(tmp_path / "weights.npz")
    assert type(again) is backbones.FrozenTrunk and again.features == 128
    np.testing.assert_allclose(again(image(32)).numpy(), frozen(image(32)).numpy(), atol=2e-3)  # of half precision


def test_vgg_16_is_a_trunk_as_in_the_tutorial():
    trunk = nn.Sequential(vgg16(num_classes=-1, with_pool=False), nn.Flatten())
    trunk.features, trunk.architecture = 512 * 2 * 2, {}
    vectors = backbones.FrozenTrunk(trunk)(image(64)).numpy()
    assert vectors.shape == (2, 128) and np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], rel=1e-5)


def test_frozen_parameters_still_count(frozen):
    trunk, whole = count(frozen.trunk, 32), count(frozen, 32)
    assert whole.parameters - trunk.parameters == frozen.trunk.features * 128
    assert whole.multiply_adds - trunk.multiply_adds == frozen.trunk.features * 128
