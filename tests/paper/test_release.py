import json
from pathlib import Path

import pytest

from facelib.inference import decision
from facelib.paper import claims, release, results
from facelib.paper.setting import Setting


def recorder(notebook, parameters=None, runs=None):
    """A recorder of the profile whose setting has handed out some parameters and runs."""
    setting = Setting("lfw", "lfw", {})
    setting.used["parameters"] |= parameters or {}
    setting.used["runs"] |= runs or {}
    return results.Recorder(notebook, setting)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    record = recorder("03_similarity")
    record("features.dimensions", 512)
    record("all.euclidean_encloses", 0.44, 0.2, 0.8, 6000)
    record("all.euclidean_minus_cosine", 0.02, 0.011, 0.03, 6000)
    record.save()


def test_table_goes_between_the_markers_and_nothing_else_changes(measured):
    text = f"before\n{release.BEGIN}\nstale row\n{release.END}\nafter\n"
    fresh = release.with_table(text)
    assert fresh.startswith(f"before\n{release.BEGIN}\n") and fresh.endswith(f"\n{release.END}\nafter\n")
    assert "stale row" not in fresh and release.with_table(fresh) == fresh


def test_table_holds_what_was_measured_and_counts_the_rest(measured):
    table = release.results_table("lfw")
    rows = [line for line in table.splitlines() if line.startswith("| P")]
    assert [row.split(" | ")[0] for row in rows] == ["| P07", "| P10"]
    assert "| 0.440 [0.200, 0.800]; 0.020 [0.011, 0.030] |" in rows[1] and rows[1].endswith("| 6,000 | fails; fails |")
    assert f"{len(claims.read_claims()) - 2} further claims" in table


def test_numbers_without_an_interval_are_listed_with_the_reason(measured):
    record = recorder("07_decide")
    for key in ("decide.faces_not_found", "gallery.faces_not_found", "unheard.of"):
        record(key, 0)
    record.save()
    found = release.without_interval(results.load("lfw"))
    assert found["a count of all that is there"] == {"*.faces_not_found": 2} and found[""] == {"unheard.of": 1}
    assert sum(sum(patterns.values()) for patterns in found.values()) == 4  # with the 512 dimensions
    assert "| a count of all that is there | `*.faces_not_found` (2) |" in release.results_table("lfw")


def test_a_snippet_gets_what_it_prints():
    text = "a\n```python\nx = 2\nprint(x, 3 * x)  # prints nonsense\n```\n```python\nprint(1)  # prints\n```\n"
    fresh = release.with_prints(text)
    assert fresh == text.replace("# prints nonsense", "# prints 2 6") and release.with_prints(fresh) == fresh


def test_publish_puts_the_choice_of_backends_beside_the_weights(trained):
    results.results_path("lfw").with_name("backends.csv").write_text("sha256,backend\n")
    release.publish()
    assert (trained / "backends.csv").read_text() == "sha256,backend\n"


@pytest.mark.parametrize(("language", "unknown"), [("", "unknown"), (".zh", "未知")])
def test_where_no_genuine_pair_was_counted_the_readme_says_so(measured, language, unknown):
    known, record = decision.read_card(decision.DEFAULT), recorder("07_decide", {}, {})
    record(f"card.{known.name}.far_1e-2.tar", 0.87, 0.855, 0.884, 6000)
    record.save()
    tars = unknown, "87 [86, 88]", unknown
    for far, every, tar in zip(known.thresholds, known.far_of_all, tars, strict=True):
        rates = f"{100 * far.far:.3g} [{100 * far.far_low:.2g}, {100 * far.far_high:.2g}]"
        counted = "{:.3g} [{:.3g}, {:.3g}]".format(*(100 * each for each in every))
        assert f"| {rates} | {counted} | {tar} | {far.threshold:.3f} |" in release.headline(language=language)


def test_a_readme_without_markers_is_refused(measured):
    with pytest.raises(ValueError, match="results:begin"):
        release.with_table("no markers")


@pytest.fixture
def trained(measured, tmp_path, monkeypatch):
    """A finished run and a repository to publish it in; returns the folder of shipped weights."""
    weights = tmp_path / "cache" / "weights.npz"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    weights.with_name("history.csv").write_text("epoch\n1\n")
    record = recorder("02_train", {"run": "net"}, {"net": "abc"})
    record("train.accuracy", 0.998, 0.997, 0.999, 13442)
    record.save()
    row = {"weights_sha256": "f00", "images": "12524", "identities": "2906", "learning_rate": "0.001"}
    row |= {"batch_size": "128", "epochs": "20", "seed": "0", "options": "{}", "best_epoch": "20"}
    from facelib import training
    from facelib.training import runs

    monkeypatch.setattr(training, "find_run", lambda name, key: runs.Run(weights, None, row))
    monkeypatch.setattr(results.runtime, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("claims.csv", "no_interval.csv"):
        (tmp_path / "data" / name).write_bytes((Path(__file__).parent.parent.parent / "data" / name).read_bytes())
    (tmp_path / "README.md").write_text(f"```python\nprint(1)  # prints\n```\n{release.BEGIN}\n{release.END}\n")
    card = Path("data", "weights", f"{decision.DEFAULT}.json")  # the README's first rows say what `compare` promises
    (tmp_path / card).parent.mkdir()
    (tmp_path / card).write_bytes((Path(__file__).parent.parent.parent / card).read_bytes())
    return tmp_path / "data" / "weights"


def test_publish_ships_weights_card_and_table(trained, tmp_path):
    release.publish()
    assert (trained / "net.npz").read_bytes() == b"weights" and (trained / "net.csv").exists()
    card = (trained / "net.md").read_text()
    assert "f00" in card and "12,524 images of 2,906 people" in card and "0.998 [0.997, 0.999]" in card
    assert "the paper's" in card and "non-negative" in card
    assert "P07" in (tmp_path / "RESULTS.md").read_text()
    assert "average precision" in (tmp_path / "README.md").read_text()
    assert json.loads(results.results_path("lfw").read_text())


def test_publish_ships_the_networks_of_the_better_recipe_with_their_own_numbers(trained, monkeypatch):
    from facelib import training
    from facelib.training import runs

    runs_used = {"better": "def", "other": "ghi", "better, seed 1": "xyz", "net": "abc"}
    record = recorder("14_recipes", {"best_networks": {"better": {}, "other": {}}}, runs_used)
    record("best.lfw.view2.mirror.cosine.accuracy", 0.84, 0.83, 0.85, 6000)
    record("best.lfw.view2.mirror_centred.cosine.accuracy", 0.87, 0.86, 0.88, 6000)
    record("best.lfw.view2.seeds", 3)
    record.save()
    paper = training.find_run("net", "abc")
    options = '{"loss": "cosface", "neck": "linear"}'
    better = runs.Run(paper.weights, None, paper.row | {"options": options, "best_epoch": "17"})
    other = runs.Run(paper.weights, None, paper.row | {"options": '{"width": 32}'})
    monkeypatch.setattr(training, "find_run", lambda name, key: {"abc": paper, "def": better, "ghi": other}[key])
    release.publish()
    card = (trained / "better.md").read_text()
    assert "0.840 [0.830, 0.850]" in card and "0.998" not in card
    assert "loss cosface" in card and "epoch 17" in card and "non-negative" not in card
    assert "over 3 trainings" in card
    assert "0.870" not in card and "mean feature" not in card, "nobody is told to centre by their own photos"
    assert 'Embedder(["data/weights/better.npz", "data/weights/other.npz"], mirror=True)' in card
    second = (trained / "other.md").read_text()
    assert "ResNet-18 of width 32 without its last layer" in second and "256 non-negative features" in second


def test_the_protocol_s_table_has_a_row_for_each_form_and_the_trainings_beside_it(measured):
    record = recorder("14_recipes")
    for key in ("lfw.view2.cosine", "kept.lfw.view2.mirror.cosine"):
        for number in release.NUMBERS:
            record(f"{key}.{number}", 0.84, 0.83, 0.85, 6000)
    record("best.lfw.view2.mirror.cosine.over_seeds", 0.836, 0.8325, 0.8417, 3)
    record.save()
    table = release.results_table("lfw")
    rows = [line for line in table.splitlines() if line.startswith("| the ")]
    assert [row.split(" | ")[0] for row in rows] == ["| the paper's, cosine", "| the better, cosine, mirrored"]
    assert rows[0].endswith(" | one |") and rows[1].endswith(" | 0.8325 to 0.8417 (3) |")
    assert rows[1].count("0.840 [0.830, 0.850]") == 5 and "centred" not in table


def test_numbers_of_two_kinds_of_bracket_stand_in_two_tables(measured):
    record = recorder("05_speed")
    record("startup.total_s", 0.98, 0.93, 1.07, 5, "s")
    record.save()
    tables = release.results_table("lfw").split("\n## ")
    assert [release.FACES in tables[1], release.TIMES in tables[2]] == [True, True]
    assert "| P10 |" in tables[1] and "| P17 |" in tables[2] and "| P17 |" not in tables[1]


def test_a_distilled_network_names_its_teacher_and_claims_no_training_accuracy(trained, monkeypatch):
    from facelib import training
    from facelib.training import distillation, runs

    record = recorder("04_threshold")
    record("lfw.view2.cosine.accuracy", 0.79, 0.78, 0.8, 6000)  # the paper's network's, not the student's
    record("decide.lfw.view2.accuracy", 0.92, 0.91, 0.93, 6000)
    record.save()
    paper = training.find_run("net", "abc")
    options = '{"loss": "distillation", "neck": "plain", "features": 128}'
    student = runs.Run(paper.weights, None, paper.row | {"options": options, "validation_auc": "0.95"})
    monkeypatch.setattr(training, "find_run", lambda name, key: student)
    record = recorder("14_recipes")
    record("distil.small.lfw.view2.accuracy", 0.91, 0.9, 0.92, 6000)
    record.save()
    release.ship("celebfaces-distilled-small", "abc")
    small = (trained / "celebfaces-distilled-small.md").read_text()
    assert "0.910 [0.900, 0.920]" in small and "0.920 [0.910, 0.930]" not in small
    assert "Not for" not in small and "| aim:" not in small, "it has no thresholds here"
    release.ship("celebfaces-distilled", "abc")
    card = (trained / "celebfaces-distilled.md").read_text()
    assert "SFace" in card and distillation.TEACHER_SHA256 in card and "no labels" in card
    assert "0.998" not in card and "0.790" not in card
    assert "0.920 [0.910, 0.930]" in card and "0.9500" in card
    assert "| aim: pairs of two people" in card and "**Not for**" in card and "14_recipes" not in card
    assert "linear layer at its end: a 64 x 64 RGB face to 128 features" in card
    assert all((trained / f"celebfaces-distilled.{kind}").exists() for kind in ("npz", "csv"))


def test_the_readme_says_of_the_distances_and_the_recipe_what_the_intervals_carry(measured):
    record = recorder("03_similarity")
    record("all.euclidean_minus_cosine", -0.001, -0.006, 0.003, 6000)
    record("pairs200.euclidean_minus_cosine", 0.005, -0.02, 0.04, 200)
    record("threshold.optimism", 0.02, -0.03, 0.07, 1000)
    record("best.auc_minus_paper", 0.035, 0.025, 0.045, 6000)
    record.save()
    told = release.headline()
    assert "On 6,000 pairs" in told and "200 pairs, as the paper drew, cannot tell" in told and "0.035 [" in told
    assert "looks better than it is" not in told
    record("all.euclidean_minus_cosine", -0.001, -0.02, 0.003, 6000)
    record("best.auc_minus_paper", 0.035, -0.025, 0.045, 6000)
    record("threshold.optimism", 0.02, 0.01, 0.07, 1000)
    record.save()
    told = release.headline()
    assert "6,000 pairs the" not in told and "AUC is above" not in told and "looks better than it is" in told


def test_a_table_of_claims_has_one_kind_of_bracket(measured):
    record = recorder("02_train")
    record("train.accuracy", 0.998, 0.997, 0.999, 13442)
    record("lfw.view2.euclidean.tar_at_far_1e-3", 0.1, 0.05, 0.2, 6000)
    record.save()
    parts = {part.partition("\n")[0]: part for part in release.results_table().split("\n## ")}
    assert "| P23 |" in parts[release.FACES] and "| P05 |" not in parts[release.FACES]
    assert "| P05 |" in parts[release.OTHERS] and "P05 over images" in release.OTHERS
    record = recorder("06_losses")
    for key in ("against.balanced.difference", "against.adam.epochs", "data.people.gain"):
        record(key, 0.03, 0.01, 0.05, 1675)
    record.save()
    parts = {part.partition("\n")[0]: part for part in release.results_table().split("\n## ")}
    assert [id for id in ("P20", "P21", "F07") if f"| {id} |" in parts[release.TRAININGS]] == ["P20", "F07"]
    assert "| P20 |" not in parts[release.FACES] and "| P21 |" in parts[release.OTHERS]
