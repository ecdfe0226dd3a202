"""Keys of finished work hold versions and not source text: this guards that a version is raised when it must be."""

import json

import pytest

from facelib.training import recipe
from tests import versions

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


@pytest.mark.parametrize("version", versions.shaping())
def test_code_that_shapes_numbers_changes_with_its_version(version):
    recorded, present = json.loads(versions.RECORD.read_text())[version], versions.hashes()[version]
    changed = sorted(name for name in recorded.keys() | present.keys() if recorded.get(name) != present.get(name))
    assert not changed, (
        f"{', '.join(changed)} changed. If numbers change with it, raise {version}; "
        "in any case record the new code with `python -m tests.versions`."
    )


def test_comments_docstrings_and_layout_do_not_count(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(CODE)
    assert versions.normalised_source(path) == (
        "def double(x):\n    return 2 * x\n\nclass Box:\n\n    def open(self):\n        pass"
    )


def test_a_changed_schedule_is_noticed(monkeypatch, tmp_path):
    before = versions.hashes()["RECIPE_VERSION"]
    edited = tmp_path / "recipe.py"
    text = open(recipe.__file__).read()
    assert "0.01 + 0.99 * step / warmup" in text
    edited.write_text(text.replace("0.01 + 0.99 * step / warmup", "0.02 + 0.98 * step / warmup"))
    monkeypatch.setattr(versions.inspect, "getsourcefile", _redirected(recipe.__file__, str(edited)))
    after = versions.hashes()["RECIPE_VERSION"]
    assert [name for name in before if before[name] != after[name]] == ["rate_at"]


def _redirected(original, edited):
    from inspect import getsourcefile

    return lambda thing: edited if getsourcefile(thing) == original else getsourcefile(thing)
