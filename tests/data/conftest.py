"""Shared by the tests of data: an empty data folder."""

import pytest


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("FACELIB_DATA", str(folder))
    return folder
