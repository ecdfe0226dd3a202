import numpy as np
import pytest

from facelib import inference, models
from facelib._paddle import paddle
from facelib.inference import attack
from facelib.metrics import cosine_similarity


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.npz"
    paddle.seed(3)
    network = models.Embedding("resnet18", width=8, neck="linear", size=32)
    network.train()
    network(paddle.randn([16, 3, 32, 32]))  # moves the statistics away from their start
    models.save_weights(network, path)
    return path


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def others(weights, faces):
    return inference.Embedder(weights)(faces[::-1].copy())


def test_signs_are_those_of_finite_differences(weights, faces, others):
    """Where the difference is large enough for float32 to show it; the 69th face is in the second batch."""
    ways = attack.signs(weights, faces, others)
    assert ways.shape == faces.shape and ways.dtype == np.int8 and set(np.unique(ways)) <= {-1, 0, 1}
    network, rng = models.load_weights(weights), np.random.default_rng(1)
    for row in (0, 69):
        places = [tuple(rng.integers(0, side) for side in (32, 32, 3)) for _ in range(60)]
        slopes = []
        for y, x, channel in places:
            pair = np.repeat(faces[row : row + 1].astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1, 2, axis=0)
            pair[:, channel, y, x] += [-0.02, 0.02]
            with paddle.no_grad():
                features = network(paddle.to_tensor(pair)).numpy()
            low, high = cosine_similarity(features, np.repeat(others[row : row + 1], 2, axis=0))
            slopes.append(high - low)
        clear = np.abs(slopes) > 0.5 * np.median(np.abs(slopes))
        expected = np.sign(slopes)[clear]
        found = np.array([ways[(row, *place)] for place in places])[clear]
        assert clear.sum() >= 30 and (found == expected).mean() > 0.95  # ReLU has kinks within a step


def test_a_step_along_the_signs_brings_faces_closer_and_one_against_them_apart(weights, faces, others):
    embed = inference.Embedder(weights)
    ways = attack.signs(weights, faces, others)
    before = cosine_similarity(embed(faces), others)
    closer = cosine_similarity(embed(attack.attacked(faces, ways, 1)), others)
    apart = cosine_similarity(embed(attack.attacked(faces, -ways, 1)), others)
    assert (closer > before).mean() > 0.9 and (apart < before).mean() > 0.9  # a step may be too long for some


def test_no_pixel_moves_by_more_than_epsilon_nor_leaves_its_range():
    faces = np.array([[[[0, 255, 7]]]], np.uint8)
    moved = attack.attacked(faces, np.array([[[[-1, 1, 1]]]], np.int8), 8)
    assert moved.tolist() == [[[[0, 255, 15]]]] and moved.dtype == np.uint8
    assert np.array_equal(attack.attacked(faces, np.ones_like(faces, np.int8), 0), faces)


def test_no_faces_have_no_signs(weights):
    assert attack.signs(weights, np.zeros((0, 32, 32, 3), np.uint8), np.zeros((0, 512))).shape == (0, 32, 32, 3)
