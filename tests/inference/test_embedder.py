import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from facelib import models, runtime
from facelib._paddle import paddle
from facelib.data import packed, packing
from facelib.inference import decision
from facelib.inference.embedder import Embedder, features


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a network whose batch-norm statistics have moved away from their start."""
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    paddle.seed(3)
    network = models.Embedding()
    network.train()
    network(paddle.randn([16, 3, 64, 64]))
    models.save_weights(network, path)
    return path


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)


def test_features_have_512_non_negative_components_in_the_order_of_the_faces(weights, faces):
    together = Embedder(weights, batch_size=4)(faces)
    assert together.shape == (9, 512) and together.dtype == np.float32 and (together >= 0).all()
    alone = np.concatenate([Embedder(weights)(faces[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(together, alone, atol=1e-4 * alone.max())


def test_features_are_the_spatial_mean_of_the_last_stage(weights, faces):
    backbone = models.load_weights(weights).backbone
    with paddle.no_grad():
        x = paddle.to_tensor(packed.to_input(faces))
        x = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(x))))
        for stage in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
            x = stage(x)
    np.testing.assert_allclose(Embedder(weights)(faces), x.numpy().mean(axis=(2, 3)), atol=1e-4)


def test_both_backends_agree(weights, faces, tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path))
    slow, fast = Embedder(weights)(faces), Embedder(weights, "inference")(faces)
    np.testing.assert_allclose(fast, slow, atol=1e-4 * slow.max())


@pytest.mark.parametrize("bad", [np.zeros((2, 64, 64), np.uint8), np.zeros((2, 64, 64, 3), np.float32)])
def test_wrong_input_is_refused_with_shape_and_type(weights, bad):
    with pytest.raises(ValueError, match="uint8 faces of shape"):
        Embedder(weights)(bad)


def test_unknown_backend_lists_the_known_ones(weights):
    with pytest.raises(ValueError, match="dygraph, inference"):
        Embedder(weights, "torch")


def test_no_faces_give_no_features(weights, faces):
    assert Embedder(weights)(faces[:0]).shape == (0, 512)


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "other.npz"
    paddle.seed(4)
    models.save_weights(models.Embedding(width=16, neck="linear"), path)
    return path


@pytest.mark.parametrize("mirror", [False, True])
def test_the_cosine_of_several_networks_is_the_mean_of_theirs(weights, other_weights, faces, mirror):
    files = [weights, other_weights]
    together = Embedder(files, mirror=mirror)(faces)
    cosines = [1 - cdist(one, one, "cosine") for one in (Embedder(file, mirror=mirror)(faces) for file in files)]
    assert together.shape == (9, 1024) and together.dtype == np.float32
    np.testing.assert_allclose(1 - cdist(together, together, "cosine"), np.mean(cosines, axis=0), atol=1e-5)
    assert Embedder(files)(faces[:0]).shape == (0, 1024)


def test_features_of_a_set_are_computed_once(weights, other_weights, faces, tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    for person in range(3):
        (tmp_path / "set" / f"p{person}").mkdir(parents=True)
        for shot in range(3):
            Image.fromarray(faces[3 * person + shot]).save(tmp_path / "set" / f"p{person}" / f"{shot}.png")
    packed = packing.pack(tmp_path / "set", progress=False)
    first = features(packed, weights, progress=False)
    np.testing.assert_allclose(first, Embedder(weights)(faces), atol=1e-4 * first.max())
    both = features(packed, [weights, other_weights], progress=False, mirror=True)
    np.testing.assert_allclose(both, Embedder([weights, other_weights], mirror=True)(faces), atol=1e-5)
    plain = features(faces, weights, progress=False, mirror=True)
    np.testing.assert_array_equal(plain, Embedder(weights, mirror=True)(faces))
    as_they_are = Embedder(weights)(faces)
    monkeypatch.setattr("facelib.inference.embedder.Embedder", lambda *_, **__: pytest.fail("computed again"))
    np.testing.assert_array_equal(features(faces, weights, progress=False), as_they_are)  # half of the mirrored ones
    np.testing.assert_array_equal(features(faces, weights, progress=False, mirror=True), plain)
    np.testing.assert_array_equal(features(packed, weights, progress=False), first)
    np.testing.assert_array_equal(features(packed, [weights, other_weights], progress=False, mirror=True), both)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: bytes(len(content)),
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:-4000] + bytes(4000),
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
        lambda content: content[:-32],  # as an older version wrote it, without a hash
    ],
)
def test_features_whose_file_is_damaged_are_computed_again(weights, faces, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    for n in range(3):
        (tmp_path / "set" / "p").mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces[n]).save(tmp_path / "set" / "p" / f"{n}.png")
    packed = packing.pack(tmp_path / "set", progress=False)
    first = features(packed, weights, progress=False)
    (file,) = (tmp_path / "cache" / "features").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(features(packed, weights, progress=False), first)
    np.testing.assert_array_equal(np.load(file), first)  # NumPy reads it too


def test_an_exported_network_has_one_store_by_its_weights_or_by_itself(faces, cache):
    weights = runtime.ROOT / "data" / "weights" / f"{decision.DEFAULT}.npz"
    one = features(faces, weights, progress=False, backend="onnx")
    other = features(faces, weights.with_suffix(".onnx"), progress=False, backend="onnx")
    assert np.array_equal(one, other) and len(list((cache / "features").iterdir())) == 1
    features(faces, weights, progress=False, backend="onnx_int8")
    assert len(list((cache / "features").iterdir())) == 2
