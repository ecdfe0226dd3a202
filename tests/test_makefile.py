"""The environment is set up anew when what it is made of changes, and only then."""

import re
import shutil
import subprocess

import pytest

from facelib.runtime import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
FILES = ("Makefile", "pyproject.toml", "constraints.txt", "requirements.txt", "requirements-cpu.txt")


@pytest.fixture
def clone(tmp_path):
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def stamp(clone) -> str:
    command = ["make", "-pn", "help", "REQUIREMENTS=requirements-cpu.txt"]
    said = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True).stdout
    return re.search(r"^STAMP := (\S+)$", said, re.M).group(1)


@pytest.mark.parametrize(
    ("name", "before", "after", "anew"),
    [
        ("pyproject.toml", "line-length = 120", "line-length = 99", False),
        ("pyproject.toml", "ignore_missing_imports = true", "ignore_missing_imports = false", False),
        ("pyproject.toml", '"scipy>=1.11"', '"scipy>=1.12"', True),
        ("pyproject.toml", "torch==2.", "torch==3.", True),
        ("pyproject.toml", "setuptools==84", "setuptools==85", True),
        ("constraints.txt", "aiohttp==3", "aiohttp==4", True),
        ("requirements-cpu.txt", "scipy==1", "scipy==2", True),
        ("requirements.txt", "scipy==1", "scipy==2", False),
    ],
)
def test_the_stamp_follows_what_the_environment_is_made_of(clone, name, before, after, anew):
    first, text = stamp(clone), (clone / name).read_text()
    assert before in text
    (clone / name).write_text(text.replace(before, after))
    assert (stamp(clone) != first) == anew


def test_help_lists_every_target():
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.search(r"^\.PHONY: help (.+)$", (ROOT / "Makefile").read_text(), re.M).group(1).split()
    assert re.findall(r"^  make (\S+)", said, re.M) == [*targets, "help"]


@pytest.fixture
def interpreter(clone):
    """A stand-in for Python that notes its arguments in ``calls`` and makes an environment with itself."""
    script = clone / "python"
    script.write_text(
        """#!/bin/sh
echo "$@" >> calls
case "$*" in
    *"import pip") test ! -e no_pip ;;
    *print*) echo 3 11 ;;
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""
    )
    script.chmod(0o755)

    def make(*arguments) -> tuple[list[str], str]:
        (clone / "calls").unlink(missing_ok=True)
        command = ["make", "compare", "A=a", "B=b", "REQUIREMENTS=requirements-cpu.txt", *arguments]
        said = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True).stdout
        return (clone / "calls").read_text().splitlines(), said

    return make


def of_pip(clone):
    (clone / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(clone / "python", clone / ".venv" / "bin" / "python")
    (clone / ".venv" / "mine").touch()


def test_an_environment_of_pip_or_of_an_interrupted_set_up_is_completed(clone, interpreter):
    of_pip(clone)
    calls, said = interpreter()
    assert "Completing .venv" in said and (clone / ".venv" / "mine").exists()
    assert any("pip install" in call for call in calls) and not any("venv .venv" in call for call in calls)
    calls, _ = interpreter()
    assert not any("install" in call for call in calls), "it is complete now"


@pytest.mark.parametrize("why", ["of other requirements", "of another version", "broken", "without pip"])
def test_an_environment_that_does_not_fit_is_made_anew(clone, interpreter, why):
    of_pip(clone)
    python = clone / ".venv" / "bin" / "python"
    if why == "of other requirements":
        (clone / ".venv" / "complete-1").touch()
    elif why == "without pip":  # as venv leaves it that was interrupted
        (clone / "no_pip").touch()
    else:
        python.write_text(python.read_text().replace("3 11", "3 10") if why == "of another version" else "#!/bin/false")
    calls, said = interpreter("PYTHON=./python")
    assert "Setting up .venv" in said and "-m venv .venv" in calls and not (clone / ".venv" / "mine").exists()


def test_names_of_photos_reach_the_command_as_they_are(clone, interpreter):
    of_pip(clone)
    names = 'a"b.jpg', "$HOME `touch made` it's; #.jpg"
    calls, _ = interpreter(f"A={names[0]}", f"B={names[1]}")
    assert f"-m facelib compare {names[0]} {names[1]}" in calls and not (clone / "made").exists()
