import io

import numpy as np
import pytest
from PIL import Image

from facelib.data import corruptions
from facelib.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt


@pytest.fixture
def face():
    """A smooth picture with a bright spot, 64 x 64."""
    y, x = np.mgrid[:64, :64]
    channels = [120 + 60 * np.sin(x / 9), 90 + y, 200 - x - y / 2]
    picture = np.stack(channels, axis=-1).round().astype(np.uint8)
    picture[20:24, 40:44] = 255
    return picture


@pytest.mark.parametrize(("kind", "severity"), [(kind, each) for kind, some in SEVERITIES.items() for each in some])
def test_every_corruption_gives_faces_of_the_same_size_and_leaves_its_own_alone(face, kind, severity):
    faces = np.stack([face, face[::-1]])
    before = faces.copy()
    worse = corrupt(faces, kind, severity)
    assert worse.shape == faces.shape and worse.dtype == np.uint8 and np.array_equal(faces, before)
    unchanged = kind == "pixels" and severity >= 64
    assert unchanged or not np.array_equal(worse, faces)


def test_every_corruption_has_severities_and_none_is_no_face():
    assert set(CORRUPTIONS) == set(SEVERITIES)
    assert corrupt(np.zeros((0, 8, 8, 3), np.uint8), "jpeg", 50).shape == (0, 8, 8, 3)
    with pytest.raises(KeyError, match="rain"):
        corrupt(np.zeros((1, 8, 8, 3), np.uint8), "rain", 1)


def test_jpeg_is_close_to_what_pillow_saves(face):
    content = io.BytesIO()
    Image.fromarray(face).save(content, "JPEG", quality=30)
    other = np.asarray(Image.open(content)).astype(int)
    assert np.abs(corruptions.jpeg(face, 30) - other).mean() < 1.5
    errors = [np.abs(corruptions.jpeg(face, q).astype(int) - face).mean() for q in (10, 50, 90)]
    assert errors[0] > errors[1] > errors[2]


def test_few_pixels_are_the_means_of_areas(face):
    coarse = corruptions.resize(face, 16)
    means = face.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(coarse - means).max() <= 0.51
    assert np.array_equal(corruptions.pixels(face, 64), face)


def test_a_spot_is_moved_where_geometry_says(face):
    """A white square of 4 x 4 around (41.5, 21.5) on black; the middle is at (31.5, 31.5)."""
    spot = np.where(face == 255, face, 0)
    spot = np.repeat(spot.max(-1, keepdims=True), 3, -1)

    def middle(picture):
        weights = picture[..., 0].astype(float)
        y, x = np.mgrid[:64, :64]
        return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()

    assert middle(spot) == pytest.approx([41.5, 21.5])
    assert middle(corruptions.rotate(spot, 90)) == pytest.approx([21.5, 21.5], abs=0.1)  # counter-clockwise
    assert middle(corruptions.shift(spot, 0.125)) == pytest.approx([49.5, 21.5], abs=0.1)
    assert middle(corruptions.scale(spot, 1.5)) == pytest.approx([46.5, 16.5], abs=0.1)
    assert middle(corruptions.blur(spot, 0.02)) == pytest.approx([41.5, 21.5], abs=0.1)


def test_light_and_colour(face):
    assert np.array_equal(corruptions.brightness(face, 2), np.minimum(2 * face.astype(int), 255))
    grey = corruptions.greyscale(face)
    assert np.ptp(grey.astype(int), axis=-1).max() == 0
    luma = face @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert np.abs(grey[..., 0] - luma).max() <= 1


@pytest.mark.parametrize(("area", "share"), [("top", 0.3), ("bottom", 0.38), ("eyes", 0.1224), ("mouth", 0.088)])
def test_a_patch_covers_its_area_alone(face, area, share):
    covered = corruptions.cover(face, area)
    changed = (covered != face).any(-1)
    assert changed.mean() == pytest.approx(share, abs=0.02)
    assert (covered[changed] == 128).all()


def test_a_mask_covers_mouth_and_nose_and_not_the_eyes(face):
    eyes, nose, mouth = (slice(19, 25), slice(16, 48)), (34, 32), (44, 32)  # of framing.FRAME at 64 pixels
    worn, low = corruptions.mask(face), corruptions.mask(face, 0.7)
    assert np.array_equal(worn[eyes], face[eyes])
    for place, masked in ((nose, {1}), (mouth, {0.7, 1})):
        for reach, picture in ((1, worn), (0.7, low)):
            assert (picture[place] != face[place]).any() == (reach in masked)
