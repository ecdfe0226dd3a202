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
