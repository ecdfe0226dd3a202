import cv2
import numpy as np
import pytest

from facelib.data import framing


def _turned(points, degrees, scale, shift):
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ rotation.T + shift


@pytest.mark.parametrize("degrees", [0, 17, 90, -135, 180])
def test_an_exact_similarity_is_recovered(degrees):
    goal = _turned(framing.FRAME, degrees, 37.0, [5, -8])
    np.testing.assert_allclose(framing.moved(framing.FRAME, framing.similarity(framing.FRAME, goal)), goal, atol=1e-9)


def test_of_disturbed_points_it_is_the_least_squares_solution():
    rng = np.random.default_rng(0)
    source, goal = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    x, y = source.T  # the four parameters a, b, c, d of (ax - by + c, bx + ay + d) enter linearly
    one, none = np.ones(5), np.zeros(5)
    system = np.vstack([np.column_stack([x, -y, one, none]), np.column_stack([y, x, none, one])])
    (a, b, c, d), *_ = np.linalg.lstsq(system, goal.T.ravel(), rcond=None)
    np.testing.assert_allclose(framing.similarity(source, goal), [[a, -b, c], [b, a, d]], atol=1e-12)


def test_it_is_what_umeyama_writes_down():
    rng = np.random.default_rng(1)
    source = rng.normal(size=(5, 2))
    goal = _turned(source, 160, 0.4, [1, 2]) + 0.05 * rng.normal(size=(5, 2))
    u, d, vt = np.linalg.svd((goal - goal.mean(0)).T @ (source - source.mean(0)) / 5)  # equations 38 to 43
    s = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ s @ vt
    scale = np.trace(np.diag(d) @ s) / source.var(0).sum()
    expected = np.column_stack([scale * rotation, goal.mean(0) - scale * rotation @ source.mean(0)])
    np.testing.assert_allclose(framing.similarity(source, goal), expected, atol=1e-12)


def test_one_point_has_no_direction():
    with pytest.raises(ValueError, match="one and the same"):
        framing.similarity(np.ones((5, 2)), framing.FRAME)


@pytest.mark.parametrize(("degrees", "scale"), [(0, 64), (0, 300), (30, 200), (-60, 90), (180, 20)])
def test_landmarks_come_to_lie_where_the_frame_has_them(degrees, scale):
    """Five soft dots, one per landmark, in a photo; after the crop their centres are the frame's."""
    landmarks = _turned(framing.FRAME - 0.5, degrees, scale, [400, 380])
    y, x = np.mgrid[:800, :800]
    for number, (left, top) in enumerate(landmarks):
        dot = 255 * np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * (0.03 * scale) ** 2))
        face = framing.crop(np.repeat(dot[..., None], 3, axis=2).astype(np.uint8), landmarks)[..., 0].astype(float)
        place = [(face.sum(0) * np.arange(64)).sum(), (face.sum(1) * np.arange(64)).sum()] / face.sum()
        np.testing.assert_allclose(place, 64 * framing.FRAME[number] - 0.5, atol=0.15)


def test_a_smaller_copy_is_the_mean_of_what_it_covers():
    photo = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    quarter = np.array([[0.25, 0, -0.375], [0, 0.25, -0.375]])  # pixel 0 of four by four: its middle is at 1.5
    expected = photo.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(framing.warp(photo, quarter, 16), expected, atol=1)


def test_beyond_the_photo_its_edge_is_repeated():
    photo = np.full((40, 40, 3), 200, np.uint8)
    assert (framing.warp(photo, np.array([[1.0, 0, 30], [0, 1, 30]]), 64) == 200).all()


def test_the_frame_is_symmetric_so_that_mirror_images_are_framed_alike():
    mirrored = framing.FRAME[[1, 0, 2, 4, 3]] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(mirrored, framing.FRAME)
    photo = np.random.default_rng(3).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    photo = cv2.GaussianBlur(photo, (0, 0), 3)
    landmarks = 60 * framing.FRAME + [13, 22]
    other = (landmarks * [-1, 1] + [99, 0])[[1, 0, 2, 4, 3]]
    one, two = framing.crop(photo, landmarks), framing.crop(np.ascontiguousarray(photo[:, ::-1]), other)
    np.testing.assert_allclose(one[:, ::-1].astype(int), two.astype(int), atol=2)


def test_a_box_is_brought_to_its_place_and_stays_upright():
    """A square of 20 x 40 pixels is as high as the frame's box, and its middle where that has it."""
    photo = np.zeros((200, 160, 3), np.uint8)
    photo[60:100, 50:70] = 255
    box = np.array([49.5, 59.5, 69.5, 99.5])
    rows, columns = np.nonzero(framing.crop_box(photo, box, 100)[..., 0] > 127)
    x, y, height = framing.BOX * 100
    assert len(set(rows)) == pytest.approx(height, abs=1.5) and len(set(columns)) == pytest.approx(height / 2, abs=1.5)
    assert np.mean(rows) + 0.5 == pytest.approx(y, abs=1) and np.mean(columns) + 0.5 == pytest.approx(x, abs=1)
