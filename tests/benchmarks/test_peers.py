"""The peers run what they should: our weights in PyTorch, and SFace on faces in its own framing."""

import io
import tarfile

import numpy as np
import pytest

from facelib import models
from facelib._paddle import paddle
from facelib.benchmarks import peers
from facelib.data import detection, rendered
from facelib.inference.embedder import Embedder
from facelib.training import distillation


@pytest.fixture(scope="module")
def teacher():
    try:
        return distillation.teacher_file()
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("layout", peers.LAYOUTS)
@pytest.mark.parametrize(
    ("backbone", "neck"), [("resnet18", "pool"), ("resnet18-fine", "linear"), ("resnet18", "plain")]
)
def test_pytorch_has_paddle_s_features(tmp_path, backbone, neck, layout):
    pytest.importorskip("torch", reason="needs the extra `peers`")
    paddle.seed(1)
    network = models.Embedding(backbone, width=16, neck=neck, features=32)
    network.train()
    network(paddle.randn([16, 3, 64, 64]))  # batch-norm statistics leave their start
    models.save_weights(network, tmp_path / "w.npz")
    faces = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    expected = Embedder(tmp_path / "w.npz")(faces)
    found = peers.torch_embedder(tmp_path / "w.npz", layout)(faces)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_another_network_than_resnet18_is_refused(tmp_path):
    pytest.importorskip("torch", reason="needs the extra `peers`")
    models.save_weights(models.Embedding("mobilefacenet", neck="depthwise"), tmp_path / "w.npz")
    with pytest.raises(ValueError, match="w.npz' holds mobilefacenet"):
        peers.torch_embedder(tmp_path / "w.npz")


def test_sface_knows_a_person_again_by_its_own_alignment(teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    shots = [(104, 0), (104, 1), (111, 0)]
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for person, shot in shots:
            content = io.BytesIO()
            rendered.render_face(person, shot, size=256).save(content, "png")
            member = tarfile.TarInfo(f"set/{person}/{shot}.png")
            member.size = len(content.getvalue())
            tar.addfile(member, io.BytesIO(content.getvalue()))
    paths = [f"set/{person}/{shot}.png" for person, shot in shots]
    found = peers.sface_features(teacher, tmp_path / "set.tar", paths)
    same, other = (float(found[0] @ found[k] / np.linalg.norm(found[0]) / np.linalg.norm(found[k])) for k in (1, 2))
    assert found.shape == (3, 128) and same > other
    monkeypatch.setattr(detection, "find", lambda photo: pytest.fail("looked at again"))
    np.testing.assert_array_equal(peers.sface_features(teacher, tmp_path / "set.tar", paths[::-1]), found[::-1])


def test_sface_sees_blue_first(teacher):
    import cv2

    face = np.asarray(rendered.render_face(104, 0, size=112))
    direct = cv2.FaceRecognizerSF.create(str(teacher), "").feature(cv2.cvtColor(face, cv2.COLOR_RGB2BGR))
    np.testing.assert_allclose(peers.sface(teacher)(face[None]), direct, rtol=1e-5)


def test_local_binary_patterns_by_hand():
    """A flat face has the pattern of eight ones everywhere; right of a vertical edge three neighbours are darker."""
    flat, edge = np.full((18, 18, 3), 90, np.uint8), np.full((18, 18, 3), 90, np.uint8)
    edge[:, :9] = 30
    found = peers.lbp_histograms(np.stack([flat, edge]), 2).reshape(2, 4, 59)
    np.testing.assert_allclose(found.sum(2), 1)
    assert (found[0].max(1) == 1).all() and (found[0].argmax(1) == 57).all()  # 255 is the last uniform pattern
    right = found[1, 1]  # 8 x 8 pixels, of which the first column lies at the edge
    assert sorted(right[right > 0]) == pytest.approx([1 / 8, 7 / 8])
    np.testing.assert_allclose(
        peers.lbp_histograms(np.stack([edge // 2 + 20]), 2)[0], found[1].ravel()
    )  # light is no matter
