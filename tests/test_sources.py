import importlib
import sys

import pytest

from facelib.sources import normalised_source

CODE = '''
"""A module."""


def double(x):
    """Twice."""
    return 2 * x  # a comment


class Box:
    """Holds."""

    def open(self):
        """Nothing else."""
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    path = tmp_path / "edited.py"
    path.write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "edited", raising=False)
    return importlib.import_module("edited"), path


def test_comments_docstrings_and_layout_do_not_count(module):
    loaded, path = module
    assert normalised_source(loaded.double) == "def double(x):\n    return 2 * x"
    assert normalised_source(loaded.Box) == "class Box:\n\n    def open(self):\n        pass"
    assert normalised_source(loaded.Box.open) == "def open(self):\n    pass"
    assert normalised_source(path).count("\n") == 6 and "Twice" not in normalised_source(path)


def test_lines_added_above_after_the_import_do_not_count_either(module):
    loaded, path = module
    before = [normalised_source(thing) for thing in (loaded.double, loaded.Box, loaded.Box.open)]
    path.write_text("import os\n\nLINES = [\n    1,\n    2,\n]\n" + CODE)
    assert [normalised_source(thing) for thing in (loaded.double, loaded.Box, loaded.Box.open)] == before
