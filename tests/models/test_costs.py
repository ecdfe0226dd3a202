import csv
from pathlib import Path

import numpy as np
import pytest
from paddle import nn

from facelib._paddle import paddle
from facelib.models import backbones, costs
from facelib.models.costs import Count, count, shapes_only


def test_mobilefacenet_costs_what_its_paper_says(counted):
    ours = counted.loc["MobileFaceNet"]
    assert round(ours.multiply_adds / 1e6) == 221
    with shapes_only():
        network = nn.Sequential(backbones.mobilefacenet(), backbones.GlobalDepthwise())
        scales = sum(layer._num_features for layer in network.sublayers() if isinstance(layer, nn.BatchNorm2D))
    assert round((ours.parameters - scales) / 1e6, 2) == 0.99  # folded, as deployed: 3.97 MB, the paper's 4.0
    assert round(4 * (ours.parameters - scales) / 1e6, 1) == 4.0
    assert round(ours.parameters / 1e6, 2) == 1.00  # document 4


def small_network():
    return nn.Sequential(
        *(nn.Conv2D(3, 4, 3, stride=2, padding=1, bias_attr=False), nn.BatchNorm2D(4), nn.ReLU()),
        *(nn.Conv2D(4, 8, 3, padding=1, groups=4), nn.PReLU(8), nn.AvgPool2D(2)),
        *(nn.Flatten(), nn.Linear(8 * 2 * 2, 5)),
    )


def test_count_of_a_small_network_by_hand():
    parameters = 4 * 27 + (4 + 4) + (8 * 9 + 8) + 8 + (32 * 5 + 5)
    multiply_adds = (4 * 4 * 4) * 27 + (8 * 4 * 4) * 9 + 32 * 5  # images of 8 pixels, maps of 4
    network = small_network()
    assert count(network, 8) == Count(parameters, multiply_adds)
    with shapes_only():
        assert count(small_network(), 8) == Count(parameters, multiply_adds)


def test_networks_without_values_leave_no_trace():
    names = [nn.Linear(2, 2).weight.name]
    with pytest.raises(RuntimeError, match="stop"):
        with shapes_only():
            small_network()
            raise RuntimeError("stop")
    names.append(nn.Linear(2, 2).weight.name)
    numbers = [int(name.split("_")[1].split(".")[0]) for name in names]  # linear_7.w_0
    assert numbers[1] == numbers[0] + 1
    assert paddle.in_dynamic_mode() and float(paddle.ones([1])) == 1


def test_count_leaves_the_network_as_it_was():
    network = small_network()
    network[1].eval()
    before = {name: value.numpy() for name, value in network.state_dict().items()}
    count(network, 8)
    assert network.training and network[0].training and not network[1].training
    assert not any(layer._forward_post_hooks for layer in network.sublayers())
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_paddles_own_count_adds_biases_norms_and_pooling(capsys):
    network = small_network()
    ours = count(network, 8).multiply_adds
    biases, norms, pooled = 8 * 4 * 4, 2 * 4 * 4 * 4, 8 * 2 * 2
    assert paddle.flops(network, [1, 3, 8, 8]) == ours + biases + norms + pooled
    plain = nn.Sequential(nn.Conv2D(3, 4, 3, bias_attr=False), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    assert paddle.flops(plain, [1, 3, 8, 8]) == count(plain, 8).multiply_adds
    capsys.readouterr()


def test_vgg16s_stated_operations_are_its_convolutions(counted):
    ours = counted.loc["VGG-16, 1000 classes"]
    connected = 512 * 7 * 7 * 4096 + 4096 * 4096 + 4096 * 1000
    assert round((ours.multiply_adds - connected) / 1e9, 1) == 15.3 and round(ours.parameters / 1e6) == 138
    other = counted.loc["ResNet-50, 1000 classes"]  # document 2 calls VGG-16 the smaller one
    assert ours.parameters > 5 * other.parameters and ours.multiply_adds > 3 * other.multiply_adds


def test_table_has_every_network_and_explains_every_figure(table):
    with open(Path(costs.__file__).with_name("networks.csv"), newline="") as file:
        stated = list(csv.DictReader(file))
    assert set(table.network) == set(costs.NETWORKS)
    assert {row["network"] for row in stated} <= set(costs.NETWORKS)
    assert len(table) == len(stated) + 2  # two of ours that nobody states
    assert table.why[table.source != ""].str.endswith(".").all()
    assert list(table.columns[:4]) == ["network", "size", "parameters", "multiply_adds"]
    agrees = table[table.why.str.startswith("Agrees")]
    for kind in ("parameters", "multiply_adds"):
        known = agrees[agrees[f"stated_{kind}"].notna()]
        ratio = known[kind] / known[f"stated_{kind}"].astype(float)
        assert ratio.between(0.98, 1.11).all()
