import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from facelib.data import corruptions
from facelib.training.augmentation import AUGMENTATIONS, Augmentation

SEEDS = range(60)


def draw(height=64, width=64, seed=0, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8)


def spots(*places, size=64, radius=2.5):
    """Black with one round spot per channel, at (x, y) from the centre."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    image = [255 * np.exp(-((x - at) ** 2 + (y - down) ** 2) / (2 * radius**2)) for at, down in places]
    return np.stack(image, 2).round().astype(np.uint8)


def find(image):
    """(channel, 2) centres of the spots."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] - (image.shape[0] - 1) / 2
    weights = image.astype(float)
    return np.stack([(weights * at[..., None]).sum((0, 1)) / weights.sum((0, 1)) for at in (x, y)], 1)


def apply(face, seeds=SEEDS, **options):
    augment = Augmentation(**options)
    return [augment(face, np.random.default_rng(seed)) for seed in seeds]


def assert_fills(values, low, high):
    """Within the bounds, and reaching the outer fifths of the range."""
    margin = 0.02 * (high - low)
    assert low - margin <= min(values) <= low + 0.2 * (high - low), min(values)
    assert high - 0.2 * (high - low) <= max(values) <= high + margin, max(values)


ALL = {
    "flip": {"flip": 0.5},
    "rotation": {"rotation": 10},
    "scale": {"scale": 0.1},
    "shift": {"shift": 0.1},
    "brightness": {"brightness": 0.2},
    "contrast": {"contrast": 0.2},
    "grey": {"grey": 0.5},
    "occlusion": {"occlusion": (0.05, 0.2)},
    "blur": {"blur": 1.0},
    "low_resolution": {"low_resolution": 1.0},
    "warp": {"warp": 0.05},
    "jpeg": {"jpeg": 1.0},
}


def test_the_default_changes_nothing():
    for seed in range(5):
        face = draw(seed=seed)
        for augment in (Augmentation(), AUGMENTATIONS["none"]):
            np.testing.assert_array_equal(augment(face, np.random.default_rng(seed)), face)


@pytest.mark.parametrize("name", ALL)
def test_each_change_changes_the_image_and_is_the_same_for_the_same_seed(name):
    face = draw()
    one, again = apply(face, range(8), **ALL[name]), apply(face, range(8), **ALL[name])
    np.random.seed(1)
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
    different = {"flip": 2, "grey": 2, "jpeg": 7}  # two draws are of one quality
    assert len({image.tobytes() for image in one}) == different.get(name, 8)


@pytest.mark.parametrize("shape", [(64, 64), (48, 40)])
@pytest.mark.parametrize("name", [*ALL, "all", "none"])
def test_input_shape_and_type_stay(name, shape):
    options = {k: v for one in ALL.values() for k, v in one.items()} if name == "all" else ALL.get(name, {})
    face = draw(*shape)
    before = face.copy()
    face.flags.writeable = False
    for changed in apply(face, range(4), **options):
        assert changed.shape == face.shape and changed.dtype == np.uint8
        assert not np.shares_memory(changed, face)
    np.testing.assert_array_equal(face, before)


def test_every_field_is_tested():
    assert set(ALL) == {field.name for field in dataclasses.fields(Augmentation)}


# Where the pixels go


def test_flip_is_the_mirror_image():
    face = draw()
    for changed in apply(face, range(5), flip=1):
        np.testing.assert_array_equal(changed, face[:, ::-1])


def test_flip_of_a_quarter_flips_a_quarter():
    face = draw(8, 8)
    flipped = [(changed == face[:, ::-1]).all() for changed in apply(face, range(400), flip=0.25)]
    kept = [(changed == face).all() for changed in apply(face, range(400), flip=0.25)]
    assert sum(flipped) + sum(kept) == 400
    assert 65 <= sum(flipped) <= 135  # 100 and four standard deviations


def test_shift_moves_everything_alike_within_its_share_of_the_width():
    face = spots((-9, -9), (9, -9), (0, 9))
    moves = np.stack([find(changed) - find(face) for changed in apply(face, shift=0.125)])  # (seed, spot, 2)
    np.testing.assert_allclose(moves, np.broadcast_to(moves[:, :1], moves.shape), atol=0.1)
    for axis in (0, 1):
        assert_fills(moves[:, 0, axis], -8, 8)
    assert abs(np.corrcoef(moves[:, 0].T)[0, 1]) < 0.5


def test_rotation_turns_about_the_centre_within_its_degrees():
    face = spots((0, 0), (18, 0), (0, -18))
    angles = []
    for changed in apply(face, rotation=20):
        middle, right, up = find(changed)
        np.testing.assert_allclose(middle, 0, atol=0.1)
        np.testing.assert_allclose([np.hypot(*right), np.hypot(*up)], 18, atol=0.2)
        angles.append(np.degrees(np.arctan2(right[1], right[0])))
        assert angles[-1] == pytest.approx(np.degrees(np.arctan2(up[0], -up[1])), abs=0.7)
    assert_fills(angles, -20, 20)


def test_scale_enlarges_and_shrinks_about_the_centre():
    face = spots((0, 0), (15, 0), (0, -15))
    zooms = []
    for changed in apply(face, scale=0.3):
        middle, right, up = find(changed)
        np.testing.assert_allclose(middle, 0, atol=0.1)
        np.testing.assert_allclose([right[1], up[0]], 0, atol=0.1)
        assert right[0] == pytest.approx(-up[1], abs=0.1)
        zooms.append(right[0] / 15)
    assert_fills(zooms, 0.7, 1.3)


def test_rotation_and_scale_are_drawn_apart():
    face = spots((0, 0), (15, 0), (0, -15))
    right = np.stack([find(changed)[1] for changed in apply(face, rotation=20, scale=0.3)])
    angles, zooms = np.degrees(np.arctan2(right[:, 1], right[:, 0])), np.hypot(*right.T) / 15
    assert_fills(angles, -20, 20)
    assert_fills(zooms, 0.7, 1.3)
    assert abs(np.corrcoef(angles, zooms)[0, 1]) < 0.5


class Extreme:
    """Draws always the same end of a range."""

    def __init__(self, high):
        self.high = high

    def random(self):
        return 1.0

    def uniform(self, low, high, size=None):
        end = high if self.high else low
        return end if size is None else np.full(size, float(end))


@pytest.mark.parametrize("high", [False, True])
def test_no_empty_border_appears(high):
    for face in (np.full((64, 64, 3), 200, np.uint8), np.full((48, 40, 3), 200, np.uint8)):
        moderate = dataclasses.replace(AUGMENTATIONS["moderate"], brightness=0, contrast=0)
        for augment in (moderate, Augmentation(shift=0.2), Augmentation(rotation=15), Augmentation(scale=0.3)):
            np.testing.assert_array_equal(augment(face, Extreme(high)), face)


def test_beyond_the_border_the_image_is_mirrored():
    ramp = np.repeat(np.arange(64)[None, :, None], 64, 0).repeat(3, 2).astype(np.uint8)
    for high in (False, True):
        changed = Augmentation(shift=0.125)(ramp, Extreme(high))  # by 8 pixels
        columns = np.arange(64) + (-8 if high else 8)
        expected = np.abs(columns) if high else 63 - np.abs(63 - columns)
        np.testing.assert_array_equal(changed[32, :, 0], expected)


# What becomes of the light


def test_brightness_multiplies_by_one_factor_in_its_range():
    face, factors = draw(high=190), []
    for changed in apply(face, brightness=0.3):
        factors.append(changed.sum() / face.sum())
        np.testing.assert_allclose(changed, face * factors[-1], atol=1.1)
    assert_fills(factors, 0.7, 1.3)


def test_contrast_multiplies_the_distance_from_the_mean_light():
    face, factors = draw(low=60, high=196), []
    mean = (face @ [0.299, 0.587, 0.114]).mean()
    for changed in apply(face, contrast=0.4):
        offset, new = face - mean, changed - mean
        factors.append((offset * new).sum() / (offset**2).sum())
        np.testing.assert_allclose(new, offset * factors[-1], atol=1.6)
    assert_fills(factors, 0.6, 1.4)


def test_grey_images_show_the_light_in_each_channel():
    face = draw()
    light = (face @ [0.299, 0.587, 0.114])[:, :, None]  # ITU-R BT.601
    for changed in apply(face, range(5), grey=1):
        np.testing.assert_allclose(changed, light.repeat(3, 2), atol=1)
        assert (changed == changed[:, :, :1]).all()
    grey = [(changed == changed[:, :, :1]).all() for changed in apply(face, range(400), grey=0.25)]
    assert 65 <= sum(grey) <= 135


# Detail


@pytest.mark.parametrize("high, sigma", [(False, 0.3), (True, 1.5)])
def test_blur_takes_as_much_from_noise_as_scipys_gaussian(high, sigma):
    class Always(Extreme):
        def random(self):
            return 0.0

    noise = draw()
    expected = ndimage.gaussian_filter(noise.astype(float), (sigma, sigma, 0)).std()
    changed = Augmentation(blur=0.5)(noise, Always(high)).astype(float)
    assert changed.std() == pytest.approx(expected, rel=0.15)  # Pillow's is made of boxes
    assert changed.mean() == pytest.approx(noise.mean(), abs=1)


def test_low_resolution_keeps_what_is_coarse_and_loses_what_is_fine():
    ramp = np.repeat(np.arange(60, 188, 2)[None, :, None], 64, 0).repeat(3, 2).astype(np.uint8)
    checkers = (np.indices((64, 64)).sum(0) % 2 * 200).astype(np.uint8)[..., None].repeat(3, 2)
    for changed, fine in zip(apply(ramp, low_resolution=1), apply(checkers, low_resolution=1), strict=True):
        np.testing.assert_allclose(changed[:, 4:-4], ramp[:, 4:-4], atol=3)
        assert fine.std() < checkers.std() / 2


@pytest.mark.parametrize("name", ["blur", "low_resolution"])
def test_a_quarter_loses_detail_where_it_is_asked_for(name):
    face = draw(16, 16)
    changed = [not np.array_equal(image, face) for image in apply(face, range(400), **{name: 0.25})]
    assert 65 <= sum(changed) <= 135


# Flips that are told


def test_a_change_tells_whether_it_flipped():
    face = draw()
    told = [Augmentation(flip=0.5).change(face, np.random.default_rng(seed)) for seed in SEEDS]
    assert all(np.array_equal(image, face[:, ::-1] if flipped else face) for image, flipped in told)
    assert {flipped for _, flipped in told} == {True, False}


# Occlusion


@pytest.mark.parametrize("shape", [(64, 64), (80, 60)])
def test_occlusion_is_one_grey_rectangle_of_a_share_in_the_range(shape):
    face = draw(*shape, high=128)  # never 128 itself
    shares, tops, lefts = [], [], []
    for changed in apply(face, range(200), occlusion=(0.05, 0.2)):
        covered = (changed == 128).all(2)
        rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
        h, w = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert covered.sum() == h * w
        np.testing.assert_array_equal(changed[~covered], face[~covered])
        rounding = (h + w + 1) / 2 / covered.size  # half a pixel on each side
        assert 0.05 - rounding <= covered.mean() <= 0.2 + rounding
        assert 0.45 < (h / shape[0]) / (w / shape[1]) < 2.2
        shares.append(covered.mean())
        tops.append(rows[0] / (shape[0] - h))
        lefts.append(columns[0] / (shape[1] - w))
    assert_fills(shares, 0.05, 0.2)
    assert_fills(tops, 0, 1)
    assert_fills(lefts, 0, 1)


# What a camera or a file does


def test_a_warp_moves_no_point_further_than_it_may_and_some_that_far():
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None] * 3, (64, 64, 3)).copy()  # 3 a row
    inside = slice(8, -8)
    moves = [np.abs(image[inside, inside].astype(int) - ramp[inside, inside]) / 3 for image in apply(ramp, warp=0.05)]
    assert 0.6 * 0.05 * 64 < np.max(moves) <= 0.05 * 64 + 0.4, "a share of the width, and rounding"
    assert np.array_equal(apply(ramp, warp=1e-9)[0], ramp)


def test_jpeg_is_that_of_opencv_at_a_quality_from_10_to_60_as_often_as_asked():
    face = draw()
    known = {corruptions.jpeg(face, quality).tobytes() for quality in range(10, 61)}
    images = [image.tobytes() for image in apply(face, jpeg=0.5)]
    plain = sum(image == face.tobytes() for image in images)
    assert 0.25 < plain / len(images) < 0.75
    assert set(images) - {face.tobytes()} < known


# The named ones


def test_moves_of_a_mirrored_face_are_as_wide_as_those_of_a_plain_one():
    face = spots((-12, 0), (12, 0), (0, 12))
    changed = [find(image) for image in apply(face, flip=0.5, shift=0.06)]
    mirrored = [spot for spot in changed if spot[0, 0] > 0]
    assert 15 <= len(mirrored) <= 45
    for spot in changed:
        sign = -1 if spot[0, 0] > 0 else 1
        assert (np.abs(spot - find(face) * [sign, 1]) <= 0.06 * 64 + 0.1).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_named_augmentations_run(name):
    face = draw()
    images = [AUGMENTATIONS[name](face, np.random.default_rng(seed)) for seed in range(20)]
    assert all(image.shape == face.shape and image.dtype == np.uint8 for image in images)
    assert len({image.tobytes() for image in images}) == {"none": 1, "flip": 2}.get(name, 20)
