"""Guards over the committed notebooks, profiles, results and README."""

import ast
import json
import re
from pathlib import Path

import pytest

from facelib import runtime
from facelib.data import corruptions
from facelib.inference import decision
from facelib.paper import origins, release, reproduce, results, setup, shipped
from facelib.training import runs

ROOT = runtime.ROOT
NOTEBOOKS = reproduce.notebooks()
EXECUTED = [*NOTEBOOKS, *sorted((ROOT / "figures" / "lfw").glob("*.ipynb"))]
LFW = json.loads((ROOT / "figures" / "lfw" / "results.json").read_text())
KEYS = """data.train.identities data.train.images data.pack_ratio train.accuracy train.images_per_s
pairs200.cosine.average_precision pairs200.euclidean.average_precision all.cosine.average_precision
all.euclidean.average_precision all.euclidean_minus_cosine threshold.value threshold.accuracy threshold.precision
threshold.recall threshold.f1 threshold.optimism startup.total_s inference.single_ms inference.pair_ms
inference.batch64_ms""".split()


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]


def label(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", EXECUTED, ids=label)
def test_committed_notebooks_are_executed_in_order_without_errors(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"], "a reader sees it as an alarm"


@pytest.mark.parametrize("path", EXECUTED, ids=label)
def test_committed_notebooks_name_no_path_of_a_machine(path):
    assert not re.search(r"(?<![\w.])/(work|root|home|tmp|Users)/[\w.-]+", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_code_lives_in_the_package(path):
    loops = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    for source in origins.code_cells(path):
        assert len(source.splitlines()) <= 15, source
        assert "splits.experiment(" not in source and not re.search(r"(?<![.\w])Recipe\(", source)
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(node, (ast.FunctionDef, ast.ClassDef)), source
            if isinstance(node, loops):
                inside = [other for other in ast.walk(node) if isinstance(other, loops)]
                assert len(node.generators) == len(inside) == 1, f"loops within loops: {ast.unparse(node)}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_a_number_of_lfw_has_one_name_in_either_variant(path):
    """What is fetched is the funneled one; committed numbers, which stand in, and claims are of the deep-funneled."""
    code = "\n".join(origins.code_cells(path))
    assert "lfw_variant" not in code and not re.search(
        r"""["']lfw["']\s*[!=]=|[!=]=\s*["']lfw["']""", code.replace('place != "lfw"', "")
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_the_parameters_cell_is_short(path):
    [cell] = [cell for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    lines = "".join(cell["source"]).splitlines()
    assert len(lines) <= 6 and [line.split(" = ")[0] for line in lines[:2]] == ["profile", "overrides"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_a_question_first_and_an_answer_last(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title = "".join(cells[0]["source"]).splitlines()[0]
    assert re.fullmatch(r"# \d\d .+\?", title)
    assert "".join(cells[-2]["source"]) == "## The answer" and cells[-1]["cell_type"] == "code"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_prose_is_short(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(r"\$[^$]*\$|`[^`]*`", "x", "".join(cell["source"]))
            text = re.sub(
                r"\]\([^)]*\)", "]", "\n".join(line for line in text.splitlines() if not line.startswith(("|", "#")))
            )
            assert len(text.split()) <= 150, text
            for paragraph in re.split(r"\n\s*\n|\n(?=-)", text):
                for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
                    assert len(sentence.split()) < 30, sentence


def test_half_of_the_cells_of_the_paper_are_compared():
    cells = [cell for path in NOTEBOOKS if path.stem < "06" for cell in code_cells(path)]
    compared = [cell for cell in cells if "nbval-ignore-output" not in cell["metadata"].get("tags", [])]
    assert len(compared) >= len(cells) / 2


def test_tables_have_no_random_names():
    assert 'id=\\"T_' not in (ROOT / "notebooks" / "00_overview.ipynb").read_text(), "each run would change every line"


def test_what_reads_another_notebook_s_numbers_comes_after_it():
    stems = [path.stem for path in NOTEBOOKS]
    assert stems.index("14_recipes") < stems.index("12_more_data") and stems[-1] == reproduce.OVERVIEW


@pytest.mark.parametrize("profile", shipped())
def test_every_profile_fits_the_notebooks(profile):
    _, steps = reproduce.plan(profile, None, {})
    assert len(steps) == len(NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_every_parameter_that_a_notebook_names_is_there(path):
    named = re.findall(r"setting\[\"(\w+)\"\]", "\n".join(origins.code_cells(path)))
    assert set(named) <= set(setup("demo").values)


@pytest.mark.parametrize("profile", shipped())
def test_profiles_open_with_the_five_facts(profile):
    head = (ROOT / "notebooks" / "profiles" / f"{profile}.yaml").read_text().splitlines()[:6]
    assert head[0].startswith(f"# Profile {profile}: ")
    facts = [re.match(r"# (\w+):\s+\S", line).group(1) for line in head[1:]]
    assert facts == ["Source", "Command", "Hardware", "Duration", "Expect"]


def test_the_number_to_expect_is_the_one_that_came_out():
    expected = re.search(r"# Expect: +(\S+) (.*?\])", (ROOT / "notebooks" / "profiles" / "lfw.yaml").read_text())
    assert results.show(LFW[expected.group(1)]) == expected.group(2)


@pytest.mark.parametrize("profile", ["demo", "lfw"])
def test_results_of_every_notebook_are_committed(profile):
    entries = results.json.loads((ROOT / "figures" / profile / "results.json").read_text())
    assert set(KEYS) <= set(entries)
    assert {path.stem for path in NOTEBOOKS} - {reproduce.OVERVIEW} == set(entries["_provenance"])
    for key, entry in entries.items():
        if key != "_provenance" and entry["low"] is not None and not key.startswith("inference."):
            assert entry["low"] <= entry["value"] <= entry["high"], key


def test_demo_is_neither_trivial_nor_hopeless():
    accuracy = json.loads((ROOT / "figures" / "demo" / "results.json").read_text())["threshold.accuracy"]["value"]
    assert 0.75 < accuracy < 0.99


def test_lfw_reaches_what_the_recipe_reached_elsewhere():
    # An independent implementation got .779 (Euclid) and .771 (cosine), each +- .006 standard error.
    assert LFW["lfw.view2.euclidean.accuracy"]["value"] > 0.779 - 0.015
    assert LFW["lfw.view2.cosine.accuracy"]["value"] > 0.771 - 0.015
    assert LFW["train.accuracy"]["value"] > 0.98


def test_lfw_reaches_what_the_better_recipe_reached_elsewhere():
    # An independent training with CosFace got .844 +- .005; others got .795, .808 and .815 of the paper's network.
    assert LFW["best.lfw.view2.seeds"]["value"] == 3
    assert LFW["best.lfw.view2.mirror.cosine.accuracy"]["value"] > 0.844 - 0.015
    assert LFW["families.lfw.view2.mirror_centred.cosine.accuracy"]["value"] > 0.844 - 0.03
    for form, accuracy in {"none": 0.795, "mirror": 0.808, "mirror_centred": 0.815}.items():
        assert abs(LFW[f"paper.lfw.view2.{form}.cosine.accuracy"]["value"] - accuracy) < 0.001
    assert LFW["families.relatives.auc"]["value"] < LFW["families.strangers.auc"]["value"]


def test_paper_scale_fits_a_laptop():
    limits = {"pack_peak_mib": 2048, "train_peak_mib": 2048, "first_batch_s": 5}
    assert all(LFW[f"engine.paper_scale.{name}"]["value"] < limit for name, limit in limits.items())
    assert LFW["engine.paper_scale.pack_ratio"]["value"] > 1  # 2 to 5, by the machine
    assert LFW["engine.paper_scale.pack_ratio"]["n"] == 440028


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("number", ["accuracy", "auc", "eer", "tar_at_far_1e-2", "tar_at_far_1e-3"])
def test_lfw_protocol_is_reported_for_both_metrics(metric, number):
    entry = LFW[f"lfw.view2.{metric}.{number}"]
    assert entry["n"] == 6000 and entry["low"] <= entry["value"] <= entry["high"]


def test_robustness_is_reported_for_every_severity():
    keys = {f"robustness.{kind}.{each}.accuracy" for kind, some in corruptions.SEVERITIES.items() for each in some}
    keys |= {f"robustness.fgsm.{epsilon}.survives" for epsilon in (1, 2, 4, 8)}
    assert keys <= set(LFW) and all(LFW[key]["low"] <= LFW[key]["value"] <= LFW[key]["high"] for key in keys)
    assert LFW["updates.order.range_at_the_end"]["value"] == 0


@pytest.mark.parametrize("profile", ["demo", "lfw"])
def test_a_number_has_an_interval_or_a_reason(monkeypatch, profile):
    monkeypatch.setenv("FACELIB_OUTPUT", str(ROOT))
    bare = release.without_interval(results.load(profile))
    assert "" not in bare, f"give each an interval, or a reason in data/no_interval.csv: {list(bare[''])}"


@pytest.mark.parametrize("language", ["", ".zh"])
def test_readme_table_is_fresh(monkeypatch, language):
    monkeypatch.setenv("FACELIB_OUTPUT", str(ROOT))
    text = (ROOT / f"README{language}.md").read_text(encoding="utf-8")
    assert release.with_table(text, language=language) == text, "README is stale: run `make reproduce PROFILE=lfw`"


@pytest.mark.parametrize(
    "part", [r"^##? ", r"^```.*$", r"^\|", r"^- ", r"\]\([^)]+\)", r"^(?:make|\.venv\S+) [^#\n]*", r"`[^`\n]+`"]
)
def test_both_readmes_have_the_same_parts_commands_and_links(part):
    found = []
    for name in ("README.md", "README.zh.md"):
        text = re.sub("<!-- results:begin.*results:end -->", "", (ROOT / name).read_text("utf-8"), flags=re.DOTALL)
        found.append(sorted(re.findall(part, text.replace("README.zh.md", "README.md"), re.MULTILINE)))
    assert found[0] == found[1]


def test_the_table_of_claims_is_fresh(monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(ROOT))
    text = (ROOT / "RESULTS.md").read_text()
    assert release.results_table() == text, "RESULTS.md is stale: run `make reproduce PROFILE=lfw`"


@pytest.mark.parametrize("path", sorted(ROOT.glob("README*.md")), ids=label)
def test_the_readme_is_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 180
    prose = re.sub(r"```.*?```|<!--.*?-->|^#.*?$|^\|.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n|\n(?=- )", prose):
        plain = re.sub(r"`[^`]*`", "x", re.sub(r"\]\([^)]*\)", "]", paragraph))
        for sentence in re.split(r"(?<=[.!?:])\s+|[。！？：]", " ".join(plain.split())):
            assert len(sentence.split()) < 25 and len(sentence) < 170, sentence


def test_the_readme_s_first_snippet_prints_what_it_says():
    text = (ROOT / "README.md").read_text()
    assert "# prints True " in text and "facelib.compare(" in text
    assert release.with_prints(text) == text, "README.md is stale: run `make reproduce PROFILE=lfw`"


@pytest.mark.parametrize(("notebook", "used"), [("02_train", "03_similarity"), ("14_recipes", "14_recipes")])
def test_shipped_weights_are_those_of_recorded_runs_and_of_the_results(monkeypatch, tmp_path, notebook, used):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path))
    shipped = {name: runs.find_run(name, key) for name, key in release.runs_of(LFW["_provenance"], notebook).items()}
    for name, run in shipped.items():
        assert LFW["_provenance"][used]["consumed"]["weights"][name] == run.row["weights_sha256"]
        assert run.weights.parent == ROOT / "data" / "weights" and run.weights.stat().st_size < 30e6
        card = run.weights.with_suffix(".md").read_text()
        assert run.row["weights_sha256"] in card and "non-commercial" in card


CARDS = sorted((ROOT / "data" / "weights").glob("celebfaces-*.md"))


@pytest.mark.parametrize("path", CARDS, ids=label)
def test_a_model_card_is_fresh(monkeypatch, path):
    monkeypatch.setenv("FACELIB_OUTPUT", str(ROOT))
    shipped = {notebook: release.runs_of(LFW["_provenance"], notebook) for notebook in release.SHIPPED}
    (notebook,) = [each for each in shipped if path.stem in shipped[each]] or [None]
    key = shipped[notebook][path.stem] if notebook else runs.shipped_run(path.stem).row["key"]
    prefix = release.SHIPPED[notebook][0] if notebook else ""
    others = [name for name in shipped.get(notebook, ()) if name != path.stem]
    told = release.model_card(path.stem, key, prefix, others)
    assert told == path.read_text(), "a model card is stale: run `make reproduce PROFILE=lfw`"


@pytest.mark.parametrize("path", [path for path in CARDS if path.with_suffix(".json").exists()], ids=label)
def test_a_model_card_promises_what_decides_and_warns_as_the_readme_does(path):
    told, readme = (" ".join(each.read_text().split()) for each in (path, ROOT / "README.md"))
    card = json.loads(path.with_suffix(".json").read_text())
    for number, limit in enumerate(card["thresholds"], 1):
        rates = f"{100 * limit['far']:g} [{100 * limit['far_low']:.2g}, {100 * limit['far_high']:.2g}]"
        keys = f"every_pair.card.far_1e-{number}.far", f"card.{path.stem}.far_1e-{number}.tar"
        far, tar = ([100 * LFW[key][end] for end in ("value", "low", "high")] for key in keys)
        counted = f"{far[0]:.3g} [{far[1]:.3g}, {far[2]:.3g}]" if path.stem == decision.DEFAULT else "not counted"
        shares = f"{counted} | {tar[0]:.0f} [{tar[1]:.0f}, {tar[2]:.0f}]"
        assert f"| {rates} | {shares} | {limit['threshold']:.3f} |" in told
    assert card["chosen_on"] in told
    warnings = re.findall(r"On other people, children.*?worse\.|\*\*Not for\*\*.*?consent\.", readme)
    assert len(warnings) == 2 and all(each.replace(" they are ", " its error rates are ") in told for each in warnings)
    assert ("07_decide" in told) is ("distilled" in path.name) is not ("04_threshold" in told)


@pytest.mark.parametrize("text", [*ROOT.glob("*.md"), ROOT / "data" / "README.md"], ids=label)
def test_links_lead_to_files(text):
    for target in re.findall(r"\]\(([^)#]+)\)", text.read_text()):
        if not target.startswith("http"):
            assert (text.parent / target).exists(), target


def test_names_of_files_in_the_contributors_guide_exist():
    for name in re.findall(r"`((?:facelib|tests|data|notebooks)/[\w./-]+)`", (ROOT / "CONTRIBUTING.md").read_text()):
        assert (ROOT / name).exists() or "NN_name" in name or "<" in name, name


def test_requirements_differ_in_the_paddle_line_only():
    gpu, cpu = ((ROOT / name).read_text().splitlines() for name in ("requirements.txt", "requirements-cpu.txt"))
    assert len(gpu) == len(cpu)
    assert [(a.split()[0], b.split()[0]) for a, b in zip(gpu, cpu, strict=True) if a != b] == [
        ("paddlepaddle-gpu==2.6.2", "paddlepaddle==3.3.1")
    ]


def test_missing_paper_data_is_explained_as_in_data_readme():
    readme = Path(ROOT / "data" / "README.md").read_text()
    for number in ("107435", "104646"):
        assert f"https://aistudio.baidu.com/datasetdetail/{number}" in readme


@pytest.mark.parametrize(
    ("more", "said", "unsaid"),
    [
        ({}, "Not run: other seeds of the paper's recipe, and trainings that change one thing", "Between them"),
        (
            {"ablation.sgd.gain": {}, "ablation.sgd.auc": {}, "paper.lfw.view2.mirror.cosine.over_seeds": {"n": 3}},
            "3 of its recipe and 3 of the better one. Between them 1 steps change one thing at a time (sgd). Not run:",
            "other seeds",
        ),
    ],
)
def test_what_the_overview_calls_not_run_is_not_run(more, said, unsaid):
    (cell,) = [each for each in origins.code_cells(ROOT / "notebooks" / "00_overview.ipynb") if "of_paper" in each]
    known = {"best.lfw.view2.seeds": {"value": 3}} | more
    space = {"load": lambda profile: known, "Markdown": str}
    exec(cell.replace("Markdown(", "told = Markdown("), space)
    assert said in space["told"] and unsaid not in space["told"]


def test_the_overview_lists_every_other_notebook():
    text = (ROOT / "notebooks" / "00_overview.ipynb").read_text()
    assert not [path.stem for path in NOTEBOOKS if path.stem != reproduce.OVERVIEW and f"({path.name})" not in text]
