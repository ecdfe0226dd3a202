"""Test runs write to a temporary folder, never over committed figures, results or notebooks."""

import os
import tempfile


def pytest_configure():
    os.environ.setdefault("FACELIB_OUTPUT", tempfile.mkdtemp(prefix="facelib-tests-"))
