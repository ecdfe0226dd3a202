from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facelib.data import rendered
from facelib.data.detection import Face
from facelib.inference.recognition import Seen
from facelib.metrics import cosine_distance
from facelib.paper import identification_plots, identifying
from facelib.paper.identifying import Album, Pictures
from tests.inference.test_decision import CARD
from tests.paper.test_deciding import Faces


class Photos(Faces):
    """Gray faces that know who has how many photos, and which photo of a person each is."""

    images_per_identity = property(lambda faces: np.bincount(faces.labels))
    positions = property(
        lambda faces: np.array([(faces.labels[:k] == label).sum() for k, label in enumerate(faces.labels)])
    )


def album(labels, vectors, judge=None):
    judge = np.full(len(labels), True) if judge is None else judge
    choosing = vectors[~judge], np.asarray(labels)[~judge]
    return Album(CARD, Photos(labels), np.asarray(vectors, np.float32), choosing, judge)


def test_the_first_photo_is_enrolled_and_people_with_one_are_strangers():
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.6, 0.5], [0.5, 0.6]])
    found = identifying.search(album([0, 0, 1, 1, 2], vectors))
    assert found.people.tolist() == [0, 1] and found.rank.tolist() == [1, 2]
    assert found.distance == pytest.approx(cosine_distance(vectors[[0, 2]], vectors[[1, 3]]), abs=1e-6)
    assert found.strangers == pytest.approx(cosine_distance(vectors[[2]], vectors[[4]]), abs=1e-6)


def test_where_nobody_has_one_photo_every_third_person_is_a_stranger():
    found = identifying.search(album(np.repeat(np.arange(6), 2), np.random.default_rng(0).normal(size=(12, 4))))
    assert found.people.tolist() == [1, 2, 4, 5] and len(found.strangers) == 4


def test_the_thresholds_of_the_card_are_tried_on_those_who_choose():
    labels = np.repeat(np.arange(4), 3)
    vectors = np.eye(4)[labels] + 0.01 * np.random.default_rng(0).normal(size=(12, 4))
    table = identifying.thresholds(album(labels, vectors, labels < 2))
    assert table.index.tolist() == [0.1, 0.01] and (table["pairwise_f"] == 1).all()
    assert len(identifying.thresholds(album(labels, vectors, labels < 9))) == 0  # nobody chooses


def test_photos_are_sorted_at_the_best_the_strictest_or_even_odds():
    some = album([0, 0, 1], np.eye(3))
    tried = pd.DataFrame({"pairwise_f": [0.2, 0.9]}, index=[0.01, 0.1])
    assert identifying.limit(some, tried) == (0.1, CARD.threshold(0.1).threshold)
    assert identifying.limit(some, pd.DataFrame()) == (0.01, CARD.threshold(0.01).threshold)
    nobody = pd.DataFrame({"pairwise_f": [np.nan]}, index=[0.1])
    assert identifying.limit(some, nobody) == identifying.limit(some, pd.DataFrame())
    without = replace(CARD, thresholds=tuple(replace(each, threshold=None) for each in CARD.thresholds))
    far, distance = identifying.limit(replace(some, card=without), pd.DataFrame())
    assert far is None and CARD.calibration.probability(distance) == pytest.approx(0.5, abs=0.02)


def test_one_person_among_strangers():
    """Ten photos of each of two people, one of them in two heaps of seven and three; strangers are far from all."""
    labels = np.concatenate([np.repeat([0, 1], 10), np.arange(2, 12)])
    place = np.concatenate([np.zeros(10), np.ones(7), np.full(3, 2), np.arange(3, 13)]).astype(int)
    table = identifying.one_among_strangers(album(labels, np.eye(13)[place]), 0.5, 5)
    assert table["together"].tolist() == [1, 0.7] and table["pure"].tolist() == [1, 1]


def test_where_hardly_anybody_has_many_photos_two_are_enough_to_be_sorted():
    few = album(np.repeat(np.arange(5), [12, 2, 2, 1, 3]), np.ones((20, 2)))
    assert few.fewest == 2 and len(few.many()) == 19
    many = album(np.repeat(np.arange(4), [12, 10, 9, 1]), np.ones((32, 2)))
    assert many.fewest == identifying.MANY and len(many.many()) == 22


def test_misfiled_photos_are_somebody_else_s():
    labels = np.repeat([3, 5, 9], 20)
    found, wrong = identifying.misfiled(labels, 0.1)
    assert wrong.sum() == 6 and ((found != labels) == wrong).all() and set(found) <= {3, 5, 9}


def seen(left, name):
    return Seen(Face(np.array([left, 40.0, left + 20, 60.0]), np.zeros((5, 2)), 0.9), name)


def test_names_in_pictures_are_counted_at_the_middle_of_each_third():
    """Ann is named, with somebody else at the edge; Bob is taken for Cat; nobody is found where Cat is."""
    faces = [seen(40, "ann"), seen(0, "eve"), seen(140, "cat")]
    found = Pictures(None, {}, [(np.zeros((100, 300, 3), np.uint8), faces, ["ann", "bob", "cat"])])
    assert [each and each.name for _, each in found.panels] == ["ann", "cat", None]
    right, wrong = identifying.named(found)
    assert (right.value, wrong.value, right.n) == (1 / 3, 1 / 3, 3)


@pytest.mark.parametrize(
    ("photos", "enrolled", "shown"), [([4, 4, 4, 4], 9, 1), ([5, 3, 3, 2], 6, 1), ([2, 1, 2], 2, 1)]
)
def test_few_photos_of_each_still_make_a_picture(tmp_path, photos, enrolled, shown):
    """Three are enrolled where three people have four; else two or one, of fewer people if need be."""
    rendered.write_people(tmp_path / "people", range(100, 100 + len(photos)), photos, size=160, progress=False)
    found = identifying.pictures({"test_set": str(tmp_path / "people")}, 150)
    assert (len(found.gallery) + len(found.refused), len(found.shown)) == (enrolled, shown)
    assert len(found.panels) == min(3, sum(count > enrolled // 3 for count in photos) if enrolled > 2 else 2)


def test_without_a_face_there_is_no_picture(tmp_path, capsys):
    for person in "ab":
        (tmp_path / "people" / person).mkdir(parents=True)
        for shot in range(2):
            gray = np.full((90, 90, 3), 100 + shot, np.uint8)
            Image.fromarray(gray).save(tmp_path / "people" / person / f"{shot}.png")
    assert identifying.pictures({"test_set": str(tmp_path / "people")}, 150) is None
    assert "No picture: no photo could be enrolled" in capsys.readouterr().out


def test_photos_side_by_side_are_squares_of_one_height():
    one, other = np.zeros((30, 30, 3), np.uint8), np.full((60, 50, 3), 255, np.uint8)
    picture = identifying.side_by_side([one, other])
    assert picture.shape == (30, 60, 3) and (picture[:, :30] == 0).all() and (picture[:, 30:] == 255).all()


def test_figures_of_identification():
    found = identifying.search(album([0, 0, 1, 1, 2], np.random.default_rng(0).normal(size=(5, 4))))
    left, right = identification_plots.identification(found, found.judge(5))
    assert left.lines[0].get_xdata().tolist() == [1, 2] and left.lines[0].get_ydata()[-1] == 1  # two are enrolled
    assert right.get_xscale() == "log"
    faces = SimpleNamespace(
        labels=np.array([0, 1, 1]), names=["Ann_A", "Bob"], take=lambda rows: np.zeros((len(rows), 2, 2, 3))
    )
    axes = identification_plots.contact_sheet(faces, np.array([0, 1, 0]), columns=3)
    assert [axis.get_title() for axis in axes.flat] == ["Ann\nA", "Bob", "", "Bob", "", ""]


class Textures(Photos):
    """Faces of 18 x 18 pixels: a person is a texture, a photo is that texture in another light."""

    def select(self, rows):
        return Textures(self.labels[rows], self.rows[rows])

    def take(self, indices):
        textures = [np.random.default_rng(label).integers(0, 100, (18, 18, 1), np.uint8) for label in self.labels]
        return np.stack([textures[k].repeat(3, 2) + self.rows[k] for k in indices])


def test_patterns_sort_textures_whatever_the_light():
    faces, choosers = Textures(np.repeat([1, 2], 12)), Textures(np.repeat(np.arange(3, 13), 2))
    found = Album(CARD, faces, None, (None, None), np.full(24, True), choosers=choosers)
    clusters, far = identifying.by_patterns(found)
    assert clusters.tolist() in ([0] * 12 + [1] * 12, [1] * 12 + [0] * 12) and far in (0.1, 0.01, 0.001)
