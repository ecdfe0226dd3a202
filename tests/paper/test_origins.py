"""Where a number comes from besides its data: revision, and a notebook's own parameters."""

import re
import subprocess
import sys
import types

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from facelib import runtime
from facelib.paper import origins


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout with a module, a profile and a notebook, all committed."""
    for path in ("facelib/a.py", "notebooks/profiles/demo.yaml", "README.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("a: 1\n")
    write(tmp_path, "x = 1")
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    for arguments in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def write(root, code, outputs=(), parameters="depth = 3\nprofile = 'demo'\noverrides = {}"):
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_code_cell(code, outputs=list(outputs))]
    nbformat.write(new_notebook(cells=cells), root / "notebooks" / "01_one.ipynb")


def test_the_commit_of_a_clean_checkout(checkout):
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout.strip()
    assert origins.revision("01_one") == commit[:12]


@pytest.mark.parametrize(
    ("path", "changed"),
    [("facelib/a.py", True), ("facelib/b.py", True), ("notebooks/profiles/demo.yaml", True), ("README.md", False)],
)
def test_code_and_profiles_count_as_changes(checkout, path, changed):
    (checkout / path).write_text("a: 2\n")
    assert bool(re.fullmatch(r"[0-9a-f]{12}\+changes", origins.revision("01_one"))) == changed


def test_of_the_notebook_its_code_counts_and_not_its_outputs(checkout):
    write(checkout, "x = 1", [new_output("stream", text="1")])
    assert not origins.revision("01_one").endswith("+changes")
    write(checkout, "x = 2")
    assert origins.revision("01_one").endswith("+changes")
    assert not origins.revision("02_two").endswith("+changes"), "another notebook's code"


def test_no_checkout_no_revision(tmp_path, monkeypatch, checkout):
    inside = checkout / "facelib"
    monkeypatch.setattr(runtime, "ROOT", inside)
    assert origins.revision("01_one") == "unknown", "it lies in somebody else's checkout"
    monkeypatch.setattr(origins.subprocess, "run", lambda *given, **options: (_ for _ in ()).throw(FileNotFoundError()))
    assert origins.revision("01_one") == "unknown", "there is no git"


def test_own_parameters_are_those_of_the_cell_as_they_are_now(checkout, monkeypatch):
    assert origins.own_parameters(checkout / "notebooks" / "01_one.ipynb") == {"depth": 3}
    shell = types.SimpleNamespace(user_ns={"depth": 7, "x": 1, "profile": "lfw"})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert origins.own_values("01_one") == {"depth": 7}
    assert origins.own_values("02_two") == {}
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert origins.own_values("01_one") == {}, "in no notebook"


def test_code_cells_of_a_file_or_of_its_text(checkout):
    path = checkout / "notebooks" / "01_one.ipynb"
    assert origins.code_cells(path)[1:] == origins.code_cells(path.read_text())[1:] == ["x = 1"]
