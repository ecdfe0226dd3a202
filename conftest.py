"""Test runs write to a temporary folder, never over committed figures, results or notebooks."""

import os
import tempfile


def pytest_configure():
    os.environ.setdefault("FACELIB_OUTPUT", tempfile.mkdtemp(prefix="facelib-tests-"))


def pytest_collection_modifyitems(items):
    """Notebooks run in the order of `facelib.paper.reproduce`: one that reads another's numbers comes after it."""
    if any(item.path.suffix == ".ipynb" for item in items):
        from facelib.paper import reproduce

        order = [path.name for path in reproduce.notebooks()]
        items.sort(key=lambda item: order.index(item.path.name) if item.path.name in order else -1)
