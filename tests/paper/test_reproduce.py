import json
import re
import shutil

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from facelib import cli, runtime
from facelib.data import catalog
from facelib.paper import ParameterError, reproduce

PARAMETERS = "profile = 'demo'\noverrides = {}\nnumber = 1  # a number\nname = None"
BODY = """from facelib.paper import Recorder, setup
setting = setup(profile, overrides)
record = Recorder('{stem}', setting)
record('{stem}.x', number)
record('{stem}.draws', setting['draws'])
"""
SAVE = "_ = record.save()"
OTHER = "_ = setting.result('02_two', '02_two.x')\n"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A small repository: two notebooks and an overview, each recording its own parameter ``number``."""
    shutil.copytree(runtime.ROOT / "notebooks" / "profiles", tmp_path / "notebooks" / "profiles")
    (tmp_path / "facelib").symlink_to(runtime.ROOT / "facelib")
    for stem in ("00_overview", "01_one", "02_two"):
        write(tmp_path, stem, BODY.format(stem=stem) + SAVE)
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reproduce.release, "publish", lambda: None)
    monkeypatch.setattr(catalog, "lfw_variant", lambda: "lfw")
    return tmp_path


def write(root, stem, code, parameters=PARAMETERS):
    cells = [
        new_markdown_cell(f"# {stem}"),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        new_code_cell(code),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), root / "notebooks" / f"{stem}.ipynb")


@pytest.fixture
def quick(monkeypatch):
    """Notebooks that run in this process, without a kernel."""

    def execute(path, target, injected):
        cells = json.loads(path.read_text())["cells"]
        space = {}
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        exec(sources[0], space)
        space |= injected
        exec("\n".join(sources[1:]), space)
        for cell in cells:
            cell["execution_count"] = 1
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({"cells": cells}))

    monkeypatch.setattr(reproduce, "_execute", execute)


def executed(capsys):
    return [line.split()[1].rstrip(":") for line in capsys.readouterr().out.splitlines() if line.endswith(": running")]


def stored(root, place="demo"):
    entries = json.loads((root / "figures" / place / "results.json").read_text())
    return {key: entry["value"] for key, entry in entries.items() if key.endswith(".x")}


def test_runs_in_order_with_the_overview_last_and_executes_demo_in_place(repository, capsys):
    reproduce.run("demo")
    assert executed(capsys) == ["01_one", "02_two", "00_overview"]
    assert stored(repository) == {"01_one.x": 1, "02_two.x": 1, "00_overview.x": 1}
    notebook = nbformat.read(repository / "notebooks" / "01_one.ipynb", as_version=4)
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [1, 2]
    assert str(repository) not in json.dumps(notebook) and "papermill" not in json.dumps(notebook)
    written = json.loads((repository / "figures" / "demo" / "results.json").read_text())["_provenance"]["01_one"]
    assert written["parameters"] == {"draws": 1000}


def test_settings_reach_the_notebooks_and_their_copies_go_to_a_folder_of_their_own(repository, capsys):
    reproduce.run("lfw", ["01"], {"number": 9, "draws": 7, "profile": "mine"})
    assert stored(repository, "mine") == {"01_one.x": 9}
    assert (repository / "figures" / "mine" / "01_one.ipynb").exists()
    committed = nbformat.read(repository / "notebooks" / "01_one.ipynb", as_version=4)
    assert committed.cells[1].source == PARAMETERS and committed.cells[2].execution_count is None
    entries = json.loads((repository / "figures" / "mine" / "results.json").read_text())
    assert entries["01_one.draws"]["value"] == 7 and entries["_provenance"]["01_one"]["profile"] == "lfw"


def test_links_lead_on_from_where_the_copy_lies(repository):
    overview = repository / "notebooks" / "00_overview.ipynb"
    notebook = nbformat.read(overview, as_version=4)
    notebook.cells[0].source = "[a](01_one.ipynb) [b](02_two.ipynb) [c](../README.md)"
    nbformat.write(notebook, overview)
    reproduce.run("demo", ["01", "00"], {"profile": "mine"})
    copy = nbformat.read(repository / "figures" / "mine" / "00_overview.ipynb", as_version=4)
    assert copy.cells[0].source == "[a](01_one.ipynb) [b](../../notebooks/02_two.ipynb) [c](../../README.md)"


def test_a_second_call_redoes_the_overview_alone_and_force_everything(repository, quick, capsys):
    reproduce.run("demo")
    capsys.readouterr()
    reproduce.run("demo")
    said = capsys.readouterr().out
    assert said.endswith("done; the findings are in notebooks/00_overview.ipynb\n")
    assert re.findall(r"\] (\w+): running", said) == ["00_overview"]
    reproduce.run("demo", only=["02"], force=True)
    assert executed(capsys) == ["02_two"]


def test_with_settings_the_committed_numbers_stay(repository, quick, capsys):
    reproduce.run("demo", ["01"])
    before = (repository / "figures" / "demo" / "results.json").read_bytes()
    capsys.readouterr()
    reproduce.run("demo", ["01"], {"draws": 5})
    said = capsys.readouterr().out
    assert "go to figures/demo-changed/" in said and "because of draws; --set profile=NAME" in said
    assert (repository / "figures" / "demo" / "results.json").read_bytes() == before
    entries = json.loads((repository / "figures" / "demo-changed" / "results.json").read_text())
    assert entries["01_one.draws"]["value"] == 5


def test_a_notebook_s_own_parameter_is_a_change_too(repository, quick, capsys):
    reproduce.run("demo", ["01"], {"number": 9})
    assert stored(repository, "demo-changed") == {"01_one.x": 9} and not (repository / "figures" / "demo").exists()


def test_a_profile_of_the_user_s_own(repository, quick, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "mine.yaml").write_text("draws: 3\n")
    assert cli.main(["reproduce", "--profile", "mine.yaml", "--only", "01"]) == 0
    entries = json.loads((repository / "figures" / "mine" / "results.json").read_text())
    assert entries["01_one.draws"]["value"] == 3


def test_a_changed_notebook_is_redone(repository, quick, capsys):
    reproduce.run("demo")
    write(repository, "02_two", BODY.format(stem="02_two") + "number += 1\n" + SAVE)
    capsys.readouterr()
    reproduce.run("demo")
    assert executed(capsys) == ["02_two", "00_overview"]


def test_a_parameter_counts_where_it_is_read(repository, quick, capsys):
    write(repository, "02_two", BODY.format(stem="02_two").replace("setting['draws']", "0") + SAVE)
    reproduce.run("demo")
    profile = repository / "notebooks" / "profiles" / "demo.yaml"
    profile.write_text(profile.read_text().replace("draws: 1000", "draws: 999"))
    capsys.readouterr()
    reproduce.run("demo")
    assert executed(capsys) == ["01_one", "00_overview"]


def test_a_notebook_that_reads_another_s_numbers_comes_after_it_and_is_redone_with_it(repository, quick, capsys):
    write(repository, "01_one", BODY.format(stem="01_one") + OTHER + SAVE)
    reproduce.run("demo")
    assert executed(capsys) == ["02_two", "01_one", "00_overview"]
    write(repository, "02_two", BODY.format(stem="02_two") + "record('02_two.seconds', 3.5)\n" + SAVE)
    reproduce.run("demo")
    assert executed(capsys) == ["02_two", "00_overview"], "the number that it reads is the same"
    write(repository, "02_two", BODY.format(stem="02_two").replace("number)", "number + 1)") + SAVE)
    reproduce.run("demo")
    assert executed(capsys) == ["02_two", "01_one", "00_overview"]


def test_a_notebook_whose_outputs_were_cleared_is_executed_again(repository, quick, capsys):
    reproduce.run("demo", only=["01"])
    write(repository, "01_one", BODY.format(stem="01_one") + SAVE)
    capsys.readouterr()
    reproduce.run("demo", only=["01"])
    assert executed(capsys) == ["01_one"]


def test_a_notebook_is_left_out_without_its_data(repository, quick, capsys, monkeypatch):
    monkeypatch.setenv("FACELIB_DATA", str(repository / "empty"))
    write(repository, "01_one", BODY.format(stem="01_one") + "setting['joined_set']\n" + SAVE)
    joined = {"joined_set": "demo-train+families", "profile": "mine"}
    reproduce.run("demo", settings=joined)
    said = capsys.readouterr().out
    assert (
        "01_one: left out, without families (see data/README.md); it has no numbers here" in said
        and "02_two: running" in said
    )
    assert stored(repository, "mine") == {"02_two.x": 1, "00_overview.x": 1}
    reproduce.run("demo", ["01"])
    assert "01_one: running" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "said_so"),
    [("OSError", "02_two.ipynb: the disk is full\n"), ("ValueError", "02_two.ipynb failed in cell 2")],
)
def test_a_failing_cell_stops_the_run_and_the_next_call_goes_on_there(repository, capsys, error, said_so):
    write(repository, "02_two", f"raise {error}('the disk is full')")
    before = (repository / "notebooks" / "02_two.ipynb").read_bytes()
    assert cli.main(["reproduce"]) == 1
    said = capsys.readouterr()
    assert (
        said_so in said.err and "the disk is full" in said.err and ("Traceback" in said.err) is (error == "ValueError")
    )
    assert stored(repository) == {"01_one.x": 1}
    assert (repository / "notebooks" / "02_two.ipynb").read_bytes() == before
    write(repository, "02_two", BODY.format(stem="02_two") + SAVE)
    assert cli.main(["reproduce"]) == 0
    assert executed(capsys) == ["02_two", "00_overview"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "epoch=3"], "there is no parameter 'epoch'; did you mean epochs?"),
        (["--set", "epochs=many"], "'many' is not of type 'integer'"),
        (["--set", "epochs=0"], "0 is less than the minimum of 1"),
        (["--set", "number=many"], "number='many': 01_one has 1 in its parameters cell."),
        (["--set", "number=True"], "number=True: 01_one has 1 in its parameters cell."),
        (["--set", "=3"], "name=value"),
        (["--set", "number"], "name=value"),
        (["--set", "profile=lfw"], "choose another profile=NAME"),
        (["--only", "1"], "No notebook '1': there are 01_one, 02_two, 00_overview."),
        (["--only", "0"], "No notebook '0'"),
        (["--only", "07"], "No notebook '07'"),
        (["--profile", "lwf"], "Unknown profile 'lwf'"),
    ],
)
def test_wrong_arguments_are_one_line_before_anything_runs(repository, capsys, arguments, message):
    assert cli.main(["reproduce", *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err and len(said.err.splitlines()) == 1 and ": running" not in said.out


@pytest.mark.parametrize("only", [["02"], ["02_two"], ["02", "02_two"]])
def test_a_notebook_is_chosen_by_number_or_name(repository, only):
    assert [path.stem for path in reproduce.notebooks(only)] == ["02_two"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=3", 3),
        ("a=0.5", 0.5),
        ("a=1e-3", 1e-3),
        ("a=None", None),
        ("a=null", None),
        ("a=true", True),
        ("a=[1, 2]", [1, 2]),
        ("a={b: {c: 1}}", {"b": {"c": 1}}),
        ("a=x/y z", "x/y z"),
        ("a='3'", "3"),
        ("a=", ""),
        ("a=[", "["),
    ],
)
def test_settings_are_literals_as_in_python_or_in_a_profile(text, expected):
    assert reproduce.parse_setting(text) == ("a", expected)


def test_relative_paths_mean_the_same_in_the_notebook(repository, quick, tree, monkeypatch, tmp_path):
    faces = tree(["a/1.png", "a/2.png", "b/1.png"])
    monkeypatch.chdir(tmp_path)
    _, (step,) = reproduce.plan("demo", ["01"], {"test_set": faces.name})
    assert step.injected == {"overrides": {"test_set": str(faces)}}


@pytest.mark.parametrize("name", ["lwf", "/nowhere/faces", "'faces'"])
def test_a_set_that_is_not_there_is_told_before_anything_runs(repository, capsys, name):
    assert cli.main(["reproduce", "--set", f'train_set="{name}"', "--set", "profile=mine"]) == 1
    captured = capsys.readouterr()
    assert f"'{name}' is neither an existing folder, archive or table nor one of the known sets" in captured.err
    assert "running" not in captured.out and "Traceback" not in captured.err


def test_rendered_people_beside_one_s_own_are_told(repository, quick, tree, capsys):
    faces = tree(["ann/1.png", "bob/1.png"])
    reproduce.run("demo", ["01"], {"train_set": str(faces), "profile": "mine"})
    assert "(test_set=demo-test are rendered people: --set test_set=PATH names others)" in capsys.readouterr().out
    reproduce.run("demo", ["01"], {"train_set": str(faces), "test_set": str(faces), "profile": "mine"})
    reproduce.run("demo", ["01"])
    assert "rendered people" not in capsys.readouterr().out


def test_derived_values_in_the_parameters_cell_are_refused(repository):
    write(repository, "01_one", "pass", parameters="a = 1\nb = a + 1")
    with pytest.raises(ValueError, match="01_one.ipynb' must hold literals only"):
        reproduce.plan("demo", None, {})


def test_what_papermill_gives_works_as_well(repository, tmp_path):
    import papermill

    source, target = repository / "notebooks" / "01_one.ipynb", tmp_path / "out.ipynb"
    given = {"overrides": '{"draws": 4}'}  # as `papermill -p overrides '{"draws": 4}'` gives it
    papermill.execute_notebook(str(source), str(target), given, kernel_name="python3", cwd=str(source.parent))
    entries = json.loads((repository / "figures" / "demo-changed" / "results.json").read_text())
    assert entries["01_one.draws"]["value"] == 4
    with pytest.raises(papermill.PapermillExecutionError, match="less than the minimum"):
        papermill.execute_notebook(
            str(source), str(target), {"overrides": '{"draws": 0}'}, kernel_name="python3", cwd=str(source.parent)
        )


def test_parameter_errors_are_value_errors():
    assert issubclass(ParameterError, ValueError) and ParameterError.exit_status == 2


def test_what_was_executed_and_then_taken_back_is_run_again(repository, quick, capsys):
    path = repository / "notebooks" / "01_one.ipynb"
    committed = path.read_bytes()
    reproduce.run("demo")
    path.write_bytes(committed.replace(b'"execution_count": null', b'"execution_count": 1'))  # as `git checkout` does
    capsys.readouterr()
    reproduce.run("demo")
    assert executed(capsys) == ["01_one", "00_overview"]


def test_numbers_of_other_sets_are_not_replaced_unless_that_is_asked_for(repository, quick, capsys):
    known = repository / "figures" / "mine" / "results.json"
    known.parent.mkdir(parents=True)
    made = {"01_one": {"parameters": {"train_set": "/x/faces", "test_set": "demo-test"}, "time": "2026"}}
    known.write_text(json.dumps({"_provenance": made}))
    before = known.read_bytes()
    message = "figures/mine/ holds numbers of train_set=/x/faces, and this run has train_set=demo-train: give that set"
    with pytest.raises(ParameterError, match=message):
        reproduce.run("demo", settings={"profile": "mine"})
    assert known.read_bytes() == before and not executed(capsys)
    reproduce.run("demo", settings={"profile": "mine"}, force=True)
    assert len(executed(capsys)) == 3 and stored(repository, "mine")["01_one.x"] == 1


def test_a_file_that_names_no_set_is_told_to_run_on_rendered_people(repository, quick, capsys):
    (repository / "mine.yaml").write_text("")
    reproduce.run(str(repository / "mine.yaml"))
    said = capsys.readouterr().out
    assert all(f"({name}=demo-{name[:-4]} are rendered people" in said for name in ("train_set", "test_set"))
    reproduce.run("demo")
    assert "are rendered people" not in capsys.readouterr().out
