import numpy as np
import pytest

from facelib.data import aligned, catalog, detection, framing, packing, rendered, splits


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
        return photo[:size, :size], np.array([20.0, 20, 60, 60])

    monkeypatch.setattr(detection, "align_with_box", align)
    return tmp_path / "set", asked


def test_photos_without_a_face_are_left_out(folder):
    source, asked = folder
    found = aligned.faces(source, ["bob/1.png", "ann/1.png"], 64, progress=False)
    assert list(found) == ["ann/1.png"] and found["ann/1.png"].shape == (64, 64, 3)
    assert found["ann/1.png"].dtype == np.uint8 and (found["ann/1.png"] == 200).all()
    assert asked == ["central", "central"]


def test_all_photos_are_looked_at_whatever_fits_into_memory(folder, monkeypatch):
    source, _ = folder
    monkeypatch.setattr(aligned, "AT_ONCE", 1)
    found = aligned.faces(source, ["ann/1.png", "bob/1.png"], 8, crop=(0, 0, 1, 1))
    assert {path: face.mean() for path, face in found.items()} == {"ann/1.png": 200, "bob/1.png": 10}


def test_faces_are_found_once(folder):
    source, asked = folder
    paths = ["ann/1.png", "bob/1.png"]
    first = aligned.faces(source, paths, 64, progress=False)
    again = aligned.faces(source, paths[::-1], 64, progress=False)
    assert len(asked) == 2 and np.array_equal(first["ann/1.png"], again["ann/1.png"])
    aligned.faces(source, paths, 32, progress=False)
    assert len(asked) == 4  # another size is another framing


def test_what_one_list_of_photos_has_shown_is_known_for_another(folder, tmp_path):
    source, asked = folder
    first = aligned.faces(source, ["ann/1.png"], 64, progress=False)
    (tmp_path / "cache" / "aligned" / "0.npz").write_bytes(b"damaged")
    both = aligned.faces(source, ["ann/1.png", "bob/1.png"], 64, progress=False)
    assert len(asked) == 2 and np.array_equal(first["ann/1.png"], both["ann/1.png"]) and list(both) == ["ann/1.png"]
    assert aligned.faces(source, ["bob/1.png"], 64, progress=False) == {} and len(asked) == 2
    aligned.faces(source, ["bob/1.png"], 64, "largest", progress=False)
    aligned.faces(source, ["ann/1.png"], 64, moved=1, progress=False)
    aligned.faces(source, ["ann/1.png", "bob/1.png"], 64, moved=1, progress=False)
    assert len(asked) == 6  # another face may be meant, and each list moves its photos by their places in it


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


def test_a_crop_in_the_detector_s_place_is_that_of_packing(folder, tmp_path):
    source, asked = folder
    crop = (0.1, 0.2, 0.6, 0.7)
    found = aligned.faces(source, ["bob/1.png"], 8, progress=False, crop=crop)
    assert asked == [] and np.array_equal(
        found["bob/1.png"], packing.pack(source, 8, crop, progress=False).take([1])[0]
    )


def test_a_photo_is_moved_by_its_seed_and_within_bounds(folder, tmp_path):
    photo = np.zeros((250, 250, 3), np.uint8)
    marks = np.array([[60, 60], [190, 60], [60, 190], [190, 190]])
    for seed in range(5):
        moved = []
        for x, y in marks:
            one = photo.copy()
            one[y - 2 : y + 3, x - 2 : x + 3] = 255
            one = framing.shaken(one, np.random.default_rng(seed))[..., 0]
            rows, columns = np.nonzero(one > 100)
            moved.append([columns.mean(), rows.mean()])
        step = framing.similarity(marks.astype(float), np.array(moved))
        shift = np.array(moved).mean(0) - marks.mean(0)
        assert 0.89 < framing.scale(step) < 1.11 and abs(np.degrees(np.arctan2(step[1, 0], step[0, 0]))) < 5.2
        assert (abs(shift) < 11.2).all() and abs(shift).max() > 0.1
    source, _ = folder
    first, again, other = (aligned.faces(source, ["ann/1.png"], moved=seed)["ann/1.png"] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and first.shape == other.shape


@pytest.mark.parametrize(("side", "margin", "expected"), [(200, 0, True), (200, 0.205, False), (40, 0, False)])
def test_a_set_is_loose_where_faces_do_not_fill_their_photos(tmp_path, side, margin, expected):
    """The frame of a rendered face is some 0.59 of its picture; without a fifth on each side it fills it."""
    from PIL import Image

    rendered.write_people(tmp_path / "own", range(300, 303), 3, size=side, progress=False)
    for path in (tmp_path / "own").rglob("*.jpg"):
        photo = Image.open(path)
        photo.crop((side * margin, side * margin, side * (1 - margin), side * (1 - margin))).save(path)
    assert aligned.is_loose(tmp_path / "own") is expected


def test_photos_of_one_s_own_are_detected_at_packing_and_those_without_a_face_named(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    rendered.write_people(tmp_path / "own", range(300, 304), 3, size=200, progress=False)
    paths = sorted((tmp_path / "own").rglob("*.jpg"))
    Image.new("RGB", (200, 200), "grey").save(paths[0])
    found = catalog.load(str(tmp_path / "own"), progress=False)
    assert len(found) == 11 and list(found.manifest["skipped"].values())[0].startswith("no face found")
    photo = detection.read_photo(paths[1])
    assert np.array_equal(found.take([0])[0], detection.align(photo, 64))
    whole = catalog.load(str(tmp_path / "own"), progress=False, frame="none")
    assert len(whole) == 12 and whole.manifest["skipped"] == {} and whole.key != found.key
    rendered.write_people(tmp_path / "others", range(400, 402), 2, size=200, progress=False)
    sets = str(tmp_path / "own"), str(tmp_path / "others")
    for frame, told in ((None, 2), ("none", 0)):
        split = splits.experiment(*sets, validation_share=0.5, progress=False, frame=frame)
        assert sum("a detector framed the face" in note for note in split.notes) == told
        assert sum("1 of 12 are skipped: no face found (1); 01_data" in note for note in split.notes) == told // 2


def test_where_no_face_is_found_a_crop_stands_in(folder, monkeypatch):
    source, asked = folder
    crop = (0, 0, 0.5, 0.5)
    both = packing.pack(source, 8, crop, progress=False, detect="central")
    assert asked == ["central", "central"] and [int(face.mean()) for face in both.take([0, 1])] == [200, 10]
    alone = packing.pack(source, 8, progress=False, detect="only")
    assert list(alone.manifest["skipped"]) == ["bob/1.png"] and len(alone) == 1


def test_a_box_is_taken_without_landmarks(folder, monkeypatch):
    source, asked = folder
    face = detection.Face(np.array([10.0, 10, 50, 60]), np.zeros((5, 2)), 1.0)
    monkeypatch.setattr(detection, "find", lambda photo: [face])
    found = aligned.faces(source, ["ann/1.png"], 16, progress=False, box=True)
    assert found["ann/1.png"].shape == (16, 16, 3) and asked == []
    aligned.faces(source, ["ann/1.png"], 16, progress=False)
    assert asked == ["central"]  # another framing has a file of its own


def test_a_box_that_alignment_has_found_is_not_looked_for_again(folder, monkeypatch):
    source, _ = folder
    monkeypatch.setattr(detection, "find", lambda photo: [])
    aligned.faces(source, ["ann/1.png", "bob/1.png"], 16, progress=False)
    found = aligned.faces(source, ["ann/1.png", "bob/1.png"], 16, progress=False, box=True)
    assert list(found) == ["ann/1.png"]  # by the box beside its aligned face; of bob's photo none is known
    assert (found["ann/1.png"] == 200).all()
    assert aligned.faces(source, ["ann/1.png"], 8, progress=False, box=True) == {}  # another size, another list


@pytest.mark.parametrize(("frame", "which"), [("detect", "only"), ("largest", "largest")])
def test_of_several_faces_in_a_photo_of_one_s_own_the_largest_is_taken_on_request(folder, frame, which):
    source, asked = folder
    assert len(catalog.load(str(source), progress=False, frame=frame)) == 1
    assert asked == [which] * 2
