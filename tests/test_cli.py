"""The commands: what they ask of the rooms, and what they say when something is wrong."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from facelib import cli, runtime
from facelib.data import splits
from facelib.training import Recipe

WEIGHTS = runtime.ROOT / "data" / "weights"


@pytest.fixture
def trained(monkeypatch):
    """What a training was asked for; none is run."""
    from facelib import training
    from facelib.training import runs

    asked = {}
    monkeypatch.setattr(splits, "experiment", lambda **given: asked.update(given=given) or Parts())

    def train(name, train, recipe, held_out):
        asked.update(run=name, recipe=recipe)
        return runs.Run("w.npz", None, {})

    monkeypatch.setattr(training, "train", train)
    return asked


class Parts:
    """Parts of people that nobody looks at."""

    key, manifest = "key", {"content": "content"}
    train = held_out = validation = test = property(lambda self: self)


def test_a_missing_package_is_one_line_that_says_what_to_do():
    run = [sys.executable, "-S", "-m", "facelib", "compare", "a.jpg", "b.jpg"]  # no site-packages: a system's Python
    found = subprocess.run(run, capture_output=True, text=True, cwd=runtime.ROOT)
    assert found.returncode == 2 and found.stdout == ""
    assert "is missing: run facelib by the Python of its environment" in found.stderr and found.stderr.count("\n") == 1


def test_train_trains_what_02_would(trained, capsys):
    assert cli.main(["train", "--profile", "lfw", "--set", "epochs=3"]) == 0
    assert trained["run"] == "celebfaces-resnet18" and trained["recipe"] == Recipe(epochs=3)
    assert (trained["given"]["train_set"], trained["given"]["min_images"]) == ("celebfaces", 2)
    assert "Trained with processes=1: w.npz" in capsys.readouterr().out


def test_train_trains_the_next_runs_of_the_bench(trained, monkeypatch):
    from facelib.paper import benching

    asked = []
    monkeypatch.setattr(benching, "train_missing", lambda setting, most: asked.append((setting["train_set"], most)))
    assert cli.main(["train", "--profile", "lfw", "--bench", "2"]) == 0
    assert asked == [("celebfaces", 2)] and not trained


@pytest.mark.parametrize("command", ["train", "reproduce"])
@pytest.mark.parametrize(
    "setting", ["epohcs=3", "epochs=0", "batch_size=0", "learning_rate=0", "seed=-1", "max_images=abc"]
)
def test_wrong_values_are_one_line(trained, capsys, command, setting):
    assert cli.main([command, "--set", setting]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1 and not trained


def test_errors_of_the_rooms_show_no_traceback(tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = ["train", "--set", f"train_set={tmp_path / 'empty'}"]
    environment = os.environ | {"PYTHONPATH": str(runtime.ROOT), "FACELIB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "facelib", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 1 and "holds no identities" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_bug_keeps_its_traceback(monkeypatch):
    from facelib.paper import reproduce

    monkeypatch.setattr(reproduce, "run", lambda *given: {}["missing"])
    with pytest.raises(KeyError):
        cli.main(["reproduce"])


def test_a_bug_is_no_answer_to_whether_two_photos_show_one_person(monkeypatch, capsys):
    monkeypatch.setattr("facelib.data.detection.find", lambda photo: {}["missing"])
    photo = str(runtime.ROOT / "figures" / "lfw" / "figure_1.png")
    assert cli.main(["compare", photo, photo]) == 2
    assert "KeyError" in capsys.readouterr().err


def test_an_interrupt_says_that_nothing_is_lost(monkeypatch, capsys):
    from facelib.paper import reproduce

    def interrupt(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "run", interrupt)
    assert cli.main(["reproduce"]) == 130
    assert "goes on from there" in capsys.readouterr().err


def test_without_a_command_all_of_them_are_shown(capsys):
    with pytest.raises(SystemExit):
        cli.main([])
    assert {"reproduce", "compare", "enrol"} <= set(capsys.readouterr().out.split())


def test_the_console_script_is_this_function():
    text = (runtime.ROOT / "pyproject.toml").read_text()
    assert 'facelib = "facelib.cli:main"' in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["celebfaces-cosface", "out.txt"], "is to end in .onnx"),
        (["out.onnx", "celebfaces-cosface.onnx"], "no network 'out.onnx' to export. Known are: celebfaces-"),
        (["celebfaces-softmax", str(WEIGHTS / "celebfaces-cosface.onnx")], "a card knows its hash"),
        (["celebfaces-cosface", str(WEIGHTS), "--to", "paddle"], "takes a new or an empty folder"),
        (["celebfaces-cosface", str(WEIGHTS / "backends.csv"), "--to", "paddle"], "a card knows its hash"),
        (["nobody", "out.onnx"], "no network 'nobody' to export. Known are: celebfaces-"),
        (["lost.npz", "out.onnx"], "no network 'lost.npz'"),
        (["celebfaces-cosface", "out", "--to", "paddle", "--precision", "int8"], "--precision int8 is for --to onnx"),
        (["celebfaces-cosface", "no/where/out.onnx"], "There is no folder 'no/where'"),
    ],
)
def test_export_refuses_nonsense_in_one_line(capsys, arguments, complaint):
    assert cli.main(["export", *arguments]) == 2
    said = capsys.readouterr().err
    assert complaint in said and len(said.splitlines()) == 1


def test_export_hands_the_weights_to_what_was_asked_for(monkeypatch, capsys):
    from facelib.inference import export

    asked = []
    for name in ("to_onnx", "to_paddle", "to_int8"):
        monkeypatch.setattr(export, name, lambda *given, name=name: asked.append((name, *given)) or given[-1])
    monkeypatch.setattr(export, "calibration_faces", lambda: "faces")
    weights = runtime.ROOT / "data" / "weights" / "celebfaces-cosface.npz"
    assert cli.main(["export", "celebfaces-cosface", "a.onnx"]) == 0
    assert cli.main(["export", str(weights), "b", "--to", "paddle"]) == 0
    assert capsys.readouterr().out.split() == ["a.onnx", "b"]
    assert cli.main(["export", "celebfaces-cosface", "c.onnx", "--precision", "int8", "--json"]) == 0
    source = weights.with_suffix(".onnx")
    assert asked == [
        ("to_onnx", weights, "a.onnx"),
        ("to_paddle", weights, "b"),
        ("to_int8", source, "faces", "c.onnx"),
    ]
    assert json.loads(capsys.readouterr().out) == {"written": "c.onnx"}


@pytest.mark.parametrize("command", ["compare", "embed", "enrol", "identify", "cluster", "export"])
def test_what_people_call_from_programs_prints_json(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert "--json" in capsys.readouterr().out


def test_export_without_its_packages_says_what_to_install(monkeypatch, capsys):
    from facelib.inference import export

    def missing(*_):
        raise ModuleNotFoundError("No module named 'paddle2onnx'", name="paddle2onnx")

    monkeypatch.setattr(export, "to_onnx", missing)
    assert cli.main(["export", "celebfaces-cosface", "a.onnx"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("paddle2onnx is missing: .venv/bin/pip install -e '.[export]' in the repository, with")
    assert "'.[export-gpu]'" in said and said.count("\n") == 1


def test_each_build_of_paddle_has_an_extra_that_exports():
    """They differ in paddle2onnx alone, and the constraints leave both to be installed."""
    text = (runtime.ROOT / "pyproject.toml").read_text()
    extras = {name: set(json.loads(pins)) for name, pins in re.findall(r"^(export\S*) = (\[.*\])$", text, re.MULTILINE)}
    assert extras["export"] ^ extras["export-gpu"] == {"paddle2onnx==2.1.0", "paddle2onnx==1.3.1"}
    pinned = (runtime.ROOT / "constraints.txt").read_text().splitlines()
    others = {pin for pin in set().union(*extras.values()) if not pin.startswith("paddle2onnx")}
    assert others <= set(pinned) and not any(line.startswith("paddle2onnx") for line in pinned)


def test_pinned_versions_are_those_that_the_pinned_packages_want():
    """As their own metadata says, of each that is installed; paddle2onnx 2.1 wants an older onnx than the newest."""
    files = [runtime.ROOT / name for name in ("requirements-cpu.txt", "constraints.txt", "pyproject.toml")]
    pins = dict(re.findall(r"([\w.-]+)==([\w.+-]+)", "\n".join(file.read_text() for file in files)))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    checked = 0
    for name in pins:
        try:
            wanted = map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:
            continue
        for each in (some for some in wanted if canonicalize_name(some.name) in pins):
            if each.marker is None or each.marker.evaluate({"extra": ""}):
                assert each.specifier.contains(pins[canonicalize_name(each.name)]), f"{name} wants {each}"
                checked += 1
    assert checked > 100
