import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from facelib import __main__ as command
from facelib import runtime
from facelib.paper import reproduce
from facelib.training.recipe import Recipe

PARAMETERS = "profile = 'demo'\nnumber = 1  # a number\nshare = 0.5\nname = 'a'\nlimit = None"
BODY = "from facelib.paper import results\nrecord = results.Recorder('{stem}', profile)\nrecord('{stem}.x', number)\n"
SAVE = "_ = record.save({'number': number}, {})"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A small repository: two notebooks and an overview, each recording the parameter ``number``."""
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    (tmp_path / "facelib").symlink_to(runtime.ROOT / "facelib")
    (tmp_path / "notebooks" / "profiles" / "lfw.yaml").write_text("profile: lfw\nnumber: 7\n")
    for stem in ("00_overview", "01_one", "02_two"):
        write(tmp_path, stem, BODY.format(stem=stem) + SAVE)
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reproduce.release, "publish", lambda: None)
    monkeypatch.setattr(reproduce.catalog, "lfw_variant", lambda: "lfw")
    return tmp_path


def write(root, stem, code, parameters=PARAMETERS):
    cells = [
        new_markdown_cell(f"# {stem}"),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        new_code_cell(code),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), root / "notebooks" / f"{stem}.ipynb")


def executed(capsys):
    return [line.split()[1].rstrip(":") for line in capsys.readouterr().out.splitlines() if line.endswith(": running")]


def stored(root, profile="demo"):
    entries = json.loads((root / "figures" / profile / "results.json").read_text())
    return {key: entry["value"] for key, entry in entries.items() if key != "_provenance"}


def test_runs_in_order_with_the_overview_last_and_executes_demo_in_place(repository, capsys):
    reproduce.run("demo")
    assert executed(capsys) == ["01_one", "02_two", "00_overview"]
    assert stored(repository) == {"01_one.x": 1, "02_two.x": 1, "00_overview.x": 1}
    notebook = nbformat.read(repository / "notebooks" / "01_one.ipynb", as_version=4)
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [1, 2]
    assert str(repository) not in json.dumps(notebook) and "papermill" not in json.dumps(notebook)


def test_a_second_call_redoes_the_overview_alone_and_force_everything(repository, capsys):
    reproduce.run("demo")
    capsys.readouterr()
    reproduce.run("demo")
    assert executed(capsys) == ["00_overview"]
    reproduce.run("demo", only=["02"], force=True)
    assert executed(capsys) == ["02_two"]


def test_a_changed_notebook_or_parameter_is_redone(repository, capsys):
    reproduce.run("demo")
    write(repository, "02_two", BODY.format(stem="02_two") + "number += 1\n" + SAVE)
    capsys.readouterr()
    reproduce.run("demo")
    assert executed(capsys) == ["02_two", "00_overview"]


def test_a_notebook_whose_outputs_were_cleared_is_executed_again(repository, capsys):
    reproduce.run("demo", only=["01"])
    write(repository, "01_one", BODY.format(stem="01_one") + SAVE)
    capsys.readouterr()
    reproduce.run("demo", only=["01"])
    assert executed(capsys) == ["01_one"]


def test_profile_and_settings_reach_the_notebooks_and_the_copy_goes_to_figures(repository):
    reproduce.run("lfw")
    assert stored(repository, "lfw")["01_one.x"] == 7
    assert (repository / "figures" / "lfw" / "01_one.ipynb").exists()
    reproduce.run("lfw", settings={"number": 9})
    assert stored(repository, "lfw")["01_one.x"] == 9
    committed = nbformat.read(repository / "notebooks" / "01_one.ipynb", as_version=4)
    assert committed.cells[1].source == PARAMETERS and committed.cells[2].execution_count is None


def test_an_own_profile_name_gets_its_own_folder(repository):
    reproduce.run("lfw", settings={"profile": "mine"})
    assert stored(repository, "mine")["01_one.x"] == 7
    assert not (repository / "figures" / "lfw").exists()


def test_funneled_lfw_never_mixes_with_deep_funneled(repository, monkeypatch):
    for stem in ("00_overview", "01_one", "02_two"):
        write(repository, stem, BODY.format(stem=stem) + SAVE, PARAMETERS + "\ntest_set = 'demo-test'")
    monkeypatch.setattr(reproduce.catalog, "lfw_variant", lambda: "lfw-funneled")
    reproduce.run("lfw", only=["01"])
    assert stored(repository, "lfw-funneled") == {"01_one.x": 7}


def test_an_optional_notebook_is_left_out_without_its_data(repository, capsys, monkeypatch):
    monkeypatch.setenv("FACELIB_DATA", str(repository / "empty"))
    monkeypatch.setattr(reproduce, "OPTIONAL", {"01_one"})
    write(repository, "01_one", BODY.format(stem="01_one") + SAVE, PARAMETERS + "\ntrain_set = 'demo-train+families'")
    reproduce.run("demo")
    said = capsys.readouterr().out
    assert "01_one: left out, without the data set families" in said and "02_two: running" in said
    assert stored(repository) == {"02_two.x": 1, "00_overview.x": 1}
    monkeypatch.setattr(reproduce, "OPTIONAL", set())
    reproduce.run("demo")
    assert "01_one: running" in capsys.readouterr().out


def test_a_failing_cell_stops_the_run_and_the_next_call_goes_on_there(repository, capsys):
    write(repository, "02_two", "raise OSError('the disk is full')")
    assert command.main(["reproduce"]) == 1
    said = capsys.readouterr()
    assert "02_two.ipynb failed" in said.err and "the disk is full" in said.err
    assert stored(repository) == {"01_one.x": 1}
    write(repository, "02_two", BODY.format(stem="02_two") + SAVE)
    assert command.main(["reproduce"]) == 0
    assert executed(capsys) == ["02_two", "00_overview"]


def test_a_failing_notebook_leaves_the_committed_one_alone(repository):
    write(repository, "01_one", "1 / 0")
    before = (repository / "notebooks" / "01_one.ipynb").read_bytes()
    with pytest.raises(reproduce.NotebookError, match="ZeroDivisionError"):
        reproduce.run("demo", only=["01"])
    assert (repository / "notebooks" / "01_one.ipynb").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", "No notebook has a parameter 'epoch'"),
        ("number=many", "expected int"),
        ("share=True", "expected float"),
        ("name=3", "expected str"),
        ("=3", "name=value"),
        ("number", "name=value"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(repository, capsys, setting, message):
    assert command.main(["reproduce", "--set", setting]) == 2
    said = capsys.readouterr()
    assert message in said.err and ": running" not in said.out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=3", 3),
        ("a=0.5", 0.5),
        ("a=None", None),
        ("a=[1, 2]", [1, 2]),
        ("a=x/y z", "x/y z"),
        ("a='3'", "3"),
        ("a=", ""),
    ],
)
def test_settings_are_literals_or_strings(text, expected):
    assert reproduce.parse_setting(text) == ("a", expected)


def test_an_integer_fits_a_float_and_anything_fits_none(repository):
    steps = reproduce.plan("demo", ["01"], {"share": 1, "limit": 5})
    assert steps[0][2] == {"share": 1, "limit": 5}


def test_an_unknown_notebook_lists_those_there_are(repository):
    with pytest.raises(FileNotFoundError, match="01_one, 02_two, 00_overview"):
        reproduce.notebooks(["07"])


def test_derived_values_in_the_parameters_cell_are_refused(repository):
    write(repository, "01_one", "pass", parameters="a = 1\nb = a + 1")
    with pytest.raises(reproduce.ParameterError, match="literals only"):
        reproduce.plan("demo", None, {})


def test_train_command_trains_what_02_would(monkeypatch, capsys):
    from facelib import training
    from facelib.data import splits
    from facelib.training import runs

    asked = {}
    monkeypatch.setattr(splits, "experiment", lambda *given: splits.Experiment(given, None, None, None))

    def train(run, train, recipe, held_out):
        asked.update(run=run, given=train, recipe=recipe)
        return runs.Run("w.npz", None, {})

    monkeypatch.setattr(training, "train", train)
    assert command.main(["train", "--profile", "lfw", "--set", "epochs=3"]) == 0
    assert asked["run"] == "celebfaces-resnet18" and asked["given"][:3] == ("celebfaces", "lfw", 2)
    assert asked["recipe"] == Recipe(epochs=3)
    assert command.main(["train", "--set", "epohcs=3"]) == 2
    assert "epohcs" in capsys.readouterr().err
