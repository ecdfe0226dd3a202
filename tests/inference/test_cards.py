import hashlib

import numpy as np
import pytest

from facelib.data import packing
from facelib.inference import cards, decision
from facelib.metrics.calibration import far_thresholds
from facelib.metrics.distances import cosine_distance

JUDGED = [f"Judge_{k}" for k in range(6)]
OTHERS = [f"Other_{k}" for k in range(30)]


def _list(path, genuine, impostor):
    """LFW's format: the number of pairs of each kind, then the pairs."""
    lines = [str(len(genuine)), *("\t".join(map(str, line)) for line in (*genuine, *impostor))]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def world(tmp_path, monkeypatch, tree):
    """A collection of LFW's form whose features are drawn: around a point of its own for each person."""
    data = tmp_path / "data"
    (data / "lfw").mkdir(parents=True)
    monkeypatch.setenv("FACELIB_DATA", str(data))
    held = [(name, 1, 2) for name in JUDGED]
    _list(data / "lfw" / "pairs.txt", held, [(JUDGED[k], 1, JUDGED[k - 1], 1) for k in range(6)])
    own = [(name, 1, 3) for name in JUDGED]
    strangers = [(JUDGED[k], 3, JUDGED[k - 2], 4) for k in range(6)]
    _list(data / "lfw" / "pairsDevTest.txt", own + held[::-1], strangers + strangers[::-1])

    rng = np.random.default_rng(0)
    photos = [(name, k) for name in JUDGED for k in (1, 2, 3, 4)] + [(name, 1) for name in OTHERS]
    centre = {name: rng.normal(size=16) for name in JUDGED + OTHERS}
    features = {
        f"lfw/{name}/{name}_{k:04d}.png": (centre[name] + 1.5 * rng.normal(size=16)).astype(np.float32)
        for name, k in photos
    }
    paths, seen = list(features), []
    packed = packing.pack(tree({path: (k, 0, 0) for k, path in enumerate(paths)}), 1, progress=False)

    def embed(faces):
        found = [paths[k] for k in faces[:, 0, 0, 0]]  # a photo's red tells which it is
        seen.extend(found)
        return np.stack([features[path] for path in found])

    monkeypatch.setattr(cards.catalog, "source", lambda name: name)
    monkeypatch.setattr(cards.packing, "pack", lambda source, size, detect: packed)
    monkeypatch.setattr(cards, "Embedder", lambda files, backend, mirror: embed)
    monkeypatch.setattr(cards, "weights_folder", lambda: tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"weights")
    return features, seen


def test_people_of_view_2_choose_no_threshold(world):
    features, _ = world
    card = cards.make_card("net", ["net"], "nobody")
    rows = sorted(path for path in features if "Other" in path)
    vectors = np.stack([features[path] for path in rows])
    distances = np.stack([cosine_distance(np.broadcast_to(one, vectors.shape), vectors) for one in vectors])
    expected = far_thresholds(distances, np.array([path.split("/")[1] for path in rows]), cards.FARS)
    assert card.thresholds == tuple(expected)
    assert card.thresholds[0].threshold is not None  # a tenth of 435 pairs is more than 30
    assert card.thresholds[1].reason.startswith("not enough pairs") and card.tar[1] is None
    assert "30 people (30 photos)" in card.chosen_on


def test_genuine_pairs_of_view_2_calibrate_nothing(world):
    _, seen = world
    card = cards.make_card("net", ["net"], "nobody")
    assert card.calibration.genuine == 6  # not the six that View 2 holds
    assert not any(path.endswith("_0002.png") for path in seen)


def test_the_card_names_its_weights(world, tmp_path):
    card = cards.make_card("net", ["net"], "nobody", mirror=False)
    assert card.weights == (decision.Weights("net.onnx", hashlib.sha256(b"weights").hexdigest()),)
    assert card.mirror is False and card.trained_on == "nobody"
    assert decision.read_card(str(decision.write_card(card, tmp_path))) == card


def test_a_network_that_was_not_exported_has_a_card_of_its_weights(world, tmp_path, monkeypatch):
    (tmp_path / "net.onnx").unlink()
    (tmp_path / "net.npz").write_bytes(b"trained")
    asked = []
    embed = cards.Embedder(None, None, None)
    monkeypatch.setattr(cards, "Embedder", lambda files, backend, mirror: asked.append(backend) or embed)
    card = cards.make_card("net", ["net"], "nobody")
    assert asked == ["dygraph"]
    assert card.weights == (decision.Weights("net.npz", hashlib.sha256(b"trained").hexdigest()),)
    monkeypatch.setattr(decision, "Embedder", lambda files, backend, mirror: asked.append(backend))
    _ = decision.Verifier(card, tmp_path).embedder
    assert asked == ["dygraph", "dygraph"]
