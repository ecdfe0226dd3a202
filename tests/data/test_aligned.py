import numpy as np
import pytest

from facelib.data import aligned, detection


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two people with a photo each; a detector that finds the face of bright photos alone."""
    from PIL import Image

    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    for name, value in (("ann", 200), ("bob", 10)):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (90, 80), (value,) * 3).save(tmp_path / "set" / name / "1.png")
    asked = []

    def align(photo, size, which):
        asked.append(which)
        if photo.mean() < 100:
            raise detection.FaceError("no face found")
        return photo[:size, :size]

    monkeypatch.setattr(detection, "align", align)
    return tmp_path / "set", asked


def test_photos_without_a_face_are_left_out(folder):
    source, asked = folder
    found = aligned.faces(source, ["bob/1.png", "ann/1.png"], 64, progress=False)
    assert list(found) == ["ann/1.png"] and found["ann/1.png"].shape == (64, 64, 3)
    assert found["ann/1.png"].dtype == np.uint8 and (found["ann/1.png"] == 200).all()
    assert asked == ["central", "central"]


def test_faces_are_found_once(folder):
    source, asked = folder
    paths = ["ann/1.png", "bob/1.png"]
    first = aligned.faces(source, paths, 64, progress=False)
    again = aligned.faces(source, paths[::-1], 64, progress=False)
    assert len(asked) == 2 and np.array_equal(first["ann/1.png"], again["ann/1.png"])
    aligned.faces(source, paths, 32, progress=False)
    assert len(asked) == 4  # another size is another framing


def test_a_set_without_faces_stays_empty(folder):
    source, _ = folder
    assert aligned.faces(source, ["bob/1.png"], progress=False) == {} == aligned.faces(source, ["bob/1.png"])


def test_a_damaged_file_is_named(folder, tmp_path):
    source, _ = folder
    aligned.faces(source, ["ann/1.png"], progress=False)
    (file,) = (tmp_path / "cache" / "aligned").glob("*.npz")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match="is damaged.*delete it"):
        aligned.faces(source, ["ann/1.png"], progress=False)
