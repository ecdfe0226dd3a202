"""Faces that are computed, packed."""

import numpy as np
import pytest

from facelib.data import packing

FACES = {f"{person}/{shot}.png": np.full((4, 4, 3), 10 * number, np.uint8) for number, (person, shot) in enumerate(
    [("bob", 1), ("ann", 2), ("ann", 1)]
)}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path))


def store(made_of=("photos", 1), faces=None):
    return packing.store("mixed", list(made_of), 4, iter(FACES.items()) if faces is None else faces)


def test_faces_come_back_under_their_paths():
    found = store()
    assert found.paths == ("ann/1.png", "ann/2.png", "bob/1.png") and found.names == ("ann", "bob")
    for path, face in zip(found.paths, found.take(slice(None)), strict=True):
        np.testing.assert_array_equal(face, FACES[path])


def test_a_set_of_the_same_is_not_computed_again_and_one_of_other_things_is():
    first = store()
    assert store(faces=(pytest.fail("computed again") for _ in range(1))).key == first.key
    assert store(("photos", 2)).key != first.key


def test_a_damaged_set_is_computed_again():
    path = store().pixels.filename
    with open(path, "r+b") as file:
        file.write(bytes([255]) * 48)
    assert store().take([0]).max() == 20
