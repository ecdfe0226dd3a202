from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from facelib.data.pairs import Pairs
from facelib.metrics import Estimate, confusion
from facelib.paper import decision_plots, transfer
from facelib.paper.deciding import Judging
from facelib.paper.transfer import Collection
from tests.inference.test_decision import CARD
from tests.paper.test_deciding import Faces, Setting


def collection(shift, people=60, seed=0):
    """People on a line: two photos of one are `shift` apart, of two people at least 1; half choose, half judge."""
    labels = np.repeat(np.arange(people), 2)
    vectors = np.column_stack([10.0 * labels + np.tile([0, shift], people), np.ones(2 * people)])
    first, second = np.arange(0, 2 * people, 2), np.arange(1, 2 * people, 2)
    lists = []
    for half in (slice(0, people // 2), slice(people // 2, None)):
        left, right = np.tile(first[half], 2), np.concatenate([second[half], np.roll(first[half], 1)])
        lists.append(Pairs(left, right, np.repeat([True, False], len(first[half]))))
    return Collection(vectors, labels, *lists)


def test_a_threshold_gets_what_it_gets_on_the_people_who_judge():
    found = {"near": collection(1.0), "far": collection(8.0)}
    got = transfer.got(found, "euclidean", 50, 0)
    assert set(got) == {(a, b) for a in ("paper_9", "near", "far") for b in ("near", "far")}
    for name in found:
        distances = found[name].distances(found[name].judge, "euclidean")
        at_nine = confusion(distances, found[name].judge.genuine, 9.0)
        assert got["paper_9", name]["accuracy"].value == at_nine.accuracy
        assert got["paper_9", name]["far"].value == at_nine.far == 0
    assert got["near", "near"]["accuracy"].value == 1 and got["far", "far"]["accuracy"].value == 1
    assert got["near", "far"]["accuracy"].value in (0.5, 1.0)  # of a threshold between 1 and 10


def test_relatives_choose_nothing():
    lone = collection(1.0)
    found = {"people": lone, "relatives": Collection(lone.vectors, lone.labels, None, lone.judge)}
    assert {of for of, _ in transfer.got(found, "euclidean", 5, 0)} == {"paper_9", "people"}
    assert not found["relatives"].mean.any()
    assert lone.mean == pytest.approx(lone.vectors[:60].mean(0))


def test_subtracting_a_feature_moves_cosines_and_no_euclidean_distance():
    lone = collection(1.0)
    centre = np.array([5.0, 2.0])
    for metric, same in (("euclidean", True), ("cosine", False)):
        moved, plain = (lone.distances(lone.judge, metric, each) for each in (centre, 0))
        assert np.allclose(moved, plain) == same


def families(count=8):
    """Families of two people, three photos each."""
    faces = Faces(np.repeat(np.arange(2 * count), 3))
    faces.names = [f"F{k // 2:02}-MID{k % 2}" for k in range(2 * count)]
    faces.manifest = {"content": "families"}
    return faces


def gray(setting, pixels, network):
    return pixels[:, 0, 0].astype(float) + 1


def test_whole_families_are_in_one_half_and_relatives_are_of_one_family(monkeypatch):
    faces, held_out = families(), families(6)
    monkeypatch.setattr(transfer.catalog, "load", lambda name, progress: faces)
    monkeypatch.setattr(transfer.deciding, "vectors_of", gray)
    setting = Setting(faces, None, transfer_sets="families+demo-more")
    setting.used = {"sets": {}}
    judged = Judging(CARD, families(5), None, np.ones((30, 3)))
    found = transfer.collections(setting, judged, held_out, "transfer_sets")
    assert list(found) == ["others", "somebody", "families", "relatives", "demo_more"]
    family = np.array([name.split("-")[0] for name in faces.names])[faces.labels]
    sides = [
        set(family[each.left]) | set(family[each.right]) for each in (found["families"].choose, found["families"].judge)
    ]
    assert not sides[0] & sides[1] and sides[0] | sides[1] == set(family)
    related = found["relatives"].judge
    impostors = related.select(~related.genuine)
    assert (family[impostors.left] == family[impostors.right]).all() and len(impostors)
    assert set(family[related.left]) <= sides[1]
    assert list(setting.used["sets"]) == ["families+demo-more"]


def test_a_set_that_trained_the_network_is_not_among_the_others(monkeypatch):
    monkeypatch.setattr(transfer.catalog, "load", lambda name, progress: families())
    monkeypatch.setattr(transfer.deciding, "vectors_of", gray)
    setting = Setting(None, None, transfer_sets="families+demo-more")
    setting.used = {"sets": {}}
    card = SimpleNamespace(**vars(CARD) | {"trained_on": "photos of celebfaces and of families"})
    found = transfer.collections(
        setting, Judging(card, families(5), None, np.ones((30, 3))), families(6), "transfer_sets"
    )
    assert "families" not in found and "demo_more" in found
    setting.is_of_the_user = True  # rendered people are no yardstick beside the user's own
    found = transfer.collections(
        setting, Judging(card, families(5), None, np.ones((30, 3))), families(6), "transfer_sets"
    )
    assert not {"families", "demo_more", "relatives"} & found.keys()


def test_features_of_all_sets_are_those_of_the_network_that_is_judged(monkeypatch):
    asked = []

    def vectors_of(setting, pixels, network):
        asked.append(network)
        return gray(setting, pixels, network)

    monkeypatch.setattr(transfer.catalog, "load", lambda name, progress: families())
    monkeypatch.setattr(transfer.deciding, "vectors_of", vectors_of)
    setting = Setting(None, None, transfer_sets="families+demo-more")
    setting.used = {"sets": {}}
    card = SimpleNamespace(**vars(CARD) | {"name": "small"})
    transfer.collections(setting, Judging(card, families(5), None, np.ones((30, 3))), families(6), "transfer_sets")
    assert asked == ["small"] * 3  # those held out, and the two sets; the test people's are at hand


def test_the_figures_show_every_number():
    rate = Estimate(0.25, 0.2, 0.3, 9)
    names = [("a", "b"), ("a", "c"), ("paper_9", "b"), ("paper_9", "c")]
    axes = decision_plots.transfer({pair: {"far": rate, "accuracy": rate} for pair in names})
    assert [text.get_text() for text in axes[1].texts] == ["0.250"] * 4
    table = pd.DataFrame({"spread": [0.2, 0.1], "wilson": [0.2, 0.1], "wrong": [0.3, 0.0]}, index=[60, 200])
    axes = decision_plots.pairs_needed(table)
    assert axes[1].lines[0].get_ydata().tolist() == [0.3, 0]
    plt.close("all")
