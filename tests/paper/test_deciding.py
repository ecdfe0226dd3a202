from types import SimpleNamespace

import numpy as np
import pytest

from facelib import inference
from facelib.data.pairs import LfwPair, Pairs
from facelib.inference import decision
from facelib.metrics import cosine_distance, far_thresholds, fit_logistic, ten_fold
from facelib.paper import choosing, deciding


class Faces:
    """A packed set of gray faces; face k has the gray value k."""

    def __init__(self, labels, rows=None):
        self.labels, self.rows = np.asarray(labels), np.arange(len(labels)) if rows is None else rows
        self.names, self.sources = np.unique(labels), np.zeros(len(labels), int)
        self.paths = tuple(f"{label}/{row}.jpg" for label, row in zip(self.labels, self.rows, strict=True))
        self.manifest = {"size": 2, "crop": [0, 0, 1, 1]}

    def __len__(self):
        return len(self.rows)

    def select(self, rows):
        return Faces(self.labels[rows], self.rows[rows])

    def take(self, indices):
        return np.broadcast_to(self.rows[indices, None, None, None], (len(indices), 2, 2, 3)).astype(np.uint8)


class Setting(dict):
    is_of_the_user = False

    def __init__(self, faces, pairs, **values):
        known = {"test_set": "somebody", "train_set": "others", "validation_pairs": 50, "seed": 0}
        super().__init__(known | values)
        self.used, self.scored, self.pairs = {"cards": {}}, faces, pairs


@pytest.fixture
def shipped(monkeypatch):
    """Six photos, of which the pairs name 1, 3 and 5; the detector returns 100 + k, and finds no face in 3."""
    names = {f"set/{label}/{row}.jpg": 100 + row for row, label in enumerate([0, 0, 0, 0, 1, 1]) if row != 3}
    found = {name: np.full((2, 2, 3), grey, np.uint8) for name, grey in names.items()}
    asked = []
    monkeypatch.setattr(deciding.catalog, "source", lambda name: name)
    monkeypatch.setattr(deciding.archives, "members", lambda source: SimpleNamespace(root="set/"))

    def framed(source, paths, size, which):
        asked.append(paths)
        return {path: found[path] for path in paths if path in found}

    monkeypatch.setattr(deciding.aligned, "faces", framed)
    monkeypatch.setattr(deciding, "embedded", lambda card, x: x.reshape(len(x), -1)[:, :2].astype(np.float32))
    pairs = Pairs(np.array([5, 1]), np.array([1, 3]), np.array([False, True]), np.array([0, 1]))
    return Setting(Faces([0, 0, 0, 0, 1, 1]), pairs, shipped_card=True), asked


def test_the_shipped_network_sees_framed_faces_of_all_photos_those_of_the_pairs_by_themselves(shipped):
    setting, asked = shipped
    judged = deciding.judging(setting)
    assert asked[0] == ["set/0/1.jpg", "set/0/3.jpg", "set/1/5.jpg"] and len(asked[1]) == 3
    assert judged.vectors[:, 0].tolist() == [100, 101, 102, 3, 104, 105] and judged.lost == 1
    assert judged.faces is setting.scored and judged.pairs is setting.pairs
    assert judged.distances == pytest.approx(judged.between(setting.pairs))
    assert judged.calibrated_on is None  # of photos that are not LFW's nobody knows View 1


def test_of_lfw_view_1_is_what_calibrated(shipped, monkeypatch):
    setting, _ = shipped
    setting["test_set"], setting["run"] = "lfw", "celebfaces-uncarded"
    setting["robust_networks"] = ["celebfaces-cosface"]
    view1 = {"test": Pairs([0, 2], [1, 4], [True, False]), "train": Pairs([2], [1], [True])}
    monkeypatch.setattr(deciding.protocols, "view1", lambda part: part)
    monkeypatch.setattr(deciding.pairs, "match_lfw_pairs", lambda records, paths: view1[records])
    judged = deciding.judging(setting)
    distances, genuine = judged.calibrated_on
    assert len(distances) == 2 and genuine.tolist() == [True, False] and len(judged.faces) == 6
    view1["test"] = Pairs([1, 2], [3, 4], [True, False])
    (other,) = deciding.other_networks(setting).values()  # no pair names photo 0
    assert other.faces.rows.tolist() == [1, 2, 3, 4, 5] and other.pairs.left.tolist() == [4, 0]
    assert other.distances == pytest.approx(judged.distances) and len(other.calibrated_on[0]) == 2


def test_a_card_that_changes_is_noticed(shipped):
    setting, _ = shipped
    judged = deciding.judging(setting)
    assert judged.card == decision.read_card(decision.DEFAULT)
    assert setting.used["cards"] == {decision.DEFAULT: deciding.card_key(judged.card)}
    assert deciding.card_key(decision.Card(**vars(judged.card) | {"mirror": False})) != deciding.card_key(judged.card)


def test_without_a_shipped_card_validation_people_fit_one(monkeypatch):
    rng = np.random.default_rng(0)
    validation, test, train = Faces(np.repeat(np.arange(40), 3)), Faces([0, 0, 1]), Faces([7])
    centres = rng.normal(size=(40, 8))
    vectors = {len(validation): centres[validation.labels] + rng.normal(size=(120, 8)), 3: rng.normal(size=(3, 8))}
    monkeypatch.setattr(inference, "features", lambda faces, weights, mirror: vectors[len(faces)])
    setting = Setting(test, Pairs(np.array([0]), np.array([2]), np.array([False])), shipped_card=False)
    setting.split = SimpleNamespace(train=train, validation=validation, test=test)
    setting.run = SimpleNamespace(weights="w.npz", row={"name": "net"})
    judged = deciding.judging(setting)
    card = judged.card
    own = vectors[120]
    among = np.stack([cosine_distance(np.broadcast_to(one, own.shape), own) for one in own])
    assert card.thresholds == tuple(far_thresholds(among, validation.labels, (1e-1, 1e-2, 1e-3)))
    chosen = deciding.pairs.draw_by_source(validation.labels, validation.sources, 50, 0)
    assert card.calibration == fit_logistic(cosine_distance(own[chosen.left], own[chosen.right]), chosen.genuine)
    assert judged.distances == pytest.approx(cosine_distance(vectors[3][:1], vectors[3][2:]))
    assert judged.calibrated_on[0] == pytest.approx(cosine_distance(own[chosen.left], own[chosen.right]))
    assert (card.name, card.frame, judged.lost) == ("net", "packed", 0) and "40 validation people" in card.chosen_on


def test_a_figure_without_any_threshold_says_so():
    from facelib.paper import decision_plots

    axes = decision_plots.rates({}, {})
    axes[0].figure.canvas.draw()
    assert [axis.texts[0].get_text() for axis in axes] == ["too few pairs for any threshold"] * 2


def test_any_packed_faces_get_features_of_the_network_that_decides(shipped, monkeypatch):
    setting, _ = shipped
    faces = Faces([0, 0, 1])
    assert deciding.vectors(setting, faces)[:, 0].tolist() == [0, 1, 2]
    assert setting.used["cards"][decision.DEFAULT] == deciding.card_key(decision.read_card(decision.DEFAULT))
    asked = []
    monkeypatch.setattr(inference, "features", lambda *given, **how: asked.append((*given, how)))
    own = Setting(faces, None, shipped_card=False)
    own.run = SimpleNamespace(weights="w.npz")
    deciding.vectors(own, faces)
    ((pixels, weights, how),) = asked
    assert pixels[:, 0, 0, 0].tolist() == [0, 1, 2] and weights == "w.npz" and how["mirror"]


def test_the_other_shipped_networks_have_cards_and_features_of_their_own(shipped, monkeypatch):
    setting, _ = shipped
    small, peer = (f"celebfaces-{name}" for name in ("distilled-small", "cosface"))
    setting["run"] = "celebfaces-uncarded"
    setting["robust_networks"] = [peer, small, decision.DEFAULT]
    monkeypatch.setattr(deciding, "embedded", lambda card, x: np.full((len(x), 2), len(card.name), np.float32))
    found = deciding.other_networks(setting)
    assert {name: judged.card for name, judged in found.items()} == {n: decision.read_card(n) for n in (peer, small)}
    assert all((judged.vectors == len(name)).all() for name, judged in found.items())
    assert (deciding.vectors_of(setting, np.zeros((1, 2, 2, 3), np.uint8), small) == len(small)).all()
    assert set(setting.used["cards"]) == {peer, small}
    setting["run"] = "celebfaces-resnet18"  # 02's has a card as well
    assert list(deciding.other_networks(setting)) == ["celebfaces-resnet18", peer, small]


def test_the_network_of_compare_is_judged_on_people_of_ones_own_if_they_are_real(shipped):
    setting, asked = shipped
    setting |= {"shipped_card": False, "run": "mine", "robust_networks": []}
    assert [(name, each.card.name) for name, each in deciding.other_networks(setting).items()] == [
        (decision.DEFAULT, decision.DEFAULT)
    ]
    setting["test_set"] = "celebfaces-tight+families"
    assert deciding.other_networks(setting) == {}
    for name in "demo-test", "celebfaces":
        setting["test_set"] = name
        assert deciding.other_networks(setting) == {}


@pytest.mark.parametrize(("test_set", "which"), [("lfw", "central"), ("somebody", "largest")])
def test_of_several_faces_the_one_is_taken_that_the_set_means(shipped, monkeypatch, test_set, which):
    setting, _ = shipped
    setting["test_set"], seen = test_set, []
    monkeypatch.setattr(deciding.aligned, "faces", lambda source, paths, size, *asked: seen.append(*asked) or {})
    deciding.framed(setting, setting.scored, 2)
    assert seen == [which]


def test_what_chooses_is_view_1_for_lfw_and_validation_people_else(monkeypatch):
    split = SimpleNamespace(validation=Faces([0, 0, 1, 1, 1]))
    setting = Setting(Faces([0]), None)
    setting.best_split = split
    faces, chosen = choosing.development(setting)
    assert faces is split.validation and chosen.fold is None and chosen.genuine.sum() == len(chosen) / 2
    photos = SimpleNamespace(paths=("A/A_0001.jpg", "A/A_0002.jpg", "B/B_0001.jpg"))
    lfw = Setting(photos, None)
    lfw["test_set"] = "lfw"
    lines = [LfwPair("A", 1, "A", 2, True, 0), LfwPair("A", 1, "B", 1, False, 0)]
    monkeypatch.setattr(choosing.protocols, "view1", lambda part: lines if part == "train" else [])
    faces, chosen = choosing.development(lfw)
    assert faces is photos and chosen.fold is None
    assert (chosen.left.tolist(), chosen.right.tolist(), chosen.genuine.tolist()) == ([0, 0], [1, 2], [True, False])


def test_a_threshold_is_chosen_on_view_1_for_lfw_and_on_validation_people_else(monkeypatch):
    setting = Setting(Faces([0]), None)
    setting.split = SimpleNamespace(validation=Faces([0, 0, 1, 1, 1]))
    faces, chosen = choosing.threshold_pairs(setting)
    assert faces is setting.split.validation and chosen.genuine.sum() == len(chosen) / 2 and chosen.fold is not None
    photos = SimpleNamespace(paths=("A/A_0001.jpg", "A/A_0002.jpg", "B/B_0001.jpg", "B/B_0002.jpg"))
    lfw = Setting(photos, None)
    lfw["test_set"] = "lfw"
    lines = {"train": [LfwPair("A", 1, "A", 2, True, 0), LfwPair("A", 1, "B", 1, False, 0)]}
    lines["test"] = [
        LfwPair("B", 1, "B", 2, True, 0),
        LfwPair("A", 2, "B", 1, False, 0),
        LfwPair("A", 2, "B", 2, False, 0),
    ]
    monkeypatch.setattr(choosing.protocols, "view1", lines.get)
    faces, chosen = choosing.threshold_pairs(lfw)
    assert faces is photos and chosen.genuine.sum() == 2 and len(chosen) == 4
    genuine = chosen.select(chosen.genuine)
    assert (genuine.left.tolist(), genuine.right.tolist()) == ([0, 2], [1, 3])


def test_each_way_to_frame_is_judged_on_the_same_pairs_by_the_threshold_of_the_other_folds(shipped, monkeypatch):
    setting, _ = shipped
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 2)
    left, right = np.arange(0, 40, 2), np.arange(1, 40, 2)
    impostors = Pairs(left, np.roll(right, 1), np.zeros(20, bool), np.arange(20) % 10)
    pairs = Pairs(
        *(np.concatenate([a, b]) for a, b in ((left, left), (right, impostors.right))),
        np.repeat([True, False], 20),
        np.tile(np.arange(20) % 10, 2),
    )
    faces = Faces(labels)
    setting.scored, setting.pairs = faces, pairs
    asked = []

    def framed(source, paths, size, which, crop=None, moved=None, box=False):
        asked.append((crop, moved, box))
        return {}

    monkeypatch.setattr(deciding.aligned, "faces", framed)
    own = rng.normal(size=(20, 8))[labels] + rng.normal(size=(40, 8))
    monkeypatch.setattr(deciding, "embedded", lambda card, pixels: own)
    found = deciding.by_frame(setting, deciding.judging(setting))
    assert asked == [(None, None, False), ((0, 0, 1, 1), 0, False), (None, None, True), (None, 0, False)]
    assert list(found) == ["aligned.", "aligned.perturbed_", "box.", "centre.", "centre.perturbed_"]
    expected = ten_fold(cosine_distance(own[pairs.left], own[pairs.right]), pairs.genuine, pairs.fold).accuracies.mean()
    for beyond in found.values():
        assert ((beyond <= 0) == pairs.genuine).mean() == pytest.approx(expected)


def test_hard_pairs_are_the_third_turned_most_and_the_easy_ones_made_worse(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(30), 2)
    left = np.concatenate([np.arange(0, 60, 2)] * 2)
    right = np.concatenate([np.arange(1, 60, 2), np.roll(np.arange(1, 60, 2), 1)])
    pairs, faces = Pairs(left, right, np.repeat([True, False], 30)), Faces(labels)
    turn = np.linspace(0, 1, 60)[rng.permutation(60)]
    vectors = rng.normal(size=(30, 8))[labels] + 0.5 * rng.normal(size=(60, 8))
    monkeypatch.setattr(deciding.quality, "turned", lambda pixels: turn)
    monkeypatch.setattr(deciding.corruptions, "corrupt", lambda pixels, kind, severity: (kind, pixels[:, 0, 0, 0]))
    moved = {"pixels": vectors + 1, "mask": vectors - 1}
    monkeypatch.setattr(deciding, "vectors_of", lambda setting, worse: moved[worse[0]][worse[1]])
    card = SimpleNamespace(frame="packed", metric="cosine", size=2)
    judged = deciding.Judging(card, faces, pairs, vectors)
    found = deciding.by_difficulty(Setting(faces, pairs), judged)
    worse = np.maximum(turn[left], turn[right])
    easy = worse <= np.quantile(worse, 1 / 3)
    sizes = [len(found[name][0]) for name in ("easy", "medium", "turned")]
    assert sum(sizes) == 60 and max(sizes) <= 22  # pairs that share a head are equal
    assert found["easy"][1] == pytest.approx(judged.distances[easy])
    small = cosine_distance(vectors[left[easy]] + 1, vectors[right[easy]] + 1)
    assert found["small"][1] == pytest.approx(small)
    assert found["masked"][1] == pytest.approx(cosine_distance(vectors[left[easy]], vectors[right[easy]] - 1))
    limits = found["easy"][1] - found["easy"][2]
    assert found["masked"][1] - found["masked"][2] == pytest.approx(
        limits
    )  # thresholds are those of photos as they are
    assert len(found["hard"][0]) == sizes[2] + 2 * sizes[0]
    assert list(found) == ["easy", "medium", "hard", "turned", "small", "masked"]
    assert found["hard"][1] == pytest.approx(np.concatenate([found[n][1] for n in ("turned", "small", "masked")]))
    turn[:] = np.nan  # faces that no detector finds
    assert deciding.by_difficulty(Setting(faces, pairs), judged) == {}


@pytest.mark.parametrize(("frame", "crop"), [("packed", [0, 0, 1, 1]), ("detect", None)])
def test_faces_as_packed_and_photos_without_a_crop_are_not_framed_anew(frame, crop):
    faces = Faces([0, 0, 1])
    faces.manifest = {"crop": crop}
    faces.select = lambda rows: faces
    judged = SimpleNamespace(card=SimpleNamespace(frame=frame, size=2), faces=faces, pairs=Pairs([0], [1], [True]))
    assert deciding.by_frame(Setting(faces, None), judged) == {}
