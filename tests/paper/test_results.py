import json
import math
import subprocess
import sys

import pandas as pd
import pytest

from facelib import runtime
from facelib.metrics import intervals
from facelib.paper import claims, results
from facelib.paper.setting import Setting


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    return tmp_path


@pytest.fixture
def claim(monkeypatch):
    """Replace ``claims.csv`` by one claim whose fields the test gives."""

    def make(**fields):
        blank = dict.fromkeys(("id", "claim", "value", "unit", "kind", "result", "notebook", "reason"), "")
        table = pd.DataFrame([{**blank, "id": "X1", "result": "x", **fields}])
        monkeypatch.setattr(claims, "read_claims", lambda: table)

    return make


def setting(place="demo"):
    return Setting(place, place, {"seed": 0, "draws": 3})


def record(profile="demo", notebook="04_threshold", **entries):
    recorder = results.Recorder(notebook, setting(profile))
    for key, value in entries.items():
        recorder(key, *value) if isinstance(value, tuple) else recorder(key, value)
    recorder.save()


def verdict(profile="demo"):
    return claims.verdicts(profile)["verdict"].item()


def test_file_is_flat_and_holds_value_interval_n_unit_notebook(output):
    made = setting()
    recorder = results.Recorder("04_threshold", made)
    recorder("threshold.accuracy", intervals.wilson_interval(183, 200))
    assert str(recorder.result("threshold.accuracy")) == "0.915 [0.868, 0.946]"
    assert made["seed"] == 0
    made.used["parts"]["test"] = "abc"
    recorder.save()
    stored = json.loads((output / "figures" / "demo" / "results.json").read_text())
    entry = stored["threshold.accuracy"]
    assert entry.pop("low") == pytest.approx(0.868, abs=5e-4) and entry.pop("high") == pytest.approx(0.946, abs=5e-4)
    assert entry == {"value": 0.915, "n": 200, "unit": "", "notebook": "04_threshold"}
    provenance = stored["_provenance"]["04_threshold"]
    assert provenance["consumed"] == {"parts": {"test": "abc"}} and provenance["parameters"] == {"seed": 0}
    assert {"cpu", "threads", "paddle", "python"} <= set(provenance["hardware"])
    assert provenance["profile"] == "demo" and provenance["revision"]


def test_saving_again_replaces_the_notebooks_own_entries_only():
    record(notebook="03_similarity", a=1.0, b=2.0)
    record(notebook="04_threshold", c=3.0)
    record(notebook="03_similarity", a=5.0)
    assert {key: entry["value"] for key, entry in results.load("demo").items()} == {"a": 5.0, "c": 3.0}


def test_where_a_notebooks_numbers_come_from():
    with pytest.raises(FileNotFoundError, match="no numbers of 04_threshold yet: run that notebook first"):
        results.provenance("demo", "04_threshold")
    record(x=1)
    assert results.provenance("demo", "04_threshold")["consumed"] == {}
    with pytest.raises(FileNotFoundError, match="no numbers of 06_losses"):
        results.provenance("demo", "06_losses")


def test_the_values_of_the_notebook_s_own_parameters_are_kept(monkeypatch):
    monkeypatch.setattr(results, "own_values", lambda stem: {"depth": 3} if stem == "04_threshold" else {})
    record(x=1)
    assert results.provenance("demo", "04_threshold")["parameters"] == {"depth": 3}


WRITER = """
import sys
from facelib.paper.results import Recorder
from facelib.paper.setting import Setting
for k in range(20):
    record = Recorder(f"{sys.argv[1]}_{k}", Setting("demo", "demo", {}))
    record(f"{sys.argv[1]}.{k}", k)
    record.save()
"""


def test_numbers_of_other_values_are_told_and_left_out(capsys):
    for notebook, name, test_set in (("03_similarity", "old", "/a"), ("04_threshold", "new", "/b")):
        made = Setting("mine", "demo", {"seed": 0, "test_set": test_set})
        assert made["test_set"] == test_set
        recorder = results.Recorder(notebook, made)
        recorder(name, 1.0)
        recorder.save()
    assert results.load("mine").keys() == {"old", "new"}
    capsys.readouterr()
    assert results.load(Setting("mine", "demo", {"seed": 1, "test_set": "/b"})).keys() == {"new"}, (
        "the seed was not used"
    )
    assert capsys.readouterr().out == (
        "Left out: numbers of 03_similarity, an earlier run's with other values of test_set.\n"
    )
    assert claims.verdicts(made).verdict.value_counts().keys().tolist() == ["not run"]


def test_two_processes_that_record_at_once_lose_nothing(output):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name], cwd=runtime.ROOT) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(results.load("demo")) == 40
    assert [path.name for path in (output / "figures" / "demo").iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize("damage", ["<<<<<<< HEAD\n{}\n=======\n", '{"x": {"value": 1', "[1, 2]", '{"x": 3}', ""])
def test_a_damaged_file_is_named_with_what_to_do(output, damage):
    record(x=1)
    path = output / "figures" / "demo" / "results.json"
    path.write_text(damage)
    for read in (lambda: results.load("demo"), lambda: results.provenance("demo", "04_threshold"), lambda: record(x=2)):
        with pytest.raises(ValueError, match="results.json' is damaged.*git checkout -- results.json.*or delete it"):
            read()
    assert path.read_text() == damage, "it is left as it is"


def test_recording_does_not_load_paddle(output):
    code = WRITER + "print([name for name in ('paddle', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, "a"], cwd=runtime.ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_an_interval_that_nobody_knows_is_none_in_the_file_and_nan_for_figures(output):
    recorder = results.Recorder("04_threshold", setting())
    found = recorder("a", intervals.Estimate(0.5, math.nan, math.nan, 2))
    assert math.isnan(found.low) and math.isnan(found.high) and str(found) == "0.500"
    assert recorder.entries["a"]["low"] is None and recorder("b", 0.5).low is None


def test_what_is_not_a_number_becomes_null(output):
    record(a=float("nan"))
    assert results.load("demo")["a"]["value"] is None
    assert "NaN" not in (output / "figures" / "demo" / "results.json").read_text()


def test_results_show_the_interval():
    assert str(results.Result(0.915, 0.868, 0.946, 200)) == "0.915 [0.868, 0.946]"
    assert str(results.Result(1333, unit="people")) == "1,333 people"
    assert str(results.Result(14.25, unit="ms")) == "14.25 ms"


@pytest.mark.parametrize(("low", "high", "expected"), [(0.9, 0.95, "agrees"), (0.93, 0.99, "differs")])
def test_a_number_is_judged_by_the_interval_on_the_papers_own_data(claim, low, high, expected):
    claim(value="92", unit="%", kind="value")
    record("paper", x=(0.94, low, high))
    assert verdict("paper") == expected


def test_a_bound_is_in_the_unit_of_the_result_even_where_the_claim_is_in_per_cent(claim):
    claim(value="40 / 30", unit="%", kind="value:1.3")  # G07: 30 % faster is a ratio of 1.3
    record("paper", x=(1.3, 1.2, 1.4))
    assert verdict("paper") == "agrees"
    record("paper", x=(1.1, 1.0, 1.2))
    assert verdict("paper") == "differs"


def test_a_number_on_other_data_is_neither_confirmed_nor_refuted(claim):
    claim(value="92", unit="%", kind="value")
    record("lfw", x=(0.92, 0.9, 0.94))
    assert verdict("lfw") == "other data"


def test_a_bound_gives_the_claimed_number_in_the_results_unit(claim):
    claim(value="0.014", unit="s", kind="value:14")
    record("paper", x=(13.0, 12.0, 15.0))
    assert verdict("paper") == "agrees"


@pytest.mark.parametrize(
    ("kind", "interval", "expected"),
    [
        ("above:0", (0.01, 0.03), "holds"),
        ("above:0", (-0.03, -0.01), "fails"),
        ("positive", (-0.01, 0.01), "undecided"),
        ("positive", (0.01, 0.03), "holds"),
        ("below:0.001", (0.005, 0.07), "fails"),
        ("below:0.01", (0.0, 0.004), "holds"),
        ("above:0.9", (0.88, 0.95), "undecided"),
        ("above:0.9", (0.91, 0.95), "holds"),
        ("equal:0.01", (-0.006, 0.003), "equal"),
        ("equal:0.01", (-0.02, 0.003), "undecided"),
        ("equal:0.01", (-0.03, 0.03), "undecided"),
        ("equal:0.01", (0.02, 0.03), "fails"),
        ("equal:0.01", (-0.03, -0.02), "fails"),
    ],
)
def test_a_direction_and_an_equivalence_are_judged_by_the_whole_interval(claim, kind, interval, expected):
    claim(kind=kind)
    record(x=(sum(interval) / 2, *interval))
    assert verdict() == expected


@pytest.mark.parametrize(("value", "kind", "expected"), [(0, "above:0", "fails"), (1, "above:0", "holds")])
def test_a_count_leaves_nothing_to_chance(claim, value, kind, expected):
    claim(kind=kind)
    record(x=value)
    assert verdict() == expected


def test_a_number_whose_interval_is_undefined_decides_nothing(claim):
    claim(kind="above:0")
    record(x=(0.3, float("nan"), float("nan"), 24))
    assert verdict() == "undecided"
    recorder = results.Recorder("04_threshold", setting())
    recorder("a", 0.3, float("nan"), float("nan"), 24)
    recorder("b", recorder.result("a"))  # under a second key it is no count either
    assert recorder.entries["b"]["undefined"]
    claim(value="0.3", kind="value")
    record("paper", x=(0.3, float("nan"), float("nan"), 24))
    assert verdict("paper") == "undecided"


@pytest.mark.parametrize(("value", "expected"), [(512, "by construction"), (511, "differs")])
def test_what_the_code_makes_so_is_no_finding(claim, value, expected):
    claim(value="512", kind="construction")
    record(x=value)
    assert verdict() == expected


def test_a_number_that_is_not_there_agrees_with_none(claim):
    claim(value="9", kind="value")
    record(x=(float("nan"), None, None, 6000, "on this grid"))
    assert (claims.verdicts("demo")["ours"].item(), verdict()) == ("none on this grid", "other data")
    record("paper", x=float("nan"))
    assert verdict("paper") == "differs"
    claim(kind="above:0")
    assert verdict() == "undecided"


def test_a_claim_of_two_parts_is_answered_in_both_or_not_at_all(claim):
    claim(kind="below:2; below:100", result="x; y")
    record(x=(1.0, 0.9, 1.1))
    assert verdict() == "not run"
    record(x=(1.0, 0.9, 1.1, 5, "s"), y=(150.0, 140.0, 160.0, 100, "ms"))
    row = claims.verdicts("demo").iloc[0]
    assert (row["verdict"], row["n"]) == ("holds; fails", 5)
    assert row["ours"] == "1.000 [0.900, 1.100] s; 150 [140, 160] ms"


def test_an_unknown_kind_is_named(claim):
    claim(kind="exactly")
    record(x=1)
    with pytest.raises(ValueError, match="X1 has the unknown kind 'exactly'"):
        verdict()


@pytest.mark.parametrize("profile", ["demo", "lfw"])
def test_verdicts_are_in_the_words_of_the_house(monkeypatch, profile):
    monkeypatch.setenv("FACELIB_OUTPUT", str(runtime.ROOT))
    table = claims.verdicts(profile).set_index("id")
    assert {word for cell in table["verdict"] for word in cell.split("; ")} <= set(claims.WORDS)
    assert not {"agrees", "differs"} & set(table["verdict"]), "only on the paper's own data"
    ours = table["tested"].str.contains("ours", na=False)
    assert set(table.index[ours]) <= {
        *("P09", "P10", "P16", "P20", "P22", "P23", "P24", "F08", "V01", "V02", "G04", "G06"),
        "G05",  # its epochs are scaled to ours
    }


def test_a_claim_without_a_result_is_not_run_and_says_why(claim):
    claim(value="1", reason="waits for 10_deploy")
    row = claims.verdicts("demo").iloc[0]
    assert (row["verdict"], row["where"]) == ("not run", "waits for 10_deploy")


def test_every_claim_names_a_known_kind_a_notebook_or_a_reason():
    for claim in claims.read_claims().to_dict("records"):
        kinds = claim["kind"].split("; ")
        assert len(kinds) == len(claim["result"].split("; ")) and bool(claim["kind"]) == bool(claim["result"])
        known = ("", "value", "construction", "positive", "above", "below", "equal")
        assert all(kind.partition(":")[0] in known for kind in kinds), claim["id"]
        assert claim["result"] or claim["reason"], claim["id"]


def test_all_claims_of_the_sources_are_there():
    ids = list(claims.read_claims()["id"])
    expected = {"P": 24, "F": 10, "V": 3, "M": 7, "G": 15}
    assert sorted(ids) == sorted(f"{letter}{k:02d}" for letter, count in expected.items() for k in range(1, count + 1))
