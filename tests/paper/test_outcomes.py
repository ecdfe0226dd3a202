"""What the bench says: means over trainings, two sources of chance, and each number from its definition."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, spearmanr, ttest_ind
from sklearn.metrics import roc_auc_score

from facelib import metrics
from facelib.data.pairs import Pairs
from facelib.metrics import Bootstrap
from facelib.paper import benching, outcomes

PEOPLE, SHOTS = 40, 3
LABELS = np.repeat(np.arange(PEOPLE), SHOTS)


@pytest.fixture
def pairs():
    genuine = [(SHOTS * k, SHOTS * k + 1) for k in range(PEOPLE)]
    left, right = np.array(genuine + [(SHOTS * k, SHOTS * ((k + 7) % PEOPLE)) for k in range(PEOPLE)]).T
    return Pairs(left, right, LABELS[left] == LABELS[right])


def run(pairs, gap, seed):
    """Scores of a made-up training: genuine pairs are nearer by ``gap``."""
    rng = np.random.default_rng(seed)
    distances = (1 + 0.2 * rng.normal(size=len(pairs)) - gap * pairs.genuine).clip(0, 2)
    scatter = np.stack([rng.uniform(1, 2, 10), rng.uniform(3, 4, 10)])
    history = np.array([[0.6, 0.7, 0.75 + gap / 10], [1, 1, 1]])
    kept = {"development.cosine": distances, "development.euclidean": distances[::-1].copy(), "history": history}
    return kept | {"scatter.cosine": scatter, "scatter.euclidean": scatter, "trunk.cosine": np.ones(len(pairs))}


@pytest.fixture
def found(pairs):
    kept = {
        "good": [run(pairs, gap, seed) for seed, gap in enumerate((0.3, 0.5, 0.7))],
        "poor": [run(pairs, 0.1, seed) for seed in (3, 4)],
        "alone": [run(pairs, 0.3, 5)],
    }
    return outcomes.Outcomes(pd.DataFrame(), kept, Bootstrap(pairs, LABELS, 200, 0))


def aucs(found, name):
    genuine = found.people.pairs.genuine
    return [roc_auc_score(genuine, -each["development.cosine"]) for each in found.kept[name]]


def test_a_setting_is_the_mean_of_its_trainings(found):
    assert found.auc["good"][:, 0] == pytest.approx(aucs(found, "good"))
    assert found.mean("good")[0] == pytest.approx(np.mean(aucs(found, "good")))
    assert found.has("good", "poor") and not found.has("good", "missing")


def test_the_chance_of_seeds_is_pooled_over_settings(found):
    deviation, freedom = found.chance
    squares = sum(np.var(aucs(found, name)) * len(aucs(found, name)) for name in ("good", "poor"))
    assert freedom == 3 and deviation == pytest.approx(np.sqrt(squares / 3))


def test_seeds_widen_the_interval_of_a_difference(found):
    both = found.against("good", "poor")
    people = metrics.compared(found.auc["good"].mean(0) - found.auc["poor"].mean(0), len(found.people.pairs))
    assert both.difference.value == pytest.approx(np.mean(aucs(found, "good")) - np.mean(aucs(found, "poor")))
    assert both.verdict == "holds" and found.against("poor", "good").verdict == "fails"
    widths = [each.difference.high - each.difference.low for each in (both, people)]
    assert widths[0] > widths[1]


def test_at_equal_time_the_slower_one_stops_when_the_quicker_is_done(found):
    curves = {name: [[0.5, *each["history"][0]] for each in found.kept[name]] for name in ("good", "poor")}
    last = {name: np.mean([each[-1] for each in some]) for name, some in curves.items()}
    half = {name: np.mean([(each[1] + each[2]) / 2 for each in some]) for name, some in curves.items()}  # 1.5 of 3
    assert found.at_equal_time("good", "poor", 1).difference.value == pytest.approx(last["good"] - last["poor"])
    assert found.at_equal_time("good", "poor", 2).difference.value == pytest.approx(last["good"] - half["poor"])
    assert found.at_equal_time("good", "poor", 0.5).difference.value == pytest.approx(half["good"] - last["poor"])


def test_equal_time_is_student_s_test_over_seeds(found):
    ends = {name: [each["history"][0, -1] for each in found.kept[name]] for name in ("good", "poor")}
    wide = replace(found, people=replace(found.people, replicates=20000))
    known = ttest_ind(ends["good"], ends["poor"])
    low, high = known.confidence_interval()
    got = wide.at_equal_time("good", "poor", 1)
    assert (got.difference.low, got.difference.high) == pytest.approx((low, high), abs=0.02 * (high - low))
    assert got.p_value == pytest.approx(known.pvalue, abs=0.02)


def test_chosen_is_the_setting_whose_first_training_knows_held_out_people_best(found, monkeypatch):
    monkeypatch.setattr(outcomes, "held_out_auc", lambda run: [run["history"][0, -1]])
    assert found.chosen(["poor", "good"]) == "good" and found.chosen(["poor"]) == "poor"


def test_without_a_second_training_people_are_the_only_chance(pairs):
    one = outcomes.Outcomes(pd.DataFrame(), {"alone": [run(pairs, 0.3, 5)]}, Bootstrap(pairs, LABELS, 50, 0))
    assert one.chance == (0.0, 0) and np.array_equal(one.mean("alone"), one.auc["alone"][0])


def test_separation_is_d_prime_of_the_angles(found, pairs):
    angle = np.degrees(np.arccos(1 - found.kept["alone"][0]["development.cosine"]))
    genuine, impostor = angle[pairs.genuine], angle[~pairs.genuine]
    expected = (impostor.mean() - genuine.mean()) / np.sqrt((genuine.var() + impostor.var()) / 2)
    separation = found.separation("alone")
    assert separation.shape == (3, 201) and separation[0, 0] == pytest.approx(expected)
    assert separation[1:, 0] == pytest.approx([genuine.mean(), impostor.mean()])


def test_accuracy_is_judged_at_thresholds_of_the_other_nine_tenths(found, pairs, monkeypatch):
    """Pairs that a distance parts are all right; of distances that are all the same every pair is called impostor."""
    parted, same = np.where(pairs.genuine, 0.2, 0.9), np.ones(len(pairs))
    for number, distances in enumerate((parted, same)):
        found.kept["good"][number] |= {"development.cosine": distances}
    del found.kept["good"][2]
    got = found.accuracy("good")
    assert got.value == pytest.approx((1 + 1 / 2) / 2) and got.low < got.value < got.high and got.n == len(pairs)
    monkeypatch.setattr(benching, "held_out_pairs", lambda key: (pairs, LABELS))
    found.kept["alone"][0] |= {"held_out.cosine": parted, "pairs": np.array("x")}
    got, people = found.accuracy("alone", "held_out"), len(np.unique(LABELS[pairs.left]))
    assert (got.value, got.high, got.n) == (1, 1, len(pairs))  # no draw shows an error: what as many trials would tell
    assert got.low == pytest.approx(binomtest(people, people).proportion_ci(method="wilson").low)


def test_a_threshold_is_never_chosen_on_the_tenth_that_it_judges(found, pairs):
    """One distance in ten lies apart from all others of its kind: no other tenth tells of it."""
    distances = np.where(pairs.genuine, 0.2, 0.9)
    distances[np.flatnonzero(pairs.genuine)[0::10]] = 0.8  # the first tenth; the best threshold of the others is below
    found.kept["alone"][0] |= {"development.cosine": distances}
    assert found.accuracy("alone").value < 1


def test_a_family_is_recorded_and_adjusted_by_holm(found):
    kept, tests = {}, {"against.one.difference": found.against("good", "poor"), "two": found.against("poor", "alone")}
    table = outcomes.family(lambda key, value: kept.setdefault(key, value), tests)
    assert [*table.index] == ["one", "two"] and kept == {key: each.difference for key, each in tests.items()}
    low, high = sorted(each.p_value for each in tests.values())
    assert sorted(table["Holm's p"]) == pytest.approx(sorted([min(1, 2 * low), max(2 * low, high)]), abs=0.001)
    assert outcomes.family(lambda key, value: value, {}).empty


def test_fisher_and_spread_are_ratios_of_sums(found):
    within, between = np.mean([each["scatter.cosine"].sum(1) for each in found.kept["good"]], axis=0)
    assert found.fisher("good").value == pytest.approx(between / within) and found.fisher("good").n == 10
    assert found.fisher("good").low < between / within < found.fisher("good").high
    assert (found.spread_over("good", "good") == 1).all()


def test_epochs_to_an_auc_are_read_from_the_better_setting(found):
    name, epochs = found.epochs_to(0.65, ["good", "poor"])
    assert (name, np.mean(epochs), len(epochs)) == ("good", pytest.approx(1.5), 3)
    assert found.epochs_to(0.9, ["poor"]) == ("poor", [4, 4])  # one longer than it was trained


def test_a_trunk_without_information_is_beaten(found):
    assert found.over_trunk("good").difference.value == pytest.approx(np.mean(aucs(found, "good")) - 0.5)


def test_settings_that_do_not_train_are_counted(found, monkeypatch):
    monkeypatch.setattr(outcomes, "held_out_auc", lambda run: run["history"][0, -1:])
    share, spread = found.settings(["good", "poor", "failed"], 0.78)
    assert share == pytest.approx(1 / 3)
    assert spread[0] == pytest.approx(np.std([np.mean(aucs(found, name)) for name in ("good", "poor")]))


def test_rank_correlation_of_means():
    values = np.array([[1.0, 3], [2, 2], [3, 1]])
    found = metrics.rank_correlation([1, 2, 3], np.repeat(values, [1, 99], axis=1), 7)
    assert (found.value, found.low, found.n) == (
        pytest.approx(1),
        pytest.approx(spearmanr([1, 2, 3], values[:, 1])[0]),
        7,
    )


def test_held_out_auc_is_the_mean_over_the_sources(monkeypatch):
    pairs = Pairs(np.arange(6), np.arange(6, 12), np.array([1, 0, 0, 1, 1, 0], bool), np.array([0, 0, 0, 1, 1, 1]))
    monkeypatch.setattr(benching, "held_out_pairs", lambda key: (pairs, people))
    distances, people = np.array([0.5, 0.4, 0.6, 0.1, 0.2, 0.9]), np.array([1, 2, 3, 4, 5, 6, 1, 7, 8, 4, 5, 9])
    expected = [roc_auc_score(pairs.genuine[some], -distances[some]) for some in (slice(0, 3), slice(3, 6))]
    found = outcomes.held_out_auc({"pairs": "x", "held_out.cosine": distances}, 20)
    assert found.shape == (21,) and found[0] == pytest.approx(np.mean(expected))


def test_left_out_photos_are_counted_by_how_many_their_people_train_with(found):
    for name, own in (("good", [1, 1, 0, 0]), ("poor", [0, 1, 1, 1])):
        for each in found.kept[name]:
            each |= {"left_out.own": np.array(own, bool), "left_out.photos": np.array([2, 3, 20, 25])}
    found.kept["poor"][1]["left_out.own"] = np.array([1, 1, 1, 0], bool)
    few, many = found.recognised("poor", 2, 3), found.recognised("poor", 19, 99)
    assert few[0] == 0.75 and many[0] == 0.75 and len(few) == 201
    gain = found.recognised("good", 2, 3) - few
    assert set(np.round(gain, 6)) <= {0.0, 0.25, 0.5}, "both settings are drawn the same people"
