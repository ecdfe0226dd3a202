import numpy as np
import pytest

from facelib.metrics import identification
from facelib.metrics.identification import Probes

GALLERY = np.array(["ann", "bob", "cat"])


@pytest.fixture
def searched():
    """Four probes: ann is nearest to herself, bob second, cat third; two strangers are nearest at .3 and .6."""
    distances = [[0.1, 0.5, 0.9], [0.2, 0.4, 0.6], [0.7, 0.2, 0.8], [0.3, 0.7, 0.8], [0.6, 0.9, 0.7]]
    return identification.search(np.array(distances), np.array(["ann", "bob", "cat", "eve", "dan"]), GALLERY)


def test_ranks_by_hand(searched):
    assert searched.rank.tolist() == [1, 2, 3]
    assert searched.distance.tolist() == [0.1, 0.4, 0.8]
    assert searched.people.tolist() == ["ann", "bob", "cat"] and searched.strangers.tolist() == [0.3, 0.6]


def test_the_characteristic_counts_those_within_a_rank(searched):
    assert searched.cmc(4) == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_the_nearest_photo_of_a_person_counts_and_equal_distances_count_against():
    distances = np.array([[0.9, 0.2, 0.2, 0.5]])
    found = identification.search(distances, np.array(["ann"]), np.array(["ann", "ann", "bob", "cat"]))
    assert found.rank.tolist() == [2] and found.distance.tolist() == [0.2]


def test_detection_asks_for_rank_one_within_the_threshold_that_turns_strangers_away():
    found = Probes(
        rank=np.array([1, 1, 1, 2]),
        distance=np.array([0.1, 0.35, 0.6, 0.2]),
        people=np.arange(4),
        strangers=np.array([0.3, 0.5, 0.7, 0.9]),
    )
    assert found.detected(0) == 1 / 4  # below .3: the first alone
    assert found.detected(0.25) == 2 / 4  # below .5; the last is within it, but somebody else is nearer
    assert found.detected(0.5) == 3 / 4 and found.detected(1) == 3 / 4  # without strangers' say it is rank 1


@pytest.mark.parametrize(("far", "passing"), [(0, 0), (0.1, 1), (0.3, 1), (0.19, 1), (0.7, 7), (1, 10)])
def test_a_threshold_lets_no_more_strangers_pass_than_it_may(far, passing):
    strangers = np.array([0.1, 0.2, 0.2, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    limit = identification.threshold(strangers, far)
    assert (strangers <= limit).sum() == passing <= far * 10 + 1e-9
    larger = strangers[strangers > limit]
    assert not len(larger) or (strangers <= larger.min()).sum() > far * 10  # it is the largest such one


def test_intervals_draw_people_with_all_their_probes():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(50), 4)
    alike = Probes(np.repeat(rng.integers(1, 3, 50), 4), np.full(200, 0.1), people, rng.random(100) + 1)
    apart = Probes(alike.rank[rng.permutation(200)], alike.distance, people, alike.strangers)
    one, other = alike.judge(400), apart.judge(400)
    share = (alike.rank == 1).mean()
    error = np.sqrt(share * (1 - share) / 50)  # of 50 independent people
    assert one["rank1"].value == other["rank1"].value == share
    assert one["rank1"].high - one["rank1"].low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert other["rank1"].high - other["rank1"].low < 0.7 * (one["rank1"].high - one["rank1"].low)
    assert one["rank5"].value == 1 and one["rank5"].low == pytest.approx(50 / (50 + 1.959964**2))  # people, not probes
    few = Probes(alike.rank, alike.distance, people, alike.strangers[:99])
    assert few.fars == [0.1] and set(few.judge(5)) == {"rank1", "rank5", "dir_at_far_1e-1"}  # .99 strangers
    assert one["dir_at_far_1e-2"].value == share and one["dir_at_far_1e-2"].n == 300 and one["rank1"].n == 200
