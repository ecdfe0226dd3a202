import sqlite3

import numpy as np
import pytest
from scipy.stats import binomtest

from facelib.inference import updates
from facelib.inference.updates import Log, follow, gallery, p_value, recognised

ANN, BOB = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])


def unit(degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=-1)


def test_a_gallery_has_the_mean_of_each_person_s_normalised_features():
    batches = [(["bob", "ann"], np.array([[0, 5.0], [2, 0]])), (["ann"], np.array([[0, 0.1]]))]
    people, centres = gallery(batches)
    assert people.tolist() == ["ann", "bob"]
    assert centres.tolist() == [[0.5, 0.5], [0, 1]]


def test_the_most_similar_person_is_named_whatever_the_lengths():
    enrolled = np.array(["ann", "bob"]), np.array([[0.1, 0.0], [0.0, 9.0]])
    photos = unit([10, 80, 80]) * [[3], [0.2], [1]]
    assert recognised(enrolled, ["ann", "bob", "ann"], photos).tolist() == [True, True, False]


def test_a_log_survives_its_process_and_keeps_the_order(tmp_path):
    log = Log(tmp_path / "photos.db")
    assert (log.append(["ann"], ANN), log.append(["bob", "ann"], np.vstack([BOB, ANN]))) == (1, 2)
    again = list(Log(tmp_path / "photos.db"))
    assert [names for names, _ in again] == [("ann",), ("bob", "ann")]
    assert again[1][1].tolist() == [[0, 2], [1, 0]]


def test_a_reverted_batch_stays_in_the_log_and_does_not_count(tmp_path):
    log = Log(tmp_path / "photos.db")
    log.append(["ann"], ANN)
    kept = gallery(log)
    bad = log.append(["ann"], BOB)
    log.revert(bad)
    assert log.numbers() == [1] and np.array_equal(gallery(log)[1], kept[1])
    assert sqlite3.connect(tmp_path / "photos.db").execute("SELECT COUNT(*) FROM photos").fetchone() == (2,)
    assert log.append(["bob"], BOB) > bad, "numbers are never used twice"
    for wrong in (bad, 99):
        with pytest.raises(ValueError, match=f"no batch {wrong}"):
            log.revert(wrong)


@pytest.mark.parametrize("change", ["DELETE FROM photos", "UPDATE photos SET name = 'eve'", "DELETE FROM batches"])
def test_nothing_in_the_log_can_be_changed(tmp_path, change):
    Log(tmp_path / "photos.db").append(["ann"], ANN)
    with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
        sqlite3.connect(tmp_path / "photos.db").execute(change)


def test_a_batch_that_cannot_be_written_leaves_no_trace():
    log = Log()
    for names, features in ((["ann", "bob"], ANN), ([], ANN[:0])):
        with pytest.raises(ValueError, match="Expected a name for each row"):
            log.append(names, features)
    assert log.numbers() == []


def test_features_of_another_network_are_refused():
    log = Log()
    log.append(["ann"], ANN)
    with pytest.raises(ValueError, match="features of 2 numbers, these have 3"):
        log.append(["ann"], np.ones((1, 3)))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (9, 1), (1, 9), (30, 12)])
def test_the_p_value_is_the_exact_binomial_one(gained, lost):
    new = np.array([True] * gained + [False] * lost + [True, False])
    old = np.array([False] * gained + [True] * lost + [True, False])
    expected = binomtest(gained, gained + lost, 0.5, "greater").pvalue if gained + lost else 1.0
    assert p_value(new, old) == pytest.approx(expected)


def people(count=40, per_batch=3, seed=0):
    """Batches of photos of people on a circle, one of each person per batch; and a control photo of each."""
    rng = np.random.default_rng(seed)
    names, at = np.array([f"p{k}" for k in range(count)]), np.arange(count) * 360 / count
    batches = [(names, unit(at + rng.normal(0, 1, count))) for _ in range(per_batch)]
    return batches, (names, unit(at))


def test_a_poisoned_batch_is_rolled_back_and_the_honest_ones_stay():
    batches, control = people()
    names, features = batches[1]
    poisoned = [batches[0], (np.roll(names, 1), features), batches[2]]
    log = Log()
    steps = list(follow(log, poisoned, control))
    assert [step.reverted for step in steps] == [False, True, False]
    assert [step.accuracy for step in steps] == [1, 1, 1] and steps[1].tried < 0.9
    honest = Log()
    list(follow(honest, [batches[0], batches[2]], control))
    assert np.array_equal(gallery(log)[1], gallery(honest)[1])
    unguarded = list(follow(Log(), poisoned, control, level=0))
    assert not any(step.reverted for step in unguarded)


def test_a_stream_goes_on_where_its_log_ends():
    batches, control = people()
    log = Log()
    list(follow(log, batches[:1], control))
    (step,) = follow(log, [(np.roll(batches[1][0], 1), batches[1][1])], control)
    assert step.reverted and step.p_worse < updates.LEVEL
