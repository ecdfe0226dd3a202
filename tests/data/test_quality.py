import cv2
import numpy as np
import pytest

from facelib.data import detection, quality, rendered


def test_blur_light_and_size_by_their_definitions():
    flat = np.full((64, 64, 3), 51, np.uint8)
    found = quality.measured(flat[None])
    assert found["sharpness"] == [0] and found["brightness"] == pytest.approx([0.2]) and np.isnan(found["size"]).all()


def test_a_blurred_face_is_less_sharp_a_dark_one_less_bright_a_near_one_larger(tmp_path):
    rendered.write_people(tmp_path, [300], 1, size=160, progress=False)
    face = cv2.cvtColor(cv2.imread(str(next(tmp_path.rglob("*.jpg")))), cv2.COLOR_BGR2RGB)
    near = cv2.resize(face[24:136, 24:136], (160, 160))
    plain, blurred, dark, close = range(4)
    found = quality.measured(np.stack([face, cv2.GaussianBlur(face, (0, 0), 3), face // 2, near]))
    assert found["sharpness"][blurred] < found["sharpness"][plain] / 4
    assert found["brightness"][dark] == pytest.approx(found["brightness"][plain] / 2, abs=0.01)
    assert found["size"][close] == pytest.approx(found["size"][plain] * 160 / 112, rel=0.1)


def test_a_turned_head_has_its_nose_beside_the_middle_of_its_eyes(monkeypatch):
    nose = {"front": (50.0, 60.0), "aside": (62.0, 61.0)}
    eyes = np.array([[30.0, 40.0], [70.0, 40.0]])
    seen = [[nose["front"]], [], [nose["aside"]]]  # in photos that are 0, 1 and 2 everywhere

    def look(photo):
        return [detection.Face(np.zeros(4), np.vstack([eyes, each, eyes]), 0.9) for each in seen[photo.max()]]

    monkeypatch.setattr(quality.detection, "look", look)
    photos = np.arange(3, dtype=np.uint8)[:, None, None, None]
    found = quality.turned(np.broadcast_to(photos, (3, 8, 8, 3)))
    assert found[[0, 2]] == pytest.approx([0, 12 / 40]) and np.isnan(found[1])
