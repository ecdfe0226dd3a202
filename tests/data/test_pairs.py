"""Drawn pairs, splits, LFW's lists and the search for leaks, against their definitions."""

import io
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import chisquare
from sklearn.metrics import roc_auc_score

from facelib import runtime
from facelib.data import leaks, pairs
from facelib.data.pairs import Pairs

# Pairs


def test_pairs_hold_rows_as_int64_and_give_people():
    drawn = Pairs([0, 2], np.array([1, 3], dtype=np.uint8), np.array([True, False]), [0, 1])
    assert len(drawn) == 2
    assert [drawn.left.dtype, drawn.right.dtype, drawn.fold.dtype] == [np.int64] * 3
    left, right = drawn.people(np.array(["ann", "ann", "bob", "cy"]))
    assert (list(left), list(right)) == (["ann", "bob"], ["ann", "cy"])
    assert len(Pairs([], [], [])) == 0


@pytest.mark.parametrize(
    "columns, message",
    [
        (([0, 1], [1], [True, False]), "right: expected"),
        (([0.5], [1], [True]), "left: expected"),
        (([0], [1], [1]), "genuine: expected"),
        (([0], [1], [True], [0, 1]), "fold: expected"),
        (([0, 3], [1, 3], [True, True]), "pair 1: .* 3 and 3"),
        (([0], [-1], [True]), "pair 0"),
    ],
)
def test_pairs_refuse_what_makes_no_sense(columns, message):
    with pytest.raises(ValueError, match=message):
        Pairs(*columns)


# Drawing


@pytest.fixture
def labels():
    """40 people with 1 to 8 images, in no order; the numbers of people have gaps."""
    rng = np.random.default_rng(0)
    return rng.permutation(np.repeat(np.arange(40) * 7, np.arange(40) % 8 + 1))


def keys(drawn, which):
    both = np.sort(np.stack([drawn.left, drawn.right]), axis=0)[:, which]
    return set(zip(*both.tolist(), strict=True))


def test_drawn_pairs_are_what_they_say(labels):
    drawn = pairs.draw_pairs(labels, 150, 250, seed=1)
    left, right = drawn.people(labels)
    np.testing.assert_array_equal(left == right, drawn.genuine)
    np.testing.assert_array_equal(drawn.genuine, np.arange(400) < 150)
    assert len(keys(drawn, drawn.genuine)) == 150 and len(keys(drawn, ~drawn.genuine)) == 250
    assert drawn.fold is None


def test_drawing_depends_on_the_seed_alone(labels):
    one, same, other = (pairs.draw_pairs(labels, 50, 50, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal([one.left, one.right], [same.left, same.right])
    assert (one.left != other.left).any()


@pytest.mark.parametrize("grouped", [False, True])
def test_all_pairs_that_exist_can_be_drawn_and_no_more(labels, grouped):
    groups = labels % 3 if grouped else None
    group = groups if grouped else np.zeros_like(labels)
    every = list(combinations(range(len(labels)), 2))
    genuine = {(i, j) for i, j in every if labels[i] == labels[j]}
    impostor = {(i, j) for i, j in every if labels[i] != labels[j] and group[i] == group[j]}
    drawn = pairs.draw_pairs(labels, len(genuine), len(impostor), seed=0, groups=groups)
    assert keys(drawn, drawn.genuine) == genuine and keys(drawn, ~drawn.genuine) == impostor
    with pytest.raises(ValueError, match=f"genuine.*only {len(genuine)} exist"):
        pairs.draw_pairs(labels, len(genuine) + 1, 0, seed=0, groups=groups)
    with pytest.raises(ValueError, match=f"impostor.*only {len(impostor)} exist"):
        pairs.draw_pairs(labels, 0, len(impostor) + 1, seed=0, groups=groups)


def test_a_person_in_two_groups_is_no_impostor_to_itself():
    labels, groups = np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1])
    drawn = pairs.draw_pairs(labels, 1, 2, seed=0, groups=groups)
    assert keys(drawn, ~drawn.genuine) == {(0, 2), (1, 3)}


def test_people_are_drawn_uniformly_however_many_images_they_have():
    sizes = np.array([20, 40, 80, 160, 320])
    labels = np.repeat(np.arange(5), sizes)
    genuine, impostor = Counter(), Counter()
    for seed in range(200):
        drawn = pairs.draw_pairs(labels, 10, 10, seed)
        left, right = drawn.people(labels)
        genuine.update(left[drawn.genuine].tolist())
        two = np.sort([left[~drawn.genuine], right[~drawn.genuine]], axis=0)
        impostor.update(zip(*two.tolist(), strict=True))
    assert chisquare([genuine[k] for k in range(5)]).pvalue > 0.001
    assert chisquare([impostor[pair] for pair in combinations(range(5), 2)]).pvalue > 0.001


def test_groups_are_drawn_by_their_number_of_people():
    labels = np.arange(60).repeat(10)
    groups = np.where(labels < 45, "small photos", "large photos")
    groups[labels == 59] = "alone"  # nobody to be compared with
    counts = Counter()
    for seed in range(100):
        drawn = pairs.draw_pairs(labels, 0, 10, seed, groups)
        assert (groups[drawn.left] == groups[drawn.right]).all()
        counts.update(groups[drawn.left].tolist())
    assert "alone" not in counts
    observed = counts["small photos"], counts["large photos"]
    assert chisquare(observed, [1000 * 45 / 59, 1000 * 14 / 59]).pvalue > 0.001


def test_pairs_by_source_stay_within_it_and_are_as_many_of_each_kind():
    # Two people with nine photos each in the first source, twenty with two in the second, one alone in the third.
    labels = np.concatenate([np.repeat([0, 1], 9), np.repeat(np.arange(2, 22), 2), [22, 22]])
    sources = np.repeat(["a", "b", "c"], [18, 40, 2])
    drawn = pairs.draw_by_source(labels, sources, 30, seed=1)
    assert (sources[drawn.left] == sources[drawn.right]).all()
    assert ((labels[drawn.left] == labels[drawn.right]) == drawn.genuine).all()
    numbers = {(s, g): ((sources[drawn.left] == s) & (drawn.genuine == g)).sum() for s in "abc" for g in (True, False)}
    # The second source has twenty genuine pairs; the third no impostor.
    assert list(numbers.values()) == [30, 30, 20, 20, 0, 0]
    assert (np.array(["a", "b"])[drawn.fold] == sources[drawn.left]).all()


def test_knowing_the_source_does_not_help_on_pairs_by_source():
    labels = np.concatenate([np.repeat([0, 1, 2], 30), np.repeat(np.arange(3, 150), 2)])
    sources = (labels > 2).astype(int)
    by_source, pooled = (
        pairs.draw_by_source(labels, sources, 500, 0),
        pairs.draw_pairs(labels, 500, 500, 0, groups=sources),
    )
    assert roc_auc_score(by_source.genuine, sources[by_source.left]) == pytest.approx(0.5)
    assert abs(roc_auc_score(pooled.genuine, sources[pooled.left]) - 0.5) > 0.2


def test_sources_without_pairs_are_an_error():
    with pytest.raises(ValueError, match="1 genuine and 0 impostor pairs; 0 genuine and 1 impostor"):
        pairs.draw_by_source([0, 0, 1, 2], [0, 0, 1, 1], 5, seed=0)


def test_balanced_pairs_keep_all_of_the_rarer_kind_and_draw_from_the_other():
    genuine = np.arange(50) % 5 == 0  # 10 genuine, 40 impostor pairs
    some = Pairs(np.arange(50), np.arange(50) + 50, genuine, np.arange(50) % 3)
    found = some.balanced(0)
    assert found.genuine.sum() == (~found.genuine).sum() == 10
    assert found.left[found.genuine].tolist() == list(range(0, 50, 5))
    assert (np.diff(found.left) > 0).all() and (found.right == found.left + 50).all()
    assert (found.fold == found.left % 3).all() and (found.genuine == (found.left % 5 == 0)).all()
    drawn = Counter(row for seed in range(400) for row in some.balanced(seed).left if row % 5)
    assert len(drawn) == 40 and chisquare(list(drawn.values())).pvalue > 1e-3  # 10 of 40 without favourites


def test_drawing_from_many_images():
    labels = np.random.default_rng(0).integers(1333, size=440_000)
    drawn = pairs.draw_pairs(labels, 3000, 3000, seed=0)
    left, right = drawn.people(labels)
    np.testing.assert_array_equal(left == right, drawn.genuine)


# LFW's lists

TWO_FOLDS = "2\t1\nAnn_Lee\t1\t3\nAnn_Lee\t2\tBo\t1\nBo\t1\t2\nBo\t2\tD'Arcy_O-Jr.\t10\n"


def write(folder, text):
    path = folder / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_lfw_lists_with_folds(tmp_path):
    assert pairs.read_lfw_pairs(write(tmp_path, TWO_FOLDS)) == [
        ("Ann_Lee", 1, "Ann_Lee", 3, True, 0),
        ("Ann_Lee", 2, "Bo", 1, False, 0),
        ("Bo", 1, "Bo", 2, True, 1),
        ("Bo", 2, "D'Arcy_O-Jr.", 10, False, 1),
    ]


def test_lfw_lists_without_folds_and_with_windows_line_ends(tmp_path):
    text = "2\r\nA\t1\t2\r\nB\t1\t2\r\nA\t1\tB\t1\r\nA\t2\tB\t2\r\n"
    records = pairs.read_lfw_pairs(write(tmp_path, text))
    assert [r.genuine for r in records] == [True, True, False, False]
    assert {r.fold for r in records} == {0}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\t", "  ").encode(),
        lambda text: text.replace("\t", " \t ").encode(),
        lambda text: text.replace("\n", "\t\t\n").encode(),
        lambda text: text.replace("\t", " ").replace("\n", " \t\n").encode(),
        lambda text: re.sub(r"\t(?=\d+$)", " ", text, flags=re.MULTILINE).encode(),
        lambda text: text.replace("\n", "   \n").encode(),
        lambda text: (text + "\n \n\t\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    ],
)
def test_lfw_lists_as_editors_leave_them(tmp_path, change):
    expected = pairs.read_lfw_pairs(write(tmp_path, TWO_FOLDS))
    (tmp_path / "pairs.txt").write_bytes(change(TWO_FOLDS))
    assert pairs.read_lfw_pairs(tmp_path / "pairs.txt") == expected
    (tmp_path / "pairs.txt").write_bytes(TWO_FOLDS.encode() + b"\xff")
    with pytest.raises(ValueError, match="pairs.txt' is no text in UTF-8"):
        pairs.read_lfw_pairs(tmp_path / "pairs.txt")


def test_names_with_blanks_in_lists_with_tabs(tmp_path):
    records = pairs.read_lfw_pairs(write(tmp_path, "1\nAnn Lee 2\t1\t3\t\nAnn Lee 2\t2\tBo\t1\n"))
    assert [record[:4] for record in records] == [("Ann Lee 2", 1, "Ann Lee 2", 3), ("Ann Lee 2", 2, "Bo", 1)]


@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1, 2], [0], [], [5, 5], [1, 2, 3]])
def test_existing_pairs_are_counted(labels):
    both = list(combinations(labels, 2))
    genuine = sum(one == other for one, other in both)
    assert pairs.existing(np.array(labels)) == (genuine, len(both) - genuine)
    assert pairs.at_most(np.array(labels), 3) == min(3, genuine, len(both) - genuine)


@pytest.mark.parametrize(
    "text, message",
    [
        (TWO_FOLDS.replace("Bo\t1\t2", "Bo\t1"), "line 4: expected name, number, number, got"),
        (TWO_FOLDS.replace("Bo\t1\t2", "Bo\t1\tBo\t2"), "line 4"),
        (TWO_FOLDS.replace("2\tBo\t1", "2\tBo"), "line 3: expected name, number, name, number"),
        (TWO_FOLDS.replace("2\tBo\t1", "two\tBo\t1"), "line 3"),
        (TWO_FOLDS.replace("2\t1\n", "2 x\n"), "line 1: expected one or two numbers"),
        (TWO_FOLDS.replace("2\t1\n", "2\t0\n"), "line 1"),
        (TWO_FOLDS + "Bo\t1\t3\n", "promises 4 pairs, got 5"),
        ("", "line 1"),
    ],
)
def test_malformed_lfw_lists_name_file_and_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"pairs\.txt.*{message}"):
        pairs.read_lfw_pairs(write(tmp_path, text))


def test_lfw_pairs_find_their_images(tmp_path):
    records = pairs.read_lfw_pairs(write(tmp_path, TWO_FOLDS))
    paths = [
        "Bo/Bo_0002.png",
        "lfw/Ann_Lee/Ann_Lee_0001.jpg",
        "D'Arcy_O-Jr./D'Arcy_O-Jr._0010.jpeg",
        "Ann_Lee/Ann_Lee_0002.JPG",
        "Ann_Lee/Ann_Lee_0003.jpg",
        "Bo/Bo_0001.webp",
    ]
    found = pairs.match_lfw_pairs(records, paths)
    assert (found.left.tolist(), found.right.tolist()) == ([1, 3, 5, 0], [4, 5, 0, 2])
    assert found.genuine.tolist() == [True, False, True, False]
    assert found.fold.tolist() == [0, 0, 1, 1]


def test_lfw_names_match_in_either_unicode_form(tmp_path):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    records = pairs.read_lfw_pairs(write(tmp_path, f"1\n{composed}\t1\t2\n{composed}\t1\tBo\t1\n"))
    paths = [f"{decomposed}/{decomposed}_000{k}.jpg" for k in (1, 2)] + ["Bo/Bo_0001.jpg"]
    assert pairs.match_lfw_pairs(records, paths).right.tolist() == [1, 2]


def test_missing_lfw_images_are_listed(tmp_path):
    records = pairs.read_lfw_pairs(write(tmp_path, TWO_FOLDS))
    with pytest.raises(FileNotFoundError, match="5 images.*Ann_Lee_0001, Ann_Lee/Ann_Lee_0002"):
        pairs.match_lfw_pairs(records, ["Bo/Bo_0001.jpg"])


@pytest.fixture
def lfw():
    folder = runtime.data_dir() / "lfw"
    if not (folder / "pairs.txt").is_file():
        pytest.skip("LFW's pairs.txt is not there: set FACELIB_DATA to the folder that holds lfw/")
    return folder


def test_the_real_view_2(lfw):
    records = pairs.read_lfw_pairs(lfw / "pairs.txt")
    counts = Counter((record.fold, record.genuine) for record in records)
    assert counts == {(fold, genuine): 300 for fold in range(10) for genuine in (True, False)}
    assert records[0] == ("Abel_Pacheco", 1, "Abel_Pacheco", 4, True, 0)
    assert all((r.name_left == r.name_right) == r.genuine for r in records)
    people = [{r.name_left for r in records if r.fold == k} for k in range(10)]
    people = [p | {r.name_right for r in records if r.fold == k} for k, p in enumerate(people)]
    assert all(not one & other for one, other in combinations(people, 2))  # as LFW promises
    images = {image for r in records for image in (r[:2], r[2:4])}
    paths = [f"{name}/{name}_{number:04d}.jpg" for name, number in sorted(images)]
    found = pairs.match_lfw_pairs(records, paths)
    names = np.array([path.split("/")[0] for path in paths])
    left, right = found.people(names)
    assert list(left) == [r.name_left for r in records]
    assert list(right) == [r.name_right for r in records]


@pytest.mark.parametrize("name, size", [("pairsDevTrain.txt", 1100), ("pairsDevTest.txt", 500)])
def test_the_real_view_1(lfw, name, size):
    records = pairs.read_lfw_pairs(lfw / name)
    assert Counter(r.genuine for r in records) == {True: size, False: size}
    assert all((r.name_left == r.name_right) == r.genuine for r in records)


# Leaks


def test_shared_names_are_found_however_they_are_spelt():
    a = ["George W Bush", "zoe\u0308_kravitz", "Nobody", "STRASSE"]
    b = ["george_w_bush", "Zo\u00eb Kravitz", "Somebody", "stra\u00dfe"]
    assert leaks.check_disjoint(a, b) == ["George W Bush", "STRASSE", "zoe\u0308_kravitz"]
    assert leaks.check_disjoint(["a", "b"], ["c"]) == []


@pytest.fixture(scope="module")
def photos():
    """60 different pictures with detail at two scales on the same coarse shading."""
    rng = np.random.default_rng(0)
    shared = gaussian_filter(rng.normal(size=(96, 96)), 16)
    textures = [sum(gaussian_filter(rng.normal(size=(96, 96)), s) * s**2 for s in (3, 6)) for _ in range(60)]
    grey = np.stack([texture + 400 * shared for texture in textures])
    grey = (grey - grey.min()) / np.ptp(grey) * 255
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=3)


def recompressed(image, quality=30):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def edited(image, size=96, degrees=0.0, zoom=1.0, shift=0):
    """The picture turned, zoomed and moved to the right by some pixels, in another size."""
    wide = Image.fromarray(np.pad(image, ((32, 32), (32, 32), (0, 0)), mode="reflect"))
    low, high = 80 - 48 / zoom, 80 + 48 / zoom
    box = (low - shift, low, high - shift, high)
    turned = wide.rotate(degrees, Image.Resampling.BICUBIC)
    return np.asarray(turned.resize((size, size), Image.Resampling.BICUBIC, box=box))


def test_copies_within_a_set_are_found(photos, tmp_path):
    images = np.concatenate([photos, photos[[7]], recompressed(photos[11])[None]])
    np.save(tmp_path / "images.npy", images)
    found, candidates = leaks.near_duplicates(np.load(tmp_path / "images.npy", mmap_mode="r"))
    assert list(zip(found["i"], found["j"], strict=True)) == [(7, 60), (11, 61)]
    assert found["hamming"][0] == 0 and found["correlation"][0] == pytest.approx(1, abs=1e-4)
    assert candidates >= 2


def test_copies_in_another_size_pose_and_light_are_found(photos):
    copies = [
        edited(photos[3], size=64),
        edited(photos[5], size=64, degrees=4),
        edited(photos[8], size=64, zoom=1.04),
        edited(photos[9], size=64, shift=3),
        edited(255 - (255 - photos[20]) // 2, size=64),
        edited(np.roll(photos[30], 40, axis=(0, 1)), size=64),  # too far away to be found
    ]
    found, _ = leaks.near_duplicates(photos, np.stack(copies), min_correlation=0.94)
    matches = sorted(zip(found["i"].tolist(), found["j"].tolist(), strict=True))
    assert matches == [(3, 0), (5, 1), (8, 2), (9, 3), (20, 4)]


def test_alike_hashes_alone_are_no_duplicates(photos):
    found, candidates = leaks.near_duplicates(photos[:30], photos[30:], max_distance=64)
    assert candidates == 900  # all of them; the pixels decide
    assert len(found) == 0 and list(found) == ["i", "j", "hamming", "correlation"]


def test_the_distance_is_that_of_imagehash(photos):
    import imagehash

    noisy = np.stack([recompressed(image, 10) for image in photos[:10]])
    found, _ = leaks.near_duplicates(photos[:10], noisy, max_distance=64, min_correlation=0.5)
    a = [imagehash.phash(Image.fromarray(image)) for image in photos[:10]]
    b = [imagehash.phash(Image.fromarray(image)) for image in noisy]
    assert len(found) >= 10
    for row in found.itertuples():
        assert row.hamming == a[row.i] - b[row.j]
    for limit in (0, 6, 30):
        _, candidates = leaks.near_duplicates(photos[:10], noisy, max_distance=limit)
        assert candidates == sum(x - y <= limit for x in a for y in b)


def test_pictures_without_detail_are_not_confirmed():
    blank = np.full((3, 64, 64, 3), 128, dtype=np.uint8)
    found, candidates = leaks.near_duplicates(blank)
    assert candidates == 3 and len(found) == 0


def test_compact_pairs_are_the_same_pairs_of_the_rows_they_name():
    whole = Pairs([7, 2, 9], [2, 4, 7], [True, False, False], [0, 1, 1])
    rows, found = whole.compact()
    assert rows.tolist() == [2, 4, 7, 9]
    assert rows[found.left].tolist() == [7, 2, 9] and rows[found.right].tolist() == [2, 4, 7]
    assert found.genuine.tolist() == [True, False, False] and found.fold.tolist() == [0, 1, 1]
