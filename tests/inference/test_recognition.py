from dataclasses import replace

import numpy as np
import pytest

from facelib.data.detection import Face
from facelib.data.images import Unreadable
from facelib.inference import gallery, recognition
from facelib.inference.gallery import Gallery
from tests.inference.test_decision import CARD

FACE = Face(np.array([10.0, 20.0, 60.0, 90.0]), np.zeros((5, 2)), 0.9)


class Verifier:
    """Sees the faces it was given, whatever the photo."""

    def __init__(self, *seen, card=CARD):
        self.seen, self.card = seen, card

    def everybody(self, photo):
        if photo == "text":
            raise Unreadable("not an image")
        return np.zeros((100, 100, 3), np.uint8), [(FACE, each) for each in self.seen]


@pytest.fixture
def known():
    return Gallery(CARD).adding(["ann", "bob"], ["1.jpg", "2.jpg"], np.eye(2))


def at(angle):
    return np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))], np.float32)


def test_each_face_gets_the_name_of_the_nearest_photo_within_the_threshold(known):
    """At a FAR of .01 the threshold is .6, the strictest of the card; cosine distances are 1 - cos(angle)."""
    verifier = Verifier(at(0), at(80), at(-70), "too small")
    _, seen = recognition.identify(known, "picture", verifier)
    assert [each.name for each in seen] == ["ann", "bob", None, None]
    assert [each.nearest for each in seen] == ["ann", "bob", "ann", None]
    assert seen[1].decision.distance == pytest.approx(1 - np.cos(np.radians(10)))
    assert seen[2].decision.distance == pytest.approx(1 - np.cos(np.radians(70))) and seen[2].decision.threshold == 0.6
    assert seen[3].decision is None and seen[3].reason == "too small"


def test_the_rate_and_the_prior_can_be_chosen(known):
    verifier = Verifier(at(-70))
    assert recognition.identify(known, "picture", verifier, far=0.1)[1][0].name == "ann"
    even, rare = (recognition.identify(known, "picture", verifier, prior=p)[1][0].decision for p in (0.5, 0.01))
    assert even.probability > rare.probability and even.same is rare.same
    with pytest.raises(ValueError, match="choose one of 0.1, 0.01"):
        recognition.identify(known, "picture", verifier, far=0.5)


def test_the_prior_is_shared_by_all_who_are_enrolled(known):
    """With a calibration of logit z and a prior of .5 among two people the odds are exp(z) (1/4) / (3/4)."""
    seen = recognition.identify(known, "picture", Verifier(at(-70)))[1][0]
    alone = recognition.identify(known.without("bob"), "picture", Verifier(at(-70)))[1][0]
    odds = [each.decision.probability / (1 - each.decision.probability) for each in (alone, seen)]
    assert odds[0] / odds[1] == pytest.approx(3)


def test_an_empty_gallery_names_nobody_and_an_empty_picture_shows_nobody(known):
    [seen] = recognition.identify(Gallery(CARD), "picture", Verifier(at(0)))[1]
    assert seen.name is seen.nearest is seen.decision is None
    assert recognition.identify(known, "picture", Verifier())[1] == []


def test_a_face_that_an_index_finds_nobody_for_has_no_nearest(known, monkeypatch):
    monkeypatch.setattr(Gallery, "_search", lambda self, queries, k: np.full((len(queries), k), -1))
    _, [seen] = recognition.identify(known, "a.jpg", Verifier(at(0)))
    assert seen.name is seen.nearest is seen.decision is None


def test_the_strictest_threshold_is_the_smallest_rate_that_has_one():
    assert recognition.strict(CARD) is CARD.thresholds[1] and recognition.strict(CARD, 0.1) is CARD.thresholds[0]
    assert recognition.strict(replace(CARD, thresholds=CARD.thresholds[:1])).far == 0.1


def test_false_alarms_grow_with_the_gallery(known):
    aimed = CARD.thresholds[0]
    expected = [1 - (1 - rate) ** 2 for rate in (0.1, aimed.far_low, aimed.far_high)]
    assert recognition.false_alarms(known, CARD, 0.1) == pytest.approx(expected)
    counted = replace(CARD, far_of_all=((0.2, 0.1, 0.3), (0.02, 0.01, 0.03)))
    assert recognition.false_alarms(known, counted, 0.1) == pytest.approx([0.36, 0.19, 0.51])
    assert recognition.false_alarms(known, counted) == pytest.approx([0.0396, 0.0199, 0.0591])
    assert recognition.false_alarms(Gallery(CARD), CARD, 0.1) == (0, 0, 0)


def test_all_faces_of_photos_and_why_others_have_none():
    found, vectors, refused = recognition.everybody(["a.jpg", "text"], Verifier(at(0), "too small", at(90)))
    assert found == [("a.jpg", FACE)] * 2 and vectors.shape == (2, 2) and refused == {"text": "not an image"}
    assert recognition.everybody(["a.jpg"], Verifier("too small", "cut off"))[2] == {"a.jpg": "too small; cut off"}
    assert recognition.everybody(["a.jpg"], Verifier())[2] == {"a.jpg": "no face found"}


def test_from_photos_to_names_with_the_shipped_network(tmp_path):
    """Rendered people, enrolled from two photos each, in one picture with somebody who is not enrolled."""
    from facelib.data import rendered
    from facelib.inference import decision

    shots = {name: [np.array(rendered.render_face(n, shot, size=256)) for shot in range(3)] for name, n in PEOPLE}
    photos = [(name, f"{name}/{k}", shots[name][k]) for name in ("ann", "bob") for k in range(2)]
    known, refused = gallery.enrol(tmp_path / "people.npz", photos, decision.load())
    assert not refused and known.people == ("ann", "ann", "bob", "bob")
    picture = np.hstack([shots[name][2] for name, _ in PEOPLE])
    _, seen = recognition.identify(known, picture, decision.load())
    seen = sorted(seen, key=lambda each: each.face.centre[0])
    assert [each.nearest for each in seen[:2]] == ["ann", "bob"] and len(seen) == 3
    assert seen[2].decision.distance > max(each.decision.distance for each in seen[:2])


PEOPLE = (("ann", 104), ("bob", 111), ("eve", 102))
